//! What the userspace pipeline costs by itself: a generated capture through `dnscribe replay`,
//! its records made and thrown away.

use super::e2e::per_million;
use super::{median, usage};
use crate::say;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::pcap;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::json;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often the memory of the process is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// When a replay that does not end is given up.
const LIMIT: Duration = Duration::from_secs(300);

/// Zones in the capture.
const ZONES: u32 = 100;

/// What one replay took.
struct Took {
    wall_seconds: f64,
    cpu_seconds: f64,
    rss_peak_bytes: u64,
}

/// Runs the benchmark and prints its lines.
pub fn main(binary: &Path, repetitions: u32, messages: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let capture = folder.path().join("capture.pcap");
    pcap::write(BufWriter::new(File::create(&capture)?), messages, ZONES)?;
    // The first brings program and capture into memory and is not counted.
    replay(binary, &capture)?;
    let mut all = Vec::new();
    for repetition in 0..repetitions {
        let took = replay(binary, &capture)?;
        let line = json!({
            "bench": "pipeline", "repetition": repetition, "messages": messages,
            "wall_seconds": took.wall_seconds, "cpu_seconds": took.cpu_seconds,
            "rss_peak_bytes": took.rss_peak_bytes,
        });
        say::result(&line.to_string());
        all.push(took);
    }
    let cpu = median(all.iter().map(|took| took.cpu_seconds));
    let summary = json!({
        "bench": "pipeline", "summary": true, "messages": messages, "repetitions": repetitions,
        "messages_per_second":
            f64::from(messages) / median(all.iter().map(|took| took.wall_seconds)),
        "cpu_seconds_per_million_messages": per_million(cpu, messages.into())?,
        "rss_peak_bytes": all.iter().map(|took| took.rss_peak_bytes).max(),
    });
    say::result(&summary.to_string());
    Ok(())
}

fn replay(binary: &Path, capture: &Path) -> Result<Took> {
    let mut command = Command::new(binary);
    command.arg("replay").arg(capture).args(["--sink", "null"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().context("cannot start the agent")?;
    let watched = watch(&child, start);
    if watched.is_err() {
        dnscribe_tests::shell::end(&mut child);
    }
    let took = watched?;
    let status = child.wait()?;
    if !status.success() {
        bail!("dnscribe replay failed ({status})");
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
            bail!("the replay does not end");
        }
        thread::sleep(LOOK);
    }
    Ok(Took {
        wall_seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: usage::cpu_seconds(child.id())?,
        rss_peak_bytes,
    })
}
