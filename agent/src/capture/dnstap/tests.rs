use super::*;

const QUERY: [u8; 12] = [0, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A `CLIENT_QUERY` by DoT.
fn query() -> proto::Message {
    proto::Message {
        kind: 5,
        family: 1,
        protocol: 3,
        query_address: vec![192, 0, 2, 1],
        response_address: vec![192, 0, 2, 53],
        query_port: 4000,
        response_port: 853,
        query_seconds: Some(1_700_000_000),
        query_nanos: 5,
        query: Some(QUERY.to_vec()),
        ..proto::Message::default()
    }
}

pub(in crate::capture) fn query_frame() -> Vec<u8> {
    frame(query())
}

/// A frame of a query at this second.
pub(in crate::capture) fn frame_at(second: u64) -> Vec<u8> {
    frame(proto::Message { query_seconds: Some(second), query_nanos: 0, ..query() })
}

/// A frame of a query at this second, of a server with this identity.
pub(in crate::capture) fn frame_of(identity: &str, second: u64) -> Vec<u8> {
    let message = proto::Message { query_seconds: Some(second), ..query() };
    let identity = identity.as_bytes().to_vec();
    proto::Dnstap { identity, message: Some(message), ..proto::Dnstap::default() }.encode_to_vec()
}

fn frame(message: proto::Message) -> Vec<u8> {
    proto::Dnstap { message: Some(message), ..proto::Dnstap::default() }.encode_to_vec()
}

fn read(change: impl FnOnce(&mut proto::Message)) -> Option<Report> {
    let mut message = query();
    change(&mut message);
    Report::read(&frame(message), &mut None)
}

#[test]
fn types_have_sender_and_direction() {
    let query = read(|_| {}).unwrap();
    assert_eq!((query.direction, query.transport), (Direction::Ingress, Transport::Dot));
    assert_eq!((query.src.port(), query.dst.port()), (4000, 853));
    assert_eq!(query.ts, Timestamp::from_nanos(1_700_000_000_000_000_005));
    // AUTH, RESOLVER, CLIENT, FORWARDER, STUB, TOOL, UPDATE: whether the server that reports is asked.
    let is_asked = [true, false, true, false, false, false, true];
    for (kind, is_asked) in (1..).step_by(2).zip(is_asked) {
        let query = read(|message| message.kind = kind).unwrap();
        let response = read(|message| {
            message.kind = kind + 1;
            message.response = message.query.take();
            message.response_seconds = message.query_seconds;
        });
        let response = response.unwrap();
        assert_eq!((query.src, response.src), (response.dst, query.dst), "{kind}");
        let [to_server, to_client] = if is_asked {
            [Direction::Ingress, Direction::Egress]
        } else {
            [Direction::Egress, Direction::Ingress]
        };
        assert_eq!((query.direction, response.direction), (to_server, to_client), "{kind}");
    }
}

#[test]
fn transport_is_that_of_the_report_or_of_the_port() {
    for (protocol, port, transport) in [
        (0, 53, "udp"),
        (0, 443, "doh"),
        (0, 8443, "doh"),
        (0, 853, "dot"),
        (1, 53, "udp"),
        (2, 53, "tcp"),
        (2, 853, "dot"),
        (1, 853, "doq"),
        (1, 443, "doh"),
        (2, 443, "doh"),
        (3, 53, "dot"),
        (4, 853, "doh"),
        (5, 443, "dnscrypt"),
        (6, 443, "dnscrypt"),
        (7, 443, "doq"),
    ] {
        let report = read(|message| {
            message.protocol = protocol;
            message.response_port = port;
        });
        assert_eq!(report.unwrap().transport.name(), transport, "{protocol} {port}");
    }
}

#[test]
fn what_a_message_needs_must_be_there() {
    let changes: [fn(&mut proto::Message); 8] = [
        |message| message.kind = 6,
        |message| message.kind = 0,
        |message| message.kind = 15,
        |message| message.protocol = 8,
        |message| message.query = None,
        |message| message.query_seconds = None,
        |message| message.query_seconds = Some(u64::MAX),
        |message| message.query_address = vec![1; 5],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(read(change), None, "{number}");
    }
    assert_eq!(read(|message| message.query_port = 65_536), None);
    for bytes in [&b"no frame"[..], &[], &[0x72, 0xff]] {
        assert_eq!(Report::read(bytes, &mut None), None, "{bytes:?}");
    }
    let unknown = read(|message| message.query_address.clear()).unwrap();
    assert_eq!(unknown.src, SocketAddr::from(([0, 0, 0, 0], 4000)));
}

#[test]
fn a_server_says_what_it_is_and_which_policy_it_applied() {
    let policy = |matched, value: &[u8]| proto::Policy {
        kind: b"RPZ".to_vec(),
        rule: b"\x03BAD\x07example\x03rpz\0".to_vec(),
        action: 1,
        matched,
        value: value.to_vec(),
    };
    let mut last = None;
    let mut says = |version: &[u8], policy: Option<proto::Policy>| {
        let message = Some(proto::Message { zone: b"\x07example\0".to_vec(), policy, ..query() });
        let frame =
            proto::Dnstap { identity: b"ns1\n".to_vec(), version: version.to_vec(), message };
        Report::read(&frame.encode_to_vec(), &mut last).unwrap().says.unwrap()
    };
    let plain = says(b"unbound 1.17.1", None);
    assert_eq!(plain.identity.as_deref(), Some("ns1\u{fffd}"));
    assert_eq!(plain.version.as_deref(), Some("unbound 1.17.1"));
    assert_eq!((plain.zone.as_deref(), &plain.policy), (Some("example"), &None));
    // What is the same as before is kept once.
    assert!(Arc::ptr_eq(&plain, &says(b"unbound 1.17.1", None)));

    for (matched, value, texts) in [
        (1, &b"\x01a\x03bad\x07example\0"[..], (Some("QNAME"), Some("a.bad.example"))),
        (3, &[192, 0, 2, 1][..], (Some("RESPONSE_IP"), Some("192.0.2.1"))),
        (5, &[0; 16][..], (Some("NS_IP"), Some("::"))),
        (4, &b"no name\x00"[..], (Some("NS_NAME"), Some("no name\u{fffd}"))),
        (0, &b""[..], (None, None)),
        (-7, &b"\xff"[..], (None, Some("\u{fffd}"))),
    ] {
        let found = says(b"", Some(policy(matched, value)));
        let found = found.policy.as_ref().unwrap();
        assert_eq!((found.matched, found.value.as_deref()), texts);
        assert_eq!(found.rule.as_deref(), Some("bad.example.rpz"));
        assert_eq!((found.kind.as_deref(), found.action), (Some("RPZ"), Some("NXDOMAIN")));
    }
    assert_eq!(read(|_| {}).unwrap().says, None);
}
