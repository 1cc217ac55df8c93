//! Messages of a window that were not exported: exact counts, and estimates of how many
//! transactions the exported ones represent.

use dnscribe_record::EstimateFields;

/// Number of response codes in a header (four bits).
pub const RCODES: usize = 16;

dnscribe_record::merged_struct! {
    /// Messages that were not exported, as counted by the kernel.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct NotExported {
        /// Queries over UDP.
        pub queries: u64,
        /// Responses over UDP.
        pub responses: u64,
        /// Responses by the response code of the header.
        pub rcodes: [u64; RCODES],
        /// Responses with the TC bit.
        pub truncated: u64,
        /// TCP segments, each with any number of messages.
        pub segments: u64,
        /// Number of all these messages that were lost because the ring was full. The others were
        /// sampled out.
        pub lost: u64,
    }
}

dnscribe_record::merged_struct! {
    /// Estimates the number of transactions from a sample: each exported one represents the reciprocal
    /// of the sampling ratio at its time (Horvitz and Thompson, 1952).
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct SampledCount {
        /// Estimated number of transactions that were not exported.
        missing: f64,
        /// Variance of this number.
        variance: f64,
    }
}

/// Number of standard deviations of the 95 % interval of a normal distribution.
const DEVIATIONS: f64 = 1.96;

impl SampledCount {
    /// Counts an exported transaction with its sampling ratio.
    pub fn add(&mut self, ratio: f64) {
        if ratio < 1.0 {
            self.missing += 1.0 / ratio - 1.0;
            self.variance += (1.0 - ratio) / (ratio * ratio);
        }
    }

    /// Returns whether any transaction was sampled.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.missing > 0.0
    }

    /// Estimates the number of transactions from the number of exported ones.
    #[must_use]
    pub fn estimate(&self, exported: u64) -> EstimateFields {
        #[expect(clippy::cast_precision_loss, reason = "counts of a window stay far below 2^53")]
        let exported = exported as f64;
        let (value, error) = (exported + self.missing, DEVIATIONS * self.variance.sqrt());
        EstimateFields { value, low: (value - error).max(exported), high: value + error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Random number generator whose output bits are all well mixed (`SplitMix64`).
    fn draw(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let upper = u32::try_from((word ^ (word >> 31)) >> 32).unwrap();
        f64::from(upper) / 2.0_f64.powi(32)
    }

    #[test]
    fn confidence_interval_holds() {
        const TRUTH: u32 = 3_000;
        let mut state = 1;
        let mut within = 0;
        for _ in 0..1_000 {
            let (mut thinned, mut exported) = (SampledCount::default(), 0);
            for number in 0..TRUTH {
                // The sampling ratio changes midway.
                let share = if number < 1_000 { 1.0 } else { 0.1 };
                if draw(&mut state) < share {
                    thinned.add(share);
                    exported += 1;
                }
            }
            let EstimateFields { low, high, .. } = thinned.estimate(exported);
            within += u32::from((low..=high).contains(&f64::from(TRUTH)));
        }
        assert!((925..=975).contains(&within), "{within} of 1000");
    }

    proptest! {
        #[test]
        fn unsampled_count_is_exact(exported in 0..1_000_u32) {
            let mut thinned = SampledCount::default();
            (0..exported).for_each(|_| thinned.add(1.0));
            let all = f64::from(exported);
            let EstimateFields { value, low, high } = thinned.estimate(exported.into());
            prop_assert!(!thinned.is_sampled());
            prop_assert_eq!([value, low, high].map(f64::to_bits), [all.to_bits(); 3]);
        }
    }
}
