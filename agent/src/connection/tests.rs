use super::craft::{client_hello, record, server_hello};
use super::*;
use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use crate::decode::Unreachable;
use crate::net::TcpFlags;
use proptest::prelude::*;

const CLIENT: &str = "192.0.2.1:40000";
const SERVER: &str = "192.0.2.53:853";
const NONE: TcpFlags = TcpFlags { syn: false, fin: false, rst: false };
const SYN: TcpFlags = TcpFlags { syn: true, ..NONE };
const FIN: TcpFlags = TcpFlags { fin: true, ..NONE };
const RST: TcpFlags = TcpFlags { rst: true, ..NONE };

/// What is kept of a report.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    id: MessageId,
    status: Status,
    is_final: bool,
    octets: [u64; 2],
    connect_ms: Option<u128>,
    handshake_ms: Option<u128>,
    sni: Option<String>,
    pid: Option<u32>,
}

struct Bench {
    connections: Connections,
    now_ms: u64,
    seq: u64,
    sight: Sight,
    pid: Option<u32>,
    told: Vec<Told>,
}

impl Bench {
    fn new(options: ConnectionOptions) -> Self {
        let resolvers = ["192.0.2.53".parse().unwrap()];
        let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], resolvers);
        Self {
            connections: Connections::new(encrypted, options),
            now_ms: 1,
            seq: 0,
            sight: Sight::Passive,
            pid: None,
            told: Vec::new(),
        }
    }

    fn send(&mut self, transport: Transport, src: &str, dst: &str, content: Content) {
        self.seq += 1;
        let sealed = Sealed {
            envelope: Envelope {
                id: MessageId {
                    origin: crate::capture::Origin { cpu: 0, seq: self.seq },
                    index: 0,
                },
                ts: Timestamp::from_nanos(self.now_ms * 1_000_000),
                scope: 0,
                sight: self.sight,
                task: self.pid.map(|pid| Task { pid, ..Task::default() }),
                cgroup_id: 0,
                transport,
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
            },
            content,
        };
        let told = &mut self.told;
        self.connections.observe(&sealed, &mut |report| told.push(tell(report)));
        self.check();
    }

    /// A segment, and a millisecond.
    fn tcp(&mut self, src: &str, dst: &str, seq: u32, flags: TcpFlags, payload: &[u8]) {
        let ack = !(flags.syn && src.starts_with("192.0.2.1:"));
        let content = Content::Segment {
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
        let told = &mut self.told;
        let now = Timestamp::from_nanos(now_ms * 1_000_000);
        self.connections.expire(now, &mut |report| told.push(tell(report)));
        self.check();
    }

    fn finish(&mut self) {
        let told = &mut self.told;
        let now = Timestamp::from_nanos(self.now_ms * 1_000_000);
        self.connections.finish(now, &mut |report| told.push(tell(report)));
        self.check();
    }

    fn check(&self) {
        let counters = crate::ledger::Counters {
            connections: Some(self.connections.counters()),
            ..Default::default()
        };
        assert_eq!(counters.imbalances(), []);
    }

    fn statuses(&self) -> Vec<Status> {
        self.told.iter().map(|told| told.status).collect()
    }

    /// Connects and shakes hands: the next numbers are 1 + what was said.
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

fn tell(report: &Report<'_>) -> Told {
    let connection = report.connection;
    let client = connection.handshake.client.as_ref();
    Told {
        id: report.id(),
        status: report.status,
        is_final: report.is_final,
        octets: connection.octets,
        connect_ms: connection.connect().map(|span| span.as_millis()),
        handshake_ms: connection.handshake.duration().map(|span| span.as_millis()),
        sni: client.and_then(|client| client.sni.as_deref()).map(str::to_owned),
        pid: connection.task.map(|task| task.pid),
    }
}

#[test]
fn a_connection_from_beginning_to_end() {
    let mut bench = Bench::new(ConnectionOptions::default());
    let (client, server) = bench.establish();
    bench.tcp(CLIENT, SERVER, client, FIN, b"abc");
    bench.tcp(SERVER, CLIENT, server, FIN, b"");
    let [told] = &bench.told[..] else { panic!("{:?}", bench.told) };
    assert_eq!((told.status, told.is_final), (Status::Closed, true));
    assert_eq!(told.octets, [u64::from(client - 100) + 3, u64::from(server - 1000)]);
    assert_eq!((told.connect_ms, told.handshake_ms), (Some(1), Some(2)));
    assert_eq!(told.sni.as_deref(), Some("dns.example"));
    assert_eq!(told.id.origin.seq, 1);
    // What comes afterwards belongs to it.
    bench.tcp(SERVER, CLIENT, server, FIN, b"");
    bench.tcp(CLIENT, SERVER, client, RST, b"");
    bench.tcp(SERVER, CLIENT, server, NONE, b"late");
    let counters = bench.connections.counters();
    assert_eq!((counters.connections, counters.stray, bench.told.len()), (1, 3, 1));
}

#[test]
fn attempts_fail_in_their_ways() {
    let mut bench = Bench::new(ConnectionOptions::default());
    bench.tcp(CLIENT, SERVER, 1, SYN, b"");
    bench.tcp(SERVER, CLIENT, 0, RST, b"");
    assert_eq!(bench.statuses(), [Status::Refused]);
    // Another attempt from the same port, sent twice; then nothing.
    bench.tcp(CLIENT, SERVER, 2, SYN, b"");
    bench.now_ms += 1000;
    bench.tcp(CLIENT, SERVER, 2, SYN, b"");
    bench.expire(bench.now_ms + 4900);
    assert_eq!(bench.told.len(), 1);
    bench.expire(bench.now_ms + 200);
    assert_eq!(bench.statuses()[1..], [Status::Timeout]);
    // Sent again later, it is the same attempt.
    bench.tcp(CLIENT, SERVER, 2, SYN, b"");
    assert_eq!(bench.connections.counters().stray, 1);
    // And one that ICMP tells of.
    bench.tcp(CLIENT, SERVER, 3, SYN, b"");
    let error = Unreachable {
        ts: Timestamp::from_nanos(bench.now_ms * 1_000_000),
        ..unreachable(Transport::Tcp)
    };
    assert!(bench.connections.is_meant(&error));
    let told = &mut bench.told;
    bench.connections.unreachable(&error, &mut |report| told.push(tell(report)));
    assert_eq!(bench.statuses()[2..], [Status::Refused]);
    bench.check();
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
        cause: crate::net::Cause::of_errno(false, 113),
    }
}

#[test]
fn an_answer_after_the_timeout_is_a_connection_of_its_own() {
    let mut bench = Bench::new(ConnectionOptions::default());
    bench.tcp(CLIENT, SERVER, 1, SYN, b"");
    bench.expire(6_000);
    bench.tcp(SERVER, CLIENT, 7, SYN, b"");
    bench.tcp(CLIENT, SERVER, 2, RST, b"");
    assert_eq!(bench.statuses(), [Status::Timeout, Status::Reset]);
}

#[test]
fn a_handshake_that_ends_early_has_failed() {
    let mut bench = Bench::new(ConnectionOptions::default());
    let hello = record(22, &client_hello("dns.example", &[], 0, false));
    for (round, last) in [FIN, RST].into_iter().enumerate() {
        let base = u32::try_from(round).unwrap() * 10_000;
        bench.tcp(CLIENT, SERVER, base, SYN, b"");
        bench.tcp(SERVER, CLIENT, base, SYN, b"");
        bench.tcp(CLIENT, SERVER, base + 1, NONE, &hello);
        bench.tcp(SERVER, CLIENT, base + 1, FIN, &record(21, &[2, 40]));
        bench.tcp(CLIENT, SERVER, base + 1 + u32::try_from(hello.len()).unwrap(), last, b"");
    }
    assert_eq!(bench.statuses(), [Status::HandshakeFailed; 2]);
    assert_eq!(bench.told[0].octets, [hello.len() as u64, 7]);
}

#[test]
fn long_ones_are_told_of_meanwhile_and_at_the_end() {
    let mut bench = Bench::new(ConnectionOptions::default());
    let (mut client, _) = bench.establish();
    for minute in 1..=3 {
        bench.expire(minute * 61_000);
        bench.tcp(CLIENT, SERVER, client, NONE, b"0123456789");
        client += 10;
    }
    bench.finish();
    assert_eq!(bench.statuses(), [Status::Open; 4]);
    let octets: Vec<u64> = bench.told.iter().map(|told| told.octets[0]).collect();
    assert_eq!([octets[1] - octets[0], octets[2] - octets[1], octets[3] - octets[2]], [10; 3]);
    let finals: Vec<bool> = bench.told.iter().map(|told| told.is_final).collect();
    assert_eq!(finals, [false, false, false, true]);
    let ids: Vec<MessageId> = bench.told.iter().map(|told| told.id).collect();
    assert!(ids.iter().enumerate().all(|(place, id)| id.index as usize == place));
    assert_eq!(bench.connections.counters().open, 1);
}

#[test]
fn silence_ends_a_connection_and_a_port_may_be_used_again() {
    let mut bench = Bench::new(ConnectionOptions::default());
    bench.establish();
    bench.expire(301_000);
    assert_eq!(bench.statuses(), [Status::Idle]);
    bench.establish();
    bench.tcp(CLIENT, SERVER, 77, SYN, b"");
    assert_eq!(bench.statuses()[1..], [Status::Idle], "its end was not seen");
}

#[test]
fn begun_before_the_capture() {
    let mut bench = Bench::new(ConnectionOptions::default());
    bench.tcp(CLIENT, SERVER, 50, FIN, b"");
    bench.tcp(SERVER, CLIENT, 500, RST, b"");
    assert_eq!(bench.connections.counters().stray, 2);
    bench.tcp(SERVER, CLIENT, 500, NONE, &record(23, &[0; 20]));
    bench.tcp(CLIENT, SERVER, 50, NONE, &record(23, &[0; 30]));
    bench.expire(60_000);
    assert_eq!(bench.told.len(), 0, "nothing is known to be unanswered");
    bench.tcp(CLIENT, SERVER, 85, RST, b"");
    let told = &bench.told[0];
    assert_eq!((told.status, told.octets), (Status::Reset, [35, 25]));
    assert_eq!((told.connect_ms, told.handshake_ms), (None, None));
}

#[test]
fn the_full_table_gives_one_up() {
    let options = ConnectionOptions { max_connections: 3, ..ConnectionOptions::default() };
    let mut bench = Bench::new(options);
    for port in 1000..1010 {
        bench.tcp(&format!("192.0.2.1:{port}"), SERVER, 1, SYN, b"");
    }
    assert_eq!(bench.statuses(), [Status::Evicted; 7]);
    bench.finish();
    assert_eq!(bench.statuses()[7..], [Status::Open; 3]);
    let seqs: Vec<u64> = bench.told.iter().map(|told| told.id.origin.seq).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
}

#[test]
fn connections_that_are_over_leave_few_timers() {
    let mut bench = Bench::new(ConnectionOptions::default());
    for port in 1..=40_000 {
        let client = format!("192.0.2.1:{port}");
        bench.now_ms = 1;
        bench.tcp(&client, SERVER, 1, SYN, b"");
        bench.tcp(SERVER, &client, 1, RST, b"");
    }
    assert_eq!(bench.statuses(), vec![Status::Refused; 40_000]);
    assert!(bench.connections.timers() < 20_000, "{}", bench.connections.timers());
    bench.tcp("192.0.2.1:50000", SERVER, 1, SYN, b"");
    bench.expire(60_000);
    assert_eq!(bench.statuses().last(), Some(&Status::Timeout));
    assert_eq!(bench.connections.timers(), 0);
}

#[test]
fn the_task_is_who_sends() {
    let mut bench = Bench::new(ConnectionOptions::default());
    bench.sight = Sight::Ingress;
    bench.pid = Some(1);
    bench.tcp(CLIENT, SERVER, 1, SYN, b"");
    bench.sight = Sight::Egress;
    bench.pid = Some(2);
    bench.tcp(SERVER, CLIENT, 1, SYN, b"");
    bench.pid = Some(3);
    bench.tcp(SERVER, CLIENT, 2, RST, b"");
    assert_eq!((bench.told[0].pid, bench.told.len()), (Some(2), 1));
}

#[test]
fn datagrams_are_counted_and_end_in_silence() {
    let mut bench = Bench::new(ConnectionOptions::default());
    let datagram =
        |wire| Content::Datagram { payload: [0x40].into(), payload_wire: wire, datagram_bytes: 0 };
    for (wire, answer) in [(1200, 1200), (40, 80)] {
        bench.send(Transport::Udp, CLIENT, SERVER, datagram(wire));
        bench.send(Transport::Udp, SERVER, CLIENT, datagram(answer));
    }
    bench.send(Transport::Udp, "192.0.2.1:5", SERVER, datagram(9));
    bench.expire(6_000);
    bench.expire(61_000);
    assert_eq!(bench.statuses(), [Status::Timeout, Status::Idle]);
    assert_eq!(bench.told[1].octets, [1240, 1280]);
}

#[test]
fn both_ports_may_be_of_encrypted_dns() {
    let mut bench = Bench::new(ConnectionOptions::default());
    let (one, other) = ("192.0.2.1:853", "192.0.2.2:853");
    bench.tcp(one, other, 1, SYN, b"");
    bench.tcp(other, one, 5, NONE, b"x");
    bench.tcp(one, other, 2, NONE, b"xyz");
    bench.finish();
    assert_eq!(bench.told.len(), 1);
    assert_eq!(bench.told[0].octets, [3, 1]);
}

#[test]
fn handshakes_are_bounded_together() {
    let options =
        ConnectionOptions { handshake_memory_bytes: 10_000, ..ConnectionOptions::default() };
    let mut bench = Bench::new(options);
    let part = &record(22, &client_hello("dns.example", &[], 3000, false))[..1400];
    for port in 1000..1100 {
        bench.tcp(&format!("192.0.2.1:{port}"), SERVER, 1, NONE, part);
    }
    bench.finish();
    assert_eq!(bench.told.len(), 100);
}

#[derive(Clone, Debug)]
struct Step {
    port: u8,
    to_server: bool,
    transport: bool,
    flags: u8,
    seq: u32,
    payload: Vec<u8>,
    pause_ms: u64,
}

fn step() -> impl Strategy<Value = Step> {
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
        .prop_map(|(port, to_server, transport, flags, seq, payload, pause_ms)| Step {
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
    fn every_connection_ends_once(steps in proptest::collection::vec(step(), 0..150)) {
        let options = ConnectionOptions { max_connections: 3, ..ConnectionOptions::default() };
        let mut bench = Bench::new(options);
        for step in steps {
            bench.now_ms += step.pause_ms;
            let client = format!("192.0.2.1:{}", 1000 + u16::from(step.port));
            let (src, dst) = if step.to_server { (&*client, SERVER) } else { (SERVER, &*client) };
            let payload_wire = u32::try_from(step.payload.len()).unwrap();
            if step.transport {
                let flags = TcpFlags {
                    syn: step.flags & 1 != 0, fin: step.flags & 2 != 0, rst: step.flags & 4 != 0,
                };
                let content = Content::Segment {
                    seq: step.seq, ack: step.flags & 8 != 0, flags,
                    payload: step.payload.into(), payload_wire,
                };
                bench.send(Transport::Tcp, src, dst, content);
            } else {
                let content = Content::Datagram {
                    payload: step.payload.into(), payload_wire, datagram_bytes: 0,
                };
                bench.send(Transport::Udp, src, dst, content);
            }
        }
        bench.finish();
        let finals = bench.told.iter().filter(|told| told.is_final).count();
        prop_assert_eq!(finals as u64, bench.connections.counters().connections);
        let mut ids: Vec<MessageId> = bench.told.iter().map(|told| told.id).collect();
        ids.sort_unstable();
        prop_assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn takes_as_much_memory_as_is_documented() {
    assert!(size_of::<Connection>() <= 600, "{}", size_of::<Connection>());
}
