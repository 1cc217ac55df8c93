//! Lookups of real stub resolvers.

use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::{Host, Lab};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A search list like those of Kubernetes.
const SEARCH: &str =
    "search shop.svc.cluster.test svc.cluster.test cluster.test\noptions ndots:5\n";

fn agent() -> Agent {
    let streams = ["--stream", "transactions,lookups,ledger", "--query-timeout", "2s"];
    Agent::run(&streams).unwrap()
}

/// Returns the lookups of the lab's client, in the order of their first queries.
fn lookups(records: &[Value], lab: &Lab) -> Vec<Value> {
    let client = lab.client_addr().to_string();
    let is_ours =
        |record: &&Value| record["schema"] == "dns.lookup/1" && record["client_ip"] == client;
    let mut lookups: Vec<Value> = records.iter().filter(is_ours).cloned().collect();
    lookups.sort_by_key(|lookup| lookup["ts"].as_str().map(str::to_owned));
    lookups
}

/// Waits for `count` lookups of the lab's client.
fn wait_for(agent: &Agent, lab: &Lab, count: usize) -> Vec<Value> {
    let enough = |records: &[Value]| lookups(records, lab).len() >= count;
    let records = agent.wait_for("the lookups", RECORD_LIMIT, enough).unwrap();
    let lookups = lookups(&records, lab);
    assert_eq!(lookups.len(), count, "{lookups:#?}");
    lookups
}

fn run(lab: &Lab, words: &[&str]) {
    let output = lab.run(Host::Client, words).unwrap();
    let reported = String::from_utf8_lossy(&output.stderr);
    assert!(!reported.contains("not found") && !reported.contains("No such file"), "{reported}");
}

/// Returns the main counts of a lookup.
fn figures(lookup: &Value) -> Value {
    let fields = ["transactions", "packets", "packets_wasted", "search_expansions", "retries"];
    Value::Array(fields.iter().map(|field| lookup[field].clone()).collect())
}

/// Checks that every transaction of the lab's client is in exactly one lookup, without the
/// resolver's own queries.
fn check_membership(end: &EndedAgent, lab: &Lab) {
    let client = lab.client_addr().to_string();
    let ids = |value: &Value| value["event_id"].as_str().unwrap().to_owned();
    let without_query = ["late", "duplicate", "orphan"].map(Value::from);
    let own: BTreeSet<String> = end
        .records_of("dns.transaction/1")
        .filter(|record| record["vantage"] == "client" && record["client_ip"] == client)
        .filter(|record| !without_query.contains(&record["status"]))
        .map(ids)
        .collect();
    let mut reported = BTreeSet::new();
    for lookup in lookups(&end.records, lab) {
        let members = lookup["transaction_ids"].as_array().unwrap();
        assert_eq!(members.len() as u64, lookup["transactions"].as_u64().unwrap(), "{lookup}");
        for id in members {
            assert!(reported.insert(id.as_str().unwrap().to_owned()), "in two lookups: {id}");
        }
    }
    assert_eq!(reported, own);
    let parented = end
        .records_of("dns.transaction/1")
        .filter(|record| record.get("parent_event_id").is_some());
    let parented: BTreeSet<String> = parented.map(ids).collect();
    for lookup in end.records_of("dns.lookup/1") {
        let members = lookup["transaction_ids"].as_array().unwrap();
        assert!(members.iter().all(|id| !parented.contains(id.as_str().unwrap())), "{lookup}");
    }
}

#[test]
fn counts_search_list_as_waste_of_one_lookup() {
    let Some((lab, _alone)) = lab() else { return };
    let nameserver = format!("nameserver {}\n", lab.resolver_addr());
    let _stub = lab.configure_stub(Host::Client, &(nameserver + SEARCH)).unwrap();
    let agent = agent();
    for name in ["www.example.com", "web", "www.example.com.", "alias.example.com"] {
        run(&lab, &["getent", "ahosts", name]);
    }
    let lookups = wait_for(&agent, &lab, 4);
    let [whole, missing, absolute, alias] = lookups.as_slice() else { panic!("{lookups:#?}") };

    assert_eq!(figures(whole), json!([8, 8, 6, 3, 0]), "{whole}");
    let named = ["qname", "outcome", "answered_name", "rcode"].map(|field| whole[field].clone());
    assert_eq!(named, ["www.example.com", "answered", "www.example.com", "NOERROR"]);
    assert_eq!(whole["qtypes"], json!(["A", "AAAA"]));
    assert_eq!(whole["addresses"], json!(["192.0.2.80", "2001:db8::80"]));
    assert_eq!(whole["resolvers"], json!([lab.resolver_addr().to_string()]));
    assert_eq!(
        whole["names_tried"],
        json!([
            "www.example.com.shop.svc.cluster.test",
            "www.example.com.svc.cluster.test",
            "www.example.com.cluster.test",
            "www.example.com"
        ])
    );
    assert_eq!(
        (&whole["process"]["comm"], &whole["vantage"]),
        (&json!("getent"), &json!("client"))
    );

    assert_eq!(figures(missing), json!([8, 8, 6, 3, 0]), "{missing}");
    assert_eq!((&missing["qname"], &missing["outcome"]), (&json!("web"), &json!("nxdomain")));

    assert_eq!(figures(absolute), json!([2, 2, 0, 0, 0]), "{absolute}");
    assert_eq!(figures(alias), json!([8, 8, 6, 3, 0]), "{alias}");
    assert_eq!(alias["cname_chain"], json!(["www.example.com"]), "{alias}");

    let (_, page) = agent.get("/metrics").unwrap();
    let of_pods =
        page.lines().filter(|line| line.starts_with("dnscribe_lookup_wasted_queries_total{"));
    let wasted = of_pods.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    assert!(wasted.sum::<u64>() >= 18, "{page}");
    let end = agent.terminate().unwrap();
    end.final_ledger().unwrap();
    check_membership(&end, &lab);
}

#[test]
fn reports_name_that_search_list_found() {
    let Some((lab, _alone)) = lab() else { return };
    let text = format!(
        "nameserver {}\nsearch no.example.com example.com\noptions single-request\n",
        lab.resolver_addr()
    );
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let agent = agent();
    // The second call requests one address family only.
    run(&lab, &["getent", "ahosts", "www"]);
    run(&lab, &["getent", "ahostsv4", "mail"]);
    let lookups = wait_for(&agent, &lab, 2);
    for (lookup, name) in lookups.iter().zip(["www", "mail"]) {
        let wasted = if name == "www" { 2 } else { 1 };
        assert_eq!(lookup["qname"], name, "{lookup}");
        assert_eq!(lookup["answered_name"], format!("{name}.example.com"), "{lookup}");
        assert_eq!(figures(lookup), json!([2 * wasted, 2 * wasted, wasted, 2, 0]), "{lookup}");
    }
    check_membership(&agent.terminate().unwrap(), &lab);
}

#[test]
fn counts_retry_on_next_server() {
    let Some((lab, _alone)) = lab() else { return };
    let text = format!(
        "nameserver {}\nnameserver {}\noptions timeout:1 attempts:2\n",
        lab.blackhole_addr(),
        lab.resolver_addr()
    );
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let agent = agent();
    run(&lab, &["getent", "ahosts", "www.example.com"]);
    let lookups = wait_for(&agent, &lab, 1);
    let lookup = &lookups[0];
    assert_eq!(figures(lookup), json!([4, 4, 2, 0, 2]), "{lookup}");
    assert_eq!((&lookup["outcome"], &lookup["servers_tried"]), (&json!("answered"), &json!(2)));
    let servers = [lab.blackhole_addr(), lab.resolver_addr()].map(|server| server.to_string());
    assert_eq!(lookup["resolvers"], json!(servers));
    let waited = lookup["duration_ms"].as_f64().unwrap();
    assert!(waited >= 1000.0, "glibc waits a second before it uses the next server: {waited}");
    assert!(lookup.get("partial").is_none(), "{lookup}");
    check_membership(&agent.terminate().unwrap(), &lab);
}

#[test]
fn tcp_retry_belongs_to_same_lookup() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent();
    lab.dig(&["big.example.com", "TXT"]).unwrap();
    let lookups = wait_for(&agent, &lab, 1);
    assert_eq!(figures(&lookups[0]), json!([2, 2, 0, 0, 0]), "{}", lookups[0]);
    assert_eq!(lookups[0]["tcp_fallback"], true);
    assert_eq!(lookups[0]["outcome"], "answered");
    check_membership(&agent.terminate().unwrap(), &lab);
}
