//! Overload: twice as many events as the agent can handle, with sampling and without it (the ring fills up:
//! tail drop). A quota limits the agent's CPU time to half of what it needed for the same load before.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::Lab;
use dnscribe_tests::ledger::{self, counter};
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Queries per second; each gives four packets.
const QPS: u32 = 12_000;
/// Share of the load that the agent can handle.
const HANDLED_SHARE: f64 = 0.5;
/// Period of the quota in microseconds, short compared with the time in which the ring fills up.
const PERIOD_US: f64 = 20_000.0;
/// Longest time until sampling ends.
const RECOVERY: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes in a ring that counts as empty: the host's own queries always add some.
const EMPTY_BYTES: f64 = 16384.0;

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let queries = bench.count(240_000);
    let lab = Lab::up()?;
    let target = PressureBench { lab: &lab, binary: bench.binary(), queries };
    let known_share = Cell::new(None);
    let mut plan = Plan::new("pressure");
    for (name, mode) in [("sampling", "auto"), ("tail_drop", "off")] {
        plan.slow_case(name, || {
            let share =
                if let Some(share) = known_share.get() { share } else { target.cpu_share()? };
            known_share.set(Some(share));
            target.measure(mode, share * HANDLED_SHARE)
        });
    }
    plan.row(Row::new("sampling", "whole_share").relative_to("tail_drop").at_least(1.0));
    plan.row(Row::new("tail_drop", "whole_share"));
    for name in ["sampling", "tail_drop"] {
        plan.row(Row::new(name, "exported_share"));
        plan.row(Row::new(name, "lost_packets"));
        plan.row(Row::new(name, "dropped_records"));
        plan.row(Row::new(name, "exact_queries_off").at_most(0.0));
        plan.row(Row::new(name, "exact_responses_off").at_most(0.0));
    }
    plan.row(Row::new("sampling", "estimate_over_truth"));
    plan.row(Row::new("sampling", "recovery_seconds"));
    bench.run(plan)
}

struct PressureBench<'a> {
    lab: &'a Lab,
    binary: &'a Path,
    queries: u32,
}

impl PressureBench<'_> {
    fn agent(&self, mode: &str) -> Result<Agent> {
        let mut command = Command::new(self.binary);
        command.args(["run", "--hook", "cgroup", "--query-timeout", "2s"]);
        command.args(["--stream", "transactions,metrics,ledger"]);
        command.env("DNSCRIBE_SAMPLING__MODE", mode).env("DNSCRIBE_CAPTURE__RING_BYTES", "8MiB");
        Agent::start(&mut command)
    }

    fn load(&self, queries: u32) -> Result<DnsperfReport> {
        let load = Load { queries, qps: Some(QPS), clients: 8, ..Load::default() };
        // To the authoritative server, so that no cache changes the load.
        self.lab.dnsperf_to(self.lab.server_addr(), &load)
    }

    /// Share of one CPU that the agent needs for the load.
    fn cpu_share(&self) -> Result<f64> {
        let agent = self.agent("auto")?;
        let (before, start) = (usage::cpu_seconds(agent.pid())?, Instant::now());
        self.load(self.queries / 4)?;
        let share = (usage::cpu_seconds(agent.pid())? - before) / start.elapsed().as_secs_f64();
        agent.terminate()?;
        Ok(share)
    }

    fn measure(&self, mode: &str, share: f64) -> Result<Figures> {
        let agent = self.agent(mode)?;
        let quota = CpuQuota::set(agent.pid(), share)?;
        let perf = self.load(self.queries)?;
        let flood = Instant::now();
        wait_for(&agent, "dnscribe_sampling_ratio", |ratio| ratio >= 1.0)?;
        let recovered = flood.elapsed();
        // Without the quota, so that the rest of the ring is read.
        drop(quota);
        wait_for(&agent, "dnscribe_ring_used_bytes", |bytes| bytes < EMPTY_BYTES)?;
        let end = agent.terminate()?;
        self.figures(&end, &perf, recovered)
    }

    fn figures(
        &self,
        end: &EndedAgent,
        perf: &DnsperfReport,
        recovered: Duration,
    ) -> Result<Figures> {
        let record = end.final_ledger()?;
        ledger::verify(record)?;
        let kernel = |name: &str| counter(record, &["kernel", "cgroup", name]);
        let client = self.lab.client_addr().to_string();
        let own =
            || end.records_of("dns.transaction/1").filter(|record| record["client_ip"] == client);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let float = |number: u64| number as f64;
        let of = |status: &str| {
            let count = own().filter(|record| record["status"] == status).count();
            u64::try_from(count).map_or(0.0, float)
        };
        let (whole, half) = (of("answered"), of("timeout") + of("orphan"));
        let totals = self.totals(end)?;
        Ok(Figures::default()
            .with("whole_share", whole / (whole + half))
            .with("exported_share", float(kernel("submitted")?) / float(kernel("seen")?))
            .with("lost_packets", float(kernel("lost_ring_full")?))
            .with("dropped_records", float(dropped_records(record)?))
            .with("exact_queries_off", (totals.queries - float(perf.sent)).abs())
            .with("exact_responses_off", (totals.responses - float(perf.completed)).abs())
            .with("estimate_over_truth", totals.estimate / float(perf.sent))
            .with("recovery_seconds", recovered.as_secs_f64()))
    }

    /// Sums the ten-second windows of the server at vantage client.
    fn totals(&self, end: &EndedAgent) -> Result<WindowTotals> {
        let server = self.lab.server_addr().to_string();
        let mut totals = WindowTotals::default();
        let windows = end.records_of("dns.window/1").filter(|record| {
            record["resolver"] == server.as_str()
                && record["vantage"] == "client"
                && record["transport"] == "udp"
                && record["window_seconds"] == 10
                && record["step_seconds"] == 10
        });
        for window in windows {
            let number = |value: &Value| value.as_f64().context("a number in a window");
            if let Some(exact) = window.get("exact") {
                totals.queries += number(&exact["queries"])?;
                totals.responses += number(&exact["responses"])?;
            } else {
                totals.queries += number(&window["queries"])? + number(&window["retries"])?;
                let codes = window["rcodes"].as_array().context("codes in a window")?;
                for code in codes {
                    totals.responses += number(&code["count"])?;
                }
            }
            totals.estimate += match window.get("estimated_transactions") {
                Some(estimate) => number(&estimate["value"])?,
                None => number(&window["transactions"])?,
            };
        }
        Ok(totals)
    }
}

/// Waits until the value of a gauge in `/metrics` fulfils a condition.
fn wait_for(agent: &Agent, gauge: &str, is_reached: impl Fn(f64) -> bool) -> Result<()> {
    let since = Instant::now();
    loop {
        let (_, page) = agent.get("/metrics")?;
        let value = page.lines().find_map(|line| line.strip_prefix(gauge)?.strip_prefix(' '));
        let value: f64 = value.with_context(|| format!("no {gauge} in /metrics"))?.parse()?;
        if is_reached(value) {
            return Ok(());
        }
        ensure!(since.elapsed() < RECOVERY, "{gauge} is still {value}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Records that were dropped because the sink's queue was full.
fn dropped_records(record: &Value) -> Result<u64> {
    let places = ledger::loss_places(record)?;
    Ok(places.iter().filter(|(place, _)| place.starts_with("delivery")).map(|(_, lost)| lost).sum())
}

/// Sums of windows.
#[derive(Default)]
struct WindowTotals {
    queries: f64,
    responses: f64,
    estimate: f64,
}

/// A control group that limits a process to a share of one CPU; removed when dropped.
struct CpuQuota {
    group: PathBuf,
    parent: PathBuf,
    pid: u32,
}

/// Mount points of the CPU controller in version 2 and in version 1.
const V2: &str = "/sys/fs/cgroup";
const V1: &str = "/sys/fs/cgroup/cpu";

impl CpuQuota {
    fn set(pid: u32, share: f64) -> Result<Self> {
        let is_v1 = Path::new(V1).join("cpu.cfs_quota_us").exists();
        let parent = PathBuf::from(if is_v1 { V1 } else { V2 });
        let group = parent.join(format!("dnscribe-bench-{pid}"));
        let quota = (share * PERIOD_US).max(1_000.0).round();
        fs::create_dir(&group).context("cannot create a control group for CPU time")?;
        let quota_group = Self { group, parent, pid };
        if is_v1 {
            quota_group.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
            quota_group.write("cpu.cfs_quota_us", &quota.to_string())?;
        } else {
            quota_group.write("cpu.max", &format!("{quota} {PERIOD_US}"))?;
        }
        quota_group.write("cgroup.procs", &pid.to_string())?;
        Ok(quota_group)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let file = self.group.join(file);
        fs::write(&file, value).with_context(|| {
            format!("cannot write {}: the controller `cpu` is needed", file.display())
        })
    }
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        // Fails if the process has ended, and then there is none to move.
        let _ = fs::write(self.parent.join("cgroup.procs"), self.pid.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}
