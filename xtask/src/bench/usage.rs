//! CPU time and memory of a process, from `/proc`.

use anyhow::{Context as _, Result};
use std::fs;

/// Clock ticks per second in `/proc/PID/stat`, fixed by the kernel's interface on every supported architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process so far, user and system, in seconds. Also available after its end until it is waited for.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_cpu_seconds(&stat).with_context(|| format!("cannot parse /proc/{pid}/stat: {stat}"))
}

/// Largest resident memory of a process so far, in bytes; `None` after its end.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// Resident memory of a process in bytes; `None` after its end.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Returns a size in bytes as a figure, rounded down to KiB.
///
/// # Errors
/// It is 4 TiB or more.
pub fn figure(bytes: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes / 1024)?) * 1024.0)
}

/// Size in bytes of a field in `proc_pid_status(5)`.
fn status_bytes(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Sums fields 14 and 15 of `proc_pid_stat(5)`, counted after the command name, which may contain blanks.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_cpu_time_after_name_with_blanks() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 9 9 20 0 1 0 5";
        assert!((parse_cpu_seconds(stat).unwrap() - 2.0).abs() < 1e-12);
        assert!(parse_cpu_seconds("7 (a) S 1").is_none());
    }

    #[test]
    fn reads_figures_of_this_process() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        // In this order, because other tests make the process grow.
        let resident = resident_bytes(pid).unwrap();
        assert!(resident > 100_000);
        assert!(peak_bytes(pid).unwrap() >= resident);
    }
}
