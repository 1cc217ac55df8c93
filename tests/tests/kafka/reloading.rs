//! SIGHUP: a change of topics while records are in flight, with the same spool.

use crate::admin::{create_topic, shared_broker};
use crate::live_agent::{create_topics, wait_for};
use crate::{TRANSACTIONS, consume, setup};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Host;
use dnscribe_tests::ledger;
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

const OTHER: &str = "dns.elsewhere";

#[test]
fn reload_switches_topics_without_loss() {
    let Some(setup) = setup(shared_broker) else { return };
    create_topics(&setup.broker);
    create_topic(&setup.broker, OTHER, 3);
    let config = setup.folder.path().join("dnscribe.yaml");
    let with = |topic: &str| {
        let content = json!({
            "version": 1,
            "sinks": ["kafka", "stdout"],
            "streams": ["ledger"],
            "kafka": {
                "brokers": [setup.broker.bootstrap()],
                "streams": ["transactions"],
                "topics": { "transactions": topic },
            },
        });
        fs::write(&config, content.to_string()).unwrap();
    };
    with(TRANSACTIONS);
    let agent = Agent::run(&["--config", &config.display().to_string()]).unwrap();
    let load = Load {
        queries: 12_000,
        qps: Some(3000),
        suffix: "moved.wild.example.com".to_owned(),
        ..Load::default()
    };
    let lab = &setup.lab;
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load).unwrap();
    for topic in [OTHER, TRANSACTIONS, OTHER] {
        thread::sleep(Duration::from_millis(900));
        with(topic);
        agent.signal(Signal::HUP).unwrap();
    }
    assert!(queries.wait_with_output().unwrap().status.success());
    // On a busy host the agent is seconds behind, and what is in the ring when it ends is counted there.
    wait_for(&agent, "the records of both sides", |scrape| {
        scrape.records("transactions", "delivered") >= 2 * u64::from(load.queries)
    });
    let end = agent.terminate().unwrap();

    assert!(end.status.success(), "{}", end.stderr);
    let last = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let topics = [TRANSACTIONS, OTHER].map(|topic| consume(&setup.broker.bootstrap(), topic));
    let [first, other] = topics.each_ref().map(Vec::len);
    assert!(first > 1_000 && other > 1_000, "{first} and {other}: {}", end.stderr);
    let all = topics.iter().flatten().map(|record| record.headers["event_id"].clone());
    assert_eq!(all.collect::<BTreeSet<_>>().len(), first + other, "an event id occurs twice");
    let count =
        |name: &str| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    // The next sink recovers what the previous one left in its spool, and counts it separately.
    let recovered = ["delivery", "kafka_recovered", "transactions", "delivered"];
    let recovered = ledger::counter(last, &recovered).unwrap_or(0);
    assert_eq!(count("delivered") + recovered, (first + other) as u64, "{last:#}");
    assert!(count("records") >= 24_000, "too few records: {last:#}");
}
