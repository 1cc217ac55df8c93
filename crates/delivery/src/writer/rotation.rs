//! Removes and compresses rotated files on a thread of its own, so that no record waits for it.
//!
//! It works from what it finds in the directory, so it also completes what an earlier run began.

use super::series::Series;
use super::target::copy_owner_and_mode;
use crate::Rotation;
use crate::open::remove_if_exists as remove;
use crate::threaded::wait_until;
use crossbeam_channel::{Receiver, Sender};
use dnscribe_record::time::Timestamp;
use rustix::process::setpriority_process;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use zstd::stream::write::Encoder;

/// How long to continue after the sink is closed. The next start completes the rest.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

const LEVEL: i32 = 3;

/// Nice value: compression uses only idle CPU time.
const NICE: i32 = 10;

/// Bytes compressed between two checks whether to stop.
const PORTION: usize = 256 << 10;

pub(super) struct RotationWorker {
    sender: Option<Sender<Series>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RotationWorker {
    pub(super) fn start(rotation: Rotation) -> io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let work = RotationTask { rotation, stop: Arc::clone(&stop), warned: false };
        let thread = thread::Builder::new().name("sink-rotation".into());
        let thread = Some(thread.spawn(move || work.run(&receiver))?);
        Ok(Self { sender: Some(sender), stop, thread })
    }

    /// Removes or compresses the rotated files of the series. They must be complete.
    pub(super) fn clean_up(&self, series: &Series) {
        if let Some(sender) = &self.sender {
            // Fails only if the thread has panicked: then files stay as they are.
            let _ = sender.send(series.clone());
        }
    }
}

impl Drop for RotationWorker {
    fn drop(&mut self) {
        self.sender = None;
        let Some(thread) = self.thread.take() else { return };
        wait_until(STOP_TIMEOUT, || thread.is_finished());
        self.stop.store(true, Ordering::Relaxed);
        if thread.join().is_err() {
            tracing::warn!("the thread for rotated files failed");
        }
    }
}

struct RotationTask {
    rotation: Rotation,
    stop: Arc<AtomicBool>,
    warned: bool,
}

impl RotationTask {
    fn run(mut self, receiver: &Receiver<Series>) {
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::debug!(%error, "cannot lower the priority of compression");
        }
        while let Ok(series) = receiver.recv() {
            // The newest series covers the earlier ones, unless the path was a link to another
            // directory: files left there wait for the next start with it.
            let series = receiver.try_iter().last().unwrap_or(series);
            let done = self.clean_up(&series);
            if let (Err(error), false) = (&done, self.warned) {
                let file = series.path().display();
                tracing::warn!(%file, %error, "cannot compress or remove rotated files");
            }
            self.warned = done.is_err();
        }
    }

    /// Removes and compresses as much as possible. Returns the first error.
    fn clean_up(&self, series: &Series) -> io::Result<()> {
        let mut files = series.files()?;
        let mut outcome = Ok(());
        let mut note = |result: io::Result<()>| {
            if outcome.is_ok() {
                outcome = result;
            }
        };
        for (stamp, _) in files.iter().filter(|(_, forms)| forms.unfinished) {
            note(remove(&series.unfinished(*stamp)));
        }
        files.retain(|_, forms| forms.plain || forms.packed);
        let excess = self.rotation.keep.map_or(0, |keep| files.len().saturating_sub(keep));
        for (number, (stamp, forms)) in files.into_iter().enumerate() {
            if number < excess {
                note(remove(&series.plain(stamp)).and(remove(&series.packed(stamp))));
            } else if self.rotation.compress && forms.plain && !self.stop.load(Ordering::Relaxed) {
                note(self.compress(series, stamp, forms.packed));
            }
        }
        outcome
    }

    fn compress(&self, series: &Series, stamp: Timestamp, packed: bool) -> io::Result<()> {
        let plain = series.plain(stamp);
        // A compressed file with its final name is complete: only the removal of the original is
        // left.
        if packed {
            return remove(&plain);
        }
        let unfinished = series.unfinished(stamp);
        match self.compress_to(&plain, &unfinished) {
            Ok(true) => {
                fs::rename(&unfinished, series.packed(stamp))?;
                remove(&plain)
            }
            Ok(false) => remove(&unfinished),
            Err(error) => remove(&unfinished).and(Err(error)),
        }
    }

    /// Compresses the file and syncs it. Returns false if it was stopped.
    fn compress_to(&self, plain: &Path, unfinished: &Path) -> io::Result<bool> {
        let mut plain = File::open(plain)?;
        let like = plain.metadata()?;
        // Not readable for others until mode and owner are copied.
        let packed =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
        let mut encoder = Encoder::new(packed, LEVEL)?;
        encoder.include_checksum(true)?;
        let mut portion = vec![0; PORTION];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            match plain.read(&mut portion) {
                Ok(0) => break,
                Ok(count) => encoder.write_all(&portion[..count])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let packed = encoder.finish()?;
        copy_owner_and_mode(&packed, &like)?;
        packed.set_modified(like.modified()?)?;
        packed.sync_all()?;
        Ok(true)
    }
}
