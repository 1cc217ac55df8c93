//! Merges the batches of several flow stages into one sequence of events, ordered by time.
//!
//! A pure state machine. An event is passed on once no earlier event can follow: when every flow stage has
//! reported that it is past that time. So the order depends on the contents of the batches and not on their
//! arrival. Among events of one time, the stage with the lower number is first, and the order within a stage
//! is kept.

use super::batch::EventBatch;
use super::event::EventSink;
use super::flow_stage::FlowCounters;
use dnscribe_record::time::Timestamp;
use std::collections::VecDeque;

/// Merges batches in order of time.
#[derive(Debug)]
pub struct BatchMerger {
    lanes: Vec<Lane>,
    /// Batches of a stage that may wait here; with this many waiting, the stage may have none left to fill.
    max_batches: usize,
    spent: Vec<EventBatch>,
}

/// Time of the next event of a flow stage, and the number of the stage.
type Head = (Timestamp, usize);

/// Batches of one flow stage.
#[derive(Debug)]
struct Lane {
    batches: VecDeque<EventBatch>,
    /// No earlier event follows.
    past: Timestamp,
    /// Counters as of the last batch that was passed on completely.
    counters: FlowCounters,
}

impl BatchMerger {
    /// Creates a merger for flow stages with these counters, each with `max_batches` batches. None of them passes an
    /// event from before `epoch`.
    #[must_use]
    pub fn new(flows: Vec<FlowCounters>, max_batches: usize, epoch: Timestamp) -> Self {
        let lane = |counters| Lane { batches: VecDeque::new(), past: epoch, counters };
        let lanes = flows.into_iter().map(lane).collect();
        Self { lanes, max_batches, spent: Vec::new() }
    }

    /// Adds the next batch of a flow stage.
    pub fn push(&mut self, batch: EventBatch) {
        if let Some(lane) = self.lanes.get_mut(batch.shard) {
            lane.advance(batch.until);
            lane.batches.push_back(batch);
        }
    }

    /// Notes that an idle flow stage is past this time.
    pub fn advance(&mut self, shard: usize, time: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(shard) {
            lane.advance(time);
        }
    }

    /// Time that every flow stage is past.
    #[must_use]
    pub fn horizon(&self) -> Timestamp {
        self.lanes.iter().map(|lane| lane.past(self.max_batches)).min().unwrap_or_default()
    }

    /// Returns whether events wait for a flow stage that is behind.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.batches.is_empty())
    }

    /// Passes on the events up to the horizon, in order.
    pub fn merge(&mut self, sink: &mut dyn EventSink) {
        self.merge_until(Some(self.horizon()), sink);
    }

    /// Passes on all events, in order, although earlier ones may follow: so that counters and records agree for a
    /// ledger record.
    pub fn merge_all(&mut self, sink: &mut dyn EventSink) {
        self.merge_until(None, sink);
    }

    fn merge_until(&mut self, end: Option<Timestamp>, sink: &mut dyn EventSink) {
        self.lanes.iter_mut().for_each(|lane| lane.release(&mut self.spent));
        while let Some((first, second)) = self.heads() {
            // Events of one stage are passed on in a row until another stage has an earlier one.
            let is_first = |head: (Timestamp, usize)| {
                end.is_none_or(|end| head.0 <= end) && second.is_none_or(|second| head < second)
            };
            let mut head = Some(first);
            if !is_first(first) {
                return;
            }
            while head.is_some_and(is_first) {
                let Some(lane) = self.lanes.get_mut(first.1) else { return };
                if let Some(batch) = lane.batches.front_mut() {
                    batch.replay_next(sink);
                }
                lane.release(&mut self.spent);
                head = lane.next_at().map(|at| (at, first.1));
            }
        }
    }

    /// The earliest two of the next events of all flow stages.
    fn heads(&self) -> Option<(Head, Option<Head>)> {
        let mut first: Option<Head> = None;
        let mut second: Option<Head> = None;
        for (shard, lane) in self.lanes.iter().enumerate() {
            let Some(at) = lane.next_at() else { continue };
            let head = (at, shard);
            if first.is_none_or(|first| head < first) {
                second = first.replace(head);
            } else if second.is_none_or(|second| head < second) {
                second = Some(head);
            }
        }
        Some((first?, second))
    }

    /// Batches that have been passed on completely.
    pub fn spent(&mut self) -> impl Iterator<Item = EventBatch> {
        self.spent.drain(..)
    }

    /// Counters of each flow stage as of the batches that were passed on.
    pub fn counters(&self) -> impl Iterator<Item = &FlowCounters> {
        self.lanes.iter().map(|lane| &lane.counters)
    }
}

impl Lane {
    /// Time that the stage is past. A stage all of whose batches wait here cannot report progress; it is past
    /// its last event.
    fn past(&self, max_batches: usize) -> Timestamp {
        let last = self.batches.back().filter(|_| self.batches.len() >= max_batches);
        last.and_then(EventBatch::last_at).map_or(self.past, |at| at.max(self.past))
    }

    /// Notes that the stage is past this time. It may be a little before an earlier one: packets leave a ring in the
    /// order in which they entered it, and CPUs do not stamp them in that order.
    fn advance(&mut self, time: Timestamp) {
        self.past = self.past.max(time);
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.batches.front().and_then(EventBatch::next_at)
    }

    /// Moves batches that have been passed on completely to `spent`.
    fn release(&mut self, spent: &mut Vec<EventBatch>) {
        while self.batches.front().is_some_and(EventBatch::is_empty)
            && let Some(mut batch) = self.batches.pop_front()
        {
            std::mem::swap(&mut self.counters, &mut batch.counters);
            batch.clear();
            spent.push(batch);
        }
    }
}

#[cfg(test)]
mod tests;
