//! A real VXLAN device, in a network namespace that ends with its process.

use crate::frames::{PORT, QUERY};
use crate::host::run_in_new_namespace;
use crate::{assert_balance, counters_of, options};
use dnscribe_agent::capture::live::{HookChoice, Live, LiveOptions};
use dnscribe_tests::environment::{privileged, skip};
use dnscribe_transaction::decode::{Decoded, Decoder, DecoderOptions, OwnedMessage};
use dnscribe_transaction::packet::Direction;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

const ENDS: (&str, &str) = ("198.51.100.1", "198.51.100.2");

#[test]
fn captures_dns_in_vxlan_device() {
    if !privileged() {
        return;
    }
    run_in_new_namespace("tunnels::device::in_a_namespace");
}

/// Started by [`captures_dns_in_vxlan_device`].
#[test]
#[ignore = "a part of another test"]
fn in_a_namespace() {
    if !build() {
        return skip("this kernel has no VXLAN devices");
    }
    let mut live = Live::open(&LiveOptions {
        hook: HookChoice::Socket,
        interfaces: vec!["veth1".into()],
        ..options()
    })
    .expect("opens");
    let client = UdpSocket::bind((ENDS.0, 0)).expect("a socket");
    let address = client.local_addr().expect("an address");
    let mut long = QUERY.to_vec();
    long.resize(3_000, 7);
    for message in [QUERY, &long] {
        client.send_to(message, (ENDS.1, PORT)).expect("sends");
    }
    let options = DecoderOptions { ports: options().ports, ..DecoderOptions::default() };
    let mut decoder = Decoder::new(options);
    let mut messages = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while messages.len() < 2 && Instant::now() < end {
        live.wait(Duration::from_millis(50), None).expect("waits");
        live.drain(100, &mut |packet| {
            assert_eq!(packet.direction, Direction::Passive);
            decoder.observe(packet, &mut |decoded| match decoded {
                Decoded::Message(message) => messages.push(OwnedMessage::from(message)),
                other => panic!("{other:?}"),
            });
        });
    }
    let found: Vec<_> = messages
        .iter()
        .map(OwnedMessage::message)
        .map(|message| (message.envelope.src, message.envelope.dst, message.wire_bytes))
        .collect();
    let server = (ENDS.1.parse::<std::net::IpAddr>().expect("an address"), PORT).into();
    assert_eq!(found, [(address, server, 17), (address, server, 3_000)]);
    // The long message is in three fragments, each in its own packet.
    let kernel = counters_of(&live, "socket");
    assert_balance(&kernel);
    assert_eq!((kernel.seen, kernel.submitted), (4, 4));
    assert_eq!(decoder.counters().decoded_packets, 4);
}

/// Creates a pair of interfaces with a tunnel to an unused address: packets sent to it arrive at
/// `veth1`.
fn build() -> bool {
    let ip = |words: &str| {
        let status = Command::new("ip").args(words.split(' ')).status().expect("ip");
        status.success()
    };
    assert!(ip("link add veth0 type veth peer name veth1"));
    for name in ["lo", "veth0", "veth1"] {
        assert!(ip(&format!("link set {name} up")));
    }
    assert!(ip("address add 192.0.2.1/24 dev veth0"));
    assert!(ip("neighbor add 192.0.2.2 lladdr 02:00:00:00:00:02 dev veth0"));
    if !ip("link add vx0 type vxlan id 7 remote 192.0.2.2 dstport 4789 dev veth0") {
        return false;
    }
    assert!(ip(&format!("address add {}/24 dev vx0", ENDS.0)));
    assert!(ip("link set vx0 up"));
    ip(&format!("neighbor add {} lladdr 02:00:00:00:00:03 dev vx0", ENDS.1))
}
