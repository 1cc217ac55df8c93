//! What a process used, as `/proc` tells.

use anyhow::{Context as _, Result};
use std::fs;

/// Clock ticks per second in `/proc/PID/stat`; the kernel's interface fixes it on every
/// architecture that the agent runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process so far, user and system, in seconds. A process that has ended and has
/// not been waited for still has it.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_cpu_seconds(&stat).with_context(|| format!("an unreadable stat: {stat}"))
}

/// The most memory that a process has held so far, in bytes; `None` once it has ended.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    of_status(pid, "VmHWM:")
}

/// The memory that a process holds, in bytes; `None` once it has ended.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    of_status(pid, "VmRSS:")
}

/// A size from `proc_pid_status(5)`.
fn of_status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Of `proc_pid_stat(5)`: fields 14 and 15, counted behind the name, which may hold blanks.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut ticks = behind.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_blanks() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 9 9 20 0 1 0 5";
        assert!((parse_cpu_seconds(stat).unwrap() - 2.0).abs() < 1e-12);
        assert!(parse_cpu_seconds("7 (a) S 1").is_none());
    }

    #[test]
    fn this_process_has_figures() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        // In this order: other tests make the process grow meanwhile.
        let resident = resident_bytes(pid).unwrap();
        assert!(resident > 100_000);
        assert!(peak_bytes(pid).unwrap() >= resident);
    }
}
