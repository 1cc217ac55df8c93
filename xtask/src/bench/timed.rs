//! A program run to its end, and what it took.

use super::usage;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::shell;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// When a program that does not end is given up.
const LIMIT: Duration = Duration::from_secs(300);

/// What one run took.
pub struct Took {
    /// From the start of the process to its end.
    pub wall_seconds: f64,
    /// Of all its threads, user and system.
    pub cpu_seconds: f64,
    /// The most memory that it held, as far as was seen.
    pub rss_peak_bytes: u64,
}

/// Runs a program without a standard input; an exit other than 0 is an error.
pub fn run(command: &mut Command) -> Result<Took> {
    let shown = shell::shown(command);
    let start = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let watched = watch(&child, start).with_context(|| format!("`{shown}`"));
    if watched.is_err() {
        shell::end(&mut child);
    }
    let took = watched?;
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(took)
}

/// Watches a process to its end without reaping it, so that its CPU time can still be read.
fn watch(child: &Child, start: Instant) -> Result<Took> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let mut rss_peak_bytes = 0;
    while waitid(WaitId::Pid(pid), look)?.is_none() {
        rss_peak_bytes = usage::peak_bytes(child.id()).unwrap_or(0).max(rss_peak_bytes);
        if start.elapsed() > LIMIT {
            bail!("it does not end");
        }
        thread::sleep(LOOK);
    }
    Ok(Took {
        wall_seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: usage::cpu_seconds(child.id())?,
        rss_peak_bytes,
    })
}
