//! Real servers: what we record is what each counts itself, and none waits for us.

use super::END;
use crate::support::{agent, alone};
use anyhow::{Context as _, Result};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::dnstap::{Server, ServerKind};
use dnscribe_tests::{environment, ledger, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Queries a second at which no server drops a frame.
///
/// A thread of knot keeps 512 frames, and its writer may sleep for a second (`fstrm_iothr_options(3)`): 400 queries and as many
/// responses would not fit.
const fn qps(kind: ServerKind) -> u32 {
    if matches!(kind, ServerKind::Knot) { 150 } else { 400 }
}

/// Queries by UDP and by TCP.
fn ask(server: &Server, queries: u32, qps: u32) {
    for (tcp, queries) in [(false, queries), (true, queries / 4)] {
        let load = Load { queries, tcp, qps: Some(qps), ..Load::default() };
        let report = server.dnsperf(&load).unwrap();
        assert_eq!((report.sent, report.completed), (queries.into(), queries.into()));
    }
}

fn wait_for_connections(agent: &Agent, count: usize) {
    shell::wait_for("the server's connection", END, || {
        let connected = agent.log().matches("a sender of dnstap has connected").count();
        Ok((connected >= count).then_some(()))
    })
    .with_context(|| agent.log())
    .unwrap();
}

fn answered(records: &[Value]) -> usize {
    let is_answered = |one: &&Value| one["status"] == "answered" && one["vantage"] == "server";
    records.iter().filter(is_answered).count()
}

fn wait_for_answered(agent: &Agent, count: u64) {
    let enough = |records: &[Value]| answered(records) as u64 >= count;
    let found = agent.wait_for("all transactions", END, enough);
    found.with_context(|| format!("{} of {count}", answered(&agent.records()))).unwrap();
}

/// Exit code of `ledger verify` for these records.
fn verify(folder: &Path, records: &[Value]) -> Option<i32> {
    let file = folder.join("records.ndjson");
    let lines: Vec<String> = records.iter().map(|one| format!("{one}\n")).collect();
    fs::write(&file, lines.concat()).unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["ledger", "verify"]).arg(&file).output().unwrap().status.code()
}

/// Asks a server, kills it, and asks it once more: its own statistics are the transactions, and the ledger has it as one sender.
fn counts_agree(kind: ServerKind) {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let agent = agent(&["--dnstap", &format!("unix:{}", socket.display())]);
    let mut total = 0;
    for (connections, queries) in [(1, 1_600), (2, 400)] {
        let server = Server::start(kind, folder.path(), Some(&socket)).unwrap();
        wait_for_connections(&agent, connections);
        ask(&server, queries, qps(kind));
        let counted = server.queries().unwrap();
        assert_eq!(counted, u64::from(queries + queries / 4), "{}", kind.name());
        total += counted;
        wait_for_answered(&agent, total);
        server.kill().unwrap();
    }
    let mut ended = agent.terminate().unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    let transactions: Vec<&Value> = ended.records_of("dns.transaction/1").collect();
    assert_eq!(transactions.len() as u64, total);
    for one in &transactions {
        assert_eq!(one["dnstap"]["identity"], kind.name(), "{one}");
    }
    let by_tcp = transactions.iter().filter(|one| one["transport"] == "tcp").count() as u64;
    assert_eq!(by_tcp, total / 5);

    let last = ended.final_ledger().unwrap().clone();
    ledger::verify(&last).unwrap();
    assert_eq!(last["senders"].as_array().unwrap().len(), 1, "{last}");
    let sender = &last["senders"][0];
    let count = |name: &str| sender[name].as_u64().unwrap();
    assert_eq!(sender["name"], kind.name());
    assert_eq!(count("received"), 2 * total, "{sender}");
    assert_eq!(count("decoded"), count("received"), "{sender}");
    assert_eq!(["connections", "open"].map(count), [2, 0], "{sender}");
    assert_eq!(verify(folder.path(), &ended.records), Some(0));
    // Who changes it is found out.
    let place = ended.records.iter().rposition(|one| one["schema"] == "dns.ledger/1").unwrap();
    ended.records[place]["senders"][0]["decoded"] = json!(count("decoded") - 1);
    assert_eq!(verify(folder.path(), &ended.records), Some(1));
}

/// A server answers all the same while the agent stands still, and after it was killed; and sends again to the next one.
fn does_not_wait(kind: ServerKind) {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let address = format!("unix:{}", socket.display());
    let first = agent(&["--dnstap", &address]);
    let server = Server::start(kind, folder.path(), Some(&socket)).unwrap();
    wait_for_connections(&first, 1);
    let all_answered = |what: &str| {
        // More than sockets and queues of a server can keep.
        let report = server.dnsperf(&Load { queries: 30_000, ..Load::default() }).unwrap();
        assert_eq!((report.completed, report.lost), (report.sent, 0), "{} {what}", kind.name());
    };
    first.signal(Signal::STOP).unwrap();
    all_answered("while the agent is stopped");
    first.kill().unwrap();
    all_answered("after the agent was killed");
    let second = agent(&["--dnstap", &address]);
    let seen = shell::wait_for("a transaction at the next agent", END, || -> Result<_> {
        server.dnsperf(&Load { queries: 10, ..Load::default() })?;
        Ok((answered(&second.records()) > 0).then_some(()))
    });
    seen.with_context(|| second.log()).unwrap();
    let ended = second.terminate().unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    ledger::verify(ended.final_ledger().unwrap()).unwrap();
}

#[test]
fn unbound_counts_what_we_record() {
    counts_agree(ServerKind::Unbound);
}

#[test]
fn bind_counts_what_we_record() {
    counts_agree(ServerKind::Bind);
}

#[test]
fn knot_counts_what_we_record() {
    counts_agree(ServerKind::Knot);
}

#[test]
fn coredns_counts_what_we_record() {
    counts_agree(ServerKind::CoreDns);
}

#[test]
fn unbound_does_not_wait_for_us() {
    does_not_wait(ServerKind::Unbound);
}

#[test]
fn bind_does_not_wait_for_us() {
    does_not_wait(ServerKind::Bind);
}

#[test]
fn knot_does_not_wait_for_us() {
    does_not_wait(ServerKind::Knot);
}

#[test]
fn coredns_does_not_wait_for_us() {
    does_not_wait(ServerKind::CoreDns);
}
