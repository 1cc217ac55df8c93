//! Base of sinks with a thread: the bounded queue to the thread, counters, flush and close.

use super::tally::{DiskLosses, DropReason, PerStream, Tally};
use super::{Batch, Failure, Gauge, OutputFormat, Rendered, Sink, SinkError, Stream, StreamSet};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use dnscribe_record::ledger::Delivery;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long to wait for a thread that makes no progress to end. After that it is abandoned, blocked in the
/// kernel.
pub const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest time to wait for the end of a thread that has written all its records to its spool. Its successor needs the spool, so that it is
/// given up only if it hangs.
const SPOOLED_END_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait of a thread that has nothing to do until it is woken.
pub(super) const LONG_WAIT: Duration = Duration::from_hours(1);

/// A caller that waits for capacity uses one part in `WAITING` of the queue's bytes.
const WAITING: usize = 8;

/// One part in `RESERVED` of the queue is reserved for summaries.
const RESERVED: usize = 8;

/// Capacity of the queue. Batches are limited too, because on a quiet host they are small and many.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) batches: usize,
    pub(super) bytes: usize,
}

impl QueueLimits {
    /// The limits for `batch`. Summaries may also use the reserved part.
    pub(super) fn for_batch(self, batch: &Batch) -> Self {
        if batch.is_summary() {
            return self;
        }
        let Self { batches, bytes } = self;
        Self { batches: batches - batches / RESERVED, bytes: bytes - bytes / RESERVED }
    }

    /// Returns whether a batch of `size` bytes fits behind `batches` queued batches of `queued`
    /// bytes in total. A batch larger than the limit fits if the queue is empty.
    pub(super) const fn fits(self, batches: usize, queued: usize, size: usize) -> bool {
        batches < self.batches && (queued == 0 || queued.saturating_add(size) <= self.bytes)
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { batches: 16_384, bytes: 64 << 20 }
    }
}

/// A boolean shared by threads, without order to other memory.
#[derive(Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag. Returns its value before.
    pub(super) fn replace(&self, value: bool) -> bool {
        self.0.swap(value, Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Locks a mutex, also after a panic of another thread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State shared by the sink and its thread.
#[derive(Default)]
pub(super) struct SharedState {
    pub(super) tally: Tally,
    queued_bytes: AtomicUsize,
    /// The thread must end now.
    pub(super) stop: Flag,
    /// A flush is waiting.
    pub(super) flushing: Flag,
    /// Records wait on disk.
    pub(super) draining: Flag,
    /// No more records come, but for the last of the ledger.
    pub(super) finishing: Flag,
    /// Parts of delivered records that the destination has not accepted: they wait for records to come, as spans do.
    pub(super) waiting: AtomicU64,
    /// New records go to disk, because the destination is unavailable.
    pub(super) diverting: Flag,
    /// Files are to be reopened.
    pub(super) reopen: Flag,
    /// Dead letters must not contain bytes of the record, because their stream is masked.
    pub(super) hides_dead_letters: Flag,
    /// For each ledger record in the queue: the losses that it contains.
    reported: Mutex<VecDeque<DiskLosses>>,
    failure: OnceLock<(Failure, DropReason)>,
}

impl SharedState {
    /// Creates the state of a sink that receives `streams` and may drop records for `reasons`.
    pub(super) fn new(streams: StreamSet, reasons: &'static [DropReason]) -> Arc<Self> {
        Arc::new(Self { tally: Tally::new(streams, reasons), ..Self::default() })
    }

    /// Notes the losses that the ledger records of a batch contain, whose counters were read just before. Returns the number
    /// of these records that this sink gets. `recovered`: the counters of earlier captures.
    pub(super) fn note_reported(&self, batch: &Batch, recovered: &Tally) -> usize {
        let count = if batch.is_summary() { ledger_records(batch).count() } else { 0 };
        if count == 0 {
            return 0;
        }
        self.tally.note_in_ledger();
        recovered.note_in_ledger();
        if !self.tally.streams.contains(Stream::Ledger) {
            return 0;
        }
        let lost = self.tally.ledger_lost().plus(&recovered.ledger_lost());
        lock(&self.reported).extend(std::iter::repeat_n(lost, count));
        count
    }

    /// Takes the losses that the last ledger record of `batch` contains; `None` if there is no such record in it.
    pub(super) fn take_reported(&self, batch: &Batch) -> Option<DiskLosses> {
        let mut reported = lock(&self.reported);
        ledger_records(batch).map_while(|_| reported.pop_front()).last()
    }

    /// Returns whether nothing waits: no record, and at the end no part of one.
    fn is_settled(&self) -> bool {
        let is_waiting = self.finishing.get() && self.failure.get().is_none();
        let is_waiting = is_waiting && self.waiting.load(Ordering::Relaxed) > 0;
        self.tally.in_flight() == 0 && !self.draining.get() && !is_waiting
    }

    /// Marks the sink as failed: everything offered from now on is dropped for `reason`.
    pub(super) fn fail(&self, failure: Failure, reason: DropReason) {
        // Only the first failure is kept: later ones are its consequences.
        let _ = self.failure.set((failure, reason));
    }
}

fn ledger_records(batch: &Batch) -> impl Iterator<Item = Rendered<'_>> {
    batch.iter().filter(|record| record.stream == Stream::Ledger)
}

pub(super) struct SinkReceiver {
    /// `None` only wakes the thread, because its state has changed.
    receiver: Receiver<Option<Arc<Batch>>>,
    pub(super) shared: Arc<SharedState>,
}

/// What the thread must do next.
pub(super) enum NextStep {
    /// Deliver a batch.
    Batch(QueuedBatch),
    /// Do periodic work: no batch is waiting.
    Idle,
    /// End.
    Stop,
}

/// A batch taken from the queue. Its bytes count as queued until it is dropped.
pub(super) struct QueuedBatch {
    pub(super) batch: Arc<Batch>,
    shared: Arc<SharedState>,
}

impl Drop for QueuedBatch {
    fn drop(&mut self) {
        self.shared.queued_bytes.fetch_sub(self.batch.size_bytes(), Ordering::Relaxed);
    }
}

impl SinkReceiver {
    /// A receiver for tests, and its queue.
    #[cfg(test)]
    pub(super) fn with_queue(shared: &Arc<SharedState>) -> (Sender<Option<Arc<Batch>>>, Self) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (sender, Self { receiver, shared: Arc::clone(shared) })
    }

    /// Waits for a batch, at most for `limit`. A batch that leaves the queue is always returned: `stop` is
    /// checked before, so that what is queued then stays there for [`Self::queued`].
    pub(super) fn next(&self, limit: Duration) -> NextStep {
        if self.shared.stop.get() {
            return NextStep::Stop;
        }
        match self.receiver.recv_timeout(limit) {
            Ok(Some(batch)) => NextStep::Batch(self.taken(batch)),
            Ok(None) | Err(RecvTimeoutError::Timeout) => NextStep::Idle,
            Err(RecvTimeoutError::Disconnected) => NextStep::Stop,
        }
    }

    /// Takes the batches that are already queued, without waiting.
    pub(super) fn queued(&self) -> impl Iterator<Item = QueuedBatch> {
        // The caller checks the state again before it sleeps.
        self.receiver.try_iter().flatten().map(|batch| self.taken(batch))
    }

    fn taken(&self, batch: Arc<Batch>) -> QueuedBatch {
        QueuedBatch { batch, shared: Arc::clone(&self.shared) }
    }

    /// Passes batches to `each` until the sink is closed.
    pub(super) fn for_each(&self, mut each: impl FnMut(&Batch, &Tally)) {
        loop {
            match self.next(LONG_WAIT) {
                NextStep::Batch(taken) => each(&taken.batch, &self.shared.tally),
                NextStep::Idle => {}
                NextStep::Stop => return,
            }
        }
    }

    /// Drops all batches until the sink is closed. Called after a failure.
    pub(super) fn drop_all(&self, reason: DropReason) {
        self.for_each(|batch, tally| tally.dropped(&tally.count_batch(batch), reason));
    }
}

pub(super) struct ThreadedSink {
    name: String,
    format: OutputFormat,
    limits: QueueLimits,
    shared: Arc<SharedState>,
    sender: Option<Sender<Option<Arc<Batch>>>>,
    thread: Option<JoinHandle<()>>,
    /// How long the thread may make no progress when it ends.
    pub(super) end_timeout: Duration,
    /// A lower limit of that, where the program ends.
    close_limit: Duration,
    /// Progress of the thread, once it is to end.
    ending: Option<EndingProgress>,
    /// Further metrics of the sink.
    pub(super) gauges: Box<dyn Fn() -> Vec<Gauge> + Send>,
    pub(super) spool: Option<SpoolReport>,
}

/// Progress of a thread that ends.
struct EndingProgress {
    /// Records in flight at `since`.
    in_flight: u64,
    /// When fewer records than before were last in flight.
    since: Instant,
}

/// What a sink reports about its spool.
pub(super) struct SpoolReport {
    /// Counters of records that earlier captures left in the spool.
    pub(super) recovered: Arc<Tally>,
    pub(super) bytes: Arc<AtomicU64>,
}

impl ThreadedSink {
    pub(super) fn start(
        name: String,
        format: OutputFormat,
        limits: QueueLimits,
        shared: Arc<SharedState>,
        work: impl FnOnce(&SinkReceiver) + Send + 'static,
    ) -> Result<Self, SinkError> {
        let (sender, receiver) = crossbeam_channel::bounded(limits.batches);
        let receiver = SinkReceiver { receiver, shared: Arc::clone(&shared) };
        let thread =
            thread::Builder::new().name(format!("sink-{name}")).spawn(move || work(&receiver));
        let thread = thread.map_err(|error| SinkError::Thread { name: name.clone(), error })?;
        let (sender, thread) = (Some(sender), Some(thread));
        let gauges = Box::new(Vec::new);
        Ok(Self {
            name,
            format,
            limits,
            shared,
            sender,
            thread,
            end_timeout: END_TIMEOUT,
            close_limit: Duration::MAX,
            ending: None,
            gauges,
            spool: None,
        })
    }

    /// Queues a batch. The error is the reason for dropping it.
    fn enqueue(&self, batch: &Arc<Batch>) -> Result<(), DropReason> {
        if let Some((_, reason)) = self.shared.failure.get() {
            return Err(*reason);
        }
        let sender = self.sender.as_ref().ok_or(DropReason::Shutdown)?;
        let size = batch.size_bytes();
        let before = self.shared.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let sent = if self.limits.for_batch(batch).fits(sender.len(), before, size) {
            sender.try_send(Some(Arc::clone(batch))).map_err(|error| self.send_error(&error))
        } else {
            Err(DropReason::QueueFull)
        };
        if sent.is_err() {
            self.shared.queued_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        sent
    }

    fn wake_thread(&self) {
        if let Some(sender) = &self.sender {
            // If the queue is full, the thread is awake.
            let _ = sender.try_send(None);
        }
    }

    fn send_error<T>(&self, error: &TrySendError<T>) -> DropReason {
        match error {
            TrySendError::Full(_) => DropReason::QueueFull,
            TrySendError::Disconnected(_) => {
                let broken = format!("sink {}: its thread has ended", self.name);
                self.shared.fail(Failure::Broken(broken), DropReason::WriteError);
                DropReason::WriteError
            }
        }
    }

    /// Returns whether the thread is to end and has made no progress for too long.
    fn is_stuck(&mut self) -> bool {
        let (in_flight, now) = (self.shared.tally.in_flight(), Instant::now());
        let Some(ending) = &mut self.ending else { return false };
        if in_flight < ending.in_flight {
            *ending = EndingProgress { in_flight, since: now };
        }
        let is_spooled = self.spool.is_some() && in_flight == 0;
        let limit = if is_spooled { SPOOLED_END_TIMEOUT } else { self.end_timeout };
        now.saturating_duration_since(ending.since) >= limit.min(self.close_limit)
    }

    /// Returns whether a caller that waits may offer a batch: such a caller loses nothing and needs a part of the queue only.
    fn has_capacity(&self, batch: &Batch) -> bool {
        let QueueLimits { batches, bytes } = self.limits.for_batch(batch);
        let limits = QueueLimits { batches, bytes: bytes / WAITING };
        let queued = self.shared.queued_bytes.load(Ordering::Relaxed);
        let waiting = self.sender.as_ref().map_or(0, Sender::len);
        self.shared.failure.get().is_some() || limits.fits(waiting, queued, batch.size_bytes())
    }
}

/// Polls `yes` until it is true, at most for `limit`. Returns its last value.
pub(super) fn wait_until(limit: Duration, yes: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    while !yes() {
        let Some(left) = limit.checked_sub(start.elapsed()) else { return false };
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    true
}

impl Sink for ThreadedSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self, stream: Stream) -> bool {
        self.shared.tally.streams.contains(stream)
    }

    fn output_format(&self) -> OutputFormat {
        self.format
    }

    fn offer(&mut self, batch: &Arc<Batch>) {
        let spool = self.spool.as_ref();
        let noted = spool.map_or(0, |spool| self.shared.note_reported(batch, &spool.recovered));
        self.shared.tally.add_filtered(batch);
        let share = self.shared.tally.count_batch(batch);
        if share == PerStream::default() {
            return;
        }
        self.shared.tally.add_in_flight(&share);
        if let Err(reason) = self.enqueue(batch) {
            let mut reported = lock(&self.shared.reported);
            let before = reported.len() - noted;
            reported.truncate(before);
            drop(reported);
            self.shared.tally.dropped(&share, reason);
        }
    }

    fn wait_for_capacity(&self, batch: &Batch, limit: Duration) -> bool {
        wait_until(limit, || self.has_capacity(batch))
    }

    fn reopen(&mut self) {
        self.shared.reopen.set(true);
        self.wake_thread();
    }

    fn hide_dead_letters(&mut self, hidden: bool) {
        self.shared.hides_dead_letters.set(hidden);
    }

    fn flush(&mut self, limit: Duration) -> bool {
        self.shared.flushing.set(true);
        self.wake_thread();
        let shared = &self.shared;
        let settled = wait_until(limit, || shared.is_settled());
        self.shared.flushing.set(false);
        settled
    }

    fn finish(&mut self) {
        self.shared.finishing.set(true);
        self.wake_thread();
    }

    fn is_diverting(&self) -> bool {
        self.shared.diverting.get()
    }

    fn limit_close(&mut self, limit: Duration) {
        self.close_limit = limit;
    }

    fn begin_close(&mut self) {
        self.shared.stop.set(true);
        self.sender = None;
        let in_flight = self.shared.tally.in_flight();
        self.ending.get_or_insert_with(|| EndingProgress { in_flight, since: Instant::now() });
    }

    fn poll_closed(&mut self) -> bool {
        let Some(thread) = &self.thread else { return true };
        let is_finished = thread.is_finished();
        if !is_finished && !self.is_stuck() {
            return false;
        }
        if let Some(thread) = self.thread.take()
            && is_finished
            && thread.join().is_err()
        {
            let broken = format!("sink {}: its thread failed", self.name);
            self.shared.fail(Failure::Broken(broken), DropReason::WriteError);
        }
        self.shared.tally.close();
        true
    }

    fn counters(&self) -> BTreeMap<String, Delivery> {
        self.shared.tally.counters()
    }

    fn recovered(&self) -> Option<BTreeMap<String, Delivery>> {
        self.spool.as_ref().map(|spool| spool.recovered.counters())
    }

    fn spool_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, |spool| spool.bytes.load(Ordering::Relaxed))
    }

    fn failure(&self) -> Option<Failure> {
        self.shared.failure.get().map(|(failure, _)| failure.clone())
    }

    fn gauges(&self) -> Vec<Gauge> {
        (self.gauges)()
    }
}

impl Drop for ThreadedSink {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const REASONS: &[DropReason] =
        &[DropReason::QueueFull, DropReason::WriteError, DropReason::Shutdown];
    const LIMITS: QueueLimits = QueueLimits { batches: 16, bytes: 8_000 };

    fn batch(stream: Stream) -> Arc<Batch> {
        let mut batch = Batch::default();
        batch.push(stream, 1, |out| out.resize(out.len() + 1_000, b'x'), |_| {});
        Arc::new(batch)
    }

    /// A sink whose thread delivers nothing until the returned sender sends or is dropped.
    fn blocked_sink(limits: QueueLimits) -> (ThreadedSink, mpsc::Sender<()>) {
        let (go, held) = mpsc::channel();
        let shared = SharedState::new(Stream::ALL.into_iter().collect(), REASONS);
        let work = move |receiver: &SinkReceiver| {
            // Fails once the test is over.
            let _ = held.recv();
            receiver.for_each(|batch, tally| tally.delivered(&tally.count_batch(batch)));
        };
        let sink = ThreadedSink::start("slow".to_owned(), OutputFormat::Json, limits, shared, work);
        (sink.unwrap(), go)
    }

    #[test]
    fn reserves_space_for_summaries() {
        for limits in [LIMITS, QueueLimits { bytes: 1 << 20, batches: 8 }] {
            let (mut sink, go) = blocked_sink(limits);
            (0..20).for_each(|_| sink.offer(&batch(Stream::Transactions)));
            assert!(!sink.wait_for_capacity(&batch(Stream::Transactions), Duration::ZERO));
            (0..3).for_each(|_| sink.offer(&batch(Stream::Metrics)));
            go.send(()).unwrap();
            assert!(sink.flush(Duration::from_secs(30)));
            assert!(sink.wait_for_capacity(&batch(Stream::Transactions), Duration::ZERO));
            let counters = sink.counters();
            let (bulk, summaries) = (&counters["transactions"], &counters["metrics"]);
            assert_eq!((bulk.delivered, bulk.dropped["queue_full"]), (7, 13), "{limits:?}");
            assert_eq!(
                (summaries.delivered, summaries.dropped["queue_full"]),
                (1, 2),
                "{limits:?}"
            );
        }
    }

    /// A batch that leaves the queue reaches the sink, whenever the sink is closed.
    #[test]
    fn loses_no_batch_that_it_takes() {
        for round in 0..300 {
            let (sender, receiver) = crossbeam_channel::bounded(16);
            let shared = SharedState::new(Stream::ALL.into_iter().collect(), REASONS);
            let receiver = SinkReceiver { receiver, shared: Arc::clone(&shared) };
            let taken = thread::spawn(move || {
                let mut taken = 0;
                while !matches!(receiver.next(LONG_WAIT), NextStep::Stop) {
                    taken += 1;
                }
                (taken, receiver.queued().count())
            });
            let sent = round % 17;
            for _ in 0..sent {
                sender.send(Some(batch(Stream::Ledger))).unwrap();
            }
            shared.stop.set(true);
            drop(sender);
            let (taken, queued) = taken.join().unwrap();
            assert_eq!(taken + queued, sent, "round {round}");
        }
    }

    /// [`Sink::begin_close`] and [`Sink::poll_closed`] wait for nothing, and records count as in flight until the
    /// thread has ended.
    #[test]
    fn closes_without_blocking() {
        let (mut sink, go) = blocked_sink(LIMITS);
        sink.offer(&batch(Stream::Transactions));
        let start = Instant::now();
        sink.begin_close();
        assert!(!sink.poll_closed());
        assert!(start.elapsed() < END_TIMEOUT / 2, "{:?}", start.elapsed());
        assert_eq!(sink.counters()["transactions"].in_flight, 1);
        drop(go);
        assert!(wait_until(Duration::from_secs(30), || sink
            .thread
            .as_ref()
            .unwrap()
            .is_finished()));
        assert!(sink.poll_closed() && sink.poll_closed());
        let counters = sink.counters();
        assert_eq!((counters["transactions"].in_flight, counters["transactions"].records), (0, 1));
    }
}
