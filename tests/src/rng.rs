//! Deterministic random numbers.

/// A pseudo-random generator (splitmix64): equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Creates a generator from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a uniform number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `end` - 1.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// Returns a number from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a rank from 0, with a probability proportional to 1 / (rank + 1).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below `ranks`")]
    pub fn zipf(&mut self, ranks: u32) -> u32 {
        (((f64::from(ranks) + 1.0).powf(self.uniform()) - 1.0) as u32).min(ranks - 1)
    }

    /// Returns a latency from 0.1 ms to 400 ms, log-uniform.
    pub fn latency_ns(&mut self) -> u64 {
        self.log_uniform(100_000, 400_000_000)
    }

    /// Returns a number from `least` to `most`, log-uniform.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "nanoseconds, some 10^8"
    )]
    pub fn log_uniform(&mut self, least: u64, most: u64) -> u64 {
        (least as f64 * (most as f64 / least as f64).powf(self.uniform())) as u64
    }

    /// Returns true with probability `share`.
    pub fn chance(&mut self, share: f64) -> bool {
        self.uniform() < share
    }

    /// Returns one of `choices`, with the probability of its weight.
    ///
    /// # Panics
    /// If `choices` is empty.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *choice,
            }
        }
        unreachable!("the number is below the sum of the weights")
    }
}
