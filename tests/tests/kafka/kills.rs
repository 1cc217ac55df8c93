//! The agent is killed three times under load, with the broker down and then up: what it had
//! called delivered or spooled arrives, and what arrives twice is counted.

use crate::live::{self, Brief, Scrape};
use crate::{Bench, bench};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::ledger;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Ledger records come so often: a capture that is killed later has one on disk at least.
const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// What the agent said for the last time before it was killed.
#[derive(Debug)]
struct Claim {
    delivered: u64,
    spooled: u64,
    /// Records of earlier captures, a few ledger records among them; `/metrics` counts them too.
    found: u64,
}

impl Claim {
    /// Of this capture, at least.
    fn own(&self) -> u64 {
        self.delivered + self.spooled - self.found
    }
}

#[test]
fn what_was_spooled_arrives_however_often_the_agent_is_killed() {
    let Some(mut bench) = bench() else { return };
    live::make_topics(&bench.broker);
    let mut queries = live::start(&bench.lab, &live::load(60, "kills"));

    // Delivers, then has to spool.
    let first = run(&bench, &bench.folder.path().join("spool"));
    thread::sleep(Duration::from_secs(1));
    bench.broker.kill().unwrap();
    thread::sleep(LEDGER_EVERY);
    let mut claims = vec![kill(first)];
    assert!(claims[0].delivered > 0 && claims[0].spooled > 0, "{claims:?}");
    // Finds a spool, and no broker.
    let second = run(&bench, &bench.folder.path().join("spool"));
    thread::sleep(Duration::from_secs(3));
    claims.push(kill(second));
    assert!(claims[1].delivered == 0 && claims[1].own() > 0, "{claims:?}");
    // Is killed while it empties the spool.
    let third = run(&bench, &bench.folder.path().join("spool"));
    bench.broker.restart().unwrap();
    live::wait_for(&third, "a delivery", Duration::from_secs(10), |scrape| {
        scrape.records("transactions", "delivered") > 0
    });
    claims.push(kill(third));

    let last = run(&bench, &bench.folder.path().join("spool"));
    thread::sleep(Duration::from_secs(2));
    queries.kill().unwrap();
    queries.wait().unwrap();
    let end = last.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    let ledger = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(ledger).unwrap(), 0, "{ledger:#}");
    let recovered = &ledger["delivery"]["kafka_recovered"]["transactions"];
    assert!(recovered["records"].as_u64().unwrap() > 0, "{ledger:#}");
    assert_eq!(recovered["records"], recovered["delivered"], "{ledger:#}");
    check(&bench, &claims, ledger);
}

fn run(bench: &Bench, spool: &Path) -> Agent {
    let spool = spool.display().to_string();
    let streams = ("KAFKA__STREAMS", "transactions,ledger");
    live::run(&bench.broker.bootstrap(), &[streams, ("SPOOL__DIRECTORY", &spool)])
}

fn kill(agent: Agent) -> Claim {
    let scrape = Scrape::of(&agent);
    let log = agent.kill().unwrap().stderr;
    let found = log.split_once("holds records of an earlier run for Kafka records=");
    let found = found.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
    let of = |state| scrape.records("transactions", state);
    Claim { delivered: of("delivered"), spooled: of("spooled"), found }
}

/// Each capture's transactions are on their topic, at least as many as it had claimed, and `ledger
/// verify` counts the same as this.
fn check(bench: &Bench, claims: &[Claim], ledger: &Value) {
    let records = live::transactions(&bench.broker, &bench.lab, "kills");
    let captures = by_capture(&records);
    assert_eq!(captures.len(), claims.len() + 1, "{captures:?}");
    for (found, claim) in captures.iter().zip(claims) {
        assert!(*found >= claim.own(), "{found} of {claim:?}");
    }
    let delivered = ["delivery", "kafka", "transactions", "delivered"];
    assert_eq!(captures[claims.len()], ledger::counter(ledger, &delivered).unwrap());

    let distinct: u64 = captures.iter().sum();
    let duplicates = records.len() as u64 - distinct;
    eprintln!("{claims:?}, {duplicates} duplicates of {distinct} transactions");
    assert_eq!(live::duplicates(&live::proof(&bench.broker)), duplicates);
}

/// Distinct transactions of each capture, in the order in which the captures began.
fn by_capture(records: &[Brief]) -> Vec<u64> {
    let mut captures: HashMap<u128, (&str, HashSet<u128>)> = HashMap::new();
    for record in records {
        let capture = captures.entry(live::tag(record.event_id));
        let (begin, ids) = capture.or_insert_with(|| (&record.ts, HashSet::new()));
        *begin = record.ts.as_str().min(begin);
        ids.insert(record.event_id);
    }
    let mut captures: Vec<_> = captures.into_values().collect();
    captures.sort_unstable_by_key(|(begin, _)| *begin);
    captures.into_iter().map(|(_, ids)| ids.len() as u64).collect()
}
