//! Processes in /proc: their ids, network namespaces, and start times in clock ticks (the kernel itself counts
//! nanoseconds).

use super::clock::OFFSETS;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Nanoseconds in a tick of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture of today.
const TICK_NS: u64 = 10_000_000;

/// Returns the ids of all processes.
///
/// # Errors
/// `/proc` cannot be read, or not to its end.
pub(super) fn ids() -> io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(ids)
}

/// Returns inode and path of a process's network namespace.
pub(super) fn network_namespace(pid: u32) -> Option<(u64, PathBuf)> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    Some((inode_of(&path)?, path))
}

/// Returns the inode of a namespace; `None` if its process has ended.
pub(super) fn inode_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// What `/proc/PID/stat` says of the process that has this pid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcStatus {
    /// Pid of its parent; 0 if that is in another pid namespace (manual page `proc_pid_stat`, field 4).
    pub parent: u32,
    /// Its start time in nanoseconds of the host's `CLOCK_BOOTTIME`, rounded down to ticks (field 22).
    pub start_ns: u64,
}

impl ProcStatus {
    /// Reads it.
    ///
    /// # Errors
    /// No process has the pid, or the file cannot be read.
    pub fn read(pid: u32) -> io::Result<Self> {
        // The name in it may be of any bytes, and be cut within a character.
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&String::from_utf8_lossy(&stat), OFFSETS.boottime_ns)
            .ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// Reads the file of a process. `boottime_ns`: how far the clock of the reader's time namespace is ahead.
    fn parse(stat: &str, boottime_ns: i64) -> Option<Self> {
        // The name stands in parentheses and may hold anything, parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let ticks: u64 = fields.nth(17)?.parse().ok()?;
        let start_ns = ticks.checked_mul(TICK_NS)?.saturating_add_signed(-boottime_ns);
        Some(Self { parent, start_ns })
    }
}

/// Returns what was read; `None` if it is not there, as of a process or cgroup that has ended, or not for this user.
///
/// # Errors
/// It may be there: there are too many open files, for example.
pub fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    use rustix::io::Errno;
    const GONE: [Errno; 5] = [Errno::NOENT, Errno::SRCH, Errno::NODEV, Errno::ACCESS, Errno::PERM];
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if Errno::from_io_error(&error).is_some_and(|error| GONE.contains(&error)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns whether two start times are in the same tick, and so of the same process.
#[must_use]
pub fn is_same_start(a_ns: u64, b_ns: u64) -> bool {
    let tick = |ns: u64| ns.saturating_add_signed(OFFSETS.boottime_ns) / TICK_NS;
    tick(a_ns) == tick(b_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn only_what_is_gone_is_not_there() {
        let read = |errno: Errno| if_there::<()>(Err(errno.into()));
        for gone in [Errno::NOENT, Errno::SRCH, Errno::ACCESS, Errno::PERM] {
            assert_eq!(read(gone).unwrap(), None, "{gone}");
        }
        for unknown in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
        assert_eq!(if_there(Ok(7)).unwrap(), Some(7));
    }

    #[test]
    fn parses_parent_and_start_time_after_any_name() {
        let stat = "7 (a) b) (c) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0";
        let status = ProcStatus { parent: 3, start_ns: 47_110_000_000 };
        assert_eq!(ProcStatus::parse(stat, 0), Some(status));
        let ahead = ProcStatus::parse(stat, 7_000_000_000);
        assert_eq!(ahead.unwrap().start_ns, 40_110_000_000, "a time namespace");
        assert_eq!(ProcStatus::parse("7 (a) S 1", 0), None);
        let own = ProcStatus::read(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
    }

    #[test]
    fn compares_in_ticks() {
        assert!(is_same_start(47_110_000_000, 47_119_999_999));
        assert!(!is_same_start(47_110_000_000, 47_120_000_000));
    }
}
