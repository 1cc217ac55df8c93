//! Chance that can be had again.

/// Numbers by chance, the same ones for the same seed: splitmix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one less than `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A rank from 0, rank `r` about as often as 1 / (r + 1).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below `ranks`")]
    pub fn zipf(&mut self, ranks: u32) -> u32 {
        (((f64::from(ranks) + 1.0).powf(self.share()) - 1.0) as u32).min(ranks - 1)
    }

    /// From 0.1 ms to 400 ms, its logarithm evenly.
    pub fn latency_ns(&mut self) -> u64 {
        self.between(100_000, 400_000_000)
    }

    /// From `least` to `most`, the logarithm evenly.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "nanoseconds, some 10^8"
    )]
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        (least as f64 * (most as f64 / least as f64).powf(self.share())) as u64
    }

    /// Whether something comes to pass that does so in this share of cases.
    pub fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// One of some, by their weights.
    ///
    /// # Panics
    /// Where there are none.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *choice,
            }
        }
        unreachable!("the dice fall below the sum of the weights")
    }
}
