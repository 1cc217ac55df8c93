//! Who asked: every kind of process and socket.

use crate::support::{Client, SOON, agent, is, lab, transaction};
use dnscribe_tests::lab::Host;

#[test]
fn a_short_lived_dig_is_named_with_its_pid() {
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
fn at_the_server_the_process_is_the_one_that_answered() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    lab.dig(&["www.example.com"]).unwrap();
    let wanted =
        |record: &serde_json::Value| is(record, "server", lab.client_addr(), "www.example.com");
    let records =
        agent.wait_for("the resolver's side", SOON, |records| records.iter().any(wanted)).unwrap();
    let seen = records.iter().find(|record| wanted(record)).unwrap();
    assert_eq!(seen["status"], "answered", "{seen}");
    assert_eq!(seen["process"]["comm"], "unbound");
}

#[test]
fn a_socket_opened_before_the_start_is_attributed() {
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
fn a_long_lived_client_is_attributed_at_each_query() {
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
fn a_forked_child_on_an_inherited_socket_is_itself() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let mut client = Client::start(&lab, "forked", lab.resolver_addr());
    let (child, how) = client.ask("forked.wild.example.com");
    assert_eq!(how, "answered");
    assert_ne!(child, client.pid());
    let seen = transaction(&agent, &lab, "forked.wild.example.com");
    assert_eq!(seen["process"]["pid"], child, "{seen}");
}
