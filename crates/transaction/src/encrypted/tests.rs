use super::test_handshakes::{client_hello, record, server_hello};
use super::*;
use crate::decode::Unreachable;
use crate::packet::encrypted::Encrypted;
use crate::packet::net::TcpFlags;
use crate::packet::ports::PortSet;
use proptest::prelude::*;

const CLIENT: &str = "192.0.2.1:40000";
const SERVER: &str = "192.0.2.53:853";
const NONE: TcpFlags = TcpFlags { syn: false, fin: false, rst: false };
const SYN: TcpFlags = TcpFlags { syn: true, ..NONE };
const FIN: TcpFlags = TcpFlags { fin: true, ..NONE };
const RST: TcpFlags = TcpFlags { rst: true, ..NONE };

/// An owned copy of a report.
#[derive(Clone, Debug, PartialEq)]
struct ReportCopy {
    id: MessageId,
    status: ConnectionStatus,
    is_final: bool,
    octets: [u64; 2],
    connect_ms: Option<u128>,
    handshake_ms: Option<u128>,
    sni: Option<String>,
    pid: Option<u32>,
}

struct Harness {
    connections: ConnectionTable,
    now_ms: u64,
    seq: u64,
    direction: Direction,
    pid: Option<u32>,
    reports: Vec<ReportCopy>,
}

impl Harness {
    fn new(options: ConnectionOptions) -> Self {
        let resolvers = ["192.0.2.53".parse().unwrap()];
        let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], resolvers);
        Self {
            connections: ConnectionTable::new(encrypted, options),
            now_ms: 1,
            seq: 0,
            direction: Direction::Passive,
            pid: None,
            reports: Vec::new(),
        }
    }

    fn send(&mut self, transport: Transport, src: &str, dst: &str, content: EncryptedContent) {
        self.seq += 1;
        let packet = EncryptedPacket {
            envelope: Envelope {
                id: MessageId {
                    packet: crate::packet::PacketId { cpu: 0, seq: self.seq },
                    index: 0,
                },
                ts: Timestamp::from_nanos(self.now_ms * 1_000_000),
                scope: 0,
                direction: self.direction,
                task: self.pid.map(|pid| Task { pid, ..Task::default() }),
                cgroup_id: 0,
                transport,
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                report: None,
                seen_by: None,
            },
            content,
        };
        let reports = &mut self.reports;
        self.connections.observe(&packet, &mut |report| reports.push(copy_report(report)));
        self.check();
    }

    /// Sends a segment and advances the time by one millisecond.
    fn tcp(&mut self, src: &str, dst: &str, seq: u32, flags: TcpFlags, payload: &[u8]) {
        let ack = !(flags.syn && src.starts_with("192.0.2.1:"));
        let content = EncryptedContent::Segment {
            seq,
            ack,
            flags,
            payload: payload.into(),
            payload_wire: u32::try_from(payload.len()).unwrap(),
        };
        self.send(Transport::Tcp, src, dst, content);
        self.now_ms += 1;
    }

    fn expire(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let reports = &mut self.reports;
        let now = Timestamp::from_nanos(now_ms * 1_000_000);
        self.connections.expire(now, &mut |report| reports.push(copy_report(report)));
        self.check();
    }

    fn finish(&mut self) {
        let reports = &mut self.reports;
        let now = Timestamp::from_nanos(self.now_ms * 1_000_000);
        self.connections.finish(now, &mut |report| reports.push(copy_report(report)));
        self.check();
    }

    fn check(&self) {
        let counters = dnscribe_record::ledger::Counters {
            connections: Some(self.connections.counters()),
            ..Default::default()
        };
        assert_eq!(counters.imbalances(), []);
    }

    fn statuses(&self) -> Vec<ConnectionStatus> {
        self.reports.iter().map(|report| report.status).collect()
    }

    /// Establishes a TLS connection; returns the next sequence numbers.
    fn establish(&mut self) -> (u32, u32) {
        self.tcp(CLIENT, SERVER, 99, SYN, b"");
        self.tcp(SERVER, CLIENT, 999, SYN, b"");
        let hello = record(22, &client_hello("dns.example", &["dot"], 100, false));
        let flight = [record(22, &server_hello(0x0304, false)), record(23, &[0; 60])].concat();
        let last = record(23, &[0; 53]);
        self.tcp(CLIENT, SERVER, 100, NONE, &hello);
        self.tcp(SERVER, CLIENT, 1000, NONE, &flight);
        let next = 100 + u32::try_from(hello.len()).unwrap();
        self.tcp(CLIENT, SERVER, next, NONE, &last);
        (next + u32::try_from(last.len()).unwrap(), 1000 + u32::try_from(flight.len()).unwrap())
    }
}

fn copy_report(report: &ConnectionReport<'_>) -> ReportCopy {
    let connection = report.connection;
    let client = connection.handshake.client.as_ref();
    ReportCopy {
        id: report.id(),
        status: report.status,
        is_final: report.is_final,
        octets: connection.octets,
        connect_ms: connection.connect_time().map(|span| span.as_millis()),
        handshake_ms: connection.handshake.duration().map(|span| span.as_millis()),
        sni: client.and_then(|client| client.sni.as_deref()).map(str::to_owned),
        pid: connection.task.map(|task| task.pid),
    }
}

#[test]
fn reports_complete_connection() {
    let mut harness = Harness::new(ConnectionOptions::default());
    let (client, server) = harness.establish();
    harness.tcp(CLIENT, SERVER, client, FIN, b"abc");
    harness.tcp(SERVER, CLIENT, server, FIN, b"");
    let [reports] = &harness.reports[..] else { panic!("{:?}", harness.reports) };
    assert_eq!((reports.status, reports.is_final), (ConnectionStatus::Closed, true));
    assert_eq!(reports.octets, [u64::from(client - 100) + 3, u64::from(server - 1000)]);
    assert_eq!((reports.connect_ms, reports.handshake_ms), (Some(1), Some(2)));
    assert_eq!(reports.sni.as_deref(), Some("dns.example"));
    assert_eq!(reports.id.packet.seq, 1);
    // Late packets belong to the ended connection.
    harness.tcp(SERVER, CLIENT, server, FIN, b"");
    harness.tcp(CLIENT, SERVER, client, RST, b"");
    harness.tcp(SERVER, CLIENT, server, NONE, b"late");
    let counters = harness.connections.counters();
    assert_eq!((counters.connections, counters.stray, harness.reports.len()), (1, 3, 1));
}

#[test]
fn reports_failed_attempts() {
    let mut harness = Harness::new(ConnectionOptions::default());
    harness.tcp(CLIENT, SERVER, 1, SYN, b"");
    harness.tcp(SERVER, CLIENT, 0, RST, b"");
    assert_eq!(harness.statuses(), [ConnectionStatus::Refused]);
    // Another attempt from the same port, sent twice, then silence.
    harness.tcp(CLIENT, SERVER, 2, SYN, b"");
    harness.now_ms += 1000;
    harness.tcp(CLIENT, SERVER, 2, SYN, b"");
    harness.expire(harness.now_ms + 4900);
    assert_eq!(harness.reports.len(), 1);
    harness.expire(harness.now_ms + 200);
    assert_eq!(harness.statuses()[1..], [ConnectionStatus::Timeout]);
    // A late retransmission belongs to the same attempt.
    harness.tcp(CLIENT, SERVER, 2, SYN, b"");
    assert_eq!(harness.connections.counters().stray, 1);
    // An attempt that ICMP rejects.
    harness.tcp(CLIENT, SERVER, 3, SYN, b"");
    let error = Unreachable {
        ts: Timestamp::from_nanos(harness.now_ms * 1_000_000),
        ..unreachable(Transport::Tcp)
    };
    assert!(harness.connections.is_for_encrypted_dns(&error));
    let reports = &mut harness.reports;
    harness.connections.unreachable(&error, &mut |report| reports.push(copy_report(report)));
    assert_eq!(harness.statuses()[2..], [ConnectionStatus::Refused]);
    harness.check();
}

fn unreachable(transport: Transport) -> Unreachable {
    Unreachable {
        id: MessageId::default(),
        ts: Timestamp::from_nanos(0),
        scope: 0,
        transport,
        client: CLIENT.parse().unwrap(),
        server: SERVER.parse().unwrap(),
        query_id: None,
        cause: crate::packet::net::UnreachableReason::from_errno(false, 113),
    }
}

#[test]
fn answer_after_timeout_starts_new_connection() {
    let mut harness = Harness::new(ConnectionOptions::default());
    harness.tcp(CLIENT, SERVER, 1, SYN, b"");
    harness.expire(6_000);
    harness.tcp(SERVER, CLIENT, 7, SYN, b"");
    harness.tcp(CLIENT, SERVER, 2, RST, b"");
    assert_eq!(harness.statuses(), [ConnectionStatus::Timeout, ConnectionStatus::Reset]);
}

#[test]
fn incomplete_handshake_is_a_failure() {
    let mut harness = Harness::new(ConnectionOptions::default());
    let hello = record(22, &client_hello("dns.example", &[], 0, false));
    for (round, last) in [FIN, RST].into_iter().enumerate() {
        let base = u32::try_from(round).unwrap() * 10_000;
        harness.tcp(CLIENT, SERVER, base, SYN, b"");
        harness.tcp(SERVER, CLIENT, base, SYN, b"");
        harness.tcp(CLIENT, SERVER, base + 1, NONE, &hello);
        harness.tcp(SERVER, CLIENT, base + 1, FIN, &record(21, &[2, 40]));
        harness.tcp(CLIENT, SERVER, base + 1 + u32::try_from(hello.len()).unwrap(), last, b"");
    }
    assert_eq!(harness.statuses(), [ConnectionStatus::HandshakeFailed; 2]);
    assert_eq!(harness.reports[0].octets, [hello.len() as u64, 7]);
}

#[test]
fn reports_open_connections_at_intervals() {
    let mut harness = Harness::new(ConnectionOptions::default());
    let (mut client, _) = harness.establish();
    for minute in 1..=3 {
        harness.expire(minute * 61_000);
        harness.tcp(CLIENT, SERVER, client, NONE, b"0123456789");
        client += 10;
    }
    harness.finish();
    assert_eq!(harness.statuses(), [ConnectionStatus::Open; 4]);
    let octets: Vec<u64> = harness.reports.iter().map(|report| report.octets[0]).collect();
    assert_eq!([octets[1] - octets[0], octets[2] - octets[1], octets[3] - octets[2]], [10; 3]);
    let finals: Vec<bool> = harness.reports.iter().map(|report| report.is_final).collect();
    assert_eq!(finals, [false, false, false, true]);
    let ids: Vec<MessageId> = harness.reports.iter().map(|report| report.id).collect();
    assert!(ids.iter().enumerate().all(|(place, id)| id.index as usize == place));
    assert_eq!(harness.connections.counters().open, 1);
}

#[test]
fn idle_connection_ends_and_port_is_reused() {
    let mut harness = Harness::new(ConnectionOptions::default());
    harness.establish();
    harness.expire(301_000);
    assert_eq!(harness.statuses(), [ConnectionStatus::Idle]);
    harness.establish();
    harness.tcp(CLIENT, SERVER, 77, SYN, b"");
    assert_eq!(harness.statuses()[1..], [ConnectionStatus::Idle], "its end was not seen");
}

#[test]
fn tracks_connections_begun_before_capture() {
    let mut harness = Harness::new(ConnectionOptions::default());
    harness.tcp(CLIENT, SERVER, 50, FIN, b"");
    harness.tcp(SERVER, CLIENT, 500, RST, b"");
    assert_eq!(harness.connections.counters().stray, 2);
    harness.tcp(SERVER, CLIENT, 500, NONE, &record(23, &[0; 20]));
    harness.tcp(CLIENT, SERVER, 50, NONE, &record(23, &[0; 30]));
    harness.expire(60_000);
    assert_eq!(harness.reports.len(), 0, "nothing is known to be unanswered");
    harness.tcp(CLIENT, SERVER, 85, RST, b"");
    let reports = &harness.reports[0];
    assert_eq!((reports.status, reports.octets), (ConnectionStatus::Reset, [35, 25]));
    assert_eq!((reports.connect_ms, reports.handshake_ms), (None, None));
}

#[test]
fn full_table_evicts_earliest_deadline() {
    let options = ConnectionOptions { max_connections: 3, ..ConnectionOptions::default() };
    let mut harness = Harness::new(options);
    for port in 1000..1010 {
        harness.tcp(&format!("192.0.2.1:{port}"), SERVER, 1, SYN, b"");
    }
    assert_eq!(harness.statuses(), [ConnectionStatus::Evicted; 7]);
    harness.finish();
    assert_eq!(harness.statuses()[7..], [ConnectionStatus::Open; 3]);
    let seqs: Vec<u64> = harness.reports.iter().map(|report| report.id.packet.seq).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
}

#[test]
fn ended_connections_leave_no_timers() {
    let mut harness = Harness::new(ConnectionOptions::default());
    for port in 1..=40_000 {
        let client = format!("192.0.2.1:{port}");
        harness.now_ms = 1;
        harness.tcp(&client, SERVER, 1, SYN, b"");
        harness.tcp(SERVER, &client, 1, RST, b"");
    }
    assert_eq!(harness.statuses(), vec![ConnectionStatus::Refused; 40_000]);
    assert!(harness.connections.timers() < 20_000, "{}", harness.connections.timers());
    harness.tcp("192.0.2.1:50000", SERVER, 1, SYN, b"");
    harness.expire(60_000);
    assert_eq!(harness.statuses().last(), Some(&ConnectionStatus::Timeout));
    assert_eq!(harness.connections.timers(), 0);
}

#[test]
fn task_is_the_sender() {
    let mut harness = Harness::new(ConnectionOptions::default());
    harness.direction = Direction::Ingress;
    harness.pid = Some(1);
    harness.tcp(CLIENT, SERVER, 1, SYN, b"");
    harness.direction = Direction::Egress;
    harness.pid = Some(2);
    harness.tcp(SERVER, CLIENT, 1, SYN, b"");
    harness.pid = Some(3);
    harness.tcp(SERVER, CLIENT, 2, RST, b"");
    assert_eq!((harness.reports[0].pid, harness.reports.len()), (Some(2), 1));
}

#[test]
fn counts_datagrams_until_idle() {
    let mut harness = Harness::new(ConnectionOptions::default());
    let datagram = |wire| EncryptedContent::Datagram {
        payload: [0x40].into(),
        payload_wire: wire,
        datagram_bytes: 0,
    };
    for (wire, answer) in [(1200, 1200), (40, 80)] {
        harness.send(Transport::Udp, CLIENT, SERVER, datagram(wire));
        harness.send(Transport::Udp, SERVER, CLIENT, datagram(answer));
    }
    harness.send(Transport::Udp, "192.0.2.1:5", SERVER, datagram(9));
    harness.expire(6_000);
    harness.expire(61_000);
    assert_eq!(harness.statuses(), [ConnectionStatus::Timeout, ConnectionStatus::Idle]);
    assert_eq!(harness.reports[1].octets, [1240, 1280]);
}

#[test]
fn finds_client_between_two_server_ports() {
    let mut harness = Harness::new(ConnectionOptions::default());
    let (one, other) = ("192.0.2.1:853", "192.0.2.2:853");
    harness.tcp(one, other, 1, SYN, b"");
    harness.tcp(other, one, 5, NONE, b"x");
    harness.tcp(one, other, 2, NONE, b"xyz");
    harness.finish();
    assert_eq!(harness.reports.len(), 1);
    assert_eq!(harness.reports[0].octets, [3, 1]);
}

#[test]
fn limits_total_handshake_memory() {
    let options =
        ConnectionOptions { handshake_memory_bytes: 10_000, ..ConnectionOptions::default() };
    let mut harness = Harness::new(options);
    let part = &record(22, &client_hello("dns.example", &[], 3000, false))[..1400];
    for port in 1000..1100 {
        harness.tcp(&format!("192.0.2.1:{port}"), SERVER, 1, NONE, part);
    }
    harness.finish();
    assert_eq!(harness.reports.len(), 100);
}

#[derive(Clone, Debug)]
struct RandomPacket {
    port: u8,
    to_server: bool,
    transport: bool,
    flags: u8,
    seq: u32,
    payload: Vec<u8>,
    pause_ms: u64,
}

fn random_packet() -> impl Strategy<Value = RandomPacket> {
    let payload = prop_oneof![
        Just(Vec::new()),
        Just(record(22, &client_hello("a.example", &["dot"], 10, false))),
        Just([record(22, &server_hello(0x0304, false)), record(23, &[0; 60])].concat()),
        Just(record(23, &[0; 53])),
        proptest::collection::vec(any::<u8>(), 0..60),
    ];
    (
        0_u8..4,
        any::<bool>(),
        proptest::bool::weighted(0.8),
        0_u8..16,
        0_u32..600,
        payload,
        0_u64..9000,
    )
        .prop_map(|(port, to_server, transport, flags, seq, payload, pause_ms)| RandomPacket {
            port,
            to_server,
            transport,
            flags,
            seq,
            payload,
            pause_ms,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_connection_ends_once(steps in proptest::collection::vec(random_packet(), 0..150)) {
        let options = ConnectionOptions { max_connections: 3, ..ConnectionOptions::default() };
        let mut harness = Harness::new(options);
        for step in steps {
            harness.now_ms += step.pause_ms;
            let client = format!("192.0.2.1:{}", 1000 + u16::from(step.port));
            let (src, dst) = if step.to_server { (&*client, SERVER) } else { (SERVER, &*client) };
            let payload_wire = u32::try_from(step.payload.len()).unwrap();
            if step.transport {
                let flags = TcpFlags {
                    syn: step.flags & 1 != 0, fin: step.flags & 2 != 0, rst: step.flags & 4 != 0,
                };
                let content = EncryptedContent::Segment {
                    seq: step.seq, ack: step.flags & 8 != 0, flags,
                    payload: step.payload.into(), payload_wire,
                };
                harness.send(Transport::Tcp, src, dst, content);
            } else {
                let content = EncryptedContent::Datagram {
                    payload: step.payload.into(), payload_wire, datagram_bytes: 0,
                };
                harness.send(Transport::Udp, src, dst, content);
            }
        }
        harness.finish();
        let finals = harness.reports.iter().filter(|report| report.is_final).count();
        prop_assert_eq!(finals as u64, harness.connections.counters().connections);
        let mut ids: Vec<MessageId> = harness.reports.iter().map(|report| report.id).collect();
        ids.sort_unstable();
        prop_assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn connection_fits_documented_size() {
    assert!(size_of::<Connection>() <= 600, "{}", size_of::<Connection>());
}
