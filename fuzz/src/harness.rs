//! Runs the pipeline on hostile input and checks its invariants.

use dnscribe_agent::pipeline::{FlowOptions, FlowStage, InputCounters, Pipeline, PipelineOptions};
use dnscribe_agent::record::RecordBuilder;
use dnscribe_analysis::detect::{self, DetectOptions, Detection, HostFacts};
use dnscribe_delivery::{Batch, Failure, OutputFormat, Sink, Stream};
use dnscribe_record::ledger::{Counters, Delivery, Kernel, Ring};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::DecoderOptions;
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId};
use dnscribe_transaction::pair::PairOptions;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most bytes of records that are kept.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// Limits of the pipeline.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Options of the decoder.
    pub decoder: DecoderOptions,
    /// Options of pairing.
    pub pairing: PairOptions,
}

impl Limits {
    /// Returns limits so low that they are reached.
    #[must_use]
    pub fn tight() -> Self {
        Self {
            decoder: DecoderOptions {
                tcp_memory_bytes: 64 << 10,
                tcp_streams: 8,
                fragment_memory_bytes: 4 << 10,
                fragment_datagrams: 4,
                ..DecoderOptions::default()
            },
            pairing: PairOptions { max_transactions: 16, ..PairOptions::default() },
        }
    }
}

/// Metadata of a packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketMetadata {
    /// Direction of the packet.
    pub direction: Direction,
    /// The network in which it was captured.
    pub scope: u64,
    /// Its length on the wire, in bytes.
    pub wire_bytes: u32,
    /// See [`Packet::datagram_bytes`].
    pub datagram_bytes: u16,
}

impl PacketMetadata {
    /// Returns the metadata of a complete packet between other hosts.
    #[must_use]
    pub fn passive(packet: &[u8]) -> Self {
        let wire_bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        Self { direction: Direction::Passive, scope: 0, wire_bytes, datagram_bytes: 0 }
    }
}

/// A pipeline with a sink that checks every record.
pub struct Harness {
    pipeline: Pipeline,
    flow: FlowStage,
    limits: Limits,
    now: Timestamp,
    packets: u64,
    records: Arc<Mutex<Vec<u8>>>,
}

impl Harness {
    /// Creates a pipeline with these limits. `reading`: records are rendered and checked, else only
    /// counted.
    #[must_use]
    pub fn new(limits: Limits, reading: bool) -> Self {
        let epoch = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let identity = RecordBuilder::new("fuzz".into(), None, epoch, HashMap::default());
        let rules = DetectOptions::default();
        let others = detect::create_detectors(&rules, &HostFacts::default());
        let detection = Detection::new(rules, others);
        let options =
            PipelineOptions { detection: Some(detection), ..PipelineOptions::new(identity) };
        let sink = Reader::new(reading);
        let records = Arc::clone(&sink.records);
        let (decoder, pairing) = (limits.decoder.clone(), limits.pairing);
        let flow = FlowOptions { decoder, pairing, ..FlowOptions::default() };
        let mut pipeline = Pipeline::new(options, vec![Box::new(sink)]);
        let flow = pipeline.flow_stage(flow);
        Self { pipeline, flow, limits, now: epoch, packets: 0, records }
    }

    /// Passes an IP packet to the pipeline.
    pub fn send_ip(&mut self, bytes: &[u8], metadata: PacketMetadata) {
        self.send_body(Body::Ip { bytes, wire_bytes: metadata.wire_bytes }, metadata);
    }

    /// Passes a captured event to the pipeline.
    pub fn send_body(&mut self, body: Body<'_>, metadata: PacketMetadata) {
        self.packets += 1;
        let packet = Packet {
            scope: metadata.scope,
            datagram_bytes: metadata.datagram_bytes,
            ..Packet::new(
                self.now,
                PacketId { cpu: 0, seq: self.packets },
                metadata.direction,
                body,
            )
        };
        self.flow.observe(&packet, &mut self.pipeline);
    }

    /// Passes a packet of a capture file to the pipeline, at its own time.
    pub fn replay(&mut self, packet: &Packet<'_>) {
        self.packets += 1;
        self.now = packet.ts;
        self.flow.observe(packet, &mut self.pipeline);
    }

    /// Advances the time, or sets it back.
    pub fn wait(&mut self, time: Duration, backwards: bool) {
        self.now = if backwards {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Timestamp::from_nanos(self.now.as_nanos().saturating_sub(nanos))
        } else {
            self.now.plus(time)
        };
        self.flow.expire(self.now, &mut self.pipeline);
    }

    /// Returns the number of packets passed.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Checks the invariants that hold after every packet: ledger identities and limits.
    ///
    /// # Panics
    /// An invariant is broken.
    pub fn check(&mut self) -> Counters {
        self.pipeline.router.offer();
        let counters = self.pipeline.counters(&self.input());
        let imbalances = counters.imbalances();
        assert!(imbalances.is_empty(), "{imbalances:?}");
        self.check_memory();
        let open = counters.pairing.open;
        let most = self.limits.pairing.max_transactions;
        assert!(open <= most as u64, "{open} queries pending, the limit is {most}");
        counters
    }

    /// Checks the limit on pending data.
    ///
    /// # Panics
    /// The limit is exceeded.
    pub fn check_memory(&self) {
        let options = &self.limits.decoder;
        let most = options.tcp_memory_bytes + options.fragment_memory_bytes;
        let used = self.flow.waiting_bytes();
        assert!(used <= most, "{used} bytes pending, the limit is {most}");
    }

    /// Ends the capture and checks that nothing stays pending.
    ///
    /// # Panics
    /// Something stays pending.
    #[expect(clippy::must_use_candidate, reason = "called for its checks")]
    pub fn end(mut self) -> Counters {
        let input = self.input();
        self.pipeline.write_ledger(&input, self.now, false);
        self.check();
        self.finish();
        self.check();
        self.wait(Duration::from_hours(1), false);
        self.finish();
        let counters = self.check();
        assert_eq!(counters.decode.held, 0, "packets stay pending");
        assert_eq!(self.flow.waiting_bytes(), 0, "bytes stay pending");
        counters
    }

    /// Ends the capture and returns its first records as JSON lines.
    #[must_use]
    pub fn records(self) -> Vec<u8> {
        let records = Arc::clone(&self.records);
        self.end();
        records.lock().map(|records| records.clone()).unwrap_or_default()
    }

    fn finish(&mut self) {
        self.flow.finish(self.now, &mut self.pipeline);
        self.pipeline.finish(self.now);
    }

    fn input(&self) -> InputCounters {
        let kernel = Kernel { seen: self.packets, submitted: self.packets, ..Kernel::default() };
        let ring = Ring { submitted: self.packets, received: self.packets, ..Ring::default() };
        let capture = (BTreeMap::from([("replay".to_owned(), kernel)]), ring);
        let flows = vec![self.flow.counters(&[])];
        InputCounters { capture, flows, ..InputCounters::default() }
    }
}

/// A sink that checks each record.
struct Reader {
    reading: bool,
    counters: BTreeMap<String, Delivery>,
    /// The first records.
    records: Arc<Mutex<Vec<u8>>>,
}

impl Reader {
    fn new(reading: bool) -> Self {
        let zero = |stream: Stream| (stream.name().to_owned(), Delivery::default());
        let counters = Stream::ALL.into_iter().map(zero).collect();
        Self { reading, counters, records: Arc::default() }
    }

    fn read(&self, line: &[u8], schema: &str) {
        let read: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        assert_eq!(read["schema"], schema, "{:?}", String::from_utf8_lossy(line));
        if let Ok(mut records) = self.records.lock()
            && records.len() < MAX_KEPT_BYTES
        {
            records.extend(line);
        }
    }
}

impl Sink for Reader {
    fn name(&self) -> &'static str {
        "null"
    }

    fn wants(&self, _: Stream) -> bool {
        true
    }

    fn output_format(&self) -> OutputFormat {
        if self.reading { OutputFormat::Json } else { OutputFormat::None }
    }

    fn offer(&mut self, batch: &Arc<Batch>) {
        for record in batch.iter() {
            if self.reading {
                self.read(record.line, record.stream.schema());
            }
            let counters = self.counters.entry(record.stream.name().to_owned()).or_default();
            counters.records += 1;
            counters.delivered += 1;
        }
    }

    fn wait_for_capacity(&self, _: &Batch, _: Duration) -> bool {
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
        self.counters.clone()
    }

    fn failure(&self) -> Option<Failure> {
        None
    }
}
