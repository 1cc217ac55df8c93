//! CPU time of each pipeline thread (`cargo xtask bench threads`): packets of many flows run from memory
//! through flow stages, each with its own thread and CPU, and their batches through the merge stage.
//!
//! `threads SHARDS CLIENTS MILLIONS null|json` prints a JSON object. The modelled figures follow from the
//! measured CPU times if every thread has a CPU: the busiest thread limits the throughput.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement, not the agent")]

use dnscribe_benches::cpu;

use dnscribe_agent::pipeline::{
    BATCHES_PER_SHARD, BatchMerger, EventBatch, FlowOptions, FlowStage, InputCounters, Pipeline,
    PipelineOptions,
};
use dnscribe_agent::record::RecordBuilder;
use dnscribe_common::flow;
use dnscribe_delivery::{self, Failure, OutputFormat, Sink, Stream};
use dnscribe_record::ledger::Delivery;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId};
use dnscribe_transaction::pair::PairOptions;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Nanoseconds between two packets.
const GAP_NS: u64 = 1_000;
/// Queries between a query and its response.
const PENDING: u64 = 64;
const EPOCH: u64 = 1_700_000_000_000_000_000;

/// A sink that lets records be rendered, or not, and drops them.
struct DroppingSink(OutputFormat);

impl Sink for DroppingSink {
    fn name(&self) -> &'static str {
        "drop"
    }
    fn wants(&self, stream: Stream) -> bool {
        stream == Stream::Transactions
    }
    fn output_format(&self) -> OutputFormat {
        self.0
    }
    fn offer(&mut self, _: &Arc<dnscribe_delivery::Batch>) {}
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
        BTreeMap::new()
    }
    fn failure(&self) -> Option<Failure> {
        None
    }
}

/// CPU time of this thread in seconds.
fn cpu_seconds() -> f64 {
    cpu::cpu_time().as_secs_f64()
}

/// Pins this thread to a CPU; threads share CPUs if there are too few.
fn pin(number: usize) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = rustix::thread::CpuSet::new();
    set.set(number % cpus);
    // Pinning may be forbidden.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Writes packet `number`: queries of many clients to one server for names in some thousand zones, and their
/// responses some queries later.
fn write_packet(number: u64, clients: u16, packet: &mut Vec<u8>) {
    let (query, is_response) = match number % 2 {
        1 if number / 2 >= PENDING => (number / 2 - PENDING, true),
        _ => (number / 2, false),
    };
    let client = u16::try_from(query % u64::from(clients)).unwrap_or(0);
    let id = (query / u64::from(clients)).to_be_bytes();
    let mut message =
        vec![id[6], id[7], if is_response { 0x81 } else { 1 }, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    let name = format!("h{}", query % 9_973);
    let zone = format!("zone{}", query % 2_003);
    for label in [name.as_str(), zone.as_str(), "example"] {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.bytes());
    }
    message.extend([0, 0, if query % 3 == 0 { 28 } else { 1 }, 0, 1]);
    if is_response {
        message[7] = 2;
        for last in [1, 2] {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 198, 51, 100, last]);
        }
    }
    let length = u16::try_from(message.len()).unwrap_or(0);
    packet.clear();
    packet.extend([0x45, 0]);
    packet.extend((length + 28).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    let (high, low) = (client.to_be_bytes()[0], client.to_be_bytes()[1]);
    let ends = ([10, 1, high, low], 32_768 + client, [10, 0, 0, 53], 53_u16);
    let (src, src_port, dst, dst_port) =
        if is_response { (ends.2, ends.3, ends.0, ends.1) } else { ends };
    packet.extend(src);
    packet.extend(dst);
    packet.extend(src_port.to_be_bytes());
    packet.extend(dst_port.to_be_bytes());
    packet.extend((length + 8).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(message);
}

/// Packets of one shard: their bytes, and number and start of each.
#[derive(Default)]
struct Ring {
    bytes: Vec<u8>,
    packets: Vec<(u64, usize)>,
}

impl Ring {
    fn packet(&self, place: usize) -> Packet<'_> {
        let (number, start) = self.packets[place];
        let end = self.packets.get(place + 1).map_or(self.bytes.len(), |(_, start)| *start);
        let bytes = &self.bytes[start..end];
        Packet::new(
            Timestamp::from_nanos(EPOCH + number * GAP_NS),
            PacketId { cpu: 0, seq: number + 1 },
            Direction::Passive,
            Body::Ip { bytes, wire_bytes: u32::try_from(bytes.len()).unwrap_or(0) },
        )
    }
}

/// Distributes packets to shards by flow, as the eBPF programs do.
fn distribute(shards: usize, clients: u16, packets: u64) -> Vec<Ring> {
    let mut rings: Vec<Ring> = std::iter::repeat_with(Ring::default).take(shards).collect();
    let count = u32::try_from(shards).expect("few");
    let mut packet = Vec::new();
    for number in 0..packets {
        write_packet(number, clients, &mut packet);
        let four =
            |at: usize| flow::four([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let hash = flow::hash(four(12), four(16), port(20), port(22));
        let ring = &mut rings[usize::try_from(flow::ring(hash, count)).expect("few")];
        ring.packets.push((number, ring.bytes.len()));
        ring.bytes.extend_from_slice(&packet);
    }
    rings
}

/// Runs all packets of a shard through its flow stage. Returns the CPU time in seconds.
fn run_flow_stage(
    mut shard: FlowStage,
    ring: &Ring,
    tell: &SyncSender<EventBatch>,
    empty: &Receiver<EventBatch>,
) -> f64 {
    let before = cpu_seconds();
    let mut place = 0;
    while place < ring.packets.len() {
        let Ok(mut batch) = empty.recv() else { break };
        while !batch.is_full() && place < ring.packets.len() {
            shard.observe(&ring.packet(place), &mut batch);
            batch.packets += 1;
            place += 1;
        }
        if place == ring.packets.len() {
            let last = ring.packet(place - 1).ts;
            shard.finish(last, &mut batch);
            batch.is_last = true;
        }
        shard.finish_batch(&mut batch, &[], None);
        if tell.send(batch).is_err() {
            break;
        }
    }
    cpu_seconds() - before
}

fn main() {
    let argument = |place: usize| std::env::args().nth(place);
    let number = |place, usual| argument(place).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (shards, clients, millions) = (number(1, 2), number(2, 4_000), number(3, 1));
    let format = if argument(4).as_deref() == Some("json") {
        OutputFormat::Json
    } else {
        OutputFormat::None
    };
    let packets = u64::from(millions) * 1_000_000;
    let shards = usize::from(shards);
    let rings = distribute(shards, clients, packets);
    let epoch = Timestamp::from_nanos(EPOCH);
    let identity = RecordBuilder::new("bench".into(), None, epoch, HashMap::new());
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(DroppingSink(format))];
    let pairing = PairOptions { query_timeout: Duration::from_secs(5), max_transactions: 262_144 };
    let flow = FlowOptions { pairing, ..FlowOptions::default() };
    let mut pipeline = Pipeline::new(PipelineOptions::new(identity), sinks);
    let parts = pipeline.flow_stages(&flow, shards);
    let counters = parts.iter().map(|part| part.counters(&[])).collect();
    let mut merger = BatchMerger::new(counters, BATCHES_PER_SHARD, epoch);
    let (tell, received) = sync_channel::<EventBatch>(shards * BATCHES_PER_SHARD);
    let started = Instant::now();
    let (front_cpu, back_cpu) = std::thread::scope(|scope| {
        let mut pools = Vec::new();
        let mut hands = Vec::new();
        for (place, (shard, ring)) in parts.into_iter().zip(&rings).enumerate() {
            let (spent, empty) = sync_channel(BATCHES_PER_SHARD);
            for _ in 0..BATCHES_PER_SHARD {
                spent.send(EventBatch::default()).expect("room");
            }
            pools.push(spent);
            let tell = tell.clone();
            hands.push(scope.spawn(move || {
                pin(place + 1);
                run_flow_stage(shard, ring, &tell, &empty)
            }));
        }
        drop(tell);
        pin(0);
        let before = cpu_seconds();
        for batch in received {
            let (shard, is_last) = (batch.shard, batch.is_last);
            merger.push(batch);
            if is_last {
                merger.advance(shard, Timestamp::from_nanos(u64::MAX));
            }
            merger.merge(&mut pipeline);
            for batch in merger.spent() {
                // A shard that has ended wants none.
                let _ = pools[batch.shard].try_send(batch);
            }
        }
        merger.merge_all(&mut pipeline);
        pipeline.finish(Timestamp::from_nanos(EPOCH + packets * GAP_NS));
        let back = cpu_seconds() - before;
        let fronts: Vec<f64> = hands.into_iter().map(|hand| hand.join().expect("ends")).collect();
        (fronts, back)
    });
    let seconds = started.elapsed().as_secs_f64();
    let flows = merger.counters().cloned().collect();
    let counters = pipeline.counters(&InputCounters { flows, ..InputCounters::default() });
    let pairing = counters.pairing;
    let front: f64 = front_cpu.iter().sum();
    let busiest = front_cpu.iter().copied().fold(0.0, f64::max);
    // The busiest of more threads has as much more than its share as the busiest of these.
    let fronts = u32::try_from(front_cpu.len()).map_or(f64::NAN, f64::from);
    let uneven = busiest * fronts / front;
    let millions = f64::from(millions);
    let modelled = |threads: f64| millions * 1e6 / (front * uneven / threads).max(back_cpu);
    assert_eq!(counters.decode.received, packets);
    let ended = pairing.answered + pairing.open + pairing.retransmitted;
    assert_eq!(ended, pairing.queries, "{pairing:?}");
    println!(
        "{}",
        serde_json::json!({
            "shards": shards,
            "format": if format == OutputFormat::Json { "json" } else { "null" },
            "messages": packets,
            "seconds": seconds,
            "messages_per_second": millions * 1e6 / seconds,
            "flow_threads_cpu_seconds_per_million_messages": front / millions,
            "busiest_flow_thread_cpu_seconds_per_million_messages": busiest / millions,
            "merge_stage_cpu_seconds_per_million_messages": back_cpu / millions,
            // With a CPU for each thread, the busiest thread decides.
            "modelled_4_threads_messages_per_second": modelled(4.0),
            "modelled_16_threads_messages_per_second": modelled(16.0),
        })
    );
}
