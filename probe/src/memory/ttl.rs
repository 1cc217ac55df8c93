//! The TTL of an answer at one endpoint, distinguished from those that caches count down.

use dnscribe_record::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shortest time over which the largest TTL is that of the zone.
const SPAN: Duration = Duration::from_hours(1);
/// Least number of answers in that time.
const MIN_ANSWERS: u32 = 20;
/// Answers must come this many times within a TTL: else a cache that is asked at equal times always shows the
/// same remainder.
const ANSWERS_PER_TTL: u32 = 4;

/// What is known of a TTL. A span's largest TTL is at least three quarters of the zone's, as answers come four
/// times within it; so two spans whose largest differ by more than half have different TTLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTtl {
    /// TTL of the zone in seconds; 0 while it is not known.
    #[serde(default)]
    known: u32,
    /// Largest TTL of the span that goes on, and the number of its answers.
    #[serde(default)]
    largest: u32,
    #[serde(default)]
    count: u32,
    /// When the span began.
    #[serde(default)]
    since: Timestamp,
    /// The last change, until it is known for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<TtlChange>,
}

/// A TTL that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtlChange {
    /// The TTL before, in seconds.
    pub from: u32,
    /// The TTL since.
    pub to: u32,
    /// When it was found.
    pub at: Timestamp,
}

impl KnownTtl {
    /// Returns whether no answer was seen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// TTL of the zone in seconds, as far as it is known.
    pub fn known(&self) -> Option<u32> {
        (self.known > 0).then_some(self.known)
    }

    /// Learns the smallest TTL of an answer. Returns the change that was found less than `shown` ago.
    pub fn observe(&mut self, ttl: u32, now: Timestamp, shown: Duration) -> Option<TtlChange> {
        if self.count == 0 {
            (self.largest, self.since) = (ttl, now);
        }
        self.largest = self.largest.max(ttl);
        self.count += 1;
        // An old TTL may be counted down for as long as it is.
        let known = Duration::from_secs(self.known.max(self.largest).into());
        if now.since(self.since) >= SPAN.max(known * 2) && self.count >= MIN_ANSWERS {
            self.end_span(now);
        }
        self.change = self.change.filter(|change| now.since(change.at) < shown);
        self.change
    }

    fn end_span(&mut self, now: Timestamp) {
        let interval = now.since(self.since) / self.count;
        // A TTL that is too small to be judged itself is known to be smaller than one that was not.
        let judged = Duration::from_secs(self.known.max(self.largest).into());
        let is_dense = interval * ANSWERS_PER_TTL <= judged;
        self.count = 0;
        if !is_dense {
            return;
        }
        let (from, to) = (self.known, self.largest);
        let differs = u64::from(from.max(to)) * 2 > u64::from(from.min(to)) * 3;
        if from > 0 && differs {
            self.change = Some(TtlChange { from, to, at: now });
        }
        self.known = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const SHOWN: Duration = Duration::from_hours(1);

    /// Asks each `interval` seconds, from `from` to `to`, for the TTL at that second.
    fn play(
        known: &mut KnownTtl,
        (from, to): (u64, u64),
        interval: u64,
        ttl: impl Fn(u64) -> u32,
    ) -> Vec<TtlChange> {
        let mut changes: Vec<TtlChange> = Vec::new();
        for second in (from..to).step_by(usize::try_from(interval).unwrap()) {
            let now = Timestamp::from_nanos(second * 1_000_000_000);
            changes.extend(known.observe(ttl(second), now, SHOWN));
        }
        changes.dedup();
        changes
    }

    /// Counts down as a cache does that is filled once each `full` seconds.
    fn counted_down(full: u32) -> impl Fn(u64) -> u32 {
        move |second| full - u32::try_from(second % u64::from(full)).unwrap()
    }

    #[test]
    fn caches_that_count_down_are_no_change() {
        for full in [300, 1800, 3600, 86_400] {
            let mut known = KnownTtl::default();
            let week = (1_000_000, 1_000_000 + 7 * 86_400);
            assert_eq!(play(&mut known, week, MINUTE, counted_down(full)), [], "{full}");
            assert!(known.known > full / 4 * 3, "{known:?}");
        }
    }

    #[test]
    fn times_that_always_see_the_same_remainder_tell_nothing() {
        let mut known = KnownTtl::default();
        let hours = |from: u64, to: u64| (1_000_000 + from * 3600, 1_000_000 + to * 3600);
        assert_eq!(play(&mut known, hours(0, 24), 300, |_| 120), []);
        assert_eq!(play(&mut known, hours(24, 48), 300, |_| 290), []);
        assert_eq!(known.known, 0);
    }

    #[test]
    fn changes_are_found_and_shown_for_a_time() {
        let start = 1_000_000;
        for (before, after) in [(3600, 300), (300, 3600), (86_400, 3600)] {
            let mut known = KnownTtl::default();
            let change = start + 4 * 86_400;
            assert_eq!(play(&mut known, (start, change), MINUTE, counted_down(before)), []);
            let found =
                play(&mut known, (change, change + 4 * 86_400), MINUTE, counted_down(after));
            let [only] = found[..] else { panic!("{before} to {after}: {found:?}") };
            assert!(only.from > before / 4 * 3 && only.to > after / 4 * 3, "{only:?}");
            assert_eq!(known.change, None);
        }
        // Smaller than the time between two answers.
        let mut known = KnownTtl::default();
        play(&mut known, (start, start + 86_400), MINUTE, counted_down(3600));
        let found = play(&mut known, (start + 86_400, start + 2 * 86_400), MINUTE, |_| 30);
        assert_eq!(found.iter().map(|one| one.to).collect::<Vec<_>>(), [30]);
    }
}
