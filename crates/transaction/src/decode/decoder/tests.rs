use crate::decode::tests::{CLIENT, Harness, OwnedEvent, SERVER};
use crate::decode::{Malformed, PathStep, Unreachable};
use crate::packet::net::{protocol, test_packets};
use crate::packet::{Body, ConnectStep, Loss, LossStage, Transport};
use std::sync::Arc;

mod tunnels;

fn unreachable(harness: &Harness) -> &Unreachable {
    match harness.events.as_slice() {
        [OwnedEvent::Unreachable(unreachable)] => unreachable,
        other => panic!("{other:?}"),
    }
}

#[test]
fn emits_datagrams() {
    let mut harness = Harness::default();
    for (src, dst) in [(CLIENT, SERVER), ("[2001:db8::1]:1024", "[2001:db8::53]:53")] {
        harness.receive(&test_packets::udp(src, dst, &test_packets::query(9, "www")));
        let Some(OwnedEvent::Message(message)) = harness.events.pop() else { panic!() };
        assert_eq!(message.message().envelope.src, src.parse().unwrap());
        assert_eq!(message.message().envelope.dst, dst.parse().unwrap());
        assert_eq!((message.message().dns.id, message.message().is_clipped()), (9, false));
    }
    assert_eq!(harness.decoder.counters().queries, 2);
}

#[test]
fn splits_merged_datagrams() {
    let queries =
        [test_packets::query(1, "one"), test_packets::query(2, "two"), test_packets::query(3, "x")];
    let datagram_bytes = u16::try_from(queries[0].len()).unwrap();
    let mut harness = Harness { datagram_bytes, ..Harness::default() };
    harness.receive(&test_packets::udp(CLIENT, SERVER, &queries.concat()));
    assert_eq!(harness.messages(), queries);
    assert_eq!(harness.places(), [(1, 0), (1, 1), (1, 2)]);
    // One that is not DNS, and a clipped rest.
    let packet = test_packets::udp(
        CLIENT,
        SERVER,
        &[&queries[0], b"not dns but of a length.".as_slice(), &queries[2]].concat(),
    );
    harness.receive_clipped(&packet, packet.len() - 4);
    let counters = harness.decoder.counters();
    assert_eq!((counters.received, counters.decoded_packets, counters.queries), (2, 1, 5));
    assert_eq!(harness.malformed(Malformed::DnsQuestion), 1);
}

#[test]
fn emits_dead_letters() {
    let mut harness = Harness::default();
    harness.receive(b"");
    harness.receive(&[0x45; 12]);
    let mut datagram = test_packets::udp(CLIENT, SERVER, b"0123456789abcdef");
    datagram[25] = 7;
    harness.receive(&datagram);
    harness.receive(&test_packets::udp(CLIENT, SERVER, b"0123456789a"));
    harness.receive(&test_packets::ip(
        "192.0.2.1".parse().unwrap(),
        "192.0.2.2".parse().unwrap(),
        6,
        b"\0\x35",
    ));
    let reasons = [
        (Malformed::IpHeader, 2),
        (Malformed::UdpHeader, 1),
        (Malformed::TcpHeader, 1),
        (Malformed::DnsHeader, 1),
    ];
    for (reason, count) in reasons {
        assert_eq!(harness.malformed(reason), count, "{reason:?}");
    }
    assert_eq!(harness.letters().len(), 5);
    let OwnedEvent::DeadLetter(letter) = &harness.events[2] else { panic!() };
    let (src, dst) = (letter.envelope.src, letter.envelope.dst);
    assert_eq!((src, dst), (CLIENT.parse().unwrap(), SERVER.parse().unwrap()), "what can be read");
    assert_eq!(harness.letters()[3], (Malformed::DnsHeader, b"0123456789a".as_slice()));
}

#[test]
fn ignores_other_ports() {
    let mut harness = Harness::default();
    harness.receive(&test_packets::udp(CLIENT, "192.0.2.2:54", &test_packets::query(9, "www")));
    harness.receive(&test_packets::tcp(CLIENT, "192.0.2.2:54", 1, test_packets::ACK, b"abc"));
    assert!(harness.events.is_empty());
    assert_eq!(harness.decoder.counters().decoded_packets, 2);
}

#[test]
fn clipped_datagrams_keep_wire_length() {
    let mut harness = Harness::default();
    let query = test_packets::query(9, "www");
    harness.receive_clipped(&test_packets::udp(CLIENT, SERVER, &query), 28 + 20);
    let Some(OwnedEvent::Message(message)) = harness.events.pop() else { panic!() };
    assert!(message.message().is_clipped());
    assert_eq!(
        (message.message().captured_bytes(), message.message().wire_bytes),
        (20, query.len().try_into().unwrap())
    );
}

#[test]
fn icmp_reports_query() {
    let quoted = test_packets::udp(CLIENT, SERVER, &test_packets::query(0xabcd, "www"));
    for (captured, id) in [(quoted.len(), Some(0xabcd)), (28, None)] {
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(&quoted[..captured]);
        let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut harness = Harness::default();
        harness.receive(&test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
        let error = unreachable(&harness);
        assert_eq!(error.client, CLIENT.parse().unwrap());
        assert_eq!(error.server, SERVER.parse().unwrap());
        assert_eq!((error.query_id, error.transport), (id, Transport::Udp));
        assert_eq!(error.cause.name, "port_unreachable");
    }
}

#[test]
fn icmp_packet_too_big_fails_no_query() {
    let mut payload = vec![3, 4, 0, 0, 0, 0, 2, 64];
    payload.extend(test_packets::udp(CLIENT, SERVER, &test_packets::query(1, "www")));
    let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let mut harness = Harness::default();
    harness.receive(&test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    assert!(harness.events.is_empty());
}

#[test]
fn icmp_about_response_fails_no_query() {
    let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
    payload.extend(test_packets::udp(SERVER, CLIENT, &test_packets::query(1, "www")));
    let addresses = ("192.0.2.1".parse().unwrap(), "192.0.2.53".parse().unwrap());
    let mut harness = Harness::default();
    harness.receive(&test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    assert!(harness.events.is_empty());
    let counters = harness.decoder.counters();
    assert_eq!((counters.decoded_packets, counters.icmp_about_responses), (1, 1));
    assert_eq!(counters.icmp_about_queries, 0);
}

/// Between two servers the ports do not tell queries from responses; the message does.
#[test]
fn icmp_between_servers_uses_message() {
    let server = "192.0.2.1:53";
    for (flags, queries, responses) in [(1, 1, 0), (0x80, 0, 1)] {
        let mut message = test_packets::query(1, "www");
        message[2] = flags;
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(test_packets::udp(server, SERVER, &message));
        let mut harness = Harness::default();
        harness.receive(&test_packets::ip(
            "192.0.2.53".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
            protocol::ICMP,
            &payload,
        ));
        let counters = harness.decoder.counters();
        let error = (counters.icmp_about_queries, counters.icmp_about_responses);
        assert_eq!(error, (queries, responses));
        assert_eq!(harness.events.len() as u64, queries);
    }
}

/// RFC 4884: the quote is padded to 128 bytes, and extensions follow.
#[test]
fn reads_icmp_with_extensions() {
    let quoted = test_packets::udp(CLIENT, SERVER, &test_packets::query(0xabcd, "www"));
    let mut payload = vec![3, 3, 0, 0, 0, 32, 0, 0];
    payload.extend(&quoted);
    payload.resize(8 + 128, 0);
    payload.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 1, 9]);
    let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let mut harness = Harness::default();
    harness.receive(&test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    let error = unreachable(&harness);
    assert_eq!((error.client, error.query_id), (CLIENT.parse().unwrap(), Some(0xabcd)));
}

#[test]
fn icmp_about_tcp_reports_connection() {
    let quoted = test_packets::tcp(CLIENT, SERVER, 9, test_packets::SYN, b"");
    for captured in [28, quoted.len()] {
        let mut payload = vec![3, 1, 0, 0, 0, 0, 0, 0];
        payload.extend(&quoted[..captured]);
        let addresses = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut harness = Harness::default();
        harness.receive(&test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
        let error = unreachable(&harness);
        assert_eq!((error.transport, error.query_id), (Transport::Tcp, None));
        assert_eq!(error.server, SERVER.parse().unwrap());
    }
}

/// Checksums are not verified: offloading leaves them blank or partial.
#[test]
fn ignores_checksums() {
    let mut datagram = test_packets::udp(CLIENT, SERVER, &test_packets::query(1, "www"));
    let mut segment = test_packets::tcp(
        CLIENT,
        SERVER,
        1,
        test_packets::ACK,
        &test_packets::framed(&test_packets::query(2, "www")),
    );
    (datagram[10], datagram[26]) = (0xde, 0xad);
    (segment[10], segment[36]) = (0xbe, 0xef);
    let mut harness = Harness::default();
    harness.receive(&datagram);
    harness.receive(&segment);
    assert_eq!(harness.messages().len(), 2);
}

/// A frame of 9000 bytes, and a GRO packet whose length does not fit the header.
#[test]
fn reads_long_packets() {
    let long = |octets: usize| {
        let mut message = test_packets::query(1, "www");
        message.resize(octets, 7);
        message
    };
    let mut harness = Harness::default();
    harness.receive(&test_packets::udp(CLIENT, SERVER, &long(9_000 - 28)));
    assert_eq!(harness.messages(), [long(9_000 - 28)]);
    let framed: Vec<u8> =
        (0..3_000).flat_map(|id| test_packets::framed(&test_packets::query(id, "www"))).collect();
    assert!(framed.len() > 65_535);
    let mut segment = test_packets::tcp(CLIENT, SERVER, 1, test_packets::ACK, b"");
    segment[2..4].fill(0);
    segment.extend(&framed);
    let mut harness = Harness::default();
    harness.receive(&segment);
    assert_eq!(harness.messages().len(), 3_000);
    // IPv6: a jumbogram with hop-by-hop options (RFC 2675), the UDP length 0 too.
    let message = long(70_000);
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
    packet.extend([0; 32]);
    packet.extend([17, 0, 0xc2, 4, 0, 1, 0x11, 0x80]);
    packet.extend([4, 0, 0, 53, 0, 0, 0, 0]);
    packet.extend(&message);
    let mut harness = Harness::default();
    harness.receive(&packet);
    assert_eq!(harness.messages(), [message]);
}

#[test]
fn passes_on_steps_of_connections() {
    let mut harness = Harness::default();
    let remote = "198.51.100.7:443".parse().unwrap();
    let begun = ConnectStep::Begun { transport: Transport::Tcp, remote, is_discarded: false };
    for step in [begun, ConnectStep::Failed { errno: 111 }] {
        harness.receive_body(Body::Connect { cookie: 7, step }, None);
    }
    let steps = harness.events.iter().map(|event| match event {
        OwnedEvent::Connect(connect) => (connect.cookie, connect.id.seq, connect.step),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        steps.collect::<Vec<_>>(),
        [(7, 1, begun), (7, 2, ConnectStep::Failed { errno: 111 })]
    );
    assert_eq!(harness.decoder.counters().decoded_packets, 2);
}

#[test]
fn discarded_packets_are_messages_if_no_hook_saw_them() {
    let mut harness = Harness::default();
    let loss = Arc::new(Loss {
        stage: LossStage::Netfilter,
        reason: "NETFILTER_DROP".into(),
        hook: None,
        function: None,
    });
    let query = test_packets::udp(CLIENT, SERVER, &test_packets::query(9, "www"));
    let mut response = test_packets::query(10, "www");
    response[2] |= 0x80;
    let response = test_packets::udp(SERVER, CLIENT, &response);
    let mut receive = |bytes: &[u8], loss: Option<&Arc<Loss>>, is_unseen| {
        let wire_bytes = u32::try_from(bytes.len()).unwrap();
        harness.receive_body(Body::Dropped { bytes, wire_bytes, loss, is_unseen }, None);
        let events = std::mem::take(&mut harness.events);
        let names = events.iter().map(|event| match event {
            OwnedEvent::Dropped(dropped) => {
                assert_eq!(
                    (dropped.message.client, dropped.message.server),
                    (CLIENT.parse().unwrap(), SERVER.parse().unwrap())
                );
                format!("lost {} {}", dropped.message.id, dropped.message.is_response)
            }
            OwnedEvent::Message(message) => format!("message {}", message.message().dns.id),
            other => format!("{other:?}"),
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(receive(&query, Some(&loss), true), ["lost 9 false", "message 9"]);
    assert_eq!(receive(&response, Some(&loss), false), ["lost 10 true"]);
    assert_eq!(receive(&query, None, true), [""; 0], "a copy");
    // Headers that are cut off, other ports, another protocol.
    assert_eq!(receive(&query[..29], Some(&loss), false), [""; 0]);
    let other = test_packets::udp(CLIENT, "192.0.2.53:54", &test_packets::query(9, "www"));
    assert_eq!(receive(&other, Some(&loss), false), [""; 0]);
    // A device takes one: its headers are enough.
    let (bytes, wire_bytes) = (&query[..32], u32::try_from(query.len()).unwrap());
    harness.receive_body(Body::Sent { bytes, wire_bytes, device: 2 }, None);
    let [OwnedEvent::Step(step)] = &harness.events[..] else { panic!("{:?}", harness.events) };
    assert_eq!((step.message.id, step.step), (9, PathStep::Sent { device: 2 }));
    let counters = harness.decoder.counters();
    assert_eq!((counters.decoded_packets, counters.queries, counters.responses), (6, 1, 0));
}

#[test]
fn socket_errors_report_any_query() {
    let mut harness = Harness::default();
    let error = |remote: &str, seen: bool| Body::SocketError {
        transport: Transport::Udp,
        local: CLIENT.parse().unwrap(),
        remote: remote.parse().unwrap(),
        errno: 111,
        seen,
    };
    harness.receive_body(error("192.0.2.53:54", false), None);
    harness.receive_body(error(SERVER, true), None);
    assert!(harness.events.is_empty());
    harness.receive_body(error(SERVER, false), None);
    assert_eq!(unreachable(&harness).server, SERVER.parse().unwrap());
    assert_eq!(unreachable(&harness).query_id, None);
    assert_eq!(unreachable(&harness).cause.code, Some((3, 3)));
    assert_eq!(harness.decoder.counters().decoded_packets, 3);
}
