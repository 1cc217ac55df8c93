//! Resident memory of the agent with the streams that Kafka gets by default: at 50,000 queries per second, and
//! for ten minutes of capture time in which every name is new.
//!
//! The capture is generated into the standard input of `dnscribe replay`. The agent uses the capture's clock,
//! so the ten minutes take less than that.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::scale::Scale;
use dnscribe_tests::shell;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Aim: largest ratio of memory after ten minutes to memory after two.
const FLAT: f64 = 1.1;

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let messages = bench.count(4_000_000);
    let busy = Scale { messages, resolvers: 4, zones: 20_000, ..Scale::default() };
    let seconds = u64::from(messages / 2 / busy.queries_per_second);
    let random_qps = messages / 2 / 600;
    let random = Scale { zones: 100, random: true, queries_per_second: random_qps, ..busy };
    let mut plan = Plan::new("memory");
    plan.slow_case("busy-50000-qps", move || {
        let samples = sample_memory(bench.binary(), busy, seconds)?;
        Ok(Figures::default().with("resident_bytes", bytes_at(&samples, seconds)?))
    });
    plan.slow_case("random-subdomains", move || {
        let samples = sample_memory(bench.binary(), random, 600)?;
        let (early, late) = (bytes_at(&samples, 120)?, bytes_at(&samples, 600)?);
        Ok(Figures::default()
            .with("resident_bytes_minute_2", early)
            .with("resident_bytes", late)
            .with("minute_10_by_minute_2", late / early))
    });
    for case in ["busy-50000-qps", "random-subdomains"] {
        plan.row(Row::new(case, "resident_bytes"));
    }
    plan.row(Row::new("random-subdomains", "minute_10_by_minute_2").at_most(FLAT));
    bench.run(plan)
}

/// Resident bytes at the end of each second of the capture: second, bytes.
type MemorySamples = Vec<(u64, u64)>;

/// Resident bytes at a second of the capture.
fn bytes_at(samples: &MemorySamples, second: u64) -> Result<f64> {
    let found = samples.iter().find(|(at, _)| *at >= second).context("the capture is too short")?;
    usage::figure(found.1)
}

/// Runs the agent on a generated capture and samples its memory until second `until` of the capture.
fn sample_memory(binary: &Path, scale: Scale, until: u64) -> Result<MemorySamples> {
    let mut command = Command::new(binary);
    command.args(["replay", "-", "--sink", "file:/dev/null"]);
    command.args(["--stream", "transactions,metrics,alerts"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot start the agent")?;
    let mut samples = MemorySamples::new();
    let fed = feed(&mut child, scale, until, &mut samples);
    if fed.is_err() {
        shell::end(&mut child);
    }
    fed?;
    let status = child.wait()?;
    ensure!(status.success(), "`{}` failed ({status})", shell::command_line(&command));
    Ok(samples)
}

/// Writes the capture to the agent and samples its memory after each second of it.
fn feed(child: &mut Child, scale: Scale, until: u64, samples: &mut MemorySamples) -> Result<()> {
    let pid = child.id();
    let input = child.stdin.take().context("no input")?;
    scale.write_watched(BufWriter::new(input), &mut |second| {
        if second <= until {
            samples.push((second, usage::resident_bytes(pid).context("the agent is gone")?));
        }
        Ok(())
    })
}
