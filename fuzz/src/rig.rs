//! The pipeline under attack: whatever it is shown, its promises are checked.

use dnscribe::capture::{Body, Origin, Packet, Sight};
use dnscribe::decode::DecoderOptions;
use dnscribe::detect::{self, DetectOptions, Detection, Meant};
use dnscribe::ledger::{Counters, Delivery, Kernel, Ring};
use dnscribe::pair::PairOptions;
use dnscribe::pipeline::{FlowOptions, FlowStage, InputCounters, Pipeline, PipelineOptions};
use dnscribe::record::Identity;
use dnscribe::sink::{Batch, Failure, Look, Sink, Stream};
use dnscribe::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Octets of records that are kept.
const MAX_KEPT: usize = 64 << 10;

/// What the pipeline may use.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// For the decoder.
    pub decoder: DecoderOptions,
    /// For pairing.
    pub pairing: PairOptions,
}

impl Bounds {
    /// So little that they are reached.
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

/// A packet's surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where it was seen.
    pub sight: Sight,
    /// The network that it was seen in.
    pub scope: u64,
    /// Its length on the wire.
    pub wire_bytes: u32,
    /// See [`Packet::datagram_bytes`].
    pub datagram_bytes: u16,
}

impl Place {
    /// A whole packet seen in passing.
    #[must_use]
    pub fn passing(packet: &[u8]) -> Self {
        let wire_bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        Self { sight: Sight::Passive, scope: 0, wire_bytes, datagram_bytes: 0 }
    }
}

/// A pipeline with a sink that reads every record.
pub struct Rig {
    pipeline: Pipeline,
    flow: FlowStage,
    bounds: Bounds,
    now: Timestamp,
    packets: u64,
    records: Arc<Mutex<Vec<u8>>>,
}

impl Rig {
    /// A pipeline within these bounds. `reading`: records are rendered and read, else only counted.
    #[must_use]
    pub fn new(bounds: Bounds, reading: bool) -> Self {
        let epoch = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let identity = Identity::new("fuzz".into(), None, epoch, HashMap::default());
        let rules = DetectOptions::default();
        let others = detect::all(&rules, &Meant::default());
        let detection = Detection::new(rules, others);
        let options =
            PipelineOptions { detection: Some(detection), ..PipelineOptions::new(identity) };
        let sink = Reader::new(reading);
        let records = Arc::clone(&sink.records);
        let (decoder, pairing) = (bounds.decoder.clone(), bounds.pairing);
        let flow = FlowOptions { decoder, pairing, ..FlowOptions::default() };
        let mut pipeline = Pipeline::new(options, vec![Box::new(sink)]);
        let flow = pipeline.flow_stage(flow);
        Self { pipeline, flow, bounds, now: epoch, packets: 0, records }
    }

    /// Shows an IP packet.
    pub fn show(&mut self, bytes: &[u8], place: Place) {
        self.show_body(Body::Ip { bytes, wire_bytes: place.wire_bytes }, place);
    }

    /// Shows what a hook has seen.
    pub fn show_body(&mut self, body: Body<'_>, place: Place) {
        self.packets += 1;
        let packet = Packet {
            ts: self.now,
            origin: Origin { cpu: 0, seq: self.packets },
            scope: place.scope,
            sight: place.sight,
            task: None,
            datagram_bytes: place.datagram_bytes,
            cgroup_id: 0,
            body,
        };
        self.flow.observe(&packet, &mut self.pipeline);
    }

    /// Takes a packet that a capture file held, in its own time.
    pub fn replay(&mut self, packet: &Packet<'_>) {
        self.packets += 1;
        self.now = packet.ts;
        self.flow.observe(packet, &mut self.pipeline);
    }

    /// Lets time pass, backwards where it is told to.
    pub fn wait(&mut self, time: Duration, backwards: bool) {
        self.now = if backwards {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Timestamp::from_nanos(self.now.as_nanos().saturating_sub(nanos))
        } else {
            self.now.plus(time)
        };
        self.flow.expire(self.now, &mut self.pipeline);
    }

    /// Packets shown.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Checks what must hold after every packet: the identities, and the bounds.
    ///
    /// # Panics
    /// Where it does not.
    pub fn check(&mut self) -> Counters {
        self.pipeline.router().offer();
        let counters = self.pipeline.counters(&self.input());
        let imbalances = counters.imbalances();
        assert!(imbalances.is_empty(), "{imbalances:?}");
        self.check_memory();
        let open = counters.pairing.open;
        let most = self.bounds.pairing.max_transactions;
        assert!(open <= most as u64, "{open} queries wait, {most} may");
        counters
    }

    /// Checks that no more octets wait than may.
    ///
    /// # Panics
    /// Where more do.
    pub fn check_memory(&self) {
        let options = &self.bounds.decoder;
        let most = options.tcp_memory_bytes + options.fragment_memory_bytes;
        let used = self.flow.waiting_bytes();
        assert!(used <= most, "{used} octets wait, {most} may");
    }

    /// Ends the capture, and checks that nothing waits for ever.
    ///
    /// # Panics
    /// Where something does.
    #[expect(clippy::must_use_candidate, reason = "called for its checks")]
    pub fn end(mut self) -> Counters {
        let input = self.input();
        self.pipeline.write_ledger(&input, self.now, false);
        self.check();
        self.finish();
        self.check();
        self.wait(Duration::from_secs(3600), false);
        self.finish();
        let counters = self.check();
        assert_eq!(counters.decode.held, 0, "packets wait for ever");
        assert_eq!(self.flow.waiting_bytes(), 0, "octets wait for ever");
        counters
    }

    /// Ends the capture and gives the first records that it made, as lines of JSON.
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
        InputCounters { capture, flows: vec![self.flow.counters(&[])] }
    }
}

/// A sink that checks each record for being one.
struct Reader {
    reading: bool,
    counters: BTreeMap<String, Delivery>,
    /// The first records read.
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
            && records.len() < MAX_KEPT
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

    fn look(&self) -> Look {
        if self.reading { Look::Json } else { Look::Blank }
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

    fn wait_for_room(&self, _: &Batch, _: Duration) -> bool {
        true
    }

    fn flush(&mut self, _: Duration) -> bool {
        true
    }

    fn close(&mut self) {}

    fn counters(&self) -> BTreeMap<String, Delivery> {
        self.counters.clone()
    }

    fn failure(&self) -> Option<Failure> {
        None
    }
}
