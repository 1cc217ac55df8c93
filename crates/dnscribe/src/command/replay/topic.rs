//! `dnscribe replay kafka://…`: runs the messages of a topic through the pipeline again.
//!
//! The records of all partitions are sorted by capture and time, in bounded memory, and each capture
//! (one run of one node) is replayed on its own: with its node's name and its epoch from the topic of
//! the ledger, so that its records have the same `event_id`s as the first time.

use super::raw::{NoMessage, RawMessage, packets_of};
use crate::cli::ReplayArgs;
use dnscribe_agent::pipeline::CaptureCounters;
use dnscribe_agent::session::Prepared;
use dnscribe_agent::session::replay::{Session, replay_session};
use dnscribe_cli::exit::Exit;
use dnscribe_delivery::kafka::{self, RecordDecoder, TimeSpan};
use dnscribe_delivery::{KafkaConfig, Stream};
use dnscribe_record::Namespace;
use dnscribe_record::ledger::{Kernel, Ring};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::PacketId;
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::ops::ControlFlow;

/// Memory for messages before they are sorted and written to a temporary file, in bytes.
const MEMORY_BYTES: usize = 64 << 20;

/// Memory of a message besides its bytes, roughly.
const MESSAGE_BYTES: usize = 256;

/// What a URL names: brokers, topic and time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicUrl {
    brokers: Vec<String>,
    topic: String,
    span: TimeSpan,
}

impl TopicUrl {
    /// Reads `kafka://BROKERS/TOPIC?from=TIME&to=TIME`; brokers and times may be absent.
    fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("kafka://").ok_or("it does not begin with kafka://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (brokers, topic) = rest.split_once('/').unwrap_or((rest, ""));
        if topic.is_empty() || topic.contains('/') {
            return Err("the topic is missing".to_owned());
        }
        let mut span = TimeSpan::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let time = || value.parse::<Timestamp>().map(Some).map_err(|error| error.to_string());
            match key {
                "from" => span.from = time()?,
                "to" => span.to = time()?,
                _ => return Err(format!("unknown parameter {key}: there are from and to")),
            }
        }
        let brokers = brokers.split(',').filter(|broker| !broker.is_empty());
        Ok(Self { brokers: brokers.map(str::to_owned).collect(), topic: topic.to_owned(), span })
    }
}

/// Replays the messages of a topic.
pub(super) fn replay(args: &ReplayArgs, url: &str) -> Result<(), Exit> {
    const REMEDY: &str =
        "give kafka://HOST:PORT/dns.raw?from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z";
    let url = TopicUrl::parse(url)
        .map_err(|why| Exit::usage(format!("{url}: {why}")).with_remedy(REMEDY))?;
    let mut prepared = Prepared::new(args.sources())?;
    let mut source = prepared.config.kafka.clone();
    if !url.brokers.is_empty() {
        source.brokers.clone_from(&url.brokers);
    }
    if source.brokers.is_empty() {
        return Err(Exit::usage("there is no broker to read from").with_remedy(REMEDY));
    }
    let mut sorter = MessageSorter::default();
    read(&source, &url, &mut sorter).map_err(Exit::failed)?;
    let epochs = epochs(&source).map_err(Exit::failed)?;
    let messages = sorter.sorted().map_err(temporary)?;
    let mut messages = Captures { messages, next: None };
    messages.advance().map_err(temporary)?;
    if messages.next.is_none() {
        return Err(Exit::failed(format!("{}: no message in this time", url.topic)));
    }
    while let Some(begin) = messages.next.clone().filter(|_| !prepared.signals.stop()) {
        let known = epochs.get(&(begin.node.clone(), begin.tag)).copied();
        if known.is_none() {
            tracing::warn!(
                node = begin.node,
                "no ledger record names the epoch of this capture: its records get new event ids"
            );
        }
        let epoch = known.unwrap_or_else(|| Timestamp::from_nanos(begin.ts_ns));
        prepared.config.node.clone_from(&begin.node);
        prepared.config.region.clone_from(&begin.region);
        prepared.config.labels.clone_from(&begin.labels);
        replay_session(prepared.open_one()?, |session| messages.replay(&begin, epoch, session))?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn temporary(error: io::Error) -> Exit {
    Exit::failed(format!("cannot use temporary files: {error}")).with_remedy("set TMPDIR")
}

/// Reads the messages of a topic and says what is left out.
fn read(config: &KafkaConfig, url: &TopicUrl, sorter: &mut MessageSorter) -> Result<(), String> {
    let mut decoder = RecordDecoder::new(config);
    let mut left_out: BTreeMap<NoMessage, u64> = BTreeMap::new();
    let gaps = kafka::read_topic(config, &url.topic, url.span, &mut |message| {
        let Some(value) = message.value else { return Ok(ControlFlow::Continue(())) };
        let record = decoder.decode(value)?;
        match RawMessage::read(record, (message.partition, message.offset)) {
            Ok(message) => {
                sorter.push(message).map_err(|error| format!("temporary files: {error}"))?;
            }
            Err(why) => *left_out.entry(why).or_default() += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (why, count) in left_out {
        tracing::warn!("{}: left out {count} records: {why}", url.topic);
    }
    for gap in gaps {
        tracing::warn!("{gap}");
    }
    Ok(())
}

/// Returns the epochs of all captures in the topic of the ledger, by node and tag.
fn epochs(config: &KafkaConfig) -> Result<HashMap<(String, u32), Timestamp>, String> {
    #[derive(Deserialize)]
    struct Epoch {
        node: String,
        epoch: Timestamp,
    }
    let topic = config.topic(Stream::Ledger);
    let mut epochs = HashMap::new();
    if !kafka::topic_names(config)?.contains(topic) {
        return Ok(epochs);
    }
    let mut decoder = RecordDecoder::new(config);
    kafka::read_topic(config, topic, TimeSpan::default(), &mut |message| {
        let Some(value) = message.value else { return Ok(ControlFlow::Continue(())) };
        if let Ok(Epoch { node, epoch }) = serde_json::from_slice(decoder.decode(value)?) {
            let tag = Namespace::new(&node, epoch).tag();
            epochs.insert((node, tag), epoch);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(epochs)
}

/// Sorted messages, of which the next one is known.
struct Captures {
    messages: Merged,
    next: Option<RawMessage>,
}

impl Captures {
    /// Returns the next message, and reads the one after it.
    fn advance(&mut self) -> io::Result<Option<RawMessage>> {
        let after = self.messages.next()?;
        Ok(std::mem::replace(&mut self.next, after))
    }

    /// Replays the messages of one capture.
    fn replay(
        &mut self,
        begin: &RawMessage,
        epoch: Timestamp,
        session: &mut Session,
    ) -> Result<(Timestamp, CaptureCounters), Exit> {
        let mut seen = 0;
        let mut of_packet: Vec<RawMessage> = Vec::new();
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() {
            let next = self.next.as_ref().filter(|next| next.same_capture(begin));
            let place = |message: &RawMessage| -> (u64, PacketId) { (message.ts_ns, message.id) };
            let goes_on = next.is_some();
            let is_same = of_packet
                .first()
                .zip(next)
                .is_some_and(|(first, next)| place(first) == place(next));
            if !is_same {
                packets_of(&of_packet, &mut |packet| {
                    seen += 1;
                    if flow.is_continue() {
                        flow = session.packet(packet, epoch, &|| counters(seen));
                    }
                });
                of_packet.clear();
            }
            if !goes_on {
                break;
            }
            let message = self.advance().map_err(temporary)?;
            // A resent record has the id of the first.
            let is_new =
                |message: &RawMessage| of_packet.iter().all(|one| one.event_id != message.event_id);
            let message = message.filter(is_new);
            of_packet.extend(message);
        }
        if flow.is_break() {
            // Stopped by a signal or a sink: nothing after it is replayed.
            self.next = None;
        }
        Ok((epoch, counters(seen)))
    }
}

/// Returns the counters of a capture of so many packets.
fn counters(packets: u64) -> CaptureCounters {
    let kernel = Kernel { seen: packets, submitted: packets, ..Kernel::default() };
    let ring = Ring { submitted: packets, received: packets, ..Ring::default() };
    ([("replay".to_owned(), kernel)].into(), ring)
}

/// Sorts messages in bounded memory: sorted runs in temporary files, merged at the end.
#[derive(Default)]
struct MessageSorter {
    buffer: Vec<RawMessage>,
    bytes: usize,
    runs: Vec<File>,
}

impl MessageSorter {
    fn push(&mut self, message: RawMessage) -> io::Result<()> {
        self.bytes += message.wire.len() + MESSAGE_BYTES;
        self.buffer.push(message);
        if self.bytes >= MEMORY_BYTES { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        sort(&mut self.buffer);
        let mut run = BufWriter::new(tempfile::tempfile()?);
        for message in self.buffer.drain(..) {
            let bytes = postcard::to_stdvec(&message).map_err(io::Error::other)?;
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            run.write_all(&length.to_le_bytes())?;
            run.write_all(&bytes)?;
        }
        let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.rewind()?;
        self.runs.push(run);
        self.bytes = 0;
        Ok(())
    }

    fn sorted(mut self) -> io::Result<Merged> {
        sort(&mut self.buffer);
        let memory = std::mem::take(&mut self.buffer).into_iter();
        let runs = self.runs.into_iter().map(|run| Run::File(BufReader::new(run)));
        let mut merged = Merged { heap: BinaryHeap::new() };
        for mut run in runs.chain([Run::Memory(memory)]) {
            if let Some(message) = run.next()? {
                merged.heap.push(Reverse(Head { message, run }));
            }
        }
        Ok(merged)
    }
}

/// Sorts by capture, time and position, so that the messages of one packet stand together.
fn sort(messages: &mut [RawMessage]) {
    messages.sort_unstable();
}

/// A sorted run.
enum Run {
    Memory(std::vec::IntoIter<RawMessage>),
    File(BufReader<File>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<RawMessage>> {
        let file = match self {
            Self::Memory(messages) => return Ok(messages.next()),
            Self::File(file) => file,
        };
        let mut length = [0; 4];
        match file.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        file.read_exact(&mut bytes)?;
        postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
    }
}

/// Next message of a run.
struct Head {
    message: RawMessage,
    run: Run,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.message.cmp(&other.message)
    }
}

/// All messages in order.
struct Merged {
    heap: BinaryHeap<Reverse<Head>>,
}

impl Merged {
    fn next(&mut self) -> io::Result<Option<RawMessage>> {
        let Some(mut first) = self.heap.peek_mut() else { return Ok(None) };
        match first.0.run.next()? {
            Some(next) => Ok(Some(std::mem::replace(&mut first.0.message, next))),
            None => Ok(Some(PeekMut::pop(first).0.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let url = "kafka://a:1,b:2/dns.raw?from=2026-11-20T00:00:00Z";
        let url = TopicUrl::parse(url).unwrap();
        assert_eq!((url.brokers.len(), url.topic.as_str()), (2, "dns.raw"));
        assert!(url.span.from.is_some() && url.span.to.is_none());
        assert!(TopicUrl::parse("kafka:///dns.dlq").unwrap().brokers.is_empty());
        for bad in ["kafka://a:1", "kafka://a:1/x/y", "kafka://a/t?from=x", "kafka://a/t?until=1"] {
            assert!(TopicUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn merges_runs_in_order() {
        let message = |ts_ns: u64| RawMessage {
            node: "n".into(),
            region: None,
            labels: dnscribe_record::Labels::new(),
            tag: 1,
            ts_ns,
            id: PacketId { cpu: 0, seq: ts_ns },
            offset: (0, 0),
            event_id: u128::from(ts_ns),
            transport: dnscribe_transaction::packet::Transport::Udp,
            direction: super::super::raw::WireDirection::Passive,
            src: "192.0.2.1:1".parse().unwrap(),
            dst: "192.0.2.2:53".parse().unwrap(),
            wire: vec![1, 2, 3],
        };
        let mut sorter = MessageSorter::default();
        for ts_ns in [5, 3, 9, 1, 7, 3, 8] {
            sorter.push(message(ts_ns)).unwrap();
            if ts_ns % 3 == 0 {
                sorter.spill().unwrap();
            }
        }
        let mut merged = sorter.sorted().unwrap();
        let order = std::iter::from_fn(|| merged.next().unwrap()).map(|message| message.ts_ns);
        assert_eq!(order.collect::<Vec<_>>(), [1, 3, 3, 5, 7, 8, 9]);
    }
}
