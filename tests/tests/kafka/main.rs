//! The agent against a real Kafka broker: what was asked is on the topics, once, accounted for,
//! and stays so when the broker dies meanwhile. What captures needs root.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod avro;
mod bad_disk;
mod broker;
mod consume;
mod consumers;
mod dead_letters;
mod frozen;
mod full_spool;
mod kills;
mod live;
mod outage;
mod partitions;
mod reading;
mod reloading;
mod replay;
mod security;
mod topics;
mod torn;

use consume::{Record, consume};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, ledger, shell};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where transactions go.
const TRANSACTIONS: &str = "dns.normalized";
/// Where the ledger goes.
const LEDGER: &str = "dns.ledger";

/// Two labs and two agents at once would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Bench {
    lab: Lab,
    broker: Broker,
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn bench() -> Option<Bench> {
    if !environment::privileged() {
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    // The agent's unprivileged user must reach its spool in there.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    Some(Bench { lab: Lab::up().unwrap(), broker, folder, _alone: alone })
}

/// Records to the broker, and the ledger to standard output too.
fn agent(broker: &Broker, more: &[&str]) -> Agent {
    let brokers = broker.bootstrap();
    let sinks = ["--sink", "kafka", "--sink", "stdout", "--brokers", &brokers];
    let words = [&sinks[..], &["--stream", "transactions,ledger"], more].concat();
    Agent::run(&words).unwrap()
}

/// The transactions between client and resolver with names below a suffix, at one vantage.
fn between<'a>(records: &'a [Record], lab: &Lab, vantage: &str, suffix: &str) -> Vec<&'a Record> {
    let client = lab.client_addr().to_string();
    records
        .iter()
        .filter(|record| record.value["vantage"] == vantage && record.value["client_ip"] == client)
        .filter(|record| record.value["qname"].as_str().is_some_and(|name| name.ends_with(suffix)))
        .collect()
}

/// Distinct event ids: a resend has the id of the first sending.
fn ids(records: &[&Record]) -> BTreeSet<String> {
    records.iter().map(|record| record.value["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_transaction_is_on_its_topic_once() {
    let Some(bench) = bench() else { return };
    let suffix = "kafka.wild.example.com";
    let agent = agent(&bench.broker, &[]);
    let load = Load { queries: 2000, qps: Some(1000), suffix: suffix.into(), ..Load::default() };
    let perf = bench.lab.dnsperf(&load).unwrap();
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let bootstrap = bench.broker.bootstrap();
    let records = consume(&bootstrap, TRANSACTIONS);
    for vantage in ["client", "server"] {
        let seen = between(&records, &bench.lab, vantage, suffix);
        let answered = seen.iter().filter(|record| record.value["status"] == "answered").count();
        assert_eq!(answered as u64, perf.completed, "{vantage}");
        assert_eq!(ids(&seen).len(), seen.len(), "an idempotent producer sends nothing twice");
    }
    let last = end.final_ledger().unwrap();
    let path = ["delivery", "kafka", "transactions", "delivered"];
    assert_eq!(ledger::counter(last, &path).unwrap(), records.len() as u64);
    assert_eq!(ledger::losses(last).unwrap(), 0);
    check_envelopes(&records);

    let ledgers = consume(&bootstrap, LEDGER);
    assert!(ledgers.iter().any(|record| record.value["final"] == true));
    for record in &ledgers {
        ledger::verify(&record.value).unwrap();
    }
    let mut verify = Command::new(environment::binary().unwrap());
    shell::output(verify.args(["ledger", "verify", "--brokers", &bootstrap])).unwrap();
}

/// Headers repeat what the record says; a key belongs to one resolver and zone.
fn check_envelopes(records: &[Record]) {
    let mut keys = BTreeMap::new();
    for record in records {
        for name in ["schema", "node", "event_id"] {
            assert_eq!(record.headers[name], record.value[name], "{}", record.value);
        }
        let place = (record.value["resolver"].to_string(), record.value["zone"].to_string());
        let key = keys.entry(place).or_insert_with(|| record.key.clone());
        assert_eq!(&record.key, key, "one resolver and zone, one key");
        assert!(!record.key.is_empty());
    }
}

#[test]
fn a_broker_that_stays_away_is_no_reason_to_lie() {
    let Some(mut bench) = bench() else { return };
    let agent = agent(&bench.broker, &["--drain-timeout", "3s"]);
    bench.broker.kill().unwrap();
    let load = Load { queries: 500, qps: Some(500), ..Load::default() };
    bench.lab.dnsperf(&load).unwrap();
    let end = agent.terminate().unwrap();
    let last = end.final_ledger().unwrap();
    let of = |name| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    assert!(of("records") >= 1000);
    assert!(of("records") > of("delivered"), "nothing can be delivered to a dead broker");
}
