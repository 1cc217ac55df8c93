//! Messages that netfilter discards on their way out: those before the hook for packets that leave a socket are sampled and
//! counted like all others, those behind it are counted there.

use crate::host::run_in_new_namespace;
use crate::{assert_balance, counters_of};
use dnscribe_agent::capture::live::{HookChoice, Live, LiveOptions};
use dnscribe_record::ledger::Kernel;
use dnscribe_tests::environment::privileged;
use dnscribe_transaction::packet::Body;
use dnscribe_transaction::packet::sampling::{NotExported, PacketClass, part};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

/// A port that no other test uses, since the kernel's reports are of all networks.
const PORT: u16 = 5397;
const CLIENTS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const SERVERS: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
const VETH: &str = "veth peer name peer0";
/// More messages than the smallest ring holds.
const MANY: u16 = 500;

fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().expect("starts");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Adds a device with the clients' addresses, of this type, and the servers as neighbours of it.
fn add_device(kind: &str) {
    run(&format!("ip link add out0 type {kind} && ip link set out0 addrgenmode none up"));
    for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
        let length = if client.contains(':') { "64 nodad" } else { "24" };
        run(&format!(
            "ip addr add {client}/{length} dev out0 && ip neigh add {server} lladdr 02:00:00:00:00:02 dev out0"
        ));
    }
}

fn discard(family: &str, hook: &str) {
    run(&format!(
        "nft 'table {family} t {{ chain c {{ type filter hook {hook} priority 0; udp dport {PORT} drop; }}; }}'"
    ));
}

fn open(ring_bytes: u32) -> Live {
    let options = LiveOptions {
        hook: HookChoice::Cgroup,
        ports: vec![PORT].try_into().expect("a port"),
        path: true,
        ring_bytes,
        ..LiveOptions::default()
    };
    Live::open(&options).expect("opens")
}

/// Sends [`MANY`] queries from two sockets, and returns the parts of their hashes.
fn send() -> Vec<u16> {
    let mut sent = Vec::new();
    for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
        let address =
            |text: &str, port| SocketAddr::new(text.parse::<IpAddr>().expect("one"), port);
        let socket = UdpSocket::bind(address(client, 0)).expect("binds");
        let (from, to) = (socket.local_addr().expect("an address"), address(server, PORT));
        for id in 0..MANY {
            let [high, low] = id.to_be_bytes();
            let query = [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
            // An error, if netfilter discards it before a device has it.
            let _ = socket.send_to(&query, to);
            sent.push(part(from, to, id));
        }
    }
    sent
}

fn counts(live: &mut Live) -> (Kernel, u64, u64) {
    let not_exported = live.not_exported();
    let is_query = |one: &NotExported| one.class == PacketClass::Query;
    assert!(not_exported.iter().all(is_query), "{not_exported:?}");
    let kernel = counters_of(live, "drop");
    assert_balance(&kernel);
    let sum = |of: fn(&NotExported) -> u64| not_exported.iter().map(of).sum();
    (kernel, sum(|one| one.sampled), sum(|one| one.lost))
}

#[test]
fn discarded_queries_are_counted_once() {
    if privileged() {
        // One after the other: the kernel reports what is discarded in any network.
        run_in_new_namespace("discarded::discarded_in_network");
        run_in_new_namespace("discarded::bridged_in_network");
    }
}

#[test]
#[ignore = "run by discarded_queries_are_counted_once"]
fn discarded_in_network() {
    const CUT: u16 = 1 << 15;
    add_device(VETH);
    for hook in ["output", "postrouting"] {
        discard("inet", hook);
        let mut live = open(1 << 20);
        live.force_sampling(CUT);
        let sent = send();
        let left_out = sent.iter().filter(|part| **part < CUT).count() as u64;
        let (kernel, sampled, lost) = counts(&mut live);
        assert!(left_out > 100, "{left_out}");
        assert_eq!((kernel.sampled_out, sampled, lost), (left_out, left_out, 0), "{hook}");
        let mut reported = BTreeSet::new();
        while live.drain(1_000, &mut |packet| {
            if let Body::Dropped { bytes, is_unseen, .. } = packet.body {
                assert!(is_unseen, "{hook}");
                let at = if bytes[0] >> 4 == 4 { 28 } else { 48 };
                reported.insert((bytes[0] >> 4, bytes[at], bytes[at + 1]));
            }
        }) > 0
        {}
        assert_eq!(reported.len(), sent.len() - usize::try_from(left_out).expect("a number"));
        // What does not fit into the ring is counted as well.
        let mut live = open(4096 * 4);
        send();
        let (kernel, sampled, lost) = counts(&mut live);
        assert!(kernel.lost_ring_full > 100, "{kernel:?}");
        assert_eq!((sampled, lost), (0, kernel.lost_ring_full), "{hook}");
        run("nft flush ruleset");
    }
}

#[test]
#[ignore = "run by discarded_queries_are_counted_once"]
fn bridged_in_network() {
    add_device("bridge");
    run(&format!("ip link add port0 type {VETH} && ip link set peer0 up"));
    run("ip link set port0 master out0 up");
    discard("bridge", "postrouting");
    let mut live = open(4096 * 4);
    let sent = send();
    let (kernel, _, lost) = counts(&mut live);
    let hook = counters_of(&live, "cgroup");
    assert_eq!(hook.seen, sent.len() as u64);
    assert!(kernel.lost_ring_full > 100 && hook.lost_ring_full > 100, "{kernel:?}");
    assert_eq!(lost, hook.lost_ring_full);
    live.drain(1_000, &mut |packet| {
        assert!(!matches!(packet.body, Body::Dropped { is_unseen: true, .. }), "{packet:?}");
    });
}
