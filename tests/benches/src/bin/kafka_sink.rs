//! Sends records that are made already through the agent's own Kafka sink and prints how many
//! seconds passed between the first acknowledgement and the last: what `cargo xtask bench kafka`
//! measures the sink with.
//!
//! `kafka_sink BROKER TOPIC FILE`, the file's lines being a key, a tab and a transaction record.

use dnscribe_delivery::{
    Batch, KafkaConfig, Look, OpenWith, Rotation, Sink, SinkSpec, Stream, StreamChoice, StreamSet,
    open,
};
use dnscribe_record::EventId;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tikv_jemallocator::Jemalloc;

/// As in the agent.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A batch is offered at this size, as the agent does it.
const BATCH_BYTES: usize = 64 << 10;
const NODE: &str = "replay";
const STREAM: Stream = Stream::Transactions;
/// How long Kafka may do nothing.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [broker, topic, file] = words.as_slice() else {
        return Err("usage: kafka_sink BROKER TOPIC FILE".into());
    };
    let mut sink = sink(broker, topic)?;
    let mut lines = BufReader::new(File::open(file)?);
    // librdkafka needs up to half a second until it may send: that is no throughput.
    let first = feed(sink.as_mut(), &mut lines, 1)?;
    let start = Instant::now();
    let rest = feed(sink.as_mut(), &mut lines, u64::MAX)?;
    let seconds = start.elapsed().as_secs_f64();
    let delivered = sink.counters().get(STREAM.name()).map_or(0, |counters| counters.delivered);
    if delivered != first + rest {
        return Err(format!("acknowledged: {delivered} of {} records", first + rest).into());
    }
    writeln!(stdout(), "{seconds}")?;
    Ok(())
}

/// Sends `limit` lines, or what there is, and waits for their acknowledgement; how many they were.
fn feed(sink: &mut dyn Sink, lines: &mut impl BufRead, limit: u64) -> Result<u64, Box<dyn Error>> {
    let (mut batch, mut line, mut count) = (Batch::default(), Vec::new(), 0);
    while count < limit && lines.read_until(b'\n', &mut line)? > 0 {
        push(&mut batch, &line)?;
        line.clear();
        count += 1;
        if batch.size_bytes() >= BATCH_BYTES {
            offer(sink, std::mem::take(&mut batch))?;
        }
    }
    offer(sink, batch)?;
    if !sink.flush(PATIENCE) {
        return Err("Kafka does not acknowledge".into());
    }
    Ok(count)
}

fn sink(broker: &str, topic: &str) -> Result<Box<dyn Sink>, Box<dyn Error>> {
    let kafka = KafkaConfig {
        brokers: vec![broker.to_owned()],
        topics: BTreeMap::from([(STREAM, topic.to_owned())]),
        ..KafkaConfig::default()
    };
    let with = OpenWith {
        streams: StreamChoice {
            kafka: Some(StreamSet::from_iter([STREAM])),
            ..StreamChoice::default()
        },
        rotation: Rotation::default(),
        stdout: Look::Json,
        node: NODE,
        region: None,
        kafka: &kafka,
        alertmanager: None,
        kafka_patience: Some(PATIENCE),
        spool: None,
    };
    open(&[SinkSpec::Kafka], &with)?.pop().ok_or_else(|| "there is no sink".into())
}

fn push(batch: &mut Batch, line: &[u8]) -> Result<(), Box<dyn Error>> {
    let tab = line.iter().position(|octet| *octet == b'\t').ok_or("a line without a key")?;
    let (key, record) = (&line[..tab], &line[tab + 1..]);
    let id = event_id(record).ok_or("a record without an event_id")?;
    batch.push(STREAM, id.0, |out| out.extend(record), |out| out.extend(key));
    Ok(())
}

/// Of a transaction record, where it always stands.
fn event_id(record: &[u8]) -> Option<EventId> {
    let rest = record.strip_prefix(br#"{"schema":"dns.transaction/1","event_id":""#)?;
    std::str::from_utf8(rest.get(..32)?).ok()?.parse().ok()
}

fn offer(sink: &mut dyn Sink, batch: Batch) -> Result<(), Box<dyn Error>> {
    let batch = Arc::new(batch);
    if !sink.wait_for_room(&batch, PATIENCE) {
        return Err("Kafka takes no records".into());
    }
    sink.offer(&batch);
    Ok(())
}
