//! What the userspace pipeline costs by itself: a generated capture through `dnscribe replay`,
//! its records made and thrown away.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::timed;
use anyhow::Result;
use dnscribe_tests::pcap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};

/// Zones in the capture.
const ZONES: u32 = 100;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let messages = bench.count(1_000_000);
    let folder = tempfile::tempdir()?;
    let capture = &folder.path().join("capture.pcap");
    pcap::write(BufWriter::new(File::create(capture)?), messages, ZONES)?;
    let to_file = format!("file:{}", folder.path().join("records.ndjson").display());
    let mut plan = Plan::new("pipeline");
    for (name, sink) in [("replay-null", "null"), ("replay-file", &to_file)] {
        plan.case(name, move || replay(bench.binary(), capture, sink, messages));
    }
    plan.row(Row::of("replay-null", "messages_per_second").at_least(1.5e6));
    plan.row(Row::of("replay-null", "cpu_seconds_per_million_messages"));
    plan.row(Row::of("replay-file", "cpu_seconds_per_million_messages").beside("replay-null"));
    bench.run(plan)
}

fn replay(binary: &Path, capture: &Path, sink: &str, messages: u32) -> Result<Figures> {
    let mut command = Command::new(binary);
    command.arg("replay").arg(capture).args(["--sink", sink]);
    let took = timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let cpu = per_million(took.cpu_seconds, messages.into())?;
    Ok(Figures::default()
        .with("messages_per_second", f64::from(messages) / took.wall_seconds)
        .with("cpu_seconds_per_million_messages", cpu))
}
