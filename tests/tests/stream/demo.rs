//! What `stack up --demo` adds to the stack: live DNS becomes rows.

use crate::accounts;
use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::stack::{Component, Stack};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Time within which a new user sees rows.
const ROWS: Duration = Duration::from_mins(2);

#[test]
fn rows_flow_from_live_dns() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    // The second start changes nothing.
    for _ in 0..2 {
        running.change(Stack::start_demo).unwrap();
    }
    let query = "SELECT countIf(rcode = 'NOERROR') > 50 AND countIf(rcode = 'NXDOMAIN') > 5
        FROM dns_transactions FINAL WHERE node = 'demo'";
    let rows = shell::wait_for("rows of live transactions", ROWS, || {
        thread::sleep(Duration::from_millis(500));
        Ok((running.clickhouse(query) == ["1"]).then_some(()))
    });
    if rows.is_ok() {
        check_documented_queries(&running);
        // While records arrive, as in production.
        accounts::check_balance(&running);
        check_report(&running);
    }
    running.change(Stack::stop_demo).unwrap();
    rows.unwrap();
    accounts::check(&running);
}

/// The jobs' `topics` ran before the agents' `kafka init`, which must find its topics as it would have created them.
#[test]
fn topics_are_those_of_the_agents() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    let mut init = Command::new(environment::binary().unwrap());
    init.args(["kafka", "init", "-o", "json", "--brokers", running.brokers()]);
    let report: Value = serde_json::from_slice(&shell::output(&mut init).unwrap().stdout).unwrap();
    let topics = report["topics"].as_array().unwrap();
    for name in ["dns.normalized", "dns.metrics", "dns.probes", "dns.alerts", "dns.dlq"] {
        let topic = topics.iter().find(|topic| topic["topic"] == name).unwrap();
        assert_eq!(topic["outcome"], "exists", "{topic:#}");
    }
}

/// Waits until `dnscribe report --store` has the queries of the demo's resolver.
fn check_report(running: &Running) {
    let mut report = Command::new(environment::binary().unwrap());
    report.args(["report", "--since", "10m"]).stdin(Stdio::null());
    for component in [Component::ClickHouse, Component::TimescaleDb] {
        report.args(["--store", running.stack().address(component).unwrap().as_str().unwrap()]);
    }
    shell::wait_for("the report of what is stored", CAUGHT_UP, || {
        let text = String::from_utf8(shell::output(&mut report)?.stdout)?;
        Ok(text.contains("198.18.").then_some(()))
    })
    .unwrap();
}

/// Runs the statements of the page of queries for `TimescaleDB` and `InfluxDB`.
fn check_documented_queries(running: &Running) {
    let page = environment::workspace().join("docs/queries.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = |language: &str| -> Vec<String> {
        let begin = format!("```{language}\n");
        let blocks = page.split(&begin).skip(1);
        blocks.map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect()
    };
    let [sql, flux] = ["postgresql", "flux"].map(blocks);
    assert_eq!((sql.len(), flux.len()), (4, 2));
    for statement in sql {
        running.stack().timescaledb(&statement).unwrap();
    }
    for statement in flux {
        // Resolvers without a name are one point, once their windows are final.
        shell::wait_for(&statement, CAUGHT_UP, || {
            thread::sleep(Duration::from_secs(1));
            Ok(running.influxdb(&statement).contains("_value").then_some(()))
        })
        .unwrap();
    }
}
