//! Counts over a look-back of one to two spans of time, and sets of hashes to count each value once.

use dnscribe_record::Merge;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// A timestamp older than the current span by more than this (and by more than a span) means that the
/// clock was set back.
const CLOCK_SET_BACK: Duration = Duration::from_hours(1);

/// The current span of time and the previous one: a look-back of one to two spans.
#[derive(Clone, Debug, Default)]
pub(super) struct Rolling<T> {
    start: Timestamp,
    pub(super) current: T,
    pub(super) previous: T,
}

impl<T: Default> Rolling<T> {
    /// Moves on to the span that contains `ts`. A late `ts` leaves the current span as it is.
    pub(super) fn roll(&mut self, ts: Timestamp, span: Duration) {
        if ts < self.start {
            if self.start.since(ts) > CLOCK_SET_BACK.max(span) {
                *self = Self { start: ts, ..Self::default() };
            }
            return;
        }
        let passed = ts.since(self.start);
        if passed >= span * 2 {
            *self = Self { start: ts, ..Self::default() };
        } else if passed >= span {
            self.previous = std::mem::take(&mut self.current);
            self.start = self.start.plus(span);
        }
    }

    /// Moves on to `ts`, and returns the span that contains it; none if it is older than both.
    pub(super) fn span_of(&mut self, ts: Timestamp, span: Duration) -> Option<&mut T> {
        self.roll(ts, span);
        if ts >= self.start {
            return Some(&mut self.current);
        }
        (self.start.since(ts) <= span).then_some(&mut self.previous)
    }
}

impl<T> Rolling<T> {
    /// Returns the sum of a count over both spans.
    pub(super) fn sum(&self, count: impl Fn(&T) -> u64) -> u64 {
        count(&self.current) + count(&self.previous)
    }
}

/// Counts of a span, and the values that were counted in it.
#[derive(Clone, Debug, Default)]
pub(super) struct SpanCounts<C, const WORDS: usize> {
    pub(super) counts: C,
    seen: BloomFilter<WORDS>,
}

impl<C: Merge + Clone, const WORDS: usize> Rolling<SpanCounts<C, WORDS>> {
    /// Returns whether a value is new in both spans. It is known from then on.
    pub(super) fn is_new(&mut self, hash: u64) -> bool {
        self.current.seen.insert_new(&self.previous.seen, hash)
    }

    /// Returns the counts of both spans.
    pub(super) fn total(&self) -> C {
        let mut total = self.current.counts.clone();
        total.merge(&self.previous.counts);
        total
    }
}

/// Bloom filter with one hash function and 64 × `WORDS` bits.
#[derive(Clone, Debug)]
pub(super) struct BloomFilter<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Default for BloomFilter<WORDS> {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl<const WORDS: usize> BloomFilter<WORDS> {
    /// Inserts `hash` unless it is in this filter or in that of the previous span. Returns whether it
    /// was new.
    pub(super) fn insert_new(&mut self, previous: &Self, hash: u64) -> bool {
        !previous.contains(hash) && self.insert(hash)
    }

    /// Inserts `hash` as [`Self::insert_new`]. Returns how many different values that adds: none if it is known, else one, and
    /// those that met bits in use since the one before (linear counting).
    pub(super) fn count_new(&mut self, previous: &Self, hash: u64) -> f64 {
        if !self.insert_new(previous, hash) {
            return 0.0;
        }
        let both = self.0.iter().zip(&previous.0);
        let free: u64 = both.map(|(one, other)| u64::from((one | other).count_zeros())).sum();
        // As it was before.
        to_f64(64 * WORDS as u64) / to_f64(free + 1)
    }

    /// Inserts `hash`. Returns whether it was new.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        let (word, bit) = Self::position(hash);
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        let (word, bit) = Self::position(hash);
        self.0[word] & bit != 0
    }

    fn position(hash: u64) -> (usize, u64) {
        // The lower half of the hash; `AssociativeTable` uses the upper half.
        let low = usize::try_from(hash & 0xFFFF_FFFF).unwrap_or(0);
        (low / 64 % WORDS, 1 << (low % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::helpers::{key, seconds as at};

    #[test]
    fn filter_contains_inserted_hash() {
        let (mut current, mut previous) = (BloomFilter::<16>::default(), BloomFilter::default());
        assert!(current.insert(key(7)) && !current.insert(key(7)));
        assert!(previous.insert(key(8)) && !current.insert_new(&previous, key(8)));
        assert!(!current.contains(key(8)));
    }

    #[test]
    fn many_values_are_counted_once_each() {
        for count in [30_u64, 100, 600, 2_000, 6_000] {
            let mut filters = (BloomFilter::<64>::default(), BloomFilter::default());
            let mut sum = 0.0;
            for number in 0..count {
                if number == count / 2 {
                    filters = (BloomFilter::default(), filters.0);
                }
                sum += filters.0.count_new(&filters.1, key(number));
            }
            let again: f64 = (0..count).map(|n| filters.0.count_new(&filters.1, key(n))).sum();
            assert!(again.abs() < f64::EPSILON);
            let found = sum / to_f64(count);
            assert!((0.95..1.05).contains(&found) || count < 100, "{sum} of {count}");
        }
    }

    #[test]
    fn looks_back_at_least_one_span() {
        let span = Duration::from_mins(1);
        let mut rolling = Rolling::<u32>::default();
        rolling.roll(at(1000), span);
        rolling.current += 1;
        rolling.roll(at(1059), span);
        rolling.current += 1;
        rolling.roll(at(1061), span);
        assert_eq!((rolling.current, rolling.previous), (0, 2));
        // A late timestamp is ignored; one that is hours old resets the spans.
        rolling.roll(at(100), span);
        assert_eq!(rolling.previous, 2);
        rolling.roll(at(20_000), span);
        rolling.current = 3;
        rolling.roll(at(100), span);
        assert_eq!((rolling.current, rolling.previous), (0, 0));
        rolling.current = 3;
        rolling.roll(at(400), span);
        assert_eq!((rolling.current, rolling.previous), (0, 0));
    }
}
