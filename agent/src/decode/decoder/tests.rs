use crate::capture::{Body, Transport};
use crate::decode::tests::{Bench, CLIENT, Given, SERVER};
use crate::decode::{Malformed, Unreachable};
use crate::net::{craft, protocol};

mod tunnels;

fn unreachable(bench: &Bench) -> &Unreachable {
    match bench.given.as_slice() {
        [Given::Unreachable(unreachable)] => unreachable,
        other => panic!("{other:?}"),
    }
}

#[test]
fn gives_datagrams() {
    let mut bench = Bench::default();
    for (src, dst) in [(CLIENT, SERVER), ("[2001:db8::1]:1024", "[2001:db8::53]:53")] {
        bench.see(&craft::udp(src, dst, &craft::query(9, "www")));
        let Some(Given::Message(message)) = bench.given.pop() else { panic!() };
        assert_eq!(message.message().envelope.src, src.parse().unwrap());
        assert_eq!(message.message().envelope.dst, dst.parse().unwrap());
        assert_eq!((message.message().dns.id, message.message().clipped()), (9, false));
    }
    assert_eq!(bench.decoder.counters().queries, 2);
}

#[test]
fn takes_bundled_datagrams_apart() {
    let queries = [craft::query(1, "one"), craft::query(2, "two"), craft::query(3, "x")];
    let datagram_bytes = u16::try_from(queries[0].len()).unwrap();
    let mut bench = Bench { datagram_bytes, ..Bench::default() };
    bench.see(&craft::udp(CLIENT, SERVER, &queries.concat()));
    assert_eq!(bench.messages(), queries);
    assert_eq!(bench.places(), [(1, 0), (1, 1), (1, 2)]);
    // One that is no DNS, and a rest that the capture clipped.
    let packet = craft::udp(
        CLIENT,
        SERVER,
        &[&queries[0], b"not dns but of a length.".as_slice(), &queries[2]].concat(),
    );
    bench.see_clipped(&packet, packet.len() - 4);
    let counters = bench.decoder.counters();
    assert_eq!((counters.received, counters.decoded_packets, counters.queries), (2, 1, 5));
    assert_eq!(bench.malformed(Malformed::DnsQuestion), 1);
}

#[test]
fn tells_what_is_no_dns() {
    let mut bench = Bench::default();
    bench.see(b"");
    bench.see(&[0x45; 12]);
    let mut datagram = craft::udp(CLIENT, SERVER, b"0123456789abcdef");
    datagram[25] = 7;
    bench.see(&datagram);
    bench.see(&craft::udp(CLIENT, SERVER, b"0123456789a"));
    bench.see(&craft::ip("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap(), 6, b"\0\x35"));
    let reasons = [
        (Malformed::IpHeader, 2),
        (Malformed::UdpHeader, 1),
        (Malformed::TcpHeader, 1),
        (Malformed::DnsHeader, 1),
    ];
    for (reason, count) in reasons {
        assert_eq!(bench.malformed(reason), count, "{reason:?}");
    }
    assert_eq!(bench.letters().len(), 5);
    let Given::DeadLetter(letter) = &bench.given[2] else { panic!() };
    let (src, dst) = (letter.envelope.src, letter.envelope.dst);
    assert_eq!((src, dst), (CLIENT.parse().unwrap(), SERVER.parse().unwrap()), "what can be read");
    assert_eq!(bench.letters()[3], (Malformed::DnsHeader, b"0123456789a".as_slice()));
}

#[test]
fn other_ports_are_not_for_us() {
    let mut bench = Bench::default();
    bench.see(&craft::udp(CLIENT, "192.0.2.2:54", &craft::query(9, "www")));
    bench.see(&craft::tcp(CLIENT, "192.0.2.2:54", 1, craft::ACK, b"abc"));
    assert!(bench.given.is_empty());
    assert_eq!(bench.decoder.counters().decoded_packets, 2);
}

#[test]
fn clipped_datagrams_tell_their_length() {
    let mut bench = Bench::default();
    let query = craft::query(9, "www");
    bench.see_clipped(&craft::udp(CLIENT, SERVER, &query), 28 + 20);
    let Some(Given::Message(message)) = bench.given.pop() else { panic!() };
    assert!(message.message().clipped());
    assert_eq!(
        (message.message().captured_bytes(), message.message().wire_bytes),
        (20, query.len().try_into().unwrap())
    );
}

#[test]
fn icmp_names_the_query() {
    let quoted = craft::udp(CLIENT, SERVER, &craft::query(0xabcd, "www"));
    for (captured, id) in [(quoted.len(), Some(0xabcd)), (28, None)] {
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(&quoted[..captured]);
        let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut bench = Bench::default();
        bench.see(&craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
        let told = unreachable(&bench);
        assert_eq!(told.client, CLIENT.parse().unwrap());
        assert_eq!(told.server, SERVER.parse().unwrap());
        assert_eq!((told.query_id, told.transport), (id, Transport::Udp));
        assert_eq!(told.cause.name, "port_unreachable");
    }
}

#[test]
fn icmp_that_asks_for_smaller_packets_fails_no_query() {
    let mut payload = vec![3, 4, 0, 0, 0, 0, 2, 64];
    payload.extend(craft::udp(CLIENT, SERVER, &craft::query(1, "www")));
    let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let mut bench = Bench::default();
    bench.see(&craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    assert!(bench.given.is_empty());
}

#[test]
fn icmp_about_a_response_fails_no_query() {
    let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
    payload.extend(craft::udp(SERVER, CLIENT, &craft::query(1, "www")));
    let addresses = ("192.0.2.1".parse().unwrap(), "192.0.2.53".parse().unwrap());
    let mut bench = Bench::default();
    bench.see(&craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    assert!(bench.given.is_empty());
    let counters = bench.decoder.counters();
    assert_eq!((counters.decoded_packets, counters.icmp_about_responses), (1, 1));
    assert_eq!(counters.icmp_about_queries, 0);
}

/// Between two servers the ports do not tell, but the message does.
#[test]
fn icmp_between_servers_goes_by_the_message() {
    let server = "192.0.2.1:53";
    for (flags, queries, responses) in [(1, 1, 0), (0x80, 0, 1)] {
        let mut message = craft::query(1, "www");
        message[2] = flags;
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(craft::udp(server, SERVER, &message));
        let mut bench = Bench::default();
        bench.see(&craft::ip(
            "192.0.2.53".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
            protocol::ICMP,
            &payload,
        ));
        let counters = bench.decoder.counters();
        let told = (counters.icmp_about_queries, counters.icmp_about_responses);
        assert_eq!(told, (queries, responses));
        assert_eq!(bench.given.len() as u64, queries);
    }
}

/// RFC 4884: the quote is filled up to 128 octets, and extensions follow.
#[test]
fn icmp_with_extensions_quotes_the_same() {
    let quoted = craft::udp(CLIENT, SERVER, &craft::query(0xabcd, "www"));
    let mut payload = vec![3, 3, 0, 0, 0, 32, 0, 0];
    payload.extend(&quoted);
    payload.resize(8 + 128, 0);
    payload.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 1, 9]);
    let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let mut bench = Bench::default();
    bench.see(&craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    let told = unreachable(&bench);
    assert_eq!((told.client, told.query_id), (CLIENT.parse().unwrap(), Some(0xabcd)));
}

#[test]
fn icmp_about_tcp_names_the_connection() {
    let quoted = craft::tcp(CLIENT, SERVER, 9, craft::SYN, b"");
    for captured in [28, quoted.len()] {
        let mut payload = vec![3, 1, 0, 0, 0, 0, 0, 0];
        payload.extend(&quoted[..captured]);
        let addresses = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut bench = Bench::default();
        bench.see(&craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
        let told = unreachable(&bench);
        assert_eq!((told.transport, told.query_id), (Transport::Tcp, None));
        assert_eq!(told.server, SERVER.parse().unwrap());
    }
}

/// Checksums are the network's business: offloading leaves them blank or half done.
#[test]
fn checksums_refuse_nothing() {
    let mut datagram = craft::udp(CLIENT, SERVER, &craft::query(1, "www"));
    let mut segment =
        craft::tcp(CLIENT, SERVER, 1, craft::ACK, &craft::framed(&craft::query(2, "www")));
    (datagram[10], datagram[26]) = (0xde, 0xad);
    (segment[10], segment[36]) = (0xbe, 0xef);
    let mut bench = Bench::default();
    bench.see(&datagram);
    bench.see(&segment);
    assert_eq!(bench.messages().len(), 2);
}

/// A frame of 9000 octets, and a super-packet whose length the header has no room for.
#[test]
fn long_packets_are_read_whole() {
    let long = |octets: usize| {
        let mut message = craft::query(1, "www");
        message.resize(octets, 7);
        message
    };
    let mut bench = Bench::default();
    bench.see(&craft::udp(CLIENT, SERVER, &long(9_000 - 28)));
    assert_eq!(bench.messages(), [long(9_000 - 28)]);
    let framed: Vec<u8> =
        (0..3_000).flat_map(|id| craft::framed(&craft::query(id, "www"))).collect();
    assert!(framed.len() > 65_535);
    let mut segment = craft::tcp(CLIENT, SERVER, 1, craft::ACK, b"");
    segment[2..4].fill(0);
    segment.extend(&framed);
    let mut bench = Bench::default();
    bench.see(&segment);
    assert_eq!(bench.messages().len(), 3_000);
    // IPv6: a jumbogram in hop-by-hop options (RFC 2675), with the datagram's length 0 too.
    let message = long(70_000);
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
    packet.extend([0; 32]);
    packet.extend([17, 0, 0xc2, 4, 0, 1, 0x11, 0x80]);
    packet.extend([4, 0, 0, 53, 0, 0, 0, 0]);
    packet.extend(&message);
    let mut bench = Bench::default();
    bench.see(&packet);
    assert_eq!(bench.messages(), [message]);
}

#[test]
fn socket_errors_name_any_query() {
    let mut bench = Bench::default();
    let error = |remote: &str, seen: bool| Body::SocketError {
        transport: Transport::Udp,
        local: CLIENT.parse().unwrap(),
        remote: remote.parse().unwrap(),
        errno: 111,
        seen,
    };
    bench.see_body(error("192.0.2.53:54", false), None);
    bench.see_body(error(SERVER, true), None);
    assert!(bench.given.is_empty());
    bench.see_body(error(SERVER, false), None);
    assert_eq!(unreachable(&bench).server, SERVER.parse().unwrap());
    assert_eq!(unreachable(&bench).query_id, None);
    assert_eq!(unreachable(&bench).cause.code, Some((3, 3)));
    assert_eq!(bench.decoder.counters().decoded_packets, 3);
}
