//! From the answer to the connection, its record, its alert and the ledger.

use super::*;
use dnscribe_analysis::detect::{DetectOptions, HostFacts, create_detectors};
use dnscribe_transaction::packet::sampling::Change;
use dnscribe_transaction::packet::{ConnectStep, Task, Transport};
use std::net::SocketAddr;

const ADDRESS: &str = "198.51.100.9:5432";

/// Packets of a process: a query with its answer, and connections.
struct Traffic {
    seq: u64,
    connects: u64,
    steps: u64,
}

impl Traffic {
    fn packet<'a>(&mut self, at_ms: u64, direction: Direction, body: Body<'a>) -> Packet<'a> {
        self.seq += 1;
        let mut task = Task { pid: 812, start_ns: 5, ..Task::default() };
        task.comm[..4].copy_from_slice(b"java");
        match body {
            Body::Connect { step: ConnectStep::Begun { .. }, .. } => self.connects += 1,
            Body::Connect { .. } => self.steps += 1,
            _ => {}
        }
        Packet {
            task: Some(task),
            ..Packet::new(
                EPOCH.plus(Duration::from_millis(at_ms)),
                PacketId { cpu: 0, seq: self.seq },
                direction,
                body,
            )
        }
    }

    fn input(&self, flows: Vec<FlowCounters>) -> InputCounters {
        let kernel = |count| Kernel { seen: count, submitted: count, ..Kernel::default() };
        let rest = self.seq - self.connects - self.steps;
        let hooks = [("cgroup", rest), ("connect", self.connects), ("sock_ops", self.steps)];
        let hooks = hooks.map(|(hook, count)| (hook.to_owned(), kernel(count)));
        let ring = Ring { submitted: self.seq, received: self.seq, ..Ring::default() };
        let capture = (BTreeMap::from(hooks), ring);
        InputCounters { capture, flows, ..InputCounters::default() }
    }
}

fn begun(cookie: u64) -> Body<'static> {
    let remote: SocketAddr = ADDRESS.parse().unwrap();
    Body::Connect {
        cookie,
        step: ConnectStep::Begun { transport: Transport::Tcp, remote, is_discarded: false },
    }
}

/// An answer with [`ADDRESS`] and a TTL of ten seconds.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] |= 0x80;
    message[7] = 1;
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 198, 51, 100, 9]);
    message
}

#[test]
fn a_connection_has_the_lookup_that_it_used() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let streams = StreamSet::EMPTY.with(Stream::Uses).with(Stream::Lookups).with(Stream::Alerts);
    let keeper = Keeper { inner: NullSink::new("keeper".into(), streams), kept: Arc::clone(&kept) };
    let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
    let options = DetectOptions::default();
    let facts = HostFacts { connects_since_ns: Some(1), ..HostFacts::default() };
    let detectors = create_detectors(&options, &facts);
    let options = PipelineOptions {
        uses: Some(UseOptions::DEFAULT),
        detection: Some(Detection::new(options, detectors)),
        ..PipelineOptions::new(identity)
    };
    let mut pipeline = Pipeline::new(options, vec![Box::new(keeper)]);
    let mut flow = pipeline.flow_stage(flow_options());
    let mut traffic = Traffic { seq: 0, connects: 0, steps: 0 };
    let query = test_packets::query(1, "db");
    let packets = [
        (0, Direction::Egress, test_packets::udp(CLIENT, SERVER, &query)),
        (3, Direction::Ingress, test_packets::udp(SERVER, CLIENT, &answer(&query))),
    ];
    let mut now = EPOCH;
    for (at_ms, direction, bytes) in &packets {
        let wire_bytes = u32::try_from(bytes.len()).unwrap();
        let packet = traffic.packet(*at_ms, *direction, Body::Ip { bytes, wire_bytes });
        flow.observe(&packet, &mut pipeline);
    }
    // At once, and again and again long after the TTL, when nobody answers any more.
    for (cookie, at_ms) in (1..).zip([5, 200_000, 260_000, 320_000, 380_000]) {
        let outcome = match cookie {
            1 => ConnectStep::Established { rtt: None, awaits_byte: false },
            _ => ConnectStep::Failed { errno: 110 },
        };
        for (pause, body) in [(0, begun(cookie)), (40, Body::Connect { cookie, step: outcome })] {
            let packet = traffic.packet(at_ms + pause, Direction::Egress, body);
            now = packet.ts;
            flow.observe(&packet, &mut pipeline);
            let counters = pipeline.counters(&traffic.input(vec![flow.counters(&[])]));
            assert_eq!(counters.imbalances(), []);
        }
    }
    now = now.plus(Duration::from_secs(70));
    flow.expire(now, &mut pipeline);
    flow.finish(now, &mut pipeline);
    pipeline.finish(now);
    let counters = pipeline.counters(&traffic.input(vec![flow.counters(&[])]));
    assert_eq!(counters.imbalances(), []);
    let uses = counters.uses.unwrap();
    assert_eq!((uses.connects, uses.matched, uses.none), (5, 5, 0));

    let lines = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
    let records: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |schema: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["schema"] == schema).collect()
    };
    let lookups = of("dns.lookup/1");
    let uses = of("dns.use/1");
    assert!(uses.iter().all(|one| one["lookup_event_id"] == lookups[0]["event_id"]), "{lines}");
    let [fresh, ..] = uses[..] else { panic!("{lines}") };
    assert_eq!(
        ["name", "match", "outcome"].map(|name| fresh[name].as_str().unwrap()),
        ["db.example", "sole", "established"]
    );
    assert_eq!(
        ["answer_age_ms", "ttl_left_ms", "lookup_ms", "connect_ms"]
            .map(|name| fresh[name].as_f64()),
        [2.0, 9_998.0, 3.0, 40.0].map(Some)
    );
    let count = |one: &&&Value| one["count"].as_u64().unwrap();
    assert_eq!(uses.iter().map(|one| count(&one)).sum::<u64>(), 5, "{lines}");
    let alerts = of("dns.alert/1");
    let stale = alerts.iter().find(|alert| alert["rule"] == "stale_address");
    let stale = stale.unwrap_or_else(|| panic!("{lines}"));
    assert_eq!(
        (&stale["entity"], &stale["severity"]),
        (&"qname=db.example,process=java".into(), &"warning".into())
    );
}

/// A trace adds up the times of all connections.
#[test]
fn without_kinds_no_connection_is_summed_up() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let inner = NullSink::new("keeper".into(), StreamSet::EMPTY.with(Stream::Uses));
    let keeper = Keeper { inner, kept: Arc::clone(&kept) };
    let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
    let uses = Some(UseOptions { max_kinds: 0, ..UseOptions::DEFAULT });
    let options = PipelineOptions { uses, ..PipelineOptions::new(identity) };
    let mut pipeline = Pipeline::new(options, vec![Box::new(keeper)]);
    let mut flow = pipeline.flow_stage(flow_options());
    let mut traffic = Traffic { seq: 0, connects: 0, steps: 0 };
    for cookie in 1..7 {
        let packet = traffic.packet(cookie * 100, Direction::Egress, begun(cookie));
        flow.observe(&packet, &mut pipeline);
    }
    let now = EPOCH.plus(Duration::from_secs(1));
    flow.finish(now, &mut pipeline);
    pipeline.finish(now);
    let lines = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
    assert_eq!(lines.matches(r#""count":1"#).count(), 6, "{lines}");
}

/// A name that sampling or a full ring may have left out is not taken for the only one, of later connections and of one that has no
/// record yet.
#[test]
fn what_is_not_exported_makes_names_uncertain() {
    let change =
        |at_ms, cut| Control::Sample(Change { at: EPOCH.plus(Duration::from_millis(at_ms)), cut });
    for (cause, expected) in [("none", 2), ("sampling", 1), ("loss", 0)] {
        let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
        let options =
            PipelineOptions { uses: Some(UseOptions::DEFAULT), ..PipelineOptions::new(identity) };
        let mut pipeline = Pipeline::new(options, Vec::new());
        let mut flow = pipeline.flow_stage(flow_options());
        let mut traffic = Traffic { seq: 0, connects: 0, steps: 0 };
        let query = test_packets::query(1, "db");
        let packets = [
            (0, Direction::Egress, test_packets::udp(CLIENT, SERVER, &query)),
            (3, Direction::Ingress, test_packets::udp(SERVER, CLIENT, &answer(&query))),
        ];
        for (at_ms, direction, bytes) in &packets {
            let wire_bytes = u32::try_from(bytes.len()).unwrap();
            let packet = traffic.packet(*at_ms, *direction, Body::Ip { bytes, wire_bytes });
            flow.observe(&packet, &mut pipeline);
        }
        flow.observe(&traffic.packet(5, Direction::Egress, begun(1)), &mut pipeline);
        match cause {
            "sampling" => {
                pipeline.apply(&change(500, 1_000)).unwrap();
                pipeline.apply(&change(600, 0)).unwrap();
            }
            "loss" => pipeline.note_missing(EPOCH, EPOCH.plus(Duration::from_millis(600))),
            _ => {}
        }
        flow.observe(&traffic.packet(700, Direction::Egress, begun(2)), &mut pipeline);
        let uses = pipeline.counters(&traffic.input(vec![flow.counters(&[])])).uses.unwrap();
        assert_eq!((uses.matched, uses.ambiguous), (expected, 2 - expected), "{cause}");
    }
}
