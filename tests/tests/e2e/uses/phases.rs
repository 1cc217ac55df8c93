//! Phases of connections: round-trip time and the peer's first byte, against the programs' own clocks; and datagrams that this
//! host's firewall discards.

use super::{ADDRESSES, address, agent, by_port, end, name_server, run, uses};
use crate::support::lab;
use dnscribe_tests::lab::Host;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What a server does with a connection: whether it waits for a request, and how long it takes to answer.
#[derive(Clone, Copy)]
struct Service {
    port: u16,
    reads: bool,
    pause: Duration,
    reply_bytes: usize,
}

const fn service(port: u16, reads: bool, pause_ms: u64, reply_bytes: usize) -> Service {
    Service { port, reads, pause: Duration::from_millis(pause_ms), reply_bytes }
}

/// The acknowledgement of the request comes before the answer; the server speaks first; the answer takes many segments; no
/// answer at all; an answer after the agent has stopped to wait for it.
const SERVICES: [Service; 5] = [
    service(25_001, true, 120, 1),
    service(25_002, false, 80, 100),
    service(25_003, true, 0, 300_000),
    service(25_004, true, 700, 0),
    service(25_005, true, 5_300, 1),
];

fn serve(listener: &TcpListener, service: Service) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut request = [0; 10];
    if service.reads {
        socket.read_exact(&mut request).unwrap();
    }
    thread::sleep(service.pause);
    socket.write_all(&vec![7; service.reply_bytes]).unwrap();
}

#[test]
fn first_bytes_and_round_trips_are_those_of_the_programs() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_address(Host::Server, ADDRESSES[0]).unwrap();
    let server = address(&lab, 0);
    let agent = agent();
    let measured: Vec<(Service, Duration, Duration)> = thread::scope(|scope| {
        let lab = &lab;
        let clients = SERVICES.map(|service| {
            let listener = lab
                .inside(Host::Server, || TcpListener::bind((server, service.port)))
                .unwrap()
                .unwrap();
            scope.spawn(move || serve(&listener, service));
            scope.spawn(move || {
                let began = Instant::now();
                let socket =
                    lab.inside(Host::Client, || TcpStream::connect((server, service.port)));
                let mut socket = socket.unwrap().unwrap();
                let connected = Instant::now();
                if service.reads {
                    socket.write_all(&[1; 10]).unwrap();
                }
                let mut rest = Vec::new();
                let mut first = [0; 1];
                let _ = socket.read(&mut first).unwrap();
                let took = connected.elapsed();
                socket.read_to_end(&mut rest).unwrap();
                (service, connected - began, took)
            })
        });
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let uses = by_port(end(agent).0);
    for (service, connected, took) in measured {
        let [record] = uses[&service.port.into()].as_slice() else { panic!("{uses:#?}") };
        let ms = |name: &str| record[name].as_f64();
        assert_eq!(record["outcome"], "established", "{record:#}");
        let rtt = ms("rtt_ms").unwrap();
        assert!(rtt > 0.0 && rtt <= connected.as_secs_f64() * 1e3, "{connected:?} {record:#}");
        if service.reply_bytes == 0 || service.pause > Duration::from_secs(5) {
            assert!(ms("first_byte_ms").is_none(), "{record:#}");
            continue;
        }
        // A process is scheduled some time after its data has come.
        let first_byte = ms("first_byte_ms").unwrap();
        let least = service.pause.as_secs_f64() * 1e3 - 1.0;
        let most = took.as_secs_f64() * 1e3 + 5.0;
        assert!(first_byte >= least && first_byte <= most, "{least} {most} {record:#}");
    }
}

#[test]
fn datagrams_that_the_firewall_discards_are_refused() {
    let Some((lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let stub = format!("nameserver {}\n", server.address);
    let _stub = lab.configure_stub(Host::Client, &stub).unwrap();
    let agent = agent();
    let rule = lab.discard(Host::Client, "inet", "output", "udp dport 25500-25509").unwrap();
    let step = |port: u16, more: Value| {
        let mut step =
            json!({ "name": "s0.uses.example", "port": port, "udp": true, "datagrams": 1 });
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let said = run(
        &lab,
        &[
            step(25_500, json!({})),
            // The first datagram fails, and with it the rest of the step.
            step(25_501, json!({ "times": 3 })),
            // The kernel sends these as if they were not connected.
            step(25_502, json!({ "mapped": true })),
            step(25_510, json!({ "datagrams": 3 })),
            step(25_511, json!({ "datagrams": 0 })),
        ],
    );
    assert_eq!(said.len(), 7);
    assert_eq!(rule.count().unwrap(), 5);
    let uses = uses(agent);
    for (port, outcome, count) in [
        (25_500, "refused", 1),
        (25_501, "refused", 3),
        (25_502, "unknown", 1),
        (25_510, "unknown", 1),
    ] {
        let records = &uses[&port];
        assert_eq!(records.iter().filter_map(|one| one["count"].as_u64()).sum::<u64>(), count);
        for record in records {
            let found = [&record["outcome"], &record["name"], &record["protocol"]];
            assert_eq!(found, [outcome, "s0.uses.example", "udp"], "{record:#}");
            assert_eq!(record["address"], address(&lab, 0).to_string());
        }
    }
    assert!(!uses.contains_key(&25_511), "{uses:#?}");
}
