//! The sinks in use, and those that were replaced and still deliver records.

use crate::{Failure, Gauge, PendingSink, Sink, SinkError, SinkNames, SinkPlan};
use dnscribe_record::Merge;
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Counters by sink and stream.
type DeliveryCounters = BTreeMap<String, BTreeMap<String, Delivery>>;

/// Sinks in use, retired sinks, and the counters of closed sinks.
pub struct SinkSet {
    /// The sinks that get records.
    pub active: Vec<Box<dyn Sink>>,
    retired: Vec<RetiredSink>,
    closed: DeliveryCounters,
}

/// A sink that gets no more records.
struct RetiredSink {
    sink: Box<dyn Sink>,
    /// Records that it has not delivered by then are dropped.
    deadline: Instant,
    /// Set once it is closed.
    is_closed: Arc<AtomicBool>,
}

/// A sink of the set that replaces the current one.
pub enum SinkReplacement {
    /// Keep the sink with this index.
    Keep(usize),
    /// Use this open sink.
    Add(Box<dyn Sink>),
    /// Open a sink once the one that it collides with is closed.
    AddAfter {
        /// Index of the sink to be closed.
        predecessor: usize,
        /// Name of the new sink.
        name: String,
        /// How it is opened.
        plan: SinkPlan,
    },
}

impl SinkSet {
    /// Creates a set of open sinks.
    #[must_use]
    pub const fn new(active: Vec<Box<dyn Sink>>) -> Self {
        Self { active, retired: Vec::new(), closed: DeliveryCounters::new() }
    }

    /// Opens the sinks of `after` that are not in `before`, the plans of the active sinks. A sink that collides with
    /// one that goes is opened once that one is closed.
    ///
    /// # Errors
    /// A sink cannot be opened. Then nothing has changed.
    pub fn open_changes(
        &self,
        before: &[SinkPlan],
        after: &[SinkPlan],
    ) -> Result<Vec<SinkReplacement>, SinkError> {
        let names: Vec<_> = self.active.iter().map(|sink| sink.name()).collect();
        let mut stays = vec![false; before.len()];
        let mut keep = |plan: &SinkPlan| {
            let found = before.iter().zip(&stays).position(|(old, stays)| old == plan && !stays)?;
            stays[found] = true;
            Some(found)
        };
        let kept: Vec<_> = after.iter().map(&mut keep).collect();
        let staying = names.iter().zip(&stays).filter(|(_, stays)| **stays);
        let mut taken = SinkNames::with_used(staying.map(|(name, _)| *name));
        let open = |(plan, kept): (&SinkPlan, Option<usize>)| {
            if let Some(index) = kept {
                return Ok(SinkReplacement::Keep(index));
            }
            let collides = |(old, stays): (&SinkPlan, &bool)| !stays && old.collides_with(plan);
            let predecessor = before.iter().zip(&stays).position(collides);
            let inherited = predecessor.and_then(|index| taken.reserve(names[index]));
            let name = inherited.unwrap_or_else(|| taken.reserve_next(plan.kind));
            match predecessor {
                Some(predecessor) => {
                    Ok(SinkReplacement::AddAfter { predecessor, name, plan: plan.clone() })
                }
                None => plan.open(name).map(SinkReplacement::Add),
            }
        };
        after.iter().zip(kept).map(open).collect()
    }

    /// Replaces the sinks. Those that are not kept have `flush_timeout` to deliver their records.
    pub fn replace(&mut self, sinks: Vec<SinkReplacement>, flush_timeout: Duration) {
        let deadline = Instant::now() + flush_timeout;
        let mut old: Vec<_> = std::mem::take(&mut self.active)
            .into_iter()
            .map(|sink| (Some(sink), Arc::new(AtomicBool::new(false))))
            .collect();
        for replacement in sinks {
            match replacement {
                SinkReplacement::Keep(index) => self.active.extend(old[index].0.take()),
                SinkReplacement::Add(sink) => self.active.push(sink),
                SinkReplacement::AddAfter { predecessor, name, plan } => {
                    let is_closed = Arc::clone(&old[predecessor].1);
                    self.active.push(Box::new(PendingSink::new(name, plan, is_closed)));
                }
            }
        }
        let retired = old
            .into_iter()
            .filter_map(|(sink, is_closed)| Some(RetiredSink { sink: sink?, deadline, is_closed }));
        self.retired.extend(retired);
        self.update();
    }

    /// Closes retired sinks that have delivered everything or are past their deadline, and opens the sinks that
    /// wait for that. Returns whether any was opened.
    pub fn update(&mut self) -> bool {
        let Self { active, retired, closed, .. } = self;
        retired.retain_mut(|RetiredSink { sink, deadline, is_closed }| {
            let is_done = sink.flush(Duration::ZERO) || Instant::now() >= *deadline;
            if is_done {
                sink.close();
                add_counters(closed, &**sink);
                is_closed.store(true, Ordering::Relaxed);
            }
            !is_done
        });
        let mut has_opened = false;
        for sink in active {
            if let Some(next) = sink.take_replacement() {
                add_counters(closed, &**sink);
                *sink = next;
                has_opened = true;
            }
        }
        has_opened
    }

    /// Waits up to `limit` until all records are delivered or dropped. Checks `stopped` after each `step`, which
    /// ends the wait.
    pub fn flush(&mut self, limit: Duration, step: Duration, stopped: &dyn Fn() -> bool) {
        let end = Instant::now() + limit;
        let wait = |sink: &mut Box<dyn Sink>| {
            while !sink.flush(end.saturating_duration_since(Instant::now()).min(step))
                && Instant::now() < end
                && !stopped()
            {}
        };
        self.retired.iter_mut().for_each(|retired| wait(&mut retired.sink));
        self.update();
        self.active.iter_mut().for_each(wait);
    }

    /// Closes all sinks. Records that they still hold are dropped and counted.
    pub fn close(&mut self) {
        self.retired.iter_mut().for_each(|retired| retired.sink.close());
        self.active.iter_mut().for_each(|sink| sink.close());
    }

    /// Counters by sink and stream, summed over sinks of one name. Records that an earlier capture has left on
    /// disk for a sink are counted under a name of their own.
    #[must_use]
    pub fn delivery(&self) -> DeliveryCounters {
        let mut delivery = self.closed.clone();
        self.all().for_each(|sink| add_counters(&mut delivery, sink));
        delivery
    }

    /// Sinks that have failed for good, and the number of all sinks.
    #[must_use]
    pub fn failures(&self) -> (Vec<(String, Failure)>, usize) {
        let failed = self
            .active
            .iter()
            .filter_map(|sink| sink.failure().map(|failure| (sink.name().to_owned(), failure)));
        (failed.collect(), self.active.len())
    }

    /// Gauges of the sinks.
    #[must_use]
    pub fn gauges(&self) -> Vec<(String, Vec<Gauge>)> {
        self.active.iter().map(|sink| (sink.name().to_owned(), sink.gauges())).collect()
    }

    /// Bytes spooled on disk, of all sinks.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        self.all().map(Sink::spool_bytes).sum()
    }

    /// Bytes spooled on disk, of the sink that has most.
    #[must_use]
    pub fn fullest_spool_bytes(&self) -> u64 {
        self.all().map(Sink::spool_bytes).max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &dyn Sink> {
        let retired = self.retired.iter().map(|retired| &*retired.sink);
        self.active.iter().map(|sink| &**sink).chain(retired)
    }
}

/// Adds the counters of a sink to those of its name.
fn add_counters(delivered: &mut DeliveryCounters, sink: &dyn Sink) {
    let mut add = |name: &str, counters: BTreeMap<String, Delivery>| {
        Merge::merge(delivered.entry(name.to_owned()).or_default(), &counters);
    };
    add(sink.name(), sink.counters());
    if let Some(recovered) = sink.recovered() {
        add(&format!("{}_recovered", sink.name()), recovered);
    }
}
