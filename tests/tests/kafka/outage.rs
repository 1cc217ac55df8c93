//! A broker that is killed under load and stays away for long: nothing is lost, nothing comes
//! twice, and each partition has its records in the order in which they were made.

use crate::bench;
use crate::live::{self, Brief, Scrape};
use dnscribe_tests::ledger;
use std::collections::HashMap;
use std::env;
use std::thread;
use std::time::Duration;

/// Load before the broker goes, in seconds.
const BEFORE: u64 = 2;
/// Load after it is back.
const AFTER: u64 = 3;

/// How long the broker is away: `OUTAGE_SECONDS`, else as long as the test may take.
fn outage() -> u64 {
    env::var("OUTAGE_SECONDS").map_or(35, |seconds| seconds.parse().unwrap())
}

#[test]
fn an_outage_under_load_loses_nothing_and_keeps_the_order() {
    let Some(mut bench) = bench() else { return };
    live::make_topics(&bench.broker);
    let reference = bench.folder.path().join("reference.ndjson");
    let sinks = format!("kafka,stdout,file:{}", reference.display());
    let streams = [("KAFKA__STREAMS", "transactions,ledger"), ("FILE__STREAMS", "transactions")];
    let agent = live::run_to(&sinks, &bench.broker.bootstrap(), &streams);

    let queries = live::start(&bench.lab, &live::load(BEFORE + outage() + AFTER, "outage"));
    thread::sleep(Duration::from_secs(BEFORE));
    bench.broker.kill().unwrap();
    thread::sleep(Duration::from_secs(outage()));
    let scrape = Scrape::of(&agent);
    assert!(scrape.records("transactions", "spooled") > 0, "nothing is spooled");
    assert!(scrape.sum("dnscribe_spool_bytes", &[]) > 0, "the spool is empty");
    let in_memory = scrape.records("transactions", "in_flight");
    assert!(in_memory < u64::from(live::QPS), "{in_memory} records do not get to the disk");
    bench.broker.restart().unwrap();
    let perf = live::finish(queries);
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let last = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let of = |name| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    assert_eq!(of("delivered"), of("records"), "{last:#}");
    let records = live::transactions(&bench.broker, &bench.lab, "outage");
    for vantage in ["client", "server"] {
        assert_eq!(live::seen(&records, vantage), perf.completed, "{vantage}: {perf:?}");
    }
    assert_eq!(records.len() as u64, of("records"), "a record is there twice");
    check_order(&records, &live::ids_in(&reference));
    assert_eq!(live::duplicates(&live::proof(&bench.broker)), 0);
}

/// In each partition, records follow each other as they do in the file that was written beside.
fn check_order(records: &[Brief], reference: &[u128]) {
    let places: HashMap<u128, usize> =
        reference.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    assert_eq!(records.len(), places.len());
    let mut last: HashMap<i32, usize> = HashMap::new();
    for record in records {
        let place = places[&record.event_id];
        let before = last.insert(record.partition, place);
        assert!(before < Some(place), "partition {}: {before:?} {place}", record.partition);
    }
    assert!(last.len() > 1, "one partition proves little");
}
