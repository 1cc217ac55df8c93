//! Cost of the agent on a DNS server: knot under dnsperf's load, without the agent and with it.
//!
//! The load comes from another network namespace and another cgroup. In the cases *server* the agent captures
//! the server's cgroup only, as on a host with remote clients: two messages per query. In the cases
//! *everything* it captures the whole host and sees each message twice, at the client and at the server. Load,
//! server, agent and broker share the machine's cores. In the cases *nice 0* the agent's threads have the same
//! priority as the server (`capture.nice`). The cases *path* and *connections* have `capture.path` and
//! `capture.connections`.

mod agent_run;

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use crate::cgroup::Cgroup;
use agent_run::{AgentRun, Sink};
use anyhow::{Context as _, Result};
use dnscribe_tests::dnsperf::{self, DnsperfReport, Load};
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::lab::latency::quantile;
use dnscribe_tests::lab::{Host, Lab};
use serde_json::json;

/// Queries per second of the paced cases.
const PACE: u32 = 30_000;
/// Partitions of the broker's topic.
const PARTITIONS: u32 = 6;
/// Cases without a sink besides *server, null*; a server's cgroup alone has no path.
const OTHERS: [&str; 4] = [
    "everything, null",
    "server, null, nice 0",
    "everything, null, path",
    "everything, null, connections",
];

/// The lab, and the cgroup of its server.
struct Testbed {
    lab: Lab,
    cgroup: Cgroup,
    queries: u32,
}

impl Testbed {
    /// Starts the lab in a new cgroup. A socket belongs to the cgroup in which its process opened it, so the
    /// servers must start there.
    fn start(queries: u32) -> Result<Self> {
        let cgroup = Cgroup::enter("bench")?;
        let lab = Lab::up();
        cgroup.leave()?;
        Ok(Self { lab: lab?, cgroup, queries })
    }

    /// Sends queries as fast as the server answers.
    fn full_speed(&self) -> Result<Figures> {
        let load = Load { queries: self.queries, clients: 8, ..Load::default() };
        let perf = self.lab.dnsperf_to(self.lab.server_addr(), &load)?;
        Ok(figures(&perf).with("qps", perf.qps))
    }

    /// Sends queries at a rate that leaves the server idle time.
    fn paced(&self) -> Result<Figures> {
        let queries = self.queries;
        let load = Load { queries, qps: Some(PACE), clients: 8, verbose: true, ..Load::default() };
        let child = self.lab.start_dnsperf(Host::Client, self.lab.server_addr(), &load)?;
        let report = child.wait_with_output().context("dnsperf")?.stdout;
        let report = String::from_utf8_lossy(&report);
        let mut seconds: Vec<f64> = dnsperf::latencies(&report)?.into_values().collect();
        seconds.sort_by(f64::total_cmp);
        let perf = DnsperfReport::parse(&report)?;
        Ok(figures(&perf).with("p99_latency_seconds", quantile(&seconds, 0.99)?))
    }

    /// Returns an agent that captures the server's cgroup.
    fn server<'a>(&'a self, bench: &'a Bench, sink: Sink) -> AgentRun<'a> {
        let cgroup = Some(self.cgroup.path());
        AgentRun { binary: bench.binary(), lab: &self.lab, cgroup, sink, capture: json!({}) }
    }

    /// Returns the agents of [`OTHERS`], which write no transactions.
    fn without_sink<'a>(&'a self, bench: &'a Bench) -> [(&'static str, AgentRun<'a>); 4] {
        let server = |capture| AgentRun { capture, ..self.server(bench, Sink::Null) };
        let everything = |capture| AgentRun { cgroup: None, ..server(capture) };
        let [all, nice, path, connections] = OTHERS;
        [
            (all, everything(json!({}))),
            (nice, server(json!({ "nice": 0 }))),
            (path, everything(json!({ "path": true }))),
            (connections, everything(json!({ "connections": true }))),
        ]
    }
}

fn figures(perf: &DnsperfReport) -> Figures {
    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
    let lost = perf.lost as f64;
    Figures::default()
        .with("mean_latency_seconds", perf.mean_latency_seconds)
        .with("lost_queries", lost)
}

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let testbed = Testbed::start(bench.count(150_000))?;
    let testbed = &testbed;
    let full_speed = |agent: &AgentRun<'_>| agent.measure_during(|| testbed.full_speed());
    let paced = |agent: &AgentRun<'_>| agent.measure_during(|| testbed.paced());
    let broker = tempfile::tempdir_in(environment::target())
        .context("cannot create a folder for the broker")
        .and_then(|folder| Ok((Broker::up(&folder.path().join("broker"))?, folder)));
    let mut plan = Plan::new("e2e");
    plan.case("bare", || testbed.full_speed());
    for (name, sink) in
        [("null", Sink::Null), ("file", Sink::File), ("kafka mock", Sink::KafkaMock)]
    {
        let agent = testbed.server(bench, sink);
        plan.case(&format!("server, {name}"), move || full_speed(&agent));
    }
    match &broker {
        Ok((broker, _)) => {
            let mut topics = 0;
            plan.case("server, kafka broker", move || {
                topics += 1;
                let topic = format!("e2e-{topics}");
                broker.create_topic(&topic, PARTITIONS)?;
                let brokers = broker.bootstrap();
                full_speed(&testbed.server(bench, Sink::Kafka { brokers, topic }))
            });
        }
        Err(error) => {
            plan.absent("server, kafka broker", &format!("{error:#}"));
        }
    }
    for (name, agent) in testbed.without_sink(bench) {
        plan.case(name, move || full_speed(&agent));
    }
    plan.case("paced, bare", || testbed.paced());
    let server = testbed.server(bench, Sink::Null);
    plan.case("paced, server, null", move || paced(&server));
    for (name, agent) in testbed.without_sink(bench) {
        plan.case(&format!("paced, {name}"), move || paced(&agent));
    }
    rows(&mut plan);
    bench.run(plan)
}

fn rows(plan: &mut Plan<'_>) {
    let full_speed = ["server, null", "server, file", "server, kafka mock", "server, kafka broker"];
    plan.row(Row::new("bare", "qps"));
    let full_speed = full_speed.into_iter().chain(OTHERS);
    for case in full_speed.clone() {
        let row = Row::new(case, "qps").relative_to("bare");
        plan.row(if case == "server, null" { row.at_least(0.92) } else { row });
    }
    plan.row(Row::new("paced, bare", "mean_latency_seconds"));
    plan.row(Row::new("paced, bare", "p99_latency_seconds"));
    let others = OTHERS.map(|name| format!("paced, {name}"));
    let paced = others.iter().map(String::as_str);
    let paced = ["paced, server, null"].into_iter().chain(paced);
    for case in paced.clone() {
        let row = |figure| Row::new(case, figure).relative_to("paced, bare");
        let (mean, p99) = (row("mean_latency_seconds"), row("p99_latency_seconds"));
        if case == "paced, server, null" {
            plan.row(mean.at_most(1.05)).row(p99.at_most(1.15));
        } else {
            plan.row(mean).row(p99);
        }
    }
    for case in full_speed.chain(paced) {
        plan.row(Row::new(case, "cpu_seconds_per_million_messages"));
        plan.row(Row::new(case, "lost_messages").at_most(0.0));
    }
}
