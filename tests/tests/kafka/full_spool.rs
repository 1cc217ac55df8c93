//! A spool that is too small for the outage: messages go first, transactions once no messages are
//! left, the ledger never, and every record is in the balance.

use crate::consume::consume_as;
use crate::live::{self, Scrape};
use crate::{Bench, LEDGER, TRANSACTIONS, bench};
use dnscribe_tests::agent::{Agent, Finished};
use dnscribe_tests::ledger;
use rdkafka::message::Message as _;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::Duration;

/// Records of a segment at most: where a segment has made room, a few messages may find some.
const SEGMENT: u64 = 3000;
/// Transactions at the end of the load, and their fate.
const LAST: usize = 1000;
/// Of them, those that a full spool may still take: a batch of few records fits where none of many
/// does.
const SLACK: usize = LAST / 10;

#[test]
fn a_full_spool_gives_up_the_least_important_first() {
    let Some(mut bench) = bench() else { return };
    live::make_topics(&bench.broker);
    for (policy, keeps_newest) in [("drop_oldest", true), ("drop_newest", false)] {
        let reference = bench.folder.path().join(policy);
        let agent = run(&bench, policy);
        bench.broker.kill().unwrap();
        overfill(&bench, &agent, policy);
        // What comes later is not from the load.
        let made = fs::read_to_string(&reference).unwrap().matches('\n').count();
        bench.broker.restart().unwrap();
        live::wait_for(&agent, "an empty spool", Duration::from_secs(20), |scrape| {
            ["messages", "transactions", "ledger"]
                .iter()
                .all(|stream| scrape.records(stream, "spooled") == 0)
        });
        let end = agent.terminate().unwrap();
        assert!(end.status.success(), "{}", end.stderr);
        check_balance(&end);

        let arrived = check_topics(&bench, end.final_ledger().unwrap());
        let all = live::ids_in(&reference);
        let last = &all[made - LAST..made];
        let kept = last.iter().filter(|id| arrived.contains(id)).count();
        let expected = if keeps_newest { LAST..=LAST } else { 0..=SLACK };
        assert!(expected.contains(&kept), "{policy}: {kept} of the last {LAST} were kept");
    }
    live::proof(&bench.broker);
}

fn run(bench: &Bench, policy: &str) -> Agent {
    let reference = bench.folder.path().join(policy);
    let sinks = format!("kafka,stdout,file:{}", reference.display());
    let settings = [
        ("KAFKA__STREAMS", "messages,transactions,dlq,ledger"),
        ("FILE__STREAMS", "transactions"),
        ("SPOOL__MAX_BYTES", "1MiB"),
        ("SPOOL__WHEN_FULL", policy),
    ];
    live::run_to(&sinks, &bench.broker.bootstrap(), &settings)
}

/// Sends more than the spool can hold, and watches what goes.
fn overfill(bench: &Bench, agent: &Agent, policy: &str) {
    let mut queries = live::start(&bench.lab, &live::load(7, "full"));
    let mut messages_alone = false;
    let mut before = Scrape::of(agent);
    while queries.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(100));
        let now = Scrape::of(agent);
        let [messages, transactions] =
            ["messages", "transactions"].map(|stream| now.records(stream, "dropped"));
        messages_alone |= messages > 0 && transactions == 0;
        if transactions > before.records("transactions", "dropped") {
            let left = now.records("messages", "spooled");
            assert!(left < SEGMENT, "{policy}: transactions went before {left} messages");
        }
        assert_eq!(now.records("ledger", "dropped"), 0);
        assert_eq!(now.dropped("spool_full"), messages + transactions, "other reasons");
        before = now;
    }
    assert!(messages_alone, "{policy}: messages did not go first");
    assert!(before.records("transactions", "dropped") > 0, "{policy}: the load was too small");
}

/// Identity 5 holds all the time, and nothing was dropped but for want of room.
fn check_balance(end: &Finished) {
    for record in end.of("dns.ledger/1") {
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

/// What was delivered is on its topics, and nothing else of this capture; the transactions.
fn check_topics(bench: &Bench, last: &Value) -> HashSet<u128> {
    let tag = live::tag(live::number(last["event_id"].as_str().unwrap()));
    let mut transactions = HashSet::new();
    for (stream, topic) in
        [("messages", "dns.raw"), ("ledger", LEDGER), ("transactions", TRANSACTIONS)]
    {
        let ids = consume_as(&bench.broker.bootstrap(), topic, |message| {
            live::id_in(message.payload().unwrap())
        });
        let ids: HashSet<u128> = ids.into_iter().filter(|id| live::tag(*id) == tag).collect();
        // The final ledger record cannot tell of its own delivery.
        let own = u64::from(stream == "ledger");
        let delivered = ledger::counter(last, &["delivery", "kafka", stream, "delivered"]).unwrap();
        assert_eq!(ids.len() as u64, delivered + own, "{stream}: {last:#}");
        transactions = ids;
    }
    transactions
}
