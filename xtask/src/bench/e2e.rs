//! What the agent costs the host: knot under dnsperf's load, without the agent and with it.
//!
//! The load comes over a link from another network namespace and another cgroup. In the cases called
//! *server* the agent watches the server's cgroup alone, as on a host whose clients are elsewhere: two
//! messages a query. In those called *everything* it watches the whole host, and so sees each query and
//! each response twice, at the client and at the server. The load, the server, the agent and, where
//! there is one, the broker share the machine's cores: whatever one of them takes the others lack. In
//! those called *nice 0* the agent does not let others go first (`capture.nice`).

mod watch;

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use crate::cgroup::Cgroup;
use anyhow::{Context as _, Result};
use dnscribe_tests::dnsperf::{self, Load, Perf};
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::lab::latency::quantile;
use dnscribe_tests::lab::{Host, Lab};
use watch::{Sink, Watch};

/// Queries per second of the paced cases.
const PACE: u32 = 30_000;
/// Partitions of the broker's topic.
const PARTITIONS: u32 = 6;

/// The server, and its cgroup.
struct World {
    lab: Lab,
    cgroup: Cgroup,
    queries: u32,
}

impl World {
    /// Sockets belong to the cgroup that their process was in when it opened them, so that the servers
    /// have to start there.
    fn up(queries: u32) -> Result<Self> {
        let cgroup = Cgroup::enter("bench")?;
        let lab = Lab::up();
        cgroup.leave()?;
        Ok(Self { lab: lab?, cgroup, queries })
    }

    /// As fast as the server answers.
    fn flat_out(&self) -> Result<Figures> {
        let load = Load { queries: self.queries, clients: 8, ..Load::default() };
        let perf = self.lab.dnsperf_to(self.lab.server_addr(), &load)?;
        Ok(figures(&perf).with("qps", perf.qps))
    }

    /// At a pace that leaves the server time to spare.
    fn paced(&self) -> Result<Figures> {
        let queries = self.queries;
        let load = Load { queries, qps: Some(PACE), clients: 8, verbose: true, ..Load::default() };
        let child = self.lab.start_dnsperf(Host::Client, self.lab.server_addr(), &load)?;
        let report = child.wait_with_output().context("dnsperf")?.stdout;
        let report = String::from_utf8_lossy(&report);
        let mut seconds: Vec<f64> = dnsperf::latencies(&report)?.into_values().collect();
        seconds.sort_by(f64::total_cmp);
        let perf = Perf::parse(&report)?;
        Ok(figures(&perf).with("p99_latency_seconds", quantile(&seconds, 0.99)?))
    }

    /// An agent at the server's cgroup.
    fn server<'a>(&'a self, bench: &'a Bench, sink: Sink) -> Watch<'a> {
        let cgroup = Some(self.cgroup.path());
        Watch { binary: bench.binary(), lab: &self.lab, cgroup, sink, nice: true }
    }

    /// An agent that watches the whole host.
    fn everything<'a>(&'a self, bench: &'a Bench, sink: Sink) -> Watch<'a> {
        Watch { cgroup: None, ..self.server(bench, sink) }
    }
}

fn figures(perf: &Perf) -> Figures {
    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
    let lost = perf.lost as f64;
    Figures::default()
        .with("mean_latency_seconds", perf.mean_latency_seconds)
        .with("lost_queries", lost)
}

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let world = World::up(bench.count(150_000))?;
    let world = &world;
    let flat_out = |watch: Watch<'_>| watch.during(|| world.flat_out());
    let paced = |watch: Watch<'_>| watch.during(|| world.paced());
    let broker = tempfile::tempdir_in(environment::target())
        .context("no folder for the broker")
        .and_then(|folder| Ok((Broker::up(&folder.path().join("broker"))?, folder)));
    let mut plan = Plan::new("e2e");
    plan.case("bare", || world.flat_out());
    for (name, sink) in
        [("null", Sink::Null), ("file", Sink::File), ("kafka mock", Sink::KafkaMock)]
    {
        let sink = move || sink.clone();
        plan.case(&format!("server, {name}"), move || flat_out(world.server(bench, sink())));
    }
    match &broker {
        Ok((broker, _)) => {
            let mut topics = 0;
            plan.case("server, kafka broker", move || {
                topics += 1;
                let topic = format!("e2e-{topics}");
                broker.create_topic(&topic, PARTITIONS)?;
                let brokers = broker.bootstrap();
                flat_out(world.server(bench, Sink::Kafka { brokers, topic }))
            });
        }
        Err(error) => {
            plan.absent("server, kafka broker", &format!("{error:#}"));
        }
    }
    plan.case("everything, null", || flat_out(world.everything(bench, Sink::Null)));
    let unkind = || Watch { nice: false, ..world.server(bench, Sink::Null) };
    plan.case("server, null, nice 0", || flat_out(unkind()));
    plan.case("paced, bare", || world.paced());
    plan.case("paced, server, null", || paced(world.server(bench, Sink::Null)));
    plan.case("paced, server, null, nice 0", || paced(unkind()));
    plan.case("paced, everything, null", || paced(world.everything(bench, Sink::Null)));
    rows(&mut plan);
    bench.run(plan)
}

fn rows(plan: &mut Plan<'_>) {
    let flat_out = [
        "server, null",
        "server, file",
        "server, kafka mock",
        "server, kafka broker",
        "everything, null",
        "server, null, nice 0",
    ];
    plan.row(Row::of("bare", "qps"));
    for case in flat_out {
        let row = Row::of(case, "qps").beside("bare");
        plan.row(if case == "server, null" { row.at_least(0.92) } else { row });
    }
    plan.row(Row::of("paced, bare", "mean_latency_seconds"));
    plan.row(Row::of("paced, bare", "p99_latency_seconds"));
    let paced = ["paced, server, null", "paced, server, null, nice 0", "paced, everything, null"];
    for case in paced {
        let row = |figure| Row::of(case, figure).beside("paced, bare");
        let (mean, p99) = (row("mean_latency_seconds"), row("p99_latency_seconds"));
        if case == "paced, server, null" {
            plan.row(mean.at_most(1.05)).row(p99.at_most(1.15));
        } else {
            plan.row(mean).row(p99);
        }
    }
    for case in flat_out.into_iter().chain(paced) {
        plan.row(Row::of(case, "cpu_seconds_per_million_messages"));
        plan.row(Row::of(case, "lost_messages").at_most(0.0));
    }
}
