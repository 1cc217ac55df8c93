//! What tests of detectors share.

use super::finding::{Detector, Finding};
use crate::observation::Observation;
use crate::observation::testing::example;
use crate::time::Timestamp;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// A point in time well after the beginning.
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000_000).plus(Duration::from_secs_f64(seconds))
}

/// A query for a name.
pub(crate) fn query(seconds: f64, qname: &str, take: impl FnOnce(&mut Observation<'_>)) {
    let mut observation = example(at(seconds));
    observation.qname = Some(qname);
    observation.zone = crate::record::registrable(qname);
    observation.query_bytes = u32::try_from(qname.len() + 18).ok();
    observation.response_bytes = Some(qname.len() as u64 + 34);
    take(&mut observation);
}

/// What a detector finds.
pub(crate) fn findings(detector: &mut dyn Detector, seconds: f64) -> Vec<Finding> {
    let mut found = Vec::new();
    detector.evaluate(at(seconds), &mut |finding| found.push(finding));
    found
}

/// Letters that look random and are the same every time.
pub(crate) fn random(number: u64, alphabet: &[u8], length: u64) -> String {
    let letter = |place: u64| {
        let octets = [number.to_le_bytes(), place.to_le_bytes()].concat();
        let chosen = usize::try_from(xxh3_64(&octets) >> 33).unwrap_or(0) % alphabet.len();
        char::from(alphabet[chosen])
    };
    (0..length).map(letter).collect()
}

pub(crate) const HEX: &[u8] = b"0123456789abcdef";
pub(crate) const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
pub(crate) const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
