//! What the userspace pipeline costs by itself: a generated capture through `dnscribe replay`,
//! its records made and thrown away.

use super::e2e::per_million;
use super::median;
use super::timed::{self, Took};
use crate::say;
use anyhow::Result;
use dnscribe_tests::pcap;
use serde_json::json;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};

/// Zones in the capture.
const ZONES: u32 = 100;

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
    timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))
}
