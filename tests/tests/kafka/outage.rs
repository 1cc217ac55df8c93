//! A broker that is killed under load and stays down: no record is lost or duplicated, and each
//! partition keeps the order of its records.

use crate::live_agent::{self, CompactTransaction, Scrape};
use crate::{own_broker, setup};
use dnscribe_tests::ledger;
use std::collections::HashMap;
use std::env;
use std::thread;
use std::time::Duration;

/// Seconds of load before the broker is killed.
const BEFORE: u64 = 2;
/// Seconds of load after its restart.
const AFTER: u64 = 3;

/// Duration of the outage in seconds: `OUTAGE_SECONDS`, else a default that suits the test.
fn outage() -> u64 {
    env::var("OUTAGE_SECONDS").map_or(35, |seconds| seconds.parse().unwrap())
}

#[test]
fn outage_under_load_keeps_records_and_order() {
    let Some(mut setup) = setup(own_broker) else { return };
    live_agent::create_topics(&setup.broker);
    let reference = setup.folder.path().join("reference.ndjson");
    let sinks = format!("kafka,stdout,file:{}", reference.display());
    let streams = [("KAFKA__STREAMS", "transactions,ledger"), ("FILE__STREAMS", "transactions")];
    let agent = live_agent::run_to(&sinks, &setup.broker.bootstrap(), &streams);

    let queries =
        live_agent::start(&setup.lab, &live_agent::load(BEFORE + outage() + AFTER, "outage"));
    thread::sleep(Duration::from_secs(BEFORE));
    setup.broker.kill().unwrap();
    thread::sleep(Duration::from_secs(outage()));
    let scrape = Scrape::of(&agent);
    assert!(scrape.records("transactions", "spooled") > 0, "nothing is spooled");
    assert!(scrape.sum("dnscribe_spool_bytes", &[]) > 0, "the spool is empty");
    let in_memory = scrape.records("transactions", "in_flight");
    assert!(
        in_memory < u64::from(live_agent::QPS),
        "{in_memory} records are not written to the disk"
    );
    setup.broker.restart().unwrap();
    let perf = live_agent::finish(queries);
    live_agent::wait_until_delivered(&agent);
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let last = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let of = |name| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    assert_eq!(of("delivered"), of("records"), "{last:#}");
    let records = live_agent::transactions(&setup.broker, &setup.lab, "outage");
    for vantage in ["client", "server"] {
        assert_eq!(live_agent::seen(&records, vantage), perf.completed, "{vantage}: {perf:?}");
    }
    assert_eq!(records.len() as u64, of("records"), "a record occurs twice");
    check_order(&records, &live_agent::event_ids_in(&reference));
    assert_eq!(live_agent::duplicates(&live_agent::verify_ledger(&setup.broker)), 0);
}

/// Checks that the records of each partition have the order of the file that was written in
/// parallel.
fn check_order(records: &[CompactTransaction], reference: &[u128]) {
    let places: HashMap<u128, usize> =
        reference.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    assert_eq!(records.len(), places.len());
    let mut last: HashMap<i32, usize> = HashMap::new();
    for record in records {
        let place = places[&record.event_id];
        let before = last.insert(record.partition, place);
        assert!(before < Some(place), "partition {}: {before:?} {place}", record.partition);
    }
    assert!(last.len() > 1, "all records are in one partition");
}
