//! Comparison of two latency measurements of the same queries.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Returns the seconds of a client's answered transactions by name, seen from one vantage.
#[must_use]
pub fn latencies_by_name<'a>(
    records: impl IntoIterator<Item = &'a Value>,
    vantage: &str,
    client: IpAddr,
) -> BTreeMap<String, f64> {
    let client = client.to_string();
    let wanted = |record: &&Value| {
        record["vantage"] == vantage
            && record["status"] == "answered"
            && record["client_ip"] == client.as_str()
    };
    records
        .into_iter()
        .filter(wanted)
        .filter_map(|record| {
            Some((record["qname"].as_str()?.to_owned(), record["latency_ms"].as_f64()? / 1e3))
        })
        .collect()
}

/// Returns the sorted differences in seconds between two measurements of the same queries.
#[must_use]
pub fn differences(one: &BTreeMap<String, f64>, other: &BTreeMap<String, f64>) -> Vec<f64> {
    let pairs = one.iter().filter_map(|(name, seconds)| Some(seconds - other.get(name)?));
    let mut differences: Vec<f64> = pairs.collect();
    differences.sort_by(f64::total_cmp);
    differences
}

/// Returns the value at a quantile of a sorted list: 0.5 is the median.
pub fn quantile(ordered: &[f64], share: f64) -> Result<f64> {
    let last = ordered.len().checked_sub(1).context("nothing to compare")?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a short list"
    )]
    let place = (last as f64 * share).round() as usize;
    ordered.get(place).copied().context("no such share")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_only_names_in_both() {
        let account = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect()
        };
        let one = account(&[("a", 3.0), ("b", 1.0), ("c", 9.0)]);
        let other = account(&[("a", 1.0), ("b", 2.0), ("d", 9.0)]);
        let found = differences(&one, &other);
        assert_eq!(found.len(), 2);
        assert!((quantile(&found, 0.0).unwrap() + 1.0).abs() < 1e-12);
        assert!((quantile(&found, 1.0).unwrap() - 2.0).abs() < 1e-12);
        assert!(quantile(&[], 0.5).is_err());
    }
}
