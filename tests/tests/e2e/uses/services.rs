//! Names of connections to service addresses, which become those of backends on the way.

use super::{address, run, uses};
use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::lab;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::environment::skip;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::name_server::NameServer;
use dnscribe_tests::shell;
use dnscribe_tests::wire::{self, Reply};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

const BACKEND_PORT: u16 = 8080;

/// A service address, behind which nothing is.
fn service(lab: &Lab) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, lab.slot(), 10)
}

/// Starts the backend and the name server: `web` is the service, every other name the backend itself.
fn start_servers(lab: &Lab) -> (TcpListener, UdpSocket, NameServer) {
    lab.add_address(Host::Server, super::ADDRESSES[0]).unwrap();
    let (service, backend) = (service(lab), address(lab, 0));
    let listen =
        || (TcpListener::bind((backend, BACKEND_PORT)), UdpSocket::bind((backend, BACKEND_PORT)));
    let (tcp, udp) = lab.inside(Host::Server, listen).unwrap();
    let names = NameServer::start(lab, 59, move |query| {
        let reply = Reply::to(query);
        let is_service = wire::name(query).starts_with("web.");
        Some(match wire::qtype(query) {
            wire::A => reply.address(if is_service { service } else { backend }.octets()).octets(),
            _ => reply.octets(),
        })
    });
    (tcp.unwrap(), udp.unwrap(), names.unwrap())
}

/// Connects to the service and to its backend, over TCP and UDP, and checks the names.
fn check_names(lab: &Lab, agent: Agent, udp: &UdpSocket, names: &NameServer) {
    let text = format!("nameserver {}\n", names.address);
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let name = "web.shop.svc.cluster.local";
    let steps = [
        json!({ "name": "web-1.pods.example", "port": BACKEND_PORT }),
        json!({ "name": name, "port": 80 }),
        json!({ "name": name, "port": 81, "udp": true }),
        json!({ "name": name, "port": 82, "udp": true, "sendto": "unconnected" }),
    ];
    assert_eq!(run(lab, &steps).len(), steps.len());
    // Both datagrams got there.
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..2 {
        assert_eq!(udp.recv(&mut [0; 8]).unwrap(), 1);
    }
    let uses = uses(agent);
    let found = |port: u64| -> Vec<[Value; 4]> {
        let fields =
            |one: &Value| ["name", "address", "outcome", "match"].map(|field| one[field].clone());
        uses.get(&port).into_iter().flatten().map(fields).collect()
    };
    let service = service(lab).to_string();
    let named = |name: &str, address: &str, outcome: &str| {
        [[name, address, outcome, "sole"].map(Value::from)]
    };
    let backend = address(lab, 0).to_string();
    assert_eq!(found(8080), named("web-1.pods.example", &backend, "established"));
    assert_eq!(found(80), named(name, &service, "established"));
    assert_eq!(found(81), named(name, &service, "unknown"));
    assert_eq!(found(82), named(name, &service, "unknown"));
}

#[test]
fn names_are_those_of_services_translated_by_nftables() {
    let Some((lab, _alone)) = lab() else { return };
    let (_tcp, udp, names) = start_servers(&lab);
    // As kube-proxy does for programs of the host.
    let table = format!(
        "table ip kube-proxy {{ chain services {{ type nat hook output priority -100; \
         ip daddr {} meta l4proto {{ tcp, udp }} dnat to {}:{BACKEND_PORT}; }}; }}",
        service(&lab),
        address(&lab, 0)
    );
    shell::output(&mut lab.command(Host::Client, &["nft", &table])).unwrap();
    let agent = super::agent();
    check_names(&lab, agent, &udp, &names);
}

#[test]
fn names_are_those_of_services_translated_at_the_socket() {
    let Some((lab, _alone)) = lab() else { return };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
    if version < (6, 15) {
        return skip("programs of a cgroup run in the order in which they were attached");
    }
    let (_tcp, udp, names) = start_servers(&lab);
    let cgroup = IsolatedCgroup::enter(&lab);
    let directory = cgroup.directory().display().to_string();
    let (service, backend) = (service(&lab).to_string(), address(&lab, 0).to_string());
    let mut balancer = Command::new("python3");
    balancer.args(["-c", include_str!("balancer.py"), &directory, &service, &backend]);
    balancer.arg(BACKEND_PORT.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut balancer = balancer.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(balancer.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "attached\n");
    // Before the agent.
    let words = [&["--stream", "uses,ledger"], &cgroup.options()[..]].concat();
    check_names(&lab, Agent::run(&words).unwrap(), &udp, &names);
    shell::end(&mut balancer);
}
