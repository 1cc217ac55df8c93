//! Windows of live traffic, compared with its transactions.

use crate::support::lab;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::environment;
use dnscribe_tests::windows::{Options, verify};
use serde_json::Value;
use std::fs;

#[test]
fn windows_of_load_match_its_transactions() {
    let Some((lab, _alone)) = lab() else { return };
    let words = ["--stream", "transactions,metrics,ledger", "--query-timeout", "500ms"];
    let agent = Agent::run(&words).unwrap();
    let load = Load { queries: 5_000, qps: Some(1_000), ..Load::mixed() };
    let perf = lab.dnsperf(&load).unwrap();
    let (_, page) = agent.get("/metrics").unwrap();
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);

    // All names of `Load::mixed` fit into the windows; those of others on this host may not.
    let verified = verify(&end.records, Options { edns: false, all_named: false }).unwrap();
    assert!(verified.transactions as u64 >= perf.completed, "{verified:?} {perf:?}");
    let late: Vec<&Value> =
        end.records_of("dns.window/1").map(|record| &record["late_total"]).collect();
    assert!(late.iter().all(|late| **late == 0), "{late:?}");
    let total = format!("dnscribe_windows_late_total {}", late.last().unwrap());
    assert!(page.lines().any(|line| line == total), "{page}");

    let dictionary = fs::read_to_string(environment::workspace().join("docs/metrics.md")).unwrap();
    for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(dictionary.contains(&format!("**`{name}`**")), "{name} is not in docs/metrics.md");
    }
}
