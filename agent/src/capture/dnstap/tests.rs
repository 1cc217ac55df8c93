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

fn frame(message: proto::Message) -> Vec<u8> {
    proto::Dnstap { message: Some(message) }.encode_to_vec()
}

fn read(change: impl FnOnce(&mut proto::Message)) -> Option<Report> {
    let mut message = query();
    change(&mut message);
    Report::read(&frame(message))
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
        assert_eq!(Report::read(bytes), None, "{bytes:?}");
    }
    let unknown = read(|message| message.query_address.clear()).unwrap();
    assert_eq!(unknown.src, SocketAddr::from(([0, 0, 0, 0], 4000)));
}
