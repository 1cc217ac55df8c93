//! Helpers for the tests of detectors.

use crate::detect::{DetectOptions, Detector, Finding};
use crate::view::TransactionView;
use crate::view::testing::example;
use dnscribe_record::time::Timestamp;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Returns a time `seconds` after an arbitrary start, well after 1970.
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000_000).plus(Duration::from_secs_f64(seconds))
}

/// Passes a query for `qname` to `take`.
pub(crate) fn query(seconds: f64, qname: &str, take: impl FnOnce(&mut TransactionView<'_>)) {
    let mut observation = example(at(seconds));
    observation.qname = Some(qname);
    observation.zone = dnscribe_dns::registrable_domain(qname);
    observation.query_bytes = u32::try_from(qname.len() + 18).ok();
    observation.response_bytes = Some(qname.len() as u64 + 34);
    take(&mut observation);
}

/// Returns a time `seconds` after 1970-01-01 UTC.
pub(crate) fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// Returns the hash of a number, as a key.
pub(crate) fn key(number: u64) -> u64 {
    xxh3_64(&number.to_ne_bytes())
}

/// Returns the findings of `detector`.
pub(crate) fn findings(detector: &mut dyn Detector, seconds: f64) -> Vec<Finding> {
    let mut found = Vec::new();
    detector.evaluate(at(seconds), &mut |finding| found.push(finding));
    found
}

/// Returns `length` pseudorandom letters; the same for the same `number`.
pub(crate) fn random(number: u64, alphabet: &[u8], length: u64) -> String {
    let letter = |index: u64| {
        let bytes = [number.to_le_bytes(), index.to_le_bytes()].concat();
        let chosen = usize::try_from(xxh3_64(&bytes) >> 33).unwrap_or(0) % alphabet.len();
        char::from(alphabet[chosen])
    };
    (0..length).map(letter).collect()
}

/// Returns options that judge after ten minutes, the least that a baseline needs, and small rates.
pub(crate) fn fast_learning() -> DetectOptions {
    let mut options = DetectOptions::default();
    for rule in &mut options.rules {
        rule.learning = rule.learning.min(Duration::from_mins(10));
    }
    options.query_rate.min_queries = 300;
    options
}

pub(crate) const HEX: &[u8] = b"0123456789abcdef";
pub(crate) const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
pub(crate) const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
