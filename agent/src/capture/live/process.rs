//! Processes in /proc: their ids, network namespaces, and start times in clock ticks (the kernel itself counts
//! nanoseconds).

use std::collections::BTreeSet;
use std::fs;
use std::io;
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

/// Returns the start time of the process that has this pid now, in nanoseconds of `CLOCK_BOOTTIME`, rounded
/// down to ticks (manual page `proc_pid_stat`, field 22).
#[must_use]
pub fn start_ns(pid: u32) -> Option<u64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns whether two start times are in the same tick, and so of the same process.
#[must_use]
pub fn is_same_start(a_ns: u64, b_ns: u64) -> bool {
    a_ns / TICK_NS == b_ns / TICK_NS
}

fn start_in(stat: &str) -> Option<u64> {
    // The name stands in parentheses and may hold anything, parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_start_time_after_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0";
        assert_eq!(start_in(stat), Some(47_110_000_000));
        assert_eq!(start_in("7 (a) S 1"), None);
        assert!(start_ns(std::process::id()).is_some());
    }

    #[test]
    fn compares_in_ticks() {
        assert!(is_same_start(47_110_000_000, 47_119_999_999));
        assert!(!is_same_start(47_110_000_000, 47_120_000_000));
    }
}
