//! More than can be handled: whole transactions, exact totals, and back to normal.

use crate::support::lab;
use dnscribe_tests::agent::{Agent, Finished};
use dnscribe_tests::dnsperf::{Load, Perf};
use dnscribe_tests::environment;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger::counter;
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;
use std::thread;
use std::time::Duration;

const BEGAN: &str = "overloaded: sampling UDP transactions";
const ENDED: &str = "all transactions are exported again";

/// How long the agent is held up, so that a flood fills its ring whatever the machine can do.
const HELD_UP: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_flood_is_thinned_by_whole_transactions_and_counted_exactly() {
    thins_a_flood("1");
}

#[test]
fn a_flood_is_thinned_alike_for_several_threads() {
    thins_a_flood("3");
}

fn thins_a_flood(threads: &str) {
    let Some((lab, _alone)) = lab() else { return };
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--stream", "transactions,metrics,ledger", "--query-timeout", "500ms"]);
    command.env("DNSCRIBE_CAPTURE__THREADS", threads);
    let agent = Agent::start(command.env("DNSCRIBE_CAPTURE__RING_BYTES", "256KiB")).unwrap();
    let perf = flood(&agent, &lab);
    let is_over = || {
        let (_, page) = agent.get("/metrics").unwrap();
        page.lines().any(|line| line == "dnscribe_sampling_ratio 1")
    };
    agent.wait_for("the end of sampling", 3 * SOON, |_| is_over()).unwrap();
    agent.wait_for("word of it", SOON, |_| agent.log().contains(ENDED)).unwrap();
    let (_, health) = agent.get("/healthz").unwrap();
    assert!(health.contains("warn  sampling"), "{health}");
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    let record = end.final_ledger().unwrap();
    let of = |path: &[&str]| counter(record, path).unwrap();
    let (sampled, lost) =
        (of(&["kernel", "cgroup", "sampled_out"]), of(&["kernel", "cgroup", "lost_ring_full"]));
    assert!(sampled > 0, "{record:#}");
    let untold = ["queries", "responses", "segments", "other"];
    let untold: u64 = untold.iter().map(|name| of(&["sampling", "untold", name])).sum();
    assert_eq!(untold, sampled + lost, "{record:#}");
    assert_eq!(record["sampling"]["ratio"], 1.0);

    exact_totals(&end, &lab, &perf);
    whole_transactions(&end, &lab, &perf, lost);
}

/// Twelve thousand queries, on the way of which the agent is held up for a while.
fn flood(agent: &Agent, lab: &Lab) -> Perf {
    let load = Load { queries: 12_000, qps: Some(5_000), clients: 8, ..Load::mixed() };
    let child = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load).unwrap();
    agent.wait_for("the first transactions", SOON, |records| records.len() > 50).unwrap();
    agent.signal(Signal::STOP).unwrap();
    thread::sleep(HELD_UP);
    agent.signal(Signal::CONT).unwrap();
    agent.wait_for("sampling", SOON, |_| agent.log().contains(BEGAN)).unwrap();
    let output = child.wait_with_output().unwrap();
    Perf::parse(&String::from_utf8_lossy(&output.stdout)).unwrap()
}

/// The sum over all windows of ten seconds of what the client's side has seen of the resolver.
fn exact_totals(end: &Finished, lab: &Lab, perf: &Perf) {
    let resolver = lab.resolver_addr().to_string();
    let windows = end.of("dns.window/1").filter(|record| {
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
    assert!(is_estimated, "no window tells of sampling");
    let late = end.of("dns.window/1").filter_map(|record| record["late_total"].as_u64()).max();
    assert_eq!((queries, late), (perf.sent, Some(0)), "{perf:?}");
    assert!((perf.completed..=perf.sent).contains(&responses), "{responses}: {perf:?}");
    assert_eq!(codes, responses);
}

/// Sampling splits no transaction: every half one is explained by a packet that was lost.
fn whole_transactions(end: &Finished, lab: &Lab, perf: &Perf, lost: u64) {
    let client = lab.client_addr().to_string();
    let own = || end.of("dns.transaction/1").filter(|record| record["client_ip"] == client);
    let count = |wanted: &dyn Fn(&Value) -> bool| own().filter(|record| wanted(record)).count();
    let halves = count(&|record| record["status"] == "timeout")
        + count(&|record| record["status"] == "orphan" && record["orphan_reason"] != "sampled");
    // What dnsperf gave up is a timeout to both views.
    let allowed = lost + 2 * (perf.sent - perf.completed);
    assert!(halves as u64 <= allowed, "{halves} half transactions, {allowed} explained");
    let sampled = |record: &Value| record["sample_ratio"].as_f64().is_some_and(|ratio| ratio < 1.0);
    assert!(count(&sampled) > 0, "no transaction says that it stands for others");
}
