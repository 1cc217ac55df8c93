//! What becomes of rotated files, in a thread of its own, so that no record waits for it: too old
//! ones are removed, the others compressed.
//!
//! It goes by what it finds in the directory, so that it also ends what an earlier run began.

use super::series::Series;
use super::target::liken;
use crate::sink::Rotation;
use crate::time::Timestamp;
use crossbeam_channel::{Receiver, Sender};
use rustix::process::setpriority_process;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use zstd::stream::write::Encoder;

/// What is not done this long after the sink's end is left to the next start.
const LAST_CALL: Duration = Duration::from_secs(1);

/// zstd's own default.
const LEVEL: i32 = 3;

/// Compression takes what CPU time nobody else wants.
const NICE: i32 = 10;

/// Octets compressed between two looks whether to stop.
const PORTION: usize = 256 << 10;

/// The sink's side.
pub(super) struct Keeper {
    tell: Option<Sender<Series>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(rotation: Rotation) -> io::Result<Self> {
        let (tell, told) = crossbeam_channel::unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { rotation, stop: Arc::clone(&stop), warned: false };
        let thread = thread::Builder::new().name("sink-keeper".into());
        let thread = Some(thread.spawn(move || work.run(&told))?);
        Ok(Self { tell: Some(tell), stop, thread })
    }

    /// Has the files of the series looked after, up to its newest. They must be complete.
    pub(super) fn tidy(&self, series: &Series) {
        if let Some(tell) = &self.tell {
            // Without its thread, which does not end before us, files would stay as they are.
            let _ = tell.send(series.clone());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tell = None;
        let Some(thread) = self.thread.take() else { return };
        let end = Instant::now() + LAST_CALL;
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        self.stop.store(true, Ordering::Relaxed);
        if thread.join().is_err() {
            tracing::warn!("the thread that looks after rotated files failed");
        }
    }
}

/// The thread's side.
struct Work {
    rotation: Rotation,
    stop: Arc<AtomicBool>,
    warned: bool,
}

impl Work {
    fn run(mut self, told: &Receiver<Series>) {
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::debug!(%error, "compression has the priority of all else");
        }
        while let Ok(series) = told.recv() {
            // The newest knows of all before it, but where the path was a link to elsewhere:
            // what is left there waits for the next start there.
            let series = told.try_iter().last().unwrap_or(series);
            let done = self.tidy(&series);
            if let (Err(error), false) = (&done, self.warned) {
                let file = series.path().display();
                tracing::warn!(%file, %error, "rotated files cannot be looked after, and stay as they are");
            }
            self.warned = done.is_err();
        }
    }

    /// Does what it can; gives the first error.
    fn tidy(&self, series: &Series) -> io::Result<()> {
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
        // A packed file with its name is whole: only the last step was left to do.
        if packed {
            return remove(&plain);
        }
        let unfinished = series.unfinished(stamp);
        match self.pack(&plain, &unfinished) {
            Ok(true) => {
                fs::rename(&unfinished, series.packed(stamp))?;
                remove(&plain)
            }
            Ok(false) => remove(&unfinished),
            Err(error) => remove(&unfinished).and(Err(error)),
        }
    }

    /// Writes the file compressed, to the disk; whether there was time for it.
    fn pack(&self, plain: &Path, unfinished: &Path) -> io::Result<bool> {
        let mut plain = File::open(plain)?;
        let like = plain.metadata()?;
        // For nobody else until it is known for whom.
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
        liken(&packed, &like)?;
        packed.set_modified(like.modified()?)?;
        packed.sync_all()?;
        Ok(true)
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
