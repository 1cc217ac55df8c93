//! Cost of `dnscribe-probe` with 5,000 targets: names at a resolver, TCP ports, URLs and TLS servers. The servers are a
//! process of their own on this machine that answers at once, so that what is measured is the probe. The bare exchanges are those
//! of the targets, one after another, without a schedule or records. Measurements on request are measured beside blackbox_exporter.

mod scrape;

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::shell;
use rustix::process::Signal;
use scrape::Exporter;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Number of targets.
const TARGETS: usize = 5000;

/// Number of targets of each service.
const SERVICE: usize = 10;

/// Number of targets after which the mix repeats itself: 4 TCP ports, a URL, a TLS server, and names. `probe_load bare` has
/// the same.
const MIX: usize = 20;

/// Name in the certificate of the TLS server.
const NAME: &str = "load.test";

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
        let [tcp, http, tls] = servers.ports.map(|port| port.to_string());
        let words = ["bare", &servers.dns, &tcp, &http, &tls, &rounds];
        Figures::measure(Command::new(&load).args(words))
    });
    let requests = bench.count(4_000);
    let cases =
        [("/probe", Exporter::own(&probe, &servers)), ("blackbox_exporter", Exporter::peer())];
    for (case, exporter) in cases {
        let (exporter, servers) = (exporter?, &servers);
        plan.case(case, move || exporter.measure(servers, requests));
    }
    for figure in ["cpu_seconds_per_1000_rounds", "rss_peak_bytes"] {
        plan.row(Row::new("/probe", figure).relative_to("blackbox_exporter"));
    }
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
    /// Ports for TCP, HTTP and TLS.
    ports: [u64; 3],
    /// Certificates and keys: `ca.pem` is the authority's.
    folder: TempDir,
}

impl Servers {
    fn start(load: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new("Load CA")?;
        let server = authority.server(&[NAME], Validity::Current)?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("ca.pem"), authority.pem()?)?;
        fs::write(path("server.pem"), server.certificate)?;
        fs::write(path("server.key"), server.key)?;
        let mut command = Command::new(load);
        command.arg("serve").args([path("server.pem"), path("server.key")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start the servers")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        let ports: Value = serde_json::from_str(&line).context("no ports of the servers")?;
        let dns = ports["dns"].as_str().context("no address of the DNS server")?.to_owned();
        let port = |name: &str| ports[name].as_u64().with_context(|| format!("no {name}"));
        let ports = [port("tcp_port")?, port("http_port")?, port("tls_port")?];
        Ok(Self { process, dns, ports, folder })
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
        Ok((cpu, usage::figure(peak)?))
    }

    fn config(&self, records: &Path) -> String {
        let Self { servers, interval, .. } = self;
        let (dns, [tcp, http, tls], records) = (&servers.dns, servers.ports, records.display());
        let roots = servers.folder.path().join("ca.pem");
        let mut text = format!(
            "version: 1\ntrust: {{ roots: [{roots}] }}\nresolvers: {{ local: \"udp://{dns}\" }}\nmetrics: {{ listen: \"off\" }}\n\
             sinks: [\"file:{records}\"]\ndefaults: {{ interval: {interval}s, dnssec: false }}\n\
             limits: {{ rate_per_host: 5000, burst_per_host: 5000 }}\n\
             services:\n",
            roots = roots.display()
        );
        for number in 0..TARGETS {
            if number % SERVICE == 0 {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  - name: s{number}\n    targets:");
            }
            let host = format!("127.1.{}.{}", number / 250, number % 250);
            // Writing to a String cannot fail.
            let _ = match number % MIX {
                0 | 5 | 10 | 15 => writeln!(text, "      - tcp: {{ address: \"{host}:{tcp}\" }}"),
                1 => writeln!(text, "      - http: {{ url: \"http://{host}:{http}/\", body: ok }}"),
                2 => writeln!(
                    text,
                    "      - tls: {{ address: \"{host}:{tls}\", server_name: {NAME} }}"
                ),
                _ => writeln!(text, "      - dns: {{ name: t{number}.example }}"),
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
