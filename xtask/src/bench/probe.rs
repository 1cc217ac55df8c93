//! Cost of `dnscribe-probe` with 5,000 targets: names at a resolver, and TCP ports. Resolver and ports are a process of
//! their own on this machine that answers at once, so that what is measured is the probe. The bare exchanges are those
//! of the targets, one after another, without a schedule or records.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::shell;
use rustix::process::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Number of targets.
const TARGETS: usize = 5000;

/// One of so many targets is a TCP port; the others are names. `probe_load` has the same mix.
const TCP_EVERY: usize = 5;

/// Aim: largest resident memory in bytes.
const MEMORY: f64 = 100.0 * 1024.0 * 1024.0;

/// Aim: largest CPU time of a thousand rounds, in seconds: 5,000 rounds a minute on one core.
const CPU: f64 = 60.0 / 5.0;

/// Time limit of the end after SIGTERM.
const END: Duration = Duration::from_secs(20);

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let load = bench.program("probe_load");
    let servers = Servers::start(&load)?;
    let probe = bench.probe();
    let rounds = bench.count(50_000).to_string();
    let mut plan = Plan::new("probe");
    plan.case("bare exchanges", || {
        let port = servers.tcp_port.to_string();
        Figures::measure(Command::new(&load).args(["bare", &servers.dns, &port, &rounds]))
    });
    for (case, interval, seconds) in [("every 60 s", 60, 190), ("every 6 s", 6, 60)] {
        let run = Run { probe: &probe, load: &load, servers: &servers, interval, seconds };
        plan.slow_case(case, move || run.measure());
        plan.row(Row::new(case, "rounds"));
        let cost = Row::new(case, "cpu_seconds_per_1000_rounds");
        plan.row(cost.clone().at_most(CPU)).row(cost.relative_to("bare exchanges"));
        plan.row(Row::new(case, "rss_peak_bytes").at_most(MEMORY));
        for figure in ["late_p50_ms", "late_p99_ms", "late_max_ms"] {
            plan.row(Row::new(case, figure));
        }
        for figure in ["late", "skipped", "failed"] {
            plan.row(Row::new(case, figure).at_most(0.0));
        }
    }
    bench.run(plan)
}

/// The process that answers.
struct Servers {
    process: Child,
    dns: String,
    tcp_port: u64,
}

impl Servers {
    fn start(load: &Path) -> Result<Self> {
        let mut command = Command::new(load);
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start the servers")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        let ports: Value = serde_json::from_str(&line).context("no ports of the servers")?;
        let dns = ports["dns"].as_str().context("no address of the DNS server")?.to_owned();
        let tcp_port = ports["tcp_port"].as_u64().context("no port of the TCP server")?;
        Ok(Self { process, dns, tcp_port })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        shell::end(&mut self.process);
    }
}

/// A run of the probe.
#[derive(Clone, Copy)]
struct Run<'a> {
    probe: &'a PathBuf,
    load: &'a PathBuf,
    servers: &'a Servers,
    /// Interval of each target in seconds.
    interval: u64,
    /// Duration in seconds.
    seconds: u64,
}

impl Run<'_> {
    fn measure(&self) -> Result<Figures> {
        let folder = tempfile::tempdir()?;
        let (config, records) = (folder.path().join("probes.yaml"), folder.path().join("records"));
        fs::write(&config, self.config(&records))?;
        let mut command = Command::new(self.probe);
        command.args(["run", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let mut probe = command.spawn().context("cannot start the probe")?;
        let watched = self.watch(&mut probe);
        if watched.is_err() {
            shell::end(&mut probe);
        }
        let (cpu, peak) = watched?;
        shell::wait(&mut probe, END)?;
        let (rounds, late, skipped) = counters(&records)?;
        ensure!(rounds > 0.0, "no rounds: see {}", config.display());
        let mut lateness = Command::new(self.load);
        lateness.arg("lateness").arg(&records).arg(self.interval.to_string());
        let figures = Figures::measure(&mut lateness)?;
        Ok(figures
            .with("rounds", rounds)
            .with("late", late)
            .with("skipped", skipped)
            .with("cpu_seconds_per_1000_rounds", cpu / rounds * 1000.0)
            .with("rss_peak_bytes", peak))
    }

    /// Lets the probe run, then ends it. Returns its CPU time in seconds and its largest memory in bytes.
    fn watch(&self, probe: &mut Child) -> Result<(f64, f64)> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        while Instant::now() < end {
            ensure!(probe.try_wait()?.is_none(), "the probe has ended by itself");
            thread::sleep(Duration::from_millis(200));
        }
        let cpu = usage::cpu_seconds(probe.id())?;
        let peak = usage::peak_bytes(probe.id()).context("the probe is gone")?;
        shell::signal(probe, Signal::TERM)?;
        Ok((cpu, f64::from(u32::try_from(peak / 1024)?) * 1024.0))
    }

    fn config(&self, records: &Path) -> String {
        let Self { servers, interval, .. } = self;
        let (dns, port, records) = (&servers.dns, servers.tcp_port, records.display());
        let mut text = format!(
            "version: 1\nresolvers: {{ local: \"udp://{dns}\" }}\nmetrics: {{ listen: \"off\" }}\n\
             sinks: [\"file:{records}\"]\ndefaults: {{ interval: {interval}s }}\n\
             limits: {{ rate_per_host: 5000, burst_per_host: 5000 }}\n\
             services:\n  - name: load\n    targets:\n"
        );
        for number in 0..TARGETS {
            // Writing to a String cannot fail.
            let _ = if number % TCP_EVERY == 0 {
                let (high, low) = (number / 250, number % 250);
                writeln!(text, "      - tcp: {{ address: \"127.1.{high}.{low}:{port}\" }}")
            } else {
                writeln!(text, "      - dns: {{ name: t{number}.example }}")
            };
        }
        text
    }
}

/// Rounds, late rounds and skipped rounds of the last ledger record. Those that were cut off at the end are not counted
/// as skipped.
fn counters(records: &Path) -> Result<(f64, f64, f64)> {
    let text = fs::read_to_string(records)?;
    let ledger = text.lines().rev().find(|line| line.contains("dns.ledger/1"));
    let ledger: Value = serde_json::from_str(ledger.context("no ledger record")?)?;
    ensure!(ledger["balanced"] == true, "the ledger does not close: {ledger}");
    let probing = &ledger["probing"];
    let number = |value: &Value| value.as_f64().context("no counter");
    let mut skipped = 0.0;
    for (reason, count) in probing["skipped"].as_object().context("no reasons")? {
        skipped += if reason == "shutdown" { 0.0 } else { number(count)? };
    }
    Ok((number(&probing["completed"])?, number(&probing["late"])?, skipped))
}
