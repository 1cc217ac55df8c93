//! Rows that a source has delivered and that its overlap may bring again, by their hashes.
//!
//! They are a file of the store, which the position of the newest import of the source names.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Rows by the beginning of their SHA-256.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DeliveredRows(HashMap<u128, Delivered>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Delivered {
    /// How often one pull has brought the row: the source may have it twice.
    times: u32,
    /// Its place in the order of `since`.
    place: Option<i64>,
}

impl DeliveredRows {
    /// Parses what [`Self::text`] has written; none if it is something else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let row = |line: &str| {
            let mut parts = line.split(' ');
            let hash = u128::from_str_radix(parts.next()?, 16).ok()?;
            let times = parts.next()?.parse().ok()?;
            let place = parts.next().map(str::parse).transpose().ok()?;
            Some((hash, Delivered { times, place }))
        };
        text.lines().map(row).collect::<Option<_>>().map(Self)
    }

    /// Writes a line for each row, in the order of their hashes.
    pub(super) fn text(&self) -> String {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_unstable_by_key(|(hash, _)| **hash);
        let mut text = String::new();
        for (hash, Delivered { times, place }) in rows {
            let place = place.map(|place| format!(" {place}")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{hash:032x} {times}{place}");
        }
        text
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a row, and returns how often it was added.
    pub(super) fn add(&mut self, hash: u128, place: Option<i64>) -> u32 {
        let row = self.0.entry(hash).or_insert(Delivered { times: 0, place });
        row.times = row.times.saturating_add(1);
        row.times
    }

    /// How often a row was added.
    pub(super) fn times(&self, hash: u128) -> u32 {
        self.0.get(&hash).map_or(0, |row| row.times)
    }

    /// Adds the rows of earlier pulls, which this one may have brought again.
    pub(super) fn extend(&mut self, earlier: Self) {
        for (hash, earlier) in earlier.0 {
            let row = self.0.entry(hash).or_insert(earlier);
            row.times = row.times.max(earlier.times);
        }
    }

    /// Forgets rows before a place, and those without one.
    pub(super) fn forget_before(&mut self, place: i64) {
        self.0.retain(|_, row| row.place.is_some_and(|known| known >= place));
    }
}

/// Returns the beginning of the SHA-256 of a row.
pub(super) fn row_hash(row: &str) -> u128 {
    Sha256::digest(row.as_bytes())[..16].iter().fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_known_until_their_place_is_left() {
        let mut earlier = DeliveredRows::default();
        assert_eq!(earlier.add(row_hash("a"), Some(-5)), 1);
        assert_eq!(earlier.add(row_hash("b"), Some(7)), 1);
        assert_eq!(earlier.add(row_hash("b"), Some(7)), 2);
        earlier.add(row_hash("c"), None);
        let text = earlier.text();
        let read = DeliveredRows::parse(&text).unwrap();
        assert_eq!((&read, read.len()), (&earlier, 3));
        let mut rows = DeliveredRows::default();
        rows.add(row_hash("b"), Some(7));
        rows.extend(read);
        rows.forget_before(7);
        let times = ["a", "b", "c"].map(|row| rows.times(row_hash(row)));
        assert_eq!(times, [0, 2, 0]);
        for damaged in ["x 1", "12", "12 one", "12 1 soon"] {
            assert_eq!(DeliveredRows::parse(damaged), None, "{damaged}");
        }
        assert_eq!(DeliveredRows::parse(""), Some(DeliveredRows::default()));
    }
}
