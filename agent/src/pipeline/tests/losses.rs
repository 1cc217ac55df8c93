//! Packets that the kernel discards, from the ring to the record.

use super::*;
use dnscribe_transaction::packet::sampling::Change;
use dnscribe_transaction::packet::{Loss, LossStage, Transport};
use std::net::SocketAddr;

fn pipeline() -> (Pipeline, Arc<Mutex<Vec<u8>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let inner = NullSink::new("keeper".into(), StreamSet::SHOWN.with(Stream::Messages));
    let keeper = Keeper { inner, kept: Arc::clone(&kept) };
    let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
    let options = PipelineOptions { path: true, ..PipelineOptions::new(identity) };
    (Pipeline::new(options, vec![Box::new(keeper)]), kept)
}

/// Runs packets through a stage, with the ring found empty after some, and returns the records.
fn run_held<'a>(
    packets: impl Iterator<Item = Packet<'a>>,
    hold: Option<Duration>,
    mut is_drained: impl FnMut() -> bool,
) -> Result<String, TestCaseError> {
    let (mut pipeline, kept) = pipeline();
    let mut flow = pipeline.flow_stage(FlowOptions { hold, ..flow_options() });
    let (mut now, mut count) = (EPOCH, 0);
    for packet in packets {
        (now, count) = (packet.ts, count + 1);
        flow.observe(&packet, &mut pipeline);
        if is_drained() {
            flow.ring_drained(now, &mut pipeline);
        }
        let counters = pipeline.counters(&input(count, vec![flow.counters(&[])]));
        prop_assert_eq!(counters.imbalances(), []);
    }
    flow.finish(now, &mut pipeline);
    pipeline.finish(now);
    let counters = pipeline.counters(&input(count, vec![flow.counters(&[])]));
    prop_assert_eq!((counters.imbalances(), counters.decode.received), (vec![], count));
    Ok(String::from_utf8(kept.lock().unwrap().clone()).unwrap())
}

/// The packets of a client: responses arrive, queries leave.
fn at_client<'a>(pool: &'a [Vec<u8>], steps: &'a [Step]) -> impl Iterator<Item = Packet<'a>> {
    packets(pool, steps).map(|packet| {
        let Body::Ip { bytes, .. } = packet.body else { return packet };
        let is_response = bytes.get(20..22) == Some(&53_u16.to_be_bytes());
        let direction = if is_response { Direction::Ingress } else { Direction::Egress };
        Packet { direction, ..packet }
    })
}

const SECOND: Duration = Duration::from_secs(1);

fn holds() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![Just(Some(HOLD)), Just(Some(SECOND))]
}

proptest! {
    #[test]
    fn holding_changes_nothing(steps in steps(), hold in holds()) {
        let pool = pool();
        let plain = run_held(at_client(&pool, &steps), None, || false)?;
        let held = run_held(at_client(&pool, &steps), hold, || false)?;
        prop_assert_eq!(plain, held);
    }

    #[test]
    fn holding_loses_nothing(steps in steps(), empty in any::<u64>(), hold in holds()) {
        let pool = pool();
        let mut turn = 0;
        let mut is_drained = || {
            turn = (turn + 1) % 64;
            empty >> turn & 1 == 1
        };
        let records = run_held(at_client(&pool, &steps), hold, &mut is_drained)?;
        prop_assert!(records.lines().all(|line| !line.contains("lost_at")));
    }
}

/// A query and its answer, as packets.
fn exchange() -> (Vec<u8>, Vec<u8>) {
    let query = test_packets::query(1, "www");
    let mut answer = query.clone();
    answer[2] |= 0x80;
    (test_packets::udp(CLIENT, SERVER, &query), test_packets::udp(SERVER, CLIENT, &answer))
}

fn wire_bytes(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

fn ip(bytes: &[u8]) -> Body<'_> {
    Body::Ip { bytes, wire_bytes: wire_bytes(bytes) }
}

fn packet(us: u64, seq: u64, direction: Direction, body: Body<'_>) -> Packet<'_> {
    let ts = EPOCH.plus(Duration::from_micros(us));
    Packet::new(ts, PacketId { cpu: 0, seq }, direction, body)
}

#[test]
fn answer_that_its_socket_refuses_is_lost() {
    let (query, answer) = exchange();
    let loss = Arc::new(Loss {
        stage: LossStage::Socket,
        reason: "SOCKET_RCVBUFF".into(),
        hook: None,
        function: Some("udp_rcv".into()),
    });
    let dropped = |is_unseen, bytes, loss| Body::Dropped {
        bytes,
        wire_bytes: wire_bytes(bytes),
        loss,
        is_unseen,
    };
    let (egress, ingress) = (Direction::Egress, Direction::Ingress);
    let lost_answer = [
        packet(0, 1, egress, ip(&query)),
        packet(300, 2, ingress, ip(&answer)),
        packet(302, 3, ingress, dropped(false, &answer, Some(&loss))),
    ];
    let records = run_held(lost_answer.into_iter(), Some(HOLD), || true).unwrap();
    let lost = r#""lost_at":{"message":"response","stage":"socket","reason":"SOCKET_RCVBUFF","function":"udp_rcv"}"#;
    assert!(records.contains("\"status\":\"answered\"") && records.contains(lost), "{records}");

    // A copy of the query was lost, not the query.
    let copy = [
        packet(0, 1, egress, ip(&query)),
        packet(10, 2, ingress, dropped(false, &query, Some(&loss))),
        packet(300, 3, ingress, ip(&answer)),
        packet(302, 4, ingress, dropped(false, &answer, None)),
    ];
    let records = run_held(copy.into_iter(), Some(HOLD), || true).unwrap();
    assert!(
        records.contains("\"status\":\"answered\"") && !records.contains("lost_at"),
        "{records}"
    );

    // A copy of the answer was lost, not the answer, which the process reads.
    let client: SocketAddr = CLIENT.parse().unwrap();
    let server: SocketAddr = SERVER.parse().unwrap();
    let read = Body::Read { local: client, remote: server };
    let copy = [
        packet(0, 1, egress, ip(&query)),
        packet(300, 2, ingress, ip(&answer)),
        packet(310, 3, ingress, ip(&answer)),
        packet(312, 4, ingress, dropped(false, &answer, Some(&loss))),
        packet(400, 5, ingress, read),
    ];
    for hold in [HOLD, SECOND] {
        let records = run_held(copy.into_iter(), Some(hold), || true).unwrap();
        assert!(
            records.contains("\"status\":\"answered\"") && !records.contains("lost_at"),
            "{records}"
        );
    }

    // Never seen but as it was lost: a message, and a transaction.
    let unseen = [packet(0, 1, egress, dropped(true, &query, Some(&loss)))];
    let records = run_held(unseen.into_iter(), Some(HOLD), || true).unwrap();
    assert!(records.contains("\"dns.message/1\""), "{records}");
    assert!(
        records.contains("\"status\":\"open\"") && records.contains("\"lost_at\""),
        "{records}"
    );
}

#[test]
fn query_that_a_firewall_rejects_has_an_icmp_error() {
    let (query, answer) = exchange();
    let loss = Arc::new(Loss {
        stage: LossStage::Netfilter,
        reason: "NETFILTER_DROP".into(),
        hook: None,
        function: None,
    });
    let (egress, ingress) = (Direction::Egress, Direction::Ingress);
    let refused = Body::SocketError {
        transport: Transport::Udp,
        local: CLIENT.parse().unwrap(),
        remote: SERVER.parse().unwrap(),
        errno: 111,
        seen: false,
    };
    let wire_bytes = wire_bytes(&query);
    let rejected = Body::Dropped { bytes: &query, wire_bytes, loss: Some(&loss), is_unseen: true };
    let records =
        |packets: &[Packet<'_>]| run_held(packets.iter().copied(), Some(HOLD), || true).unwrap();
    // The error comes before the report, whether or not other packets wait meanwhile.
    for before in [&[][..], &[packet(0, 1, ingress, ip(&answer))]] {
        let first = before.len() as u64 + 1;
        let errors = [packet(5, first, ingress, refused), packet(7, first + 1, egress, rejected)];
        let records = records(&[before, &errors].concat());
        assert!(records.contains("\"status\":\"icmp_error\""), "{records}");
        assert!(records.contains("\"stage\":\"netfilter\""), "{records}");
    }
    // An old error is another query's, and one that was seen to leave has none yet.
    let old = [packet(0, 1, ingress, refused), packet(10_001, 2, egress, rejected)];
    assert!(!records(&old).contains("\"status\":\"icmp_error\""));
    let seen = [packet(0, 1, ingress, refused), packet(5, 2, egress, ip(&query))];
    assert!(!records(&seen).contains("\"status\":\"icmp_error\""));
}

/// The path of each transaction's record.
fn paths(packets: Vec<Packet<'_>>) -> Vec<Value> {
    let records = run_held(packets.into_iter(), Some(SECOND), || true).unwrap();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let transactions = records.filter(|record| record["schema"] == "dns.transaction/1");
    transactions.map(|record| record["path"].clone()).collect()
}

#[test]
fn transactions_know_when_messages_were_sent_and_read() {
    let (query, answer) = exchange();
    let (egress, ingress) = (Direction::Egress, Direction::Ingress);
    let client: SocketAddr = CLIENT.parse().unwrap();
    let server: SocketAddr = SERVER.parse().unwrap();
    let any = SocketAddr::from(([0; 4], server.port()));
    let sent = |device| Body::Sent { bytes: &query, wire_bytes: wire_bytes(&query), device };
    let read_by_client = Body::Read { local: client, remote: server };
    let answered = |us| Packet {
        arrived: Some(EPOCH.plus(Duration::from_micros(us - 30))),
        ..packet(us, 4, ingress, ip(&answer))
    };
    // Through two devices, sent again, and read late.
    let slow = vec![
        packet(0, 1, egress, ip(&query)),
        packet(20, 2, egress, sent(7)),
        packet(50, 3, egress, sent(2)),
        packet(100_000, 4, egress, ip(&query)),
        packet(100_020, 5, egress, sent(7)),
        packet(100_050, 6, egress, sent(2)),
        answered(300_000),
        packet(800_000, 8, ingress, read_by_client),
    ];
    let expected = serde_json::json!({"send_ms": 0.05, "arrive_ms": 0.03, "read_ms": 500.0});
    assert_eq!(paths(slow), [expected]);

    // Never read: the transaction does not wait longer than it must, and says nothing.
    let unread = vec![
        packet(0, 1, egress, ip(&query)),
        answered(300_000),
        packet(1_300_001, 3, egress, ip(&query)),
        packet(1_400_000, 4, ingress, read_by_client),
    ];
    assert_eq!(paths(unread), [Value::Null, Value::Null]);

    // Read so late that the id was used again: that is not the second answer, which is read at once.
    let again = vec![
        packet(0, 1, egress, ip(&query)),
        packet(300, 2, ingress, ip(&answer)),
        packet(2_000_000, 3, egress, ip(&query)),
        packet(2_000_300, 4, ingress, ip(&answer)),
        packet(2_000_400, 5, ingress, read_by_client),
        packet(2_000_500, 6, ingress, read_by_client),
    ];
    assert_eq!(paths(again), [Value::Null, serde_json::json!({"read_ms": 0.2})]);

    // Two in the server's queue, and one that found it full.
    let full = Arc::new(Loss {
        stage: LossStage::Socket,
        reason: "SOCKET_RCVBUFF".into(),
        hook: None,
        function: None,
    });
    let other = test_packets::udp(CLIENT, SERVER, &test_packets::query(2, "lost"));
    let third = test_packets::udp(CLIENT, SERVER, &test_packets::query(3, "third"));
    let lost = Body::Dropped {
        bytes: &other,
        wire_bytes: wire_bytes(&other),
        loss: Some(&full),
        is_unseen: false,
    };
    let read_by_server = Body::Read { local: any, remote: client };
    let at_server = vec![
        packet(0, 1, ingress, ip(&query)),
        packet(10, 2, ingress, ip(&other)),
        packet(11, 3, ingress, lost),
        packet(20, 4, ingress, ip(&third)),
        packet(40_000, 5, ingress, read_by_server),
        packet(60_000, 6, egress, ip(&answer)),
        packet(60_020, 7, ingress, read_by_server),
    ];
    let times = paths(at_server);
    assert_eq!(times[0], serde_json::json!({"read_ms": 40.0}));
    let third: Vec<_> = times.iter().filter(|times| times["read_ms"] == 60.0).collect();
    assert_eq!((third.len(), times.len()), (1, 3), "{times:?}");
}

#[test]
fn each_socket_of_a_port_reads_its_own_messages() {
    let other_server = "192.0.2.54:53";
    let late = test_packets::udp(CLIENT, other_server, &test_packets::query(1, "late"));
    let soon = test_packets::udp(CLIENT, SERVER, &test_packets::query(2, "soon"));
    let read_at =
        |local: &str| Body::Read { local: local.parse().unwrap(), remote: CLIENT.parse().unwrap() };
    let ingress = Direction::Ingress;
    let packets = |locals: [&str; 2]| {
        vec![
            packet(0, 1, ingress, ip(&late)),
            packet(10_000, 2, ingress, ip(&soon)),
            packet(11_000, 3, ingress, read_at(locals[0])),
            packet(60_000, 4, ingress, read_at(locals[1])),
        ]
    };
    let read = |ms: [f64; 2]| ms.map(|ms| serde_json::json!({"read_ms": ms}));
    assert_eq!(paths(packets([SERVER, other_server])), read([60.0, 1.0]));
    // One socket for all addresses reads in the order of arrival.
    assert_eq!(paths(packets(["0.0.0.0:53", "[::]:53"])), read([11.0, 50.0]));
}

/// Stubs such as musl's ask all servers by one socket with one id. One of them reads the query and does not answer; behind destination
/// NAT, the address of the only one is another.
#[test]
fn lost_query_is_that_to_its_server() {
    let other_server = "192.0.2.54:53";
    let query = test_packets::query(1, "www");
    let [alive, dead] = [SERVER, other_server].map(|to| test_packets::udp(CLIENT, to, &query));
    let loss = Arc::new(Loss {
        stage: LossStage::Neighbour,
        reason: "NEIGH_FAILED".into(),
        hook: None,
        function: None,
    });
    let dropped = |bytes| Body::Dropped {
        bytes,
        wire_bytes: wire_bytes(bytes),
        loss: Some(&loss),
        is_unseen: false,
    };
    let (egress, ingress) = (Direction::Egress, Direction::Ingress);
    let lost = |packets: Vec<Packet<'_>>| {
        let records = run_held(packets.into_iter(), Some(HOLD), || true).unwrap();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut lost: Vec<_> = records
            .filter(|record| {
                record["schema"] == "dns.transaction/1" && !record["lost_at"].is_null()
            })
            .map(|record| {
                let text = |name: &str| record[name].as_str().unwrap().to_owned();
                (text("vantage"), text("server_ip"), record["lost_at"]["count"].clone())
            })
            .collect();
        lost.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        lost
    };
    let both = vec![
        packet(0, 1, egress, ip(&alive)),
        packet(10, 2, egress, ip(&dead)),
        packet(20, 3, ingress, ip(&alive)),
        packet(300_000, 4, egress, dropped(&dead)),
    ];
    let client = |server: &str| ("client".to_owned(), server.to_owned(), Value::Null);
    assert_eq!(lost(both), [client("192.0.2.54")]);
    let translated = vec![
        packet(0, 1, egress, ip(&alive)),
        packet(20, 2, ingress, ip(&alive)),
        packet(300_000, 3, egress, dropped(&dead)),
    ];
    assert_eq!(lost(translated), [client("192.0.2.53")]);
    // The id is used again, for another name.
    let next = test_packets::udp(CLIENT, SERVER, &test_packets::query(1, "next"));
    let again = vec![
        packet(0, 1, egress, ip(&alive)),
        packet(10, 2, egress, dropped(&alive)),
        packet(20, 3, egress, ip(&next)),
        packet(30, 4, egress, dropped(&next)),
    ];
    assert_eq!(lost(again), [client("192.0.2.53"), client("192.0.2.53")]);
}

/// Client and server of two networks have the same addresses, and the id is the same.
#[test]
fn discarded_answer_is_that_of_its_network() {
    let (query, answer) = exchange();
    let full = Arc::new(Loss {
        stage: LossStage::Socket,
        reason: "SOCKET_RCVBUFF".into(),
        hook: None,
        function: None,
    });
    let lost = Body::Dropped {
        bytes: &answer,
        wire_bytes: wire_bytes(&answer),
        loss: Some(&full),
        is_unseen: false,
    };
    let [client, server] = [CLIENT, SERVER].map(|one| one.parse().unwrap());
    let read = Body::Read { local: client, remote: server };
    let (egress, ingress) = (Direction::Egress, Direction::Ingress);
    let packets = [
        in_scope(1, packet(0, 1, egress, ip(&query))),
        in_scope(2, packet(0, 2, egress, ip(&query))),
        in_scope(1, packet(300, 3, ingress, ip(&answer))),
        in_scope(2, packet(400, 4, ingress, ip(&answer))),
        in_scope(1, packet(402, 5, ingress, lost)),
        in_scope(2, packet(500, 6, ingress, read)),
    ];
    let records = run_held(packets.into_iter(), Some(SECOND), || true).unwrap();
    let of = |latency: &str| {
        let found = records.lines().find(|line| line.contains(latency));
        found.unwrap_or_else(|| panic!("{latency} in {records}"))
    };
    let (discarded, taken) = (of("\"latency_ms\":0.3,"), of("\"latency_ms\":0.4,"));
    assert!(discarded.contains("lost_at") && !discarded.contains("read_ms"), "{records}");
    assert!(taken.contains("\"read_ms\":0.1") && !taken.contains("lost_at"), "{records}");
}

const fn in_scope(scope: u64, packet: Packet<'_>) -> Packet<'_> {
    Packet { scope, ..packet }
}

#[test]
fn packets_on_their_way_add_up() {
    let (query, answer) = exchange();
    let other = test_packets::udp(CLIENT, SERVER, &test_packets::query(2, "other"));
    let (egress, ingress) = (Direction::Egress, Direction::Ingress);
    let [client, server]: [SocketAddr; 2] = [CLIENT, SERVER].map(|one| one.parse().unwrap());
    let reason = |reason: &str| {
        let stage = LossStage::Other;
        Arc::new(Loss { stage, reason: reason.into(), hook: None, function: None })
    };
    let [rule, full, closed, queue] = ["RULE", "FULL", "CLOSED", "QUEUE"].map(reason);
    let sent = |bytes| Body::Sent { bytes, wire_bytes: wire_bytes(bytes), device: 7 };
    let dropped = |bytes, loss, is_unseen| Body::Dropped {
        bytes,
        wire_bytes: wire_bytes(bytes),
        loss,
        is_unseen,
    };
    let read = Body::Read { local: server, remote: client };
    let packets: Vec<Packet<'_>> = vec![
        // Taken by two devices, discarded by a queue, discarded before the hook, and on its way.
        packet(0, 1, egress, ip(&query)),
        packet(1, 2, egress, sent(&query)),
        packet(2, 3, egress, sent(&query)),
        packet(3, 4, egress, ip(&other)),
        packet(4, 5, egress, dropped(&other, Some(&queue), false)),
        packet(5, 6, egress, dropped(&query, Some(&rule), true)),
        // Read, discarded at a full socket, and with its socket, which has no network any more.
        in_scope(9, packet(6, 7, ingress, ip(&query))),
        in_scope(9, packet(7, 8, ingress, read)),
        in_scope(9, packet(8, 9, ingress, ip(&other))),
        in_scope(9, packet(9, 10, ingress, dropped(&other, Some(&full), false))),
        in_scope(9, packet(10, 11, ingress, ip(&query))),
        packet(11, 12, ingress, dropped(&query, Some(&closed), false)),
        // On the way elsewhere, a copy, an answer that nobody reads, and a query that is still on its way.
        packet(12, 13, ingress, dropped(&answer, Some(&full), false)),
        packet(13, 14, ingress, dropped(&answer, None, false)),
        packet(14, 15, ingress, ip(&answer)),
        packet(12_000_000, 16, egress, ip(&query)),
    ];
    let (mut pipeline, _kept) = pipeline();
    let mut flow = pipeline.flow_stage(FlowOptions { hold: Some(HOLD), ..flow_options() });
    for packet in &packets {
        flow.observe(packet, &mut pipeline);
    }
    let counters = pipeline.counters(&input(packets.len() as u64, vec![flow.counters(&[])]));
    assert_eq!(counters.imbalances(), []);
    let reasons = |reasons: &[&str]| -> ledger::Reasons {
        reasons.iter().map(|reason| ((*reason).to_owned(), 1)).collect()
    };
    let expected = ledger::Path {
        leaving: ledger::Followed {
            packets: 4,
            delivered: 1,
            dropped: reasons(&["QUEUE", "RULE"]),
            in_flight: 1,
            unknown: 0,
        },
        arriving: ledger::Followed {
            packets: 4,
            delivered: 1,
            dropped: reasons(&["CLOSED", "FULL"]),
            in_flight: 0,
            unknown: 1,
        },
        passing: reasons(&["FULL"]),
        copies: 1,
        lost: 0,
    };
    assert_eq!(counters.path, Some(expected));
    let change = Change { at: packets[15].ts, cut: 1 };
    flow.apply(&Control::Sample(change));
    assert_eq!(flow.counters(&[]).path.unwrap().leaving.unknown, 1);
}
