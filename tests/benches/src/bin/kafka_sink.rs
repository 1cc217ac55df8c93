//! Sends prepared records through the agent's Kafka sink and prints the seconds between the first
//! acknowledgement and the last (`cargo xtask bench kafka`).
//!
//! `kafka_sink BROKER TOPIC FILE`. Each line of the file is a key, a tab and a transaction record.

use dnscribe_delivery::{
    Batch, KafkaConfig, OpenWith, Sink, SinkSpec, Stream, StreamSelection, StreamSet, open,
};
use dnscribe_record::EventId;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tikv_jemallocator::Jemalloc;

/// Allocator of the agent.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Bytes of a batch, as in the agent.
const BATCH_BYTES: usize = 64 << 10;
const NODE: &str = "replay";
const STREAM: Stream = Stream::Transactions;
/// Longest time to wait for Kafka.
const KAFKA_TIMEOUT: Duration = Duration::from_mins(1);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [broker, topic, file] = words.as_slice() else {
        return Err("usage: kafka_sink BROKER TOPIC FILE".into());
    };
    let mut sink = sink(broker, topic)?;
    let mut lines = BufReader::new(File::open(file)?);
    // The first record is not measured: librdkafka needs up to half a second before it sends.
    let first = send_lines(sink.as_mut(), &mut lines, 1)?;
    let start = Instant::now();
    let rest = send_lines(sink.as_mut(), &mut lines, u64::MAX)?;
    let seconds = start.elapsed().as_secs_f64();
    let delivered = sink.counters().get(STREAM.name()).map_or(0, |counters| counters.delivered);
    if delivered != first + rest {
        return Err(format!("acknowledged: {delivered} of {} records", first + rest).into());
    }
    writeln!(stdout(), "{seconds}")?;
    Ok(())
}

/// Sends up to `limit` lines and waits for their acknowledgement. Returns the number of lines.
fn send_lines(
    sink: &mut dyn Sink,
    lines: &mut impl BufRead,
    limit: u64,
) -> Result<u64, Box<dyn Error>> {
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
    if !sink.flush(KAFKA_TIMEOUT) {
        return Err("Kafka did not acknowledge the records in time".into());
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
        streams: StreamSelection {
            kafka: Some(StreamSet::from_iter([STREAM])),
            ..StreamSelection::default()
        },
        server_patience: Some(KAFKA_TIMEOUT),
        ..OpenWith::new(NODE, &kafka)
    };
    open(&[SinkSpec::Kafka], &with)?.pop().ok_or_else(|| "no sink was opened".into())
}

fn push(batch: &mut Batch, line: &[u8]) -> Result<(), Box<dyn Error>> {
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or("a line without a key")?;
    let (key, record) = (&line[..tab], &line[tab + 1..]);
    let id = event_id(record).ok_or("a record without an event_id")?;
    batch.push(STREAM, id.0, |out| out.extend(record), |out| out.extend(key));
    Ok(())
}

/// Reads the event id of a transaction record, which is always its second field.
fn event_id(record: &[u8]) -> Option<EventId> {
    let rest = record.strip_prefix(br#"{"schema":"dns.transaction/1","event_id":""#)?;
    std::str::from_utf8(rest.get(..32)?).ok()?.parse().ok()
}

fn offer(sink: &mut dyn Sink, batch: Batch) -> Result<(), Box<dyn Error>> {
    let batch = Arc::new(batch);
    if !sink.wait_for_capacity(&batch, KAFKA_TIMEOUT) {
        return Err("the queue of the Kafka sink is full".into());
    }
    sink.offer(&batch);
    Ok(())
}
