//! SIGHUP under load: changed sinks, streams and ports, without loss.

use crate::support::{RECORD_LIMIT, lab, lab_with, records};
use anyhow::Context as _;
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::{ledger, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::slice;
use std::thread;
use std::time::Duration;

/// An agent whose configuration is changed.
struct ReloadedAgent {
    agent: Agent,
    config: PathBuf,
    reloads: usize,
}

impl ReloadedAgent {
    fn start(config: &Path, content: &Value) -> Self {
        fs::write(config, content.to_string()).unwrap();
        let agent = Agent::run(&["--config", &config.display().to_string()]).unwrap();
        Self { agent, config: config.to_path_buf(), reloads: 0 }
    }

    /// Reloads another configuration, and returns once the agent has logged `words` and the reload.
    fn reload(&mut self, content: &Value, words: &str) {
        self.reloads += 1;
        let seen = self.agent.log().matches(words).count();
        fs::write(&self.config, content.to_string()).unwrap();
        self.agent.signal(Signal::HUP).unwrap();
        shell::wait_for(words, RECORD_LIMIT, || {
            let log = self.agent.log();
            let reloaded = log.matches("configuration reloaded").count() == self.reloads;
            Ok((reloaded && log.matches(words).count() > seen).then_some(()))
        })
        .with_context(|| self.agent.log())
        .unwrap();
    }

    fn finish(self) -> EndedAgent {
        let end = self.agent.terminate().unwrap();
        assert!(end.status.success(), "{}", end.stderr);
        end
    }
}

fn start(lab: &Lab, load: &Load) -> Child {
    lab.start_dnsperf(Host::Client, lab.resolver_addr(), load).unwrap()
}

/// Returns the event ids of a schema, each of which must occur once.
fn ids<'a>(records: &'a [Value], schema: &str) -> BTreeSet<&'a str> {
    let ids: Vec<_> = records
        .iter()
        .filter(|record| record["schema"] == schema)
        .map(|record| record["event_id"].as_str().unwrap())
        .collect();
    let once: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(once.len(), ids.len(), "an event id occurs twice");
    once
}

#[test]
fn reload_of_sinks_loses_nothing() {
    swap_sinks(1);
}

#[test]
fn reload_of_sinks_loses_nothing_with_two_threads() {
    swap_sinks(2);
}

/// Such a sink needs the bytes of messages, which nobody needed before.
#[test]
fn reload_may_add_a_sink_of_packets() {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let at = |name: &str| directory.path().join(name);
    let (records, packets) = (at("records"), at("packets"));
    let with = |sinks: &[String]| {
        json!({
            "version": 1,
            "capture": { "threads": 2, "nice": 0 },
            "sinks": sinks,
            "streams": ["messages", "ledger"],
        })
    };
    let file = format!("file:{}", records.display());
    let mut agent = ReloadedAgent::start(&at("dnscribe.yaml"), &with(slice::from_ref(&file)));
    let load = Load { queries: 6000, qps: Some(2000), ..Load::default() };
    let queries = start(&lab, &load);
    let both = [file.clone(), format!("pcapng:{}", packets.display())];
    agent.reload(&with(&both), "configuration reloaded");
    DnsperfReport::wait(queries).unwrap();
    lab.dig(&["www.example.com"]).unwrap();
    // What a busy host has not written when the time for the shutdown is over is dropped, and counted.
    let name = b"\x03www\x07example\x03com";
    let is_written = || {
        let packets = fs::read(&packets)?;
        Ok((packets.windows(name.len()).filter(|bytes| *bytes == name).count() >= 2).then_some(()))
    };
    shell::wait_for("packets of the last query", RECORD_LIMIT * 4, is_written).unwrap();
    let end = agent.finish();
    assert!(!end.stderr.contains("need a restart"), "{}", end.stderr);
    assert!(!end.stderr.contains("not_encodable"), "{}", end.stderr);
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-Y", "dns.qry.name == \"www.example.com\"", "-r"]).arg(&packets);
    let lines = String::from_utf8(shell::output(&mut tshark).unwrap().stdout).unwrap();
    assert!(lines.lines().count() >= 2, "{}", end.stderr);
}

fn swap_sinks(threads: u32) {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    // The agent makes files there after it has become another user.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let at = |name: &str| directory.path().join(name);
    let sink = |name: &str| format!("file:{}", at(name).display());
    let with = |sinks: &[String], streams: &[&str]| {
        json!({
            "version": 1,
            "capture": { "threads": threads, "nice": 0 },
            "sinks": sinks,
            "streams": streams,
        })
    };
    let (usual, more) = (["transactions", "ledger"], ["transactions", "ledger", "messages"]);
    let (first, second) = (sink("first"), sink("second"));
    let mut agent =
        ReloadedAgent::start(&at("dnscribe.yaml"), &with(slice::from_ref(&first), &usual));
    let load = Load {
        queries: 12_000,
        qps: Some(2000),
        clients: 40,
        suffix: "reloaded.wild.example.com".to_owned(),
        ..Load::default()
    };
    let queries = start(&lab, &load);
    let steps = [
        with(&[first.clone(), second.clone()], &usual),
        with(slice::from_ref(&second), &usual),
        // Another sink for the same file: it waits for the present one.
        with(slice::from_ref(&second), &more),
        with(&[second, first], &usual),
    ];
    for step in &steps {
        thread::sleep(Duration::from_millis(1100));
        agent.reload(step, "configuration reloaded");
    }
    let perf = DnsperfReport::wait(queries).unwrap();
    // On a busy host the agent is seconds behind, and what is in the ring when it ends is counted there.
    let all_are_there = || {
        let is_of_load = |line: &&str| {
            line.contains("\"dns.transaction/1\"")
                && line.contains("\"vantage\":\"client\"")
                && line.contains(&load.suffix)
        };
        let texts =
            ["first", "second"].map(|name| fs::read_to_string(at(name)).unwrap_or_default());
        let lines = texts.iter().flat_map(|text| text.lines()).filter(is_of_load);
        // For a while both sinks have each record.
        let names: BTreeSet<_> =
            lines.filter_map(|line| line.split("\"qname\":").nth(1)?.split('"').nth(1)).collect();
        Ok((names.len() as u64 >= perf.sent).then_some(()))
    };
    shell::wait_for("records of all queries", RECORD_LIMIT * 4, all_are_there).unwrap();
    let end = agent.finish();

    assert!(!end.stderr.contains("restart"), "{}", end.stderr);
    let (first, second) = (records(&at("first")), records(&at("second")));
    let last = second.last().unwrap();
    assert_eq!(last["final"], true);
    for record in [&first, &second].into_iter().flatten() {
        if record["schema"] == "dns.ledger/1" {
            ledger::verify(record).unwrap();
        }
    }
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let of = |records: &[Value], schema: &str| ids(records, schema).len() as u64;
    let transactions = "dns.transaction/1";
    let delivered = |sink: &str, stream: &str| {
        ledger::counter(last, &["delivery", sink, stream, "delivered"]).unwrap()
    };
    assert_eq!(of(&first, transactions), delivered("file", "transactions"));
    assert_eq!(of(&second, transactions), delivered("file_2", "transactions"));
    assert_eq!(of(&second, "dns.message/1"), delivered("file_2", "messages"));
    assert!(delivered("file_2", "messages") > 2_000, "{last:#}");
    let mut all = ids(&first, transactions);
    all.extend(ids(&second, transactions));
    let seen = [&first, &second].into_iter().flatten().filter(|record| {
        record["vantage"] == "client" && record["client_ip"] == lab.client_addr().to_string()
    });
    let names: BTreeSet<_> = seen.filter_map(|record| record["qname"].as_str()).collect();
    assert_eq!(names.len() as u64, perf.sent, "a query has no record: {perf:?} {last:#}");
    let outcomes = ["answered", "timeout", "icmp_error", "open", "late", "duplicate", "orphan"];
    let count = |name| ledger::counter(last, &["pairing", name]).unwrap();
    let outcomes: u64 = outcomes.into_iter().map(count).sum();
    assert_eq!(all.len() as u64, outcomes, "transactions of all clients and servers");
}

#[test]
fn reload_of_ports_times_out_no_query() {
    swap_ports(1);
}

#[test]
fn reload_of_ports_times_out_no_query_with_threads() {
    swap_ports(2);
}

fn swap_ports(threads: u32) {
    const OTHER: u16 = 5300;
    let Some((lab, _alone)) = lab_with(&["interface: 0.0.0.0@5300"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let with = |ports: &[u16]| {
        json!({
            "version": 1,
            "capture": { "threads": threads, "ports": ports, "nice": 0 },
            "streams": ["transactions", "ledger"],
        })
    };
    let load = |queries: u32, port: u16, suffix: &str| Load {
        queries,
        qps: Some(1000),
        port,
        clients: 40,
        suffix: format!("{suffix}.wild.example.com"),
        ..Load::default()
    };
    let mut agent = ReloadedAgent::start(&directory.path().join("dnscribe.yaml"), &with(&[53]));
    let (throughout, unseen) = (load(6_000, 53, "throughout"), load(6_000, OTHER, "unseen"));
    let running = [start(&lab, &throughout), start(&lab, &unseen)];
    thread::sleep(Duration::from_secs(1));
    agent.reload(&with(&[53, OTHER]), "capturing DNS on port 53,5300");
    let added = DnsperfReport::wait(start(&lab, &load(2_000, OTHER, "added"))).unwrap();
    let [throughout, _] = running.map(|load| DnsperfReport::wait(load).unwrap());

    // First no server answers on this port, then the agent does not capture it.
    let blackhole = format!("@{}", lab.blackhole_addr());
    let words = ["dig", &blackhole, "+tries=1", "+time=3", "waiting.example.com"];
    let waiting = lab.spawn(Host::Client, &words).unwrap();
    thread::sleep(Duration::from_millis(500));
    let running = start(&lab, &load(6_000, 53, "cut"));
    thread::sleep(Duration::from_millis(500));
    agent.reload(&with(&[OTHER]), "capturing DNS on port 5300");
    DnsperfReport::wait(start(&lab, &load(1_000, 53, "gone"))).unwrap();
    let left = DnsperfReport::wait(start(&lab, &load(1_000, OTHER, "left"))).unwrap();
    let cut = DnsperfReport::wait(running).unwrap();
    waiting.wait_with_output().unwrap();
    let end = agent.finish();

    let count_of = |suffix: &str, status: &str| {
        end.records_of("dns.transaction/1")
            .filter(|record| record["vantage"] == "client" && record["status"] == status)
            .filter(|record| record["client_ip"] == lab.client_addr().to_string())
            .filter(|record| record["qname"].as_str().is_some_and(|name| name.contains(suffix)))
            .count() as u64
    };
    let last = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    // A busy lab loses some queries by itself; dnsperf reports these.
    assert_eq!(count_of("throughout", "answered"), throughout.completed);
    assert_eq!(count_of("added", "answered"), added.completed);
    assert_eq!(count_of("left", "answered"), left.completed);
    assert!(throughout.completed > 5_000 && added.completed > 1_500 && left.completed > 700);
    assert_eq!(["answered", "open", "orphan"].map(|status| count_of("gone", status)), [0, 0, 0]);
    assert_eq!(["open", "timeout"].map(|status| count_of("waiting", status)), [1, 0]);
    assert!((1..5_900).contains(&count_of("cut", "answered")), "{}", count_of("cut", "answered"));
    assert!(
        count_of("cut", "timeout") <= cut.lost,
        "{} of {}",
        count_of("cut", "timeout"),
        cut.lost
    );
    let open =
        end.records_of("dns.transaction/1").filter(|record| record["status"] == "open").count();
    assert_eq!(ledger::counter(last, &["pairing", "open"]).unwrap(), open as u64);
}

#[test]
fn failed_new_sink_keeps_the_whole_configuration() {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |directory: &Path| directory.join("out");
    let with = |directory: &Path, qname: &str| {
        json!({
            "version": 1,
            "sinks": [format!("file:{}", path(directory).display())],
            "streams": ["transactions", "ledger"],
            "privacy": { "qname": qname },
        })
    };
    let config = directory.path().join("dnscribe.yaml");
    let agent = ReloadedAgent::start(&config, &with(directory.path(), "hash"));
    // Privileges were dropped, and with them access to all directories except the configured ones.
    fs::write(&config, with(elsewhere.path(), "keep").to_string()).unwrap();
    agent.agent.signal(Signal::HUP).unwrap();
    let refused =
        || Ok(agent.agent.log().contains("the configuration stays as it was").then_some(()));
    shell::wait_for("the refusal", RECORD_LIMIT, refused).unwrap();
    lab.dig(&["+short", "www.example.com"]).unwrap();
    let end = agent.finish();
    assert!(end.stderr.contains("restart to write elsewhere"), "{}", end.stderr);
    assert!(!path(elsewhere.path()).exists());
    let written = records(&path(directory.path()));
    let transactions = || written.iter().filter(|one| one["schema"] == "dns.transaction/1");
    assert!(transactions().count() > 0, "{written:?}");
    // The present sink gets no name that it was not to have.
    assert!(transactions().all(|one| one["qname"] != "www.example.com"), "{written:?}");
    assert_eq!(written.last().unwrap()["final"], true);
}
