//! Packets that the kernel discards, from the ring to the record.

use super::*;
use dnscribe_transaction::packet::{Loss, LossStage};

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
    path: bool,
    mut is_drained: impl FnMut() -> bool,
) -> Result<String, TestCaseError> {
    let (mut pipeline, kept) = pipeline();
    let mut flow = pipeline.flow_stage(FlowOptions { path, ..flow_options() });
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

proptest! {
    #[test]
    fn holding_changes_nothing(steps in steps()) {
        let pool = pool();
        let plain = run_held(at_client(&pool, &steps), false, || false)?;
        let held = run_held(at_client(&pool, &steps), true, || false)?;
        prop_assert_eq!(plain, held);
    }

    #[test]
    fn holding_loses_nothing(steps in steps(), empty in any::<u64>()) {
        let pool = pool();
        let mut turn = 0;
        let mut is_drained = || {
            turn = (turn + 1) % 64;
            empty >> turn & 1 == 1
        };
        let records = run_held(at_client(&pool, &steps), true, &mut is_drained)?;
        prop_assert!(records.lines().all(|line| !line.contains("lost_at")));
    }
}

#[test]
fn answer_that_its_socket_refuses_is_lost() {
    let query = test_packets::query(1, "www");
    let mut answer = query.clone();
    answer[2] |= 0x80;
    let (query, answer) =
        (test_packets::udp(CLIENT, SERVER, &query), test_packets::udp(SERVER, CLIENT, &answer));
    let loss = Arc::new(Loss {
        stage: LossStage::Socket,
        reason: "SOCKET_RCVBUFF".into(),
        hook: None,
        function: Some("udp_rcv".into()),
    });
    let wire_bytes = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let packet = |us: u64, seq: u64, direction: Direction, body| {
        let ts = EPOCH.plus(Duration::from_micros(us));
        Packet::new(ts, PacketId { cpu: 0, seq }, direction, body)
    };
    let ip = |bytes| Body::Ip { bytes, wire_bytes: wire_bytes(bytes) };
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
    let records = run_held(lost_answer.into_iter(), true, || true).unwrap();
    let lost = r#""lost_at":{"message":"response","stage":"socket","reason":"SOCKET_RCVBUFF","function":"udp_rcv"}"#;
    assert!(records.contains("\"status\":\"answered\"") && records.contains(lost), "{records}");

    // A copy of the query was lost, not the query.
    let copy = [
        packet(0, 1, egress, ip(&query)),
        packet(10, 2, ingress, dropped(false, &query, Some(&loss))),
        packet(300, 3, ingress, ip(&answer)),
        packet(302, 4, ingress, dropped(false, &answer, None)),
    ];
    let records = run_held(copy.into_iter(), true, || true).unwrap();
    assert!(
        records.contains("\"status\":\"answered\"") && !records.contains("lost_at"),
        "{records}"
    );

    // Never seen but as it was lost: a message, and a transaction.
    let unseen = [packet(0, 1, egress, dropped(true, &query, Some(&loss)))];
    let records = run_held(unseen.into_iter(), true, || true).unwrap();
    assert!(records.contains("\"dns.message/1\""), "{records}");
    assert!(
        records.contains("\"status\":\"open\"") && records.contains("\"lost_at\""),
        "{records}"
    );
}
