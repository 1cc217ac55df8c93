//! Brokers that keep their connections and say nothing: capture goes on, memory stays bounded, and
//! the ledger says where the records are.

use crate::live::{self, Scrape};
use crate::{ONE_AT_A_TIME, bench};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, ledger};
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

/// What the agent may have needed at most: 32 MiB for its ring, 64 MiB each for what waits in
/// front of the sink and for what is on its way, 128 MiB for librdkafka's copy of that, and the rest.
const MEMORY_BYTES: u64 = 448 << 20;
/// How long the broker is frozen.
const FROZEN: Duration = Duration::from_secs(20);

#[test]
fn a_frozen_broker_costs_neither_packets_nor_memory() {
    let Some(bench) = bench() else { return };
    live::make_topics(&bench.broker);
    let agent = live::run(&bench.broker.bootstrap(), &[("KAFKA__STREAMS", "transactions,ledger")]);
    let queries = live::start(&bench.lab, &live::load(24, "frozen"));
    thread::sleep(Duration::from_secs(2));
    bench.broker.freeze().unwrap();
    thread::sleep(FROZEN);
    let scrape = Scrape::of(&agent);
    bench.broker.thaw().unwrap();
    assert!(scrape.records("transactions", "spooled") > 0, "nothing is spooled");
    let perf = live::finish(queries);
    check_memory(&agent);
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let meanwhile = end.of("dns.ledger/1").map(|record| {
        ledger::verify(record).unwrap();
        let of = |place| ledger::counter(record, &["delivery", "kafka", "transactions", place]);
        of("spooled").unwrap() + of("in_flight").unwrap()
    });
    let most = meanwhile.max().unwrap();
    assert!(most >= u64::from(live::QPS), "the ledger knows of {most} that wait");
    let last = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let records = live::transactions(&bench.broker, &bench.lab, "frozen");
    for vantage in ["client", "server"] {
        assert_eq!(live::seen(&records, vantage), perf.completed, "{vantage}: {perf:?}");
    }
    live::proof(&bench.broker);
}

/// The most that the agent's memory ever was is within bounds.
fn check_memory(agent: &Agent) {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    eprintln!("peak memory {} MiB", kib >> 10);
    assert!(kib << 10 < MEMORY_BYTES, "peak memory {} MiB", kib >> 10);
}

#[test]
fn a_broker_that_never_answers_costs_neither_packets_nor_memory() {
    if !environment::privileged() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::up().unwrap();
    let brokers = silent();
    let limit = Duration::from_secs(3);
    let settings = [("KAFKA__STREAMS", "transactions,ledger"), ("DRAIN_TIMEOUT", "3s")];
    let agent = live::run(&brokers, &settings);
    let perf = live::finish(live::start(&lab, &live::load(8, "silent")));
    live::wait_for(&agent, "records on disk", Duration::from_secs(5), |scrape| {
        scrape.records("transactions", "spooled") >= 2 * perf.completed
            && scrape.sum("dnscribe_spool_bytes", &[]) > 0
    });
    check_memory(&agent);

    let start = Instant::now();
    let end = agent.terminate().unwrap();
    let took = start.elapsed();
    assert!(took < limit + Duration::from_secs(2), "it took {took:?} to end\n{}", end.stderr);
    assert!(end.status.success(), "{}", end.stderr);
    let last = end.final_ledger().unwrap();
    let of = |name| ledger::counter(last, &["delivery", "kafka", "transactions", name]).unwrap();
    assert!(of("records") >= 2 * perf.completed, "{last:#}");
    assert_eq!(of("spooled"), of("records"), "{last:#}");
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
}

/// The address of a broker that takes every connection and reads what it is sent, for ever.
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
