//! Numbers of a span of time, computed where the transactions are.
//!
//! All windows are made of panes of ten seconds: one of a minute is the sum of six, and so is one that
//! slides; one of five minutes is the sum of thirty. A transaction belongs to the pane of its
//! `ts`. A pane is closed when the capture's clock has passed its end by the allowed lateness, since a
//! query's outcome is known only after it; what comes later still is counted as late.
//!
//! Memory is bounded whatever the traffic: see [`Windows::max_bytes`].

mod batch;
pub mod bounds;
mod counts;
mod group;
mod groups;
mod measured;
mod memory;
mod options;
mod recent;
mod seen;
pub mod sketch;
mod tally;
mod untold;

pub use counts::Counts;
pub use group::{Group, Grouping};
pub use groups::Groups;
pub use measured::{Measured, Measurer, entropy};
pub use options::{BadChoice, GroupingSet, Kind, KindSet, WindowOptions};
pub use tally::{Tally, TopSlots, Tops};
pub use untold::{Estimate, RCODES, Thinned, Untold};

use crate::observation::Observation;
use crate::pair::Vantage;
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Seconds of a pane.
const PANE: u64 = 10;
/// Panes of a minute.
const MINUTE: usize = 6;
/// How far a transaction may be ahead of the time at which it came to light, and of the clock.
const AHEAD: Duration = Duration::from_secs(1);
/// If the clock steps back further than this, windows begin anew.
const STEP_BACK: Duration = Duration::from_secs(300);

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
    /// Where what is counted begins: with the capture, or where its clock stepped back.
    epoch: Timestamp,
    /// The latest time that was told.
    clock: Timestamp,
    /// When what comes next came to light. Later than the clock, where many transactions come at once.
    now: Timestamp,
    /// The first pane that is not closed, by number: seconds since 1970 / [`PANE`]. None before the
    /// first transaction.
    next: Option<u64>,
    open: BTreeMap<u64, Groups>,
    /// The last panes that were closed, oldest first; at most [`MINUTE`].
    closed: VecDeque<Groups>,
    five_minutes: Groups,
    late: u64,
    measurer: Measurer,
}

impl Windows {
    /// No window yet. `lateness`: how long after the end of a window its transactions may come.
    #[must_use]
    pub fn new(epoch: Timestamp, lateness: Duration) -> Self {
        Self {
            lateness,
            epoch,
            clock: epoch,
            now: epoch,
            next: None,
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            five_minutes: Groups::default(),
            late: 0,
            measurer: Measurer::default(),
        }
    }

    /// Adopts another allowed lateness.
    pub const fn reconfigure(&mut self, lateness: Duration) {
        self.lateness = lateness;
    }

    /// What comes next came to light at this time. Nothing is closed by it.
    pub const fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Counts a transaction, of whose time [`Self::tick`] or [`Self::expire`] must have told.
    pub fn observe(&mut self, observation: &Observation<'_>) {
        let pane = pane_of(observation.ts);
        let is_closed = self.next.is_some_and(|next| pane < next && !self.closed.is_empty());
        if is_closed || self.is_over(pane) || observation.ts > self.clock.max(self.now).plus(AHEAD)
        {
            self.late += 1;
            return;
        }
        let measured = self.measurer.measure(observation);
        self.open_pane(pane).add(observation, &measured);
    }

    /// A pane that is not closed.
    fn open_pane(&mut self, pane: u64) -> &mut Groups {
        // Until something was closed, an older transaction only makes the first pane an older one.
        self.next = Some(self.next.map_or(pane, |next| next.min(pane)));
        let Self { open, closed, .. } = self;
        if !open.contains_key(&pane) {
            let before = open.range_mut(..pane).next_back().map(|(_, groups)| groups);
            let before = before.or_else(|| closed.back_mut());
            let groups = before.map(Groups::successor).unwrap_or_default();
            open.insert(pane, groups);
        }
        open.entry(pane).or_default()
    }

    /// Counts messages that were not told, read from the kernel at a time: of all, and of a resolver.
    /// What comes too late for its pane goes to the next.
    pub fn untold(
        &mut self,
        ts: Timestamp,
        vantage: Vantage,
        (transport, resolver): (&'static str, Option<&str>),
        untold: &Untold,
    ) {
        let is_told = |pane| self.next.is_some_and(|next| pane < next && !self.closed.is_empty());
        let mut pane = pane_of(ts);
        while is_told(pane) || self.is_over(pane) {
            pane += 1;
        }
        self.open_pane(pane).add_untold(vantage, (transport, resolver), untold);
    }

    /// Closes what has ended so long before `now` that nothing of it can come any more.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        if now.plus(STEP_BACK) < self.clock {
            self.end(each);
            self.epoch = now;
            self.clock = now;
        }
        self.now = now;
        self.clock = self.clock.max(now);
        while let Some(next) = self.next_to_tell()
            && self.is_over(next)
        {
            self.close(next, each);
        }
    }

    /// The capture has ended: closes all windows, the unfinished ones as partial.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        self.expire(now, each);
        self.end(each);
    }

    /// Transactions that came too late to be counted.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Octets that all tallies take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let all = self.open.values().chain(&self.closed).chain([&self.five_minutes]);
        self.measurer.bytes() + all.map(Groups::bytes).sum::<usize>()
    }

    /// The most that they can take, whatever the traffic: those of the panes that are open or
    /// make up a minute, of the five minutes, and of the minute that is being summed up; and what helps
    /// counting.
    #[must_use]
    pub const fn max_bytes(lateness: Duration) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "some dozens")]
        let open = (lateness.as_secs() + AHEAD.as_secs()).div_ceil(PANE) as usize + 1;
        (open + MINUTE + 2) * Groups::MAX_BYTES
            + open * Groups::MAX_OPEN_BYTES
            + Measurer::MAX_BYTES
    }

    /// Whether nothing of a pane can come any more.
    fn is_over(&self, pane: u64) -> bool {
        end_of(pane).plus(self.lateness) <= self.clock
    }

    /// The next pane with whose end a window ends that has something to tell: of a silence, nothing.
    fn next_to_tell(&self) -> Option<u64> {
        let remembers =
            !self.five_minutes.is_empty() || self.closed.iter().any(|groups| !groups.is_empty());
        if remembers { self.next } else { self.open.keys().next().copied() }
    }

    /// Closes a pane, and gives the windows that end with it.
    fn close(&mut self, number: u64, each: &mut dyn FnMut(&Span, &Groups)) {
        let mut pane = self.open.remove(&number).unwrap_or_default();
        pane.settle();
        self.give(Kind::TenSeconds, number, &pane, each);
        self.five_minutes.absorb(&[&pane]);
        if self.closed.len() == MINUTE {
            self.closed.pop_front();
        }
        self.closed.push_back(pane);
        self.next = Some(number + 1);
        let minute = self.sum_of(MINUTE);
        self.give(Kind::Sliding, number, &minute, each);
        if (number + 1).is_multiple_of(6) {
            self.give(Kind::Minute, number, &minute, each);
        }
        if (number + 1).is_multiple_of(30) {
            let five_minutes = std::mem::take(&mut self.five_minutes);
            self.give(Kind::FiveMinutes, number, &five_minutes, each);
        }
    }

    /// Closes all panes, gives the windows that had not ended, and forgets all but the lateness.
    fn end(&mut self, each: &mut dyn FnMut(&Span, &Groups)) {
        while !self.open.is_empty()
            && let Some(next) = self.next_to_tell()
        {
            self.close(next, each);
        }
        if let Some(last) = self.next.and_then(|next| next.checked_sub(1)) {
            if !(last + 1).is_multiple_of(6) {
                let of_minute = usize::try_from(last % 6).unwrap_or(0) + 1;
                let minute = self.sum_of(of_minute);
                self.give(Kind::Minute, last, &minute, each);
            }
            // Empty where a window has just ended.
            let five_minutes = std::mem::take(&mut self.five_minutes);
            self.give(Kind::FiveMinutes, last, &five_minutes, each);
        }
        self.closed.clear();
        self.next = None;
    }

    /// The sum of the panes that were closed last.
    fn sum_of(&self, panes: usize) -> Groups {
        let skipped = self.closed.len().saturating_sub(panes);
        let parts: Vec<&Groups> = self.closed.iter().skip(skipped).collect();
        let mut sum = Groups::default();
        sum.absorb(&parts);
        sum
    }

    /// Gives the window that ends with a pane, or would have, had it not been the last.
    fn give(&self, kind: Kind, last: u64, groups: &Groups, each: &mut dyn FnMut(&Span, &Groups)) {
        if groups.is_empty() {
            return;
        }
        let (panes, step) = kind.panes();
        let first =
            if step < panes { (last + 1).saturating_sub(panes) } else { last / panes * panes };
        let start = start_of(first);
        let span = Span {
            kind,
            start,
            length: Duration::from_secs(panes * PANE),
            step: Duration::from_secs(step * PANE),
            partial: start < self.epoch || start_of(first + panes) > self.clock,
            late_total: self.late,
        };
        each(&span, groups);
    }
}

fn pane_of(ts: Timestamp) -> u64 {
    ts.as_nanos() / (PANE * 1_000_000_000)
}

fn start_of(pane: u64) -> Timestamp {
    Timestamp::from_nanos(pane.saturating_mul(PANE * 1_000_000_000))
}

fn end_of(pane: u64) -> Timestamp {
    start_of(pane + 1)
}

#[cfg(test)]
mod tests;
