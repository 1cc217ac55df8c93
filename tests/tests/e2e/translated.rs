//! Queries whose destination is translated on their way out of the sender's own network namespace, as Services of
//! Kubernetes do it for programs of the node, Docker for its resolver, and a mesh for every query.

use crate::support::{RECORD_LIMIT, agent, lab};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::shell;
use serde_json::Value;
use std::net::IpAddr;

/// Port between the two translations, on which nothing is DNS.
const PORT: u16 = 40_123;

/// Translates the addresses where nothing answers to those of the resolver: to its port, and TCP and IPv6 of `moved` to
/// another port, which the resolver's host translates back.
fn translate(lab: &Lab) {
    let (four, six) = (lab.blackhole_addr(), lab.blackhole_ipv6());
    let resolver = lab.resolver_addr();
    let resolver_six = lab.address_v6(Host::Resolver);
    let table = |chain: &str| format!("table inet translation {{ chain nat {{ {chain} }}; }}");
    let out = table(&format!(
        "type nat hook output priority -100; \
         ip daddr {four} udp dport 53 dnat ip to {resolver}:53; \
         ip daddr {four} tcp dport 53 dnat ip to {resolver}:{PORT}; \
         ip6 daddr {six} udp dport 53 dnat ip6 to [{resolver_six}]:{PORT}; \
         ip6 daddr {six} tcp dport 53 dnat ip6 to [{resolver_six}]:53;"
    ));
    let back = table(&format!(
        "type nat hook prerouting priority -100; meta l4proto {{ tcp, udp }} th dport {PORT} redirect to :53;"
    ));
    for (host, table) in [(Host::Client, out), (Host::Resolver, back)] {
        shell::output(&mut lab.command(host, &["nft", &table])).unwrap();
    }
}

#[test]
fn answers_of_translated_resolvers_are_paired() {
    let Some((lab, _alone)) = lab() else { return };
    translate(&lab);
    let agent = agent(&[]);
    let (four, six) = (lab.blackhole_addr(), lab.blackhole_ipv6());
    let ways = [(four, "+notcp"), (four, "+tcp"), (six, "+notcp"), (six, "+tcp")];
    let name = |way: usize| format!("translated-{way}.wild.example.com");
    for (way, (service, transport)) in ways.iter().enumerate() {
        let words = ["dig", &format!("@{service}"), transport, "+tries=1", "+time=5", &name(way)];
        let output = lab.run(Host::Client, &words).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("status: NOERROR"), "{text}");
    }
    let clients = [lab.client_addr(), lab.address_v6(Host::Client).into()];
    let of = |records: &[Value], way: usize| -> Vec<Value> {
        let is = |record: &&Value| {
            // The resolver asks on.
            record["schema"] == "dns.transaction/1"
                && record["qname"] == name(way).as_str()
                && clients.iter().any(|client| record["client_ip"] == client.to_string())
        };
        records.iter().filter(is).cloned().collect()
    };
    // One at each end.
    let all = |records: &[Value]| (0..ways.len()).all(|way| of(records, way).len() >= 2);
    let records = agent
        .wait_for("all transactions", RECORD_LIMIT, all)
        .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.records()));
    for (way, (service, transport)) in ways.iter().enumerate() {
        let found = of(&records, way);
        let text = format!("{service} {transport}: {found:#?}");
        assert_eq!(found.len(), 2, "{text}");
        let resolver = match service {
            IpAddr::V4(_) => lab.resolver_addr(),
            IpAddr::V6(_) => lab.address_v6(Host::Resolver).into(),
        };
        for (vantage, server) in [("client", *service), ("server", resolver)] {
            let one = found.iter().find(|one| one["vantage"] == vantage);
            let one = one.unwrap_or_else(|| panic!("{vantage}: {text}"));
            assert_eq!(one["status"], "answered", "{text}");
            assert_eq!(one["server_ip"], server.to_string(), "{text}");
            assert_eq!(one["server_port"], 53, "{text}");
        }
    }
    agent.terminate().unwrap().final_ledger().unwrap();
}
