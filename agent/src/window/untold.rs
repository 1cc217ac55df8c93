//! What a window knows of messages that were not told: exact counts, and how far what was told
//! stands for all of it.

/// Response codes of a header: four bits.
pub const RCODES: usize = 16;

/// Messages that were not told, counted by the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Queries over UDP.
    pub queries: u64,
    /// Responses over UDP.
    pub responses: u64,
    /// Responses by the code of their header.
    pub rcodes: [u64; RCODES],
    /// Responses with the TC bit.
    pub truncated: u64,
    /// Segments of TCP, each with any number of messages.
    pub segments: u64,
    /// Of all of these, those for which the ring had no room; the rest was sampled out.
    pub lost: u64,
}

impl Untold {
    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.queries += other.queries;
        self.responses += other.responses;
        self.rcodes.iter_mut().zip(&other.rcodes).for_each(|(sum, more)| *sum += more);
        self.truncated += other.truncated;
        self.segments += other.segments;
        self.lost += other.lost;
    }
}

/// How many transactions there were, by those that were told: each stands for the reciprocal of the
/// share that was told when it passed (Horvitz and Thompson, 1952).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thinned {
    /// How many there are beside those that were told, as estimated.
    beside: f64,
    /// The variance of that.
    variance: f64,
}

/// A number that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The likeliest.
    pub value: f64,
    /// It is not below, with a probability of 97.5 %.
    pub low: f64,
    /// It is not above, with a probability of 97.5 %.
    pub high: f64,
}

/// Standard deviations between the middle of a normal distribution and an end of what holds 95 %.
const DEVIATIONS: f64 = 1.96;

impl Thinned {
    /// Counts a transaction of which such a share was told.
    pub fn add(&mut self, share: f64) {
        if share < 1.0 {
            self.beside += 1.0 / share - 1.0;
            self.variance += (1.0 - share) / (share * share);
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.beside += other.beside;
        self.variance += other.variance;
    }

    /// Whether anything was told in part only.
    #[must_use]
    pub fn is_thinned(&self) -> bool {
        self.beside > 0.0
    }

    /// How many there were, if so many were told.
    #[must_use]
    pub fn estimate(&self, told: u64) -> Estimate {
        #[expect(clippy::cast_precision_loss, reason = "counts of a window stay far below 2^53")]
        let told = told as f64;
        let (value, error) = (told + self.beside, DEVIATIONS * self.variance.sqrt());
        Estimate { value, low: (value - error).max(told), high: value + error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A generator of which both ends are well mixed (`SplitMix64`).
    fn draw(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let upper = u32::try_from((word ^ (word >> 31)) >> 32).unwrap();
        f64::from(upper) / 2.0_f64.powi(32)
    }

    #[test]
    fn the_truth_is_within_the_error_as_often_as_it_says() {
        const TRUTH: u32 = 3_000;
        let mut state = 1;
        let mut within = 0;
        for _ in 0..1_000 {
            let (mut thinned, mut told) = (Thinned::default(), 0);
            for number in 0..TRUTH {
                // The share changes on the way.
                let share = if number < 1_000 { 1.0 } else { 0.1 };
                if draw(&mut state) < share {
                    thinned.add(share);
                    told += 1;
                }
            }
            let Estimate { low, high, .. } = thinned.estimate(told);
            within += u32::from((low..=high).contains(&f64::from(TRUTH)));
        }
        assert!((925..=975).contains(&within), "{within} of 1000");
    }

    proptest! {
        #[test]
        fn whole_counts_are_exact(told in 0..1_000_u32) {
            let mut thinned = Thinned::default();
            (0..told).for_each(|_| thinned.add(1.0));
            let told_all = f64::from(told);
            let exact = Estimate { value: told_all, low: told_all, high: told_all };
            prop_assert!(!thinned.is_thinned());
            prop_assert_eq!(thinned.estimate(told.into()), exact);
        }
    }
}
