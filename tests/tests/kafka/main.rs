//! The agent with a real Kafka broker: every record is on its topic once and accounted for, also
//! across broker failures. Tests that capture need root.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod admin;
mod avro;
mod bad_disk;
mod broker;
mod consume;
mod consumers;
mod dead_letters;
mod unresponsive_broker;
mod full_spool;
mod agent_kills;
mod live_agent;
mod operators;
mod outage;
mod pages;
mod partitions;
mod probe;
mod probe_events;
mod reading;
mod reloading;
mod replay;
mod security;
mod stream_ledger;
mod topics;
mod corrupt_spool;

use admin::shared_broker;
use consume::{Record, consume};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, ledger, shell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Topic of transactions.
const TRANSACTIONS: &str = "dns.normalized";
/// Topic of the ledger.
const LEDGER: &str = "dns.ledger";

/// Two labs and two agents at the same time would disturb each other's measurements.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Setup {
    lab: Lab,
    broker: Broker,
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn own_broker(folder: &Path) -> Broker {
    Broker::up(folder).unwrap()
}

/// Starts a lab and takes a broker: [`own_broker`], or [`shared_broker`] where the test does not stop it.
fn setup(broker: fn(&Path) -> Broker) -> Option<Setup> {
    if !environment::privileged() {
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    // The agent's unprivileged user must reach its spool in there.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let broker = broker(folder.path());
    Some(Setup { lab: Lab::up().unwrap(), broker, folder, _alone: alone })
}

/// Starts an agent that writes to the broker, and the ledger to standard output too.
fn agent(broker: &Broker, more: &[&str]) -> Agent {
    let brokers = broker.bootstrap();
    let sinks = ["--sink", "kafka", "--sink", "stdout", "--brokers", &brokers];
    let words = [&sinks[..], &["--stream", "transactions,ledger"], more].concat();
    Agent::run(&words).unwrap()
}

/// Returns the transactions between client and resolver with names below a suffix, from one
/// vantage.
fn between<'a>(records: &'a [Record], lab: &Lab, vantage: &str, suffix: &str) -> Vec<&'a Record> {
    let client = lab.client_addr().to_string();
    records
        .iter()
        .filter(|record| record.value["vantage"] == vantage && record.value["client_ip"] == client)
        .filter(|record| record.value["qname"].as_str().is_some_and(|name| name.ends_with(suffix)))
        .collect()
}

/// Returns distinct event ids: a repeated delivery has the id of the first.
fn ids(records: &[&Record]) -> BTreeSet<String> {
    records.iter().map(|record| record.value["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_transaction_is_on_topic_once() {
    let Some(setup) = setup(shared_broker) else { return };
    let suffix = "kafka.wild.example.com";
    let agent = agent(&setup.broker, &[]);
    let load = Load { queries: 2000, qps: Some(1000), suffix: suffix.into(), ..Load::default() };
    let perf = setup.lab.dnsperf(&load).unwrap();
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let bootstrap = setup.broker.bootstrap();
    let records = consume(&bootstrap, TRANSACTIONS);
    for vantage in ["client", "server"] {
        let seen = between(&records, &setup.lab, vantage, suffix);
        let answered = seen.iter().filter(|record| record.value["status"] == "answered").count();
        assert_eq!(answered as u64, perf.completed, "{vantage}");
        assert_eq!(ids(&seen).len(), seen.len(), "an idempotent producer has sent a record twice");
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

/// Checks that headers agree with the record, and that each key has one resolver and zone.
fn check_envelopes(records: &[Record]) {
    let mut keys = BTreeMap::new();
    for record in records {
        for name in ["schema", "node", "event_id"] {
            assert_eq!(record.headers[name], record.value[name], "{}", record.value);
        }
        let place = (record.value["resolver"].to_string(), record.value["zone"].to_string());
        let key = keys.entry(place).or_insert_with(|| record.key.clone());
        assert_eq!(&record.key, key, "one resolver and zone has two keys");
        assert!(!record.key.is_empty());
    }
}

#[test]
fn ledger_is_correct_without_broker() {
    let Some(mut setup) = setup(own_broker) else { return };
    let agent = agent(&setup.broker, &["--drain-timeout", "3s"]);
    setup.broker.kill().unwrap();
    let load = Load { queries: 500, qps: Some(500), ..Load::default() };
    setup.lab.dnsperf(&load).unwrap();
    let end = agent.terminate().unwrap();
    let last = end.final_ledger().unwrap();
    let of = |name| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    assert!(of("records") >= 1000);
    assert!(
        of("records") > of("delivered"),
        "all records are reported as delivered to a killed broker"
    );
}
