//! Writes log lines in a thread of its own, so that whoever logs never waits for whoever reads the log.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait at most. Further ones are lost and counted.
const MAX_LINES: usize = 2048;

/// Pause before the next attempt to ask a full queue for a flush.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

/// The queue of lines to the thread that writes them.
pub(super) struct Background {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

enum Item {
    Line(Vec<u8>),
    /// Request to signal once all lines before it are written.
    Flush(SyncSender<()>),
}

impl Background {
    /// Starts to write to `out`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = mpsc::sync_channel(MAX_LINES);
        let lost = Arc::<AtomicU64>::default();
        let unwritten = Arc::clone(&lost);
        let work = move || {
            for item in items {
                match item {
                    // There is nowhere to report that the log cannot be written.
                    Item::Line(line) => drop(out.write_all(&line)),
                    Item::Flush(done) => drop(done.try_send(())),
                }
                let lines = unwritten.swap(0, Ordering::Relaxed);
                if lines > 0 {
                    tracing::warn!(lines, "log lines were lost: whoever reads stderr is too slow");
                }
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(work)?;
        Ok(Self { queue, lost })
    }

    /// Queues a line. Never blocks: a line that does not fit is lost, and counted in a later line.
    pub(super) fn write(&self, line: &[u8]) {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, at most for `limit`, until all queued lines are written.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let left = || end.saturating_duration_since(Instant::now());
        let (done, is_done) = mpsc::sync_channel(1);
        while self.queue.try_send(Item::Flush(done.clone())).is_err() {
            if left().is_zero() {
                return;
            }
            thread::sleep(FLUSH_PAUSE);
        }
        // Lines that are still not written then are lost.
        let _ = is_done.recv_timeout(left());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A reader that reads nothing until the sender is dropped.
    struct Blocked {
        held: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Fails once it may read.
            let _ = self.held.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn never_waits_for_the_reader() {
        let (hold, held) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let out = Blocked { held, written: Arc::clone(&written) };
        let background = Background::start(out).unwrap();
        let start = Instant::now();
        for _ in 0..2 * MAX_LINES {
            background.write(b"line\n");
        }
        background.flush(Duration::from_millis(10));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(background.lost.load(Ordering::Relaxed) >= MAX_LINES as u64 - 1);
        drop(hold);
        background.flush(Duration::from_secs(30));
        let lines = written.lock().unwrap().len() / b"line\n".len();
        assert!((MAX_LINES..=MAX_LINES + 1).contains(&lines), "{lines}");
    }
}
