//! Properties of all stages together: whatever packets come in whatever order, every unit is counted.

mod beside;
mod clock;
mod identities;
mod sinks;

use super::*;
use crate::capture::Received;
use crate::record::RecordBuilder;
use dnscribe_delivery::null::NullSink;
use dnscribe_delivery::{self, Failure, OutputFormat, Sink, Stream, StreamSet};
use dnscribe_record::ledger::Delivery;
use dnscribe_transaction::decode::DecoderOptions;
use dnscribe_transaction::packet::net::{protocol, test_packets};
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId};
use dnscribe_transaction::pair::PairOptions;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

mod sizes;
mod losses;
mod uses;

const CLIENT: &str = "192.0.2.1:1024";
const OTHER: &str = "192.0.2.1:1025";
const SERVER: &str = "192.0.2.53:53";

/// A sink that keeps the records.
struct Keeper {
    inner: NullSink,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Sink for Keeper {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn wants(&self, stream: Stream) -> bool {
        self.inner.wants(stream)
    }

    fn output_format(&self) -> OutputFormat {
        OutputFormat::Json
    }

    fn offer(&mut self, batch: &Arc<dnscribe_delivery::Batch>) {
        let mut kept = self.kept.lock().unwrap();
        batch.iter().for_each(|record| kept.extend_from_slice(record.line));
        self.inner.offer(batch);
    }

    fn wait_for_capacity(&self, _: &dnscribe_delivery::Batch, _: Duration) -> bool {
        true
    }

    fn flush(&mut self, _: Duration) -> bool {
        true
    }

    fn begin_close(&mut self) {}

    fn poll_closed(&mut self) -> bool {
        true
    }

    fn counters(&self) -> BTreeMap<String, Delivery> {
        self.inner.counters()
    }

    fn failure(&self) -> Option<Failure> {
        None
    }
}

/// A response to a query of [`craft::query`], with this number of SOA records of the root.
fn response(query: &[u8], soa_records: u8) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] |= 0x80;
    message[7] = soa_records;
    for _ in 0..soa_records {
        message.extend([0, 0, 6, 0, 1, 0, 0, 0, 9, 0, 22, 0, 0]);
        message.extend([0; 20]);
    }
    message
}

/// A query with the question of the others, asked for a zone transfer.
fn transfer(mut query: Vec<u8>) -> Vec<u8> {
    let qtype = query.len() - 3;
    query[qtype] = 252;
    query
}

/// A TCP conversation, in segments of `size` bytes.
fn stream(src: &str, dst: &str, messages: &[Vec<u8>], size: usize) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> =
        messages.iter().flat_map(|message| test_packets::framed(message)).collect();
    let mut packets = vec![test_packets::tcp(src, dst, 99, test_packets::SYN, &[])];
    let mut seq = 100;
    for part in bytes.chunks(size) {
        packets.push(test_packets::tcp(src, dst, seq, test_packets::ACK, part));
        seq += u32::try_from(part.len()).unwrap();
    }
    packets.push(test_packets::tcp(src, dst, seq, test_packets::FIN | test_packets::ACK, &[]));
    packets
}

/// Packets of every kind, few enough that they meet.
fn pool() -> Vec<Vec<u8>> {
    let (a, b) = (test_packets::query(1, "a"), test_packets::query(2, "b"));
    let axfr = transfer(test_packets::query(1, "a"));
    let reset = test_packets::tcp(SERVER, CLIENT, 150, test_packets::RST, &[]);
    let mut packets = vec![vec![0x45, 0, 0], vec![0x60; 60], reset];
    for client in [CLIENT, OTHER] {
        for query in [&a, &b] {
            packets.push(test_packets::udp(client, SERVER, query));
            packets.push(test_packets::udp(SERVER, client, &response(query, 0)));
            packets.push(test_packets::udp(SERVER, client, &response(query, 1)));
        }
        packets.push(test_packets::udp(client, SERVER, &a[..9]));
        packets.push(test_packets::udp(SERVER, client, &[0, 1, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    }
    packets.extend(test_packets::fragments(
        &test_packets::udp(SERVER, CLIENT, &response(&a, 2)),
        7,
        24,
    ));
    packets.extend(stream(CLIENT, SERVER, &[axfr.clone(), b.clone()], 20));
    let answers = [response(&axfr, 1), response(&axfr, 0), response(&axfr, 1), response(&b, 0)];
    packets.extend(stream(SERVER, CLIENT, &answers, 64));
    let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
    icmp.extend(test_packets::udp(CLIENT, SERVER, &a));
    let (from, to) = ([192, 0, 2, 53].into(), [192, 0, 2, 1].into());
    packets.push(test_packets::ip(from, to, protocol::ICMP, &icmp));
    // Only the eight bytes of the UDP header, as RFC 792 asks for.
    packets.push(test_packets::ip(from, to, protocol::ICMP, &icmp[..8 + 20 + 8]));
    packets
}

/// Index in the pool, captured bytes, milliseconds since the packet before.
type Step = (usize, Option<usize>, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clip = prop_oneof![9 => Just(None), 1 => (0..80_usize).prop_map(Some)];
    let pause = prop_oneof![12 => 0..20_u64, 2 => 400..600_u64, 1 => 20_000..70_000_u64];
    prop::collection::vec((0..pool().len(), clip, pause), 1..150)
}

const EPOCH: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

const PAIRING: PairOptions =
    PairOptions { query_timeout: Duration::from_millis(500), max_transactions: 3 };

fn decoding() -> DecoderOptions {
    DecoderOptions {
        tcp_memory_bytes: 4096,
        tcp_streams: 2,
        fragment_memory_bytes: 2048,
        fragment_datagrams: 2,
        ..DecoderOptions::default()
    }
}

/// Options with the tight limits of the tests.
fn flow_options() -> FlowOptions {
    FlowOptions { decoder: decoding(), pairing: PAIRING, ..FlowOptions::default() }
}

/// Counters of the capture of this many packets, and of the flow stages.
fn input(packets: u64, flows: Vec<FlowCounters>) -> InputCounters {
    let kernel = Kernel { seen: packets, submitted: packets, ..Kernel::default() };
    let ring = Ring { submitted: packets, received: packets, ..Ring::default() };
    let capture = (BTreeMap::from([("replay".to_owned(), kernel)]), ring);
    InputCounters { capture, flows, ..InputCounters::default() }
}

/// A pipeline, and the records that it writes.
fn output() -> (Pipeline, Arc<Mutex<Vec<u8>>>) {
    output_of(RecordBuilder::new("node".into(), None, EPOCH, HashMap::new()))
}

fn output_of(identity: RecordBuilder) -> (Pipeline, Arc<Mutex<Vec<u8>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let streams = StreamSet::SHOWN.with(Stream::Messages).with(Stream::Dlq).with(Stream::Lookups);
    let keeper = Keeper { inner: NullSink::new("keeper".into(), streams), kept: Arc::clone(&kept) };
    (Pipeline::new(PipelineOptions::new(identity), vec![Box::new(keeper)]), kept)
}

/// Packets for the steps.
fn packets<'a>(pool: &'a [Vec<u8>], steps: &'a [Step]) -> impl Iterator<Item = Packet<'a>> {
    let mut now = EPOCH;
    steps.iter().zip(1..).map(move |((which, captured, pause), seq)| {
        now = now.plus(Duration::from_millis(*pause));
        let whole = &pool[*which];
        let bytes = &whole[..captured.unwrap_or(whole.len()).min(whole.len())];
        Packet::new(
            now,
            PacketId { cpu: 0, seq },
            Direction::Passive,
            Body::Ip { bytes, wire_bytes: u32::try_from(whole.len()).unwrap() },
        )
    })
}

/// Runs packets through one thread and returns the records. Checks the counters after each packet.
fn run(pool: &[Vec<u8>], steps: &[Step]) -> Result<(Vec<u8>, Counters), TestCaseError> {
    let (mut pipeline, kept) = output();
    let mut flow = pipeline.flow_stage(flow_options());
    let (mut now, mut seq) = (EPOCH, 0);
    for packet in packets(pool, steps) {
        (now, seq) = (packet.ts, packet.id.seq);
        flow.observe(&packet, &mut pipeline);
        pipeline.router.offer();
        let counters = pipeline.counters(&input(seq, vec![flow.counters(&[])]));
        prop_assert_eq!(counters.imbalances(), []);
        prop_assert!(flow.waiting_bytes() <= 4096 + 2048);
        let pairing_bytes = flow.trackers.pairer.memory_bytes();
        prop_assert!(pairing_bytes <= PAIRING.memory_limit_bytes());
        prop_assert!(counters.pairing.open <= 3);
    }
    flow.finish(now, &mut pipeline);
    pipeline.finish(now);
    let counters = pipeline.counters(&input(seq, vec![flow.counters(&[])]));
    prop_assert_eq!(counters.imbalances(), []);
    let kept = kept.lock().unwrap().clone();
    Ok((kept, counters))
}

/// Runs packets through two shards, one of which gets the packets of [`OTHER`] only, and returns the records. A
/// shard sends its batch if `sends` returns true. Checks counters and records whenever a ledger record might
/// be written.
fn run_sharded(
    pool: &[Vec<u8>],
    steps: &[Step],
    mut sends: impl FnMut() -> bool,
) -> Result<(Vec<u8>, Counters), TestCaseError> {
    let (mut pipeline, kept) = output();
    // Each shard has half of the limits.
    let one = decoding();
    let decoder = DecoderOptions {
        tcp_memory_bytes: 2 * one.tcp_memory_bytes,
        tcp_streams: 2 * one.tcp_streams,
        fragment_memory_bytes: 2 * one.fragment_memory_bytes,
        fragment_datagrams: 2 * one.fragment_datagrams,
        ..one
    };
    let pairing = PairOptions { max_transactions: 2 * PAIRING.max_transactions, ..PAIRING };
    let flow = FlowOptions { decoder, pairing, ..FlowOptions::default() };
    let mut shards = pipeline.flow_stages(&flow, 2);
    let counters = shards.iter().map(|shard| shard.counters(&[])).collect();
    let mut merger = BatchMerger::new(counters, BATCHES_PER_SHARD, EPOCH);
    let mut batches = [EventBatch::default(), EventBatch::default()];
    let mut received = [Received::default(), Received::default()];
    let mut now = EPOCH;
    let other: [u8; 2] = 1025_u16.to_be_bytes();
    for packet in packets(pool, steps) {
        now = packet.ts;
        let Body::Ip { bytes, .. } = packet.body else { continue };
        let has = |at: usize| bytes.get(at..at + 2) == Some(&other);
        let which = usize::from(has(20) || has(22));
        shards[which].observe(&packet, &mut batches[which]);
        batches[which].packets += 1;
        received[which].note(packet.id.seq);
        for (which, shard) in shards.iter_mut().enumerate() {
            if sends() && shard.finish_batch(&mut batches[which], &[received[which]], Some(now)) {
                merger.push(std::mem::take(&mut batches[which]));
                merger.merge(&mut pipeline);
                merger.spent().for_each(drop);
            }
        }
        if sends() {
            check_written(&mut pipeline, &mut merger, &kept)?;
        }
    }
    for (which, shard) in shards.iter_mut().enumerate() {
        shard.finish(now, &mut batches[which]);
        batches[which].is_last = true;
        prop_assert!(shard.finish_batch(&mut batches[which], &[received[which]], Some(now)));
        merger.push(std::mem::take(&mut batches[which]));
    }
    merger.merge_all(&mut pipeline);
    pipeline.finish(now);
    let counters = check_written(&mut pipeline, &mut merger, &kept)?;
    prop_assert_eq!(counters.decode.received, steps.len() as u64);
    let kept = kept.lock().unwrap().clone();
    Ok((kept, counters))
}

/// Checks that records agree with the counters, except for zone transfers, which are exported once complete.
fn check_written(
    pipeline: &mut Pipeline,
    merger: &mut BatchMerger,
    kept: &Mutex<Vec<u8>>,
) -> Result<Counters, TestCaseError> {
    merger.merge_all(pipeline);
    pipeline.router.offer();
    let flows: Vec<_> = merger.counters().cloned().collect();
    let received = flows.iter().flat_map(|flow| &flow.received);
    let received = received.map(|received| received.records).sum();
    let counters = pipeline.counters(&input(received, flows));
    prop_assert_eq!(counters.imbalances(), []);
    let written = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
    let of = |status: &str| written.matches(&format!("\"status\":\"{status}\"")).count() as u64;
    prop_assert_eq!(of("timeout"), counters.pairing.timeout);
    prop_assert_eq!(of("orphan"), counters.pairing.orphan);
    Ok(counters)
}

/// Checks the numbers of records against the counters: messages, dead letters, transactions by status.
fn check_records(records: &[u8], counters: &Counters) -> Result<(), TestCaseError> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let (mut asked, mut looked_up) = (Vec::new(), Vec::new());
    for line in records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line).unwrap();
        let kind = record["status"].as_str().or(record["schema"].as_str()).unwrap();
        *found.entry(kind.to_owned()).or_default() += 1;
        let has_query = !["late", "duplicate", "orphan"].contains(&kind);
        if kind == "dns.lookup/1" {
            let members = record["transaction_ids"].as_array().unwrap();
            looked_up.extend(members.iter().map(Value::to_string));
        } else if record["schema"] == "dns.transaction/1"
            && has_query
            && record.get("qname").is_some()
            && record.get("parent_event_id").is_none()
        {
            asked.push(record["event_id"].to_string());
        }
    }
    asked.sort();
    looked_up.sort();
    prop_assert_eq!(asked, looked_up, "each query of an application is in one lookup");
    let pairing = &counters.pairing;
    for (kind, count) in [
        ("dns.message/1", counters.decode.messages),
        ("answered", pairing.answered),
        ("timeout", pairing.timeout),
        ("icmp_error", pairing.icmp_error),
        ("evicted", pairing.evicted),
        ("open", pairing.open),
        ("late", pairing.late),
        ("duplicate", pairing.duplicate),
        ("orphan", pairing.orphan),
    ] {
        prop_assert_eq!(found.get(kind).copied().unwrap_or_default(), count, "{}", kind);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn counts_every_unit(steps in steps()) {
        let pool = pool();
        let (records, counters) = run(&pool, &steps)?;
        check_records(&records, &counters)?;
        let again = run(&pool, &steps)?;
        prop_assert!(again == (records, counters), "another result the second time");
    }

    #[test]
    fn counts_every_unit_in_shards(
        steps in steps(),
        turns in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let pool = pool();
        let mut turns = turns.iter().copied().cycle();
        let (records, counters) = run_sharded(&pool, &steps, || turns.next().unwrap())?;
        check_records(&records, &counters)?;
    }

    /// Packets in their order, with losses and copies: near enough to real traffic that conversations complete.
    #[test]
    fn counts_losses_and_copies(
        kinds in prop::collection::vec((0..10_u8, 0..20_u64), pool().len()),
        rounds in 1..4_usize,
    ) {
        let pool = pool();
        let mut steps: Vec<Step> = Vec::new();
        for (place, (kind, pause)) in kinds.iter().enumerate() {
            let copies = match kind { 0 => 0, 1 => 2, _ => 1 };
            steps.extend(vec![(place, None, *pause); copies]);
        }
        let steps = steps.repeat(rounds);
        let (records, counters) = run(&pool, &steps)?;
        check_records(&records, &counters)?;
    }
}

/// If no limit is reached and no response goes to another port, two shards write the same records as one thread.
#[test]
fn two_shards_write_the_records_of_one_thread() {
    let whole = pool();
    let fragmented = |packet: &[u8]| packet[0] == 0x45 && packet[6] & 0x3f != 0;
    let pool: Vec<Vec<u8>> = whole.into_iter().skip(3).filter(|ip| !fragmented(ip)).collect();
    let steps: Vec<Step> = (0..pool.len()).map(|place| (place, None, 1)).collect();
    let (one, counted) = run(&pool, &steps).unwrap();
    for every in 1..9 {
        let mut turn = 0;
        let sends = || {
            turn += 1;
            turn % every == 0
        };
        let (two, counted_too) = run_sharded(&pool, &steps, sends).unwrap();
        assert_eq!(counted_too.pairing, counted.pairing);
        assert_eq!(sorted(&two), sorted(&one), "{every}");
    }
}

fn sorted(records: &[u8]) -> Vec<String> {
    let text = String::from_utf8(records.to_vec()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// In the order of the pool, with a millisecond between packets, every stage has work.
#[test]
fn pool_has_work_for_every_stage() {
    let pool = pool();
    let steps: Vec<Step> = (0..pool.len()).map(|place| (place, None, 1)).collect();
    let (_, counters) = run(&pool, &steps).unwrap();
    let pairing = &counters.pairing;
    assert_eq!((pairing.answered, pairing.continued), (6, 2), "{pairing:?}");
    assert!(pairing.duplicate > 0, "{pairing:?}");
    assert!(counters.decode.malformed.values().sum::<u64>() >= 3, "{:?}", counters.decode);
}
