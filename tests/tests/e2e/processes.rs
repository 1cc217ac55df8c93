//! Who asked: every kind of process and socket.

use crate::support::{Client, RECORD_LIMIT, agent, is_transaction, lab, transaction};
use dnscribe_tests::lab::Host;

#[test]
fn attributes_query_to_short_lived_process() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let at = format!("@{}", lab.resolver_addr());
    let mut dig = lab.spawn(Host::Client, &["dig", &at, "www.example.com", "A"]).unwrap();
    let pid = dig.id();
    assert!(dig.wait().unwrap().success());

    let seen = transaction(&agent, &lab, "www.example.com");
    assert_eq!(seen["status"], "answered", "{seen}");
    assert_eq!(seen["rcode"], "NOERROR");
    assert_eq!(seen["transport"], "udp");
    assert_eq!(seen["server_ip"], lab.resolver_addr().to_string());
    assert_eq!(seen["server_port"], 53);
    assert_eq!(seen["qtype"], "A");
    assert_eq!(seen["zone"], "example.com");
    assert_eq!(seen["answers"][0]["data"], "192.0.2.80");
    assert_eq!(seen["process"]["pid"], pid);
    assert_eq!(seen["process"]["comm"], "dig");
    assert_eq!(seen["process"]["uid"], 0);
    agent.terminate().unwrap().final_ledger().unwrap();
}

#[test]
fn attributes_server_side_to_answering_process() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    lab.dig(&["www.example.com"]).unwrap();
    let wanted = |record: &serde_json::Value| {
        is_transaction(record, "server", lab.client_addr(), "www.example.com")
    };
    let records = agent
        .wait_for("the resolver's side", RECORD_LIMIT, |records| records.iter().any(wanted))
        .unwrap();
    let seen = records.iter().find(|record| wanted(record)).unwrap();
    assert_eq!(seen["status"], "answered", "{seen}");
    assert_eq!(seen["process"]["comm"], "unbound");
}

#[test]
fn attributes_socket_opened_before_start() {
    let Some((lab, _alone)) = lab() else { return };
    for mode in ["connected", "unconnected"] {
        let mut client = Client::start(&lab, mode, lab.resolver_addr());
        let agent = agent(&[]);
        let name = format!("{mode}-early.wild.example.com");
        assert_eq!(client.ask(&name), (client.pid(), "answered".to_owned()));
        let seen = transaction(&agent, &lab, &name);
        assert_eq!(seen["process"]["pid"], client.pid(), "{mode}: {seen}");
        assert_eq!(seen["process"]["comm"], "dns-client");
    }
}

#[test]
fn attributes_each_query_of_long_lived_client() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    for mode in ["connected", "unconnected"] {
        let mut client = Client::start(&lab, mode, lab.resolver_addr());
        for number in 0..3 {
            let name = format!("{mode}-{number}.wild.example.com");
            assert_eq!(client.ask(&name), (client.pid(), "answered".to_owned()));
            let seen = transaction(&agent, &lab, &name);
            assert_eq!(seen["status"], "answered");
            assert_eq!(seen["process"]["pid"], client.pid(), "{mode}: {seen}");
        }
    }
}

#[test]
fn attributes_inherited_socket_to_forked_child() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let mut client = Client::start(&lab, "forked", lab.resolver_addr());
    let (child, how) = client.ask("forked.wild.example.com");
    assert_eq!(how, "answered");
    assert_ne!(child, client.pid());
    let seen = transaction(&agent, &lab, "forked.wild.example.com");
    assert_eq!(seen["process"]["pid"], child, "{seen}");
}
