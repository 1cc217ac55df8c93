//! Runs a program to its end and measures its cost.

use super::usage;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::shell;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Interval between two looks at a process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Longest run of a program.
const LIMIT: Duration = Duration::from_mins(5);

/// Cost of one run.
pub struct RunCost {
    /// From the start of the process to its end.
    pub wall_seconds: f64,
    /// CPU time of all threads, user and system.
    pub cpu_seconds: f64,
    /// Largest resident memory that was sampled.
    pub rss_peak_bytes: u64,
}

/// Runs a program without standard input.
///
/// # Errors
/// If it fails or does not end in five minutes.
pub fn run(command: &mut Command) -> Result<RunCost> {
    let shown = shell::command_line(command);
    let start = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let watched = watch(&child, start).with_context(|| format!("`{shown}`"));
    if watched.is_err() {
        shell::end(&mut child);
    }
    let cost = watched?;
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(cost)
}

/// Waits for the end of a process without reaping it, so that its CPU time can still be read.
fn watch(child: &Child, start: Instant) -> Result<RunCost> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let mut rss_peak_bytes = 0;
    while waitid(WaitId::Pid(pid), options)?.is_none() {
        rss_peak_bytes = usage::peak_bytes(child.id()).unwrap_or(0).max(rss_peak_bytes);
        if start.elapsed() > LIMIT {
            bail!("still running after {} s", LIMIT.as_secs());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(RunCost {
        wall_seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: usage::cpu_seconds(child.id())?,
        rss_peak_bytes,
    })
}
