//! Names of rotated files: `PATH.20261120T073000.000000001Z`. They sort by time.

use dnscribe_record::time::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Date, time and nanoseconds, without colons, which other systems do not allow in names.
const STAMP: &str = "%Y%m%dT%H%M%S.%9fZ";

/// Suffix of a compressed file.
const PACKED: &str = ".zst";

/// Suffix of a file that is being compressed.
const UNFINISHED: &str = ".zst.tmp";

/// A file and the files rotated from it.
#[derive(Clone, Debug)]
pub(super) struct Series {
    path: PathBuf,
    /// The newest rotated file. Files with later names belong to others.
    last: Option<Timestamp>,
}

/// The forms in which a rotated file exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileForms {
    pub(super) plain: bool,
    pub(super) packed: bool,
    pub(super) unfinished: bool,
}

impl Series {
    /// Lists the series of an existing file. If its path is a link, rotated files are beside its
    /// target.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut series = Self { path: path.canonicalize()?, last: None };
        series.last = series.scan()?.last_key_value().map(|(stamp, _)| *stamp);
        Ok(series)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next name for rotation: later than all before it, even if the clock was set back.
    pub(super) fn next(&mut self, now: Timestamp) -> PathBuf {
        let after = self.last.map(|last| Timestamp::from_nanos(last.as_nanos() + 1));
        let stamp = after.map_or(now, |after| after.max(now));
        self.last = Some(stamp);
        self.plain(stamp)
    }

    pub(super) fn plain(&self, stamp: Timestamp) -> PathBuf {
        self.named(stamp, "")
    }

    pub(super) fn packed(&self, stamp: Timestamp) -> PathBuf {
        self.named(stamp, PACKED)
    }

    pub(super) fn unfinished(&self, stamp: Timestamp) -> PathBuf {
        self.named(stamp, UNFINISHED)
    }

    fn named(&self, stamp: Timestamp, form: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{}{form}", format_stamp(stamp)));
        name.into()
    }

    /// The existing rotated files, oldest first.
    pub(super) fn files(&self) -> io::Result<BTreeMap<Timestamp, FileForms>> {
        let mut files = self.scan()?;
        files.retain(|stamp, _| Some(*stamp) <= self.last);
        Ok(files)
    }

    fn scan(&self) -> io::Result<BTreeMap<Timestamp, FileForms>> {
        let mut files: BTreeMap<Timestamp, FileForms> = BTreeMap::new();
        let (Some(directory), Some(own)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(files);
        };
        for entry in fs::read_dir(directory)? {
            let Some((stamp, form)) = parse_name(own, &entry?.file_name()) else { continue };
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
