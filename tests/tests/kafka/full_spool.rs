//! A spool that is too small for an outage: messages are dropped first, transactions once there are
//! no messages left, and the ledger never. Every record is accounted for.

use crate::consume::consume_as;
use crate::live_agent::{self, Scrape};
use crate::{LEDGER, Setup, TRANSACTIONS, own_broker, setup};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::ledger;
use rdkafka::message::Message as _;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::Duration;

/// Maximum records of a segment: after a segment was removed, a few messages may fit.
const SEGMENT: u64 = 3000;
/// Transactions that have been dropped at the end of the load.
const OVERFULL: u64 = 10_000;
/// Number of transactions at the end of the load that are checked.
const LAST: usize = 1000;
/// Number of those that a full spool may still accept: a small batch fits where a large one does
/// not.
const SLACK: usize = LAST / 10;

#[test]
fn full_spool_drops_least_important_first() {
    let Some(mut setup) = setup(own_broker) else { return };
    live_agent::create_topics(&setup.broker);
    for (policy, keeps_newest) in [("drop_oldest", true), ("drop_newest", false)] {
        let reference = setup.folder.path().join(policy);
        let agent = run(&setup, policy);
        setup.broker.kill().unwrap();
        overfill(&setup, &agent, policy);
        // A spool that keeps the oldest stays full until the broker is back. On a busy host many queries of the load end later.
        let made = fs::read_to_string(&reference).unwrap().matches('\n').count();
        setup.broker.restart().unwrap();
        live_agent::wait_for(&agent, "an empty spool", |scrape| {
            ["messages", "transactions", "ledger"]
                .iter()
                .all(|stream| scrape.records(stream, "spooled") == 0)
        });
        let end = agent.terminate().unwrap();
        assert!(end.status.success(), "{}", end.stderr);
        check_balance(&end);

        let arrived = check_topics(&setup, end.final_ledger().unwrap());
        let all = live_agent::event_ids_in(&reference);
        let until = if keeps_newest { all.len() } else { made };
        let last = &all[until - LAST..until];
        let kept = last.iter().filter(|id| arrived.contains(id)).count();
        let expected = if keeps_newest { LAST..=LAST } else { 0..=SLACK };
        assert!(expected.contains(&kept), "{policy}: {kept} of the last {LAST} were kept");
    }
    live_agent::verify_ledger(&setup.broker);
}

fn run(setup: &Setup, policy: &str) -> Agent {
    let reference = setup.folder.path().join(policy);
    let sinks = format!("kafka,stdout,file:{}", reference.display());
    let settings = [
        ("KAFKA__STREAMS", "messages,transactions,dlq,ledger"),
        ("FILE__STREAMS", "transactions"),
        ("SPOOL__MAX_BYTES", "1MiB"),
        ("SPOOL__WHEN_FULL", policy),
    ];
    live_agent::run_to(&sinks, &setup.broker.bootstrap(), &settings)
}

/// Sends more than fits into the spool, and checks the order of drops.
fn overfill(setup: &Setup, agent: &Agent, policy: &str) {
    let mut queries = live_agent::start(&setup.lab, &live_agent::load(60, "full"));
    let mut messages_alone = false;
    let mut before = Scrape::of(agent);
    // On a busy host it takes longer.
    while before.records("transactions", "dropped") < OVERFULL
        && queries.try_wait().unwrap().is_none()
    {
        thread::sleep(Duration::from_millis(100));
        let now = Scrape::of(agent);
        let [messages, transactions] =
            ["messages", "transactions"].map(|stream| now.records(stream, "dropped"));
        messages_alone |= messages > 0 && transactions == 0;
        if transactions > before.records("transactions", "dropped") {
            let left = now.records("messages", "spooled");
            assert!(left < SEGMENT, "{policy}: transactions were dropped before {left} messages");
        }
        assert_eq!(now.records("ledger", "dropped"), 0);
        assert_eq!(now.dropped("spool_full"), messages + transactions, "other reasons");
        before = now;
    }
    queries.kill().unwrap();
    queries.wait().unwrap();
    assert!(messages_alone, "{policy}: messages were not dropped first");
    assert!(before.records("transactions", "dropped") > 0, "{policy}: the load was too small");
}

/// Checks that identity 5 holds, and that records were dropped only for lack of space.
fn check_balance(end: &EndedAgent) {
    for record in end.records_of("dns.ledger/1") {
        ledger::verify(record).unwrap();
    }
    let last = end.final_ledger().unwrap();
    for stream in ["messages", "transactions", "ledger"] {
        let of = |name| ledger::counter(last, &["delivery", "kafka", stream, name]).unwrap();
        let dropped =
            ledger::counter(last, &["delivery", "kafka", stream, "dropped", "spool_full"]).unwrap();
        assert_eq!(of("delivered") + dropped, of("records"), "{last:#}");
        assert_eq!(dropped > 0, stream != "ledger", "{last:#}");
    }
}

/// Checks that the topics hold exactly the delivered records of this capture; returns the
/// transactions.
fn check_topics(setup: &Setup, last: &Value) -> HashSet<u128> {
    let capture_id = live_agent::capture_id(live_agent::number(last["event_id"].as_str().unwrap()));
    let mut transactions = HashSet::new();
    for (stream, topic) in
        [("messages", "dns.raw"), ("ledger", LEDGER), ("transactions", TRANSACTIONS)]
    {
        let ids = consume_as(&setup.broker.bootstrap(), topic, |message| {
            live_agent::event_id_in(message.payload().unwrap())
        });
        let ids: HashSet<u128> =
            ids.into_iter().filter(|id| live_agent::capture_id(*id) == capture_id).collect();
        // The final ledger record cannot count its own delivery.
        let own = u64::from(stream == "ledger");
        let delivered = ledger::counter(last, &["delivery", "kafka", stream, "delivered"]).unwrap();
        assert_eq!(ids.len() as u64, delivered + own, "{stream}: {last:#}");
        transactions = ids;
    }
    transactions
}
