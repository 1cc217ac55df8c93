//! The sinks in use, and those that were replaced and still deliver records.

use crate::successor::PendingSink;
use crate::{Failure, Gauge, Sink, SinkError, SinkNames, SinkPlan, Stream};
use dnscribe_record::Merge;
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks at sinks that are being closed or opened.
const CHANGE_INTERVAL: Duration = Duration::from_millis(5);

/// How long the end of the program waits for the sinks that are still being opened.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// It is closed then, even if it has not delivered all records.
    deadline: Instant,
    /// Whether it was asked to end.
    is_closing: bool,
    /// Set once it is closed. A successor that waits for that has it, too.
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

/// Opens the sinks of `after` that are not in `before`, the plans of the active sinks, which have these `names`. A
/// sink that collides with one that goes is opened once that one is closed.
///
/// May block, for example while a spool is read: a thread that must not wait calls this in another.
///
/// # Errors
/// A sink cannot be opened. Then nothing has changed.
pub fn open_changes(
    names: &[String],
    before: &[SinkPlan],
    after: &[SinkPlan],
) -> Result<Vec<SinkReplacement>, SinkError> {
    let mut stays = vec![false; before.len()];
    let mut keep = |plan: &SinkPlan| {
        let found = before.iter().zip(&stays).position(|(old, stays)| old == plan && !stays)?;
        stays[found] = true;
        Some(found)
    };
    let kept: Vec<_> = after.iter().map(&mut keep).collect();
    let staying = names.iter().zip(&stays).filter(|(_, stays)| **stays);
    let mut taken = SinkNames::with_used(staying.map(|(name, _)| name.as_str()));
    let open = |(plan, kept): (&SinkPlan, Option<usize>)| {
        if let Some(index) = kept {
            return Ok(SinkReplacement::Keep(index));
        }
        let collides = |(old, stays): (&SinkPlan, &bool)| !stays && old.collides_with(plan);
        let predecessor = before.iter().zip(&stays).position(collides);
        let inherited = predecessor.and_then(|index| taken.reserve(&names[index]));
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

impl SinkSet {
    /// Creates a set of open sinks.
    #[must_use]
    pub const fn new(active: Vec<Box<dyn Sink>>) -> Self {
        Self { active, retired: Vec::new(), closed: DeliveryCounters::new() }
    }

    /// Names of the active sinks, for [`open_changes`].
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.active.iter().map(|sink| sink.name().to_owned()).collect()
    }

    /// Returns whether sinks are being closed or opened, so that [`Self::update`] is to be called soon.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        !self.retired.is_empty() || self.active.iter().any(|sink| sink.is_pending())
    }

    /// Returns whether one of the next sinks wants records of the stream.
    pub(super) fn will_want(&self, sink: &SinkReplacement, stream: Stream) -> bool {
        match sink {
            SinkReplacement::Keep(index) => self.active[*index].wants(stream),
            SinkReplacement::Add(sink) => sink.wants(stream),
            SinkReplacement::AddAfter { plan, .. } => plan.streams.contains(stream),
        }
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
        let retired = old.into_iter().filter_map(|(sink, is_closed)| Some((sink?, is_closed))).map(
            |(mut sink, is_closed)| {
                sink.finish();
                RetiredSink { sink, deadline, is_closing: false, is_closed }
            },
        );
        self.retired.extend(retired);
        self.update();
    }

    /// Closes sinks that were opened and are not needed.
    pub fn discard(&mut self, sinks: Vec<SinkReplacement>) {
        let deadline = Instant::now();
        let opened = sinks.into_iter().filter_map(|replacement| match replacement {
            SinkReplacement::Add(sink) => Some(sink),
            SinkReplacement::Keep(_) | SinkReplacement::AddAfter { .. } => None,
        });
        let retired = opened.map(|sink| RetiredSink {
            sink,
            deadline,
            is_closing: false,
            is_closed: Arc::default(),
        });
        self.retired.extend(retired);
        self.update();
    }

    /// Closes retired sinks that have delivered everything or are past their deadline, and opens the sinks that
    /// wait for that. Never blocks: sinks are closed and opened in threads of their own. Returns whether any was
    /// opened.
    pub fn update(&mut self) -> bool {
        let Self { active, retired, closed } = self;
        retired.retain_mut(|RetiredSink { sink, deadline, is_closing, is_closed }| {
            take_replacement(sink, closed, Duration::ZERO);
            // Nothing is gained by waiting for a destination that is away, while the successor's records are in memory only.
            let is_hopeless = sink.is_diverting() && Arc::strong_count(is_closed) > 1;
            // One that is still being opened holds records that only the opened sink can spool.
            if !*is_closing
                && !sink.is_pending()
                && (is_hopeless || sink.flush(Duration::ZERO) || Instant::now() >= *deadline)
            {
                sink.begin_close();
                *is_closing = true;
            }
            let is_done = *is_closing && sink.poll_closed();
            if is_done {
                add_counters(closed, &**sink);
                is_closed.store(true, Ordering::Relaxed);
            }
            !is_done
        });
        let mut has_opened = false;
        for sink in active {
            has_opened |= take_replacement(sink, closed, Duration::ZERO);
        }
        has_opened
    }

    /// Says that no more records come, but for the last of the ledger: see [`Sink::finish`].
    pub fn finish(&mut self) {
        self.active.iter_mut().for_each(|sink| sink.finish());
    }

    /// Waits up to `limit` until all records are delivered or dropped. Checks `stopped` after each `step`, which
    /// ends the wait.
    pub fn flush(&mut self, limit: Duration, step: Duration, stopped: &dyn Fn() -> bool) {
        let end = Instant::now() + limit;
        loop {
            self.update();
            let is_changing = self.is_changing();
            let step = if is_changing { CHANGE_INTERVAL } else { step };
            let step = step.min(end.saturating_duration_since(Instant::now()));
            let retired = self.retired.iter_mut().map(|retired| &mut retired.sink);
            // Also those behind one that cannot: some deliver only when they are asked to.
            let mut is_settled = true;
            for sink in retired.chain(&mut self.active) {
                is_settled &= sink.flush(step);
            }
            if is_settled && !is_changing || Instant::now() >= end || stopped() {
                return;
            }
            if is_settled {
                thread::sleep(step);
            }
        }
    }

    /// Closes all sinks, and waits for that. A sink with a spool writes the records that it still holds to it, also
    /// if it was not open yet; others drop them and count them.
    pub fn close(&mut self) {
        self.close_within(OPEN_TIMEOUT);
    }

    /// Closes all sinks as [`Self::close`] does, at the end of the program. Gives up those that hang once `limit` is over.
    pub fn close_within(&mut self, limit: Duration) {
        self.close_those(limit, |_| true);
    }

    /// Closes the sinks that need not wait for the last record of `stream`, which counts then what they have dropped. Waits
    /// for that as [`Self::close_within`] does.
    ///
    /// A sink that has the stream stays, but for one without a spool that could not deliver its records, if another one
    /// stays: the last record would be lost in it as well.
    pub fn close_before_last(&mut self, stream: Stream, limit: Duration) {
        let can_deliver = |sink: &mut Box<dyn Sink>| {
            sink.wants(stream)
                && (sink.recovered().is_some() || sink.is_pending() || sink.flush(Duration::ZERO))
        };
        let is_any_able = self.active.iter_mut().any(can_deliver);
        self.close_those(limit, |sink| !sink.wants(stream) || is_any_able && !can_deliver(sink));
    }

    fn close_those(&mut self, limit: Duration, which: impl Fn(&mut Box<dyn Sink>) -> bool) {
        let Self { active, retired, closed } = self;
        let end = Instant::now() + limit.min(OPEN_TIMEOUT);
        let left = || end.saturating_duration_since(Instant::now());
        let open = retired.iter_mut().filter(|retired| !retired.sink.is_pending());
        open.for_each(|retired| {
            retired.sink.limit_close(left());
            retired.sink.begin_close();
        });
        // In order: one that is being opened waits for one that was retired before it.
        for RetiredSink { sink, is_closed, .. } in retired {
            if take_replacement(sink, closed, left()) {
                sink.limit_close(left());
            }
            sink.close();
            is_closed.store(true, Ordering::Relaxed);
        }
        let ending = active.iter_mut().filter_map(|sink| which(sink).then_some(sink));
        let mut ending: Vec<&mut Box<dyn Sink>> = ending.collect();
        for sink in &mut ending {
            take_replacement(sink, closed, left());
            sink.limit_close(left());
            sink.begin_close();
        }
        for sink in ending {
            sink.close();
        }
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

/// Replaces a placeholder by the sink that it has opened, after waiting for that up to `limit`. Returns whether it has.
fn take_replacement(
    sink: &mut Box<dyn Sink>,
    closed: &mut DeliveryCounters,
    limit: Duration,
) -> bool {
    let Some(next) = sink.take_replacement(limit) else { return false };
    add_counters(closed, &**sink);
    *sink = next;
    true
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::DropReason;
    use crate::threaded::{QueueLimits, SharedState, SinkReceiver, ThreadedSink};
    use crate::{Batch, KafkaConfig, OpenWith, OutputFormat, SinkSpec};
    use crossbeam_channel::bounded;

    const LIMIT: Duration = Duration::from_secs(30);

    /// The longest that a step may take that waits for nothing.
    const AT_ONCE: Duration = Duration::from_millis(500);

    fn batch() -> Arc<Batch> {
        let mut batch = Batch::default();
        batch.push(Stream::Transactions, 1, |out| out.extend(b"{}\n"), |_| {});
        Arc::new(batch)
    }

    fn at_once<T>(step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        result
    }

    fn transactions(sinks: &SinkSet, name: &str) -> Delivery {
        sinks.delivery()[name]["transactions"].clone()
    }

    #[test]
    fn gives_up_a_blocked_sink_within_the_limit() {
        const REASONS: &[DropReason] = &[DropReason::QueueFull, DropReason::Shutdown];
        let (_hold, held) = bounded::<()>(0);
        let shared = SharedState::new([Stream::Transactions].into_iter().collect(), REASONS);
        let work = move |_: &SinkReceiver| {
            // Fails once the test is over.
            let _ = held.recv();
        };
        let limits = QueueLimits::default();
        let blocked =
            ThreadedSink::start("null".into(), OutputFormat::Json, limits, shared, work).unwrap();
        let mut sinks = SinkSet::new(vec![Box::new(blocked)]);
        sinks.active[0].offer(&batch());
        at_once(|| sinks.close_within(AT_ONCE / 10));
        assert_eq!(transactions(&sinks, "null").dropped["shutdown"], 1);
    }

    /// The last ledger record counts what sinks dropped that do not get it, and what a blocked one would not deliver. A sink
    /// with a spool waits for it, as does the only one that has the stream.
    #[test]
    fn who_does_not_get_the_last_record_is_closed_before_it() {
        const REASONS: &[DropReason] = &[DropReason::QueueFull, DropReason::Shutdown];
        let (_hold, held) = bounded::<()>(0);
        let open = |name: &str, streams: &[Stream], is_blocked: bool| -> Box<dyn Sink> {
            let shared = SharedState::new(streams.iter().copied().collect(), REASONS);
            let (held, limits) = (held.clone(), QueueLimits::default());
            let work = move |receiver: &SinkReceiver| {
                if is_blocked {
                    // Fails once the test is over.
                    let _ = held.recv();
                }
                receiver.for_each(|batch, tally| tally.delivered(&tally.count_batch(batch)));
            };
            let format = OutputFormat::Json;
            Box::new(ThreadedSink::start(name.to_owned(), format, limits, shared, work).unwrap())
        };
        let (some, both) = ([Stream::Transactions], [Stream::Transactions, Stream::Ledger]);
        let last = || {
            let mut batch = Batch::default();
            batch.push(Stream::Ledger, 2, |out| out.extend(b"{}\n"), |_| {});
            Arc::new(batch)
        };
        let mut sinks = SinkSet::new(vec![
            open("without", &some, true),
            open("blocked", &both, true),
            open("whole", &both, false),
        ]);
        sinks.active.iter_mut().for_each(|sink| sink.offer(&batch()));
        assert!(sinks.active[2].flush(LIMIT));
        at_once(|| sinks.close_before_last(Stream::Ledger, AT_ONCE / 10));
        for name in ["without", "blocked"] {
            let counted = transactions(&sinks, name);
            assert_eq!((counted.in_flight, counted.dropped["shutdown"]), (0, 1), "{name}");
        }
        sinks.active[2].offer(&last());
        assert!(sinks.active[2].flush(LIMIT));
        at_once(|| sinks.close_within(AT_ONCE / 10));
        assert_eq!(sinks.delivery()["whole"]["ledger"].delivered, 1);

        let mut alone = SinkSet::new(vec![open("blocked", &both, true)]);
        alone.active[0].offer(&batch());
        at_once(|| alone.close_before_last(Stream::Ledger, AT_ONCE / 10));
        assert_eq!(transactions(&alone, "blocked").in_flight, 1, "it may still read");
        at_once(|| alone.close_within(AT_ONCE / 10));
    }

    /// Parquet completes its files when it is asked to, wherever it stands beside a sink whose destination is away.
    #[test]
    fn each_sink_is_asked_to_deliver() {
        const REASONS: &[DropReason] = &[DropReason::QueueFull, DropReason::Shutdown];
        let (_hold, held) = bounded::<()>(0);
        let transactions_only = || [Stream::Transactions].into_iter().collect();
        let away = move |_: &SinkReceiver| {
            // Fails once the test is over.
            let _ = held.recv();
        };
        let shared = SharedState::new(transactions_only(), REASONS);
        let state = Arc::clone(&shared);
        let asked = move |receiver: &SinkReceiver| {
            receiver.for_each(|batch, tally| {
                let counts = tally.count_batch(batch);
                while !state.flushing.get() {
                    thread::yield_now();
                }
                tally.delivered(&counts);
            });
        };
        let (format, limits) = (OutputFormat::Json, QueueLimits::default());
        let other = SharedState::new(transactions_only(), REASONS);
        let away = ThreadedSink::start("kafka".into(), format, limits, other, away).unwrap();
        let limits = QueueLimits::default();
        let asked =
            ThreadedSink::start("parquet".into(), format, limits, Arc::clone(&shared), asked)
                .unwrap();
        let mut sinks = SinkSet::new(vec![Box::new(away), Box::new(asked)]);
        sinks.active.iter_mut().for_each(|sink| sink.offer(&batch()));
        sinks.flush(LIMIT, AT_ONCE / 10, &|| shared.tally.in_flight() == 0);
        assert_eq!(transactions(&sinks, "parquet").delivered, 1);
        at_once(|| sinks.close_within(AT_ONCE / 10));
    }

    /// Replacing a sink whose thread is blocked for good takes no time, and no record is lost from the counters.
    #[test]
    fn closes_a_blocked_sink_without_waiting() {
        const REASONS: &[DropReason] = &[DropReason::QueueFull, DropReason::Shutdown];
        let (_hold, held) = bounded::<()>(0);
        let shared = SharedState::new(Stream::ALL.into_iter().collect(), REASONS);
        let work = move |_: &SinkReceiver| {
            let _ = held.recv();
        };
        let (name, limits) = ("blocked".to_owned(), QueueLimits::default());
        let blocked = ThreadedSink::start(name, OutputFormat::Json, limits, shared, work).unwrap();
        let mut sinks = SinkSet::new(vec![Box::new(blocked)]);
        sinks.active[0].offer(&batch());
        at_once(|| sinks.replace(Vec::new(), Duration::ZERO));
        assert_eq!(transactions(&sinks, "blocked").in_flight, 1);
        let start = Instant::now();
        while sinks.is_changing() {
            at_once(|| sinks.update());
            assert!(start.elapsed() < LIMIT, "it is given up");
            thread::sleep(CHANGE_INTERVAL);
        }
        let counted = transactions(&sinks, "blocked");
        assert_eq!((counted.records, counted.in_flight, counted.dropped["shutdown"]), (1, 0, 1));
    }

    /// A sink whose brokers are away makes way for its successor at once, so that its records are on disk soon, too.
    #[test]
    fn replaces_a_sink_without_brokers_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = changed_kafka(folder.path());
        let mut sinks = SinkSet::new(vec![before[0].open("kafka".into()).unwrap()]);
        sinks.active[0].offer(&batch());
        let replacements = open_changes(&sinks.names(), &before, &after).unwrap();
        let start = Instant::now();
        sinks.replace(replacements, LIMIT * 100);
        sinks.active[0].offer(&batch());
        while sinks.is_changing() || transactions(&sinks, "kafka").spooled < 2 {
            sinks.update();
            assert!(start.elapsed() < LIMIT, "both are on disk");
            thread::sleep(CHANGE_INTERVAL);
        }
        sinks.close();
    }

    /// Two plans of a Kafka sink without brokers, with one spool.
    fn changed_kafka(folder: &std::path::Path) -> ([SinkPlan; 1], [SinkPlan; 1]) {
        let spool = crate::spool::SpoolConfig {
            directory: folder.to_owned(),
            max_bytes: 1 << 20,
            max_age: LIMIT,
            when_full: crate::spool::WhenFull::DropOldest,
        };
        let plan = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            let kafka = KafkaConfig {
                brokers: vec!["127.0.0.1:1".into()],
                options: options.collect(),
                ..KafkaConfig::default()
            };
            let with = OpenWith { spool: Some(&spool), ..OpenWith::new("n", &kafka) };
            SinkPlan::new(&SinkSpec::Kafka, &with)
        };
        ([plan(&[])], [plan(&[("linger.ms", "7")])])
    }

    /// A spool whose opening blocks for good holds up nothing but its own sink.
    #[test]
    fn opens_a_blocked_spool_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = changed_kafka(folder.path());
        let mut sinks = SinkSet::new(vec![before[0].open("kafka".into()).unwrap()]);
        let slot = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let stream = slot.join("0/transactions");
        std::fs::create_dir(&stream).unwrap();
        // A pipe in the place of a segment: opening it waits for a writer.
        let segment = stream.join(format!("{:020}.seg", 1));
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, &segment, mode).unwrap();
        let replacements = open_changes(&sinks.names(), &before, &after).unwrap();
        at_once(|| sinks.replace(replacements, Duration::ZERO));
        let opened = |path: &std::path::Path| {
            let (flags, mode) = (rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty());
            rustix::fs::open(path, flags | rustix::fs::OFlags::NONBLOCK, mode)
        };
        let (start, mut writer) = (Instant::now(), None);
        while writer.is_none() {
            at_once(|| sinks.update());
            at_once(|| sinks.active[0].offer(&batch()));
            // Succeeds once the sink's thread waits for a writer.
            writer = opened(&segment).ok();
            assert!(start.elapsed() < LIMIT, "the new sink is opened");
            // Fewer batches than a queue holds: the test is of waiting, not of a queue that is full.
            thread::sleep(CHANGE_INTERVAL);
        }
        assert!(sinks.active[0].is_pending());
        let offered = transactions(&sinks, "kafka").records;
        drop(writer);
        std::fs::remove_file(&segment).unwrap();
        while sinks.is_changing() {
            at_once(|| sinks.update());
            assert!(start.elapsed() < LIMIT, "the new sink is open");
            thread::sleep(CHANGE_INTERVAL);
        }
        let counted = transactions(&sinks, "kafka");
        assert_eq!((counted.records, counted.in_flight + counted.spooled), (offered, offered));
        sinks.close();
    }
}
