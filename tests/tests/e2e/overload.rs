//! Overload: the agent samples whole transactions, keeps exact totals, and returns to normal.

use crate::support::lab;
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger::counter;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;
use std::thread;
use std::time::Duration;

const SAMPLING_STARTED: &str = "overloaded: sampling UDP transactions";
const SAMPLING_ENDED: &str = "all transactions are exported again";

/// Pause of the agent, so that a flood fills its ring on any machine.
const HELD_UP: Duration = Duration::from_millis(300);
const RECORD_LIMIT: Duration = Duration::from_mins(1);

#[test]
fn samples_whole_transactions_with_exact_totals() {
    check_sampling("1");
}

#[test]
fn samples_equally_with_several_threads() {
    check_sampling("3");
}

fn await_that(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    shell::wait_for(what, limit, || Ok(condition().then_some(()))).unwrap();
}

fn check_sampling(threads: &str) {
    let Some((lab, _alone)) = lab() else { return };
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--stream", "transactions,metrics,ledger", "--query-timeout", "500ms"]);
    command.env("DNSCRIBE_CAPTURE__THREADS", threads).env("DNSCRIBE_SAMPLING__MODE", "auto");
    let agent = Agent::start(command.env("DNSCRIBE_CAPTURE__RING_BYTES", "256KiB")).unwrap();
    let perf = flood(&agent, &lab);
    let is_over = || {
        let (_, page) = agent.get("/metrics").unwrap();
        page.lines().any(|line| line == "dnscribe_sampling_ratio 1")
    };
    await_that("the end of sampling", 3 * RECORD_LIMIT, is_over);
    await_that("the log line", RECORD_LIMIT, || agent.log().contains(SAMPLING_ENDED));
    let (_, health) = agent.get("/healthz").unwrap();
    assert!(health.contains("warn  sampling"), "{health}");
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let record = end.final_ledger().unwrap();
    let of = |path: &[&str]| counter(record, path).unwrap();
    let (sampled, lost) =
        (of(&["kernel", "cgroup", "sampled_out"]), of(&["kernel", "cgroup", "lost_ring_full"]));
    assert!(sampled > 0, "{record:#}");
    let not_exported = ["queries", "responses", "segments", "other"];
    let not_exported: u64 =
        not_exported.iter().map(|name| of(&["sampling", "not_exported", name])).sum();
    assert_eq!(not_exported, sampled + lost, "{record:#}");
    assert_eq!(record["sampling"]["ratio"], 1.0);

    check_exact_totals(&end, &lab, &perf);
    check_whole_transactions(&end, &lab, &perf, lost);
}

/// Sends 30,000 queries, which takes six seconds at least; pauses the agent for a part of that time.
fn flood(agent: &Agent, lab: &Lab) -> DnsperfReport {
    let load = Load { queries: 30_000, qps: Some(5_000), clients: 8, ..Load::mixed() };
    let child = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load).unwrap();
    agent.wait_for("the first transactions", RECORD_LIMIT, |records| records.len() > 50).unwrap();
    agent.signal(Signal::STOP).unwrap();
    thread::sleep(HELD_UP);
    agent.signal(Signal::CONT).unwrap();
    await_that("sampling", RECORD_LIMIT, || agent.log().contains(SAMPLING_STARTED));
    let output = child.wait_with_output().unwrap();
    DnsperfReport::parse(&String::from_utf8_lossy(&output.stdout)).unwrap()
}

/// Checks the client's queries to the resolver, summed over all windows of ten seconds.
fn check_exact_totals(end: &EndedAgent, lab: &Lab, perf: &DnsperfReport) {
    let resolver = lab.resolver_addr().to_string();
    let windows = end.records_of("dns.window/1").filter(|record| {
        record["grouping"] == "resolver"
            && record["resolver"] == resolver.as_str()
            && record["vantage"] == "client"
            && record["transport"] == "udp"
            && record["window_seconds"] == 10
            && record["step_seconds"] == 10
    });
    let (mut queries, mut responses, mut codes, mut is_estimated) = (0, 0, 0, false);
    for window in windows {
        let number = |value: &Value| value.as_u64().unwrap();
        let all = |codes: &Value| -> u64 {
            codes.as_array().unwrap().iter().map(|code| number(&code["count"])).sum()
        };
        if let Some(exact) = window.get("exact") {
            queries += number(&exact["queries"]);
            responses += number(&exact["responses"]);
            codes += all(&exact["rcodes"]);
        } else {
            queries += number(&window["queries"]) + number(&window["retries"]);
            responses += all(&window["rcodes"]);
            codes += all(&window["rcodes"]);
        }
        if let Some(estimate) = window.get("estimated_transactions") {
            let [low, value, high] =
                ["low", "value", "high"].map(|name| estimate[name].as_f64().unwrap());
            assert!(low <= value && value <= high, "{estimate}");
            let ratio = window["sample_ratio"].as_f64().unwrap();
            assert!(0.0 < ratio && ratio < 1.0, "{window:#}");
            is_estimated = true;
        }
    }
    assert!(is_estimated, "no window mentions sampling");
    let late =
        end.records_of("dns.window/1").filter_map(|record| record["late_total"].as_u64()).max();
    assert_eq!((queries, late), (perf.sent, Some(0)), "{perf:?}");
    assert!((perf.completed..=perf.sent).contains(&responses), "{responses}: {perf:?}");
    assert_eq!(codes, responses);
}

/// Checks that sampling splits no transaction: lost packets explain every half transaction.
fn check_whole_transactions(end: &EndedAgent, lab: &Lab, perf: &DnsperfReport, lost: u64) {
    let client = lab.client_addr().to_string();
    let own = || end.records_of("dns.transaction/1").filter(|record| record["client_ip"] == client);
    let count = |wanted: &dyn Fn(&Value) -> bool| own().filter(|record| wanted(record)).count();
    let halves = count(&|record| record["status"] == "timeout")
        + count(&|record| record["status"] == "orphan" && record["orphan_reason"] != "sampled");
    // A query that dnsperf gave up is a timeout in both vantages.
    let allowed = lost + 2 * (perf.sent - perf.completed);
    assert!(halves as u64 <= allowed, "{halves} half transactions, {allowed} explained");
    let sampled = |record: &Value| record["sample_ratio"].as_f64().is_some_and(|ratio| ratio < 1.0);
    assert!(count(&sampled) > 0, "no transaction represents others");
}
