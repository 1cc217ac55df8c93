//! The sinks that there are, and those that there were.

use crate::ledger::Delivery;
use crate::sink::{Failure, Gauge, Plan, Sink, Successor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Counters by sink and stream.
type Delivered = BTreeMap<String, BTreeMap<String, Delivery>>;

/// The sinks, those that still have something to deliver, and what all of them counted.
pub struct Post {
    sinks: Vec<Box<dyn Sink>>,
    retired: Vec<Retired>,
    /// What those counted that are closed.
    past: Delivered,
}

/// A sink that gets nothing any more.
struct Retired {
    sink: Box<dyn Sink>,
    /// What it has not delivered by then is dropped.
    until: Instant,
    /// Set once it is closed.
    closed: Arc<AtomicBool>,
}

/// A sink of those that take the place of others.
pub enum Next {
    /// The one of this number, counted from 0, stays.
    Stays(usize),
    /// One that is open.
    New(Box<dyn Sink>),
    /// One of this name that can be opened once the one of this number is closed.
    After(usize, String, Plan),
}

impl Post {
    /// With these sinks.
    pub(super) const fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { sinks, retired: Vec::new(), past: Delivered::new() }
    }

    /// The sinks that get records.
    #[must_use]
    pub fn sinks(&self) -> &[Box<dyn Sink>] {
        &self.sinks
    }

    /// The same, to give them some.
    pub(super) fn sinks_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Sink>> {
        self.sinks.iter_mut()
    }

    /// Has others take the places of those that do not stay, which have so long to deliver what they hold.
    pub(super) fn replace(&mut self, next: Vec<Next>, patience: Duration) {
        let until = Instant::now() + patience;
        let mut old: Vec<_> = std::mem::take(&mut self.sinks)
            .into_iter()
            .map(|sink| (Some(sink), Arc::new(AtomicBool::new(false))))
            .collect();
        for next in next {
            match next {
                Next::Stays(number) => self.sinks.extend(old[number].0.take()),
                Next::New(sink) => self.sinks.push(sink),
                Next::After(number, name, plan) => {
                    let closed = Arc::clone(&old[number].1);
                    self.sinks.push(Box::new(Successor::new(name, plan, closed)));
                }
            }
        }
        let retired = old.into_iter().filter_map(|(sink, closed)| Some((sink?, closed)));
        self.retired.extend(retired.map(|(sink, closed)| Retired { sink, until, closed }));
        self.tend();
    }

    /// Closes sinks that have delivered all, or whose time is over, and opens those that waited for that.
    /// Whether any was opened.
    pub(super) fn tend(&mut self) -> bool {
        let Self { sinks, retired, past, .. } = self;
        retired.retain_mut(|Retired { sink, until, closed }| {
            let is_over = sink.flush(Duration::ZERO) || Instant::now() >= *until;
            if is_over {
                sink.close();
                add(past, &**sink);
                closed.store(true, Ordering::Relaxed);
            }
            !is_over
        });
        let mut opened = false;
        for sink in sinks {
            if let Some(next) = sink.relieve() {
                add(past, &**sink);
                *sink = next;
                opened = true;
            }
        }
        opened
    }

    /// Waits until all is delivered or dropped, for `limit` at most, or until it is `stopped`, which is
    /// looked at after each `step`.
    pub(super) fn flush(&mut self, limit: Duration, step: Duration, stopped: &dyn Fn() -> bool) {
        let end = Instant::now() + limit;
        let wait = |sink: &mut Box<dyn Sink>| {
            while !sink.flush(end.saturating_duration_since(Instant::now()).min(step))
                && Instant::now() < end
                && !stopped()
            {}
        };
        self.retired.iter_mut().for_each(|retired| wait(&mut retired.sink));
        self.tend();
        self.sinks.iter_mut().for_each(wait);
    }

    /// Ends all sinks; what they still hold is dropped and counted.
    pub(super) fn close(&mut self) {
        self.retired.iter_mut().for_each(|retired| retired.sink.close());
        self.sinks.iter_mut().for_each(|sink| sink.close());
    }

    /// What was counted, by sink and stream, of sinks that had one name together; what an earlier capture
    /// left to a sink stands under a name of its own.
    #[must_use]
    pub fn delivery(&self) -> Delivered {
        let mut delivery = self.past.clone();
        self.all().for_each(|sink| add(&mut delivery, sink));
        delivery
    }

    /// The sinks that have failed for good, and how many there are in all.
    #[must_use]
    pub fn failures(&self) -> (Vec<(String, Failure)>, usize) {
        let failed = self
            .sinks
            .iter()
            .filter_map(|sink| sink.failure().map(|failure| (sink.name().to_owned(), failure)));
        (failed.collect(), self.sinks.len())
    }

    /// What the sinks measure beside the ledger.
    #[must_use]
    pub fn gauges(&self) -> Vec<(String, Vec<Gauge>)> {
        self.sinks.iter().map(|sink| (sink.name().to_owned(), sink.gauges())).collect()
    }

    /// Octets that wait on disk.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        self.all().map(Sink::spool_bytes).sum()
    }

    /// Octets that wait on disk, of the sink that has most there.
    #[must_use]
    pub fn fullest_spool_bytes(&self) -> u64 {
        self.all().map(Sink::spool_bytes).max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &dyn Sink> {
        let retired = self.retired.iter().map(|retired| &*retired.sink);
        self.sinks.iter().map(|sink| &**sink).chain(retired)
    }
}

/// Adds what a sink counted to what others of its name did.
fn add(delivered: &mut Delivered, sink: &dyn Sink) {
    let mut add = |name: &str, counters: BTreeMap<String, Delivery>| {
        let sums = delivered.entry(name.to_owned()).or_default();
        for (stream, delivery) in counters {
            *sums.entry(stream).or_default() += &delivery;
        }
    };
    add(sink.name(), sink.counters());
    if let Some(recovered) = sink.recovered() {
        add(&format!("{}_recovered", sink.name()), recovered);
    }
}
