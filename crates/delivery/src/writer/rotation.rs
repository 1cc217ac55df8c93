//! Removes and compresses rotated files on a thread of its own, so that no record waits for it.
//!
//! It works from what it finds in the directory, so it also completes what an earlier run began. Rotated
//! files are named `PATH.20261120T073000.000000001Z`: the names sort by time.

use super::target::copy_owner_and_mode;
use crate::Rotation;
use crate::files::{self, remove_if_exists as remove};
use crate::threaded::wait_until;
use crossbeam_channel::{Receiver, Sender};
use dnscribe_record::time::Timestamp;
use jiff::tz::TimeZone;
use rustix::process::setpriority_process;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
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
                let file = series.path.display();
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
                files::rename(&unfinished, &series.packed(stamp))?;
                remove(&plain)
            }
            Ok(false) => remove(&unfinished),
            Err(error) => remove(&unfinished).and(Err(error)),
        }
    }

    /// Compresses the file and syncs it. Returns false if it was stopped.
    fn compress_to(&self, plain: &Path, unfinished: &Path) -> io::Result<bool> {
        let mut plain = files::open(plain)?;
        let like = plain.metadata()?;
        // Not readable for others until mode and owner are copied.
        let packed = files::create_new(unfinished, &plain)?;
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
        files::set_modified(&packed, like.modified()?)?;
        packed.sync_all()?;
        Ok(true)
    }
}

/// Date, time and nanoseconds, without colons, which other systems do not allow in names.
const STAMP: &str = "%Y%m%dT%H%M%S.%9fZ";

/// Suffix of a compressed file.
const PACKED: &str = ".zst";

/// Suffix of a file that is being compressed.
const UNFINISHED: &str = ".zst.tmp";

/// A file and the files rotated from it.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// The file itself.
    pub(super) path: PathBuf,
    /// The newest rotated file. Files with later names belong to others.
    last: Option<Timestamp>,
}

/// The forms in which a rotated file exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FileForms {
    plain: bool,
    packed: bool,
    unfinished: bool,
}

impl Series {
    /// Lists the series of an existing file. If its path is a link, rotated files are beside its
    /// target.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut series = Self { path: files::canonicalize(path)?, last: None };
        series.last = series.scan()?.last_key_value().map(|(stamp, _)| *stamp);
        Ok(series)
    }

    /// The next name for rotation: later than all before it, even if the clock was set back.
    pub(super) fn next(&mut self, now: Timestamp) -> PathBuf {
        let after = self.last.map(|last| Timestamp::from_nanos(last.as_nanos() + 1));
        let stamp = after.map_or(now, |after| after.max(now));
        self.last = Some(stamp);
        self.plain(stamp)
    }

    fn plain(&self, stamp: Timestamp) -> PathBuf {
        self.named(stamp, "")
    }

    fn packed(&self, stamp: Timestamp) -> PathBuf {
        self.named(stamp, PACKED)
    }

    fn unfinished(&self, stamp: Timestamp) -> PathBuf {
        self.named(stamp, UNFINISHED)
    }

    fn named(&self, stamp: Timestamp, form: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}{form}", format_stamp(stamp)));
        name.into()
    }

    /// The existing rotated files, oldest first.
    fn files(&self) -> io::Result<BTreeMap<Timestamp, FileForms>> {
        let mut files = self.scan()?;
        files.retain(|stamp, _| Some(*stamp) <= self.last);
        Ok(files)
    }

    fn scan(&self) -> io::Result<BTreeMap<Timestamp, FileForms>> {
        let mut files: BTreeMap<Timestamp, FileForms> = BTreeMap::new();
        let Some(own) = self.path.file_name() else { return Ok(files) };
        for name in files::names_beside(&self.path)? {
            let Some((stamp, form)) = parse_name(own, &name) else { continue };
            let forms = files.entry(stamp).or_default();
            match form {
                "" => forms.plain = true,
                PACKED => forms.packed = true,
                _ => forms.unfinished = true,
            }
        }
        Ok(files)
    }
}

/// Returns whether `path` has a name that a file rotated from `own` can have, in the same directory.
#[must_use]
pub fn is_rotated_from(own: &Path, path: &Path) -> bool {
    let names = own.file_name().zip(path.file_name());
    own.parent() == path.parent()
        && names.is_some_and(|(own, name)| parse_name(own, name).is_some())
}

fn format_stamp(stamp: Timestamp) -> String {
    // Every `u64` of nanoseconds is a valid time.
    let time = jiff::Timestamp::from_nanosecond(i128::from(stamp.as_nanos())).unwrap_or_default();
    time.strftime(STAMP).to_string()
}

/// The timestamp and suffix in the name of a file rotated from `own`; `None` for other names.
fn parse_name(own: &OsStr, name: &OsStr) -> Option<(Timestamp, &'static str)> {
    let rest = name.as_bytes().strip_prefix(own.as_bytes())?.strip_prefix(b".")?;
    let rest = str::from_utf8(rest).ok()?;
    let (text, form) = [UNFINISHED, PACKED]
        .into_iter()
        .find_map(|form| Some((rest.strip_suffix(form)?, form)))
        .unwrap_or((rest, ""));
    let time = jiff::civil::DateTime::strptime(STAMP, text).ok()?.to_zoned(TimeZone::UTC).ok()?;
    let nanos = u64::try_from(time.timestamp().as_nanosecond()).ok()?;
    let stamp = Timestamp::from_nanos(nanos);
    // Only our own spelling of the time is accepted.
    (format_stamp(stamp) == text).then_some((stamp, form))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parsed(name: &str) -> Option<(u64, &'static str)> {
        parse_name(OsStr::new("a.b"), OsStr::new(name))
            .map(|(stamp, form)| (stamp.as_nanos(), form))
    }

    #[test]
    fn parses_only_its_own_names() {
        let nanos = 1_795_159_800_000_000_001;
        assert_eq!(format_stamp(Timestamp::from_nanos(nanos)), "20261120T073000.000000001Z");
        assert_eq!(parsed("a.b.20261120T073000.000000001Z"), Some((nanos, "")));
        assert_eq!(parsed("a.b.20261120T073000.000000001Z.zst"), Some((nanos, PACKED)));
        assert_eq!(parsed("a.b.20261120T073000.000000001Z.zst.tmp"), Some((nanos, UNFINISHED)));
        for other in [
            "a.b",
            "a.b.1",
            "a.b.gz",
            "a.b.20261120T073000Z",
            "a.b.20261120T073000.1Z",
            "a.b.20261120T073000.000000001",
            "a.b.20261120T073000.000000001Z.gz",
            "a.b.20261320T073000.000000001Z",
            "a.b.20261120T073000.000000001Z.zst.tmp.tmp",
            "a.bc.20261120T073000.000000001Z",
            "b.20261120T073000.000000001Z",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn sorts_names_even_when_the_clock_is_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "").unwrap();
        let mut series = Series::of(&path).unwrap();
        let names: Vec<PathBuf> = [9_000_000_000, 9_000_000_000, 5, 9_000_000_002, 1 << 60]
            .map(|nanos| series.next(Timestamp::from_nanos(nanos)))
            .into();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        fs::write(names.last().unwrap(), "").unwrap();
        let mut again = Series::of(&path).unwrap();
        assert!(again.next(Timestamp::from_nanos(7)) > *names.last().unwrap());
    }

    #[test]
    fn omits_later_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "").unwrap();
        let mut series = Series::of(&path).unwrap();
        fs::write(series.next(Timestamp::from_nanos(5)), "").unwrap();
        let earlier = series.clone();
        fs::write(series.next(Timestamp::from_nanos(6)), "").unwrap();
        assert_eq!(
            earlier.files().unwrap().into_keys().map(Timestamp::as_nanos).collect::<Vec<_>>(),
            [5]
        );
        assert_eq!(series.files().unwrap().len(), 2);
    }
}
