//! Numbers of a span of time, computed where the transactions are.
//!
//! All windows are made of panes of ten seconds: one of a minute is the sum of six, and so is one that
//! slides; one of five minutes is the sum of thirty. A transaction belongs to the pane of its
//! `ts`. A pane is closed when the capture's clock has passed its end by the allowed lateness, since a
//! query's outcome is known only after it; what comes later still is counted as late.

pub mod bounds;
mod counts;
mod group;
mod measured;
mod options;
pub mod sketch;
mod tally;

pub use counts::Counts;
pub use group::{Group, Grouping, Groups};
pub use measured::{Measured, entropy};
pub use options::{BadChoice, GroupingSet, Kind, KindSet, WindowOptions};
pub use tally::{Tally, Tops};

use crate::observation::Observation;
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Seconds of a pane.
const PANE: u64 = 10;
/// Panes of a minute.
const MINUTE: usize = 6;
/// Panes that may be open at a time: what is newer than all of them closes the oldest.
const MAX_OPEN: usize = 8;

/// A span of time of which something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of which kind it is.
    pub kind: Kind,
    /// Where it begins: a multiple of its step since 1970-01-01 UTC.
    pub start: Timestamp,
    /// How long it is.
    pub length: Duration,
    /// How far it is from the beginning of one to that of the next: less than `length` where windows
    /// slide.
    pub step: Duration,
    /// Whether the capture began within it, or ended before its end.
    pub partial: bool,
    /// Transactions so far, of any window, that came too late to be counted.
    pub late_total: u64,
}

/// The windows of a capture.
#[derive(Debug)]
pub struct Windows {
    lateness: Duration,
    /// The first pane that is not closed, by number: seconds since 1970 / [`PANE`]. None before the
    /// first transaction.
    next: Option<u64>,
    /// The pane in which the capture began.
    first: u64,
    open: BTreeMap<u64, Groups>,
    /// The last panes that were closed, oldest first; at most [`MINUTE`].
    closed: VecDeque<Groups>,
    five_minutes: Groups,
    late: u64,
}

impl Windows {
    /// No window yet. `lateness`: how long after the end of a window its transactions may come.
    #[must_use]
    pub fn new(epoch: Timestamp, lateness: Duration) -> Self {
        Self {
            lateness,
            next: None,
            first: pane_of(epoch),
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            five_minutes: Groups::default(),
            late: 0,
        }
    }

    /// Adopts another allowed lateness.
    pub const fn reconfigure(&mut self, lateness: Duration) {
        self.lateness = lateness;
    }

    /// Counts a transaction; gives the windows that it closes.
    pub fn observe(&mut self, observation: &Observation<'_>, each: &mut dyn FnMut(&Span, &Groups)) {
        let pane = pane_of(observation.ts);
        if *self.next.get_or_insert(pane) > pane {
            // Until something was closed, an older transaction only makes the first pane an older one.
            if !self.closed.is_empty() || self.open.len() >= MAX_OPEN {
                self.late += 1;
                return;
            }
            self.next = Some(pane);
        }
        self.open.entry(pane).or_default().add(observation, &Measured::of(observation));
        while self.open.len() > MAX_OPEN {
            self.close(false, each);
        }
    }

    /// Closes what has ended so long before `now` that nothing of it can come any more.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        while let Some(next) = self.next_to_tell()
            && end_of(next).plus(self.lateness) <= now
        {
            self.close(false, each);
        }
    }

    /// The capture has ended: closes all windows, the unfinished ones as partial.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        self.expire(now, each);
        while let Some(newest) = self.open.keys().next_back().copied() {
            self.close(self.next_to_tell() == Some(newest), each);
        }
    }

    /// Transactions that came too late to be counted.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Octets that all tallies take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let closed = self.open.values().chain(&self.closed).chain([&self.five_minutes]);
        closed.map(Groups::bytes).sum()
    }

    /// The next pane with whose end a window ends that has something to tell: of a silence, nothing.
    fn next_to_tell(&self) -> Option<u64> {
        let remembers =
            !self.five_minutes.is_empty() || self.closed.iter().any(|groups| !groups.is_empty());
        if remembers { self.next } else { self.open.keys().next().copied() }
    }

    /// Closes the next pane, and gives the windows that end with it; all of them, if it is the last.
    fn close(&mut self, last: bool, each: &mut dyn FnMut(&Span, &Groups)) {
        let Some(number) = self.next_to_tell() else { return };
        let pane = self.open.remove(&number).unwrap_or_default();
        let mut give = |kind: Kind, groups: &Groups| {
            if groups.is_empty() {
                return;
            }
            let (panes, step) = kind.panes();
            let start = if step < panes {
                (number + 1).saturating_sub(panes)
            } else {
                number / panes * panes
            };
            let span = Span {
                kind,
                start: Timestamp::from_nanos(start * PANE * 1_000_000_000),
                length: Duration::from_secs(panes * PANE),
                step: Duration::from_secs(step * PANE),
                partial: last || start <= self.first,
                late_total: self.late,
            };
            each(&span, groups);
        };
        give(Kind::TenSeconds, &pane);
        self.five_minutes.merge(&pane);
        if self.closed.len() == MINUTE {
            self.closed.pop_front();
        }
        self.closed.push_back(pane);
        let mut minute = Groups::default();
        self.closed.iter().for_each(|pane| minute.merge(pane));
        give(Kind::Sliding, &minute);
        if last || (number + 1) % 6 == 0 {
            // Where the capture ends, the minute is shorter than what slides.
            if last {
                minute = Groups::default();
                let of_minute = usize::try_from(number % 6).unwrap_or(0) + 1;
                let skipped = self.closed.len().saturating_sub(of_minute);
                self.closed.iter().skip(skipped).for_each(|pane| minute.merge(pane));
            }
            give(Kind::Minute, &minute);
        }
        if last || (number + 1) % 30 == 0 {
            give(Kind::FiveMinutes, &self.five_minutes);
            self.five_minutes = Groups::default();
        }
        self.next = Some(number + 1);
    }
}

fn pane_of(ts: Timestamp) -> u64 {
    ts.as_nanos() / (PANE * 1_000_000_000)
}

fn end_of(pane: u64) -> Timestamp {
    Timestamp::from_nanos((pane + 1) * PANE * 1_000_000_000)
}

#[cfg(test)]
mod tests;
