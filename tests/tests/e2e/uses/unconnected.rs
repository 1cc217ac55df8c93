//! Uses by UDP sockets that send without a connection.

use super::{ADDRESSES, address, agent, by_port, end, name_server, run, uses};
use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::lab;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdout};

/// Destinations of one socket, and how many of these the agent records in a minute.
const DESTINATIONS: u64 = 200;
const MAX_A_MINUTE: u64 = 64;

/// Sends three datagrams to each of many ports: ADDRESS FIRST COUNT.
const MANY: &str = "import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):
    for _ in range(3):
        one.sendto(b'x', (sys.argv[1], port))
";

/// Sends each datagram back from PORT; `wait` only after a line of standard input.
const ECHO: &str = "import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(('', int(sys.argv[1])))
print('ready', flush=True)
while True:
    text, client = one.recvfrom(9)
    if text == b'wait':
        print('waits', flush=True)
        sys.stdin.readline()
    one.sendto(text, client)
";

/// A client at port 25002, to which a stranger speaks in between: ADDRESS FIRST COUNT, twice as many.
const DISTURBED: &str = "import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(('', 25002))
first, count = int(sys.argv[2]), int(sys.argv[3])
for port in range(first, first + count):
    one.sendto(b'x', (sys.argv[1], port))
print('ready', flush=True)
one.recvfrom(9)
for port in range(first + count, first + 2 * count):
    one.sendto(b'x', (sys.argv[1], port))
print('done', flush=True)
";

/// Sends by connected sockets to others than their peers: ADDRESS RESOLVER. The first datagram to 27003 comes after that to
/// 27010.
const ELSEWHERE: &str = "import socket, sys
there, resolver = sys.argv[1:]
def connected(port):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((there, port))
    return one
def send(one, *address):
    try:
        one.sendto(b'x', *address) if address else one.send(b'x')
    except PermissionError:
        pass
connected(27000).sendto(b'x', (there, 27001))
connected(27002).sendto(b'x', (resolver, 53))
late = connected(27003)
for _ in range(3):
    send(late, (there, 27004))
send(late, (resolver, 53))
send(late, (there, 27010))
send(late)
send(connected(27005), (there, 27009))
both = connected(27006)
send(both, (there, 27009))
send(both)
moved = connected(27007)
moved.connect((resolver, 53))
moved.send(b'x')
again = connected(27007)
send(again, (there, 27004))
again.connect((there, 27008))
send(again)
";

/// Programs that send two datagrams each to names by a socket without a connection, and the ports.
fn programs(folder: &Path) -> Vec<(u64, Vec<String>)> {
    let node = "const one = require('dgram').createSocket('udp4'); const to = process.argv.slice(1); \
        one.send('x', to[1], to[0], () => one.send('y', to[1], to[0], () => one.close()))";
    // As programs with quic-go do: one socket for all.
    let go = "package main\n\nimport (\n\t\"net\"\n\t\"os\"\n)\n\nfunc main() {\n\tone, _ := net.ListenUDP(\"udp\", nil)\n\t\
        for _, word := range os.Args[1:] {\n\t\tto, err := net.ResolveUDPAddr(\"udp4\", word)\n\t\t\
        if err != nil {\n\t\t\tpanic(err)\n\t\t}\n\t\tone.WriteTo([]byte(\"x\"), to)\n\t\tone.WriteTo([]byte(\"y\"), to)\n\t}\n}\n";
    let built = folder.join("client");
    dnscribe_tests::go::compile(go, &built).unwrap();
    let built = built.display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        (24_101, words(&["node", "-e", node, "only.uses.example", "24101"])),
        (24_102, words(&[&built, "only.uses.example:24102", "s0.uses.example:24103"])),
    ]
}

/// A server on the client's host.
struct Echo {
    process: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Echo {
    fn start(lab: &Lab, port: u16) -> Self {
        let words = ["python3", "-c", ECHO, &port.to_string()];
        let mut process = lab.spawn(Host::Client, &words).unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut echo = Self { process, output, address: (lab.client_addr(), port).into() };
        echo.expect("ready\n");
        echo
    }

    fn expect(&mut self, expected: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }

    /// Lets the server answer a socket of the lab's server later.
    fn ask_to_wait(&mut self, lab: &Lab) -> UdpSocket {
        let socket = lab.inside(Host::Server, || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.send_to(b"wait", self.address).unwrap();
        self.expect("waits\n");
        socket
    }

    /// Lets the server give the answer that waits.
    fn answer(&mut self, client: &UdpSocket) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        client.recv_from(&mut [0; 9]).unwrap();
    }

    /// Lets the server answer 40 sockets of the lab's server; returns their ports.
    fn serve(mut self, lab: &Lab) -> Vec<u64> {
        let to = self.address;
        let ask = || {
            let sockets = (0..40).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap());
            let port = |socket: UdpSocket| {
                socket.send_to(b"x", to).unwrap();
                assert_eq!(socket.recv_from(&mut [0; 9]).unwrap().1, to);
                socket.local_addr().unwrap().port().into()
            };
            sockets.map(port).collect()
        };
        let ports = lab.inside(Host::Server, ask).unwrap();
        shell::end(&mut self.process);
        ports
    }
}

/// Lets a client send to `count` ports of an address, then a stranger speak to it, and the client send to as many more.
fn disturb(lab: &Lab, address: &str, count: u16) {
    let words = ["python3", "-c", DISTURBED, address, "26500", &count.to_string()];
    let mut disturbed = lab.spawn(Host::Client, &words).unwrap();
    let mut said = BufReader::new(disturbed.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.next().unwrap(), "ready");
    let stranger = lab.inside(Host::Server, || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    stranger.send_to(b"x", (lab.client_addr(), 25_002)).unwrap();
    assert_eq!(said.next().unwrap(), "done");
    shell::end(&mut disturbed);
}

#[test]
fn first_datagrams_of_unconnected_sockets_are_uses() {
    let Some((lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let text = format!("nameserver {}\n", server.address);
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(folder.path());
    let cgroup = IsolatedCgroup::enter(&lab);
    // A server that was asked before the agent started, and answers after it.
    let mut older = Echo::start(&lab, 25_001);
    let asked = older.ask_to_wait(&lab);
    let agent =
        Agent::run(&[&["--stream", "uses,ledger"], &cgroup.options()[..]].concat()).unwrap();
    older.answer(&asked);
    let answered = [older.serve(&lab), Echo::start(&lab, 25_000).serve(&lab)].concat();
    let literal = lab.address_v6(Host::Server).to_string();
    let udp = |more: Value| {
        let mut step = json!({ "name": "only.uses.example", "udp": true, "datagrams": 3 });
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let steps = [
        udp(json!({ "port": 24_001, "sendto": "unconnected" })),
        udp(json!({ "port": 24_002, "sendto": "unconnected", "mapped": true })),
        udp(json!({ "port": 24_003, "sendto": "unconnected", "literal": literal })),
        // Of a connected socket, whether its datagrams have an address or not.
        udp(json!({ "port": 24_004, "sendto": "connected" })),
        udp(json!({ "port": 24_005 })),
        udp(json!({ "port": 24_006, "sendto": "connected", "mapped": true })),
        udp(json!({ "port": 24_007, "sendto": "unconnected", "times": 5 })),
        udp(json!({ "port": 24_008, "sendto": "unconnected", "datagrams": 0 })),
    ];
    assert_eq!(run(&lab, &steps).len(), steps.len() + 4);
    for (_, words) in &programs {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert!(lab.run(Host::Client, &words).unwrap().status.success());
    }
    let shared = address(&lab, 0).to_string();
    disturb(&lab, &shared, 20);
    let words = ["python3", "-c", MANY, &shared, "26000", &DESTINATIONS.to_string()];
    assert!(lab.run(Host::Client, &words).unwrap().status.success());

    let (records, last) = end(agent);
    let (uses, kernel) = (by_port(records), &last["kernel"]["connect"]);
    let counts = |port: u64| -> Vec<u64> {
        uses.get(&port).into_iter().flatten().map(|one| one["count"].as_u64().unwrap()).collect()
    };
    assert_eq!((24_001..=24_006).map(counts).collect::<Vec<_>>(), vec![vec![1]; 6], "{uses:#?}");
    assert_eq!((counts(24_007), counts(24_008)), (vec![1, 4], vec![]), "five sockets, and none");
    for port in [24_001, 24_002, 24_004, 24_005, 24_006, 24_101, 24_102, 24_103] {
        let one = &uses[&port][0];
        let name = if port == 24_103 { "s0.uses.example" } else { "only.uses.example" };
        assert_eq!(
            [&one["name"], &one["protocol"], &one["outcome"]],
            [name, "udp", "unknown"],
            "{one:#}"
        );
        assert_eq!([&one["match"], &one["lookup_scope"]], ["sole", "process"], "{one:#}");
    }
    assert_eq!(uses[&24_001][0]["address"], address(&lab, ADDRESSES.len() - 1).to_string());
    assert_eq!([&uses[&24_003][0]["match"], &uses[&24_003][0]["address"]], ["none", &*literal]);
    for port in answered {
        assert_eq!(counts(port), [0; 0], "a server's answer");
    }
    let of_one: u64 = (26_500..26_540).flat_map(counts).sum();
    assert_eq!(of_one, 40, "a client that has sent to many stays one, whoever speaks to it");
    // A minute may have ended in between.
    let recorded: u64 = (26_000..26_000 + DESTINATIONS).flat_map(counts).sum();
    let over = kernel["skipped"]["many_destinations"].as_u64().unwrap();
    assert!((MAX_A_MINUTE..=2 * MAX_A_MINUTE).contains(&recorded), "{recorded}");
    assert_eq!(recorded + over, DESTINATIONS, "{kernel:#}");
}

/// A socket at a port that the kernel may have chosen is a client's, wherever these ports begin.
#[test]
fn ports_that_the_kernel_chooses_are_those_of_clients() {
    let Some((lab, _alone)) = lab() else { return };
    let file = "/proc/sys/net/ipv4/ip_local_port_range";
    let before = lab.inside(Host::Client, || fs::read_to_string(file).unwrap()).unwrap();
    let shared = address(&lab, 0).to_string();
    for (range, uses) in [("20000 60999", 2), ("26000 60999", 1)] {
        lab.inside(Host::Client, || fs::write(file, range).unwrap()).unwrap();
        let cgroup = IsolatedCgroup::enter(&lab);
        let options = [&["--stream", "uses,ledger"], &cgroup.options()[..]].concat();
        let agent = lab.inside(Host::Client, || Agent::run(&options).unwrap()).unwrap();
        lab.inside(Host::Client, || fs::write(file, &before).unwrap()).unwrap();
        disturb(&lab, &shared, 1);
        let found = by_port(end(agent).0);
        let of_one = (26_500..26_502).filter(|port| found.contains_key(port)).count();
        assert_eq!(of_one, uses, "{range}: {found:#?}");
    }
}

/// A socket that is connected may send to others: its peer has a use once something is sent to it, and no earlier.
#[test]
fn datagrams_to_others_are_no_uses_of_the_peer() {
    let Some((lab, _alone)) = lab() else { return };
    let rule = lab.discard(Host::Client, "inet", "output", "udp dport 27009").unwrap();
    let agent = agent();
    let there = lab.address(Host::Server).to_string();
    let ran = lab.run(Host::Client, &["python3", "-c", ELSEWHERE, &there, &there]).unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(rule.count().unwrap(), 2);
    let uses = uses(agent);
    let mut counts: Vec<(u64, u64, &str)> = Vec::new();
    for (port, records) in &uses {
        let count = records.iter().map(|one| one["count"].as_u64().unwrap()).sum();
        counts.push((*port, count, records[0]["outcome"].as_str().unwrap()));
    }
    let ports: [u64; 7] = [27_001, 27_003, 27_004, 27_006, 27_008, 27_009, 27_010];
    let expected: [u64; 7] = [1, 1, 2, 1, 1, 2, 1];
    let expected = ports.into_iter().zip(expected).map(|(port, count)| (port, count, "unknown"));
    assert_eq!(counts, expected.collect::<Vec<_>>(), "{uses:#?}");
    let [late, before] = [27_003, 27_010].map(|port: u64| uses[&port][0]["first"].as_str());
    assert!(late > before, "{uses:#?}");
}
