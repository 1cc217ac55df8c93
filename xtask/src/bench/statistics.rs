//! What is made of repeated measurements.

use anyhow::{Context as _, Result, ensure};

/// The middle of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; the mean of the middle two where they are even in number.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

/// A figure of one run of a case, and in which repetition.
pub type Reading = (u32, f64);

/// How often the figure of one case holds that of another. Each repetition gives a ratio of its own, of
/// means within it, so that a machine that becomes slower from one to the next does not matter.
pub fn ratio(figures: &[Reading], base: &[Reading]) -> Option<Spread> {
    let mut repetitions: Vec<u32> = figures.iter().map(|(repetition, _)| *repetition).collect();
    repetitions.dedup();
    let ratios: Vec<f64> = repetitions
        .into_iter()
        .filter_map(|repetition| Some(mean(figures, repetition)? / mean(base, repetition)?))
        .collect();
    Spread::of(&ratios)
}

fn mean(readings: &[Reading], of: u32) -> Option<f64> {
    let values = || readings.iter().filter(|(repetition, _)| *repetition == of);
    let count = u32::try_from(values().count()).ok().filter(|count| *count > 0)?;
    Some(values().map(|(_, value)| value).sum::<f64>() / f64::from(count))
}

/// Seconds for each million of something.
pub fn per_million(seconds: f64, count: u64) -> Result<f64> {
    ensure!(count > 0, "nothing was seen: there is no cost to measure");
    let count = u32::try_from(count).context("too many to measure")?;
    Ok(seconds / f64::from(count) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| Spread::of(values).unwrap();
        assert_eq!(of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(of(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_machine_that_slows_down_changes_no_ratio() {
        let base = [(0, 1.0), (0, 3.0), (1, 10.0), (1, 30.0)];
        let twice = [(0, 4.0), (0, 4.0), (1, 40.0), (1, 40.0)];
        assert_eq!(ratio(&twice, &base), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
    }

    #[test]
    fn a_case_that_runs_once_a_repetition_is_compared_too() {
        assert_eq!(ratio(&[(0, 6.0)], &[(0, 2.0), (0, 4.0)]).map(|ratio| ratio.median), Some(2.0));
        assert_eq!(ratio(&[(0, 6.0)], &[]), None);
        assert_eq!(ratio(&[], &[(0, 1.0)]), None);
    }
}
