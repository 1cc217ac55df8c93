//! A placeholder for a sink that cannot be opened until another sink with the same file or spool is
//! closed. Batches offered meanwhile are kept in memory and counted as in flight. A thread of its own
//! opens the sink, because that may take long: a spool is read.

use super::open::{SinkError, SinkPlan};
use super::tally::{DropReason, PerStream, Tally};
use super::threaded::QueueLimits;
use super::{Batch, Failure, OutputFormat, Sink, Stream};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use dnscribe_record::ledger::Delivery;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Sleep during a flush that cannot make progress.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

/// Drop reasons. `shutdown`: the agent ended before the sink was opened.
const REASONS: &[DropReason] =
    &[DropReason::QueueFull, DropReason::WriteError, DropReason::Shutdown];

/// A sink that is opened once its predecessor is closed.
pub struct PendingSink {
    name: String,
    plan: SinkPlan,
    /// Set when the predecessor is closed.
    predecessor_closed: Arc<AtomicBool>,
    limits: QueueLimits,
    waiting: VecDeque<Arc<Batch>>,
    waiting_bytes: usize,
    tally: Tally,
    /// Result of the thread that opens the sink, once it runs.
    opening: Option<Receiver<Opened>>,
    failure: Option<SinkError>,
    /// Whether no more records come.
    is_finished: bool,
}

type Opened = Result<Box<dyn Sink>, SinkError>;

impl PendingSink {
    /// Creates a placeholder. The sink of `plan` is opened once `predecessor_closed` is set.
    #[must_use]
    pub fn new(name: String, plan: SinkPlan, predecessor_closed: Arc<AtomicBool>) -> Self {
        Self {
            tally: Tally::new(plan.streams, REASONS),
            name,
            plan,
            predecessor_closed,
            limits: QueueLimits::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            opening: None,
            failure: None,
            is_finished: false,
        }
    }

    /// Starts to open the sink, once the predecessor is closed. `None` before that.
    fn opening(&mut self) -> Option<&Receiver<Opened>> {
        if self.failure.is_some() || !self.predecessor_closed.load(Ordering::Relaxed) {
            return None;
        }
        if self.opening.is_none() {
            let (sender, receiver) = crossbeam_channel::bounded(1);
            let (plan, name) = (self.plan.clone(), self.name.clone());
            let work = move || {
                // Fails if the placeholder is gone, and then closes the sink.
                let _ = sender.send(plan.open(name));
            };
            match thread::Builder::new().name(format!("open-{}", self.name)).spawn(work) {
                Ok(_) => self.opening = Some(receiver),
                Err(error) => self.fail(SinkError::Thread { name: self.name.clone(), error }),
            }
        }
        self.opening.as_ref()
    }

    /// Drops the waiting batches, and all that come.
    fn fail(&mut self, error: SinkError) {
        self.failure = Some(error);
        for batch in self.waiting.drain(..) {
            self.tally.add_filtered(&batch);
            self.tally.dropped(&self.tally.count_batch(&batch), DropReason::WriteError);
        }
    }
}

impl Sink for PendingSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self, stream: Stream) -> bool {
        self.plan.streams.contains(stream)
    }

    fn output_format(&self) -> OutputFormat {
        self.plan.output_format()
    }

    fn offer(&mut self, batch: &Arc<Batch>) {
        let share = self.tally.count_batch(batch);
        let has_filtered = *batch.filtered() != PerStream::default();
        if share == PerStream::default() && !has_filtered {
            return;
        }
        self.tally.add_in_flight(&share);
        let size = batch.size_bytes();
        let reason = if self.failure.is_some() {
            DropReason::WriteError
        } else if self.limits.for_batch(batch).fits(self.waiting.len(), self.waiting_bytes, size) {
            self.waiting_bytes += size;
            self.waiting.push_back(Arc::clone(batch));
            return;
        } else {
            DropReason::QueueFull
        };
        self.tally.add_filtered(batch);
        self.tally.dropped(&share, reason);
    }

    fn flush(&mut self, limit: Duration) -> bool {
        let settled = self.tally.in_flight() == 0;
        if !settled {
            // The caller closes the predecessor in another step.
            thread::sleep(limit.min(FLUSH_PAUSE));
        }
        settled
    }

    fn take_replacement(&mut self, limit: Duration) -> Option<Box<dyn Sink>> {
        let opened = match self.opening()?.recv_timeout(limit) {
            Ok(opened) => opened,
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => {
                let error = io::Error::other("it has failed; this is a bug, please report it");
                Err(SinkError::Thread { name: self.name.clone(), error })
            }
        };
        match opened {
            Ok(mut sink) => {
                for batch in self.waiting.drain(..) {
                    self.tally.withdrawn(&self.tally.count_batch(&batch));
                    sink.offer(&batch);
                }
                if self.is_finished {
                    sink.finish();
                }
                Some(sink)
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    fn finish(&mut self) {
        self.is_finished = true;
    }

    fn is_pending(&self) -> bool {
        self.failure.is_none()
    }

    fn begin_close(&mut self) {
        self.waiting.drain(..).for_each(|batch| self.tally.add_filtered(&batch));
        self.tally.close();
    }

    fn poll_closed(&mut self) -> bool {
        true
    }

    fn counters(&self) -> BTreeMap<String, Delivery> {
        self.tally.counters()
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.as_ref().map(|error| Failure::Broken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KafkaConfig, OpenWith, SinkSpec};
    use std::path::Path;

    const LIMIT: Duration = Duration::from_secs(30);

    fn batch(number: u128) -> Arc<Batch> {
        let mut batch = Batch::default();
        let render = |out: &mut Vec<u8>| out.extend(format!("{number}\n").bytes());
        batch.push(Stream::Transactions, number, render, |_| {});
        batch.add_filtered(Stream::Transactions);
        Arc::new(batch)
    }

    fn successor(path: &Path) -> (PendingSink, Arc<AtomicBool>) {
        let kafka = KafkaConfig::default();
        let with = OpenWith::new("n", &kafka);
        let predecessor_closed = Arc::new(AtomicBool::new(false));
        let plan = SinkPlan::new(&SinkSpec::File(path.into()), &with);
        (
            PendingSink::new("file".to_owned(), plan, Arc::clone(&predecessor_closed)),
            predecessor_closed,
        )
    }

    fn of_transactions(sink: &dyn Sink) -> Delivery {
        sink.counters().remove("transactions").unwrap()
    }

    #[test]
    fn passes_waiting_batches_to_the_new_sink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let (mut waiting, predecessor_closed) = successor(&path);
        (1..=3).for_each(|number| waiting.offer(&batch(number)));
        assert!(waiting.take_replacement(Duration::ZERO).is_none() && !path.exists());
        let counted = of_transactions(&waiting);
        assert_eq!((counted.records, counted.in_flight), (3, 3));
        predecessor_closed.store(true, Ordering::Relaxed);
        let mut sink = waiting.take_replacement(LIMIT).unwrap();
        assert!(sink.flush(Duration::from_secs(30)));
        let counted = of_transactions(&*sink);
        assert_eq!((counted.records, counted.delivered, counted.filtered), (6, 3, 3));
        assert_eq!(of_transactions(&waiting).records, 0, "they are counted once");
        sink.close();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1\n2\n3\n");
    }

    #[test]
    fn drops_and_counts_if_the_sink_cannot_be_opened() {
        let (mut waiting, predecessor_closed) = successor(Path::new("/proc/nowhere/out"));
        waiting.offer(&batch(1));
        predecessor_closed.store(true, Ordering::Relaxed);
        assert!(waiting.take_replacement(LIMIT).is_none());
        waiting.offer(&batch(2));
        let counted = of_transactions(&waiting);
        assert_eq!((counted.records, counted.dropped["write_error"]), (4, 2));
        let Some(Failure::Broken(why)) = waiting.failure() else { panic!("it has failed") };
        assert!(why.contains("/proc/nowhere/out"), "{why}");
    }

    #[test]
    fn drops_and_counts_batches_that_do_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let (mut waiting, predecessor_closed) = successor(&dir.path().join("out"));
        waiting.limits = QueueLimits { batches: 8, bytes: 1 << 20 };
        (1..=20).for_each(|number| waiting.offer(&batch(number)));
        predecessor_closed.store(true, Ordering::Relaxed);
        let sink = waiting.take_replacement(LIMIT).unwrap();
        let (before, after) = (of_transactions(&waiting), of_transactions(&*sink));
        assert_eq!((before.records, before.dropped["queue_full"], before.filtered), (26, 13, 13));
        assert_eq!((after.records, after.filtered), (14, 7));
    }
}
