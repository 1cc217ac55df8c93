//! Batches of several shards become one row of events, by time.
//!
//! A pure state machine. An event is given once nothing earlier can come any more: when every shard
//! has said that it is past that time. So the order depends on the batches alone, and not on when
//! they came; among events of one time the shard with the lower number is first, and a shard's own
//! order stays as it is.

use super::batch::Batch;
use super::scribe::Told;
use super::shard::Snapshot;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// By so much a shard's time may seem to go back although the clock does not: packets leave a ring as they
/// came into it, and those of different CPUs are not stamped in that order.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Puts batches in order.
#[derive(Debug)]
pub(super) struct Merge {
    shards: Vec<Lane>,
    /// Batches of a shard that may wait here; then it may have none left to go on with.
    most: usize,
    spent: Vec<Batch>,
    /// Whether the clock was set back since events were shown. What is there is all from before.
    set_back: bool,
}

/// The time of a shard's next event, and the shard.
type Head = (Timestamp, usize);

/// What came of one shard.
#[derive(Debug)]
struct Lane {
    batches: VecDeque<Batch>,
    /// Nothing earlier comes from it any more.
    past: Timestamp,
    /// Its counters as of the last batch that was shown to the end.
    snapshot: Snapshot,
}

impl Merge {
    /// Of so many shards, none of which will give anything of before `epoch`, with so many batches each.
    pub(super) fn new(shards: usize, most: usize, epoch: Timestamp) -> Self {
        let lane = || Lane { batches: VecDeque::new(), past: epoch, snapshot: Snapshot::default() };
        let shards = std::iter::repeat_with(lane).take(shards).collect();
        Self { shards, most, spent: Vec::new(), set_back: false }
    }

    /// Takes the next batch of a shard.
    pub(super) fn put(&mut self, batch: Batch) {
        if let Some(lane) = self.shards.get_mut(batch.shard) {
            self.set_back |= lane.go_on(batch.until);
            lane.batches.push_back(batch);
        }
    }

    /// A shard that has nothing more to give is past this time.
    pub(super) fn is_past(&mut self, shard: usize, time: Timestamp) {
        if let Some(lane) = self.shards.get_mut(shard) {
            self.set_back |= lane.go_on(time);
        }
    }

    /// Every shard is past this time.
    pub(super) fn horizon(&self) -> Timestamp {
        self.shards.iter().map(|lane| lane.past(self.most)).min().unwrap_or_default()
    }

    /// Whether events wait for a shard.
    pub(super) fn is_waiting(&self) -> bool {
        self.shards.iter().any(|lane| !lane.batches.is_empty())
    }

    /// Shows the events up to the horizon, in order.
    pub(super) fn show(&mut self, each: &mut dyn FnMut(Timestamp, Told<'_>)) {
        let end = (!std::mem::take(&mut self.set_back)).then(|| self.horizon());
        self.show_until(end, each);
    }

    /// Shows all that is there, in order, although something earlier may follow.
    pub(super) fn show_all(&mut self, each: &mut dyn FnMut(Timestamp, Told<'_>)) {
        self.show_until(None, each);
    }

    fn show_until(&mut self, end: Option<Timestamp>, each: &mut dyn FnMut(Timestamp, Told<'_>)) {
        self.shards.iter_mut().for_each(|lane| lane.let_go(&mut self.spent));
        while let Some((first, second)) = self.heads() {
            // One shard's events are shown in a row until it is another's turn.
            let is_first = |head: (Timestamp, usize)| {
                end.is_none_or(|end| head.0 <= end) && second.is_none_or(|second| head < second)
            };
            let mut head = Some(first);
            if !is_first(first) {
                return;
            }
            while head.is_some_and(is_first) {
                let Some(lane) = self.shards.get_mut(first.1) else { return };
                if let Some(batch) = lane.batches.front_mut() {
                    batch.show(each);
                }
                lane.let_go(&mut self.spent);
                head = lane.next_at().map(|at| (at, first.1));
            }
        }
    }

    /// The earliest of the shards' next events and the one after it, each with its shard.
    fn heads(&self) -> Option<(Head, Option<Head>)> {
        let mut first: Option<Head> = None;
        let mut second: Option<Head> = None;
        for (place, lane) in self.shards.iter().enumerate() {
            let Some(at) = lane.next_at() else { continue };
            let head = (at, place);
            if first.is_none_or(|first| head < first) {
                second = first.replace(head);
            } else if second.is_none_or(|second| head < second) {
                second = Some(head);
            }
        }
        Some((first?, second))
    }

    /// Batches that have been shown to the end.
    pub(super) fn spent(&mut self) -> impl Iterator<Item = Batch> {
        self.spent.drain(..)
    }

    /// What the shards had counted when they had given all that was shown.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.shards.iter().map(|lane| &lane.snapshot)
    }
}

impl Lane {
    /// What it is past. Where all of its batches are here, it cannot say so, and is past what they hold.
    fn past(&self, most: usize) -> Timestamp {
        let last = self.batches.back().filter(|_| self.batches.len() >= most);
        last.and_then(Batch::last_at).map_or(self.past, |at| at.max(self.past))
    }

    /// It is past this time. Whether that says that the clock was set back.
    fn go_on(&mut self, time: Timestamp) -> bool {
        let is_set_back = time.plus(TOLERANCE) < self.past;
        self.past = if is_set_back { time } else { self.past.max(time) };
        is_set_back
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.batches.front().and_then(Batch::next_at)
    }

    /// Lets go of batches that have been shown to the end.
    fn let_go(&mut self, spent: &mut Vec<Batch>) {
        while self.batches.front().is_some_and(Batch::is_empty)
            && let Some(mut batch) = self.batches.pop_front()
        {
            std::mem::swap(&mut self.snapshot, &mut batch.snapshot);
            batch.clear();
            spent.push(batch);
        }
    }
}

#[cfg(test)]
mod tests;
