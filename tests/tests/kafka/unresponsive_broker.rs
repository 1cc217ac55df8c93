//! Brokers that keep their connections open and never respond: capture continues, memory stays
//! bounded, and the ledger accounts for the records.

use crate::live_agent::{self, Scrape};
use crate::{ONE_AT_A_TIME, own_broker, setup};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, ledger};
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

/// Maximum memory of the agent: 32 MiB for its ring, 64 MiB each for the sink's queue and for
/// records in flight, 128 MiB for librdkafka's copies, and the rest.
const MEMORY_BYTES: u64 = 448 << 20;
/// Duration of the suspension.
const SUSPENDED: Duration = Duration::from_secs(20);

#[test]
fn suspended_broker_costs_no_packets_or_memory() {
    let Some(setup) = setup(own_broker) else { return };
    live_agent::create_topics(&setup.broker);
    let agent =
        live_agent::run(&setup.broker.bootstrap(), &[("KAFKA__STREAMS", "transactions,ledger")]);
    let queries = live_agent::start(&setup.lab, &live_agent::load(24, "frozen"));
    thread::sleep(Duration::from_secs(2));
    setup.broker.freeze().unwrap();
    thread::sleep(SUSPENDED);
    let scrape = Scrape::of(&agent);
    setup.broker.thaw().unwrap();
    assert!(scrape.records("transactions", "spooled") > 0, "nothing is spooled");
    let perf = live_agent::finish(queries);
    live_agent::wait_until_delivered(&agent);
    check_memory(&agent);
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let meanwhile = end.records_of("dns.ledger/1").map(|record| {
        ledger::verify(record).unwrap();
        let of = |place| ledger::counter(record, &["delivery", "kafka", "transactions", place]);
        of("spooled").unwrap() + of("in_flight").unwrap()
    });
    let most = meanwhile.max().unwrap();
    assert!(most >= u64::from(live_agent::QPS), "the ledger has {most} records in flight");
    let last = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let records = live_agent::transactions(&setup.broker, &setup.lab, "frozen");
    for vantage in ["client", "server"] {
        assert_eq!(live_agent::seen(&records, vantage), perf.completed, "{vantage}: {perf:?}");
    }
    live_agent::verify_ledger(&setup.broker);
}

/// Checks the peak memory of the agent.
fn check_memory(agent: &Agent) {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    eprintln!("peak memory {} MiB", kib >> 10);
    assert!(kib << 10 < MEMORY_BYTES, "peak memory {} MiB", kib >> 10);
}

#[test]
fn silent_broker_costs_no_packets_or_memory() {
    if !environment::privileged() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::up().unwrap();
    let brokers = silent();
    let limit = Duration::from_secs(3);
    let settings = [("KAFKA__STREAMS", "transactions,ledger"), ("DRAIN_TIMEOUT", "3s")];
    let agent = live_agent::run(&brokers, &settings);
    let perf = live_agent::finish(live_agent::start(&lab, &live_agent::load(8, "silent")));
    live_agent::wait_for(&agent, "records on disk", |scrape| {
        scrape.records("transactions", "spooled") >= 2 * perf.completed
            && scrape.sum("dnscribe_spool_bytes", &[]) > 0
    });
    check_memory(&agent);

    let start = Instant::now();
    let end = agent.terminate().unwrap();
    let took = start.elapsed();
    // A busy machine adds seconds; waiting for the broker would add minutes.
    assert!(took < limit + Duration::from_secs(20), "it took {took:?} to end\n{}", end.stderr);
    assert!(end.status.success(), "{}", end.stderr);
    let last = end.final_ledger().unwrap();
    let of = |name| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    assert!(of("records") >= 2 * perf.completed, "{last:#}");
    assert_eq!(of("spooled"), of("records"), "{last:#}");
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
}

/// Returns the address of a broker that accepts every connection, reads everything, and never
/// responds.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(
                move || while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {},
            );
        }
    });
    address
}
