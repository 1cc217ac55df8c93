//! Upgrade without a gap: the new agent starts before the old one ends.

use crate::support::{RECORD_LIMIT, agent, lab};
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::Host;
use dnscribe_tests::ledger;
use serde_json::Value;
use std::collections::BTreeSet;

/// Queries of the load, at 1,500 a second.
const QUERIES: u32 = 9000;

/// A query: its name, port and id.
type Query = (String, u64, u64);

fn query(record: &Value) -> Query {
    let number = |name: &str| record[name].as_u64().unwrap();
    (record["qname"].as_str().unwrap().to_owned(), number("client_port"), number("id"))
}

#[test]
fn two_agents_one_after_the_other_miss_nothing() {
    let Some((lab, _alone)) = lab() else { return };
    let suffix = "upgrade.wild.example.com";
    let load =
        Load { queries: QUERIES, qps: Some(1500), suffix: suffix.to_owned(), ..Load::default() };
    let old = agent(&[]);
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load).unwrap();
    let is_of_load =
        |record: &Value| record["qname"].as_str().is_some_and(|name| name.ends_with(suffix));
    old.wait_for("traffic", RECORD_LIMIT, |records| records.iter().any(is_of_load)).unwrap();
    // It returns once the agent is ready.
    let new = agent(&[]);
    let old = old.terminate().unwrap();
    let perf = DnsperfReport::wait(queries).unwrap();
    let new = new.terminate().unwrap();

    for end in [&old, &new] {
        assert!(end.status.success(), "{}", end.stderr);
        let record = end.final_ledger().unwrap();
        assert_eq!(ledger::losses(record).unwrap(), 0, "{record:#}");
    }
    for vantage in ["client", "server"] {
        let answered = [&old, &new].map(|end| -> BTreeSet<Query> {
            let records = end.records_of("dns.transaction/1");
            let records = records.filter(|record| {
                record["vantage"] == vantage
                    && record["status"] == "answered"
                    && record["client_ip"] == lab.client_addr().to_string()
                    && is_of_load(record)
            });
            records.map(query).collect()
        });
        let [old, new] = &answered;
        assert!(!old.is_empty() && !new.is_empty(), "both captured");
        assert_eq!(old.union(new).count() as u64, perf.completed, "{vantage}");
    }
}
