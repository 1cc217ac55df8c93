//! Every identity holds in every ledger record, whatever waits: with the path of packets and connections together.

use super::*;
use dnscribe_transaction::packet::{ConnectStep, Loss, LossStage, Transport};
use std::net::SocketAddr;

/// What a step does with a packet of the pool, or beside it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Seen(Direction),
    Sent,
    /// Whether something was lost, and whether no hook saw the packet before.
    Dropped(bool, bool),
    Read,
    Begun,
    Established,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Seen(Direction::Ingress)),
        4 => Just(Kind::Seen(Direction::Egress)),
        1 => Just(Kind::Sent),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(is_lost, is_unseen)| {
            Kind::Dropped(is_lost, is_unseen)
        }),
        2 => Just(Kind::Read),
        4 => Just(Kind::Begun),
        1 => Just(Kind::Established),
    ]
}

/// Shard, index in the pool, what happens, microseconds since the step before, whether the ring is found empty
/// after it, and whether a ledger record is written.
type Happening = (usize, usize, Kind, u64, bool, bool);

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let pause = prop_oneof![8 => 0..2_000_u64, 1 => 90_000..120_000_u64];
    let one = (0..2_usize, 0..pool().len(), kinds(), pause, any::<bool>(), any::<bool>());
    prop::collection::vec(one, 1..120)
}

fn body<'a>(kind: Kind, bytes: &'a [u8], loss: &'a Arc<Loss>) -> (&'static str, Body<'a>) {
    let wire_bytes = u32::try_from(bytes.len()).unwrap();
    let [local, remote]: [SocketAddr; 2] = [CLIENT, SERVER].map(|end| end.parse().unwrap());
    let connect = |step| Body::Connect { cookie: u64::from(wire_bytes), step };
    match kind {
        Kind::Seen(_) => ("cgroup", Body::Ip { bytes, wire_bytes }),
        Kind::Sent => ("transmit", Body::Sent { bytes, wire_bytes, device: 2 }),
        Kind::Dropped(is_lost, is_unseen) => {
            let loss = is_lost.then_some(loss);
            ("drop", Body::Dropped { bytes, wire_bytes, loss, is_unseen })
        }
        Kind::Read => ("read", Body::Read { local, remote }),
        Kind::Begun => {
            let transport = Transport::Udp;
            ("connect", connect(ConnectStep::Begun { transport, remote, is_discarded: false }))
        }
        Kind::Established => {
            ("sock_ops", connect(ConnectStep::Established { rtt: None, awaits_byte: false }))
        }
    }
}

fn check(
    pipeline: &mut Pipeline,
    merger: &mut BatchMerger,
    hooks: &BTreeMap<String, u64>,
) -> Result<Counters, TestCaseError> {
    merger.merge_all(pipeline);
    let of_hook = |count| Kernel { seen: count, submitted: count, ..Kernel::default() };
    let kernel = hooks.iter().map(|(hook, count)| (hook.clone(), of_hook(*count))).collect();
    let all = hooks.values().sum();
    let ring = Ring { submitted: all, received: all, ..Ring::default() };
    let flows = merger.counters().cloned().collect();
    let input = InputCounters { capture: (kernel, ring), flows, ..InputCounters::default() };
    let counters = pipeline.counters(&input);
    prop_assert_eq!(counters.imbalances(), []);
    Ok(counters)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn hold_in_every_record(steps in happenings(), shards in 1..=2_usize) {
        let pool = pool();
        let reason = "SOCKET_RCVBUFF".into();
        let loss = Loss { stage: LossStage::Socket, reason, hook: None, function: None };
        let loss = Arc::new(loss);
        let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
        let options = PipelineOptions { path: true, uses: Some(UseOptions::DEFAULT), ..PipelineOptions::new(identity) };
        let mut pipeline = Pipeline::new(options, Vec::new());
        let hold = Some(Duration::from_millis(100));
        let mut stages = pipeline.flow_stages(&FlowOptions { hold, ..flow_options() }, shards);
        let counters = stages.iter().map(|stage| stage.counters(&[])).collect();
        let mut merger = BatchMerger::new(counters, BATCHES_PER_SHARD, EPOCH);
        let mut hooks = BTreeMap::new();
        let mut now = EPOCH;
        for ((shard, which, kind, pause, is_drained, is_recorded), seq) in steps.iter().zip(1..) {
            now = now.plus(Duration::from_micros(*pause));
            let (hook, body) = body(*kind, &pool[*which], &loss);
            let direction = match kind {
                Kind::Seen(direction) => *direction,
                _ => Direction::Egress,
            };
            let stage = &mut stages[shard % shards];
            let mut batch = EventBatch::default();
            batch.packets = 1;
            stage.observe(&Packet::new(now, PacketId { cpu: 0, seq }, direction, body), &mut batch);
            *hooks.entry(hook.to_owned()).or_default() += 1;
            if *is_drained {
                stage.ring_drained(now, &mut batch);
            }
            prop_assert!(stage.finish_batch(&mut batch, &[], Some(now)));
            merger.push(batch);
            if *is_recorded {
                check(&mut pipeline, &mut merger, &hooks)?;
            } else {
                merger.merge(&mut pipeline);
            }
        }
        for stage in &mut stages {
            let mut batch = EventBatch::default();
            batch.is_last = true;
            stage.finish(now, &mut batch);
            prop_assert!(stage.finish_batch(&mut batch, &[], Some(now)));
            merger.push(batch);
        }
        let uses = check(&mut pipeline, &mut merger, &hooks)?.uses.unwrap();
        prop_assert_eq!(uses.held, 0);
        prop_assert_eq!(uses.connects, hooks.get("connect").copied().unwrap_or_default());
    }
}
