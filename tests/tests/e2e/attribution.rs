//! Attribution of clients and servers: a mixed workload of processes that identify themselves in
//! every name and address. Each process must be found, and no other may be named.

mod workload;

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::{agent, lab};
use dnscribe_tests::agent::EndedAgent;
use dnscribe_tests::{ledger, worker};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use workload::{Expected, Workload};

/// Result for one role.
#[derive(Default)]
struct RoleResult {
    right: u64,
    /// Transactions without an executable, which is allowed.
    without_exe: u64,
    wrong: Vec<String>,
}

#[test]
fn attributes_every_transaction_correctly() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_special_addresses().unwrap();
    let isolated = IsolatedCgroup::enter(&lab);
    let mut workload = Workload::new(&lab, isolated.directory());
    workload.start_servers();
    workload.open_early_sockets();
    let agent = agent(&[&isolated.options()[..], &["--query-timeout", "2s"]].concat());
    workload.start_workers();
    let expected = workload.finish();
    let end = agent.terminate().unwrap();

    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0);
    let (clients, asked) = check_clients(&end, &expected);
    let servers = check_servers(&end, &expected);
    let processes: BTreeSet<&str> =
        asked.iter().filter_map(|name| name.split('.').nth(1)).collect();
    let mut report = Vec::new();
    for (what, results) in [("client", &clients), ("server", &servers)] {
        for (role, result) in results {
            let RoleResult { right, without_exe, wrong } = result;
            let bad = wrong.len();
            report.push(format!(
                "{what} {role}: {right} right, {without_exe} without exe, {bad} wrong"
            ));
            report.extend(wrong.iter().take(3).map(|wrong| format!("    {wrong}")));
        }
    }
    for (role, queries) in &expected.queries {
        let suffix = format!(".{role}.{}", expected.suffix);
        let seen = asked.iter().filter(|name| name.ends_with(&suffix)).count();
        if seen != *queries {
            report.push(format!("client {role}: {seen} of {queries} queries were seen"));
        }
    }
    let results = clients.values().chain(servers.values());
    let wrong: usize = results.map(|result| result.wrong.len()).sum();
    let all = asked.len() == expected.queries.values().sum::<usize>();
    let enough = processes.len() >= 50 && !servers.is_empty();
    assert!(wrong == 0 && all && enough, "{} processes\n{}", processes.len(), report.join("\n"));
    eprintln!("{} processes\n{}", processes.len(), report.join("\n"));
}

/// Checks the client side by role; returns the results and every question found there.
fn check_clients(
    end: &EndedAgent,
    expected: &Expected,
) -> (BTreeMap<String, RoleResult>, BTreeSet<String>) {
    let (mut results, mut asked) = (BTreeMap::<String, RoleResult>::new(), BTreeSet::new());
    for record in end.records_of("dns.transaction/1").filter(|record| record["vantage"] == "client")
    {
        let qname = record["qname"].as_str().unwrap_or_default();
        let Some(words) = qname.strip_suffix(&format!(".{}", expected.suffix)) else { continue };
        let words: Vec<&str> = words.split('.').collect();
        let [pid, comm, exe, role] = words[1..].try_into().unwrap();
        asked.insert(format!("{} {qname}", record["qtype"].as_str().unwrap_or_default()));
        let process = &record["process"];
        let result = results.entry(role.to_owned()).or_default();
        let mut wrong = Vec::new();
        let mut compare = |what: &str, seen: String, said: &str| {
            if seen != said {
                wrong.push(format!("{what} {seen}, not {said}"));
            }
        };
        compare("pid", format!("p{}", process["pid"]), pid);
        compare("comm", format!("c{}", process["comm"].as_str().unwrap_or_default()), comm);
        compare("uid", process["uid"].to_string(), &Expected::uid(role).to_string());
        compare(
            "container",
            record["container"].to_string(),
            &expected.container(role).to_string(),
        );
        match process["exe"].as_str() {
            Some(path) => compare("exe", worker::short_hash(path), exe),
            None => result.without_exe += 1,
        }
        if wrong.is_empty() {
            result.right += 1;
        } else {
            result.wrong.push(format!("{qname}: {} ({})", wrong.join(", "), record["status"]));
        }
    }
    (results, asked)
}

/// Checks the server side by server.
fn check_servers(end: &EndedAgent, expected: &Expected) -> BTreeMap<String, RoleResult> {
    let mut results = BTreeMap::<String, RoleResult>::new();
    let suffix = format!(".{}", expected.suffix);
    let of_server = |record: &&Value| {
        record["vantage"] == "server"
            && record["qname"].as_str().is_some_and(|q| q.ends_with(&suffix))
    };
    for record in end.records_of("dns.transaction/1").filter(of_server) {
        let role = expected.servers[record["server_ip"].as_str().unwrap_or_default()];
        let result = results.entry(role.to_owned()).or_default();
        let address = record["answers"][0]["data"].as_str().map(str::parse::<Ipv4Addr>);
        let said = address.and_then(Result::ok).map(|address| u32::from_be_bytes(address.octets()));
        let process = &record["process"];
        let right = match said {
            Some(pid) => process["pid"] == pid && process["comm"] == "dns-worker",
            // No process answered: the owner of the socket may be named.
            None => process.is_null() || process["comm"] == "dns-worker",
        };
        if right {
            result.right += 1;
        } else {
            result.wrong.push(format!("{} by {process}, not {said:?}", record["qname"]));
        }
    }
    results
}
