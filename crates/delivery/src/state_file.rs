//! A file of state that is replaced as a whole.
//!
//! A write goes to another file, which is synced and renamed over the old one, so that a crash leaves one of
//! the two, whole. A thread of its own writes, since a disk may be slow.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// The file, and the thread that writes it.
#[derive(Debug)]
pub struct StateFile {
    contents: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    status: Arc<WriterStatus>,
}

#[derive(Debug, Default)]
struct WriterStatus {
    busy: AtomicBool,
    failures: AtomicU64,
}

impl StateFile {
    /// Starts the thread that writes the file at `path`, whose directory must exist. `what` names its contents in the log.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(path: PathBuf, what: &'static str) -> io::Result<Self> {
        let (contents, waiting) = channel();
        let status = Arc::new(WriterStatus::default());
        let shared = Arc::clone(&status);
        let work = move || write_all(&path, what, &waiting, &shared);
        let thread = thread::Builder::new().name("state".into()).spawn(work)?;
        Ok(Self { contents: Some(contents), thread: Some(thread), status })
    }

    /// Returns whether a write still goes on.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.status.busy.load(Ordering::Acquire)
    }

    /// Begins to replace the contents of the file.
    pub fn write(&mut self, contents: Vec<u8>) {
        self.status.busy.store(true, Ordering::Release);
        if let Some(sender) = &self.contents {
            // The thread ends only when the sender is dropped.
            let _ = sender.send(contents);
        }
    }

    /// Returns the number of writes that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.status.failures.load(Ordering::Relaxed)
    }

    /// Waits until everything is written.
    pub fn close(mut self) {
        drop(self.contents.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic.
            let _ = thread.join();
        }
    }
}

/// Writes contents as they come. Warns of the first failure, and says when writing works again.
fn write_all(path: &Path, what: &str, waiting: &Receiver<Vec<u8>>, status: &WriterStatus) {
    let mut failing = false;
    while let Ok(contents) = waiting.recv() {
        match replace(path, &contents) {
            Ok(()) if failing => {
                tracing::info!(file = %path.display(), "{what} are written again");
                failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                status.failures.fetch_add(1, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(
                        file = %path.display(), %error,
                        "{what} cannot be written and are kept in memory; free space or mend the disk"
                    );
                }
                failing = true;
            }
        }
        status.busy.store(false, Ordering::Release);
    }
}

/// Replaces a file, so that a crash leaves the old one or the new one.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let new: PathBuf = path.with_extension("new");
    let written = (|| {
        let mut file = File::create(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        // A part of a file would only take space.
        let _ = fs::remove_file(&new);
    }
    written?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_contents_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        // What a crash left of an earlier write is replaced.
        fs::write(path.with_extension("new"), "half").unwrap();
        let write = |contents: &str| {
            let mut file = StateFile::start(path.clone(), "contents").unwrap();
            file.write(contents.into());
            let status = Arc::clone(&file.status);
            file.close();
            assert!(!status.busy.load(Ordering::Acquire));
            (fs::read_to_string(&path).unwrap(), status.failures.load(Ordering::Relaxed))
        };
        assert_eq!(write("first"), ("first".to_owned(), 0));
        assert!(!path.with_extension("new").exists());
        fs::create_dir(path.with_extension("new")).unwrap();
        assert_eq!(write("second"), ("first".to_owned(), 1));
        fs::remove_dir(path.with_extension("new")).unwrap();
        assert_eq!(write("third"), ("third".to_owned(), 0));
    }
}
