//! Passes batches to a function of this program, on a thread of its own.

use super::tally::DropReason;
use super::threaded::{QueueLimits, SharedState, SinkReceiver, ThreadedSink};
use super::{Batch, OutputFormat, Sink, SinkError, StreamSet};

/// Creates a sink that passes its batches, rendered as JSON, to `take`. If `take` is too slow,
/// batches are dropped and counted, as in any sink.
///
/// # Errors
/// Returns an error if the thread cannot be started.
pub fn observer(
    name: &str,
    streams: StreamSet,
    mut take: impl FnMut(&Batch) + Send + 'static,
) -> Result<Box<dyn Sink>, SinkError> {
    const REASONS: &[DropReason] =
        &[DropReason::QueueFull, DropReason::WriteError, DropReason::Shutdown];
    let shared = SharedState::new(streams, REASONS);
    let work = move |receiver: &SinkReceiver| {
        receiver.for_each(|batch, tally| {
            take(batch);
            tally.delivered(&tally.count_batch(batch));
        });
    };
    let limits = QueueLimits::default();
    Ok(Box::new(ThreadedSink::start(name.to_owned(), OutputFormat::Json, limits, shared, work)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    fn batch(count: u128) -> Arc<Batch> {
        let mut batch = Batch::default();
        for id in 0..count {
            batch.push(Stream::Ledger, id, |out| out.extend(b"{}\n"), |_| {});
        }
        Arc::new(batch)
    }

    #[test]
    fn passes_batches_and_counts_them() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        let streams = [Stream::Ledger].into_iter().collect();
        let take = move |batch: &Batch| {
            counted.fetch_add(batch.len(), Ordering::Relaxed);
        };
        let mut sink = observer("top", streams, take).unwrap();
        sink.offer(&batch(3));
        sink.offer(&batch(4));
        assert!(sink.flush(Duration::from_secs(30)));
        assert_eq!(seen.load(Ordering::Relaxed), 7);
        let counters = sink.counters();
        assert_eq!((counters["ledger"].records, counters["ledger"].delivered), (7, 7));
        sink.close();
    }

    #[test]
    fn drops_and_counts_if_the_function_blocks() {
        let (go, wait) = mpsc::channel::<()>();
        let streams = [Stream::Ledger].into_iter().collect();
        let mut sink = observer("top", streams, move |_| {
            // Fails once the test is over.
            let _ = wait.recv();
        })
        .unwrap();
        let offered = 20_000;
        let one = batch(1);
        (0..offered).for_each(|_| sink.offer(&one));
        let counters = sink.counters();
        assert!(counters["ledger"].dropped["queue_full"] > 0, "{counters:?}");
        drop(go);
        assert!(sink.flush(Duration::from_secs(30)));
        let counters = sink.counters();
        let ledger = &counters["ledger"];
        assert_eq!(ledger.records, offered);
        assert_eq!(ledger.delivered + ledger.dropped["queue_full"], offered);
        sink.close();
    }
}
