//! Who asked, and who answered: a mixed workload of processes that each say who they are, in every
//! name and every address. All must be named, and nobody else.

mod crew;

use crate::apart::Apart;
use crate::support::{agent, lab};
use crew::{Crew, Wanted};
use dnscribe_tests::agent::Finished;
use dnscribe_tests::{ledger, worker};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What was found, by role.
#[derive(Default)]
struct Tally {
    right: u64,
    /// Executables that were not known, which is allowed.
    without_exe: u64,
    wrong: Vec<String>,
}

#[test]
fn every_transaction_is_attributed_and_none_wrongly() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_hazards().unwrap();
    let apart = Apart::enter(&lab);
    let mut crew = Crew::new(&lab, apart.directory());
    crew.serve();
    crew.open_early();
    let agent = agent(&[&apart.options()[..], &["--query-timeout", "2s"]].concat());
    crew.work();
    let wanted = crew.finish();
    let end = agent.terminate().unwrap();

    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0);
    let (clients, asked) = clients(&end, &wanted);
    let servers = servers(&end, &wanted);
    let processes: BTreeSet<&str> =
        asked.iter().filter_map(|name| name.split('.').nth(1)).collect();
    let mut report = Vec::new();
    for (what, tallies) in [("client", &clients), ("server", &servers)] {
        for (role, tally) in tallies {
            let Tally { right, without_exe, wrong } = tally;
            let bad = wrong.len();
            report.push(format!(
                "{what} {role}: {right} right, {without_exe} without exe, {bad} wrong"
            ));
            report.extend(wrong.iter().take(3).map(|wrong| format!("    {wrong}")));
        }
    }
    for (role, queries) in &wanted.queries {
        let suffix = format!(".{role}.{}", wanted.suffix);
        let seen = asked.iter().filter(|name| name.ends_with(&suffix)).count();
        if seen != *queries {
            report.push(format!("client {role}: {seen} of {queries} queries were seen"));
        }
    }
    let tallies = clients.values().chain(servers.values());
    let wrong: usize = tallies.map(|tally| tally.wrong.len()).sum();
    let all = asked.len() == wanted.queries.values().sum::<usize>();
    let enough = processes.len() >= 50 && !servers.is_empty();
    assert!(wrong == 0 && all && enough, "{} processes\n{}", processes.len(), report.join("\n"));
    eprintln!("{} processes\n{}", processes.len(), report.join("\n"));
}

/// The client's side by role, and every question that was seen there.
fn clients(end: &Finished, wanted: &Wanted) -> (BTreeMap<String, Tally>, BTreeSet<String>) {
    let (mut tallies, mut asked) = (BTreeMap::<String, Tally>::new(), BTreeSet::new());
    for record in end.of("dns.transaction/1").filter(|record| record["vantage"] == "client") {
        let qname = record["qname"].as_str().unwrap_or_default();
        let Some(words) = qname.strip_suffix(&format!(".{}", wanted.suffix)) else { continue };
        let words: Vec<&str> = words.split('.').collect();
        let [pid, comm, exe, role] = words[1..].try_into().unwrap();
        asked.insert(format!("{} {qname}", record["qtype"].as_str().unwrap_or_default()));
        let process = &record["process"];
        let tally = tallies.entry(role.to_owned()).or_default();
        let mut wrong = Vec::new();
        let mut compare = |what: &str, seen: String, said: &str| {
            if seen != said {
                wrong.push(format!("{what} {seen}, not {said}"));
            }
        };
        compare("pid", format!("p{}", process["pid"]), pid);
        compare("comm", format!("c{}", process["comm"].as_str().unwrap_or_default()), comm);
        compare("uid", process["uid"].to_string(), &Wanted::uid(role).to_string());
        compare("container", record["container"].to_string(), &wanted.container(role).to_string());
        match process["exe"].as_str() {
            Some(path) => compare("exe", worker::mark(path), exe),
            None => tally.without_exe += 1,
        }
        if wrong.is_empty() {
            tally.right += 1;
        } else {
            tally.wrong.push(format!("{qname}: {} ({})", wrong.join(", "), record["status"]));
        }
    }
    (tallies, asked)
}

/// The server's side by server.
fn servers(end: &Finished, wanted: &Wanted) -> BTreeMap<String, Tally> {
    let mut tallies = BTreeMap::<String, Tally>::new();
    let suffix = format!(".{}", wanted.suffix);
    let of_server = |record: &&Value| {
        record["vantage"] == "server"
            && record["qname"].as_str().is_some_and(|q| q.ends_with(&suffix))
    };
    for record in end.of("dns.transaction/1").filter(of_server) {
        let role = wanted.servers[record["server_ip"].as_str().unwrap_or_default()];
        let tally = tallies.entry(role.to_owned()).or_default();
        let address = record["answers"][0]["data"].as_str().map(str::parse::<Ipv4Addr>);
        let said = address.and_then(Result::ok).map(|address| u32::from_be_bytes(address.octets()));
        let process = &record["process"];
        let right = match said {
            Some(pid) => process["pid"] == pid && process["comm"] == "dns-worker",
            // Nobody has answered: the owner of the socket, if anybody.
            None => process.is_null() || process["comm"] == "dns-worker",
        };
        if right {
            tally.right += 1;
        } else {
            tally.wrong.push(format!("{} by {process}, not {said:?}", record["qname"]));
        }
    }
    tallies
}
