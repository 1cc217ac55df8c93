//! Every way in which a query can fail, produced once with a scripted server and observed in five
//! ways: hook `cgroup` at the client and at the server, hook `socket` at the client and at the
//! server, and `replay` of a capture of the client's interface.

mod clients;
mod scenarios;

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::lab;
use anyhow::Context as _;
use clients::ScenarioRun;
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::scripted::Scripted;
use dnscribe_tests::{environment, ledger, shell};
use scenarios::{SCENARIOS, Scenario};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Query timeout, shorter than `scripted::LATE`.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the observers to write their records.
const LIMIT: Duration = Duration::from_mins(1);

/// A way to observe the transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    /// Hook `cgroup` at the client.
    CgroupClient,
    /// Hook `cgroup` at the server.
    CgroupServer,
    /// Hook `socket` on the client's interface.
    SocketClient,
    /// Hook `socket` on the server's interface.
    SocketServer,
    /// `replay` of a capture of the client's interface.
    Replay,
}

impl Observer {
    const ALL: [Self; 5] = [
        Self::CgroupClient,
        Self::CgroupServer,
        Self::SocketClient,
        Self::SocketServer,
        Self::Replay,
    ];

    /// The usual vantage of this observer's records; others are written out.
    const fn vantage(self) -> &'static str {
        match self {
            Self::CgroupClient | Self::SocketClient => "client",
            Self::CgroupServer | Self::SocketServer => "server",
            Self::Replay => "passive",
        }
    }
}

#[test]
fn reports_every_kind_of_failure() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_special_addresses().unwrap();
    let isolated = IsolatedCgroup::enter(&lab);
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let options = ["--stream", "transactions,ledger", "--query-timeout", &timeout];
    let tap = [&options[..], &["--hook", "socket", "--interface", "eth0"]].concat();
    let client = Agent::run_on(&lab, Host::Client, &tap).unwrap();
    let server = Agent::run_on(&lab, Host::Server, &tap).unwrap();
    let capture = lab.capture_of(Host::Client, "port 53 or icmp or icmp6").unwrap();
    // Last: now both hosts have a process, by which their namespaces are found.
    let cgroup = Agent::run(&[&options[..], &isolated.options()].concat()).unwrap();

    run_all(&lab);

    let agents = [&cgroup, &client, &server];
    // The comparison below shows what is missing.
    let _ = shell::wait_for("all records", LIMIT, || {
        let observed = observations(&agents.map(Agent::records), &[], &lab);
        let all = Observer::ALL.iter().filter(|observer| **observer != Observer::Replay);
        Ok(all.copied().all(|observer| wrong(observer, &observed, &lab).is_empty()).then_some(()))
    });
    let file = capture.finish().unwrap();
    let replayed = replay(&file.display().to_string(), &timeout);
    let ends = [cgroup, client, server].map(|agent| agent.terminate().unwrap());
    for end in &ends {
        assert_balanced(end);
    }
    let observed = observations(&ends.map(|end| end.records), &replayed, &lab);
    let wrong: Vec<String> =
        Observer::ALL.into_iter().flat_map(|observer| wrong(observer, &observed, &lab)).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs every scenario in all its variants at once, then waits until every query has timed out.
fn run_all(lab: &Lab) {
    let server = Scripted::start(lab).unwrap();
    let open_sockets = thread::scope(|scope| {
        let runs: Vec<_> = variants(lab)
            .map(|(scenario, scenario_run)| {
                scope.spawn(move || (scenario.action)(&scenario_run).context(scenario_run.label))
            })
            .collect();
        runs.into_iter().map(|one_run| one_run.join().unwrap().unwrap()).collect::<Vec<_>>()
    });
    thread::sleep(TIMEOUT + Duration::from_millis(100));
    // The capture's clock must reach the timeout too.
    let last = ScenarioRun { lab, label: "last".into(), ipv6: false, connected: false };
    let udp_client = last.udp_client(last.scripted()).unwrap();
    udp_client.ask(1, &last.name("ok")).unwrap();
    assert!(udp_client.answered());
    drop((server, open_sockets));
}

fn variants(lab: &Lab) -> impl Iterator<Item = (&'static Scenario, ScenarioRun<'_>)> {
    SCENARIOS.iter().flat_map(move |scenario| {
        let kinds = if scenario.tcp { &[true][..] } else { &[true, false] };
        [false, true].into_iter().flat_map(move |ipv6| {
            kinds.iter().map(move |&connected| {
                let family = if ipv6 { "v6" } else { "v4" };
                let kind = if connected { "connected" } else { "unconnected" };
                let label = format!("{}-{family}-{kind}", scenario.name);
                (scenario, ScenarioRun { lab, label, ipv6, connected })
            })
        })
    })
}

/// Records of each observer, by the scenario's label.
type Observations<'a> = BTreeMap<(usize, String), Vec<Value>>;

fn observations(live: &[Vec<Value>; 3], replayed: &[Value], lab: &Lab) -> Observations<'static> {
    let suffix = ScenarioRun::suffix(lab);
    let mut observed = Observations::new();
    let of_client = |record: &&Value| record["vantage"] == "client";
    let of_server = |record: &&Value| record["vantage"] == "server";
    let all: [Vec<&Value>; 5] = [
        live[0].iter().filter(of_client).collect(),
        live[0].iter().filter(of_server).collect(),
        live[1].iter().collect(),
        live[2].iter().collect(),
        replayed.iter().collect(),
    ];
    for (observer, records) in all.into_iter().enumerate() {
        for record in records {
            let name = record["qname"].as_str().and_then(|name| name.strip_suffix(&suffix));
            if let Some(label) = name.and_then(|name| name.rsplit('.').next()) {
                observed.entry((observer, label.to_owned())).or_default().push(record.clone());
            }
        }
    }
    observed
}

/// Lists the observer's differences from the expected records.
fn wrong(observer: Observer, observed: &Observations<'_>, lab: &Lab) -> Vec<String> {
    let mut wrong = Vec::new();
    let number = Observer::ALL.iter().position(|other| *other == observer).unwrap_or(0);
    for (scenario, scenario_run) in variants(lab) {
        let none = Vec::new();
        let records = observed.get(&(number, scenario_run.label.clone())).unwrap_or(&none);
        let mut seen: Vec<String> =
            records.iter().map(|record| describe(record, observer, scenario)).collect();
        seen.sort();
        let mut expected =
            (scenario.expected)(observer, scenario_run.ipv6, scenario_run.connected).to_vec();
        expected.sort_unstable();
        if seen != expected {
            wrong.push(format!(
                "{observer:?} of {}: {seen:?}, not {expected:?}",
                scenario_run.label
            ));
        }
    }
    wrong
}

/// Describes a record in the notation of [`scenarios`].
fn describe(record: &Value, observer: Observer, scenario: &Scenario) -> String {
    let mut words = Vec::new();
    let word = |field: &str| record[field].as_str().map(str::to_owned);
    words.extend(word("vantage").filter(|vantage| vantage != observer.vantage()));
    words.extend(word("transport").filter(|transport| transport == "tcp"));
    words.extend(word("status"));
    words.extend(word("orphan_reason"));
    words.extend(word("rcode").filter(|rcode| rcode != "NOERROR"));
    if let Some(name) = record["icmp"]["name"].as_str() {
        words.push(format!("{name}({},{})", record["icmp"]["type"], record["icmp"]["code"]));
    }
    if let Some(retries) = record["retries"].as_u64().filter(|retries| *retries > 0) {
        words.push(format!("retries={retries}"));
    }
    if let Some(code) = record["edns"]["ede"]["code"].as_u64() {
        words.push(format!("ede={code}"));
    }
    let has_flag =
        |flag: &str| record["flags"].as_array().is_some_and(|f| f.contains(&flag.into()));
    let marks = [
        (record["conflict"] == true, "conflict"),
        (has_flag("tc"), "tc"),
        (record.get("tcp_fallback_of").is_some(), "fallback"),
    ];
    words.extend(marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark.to_owned()));
    // The scenario's delay is a minimum: a slow machine adds to it.
    let latency = record["latency_ms"].as_f64();
    if latency.is_some_and(|ms| ms < scenario.least.as_secs_f64() * 1e3) {
        words.push(format!("after {latency:?} ms"));
    }
    let at_cgroup = matches!(observer, Observer::CgroupClient | Observer::CgroupServer);
    // For an accepted connection, only the process that writes is known.
    let silent = observer == Observer::CgroupServer && record["transport"] == "tcp";
    let silent = silent && record.get("rcode").is_none() && record.get("process").is_none();
    if at_cgroup && !silent && record["process"]["pid"] != std::process::id() {
        words.push(format!("by {}", record["process"]));
    }
    words.join(" ")
}

fn replay(file: &str, timeout: &str) -> Vec<Value> {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["replay", file, "--query-timeout", timeout, "--output", "json"]);
    command.args(["--stream", "transactions,ledger"]);
    let output = shell::output(&mut command).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ledgers = records.iter().filter(|record| record["schema"] == "dns.ledger/1");
    assert!(ledgers.map(|record| ledger::verify(record).unwrap()).count() > 0);
    records
}

fn assert_balanced(end: &EndedAgent) {
    assert!(end.status.success(), "{}", end.stderr);
    end.records_of("dns.ledger/1").for_each(|record| ledger::verify(record).unwrap());
    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0);
}
