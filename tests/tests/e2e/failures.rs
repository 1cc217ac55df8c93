//! Every way in which a query can go wrong, played once with a scripted server, and told of by five
//! witnesses: hook `cgroup` at either end, hook `socket` at either end, and a capture of the client's
//! interface through `replay`.

mod play;
mod scenarios;

use crate::apart::Apart;
use crate::support::lab;
use anyhow::Context as _;
use dnscribe_tests::agent::{Agent, Finished};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::scripted::Scripted;
use dnscribe_tests::{environment, ledger, shell};
use play::Stage;
use scenarios::{SCENARIOS, Scenario};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Below `scripted::LATE`.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long the witnesses may take to write down what they saw.
const LIMIT: Duration = Duration::from_secs(15);

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Hook `cgroup`, the client's side.
    CgroupClient,
    /// Hook `cgroup`, the server's side.
    CgroupServer,
    /// Hook `socket` on the client's interface.
    SocketClient,
    /// Hook `socket` on the server's interface.
    SocketServer,
    /// `replay` of what passed the client's interface.
    Replay,
}

impl Witness {
    const ALL: [Self; 5] = [
        Self::CgroupClient,
        Self::CgroupServer,
        Self::SocketClient,
        Self::SocketServer,
        Self::Replay,
    ];

    /// The vantage of what it tells; others are written out.
    const fn vantage(self) -> &'static str {
        match self {
            Self::CgroupClient | Self::SocketClient => "client",
            Self::CgroupServer | Self::SocketServer => "server",
            Self::Replay => "passive",
        }
    }
}

#[test]
fn every_failure_has_its_name() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_hazards().unwrap();
    let apart = Apart::enter(&lab);
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let options = ["--stream", "transactions,ledger", "--query-timeout", &timeout];
    let tap = [&options[..], &["--hook", "socket", "--interface", "eth0"]].concat();
    let client = Agent::run_on(&lab, Host::Client, &tap).unwrap();
    let server = Agent::run_on(&lab, Host::Server, &tap).unwrap();
    let capture = lab.capture_of(Host::Client, "port 53 or icmp or icmp6").unwrap();
    // Last: then both hosts have a process, by which their namespaces are found.
    let cgroup = Agent::run(&[&options[..], &apart.options()].concat()).unwrap();

    play_all(&lab);

    let agents = [&cgroup, &client, &server];
    // Whatever is missing after that is shown below.
    let _ = shell::wait_for("all records", LIMIT, || {
        let told = testimony(&agents.map(Agent::records), &[], &lab);
        let all = Witness::ALL.iter().filter(|witness| **witness != Witness::Replay);
        Ok(all.copied().all(|witness| wrong(witness, &told, &lab).is_empty()).then_some(()))
    });
    let file = capture.finish().unwrap();
    let replayed = replay(&file.display().to_string(), &timeout);
    let ends = [cgroup, client, server].map(|agent| agent.terminate().unwrap());
    for end in &ends {
        assert_balanced(end);
    }
    let told = testimony(&ends.map(|end| end.records), &replayed, &lab);
    let wrong: Vec<String> =
        Witness::ALL.into_iter().flat_map(|witness| wrong(witness, &told, &lab)).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Plays every scenario in all its variants at once, then lets the time of all queries pass.
fn play_all(lab: &Lab) {
    let server = Scripted::start(lab).unwrap();
    let kept = thread::scope(|scope| {
        let players: Vec<_> = variants(lab)
            .map(|(scenario, stage)| {
                scope.spawn(move || (scenario.play)(&stage).context(stage.label))
            })
            .collect();
        players.into_iter().map(|player| player.join().unwrap().unwrap()).collect::<Vec<_>>()
    });
    thread::sleep(TIMEOUT + Duration::from_millis(100));
    // By the capture's clock too.
    let last = Stage { lab, label: "last".into(), ipv6: false, connected: false };
    let asker = last.asker(last.scripted()).unwrap();
    asker.ask(1, &last.name("ok")).unwrap();
    assert!(asker.answered());
    drop((server, kept));
}

fn variants(lab: &Lab) -> impl Iterator<Item = (&'static Scenario, Stage<'_>)> {
    SCENARIOS.iter().flat_map(move |scenario| {
        let kinds = if scenario.tcp { &[true][..] } else { &[true, false] };
        [false, true].into_iter().flat_map(move |ipv6| {
            kinds.iter().map(move |&connected| {
                let family = if ipv6 { "v6" } else { "v4" };
                let kind = if connected { "connected" } else { "unconnected" };
                let label = format!("{}-{family}-{kind}", scenario.name);
                (scenario, Stage { lab, label, ipv6, connected })
            })
        })
    })
}

/// What each witness told of each scenario, by the scenario's label.
type Testimony<'a> = BTreeMap<(usize, String), Vec<Value>>;

fn testimony(live: &[Vec<Value>; 3], replayed: &[Value], lab: &Lab) -> Testimony<'static> {
    let suffix = Stage::suffix(lab);
    let mut told = Testimony::new();
    let of_client = |record: &&Value| record["vantage"] == "client";
    let of_server = |record: &&Value| record["vantage"] == "server";
    let all: [Vec<&Value>; 5] = [
        live[0].iter().filter(of_client).collect(),
        live[0].iter().filter(of_server).collect(),
        live[1].iter().collect(),
        live[2].iter().collect(),
        replayed.iter().collect(),
    ];
    for (witness, records) in all.into_iter().enumerate() {
        for record in records {
            let name = record["qname"].as_str().and_then(|name| name.strip_suffix(&suffix));
            if let Some(label) = name.and_then(|name| name.rsplit('.').next()) {
                told.entry((witness, label.to_owned())).or_default().push(record.clone());
            }
        }
    }
    told
}

/// What a witness told otherwise than expected.
fn wrong(witness: Witness, told: &Testimony<'_>, lab: &Lab) -> Vec<String> {
    let mut wrong = Vec::new();
    let number = Witness::ALL.iter().position(|other| *other == witness).unwrap_or(0);
    for (scenario, stage) in variants(lab) {
        let none = Vec::new();
        let records = told.get(&(number, stage.label.clone())).unwrap_or(&none);
        let mut seen: Vec<String> =
            records.iter().map(|record| tell(record, witness, scenario)).collect();
        seen.sort();
        let mut expected = (scenario.expected)(witness, stage.ipv6, stage.connected).to_vec();
        expected.sort_unstable();
        if seen != expected {
            wrong.push(format!("{witness:?} of {}: {seen:?}, not {expected:?}", stage.label));
        }
    }
    wrong
}

/// A record in the words of [`scenarios`].
fn tell(record: &Value, witness: Witness, scenario: &Scenario) -> String {
    let mut words = Vec::new();
    let word = |field: &str| record[field].as_str().map(str::to_owned);
    words.extend(word("vantage").filter(|vantage| vantage != witness.vantage()));
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
    // The delay is the least there can be, a slow machine makes it longer.
    let latency = record["latency_ms"].as_f64();
    if latency.is_some_and(|ms| ms < scenario.least.as_secs_f64() * 1e3) {
        words.push(format!("after {latency:?} ms"));
    }
    let at_cgroup = matches!(witness, Witness::CgroupClient | Witness::CgroupServer);
    // Of a connection that was accepted, only who writes is known.
    let silent = witness == Witness::CgroupServer && record["transport"] == "tcp";
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

fn assert_balanced(end: &Finished) {
    assert!(end.status.success(), "{}", end.stderr);
    end.of("dns.ledger/1").for_each(|record| ledger::verify(record).unwrap());
    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0);
}
