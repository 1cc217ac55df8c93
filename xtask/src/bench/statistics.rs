//! Statistics of repeated measurements.

use anyhow::{Context as _, Result, ensure};

/// Median and range of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Median; the mean of the middle two if the number of values is even.
    pub median: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// Returns median and range; `None` without values.
    pub fn from_values(values: &[f64]) -> Option<Self> {
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

/// Repetition and value of a figure.
pub type Reading = (u32, f64);

/// Returns the ratio of a figure to that of another case. Each repetition gives one ratio of means, so that a
/// machine that becomes slower from one repetition to the next does not change the result.
pub fn ratio(figures: &[Reading], base: &[Reading]) -> Option<Spread> {
    let mut repetitions: Vec<u32> = figures.iter().map(|(repetition, _)| *repetition).collect();
    repetitions.dedup();
    let ratios: Vec<f64> = repetitions
        .into_iter()
        .filter_map(|repetition| Some(mean(figures, repetition)? / mean(base, repetition)?))
        .collect();
    Spread::from_values(&ratios)
}

/// Mean of the readings in a repetition.
fn mean(readings: &[Reading], wanted: u32) -> Option<f64> {
    let values = || readings.iter().filter(|(repetition, _)| *repetition == wanted);
    let count = u32::try_from(values().count()).ok().filter(|count| *count > 0)?;
    Some(values().map(|(_, value)| value).sum::<f64>() / f64::from(count))
}

/// Returns seconds per million items.
///
/// # Errors
/// If `count` is 0 or does not fit into 32 bits.
pub fn per_million(seconds: f64, count: u64) -> Result<f64> {
    ensure!(count > 0, "no messages or records were counted");
    let count = u32::try_from(count).context("the count does not fit into 32 bits")?;
    Ok(seconds / f64::from(count) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_numbers_of_values() {
        let spread = |values: &[f64]| Spread::from_values(values).unwrap();
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::from_values(&[]), None);
    }

    #[test]
    fn ratio_ignores_slower_repetitions() {
        let base = [(0, 1.0), (0, 3.0), (1, 10.0), (1, 30.0)];
        let twice = [(0, 4.0), (0, 4.0), (1, 40.0), (1, 40.0)];
        assert_eq!(ratio(&twice, &base), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
    }

    #[test]
    fn ratio_of_case_with_one_run_per_repetition() {
        assert_eq!(ratio(&[(0, 6.0)], &[(0, 2.0), (0, 4.0)]).map(|ratio| ratio.median), Some(2.0));
        assert_eq!(ratio(&[(0, 6.0)], &[]), None);
        assert_eq!(ratio(&[], &[(0, 1.0)]), None);
    }
}
