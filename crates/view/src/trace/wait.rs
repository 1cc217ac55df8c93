//! Where the seconds went: time in which at least one query was waiting, in total and by cause.

use super::record::TransactionFields;
use dnscribe_record::time::Timestamp;
use dnscribe_record::trace::{Wait, WaitCause};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The time that one query waited.
pub(super) struct Interval<'a> {
    pub(super) query: &'a TransactionFields,
    pub(super) end: Timestamp,
    pub(super) is_search_miss: bool,
}

impl Interval<'_> {
    fn cause(&self) -> WaitCause {
        match (&*self.query.status, self.query.outcome()) {
            _ if self.query.is_answer_lost() => WaitCause::NoAnswer,
            ("icmp_error", _) => WaitCause::Unreachable,
            ("timeout" | "open" | "evicted", _) => WaitCause::NoAnswer,
            (_, "NOERROR" | "NXDOMAIN") if self.is_search_miss => WaitCause::SearchList,
            (_, "NOERROR" | "NXDOMAIN") => WaitCause::Answer,
            _ => WaitCause::Failure,
        }
    }

    pub(super) const fn span(&self) -> (Timestamp, Timestamp) {
        (self.query.ts, self.end)
    }

    fn duration(&self) -> Duration {
        self.end.since(self.query.ts)
    }
}

/// Returns the time covered by at least one interval.
pub(super) fn covered<'a>(intervals: impl IntoIterator<Item = &'a Interval<'a>>) -> Duration {
    covered_by(intervals.into_iter().map(Interval::span))
}

/// Returns the time covered by at least one span.
pub(super) fn covered_by(spans: impl IntoIterator<Item = (Timestamp, Timestamp)>) -> Duration {
    let mut spans: Vec<_> = spans.into_iter().collect();
    spans.sort_unstable();
    let (mut total, mut until) = (Duration::ZERO, Timestamp::default());
    for (start, end) in spans {
        total += end.since(start.max(until));
        until = until.max(end);
    }
    total
}

/// Returns the waits by server and cause, the longest first.
pub(super) fn by_cause(intervals: &[Interval<'_>]) -> Vec<Wait> {
    let mut groups: BTreeMap<(&str, WaitCause), Vec<&Interval<'_>>> = BTreeMap::new();
    let mut answered: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
    for interval in intervals {
        let query = interval.query;
        groups.entry((&*query.resolver, interval.cause())).or_default().push(interval);
        if query.status == "answered" {
            answered.insert((&*query.resolver, query.qtype.as_deref()));
        }
    }
    let mut waits: Vec<Wait> = groups
        .into_iter()
        .map(|((resolver, cause), group)| {
            let qtypes: BTreeSet<&str> =
                group.iter().filter_map(|one| one.query.qtype.as_deref()).collect();
            let rcodes: BTreeSet<&str> = group
                .iter()
                .filter(|_| cause == WaitCause::Failure)
                .map(|one| one.query.outcome())
                .collect();
            let longest = group.iter().map(|one| one.duration()).max().unwrap_or_default();
            Wait {
                resolver: resolver.to_owned(),
                cause,
                wait_ms: millis(covered(group.iter().copied())),
                queries: group.len(),
                longest_ms: millis(longest),
                never_answered: cause == WaitCause::NoAnswer
                    && qtypes.iter().all(|qtype| !answered.contains(&(resolver, Some(*qtype)))),
                qtypes: qtypes.into_iter().map(str::to_owned).collect(),
                rcodes: rcodes.into_iter().map(str::to_owned).collect(),
                lost_at: group.iter().find_map(|one| one.query.lost_at.clone()),
            }
        })
        .collect();
    waits.sort_by(|a, b| b.wait_ms.total_cmp(&a.wait_ms).then_with(|| a.resolver.cmp(&b.resolver)));
    waits
}

/// Returns a duration in milliseconds with a resolution of microseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    let micros = Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    // A product of floats would have a tail: 1531.8480000000002.
    (micros * 1_000).as_secs_f64()
}
