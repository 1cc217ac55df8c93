//! Runs packets through the agent's stages, configured like `dnscribe replay`.

use crate::counting_sink::{CountingSink, Counts};
use crate::cpu::cpu_time;
use crate::load::Packets;
use crate::{Failure, Measurement, allocations, real};
use dnscribe_agent::config::{Config, Sources};
use dnscribe_agent::pipeline::{FlowOptions, FlowStage, InputCounters, Pipeline, PipelineOptions};
use dnscribe_agent::record::RecordBuilder;
use dnscribe_analysis::detect::{self, Detection, ExpectedResolvers, HostFacts};
use dnscribe_delivery::{self, Sink, SinkSpec};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::DecoderOptions;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs the packets through the stages; only these seconds of the capture are measured.
pub fn run(
    packets: &Packets,
    sources: &Sources,
    seconds: Range<f64>,
) -> Result<Measurement, Failure> {
    let config = Config::load(sources)?;
    let Range { start, end } = packets.times(seconds)?;
    let first = packets.first()?;
    let counts = Arc::new(Counts::default());
    let (mut pipeline, mut flow) = pipeline(&config, first, sinks(&config, &counts)?);
    let mut packets = packets.iter().peekable();
    while let Some(packet) = packets.next_if(|packet| packet.ts < start) {
        flow.observe(&packet, &mut pipeline);
    }
    let before = messages(&pipeline, &flow);
    allocations::reset();
    let begin = cpu_time();
    let mut last = first;
    for packet in packets.take_while(|packet| packet.ts < end) {
        flow.observe(&packet, &mut pipeline);
        last = packet.ts;
    }
    if start == first {
        flow.finish(last, &mut pipeline);
        pipeline.finish(last);
        pipeline.router.offer();
    }
    let cpu = cpu_time().saturating_sub(begin);
    allocations::stop();
    let mut more = vec![("resident_bytes", real(resident()?))];
    let records = counts.records.load(Ordering::Relaxed);
    if records > 0 {
        let bytes = real(counts.bytes.load(Ordering::Relaxed));
        more.extend([("records", real(records)), ("bytes_per_record", bytes / real(records))]);
    }
    Ok(Measurement { messages: messages(&pipeline, &flow) - before, cpu, more })
}

fn messages(pipeline: &Pipeline, flow: &FlowStage) -> u64 {
    let input = InputCounters { flows: vec![flow.counters(&[])], ..InputCounters::default() };
    pipeline.counters(&input).decode.messages
}

fn sinks(config: &Config, counts: &Arc<Counts>) -> Result<Vec<Box<dyn Sink>>, Failure> {
    if config.sinks == [SinkSpec::Null] {
        return Ok(dnscribe_delivery::open(&config.sinks, &config.open_with())?);
    }
    let streams = config.streams.for_sink(config.sinks.first().ok_or("no sink")?);
    Ok(vec![Box::new(CountingSink::new(streams, Arc::clone(counts)))])
}

fn pipeline(config: &Config, epoch: Timestamp, sinks: Vec<Box<dyn Sink>>) -> (Pipeline, FlowStage) {
    let resolvers = config.resolvers.clone().into_iter().collect();
    let identity = RecordBuilder::new(config.node.clone(), config.region.clone(), epoch, resolvers);
    let detection = config.detect.clone().map(|options| {
        let configured = config.resolvers.keys().copied().collect();
        let resolvers = ExpectedResolvers { configured, system: BTreeSet::new() };
        let facts = HostFacts { resolvers, ..HostFacts::default() };
        let others = detect::create_detectors(&options, &facts);
        Detection::new(options, others)
    });
    let correlation = config.correlation;
    let windows = config.windows;
    let options =
        PipelineOptions { correlation, windows, detection, ..PipelineOptions::new(identity) };
    let decoder =
        DecoderOptions { ports: config.capture.ports.clone(), ..DecoderOptions::default() };
    let flow = FlowOptions {
        decoder,
        pairing: config.pairing,
        connections: config.connecting,
        hold: None,
    };
    let mut pipeline = Pipeline::new(options, sinks);
    let flow = pipeline.flow_stage(flow);
    (pipeline, flow)
}

/// Resident memory in bytes, including the packets and the allocator's caches.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kibibytes: u64 = line.split_whitespace().next().ok_or("an empty VmRSS")?.parse()?;
    Ok(kibibytes * 1024)
}
