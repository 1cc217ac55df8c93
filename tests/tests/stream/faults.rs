//! Processes of the stack are killed and suspended and disks are full while records arrive. The task manager is killed
//! in `commits`, at the worst moments.

use crate::accounts;
use crate::running::{ANSWER, CAUGHT_UP, Running, STORES, Shared};
use dnscribe_tests::shell;
use dnscribe_tests::stack::{Component, jobs};
use std::thread;
use std::time::Duration;

/// How long a store is suspended beyond the time that the jobs wait for an answer of `PostgreSQL`.
const SUSPENDED: Duration = Duration::from_secs(3);
/// How long a store is away or full: some attempts of the jobs.
const AWAY: Duration = Duration::from_secs(5);

#[test]
fn nothing_is_lost_when_the_job_manager_is_killed() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.alone();
    let load = running.load();
    running.checkpoints(1);
    running.flink().job_manager().kill().unwrap();
    running.start_all();
    running.checkpoints(1);
    drop(load);
    accounts::check(&running);
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.alone();
    let load = running.load();
    running.checkpoints(1);
    running.stack().broker().unwrap().kill().unwrap();
    thread::sleep(AWAY);
    running.start_all();
    running.checkpoints(1);
    drop(load);
    accounts::check(&running);
}

#[test]
fn nothing_is_lost_when_stores_are_suspended_killed_and_full() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.alone();
    let load = running.load();
    running.checkpoints(1);
    let stores = [Component::TimescaleDb, Component::InfluxDb, Component::ClickHouse];
    for store in stores {
        running.stack().service(store).unwrap().freeze().unwrap();
    }
    thread::sleep(ANSWER + SUSPENDED);
    for store in stores {
        running.stack().service(store).unwrap().thaw().unwrap();
    }
    running.checkpoints(2);
    for store in stores {
        running.stack().service(store).unwrap().kill().unwrap();
    }
    thread::sleep(AWAY);
    running.start_all();
    running.checkpoints(2);
    for (store, _) in STORES {
        running.fill_disk(store);
    }
    assert_refused(&running);
    thread::sleep(AWAY);
    for (store, _) in STORES {
        running.empty_disk(store);
    }
    // PostgreSQL ends if it cannot write its log.
    running.start_all();
    running.checkpoints(1);
    drop(load);
    accounts::check(&running);
}

#[test]
fn a_store_that_is_away_delays_itself_alone() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.alone();
    let load = running.load();
    running.checkpoints(1);
    for (store, name) in [
        (Component::ClickHouse, "store-clickhouse"),
        (Component::TimescaleDb, "store-timescaledb"),
        (Component::InfluxDb, "store-influxdb"),
    ] {
        running.stack().service(store).unwrap().freeze().unwrap();
        let written = |running: &Running| running.topic("dns.enriched").len();
        let before = written(&running);
        for job in jobs::JOBS.into_iter().chain(["store-archive"]).filter(|job| *job != name) {
            running.checkpoints_of(job, 2);
        }
        // The other stores have what the topic got meanwhile.
        let after = written(&running);
        assert!(after > before, "{name}: {after} records");
        for other in ["store-clickhouse", "store-archive"].into_iter().filter(|job| *job != name) {
            shell::wait_for(other, CAUGHT_UP, || {
                let ledger = running.ledger(other, "dns.enriched");
                let records =
                    ledger.and_then(|one| one["input"]["dns.enriched"]["unique"].as_u64());
                Ok((records >= Some(after as u64)).then_some(()))
            })
            .unwrap();
        }
        running.stack().service(store).unwrap().thaw().unwrap();
    }
    drop(load);
    accounts::check(&running);
}

/// Checks that a full disk is one: `PostgreSQL` takes no rows.
fn assert_refused(running: &Running) {
    let statement =
        "CREATE TABLE full_disk AS SELECT repeat('x', 2000) FROM generate_series(1, 10000)";
    let error = running.stack().timescaledb(statement).unwrap_err().to_string();
    assert!(error.contains("No space left") || error.contains("server closed"), "{error}");
}
