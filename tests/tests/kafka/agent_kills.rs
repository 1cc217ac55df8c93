//! The agent is killed three times under load, first with the broker down, then with it up. Records
//! reported as delivered or spooled must arrive; duplicates are counted.

use crate::live_agent::{self, CompactTransaction, Scrape};
use crate::{Setup, own_broker, setup};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::ledger;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Interval of ledger records: a capture that is killed later has at least one on disk.
const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// The agent's last metrics before it was killed.
#[derive(Debug)]
struct ReportedCounts {
    delivered: u64,
    spooled: u64,
    /// Records of earlier captures, including a few ledger records; `/metrics` counts them too.
    found: u64,
}

impl ReportedCounts {
    /// Minimum number of records of this capture.
    fn own(&self) -> u64 {
        self.delivered + self.spooled - self.found
    }
}

#[test]
fn spooled_records_arrive_after_repeated_kills() {
    let Some(mut setup) = setup(own_broker) else { return };
    live_agent::create_topics(&setup.broker);
    // Longer than all of this takes on a busy host: it is killed before the last agent ends.
    let mut queries = live_agent::start(&setup.lab, &live_agent::load(240, "kills"));

    // Delivers, then must spool.
    let first = run(&setup, &setup.folder.path().join("spool"));
    live_agent::wait_for(&first, "a delivery", |scrape| {
        scrape.records("transactions", "delivered") > 0
    });
    setup.broker.kill().unwrap();
    thread::sleep(LEDGER_EVERY);
    let mut reported = vec![kill(first)];
    assert!(reported[0].delivered > 0 && reported[0].spooled > 0, "{reported:?}");
    // Starts with a spool and without a broker.
    let second = run(&setup, &setup.folder.path().join("spool"));
    thread::sleep(Duration::from_secs(3));
    reported.push(kill(second));
    assert!(reported[1].delivered == 0 && reported[1].own() > 0, "{reported:?}");
    // Is killed while it drains the spool.
    let third = run(&setup, &setup.folder.path().join("spool"));
    setup.broker.restart().unwrap();
    live_agent::wait_for(&third, "a delivery", |scrape| {
        scrape.records("transactions", "delivered") > 0
    });
    reported.push(kill(third));

    let last = run(&setup, &setup.folder.path().join("spool"));
    thread::sleep(Duration::from_secs(2));
    queries.kill().unwrap();
    queries.wait().unwrap();
    live_agent::wait_until_delivered(&last);
    let end = last.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    let ledger = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(ledger).unwrap(), 0, "{ledger:#}");
    let recovered = &ledger["delivery"]["kafka_recovered"]["transactions"];
    assert!(recovered["records"].as_u64().unwrap() > 0, "{ledger:#}");
    assert_eq!(recovered["records"], recovered["delivered"], "{ledger:#}");
    check(&setup, &reported, ledger);
}

fn run(setup: &Setup, spool: &Path) -> Agent {
    let spool = spool.display().to_string();
    let streams = ("KAFKA__STREAMS", "transactions,ledger");
    live_agent::run(&setup.broker.bootstrap(), &[streams, ("SPOOL__DIRECTORY", &spool)])
}

fn kill(agent: Agent) -> ReportedCounts {
    let scrape = Scrape::of(&agent);
    let log = agent.kill().unwrap().stderr;
    let found = log.split_once("holds records of an earlier run for Kafka records=");
    let found = found.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
    let of = |state| scrape.records("transactions", state);
    ReportedCounts { delivered: of("delivered"), spooled: of("spooled"), found }
}

/// Checks that the topic holds at least the reported transactions of each capture, and that `ledger
/// verify` counts the same duplicates.
fn check(setup: &Setup, reported: &[ReportedCounts], ledger: &Value) {
    let records = live_agent::transactions(&setup.broker, &setup.lab, "kills");
    let captures = by_capture(&records);
    assert_eq!(captures.len(), reported.len() + 1, "{captures:?}");
    for (found, counts) in captures.iter().zip(reported) {
        assert!(*found >= counts.own(), "{found} of {counts:?}");
    }
    let delivered = ["delivery", "kafka", "transactions", "delivered"];
    assert_eq!(captures[reported.len()], ledger::counter(ledger, &delivered).unwrap());

    let distinct: u64 = captures.iter().sum();
    let duplicates = records.len() as u64 - distinct;
    eprintln!("{reported:?}, {duplicates} duplicates of {distinct} transactions");
    assert_eq!(live_agent::duplicates(&live_agent::verify_ledger(&setup.broker)), duplicates);
}

/// Counts distinct transactions of each capture, in the order in which the captures began.
fn by_capture(records: &[CompactTransaction]) -> Vec<u64> {
    let mut captures: HashMap<u128, (&str, HashSet<u128>)> = HashMap::new();
    for record in records {
        let capture = captures.entry(live_agent::capture_id(record.event_id));
        let (begin, ids) = capture.or_insert_with(|| (&record.ts, HashSet::new()));
        *begin = record.ts.as_str().min(begin);
        ids.insert(record.event_id);
    }
    let mut captures: Vec<_> = captures.into_values().collect();
    captures.sort_unstable_by_key(|(begin, _)| *begin);
    captures.into_iter().map(|(_, ids)| ids.len() as u64).collect()
}
