//! Windows: metrics of spans of time, from transactions to closed [`Groups`] of counts and
//! sketches.
//!
//! All windows consist of panes of ten seconds: a minute, sliding or not, is the sum of six panes,
//! five minutes of thirty. A transaction belongs to the pane of its `ts`. A pane is closed once the
//! capture's clock has passed its end by the allowed lateness, because outcomes are known only
//! then; later transactions are counted as late.
//!
//! Memory is bounded whatever the traffic: see [`Windows::max_bytes`].

mod batch;
pub mod bounds;
mod counts;
mod direct_mapped_cache;
mod group;
mod groups;
mod measured;
mod not_exported;
mod options;
mod tally;
mod top_buffer;

pub use counts::BoundedCounts;
pub use group::{Group, Grouping};
pub use groups::Groups;
pub use not_exported::{NotExported, RCODES, SampledCount};
pub use options::{ChoiceError, ChoiceSet, GroupingSet, WindowKind, WindowKindSet, WindowOptions};
pub use tally::{Tally, TopSlots, Tops};

use crate::view::TransactionView;
use dnscribe_record::time::{ClockShift, Timestamp};
use dnscribe_transaction::pair::Vantage;
use measured::Measurer;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Length of a pane in seconds.
const PANE: u64 = 10;
const PANE_NANOS: u64 = PANE * 1_000_000_000;
/// Panes per minute.
const MINUTE: usize = 6;
/// Maximum time by which a transaction may be ahead of the clock and of the time of its report.
const MAX_AHEAD: Duration = Duration::from_secs(1);
/// If the clock of a capture file steps back by more than this, windows start anew.
const MAX_STEP_BACK: Duration = Duration::from_mins(5);
/// If the host's clock is set by this much, windows start anew.
const MIN_CLOCK_STEP_NANOS: u64 = 1_000_000_000;

/// Time span of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Kind of window.
    pub kind: WindowKind,
    /// Start: by the host's clock, a multiple of the step since 1970-01-01 UTC.
    pub start: Timestamp,
    /// Length.
    pub length: Duration,
    /// Time between the starts of consecutive windows; less than `length` for sliding windows.
    pub step: Duration,
    /// Whether the capture began within the window or ended before its end.
    pub partial: bool,
    /// Transactions of all windows so far that were too late to be counted.
    pub late_total: u64,
}

/// The windows of a capture.
#[derive(Debug)]
pub struct Windows {
    /// Time after the end of a window during which its transactions may arrive.
    lateness: Duration,
    /// A shorter such time, and when it begins: once the queries have ended that wait for longer.
    next_lateness: Option<(Timestamp, Duration)>,
    /// How far the host's clock was set since capture began. Panes begin at multiples of their length by that clock.
    shift: ClockShift,
    /// Start of the capture, or of the clock after a step.
    epoch: Timestamp,
    /// Latest time seen by [`Self::expire`].
    clock: Timestamp,
    /// Time at which the next transactions were reported. Ahead of `clock` while a batch is
    /// processed.
    pub now: Timestamp,
    /// Number of the first open pane: seconds since 1970 divided by [`PANE`]. `None` before the
    /// first transaction.
    next: Option<u64>,
    open: BTreeMap<u64, Groups>,
    /// Last closed panes, oldest first; at most [`MINUTE`].
    closed: VecDeque<Groups>,
    five_minutes: Groups,
    /// Transactions that were too late to be counted.
    pub late: u64,
    measurer: Measurer,
}

impl Windows {
    /// Creates an empty set of windows. `lateness` is the time after the end of a window during
    /// which its transactions may arrive.
    #[must_use]
    pub fn new(epoch: Timestamp, lateness: Duration) -> Self {
        Self {
            lateness,
            next_lateness: None,
            shift: ClockShift::default(),
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

    /// Sets whether transactions are counted by resolver and zone, too.
    pub const fn count_pairs(&mut self, pairs: bool) {
        self.measurer.pairs = pairs;
    }

    /// Sets the time after the end of a window during which its transactions may arrive. A shorter one begins when
    /// those have arrived that the former one allowed for.
    pub fn set_lateness(&mut self, lateness: Duration) {
        self.next_lateness =
            (lateness < self.lateness).then(|| (self.clock.plus(self.lateness), lateness));
        self.lateness = self.lateness.max(lateness);
    }

    /// Follows the host's clock, which was set this far since capture began. After a step of a second or more, the
    /// open windows are passed to `each` as partial, and new ones begin; the transactions that end later belong to
    /// those.
    pub fn set_clock(&mut self, shift: ClockShift, each: &mut dyn FnMut(&Span, &Groups)) {
        if shift.as_nanos().abs_diff(self.shift.as_nanos()) >= MIN_CLOCK_STEP_NANOS {
            self.restart(self.now, each);
        }
        self.shift = shift;
    }

    /// Passes all windows that are open at `now` to `each`, unfinished ones as partial, and begins new ones, the first of which
    /// are partial as well.
    pub fn restart(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        self.now = now;
        self.close_all(each);
        self.epoch = self.clock.max(now);
    }

    /// Counts a transaction. Its time must have been announced with [`Self::now`] or
    /// [`Self::expire`].
    pub fn observe(&mut self, observation: &TransactionView<'_>) {
        let pane = self.pane_of(observation.ts);
        let is_closed = self.next.is_some_and(|next| pane < next && !self.closed.is_empty());
        if is_closed
            || self.is_complete(pane)
            || observation.ts > self.clock.max(self.now).plus(MAX_AHEAD)
        {
            self.late += 1;
            return;
        }
        let measured = self.measurer.measure(observation);
        self.open_pane(pane).add(observation, &measured);
    }

    /// Returns an open pane, created if necessary.
    fn open_pane(&mut self, pane: u64) -> &mut Groups {
        // Before any pane was closed, an older transaction only moves the first pane back.
        self.next = Some(self.next.map_or(pane, |next| next.min(pane)));
        let Self { open, closed, .. } = self;
        if !open.contains_key(&pane) {
            let before = open.range_mut(..pane).next_back().map(|(_, groups)| groups);
            let before = before.or_else(|| closed.back_mut());
            let groups = before.map(Groups::next_pane).unwrap_or_default();
            open.insert(pane, groups);
        }
        open.entry(pane).or_default()
    }

    /// Counts messages that were not exported, as read from the kernel, for the node and for a
    /// resolver. If their pane is closed, they are counted in the next one.
    pub fn add_not_exported(
        &mut self,
        ts: Timestamp,
        vantage: Vantage,
        (transport, resolver): (&'static str, Option<&str>),
        not_exported: &NotExported,
    ) {
        let is_closed = |pane| self.next.is_some_and(|next| pane < next && !self.closed.is_empty());
        let mut pane = self.pane_of(ts);
        while is_closed(pane) || self.is_complete(pane) {
            pane += 1;
        }
        self.open_pane(pane).add_not_exported(vantage, (transport, resolver), not_exported);
    }

    /// Closes the panes whose transactions have all arrived by `now`, and passes every finished
    /// window to `each`.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        if now.plus(MAX_STEP_BACK) < self.clock {
            self.close_all(each);
            self.epoch = now;
            self.clock = now;
        }
        self.now = now;
        self.clock = self.clock.max(now);
        if let Some((_, lateness)) = self.next_lateness.take_if(|(since, _)| *since <= self.clock) {
            self.lateness = lateness;
        }
        while let Some(next) = self.next_with_content()
            && self.is_complete(next)
        {
            self.close(next, each);
        }
    }

    /// Ends the capture: closes all windows, unfinished ones as partial.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Span, &Groups)) {
        self.expire(now, each);
        self.close_all(each);
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let all = self.open.values().chain(&self.closed).chain([&self.five_minutes]);
        self.measurer.bytes() + all.map(Groups::bytes).sum::<usize>()
    }

    /// Maximum memory in bytes, whatever the traffic: the panes that are open or part of the last
    /// minute, the five minutes, the minute being summed, and caches. Groups by resolver and zone are not
    /// included.
    #[must_use]
    pub const fn max_bytes(lateness: Duration) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "some dozens")]
        let open = (lateness.as_secs() + MAX_AHEAD.as_secs()).div_ceil(PANE) as usize + 1;
        (open + MINUTE + 2) * Groups::MAX_BYTES
            + open * Groups::MAX_OPEN_BYTES
            + Measurer::MAX_BYTES
    }

    /// Returns the pane that contains a time.
    const fn pane_of(&self, ts: Timestamp) -> u64 {
        self.shift.apply(ts).as_nanos() / PANE_NANOS
    }

    fn start_of(&self, pane: u64) -> Timestamp {
        self.shift.undo(Timestamp::from_nanos(pane.saturating_mul(PANE_NANOS)))
    }

    /// Returns whether all transactions of a pane have arrived.
    fn is_complete(&self, pane: u64) -> bool {
        self.start_of(pane + 1).plus(self.lateness) <= self.clock
    }

    /// Returns the next pane whose end finishes a window with content. Silence has no windows.
    fn next_with_content(&self) -> Option<u64> {
        let has_content =
            !self.five_minutes.is_empty() || self.closed.iter().any(|groups| !groups.is_empty());
        if has_content { self.next } else { self.open.keys().next().copied() }
    }

    /// Closes a pane and passes the windows that end with it to `each`.
    fn close(&mut self, number: u64, each: &mut dyn FnMut(&Span, &Groups)) {
        let mut pane = self.open.remove(&number).unwrap_or_default();
        pane.finish();
        self.emit(WindowKind::TenSeconds, number, &pane, each);
        self.five_minutes.merge(&[&pane]);
        if self.closed.len() == MINUTE {
            self.closed.pop_front();
        }
        self.closed.push_back(pane);
        self.next = Some(number + 1);
        let minute = self.sum_last(MINUTE);
        self.emit(WindowKind::Sliding, number, &minute, each);
        if (number + 1).is_multiple_of(6) {
            self.emit(WindowKind::Minute, number, &minute, each);
        }
        if (number + 1).is_multiple_of(30) {
            let five_minutes = std::mem::take(&mut self.five_minutes);
            self.emit(WindowKind::FiveMinutes, number, &five_minutes, each);
        }
    }

    /// Closes all panes, passes the unfinished windows to `each`, and resets everything but the
    /// lateness.
    fn close_all(&mut self, each: &mut dyn FnMut(&Span, &Groups)) {
        while !self.open.is_empty()
            && let Some(next) = self.next_with_content()
        {
            self.close(next, each);
        }
        if let Some(last) = self.next.and_then(|next| next.checked_sub(1)) {
            if !(last + 1).is_multiple_of(6) {
                let of_minute = usize::try_from(last % 6).unwrap_or(0) + 1;
                let minute = self.sum_last(of_minute);
                self.emit(WindowKind::Minute, last, &minute, each);
            }
            // Empty if a window has just ended.
            let five_minutes = std::mem::take(&mut self.five_minutes);
            self.emit(WindowKind::FiveMinutes, last, &five_minutes, each);
        }
        self.closed.clear();
        self.next = None;
    }

    /// Returns the sum of the last closed panes.
    fn sum_last(&self, panes: usize) -> Groups {
        let skipped = self.closed.len().saturating_sub(panes);
        let panes: Vec<&Groups> = self.closed.iter().skip(skipped).collect();
        let mut sum = Groups::default();
        sum.merge(&panes);
        sum
    }

    /// Passes the window whose last pane is `last` to `each`, unless it is empty.
    fn emit(
        &self,
        kind: WindowKind,
        last: u64,
        groups: &Groups,
        each: &mut dyn FnMut(&Span, &Groups),
    ) {
        if groups.is_empty() {
            return;
        }
        let (panes, step) = kind.panes();
        let first =
            if step < panes { (last + 1).saturating_sub(panes) } else { last / panes * panes };
        let start = self.start_of(first);
        let span = Span {
            kind,
            start,
            length: Duration::from_secs(panes * PANE),
            step: Duration::from_secs(step * PANE),
            partial: start < self.epoch || self.start_of(first + panes) > self.clock,
            late_total: self.late,
        };
        each(&span, groups);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Windows {
    /// The settings in force: the lateness, and whether pairs are counted.
    #[must_use]
    pub const fn settings_in_force(&self) -> (Duration, bool) {
        (self.lateness, self.measurer.pairs)
    }
}

#[cfg(test)]
mod tests;
