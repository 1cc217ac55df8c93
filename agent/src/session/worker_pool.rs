//! Threads of a live capture. Each worker has a ring with its share of the flows, and a flow stage behind it. Its
//! events go in batches to the thread of the pipeline.
//!
//! No packet takes a lock. A worker has a few batches and waits until one of them comes back: what the pipeline
//! cannot process stays in the ring, so that only the kernel loses packets, and counts them.

mod worker;

use super::run::Capture;
use crate::capture::live::Reader;
use crate::pipeline::{
    BATCHES_PER_SHARD, BatchMerger, Control, EventBatch, EventSink, FlowCounters, FlowStage,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use dnscribe_cli::exit::Exit;
use dnscribe_record::time::Timestamp;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use worker::Worker;

/// Longest sleep of any thread: timeouts, commands and signals are checked this often.
const MAX_SLEEP: Duration = Duration::from_millis(100);

/// Longest sleep while events wait until an idle worker's ring was checked.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// A command to a worker.
enum Command {
    /// Apply a change of settings.
    Control(Control),
    /// Read what is in the ring until `deadline`, and end. Nothing enters it since `stopped`.
    Stop { stopped: Timestamp, deadline: Instant },
}

/// A message from a worker: a batch, or why the worker has ended.
type WorkerMessage = io::Result<EventBatch>;

/// Progress of a worker, as other threads see it.
#[derive(Debug, Default)]
struct Progress {
    /// Odd while the worker processes packets or timers, even while it sleeps.
    turns: AtomicU64,
    /// Timers were checked up to this time.
    expired_ns: AtomicU64,
    /// Time of the oldest packet that waits for what becomes of it; 0 without one.
    held_ns: AtomicU64,
    /// Number of controls that have taken effect.
    controls: AtomicU64,
}

/// The workers.
pub(super) struct WorkerPool {
    workers: Vec<WorkerHandle>,
    messages: Receiver<WorkerMessage>,
    merger: BatchMerger,
    ended: usize,
    /// Time that this thread has waited for workers, since they started.
    pub(super) waited: Duration,
    /// Number of controls sent to each worker.
    controls: u64,
}

struct WorkerHandle {
    progress: Arc<Progress>,
    commands: Sender<Command>,
    spent: Sender<EventBatch>,
    thread: JoinHandle<()>,
}

impl WorkerPool {
    /// Starts a thread for each reader, with a flow stage of a capture that began at `epoch`.
    pub(super) fn start(
        readers: Vec<Reader>,
        flows: Vec<FlowStage>,
        epoch: Timestamp,
    ) -> io::Result<Self> {
        let counters = readers.iter().zip(&flows);
        let counters = counters.map(|(reader, flow)| flow.counters(&reader.received)).collect();
        let merger = BatchMerger::new(counters, BATCHES_PER_SHARD, epoch);
        // Never full: no worker has more batches, and each fails at most once.
        let (sender, messages) = bounded(readers.len() * (BATCHES_PER_SHARD + 1));
        let start = |(number, (reader, flow))| {
            let (commands, worker_commands) = unbounded();
            let (spent, empty) = bounded(BATCHES_PER_SHARD);
            for _ in 0..BATCHES_PER_SHARD {
                // The channel has this capacity.
                let _ = spent.try_send(EventBatch::default());
            }
            let progress = Arc::new(Progress::default());
            let worker = Worker {
                reader,
                flow,
                progress: Arc::clone(&progress),
                commands: worker_commands,
                empty,
                messages: sender.clone(),
                controls: 0,
            };
            let thread = thread::Builder::new().name(format!("flows-{number}"));
            let thread = thread.spawn(move || worker.run())?;
            Ok(WorkerHandle { progress, commands, spent, thread })
        };
        let workers: io::Result<_> =
            readers.into_iter().zip(flows).enumerate().map(start).collect();
        Ok(Self {
            workers: workers?,
            messages,
            merger,
            ended: 0,
            waited: Duration::ZERO,
            controls: 0,
        })
    }

    /// Sends a change of settings to all workers.
    pub(super) fn apply(&mut self, control: &Control) {
        self.controls += 1;
        self.send(|| Command::Control(control.clone()));
    }

    /// Returns whether all changes of settings have taken effect.
    pub(super) fn is_settled(&self) -> bool {
        let applied = |worker: &WorkerHandle| worker.progress.controls.load(Ordering::Acquire);
        self.workers.iter().all(|worker| applied(worker) == self.controls)
    }

    fn send(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // Fails if the worker has ended, which `poll` and `stop` notice.
            let _ = worker.commands.send(command());
        }
    }

    /// Waits up to `limit` for batches, and passes them to the pipeline. Returns the number of packets that they
    /// are of, and when the wait ended.
    pub(super) fn poll(
        &mut self,
        capture: &Capture,
        sink: &mut dyn EventSink,
        limit: Duration,
    ) -> Result<(usize, Instant), Exit> {
        let max_sleep = if self.merger.is_waiting() { IDLE_CHECK_INTERVAL } else { MAX_SLEEP };
        let limit = limit.min(max_sleep);
        let since = Instant::now();
        let message = self.messages.recv_timeout(limit);
        self.waited += since.elapsed().min(limit);
        let since = Instant::now();
        let mut packets = match message {
            Ok(message) => self.push(message)?,
            Err(RecvTimeoutError::Timeout) => 0,
            Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        };
        // In this order: batches that an idle worker has sent before it slept come before its idle time counts.
        let idle = self.idle(capture);
        while let Ok(message) = self.messages.try_recv() {
            packets += self.push(message)?;
        }
        for (shard, time) in idle {
            self.merger.advance(shard, time);
        }
        self.merge(sink);
        if let Some(expired) = self.expired() {
            sink.expired(expired.min(self.merger.horizon()));
        }
        if self.ended == 0 && self.workers.iter().any(|worker| worker.thread.is_finished()) {
            return Err(ended());
        }
        Ok((packets, since))
    }

    /// Makes all workers read their rings until `drained`, and end as of `stopped`. Waits for that until `end`. What they have not
    /// sent by then counts as still in the rings.
    pub(super) fn stop(
        &mut self,
        sink: &mut dyn EventSink,
        stopped: Timestamp,
        (drained, end): (Instant, Instant),
    ) {
        self.send(|| Command::Stop { stopped, deadline: drained });
        self.join(sink, end);
    }

    /// Waits until `end` for the last batches of all workers.
    fn join(&mut self, sink: &mut dyn EventSink, end: Instant) {
        while self.ended < self.workers.len() {
            match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Ok(batch)) => {
                    self.ended += usize::from(batch.is_last);
                    self.merger.push(batch);
                    self.merge(sink);
                }
                Ok(Err(error)) => {
                    self.ended += 1;
                    tracing::error!("a worker thread could not wait for its ring: {error}");
                }
                Err(_) => {
                    tracing::error!("the worker threads have not ended in time");
                    break;
                }
            }
        }
        self.merge_all(sink);
    }

    fn push(&mut self, message: WorkerMessage) -> Result<usize, Exit> {
        let batch = message.map_err(|error| cannot_wait(&error))?;
        self.ended += usize::from(batch.is_last);
        let packets = batch.packets;
        self.merger.push(batch);
        Ok(packets)
    }

    /// Passes on the events that all workers are past, and returns the empty batches.
    fn merge(&mut self, sink: &mut dyn EventSink) {
        self.merger.merge(sink);
        for batch in self.merger.spent() {
            if let Some(worker) = self.workers.get(batch.shard) {
                // The channel holds all batches of a worker. One that has ended needs none.
                let _ = worker.spent.try_send(batch);
            }
        }
    }

    /// Passes on all events, although earlier ones may follow, and returns the empty batches.
    pub(super) fn merge_all(&mut self, sink: &mut dyn EventSink) {
        self.merger.merge_all(sink);
        self.merge(sink);
    }

    /// Counters of the flow stages, as of the events that were passed on.
    pub(super) fn counters(&self) -> impl Iterator<Item = &FlowCounters> {
        self.merger.counters()
    }

    /// Workers that sleep before an empty ring, with the time before which they have passed all events.
    fn idle(&self, capture: &Capture) -> Vec<(usize, Timestamp)> {
        let now = capture.now();
        let is_idle = |(shard, worker): (usize, &WorkerHandle)| {
            let turns = || worker.progress.turns.load(Ordering::SeqCst);
            let before = turns();
            let sleeps = before.is_multiple_of(2) && capture.is_empty(shard);
            fence(Ordering::SeqCst);
            // If the worker has slept all the time, the ring was empty before it was checked, and packets that enter
            // it now have a later time than `now`.
            let until = match worker.progress.held_ns.load(Ordering::SeqCst) {
                0 => now,
                held_ns => now.min(Timestamp::from_nanos(held_ns)),
            };
            (sleeps && turns() == before).then_some((shard, until))
        };
        self.workers.iter().enumerate().filter_map(is_idle).collect()
    }

    /// Time up to which all workers have checked timers.
    fn expired(&self) -> Option<Timestamp> {
        let expired = |worker: &WorkerHandle| worker.progress.expired_ns.load(Ordering::Acquire);
        self.workers.iter().map(expired).min().map(Timestamp::from_nanos)
    }
}

fn cannot_wait(error: &io::Error) -> Exit {
    Exit::failed(format!("cannot wait for the ring: {error}"))
}

fn ended() -> Exit {
    Exit::failed("a worker thread has ended; this is a bug, please report it")
}
