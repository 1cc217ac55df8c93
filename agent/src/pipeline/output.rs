//! Records are rendered here, once, and handed to the sinks.

use crate::capture;
use crate::connection::Report;
use crate::decode::dns::{rcode_name, type_name};
use crate::decode::{DeadLetter, Message, Sealed};
use crate::enrich::{Enricher, Known};
use crate::join::Links;
use crate::ledger::{Counters, Delivery};
use crate::metrics::{Seen, TransactionMetrics};
use crate::pair::{Transaction, Vantage};
use crate::record::{
    ContainerFields, Context, EventId, Identity, LedgerRecord, ProcessFields, TransactionRecord,
    line,
};
use crate::sink::{Batch, Failure, Gauge, Look, Sink, Stream, StreamSet};
use crate::time::Timestamp;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

/// A batch goes to the sinks when it has grown to this, or when the pipeline pauses.
const BATCH_BYTES: usize = 64 << 10;

/// The same in records, of which some sinks want none of the octets.
const BATCH_RECORDS: usize = 4096;

/// How long a sink may take before replay asks whether it is still alive.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the output needs beside its sinks.
#[derive(Debug)]
pub struct OutputOptions {
    /// Who writes.
    pub identity: Identity,
    /// Looks up executables and containers; none in replay.
    pub enricher: Option<Enricher>,
    /// Wait for sinks that are full, as replay can, instead of dropping, until this is set.
    pub wait_for_sinks: Option<Arc<AtomicBool>>,
}

/// What collects for the sinks of one look.
#[derive(Debug)]
struct Tray {
    look: Look,
    /// The streams that any of those sinks wants.
    streams: StreamSet,
    batch: Batch,
}

/// Renders records and feeds the sinks.
pub struct Output {
    identity: Identity,
    enricher: Option<Enricher>,
    wait_for_sinks: Option<Arc<AtomicBool>>,
    sinks: Vec<Box<dyn Sink>>,
    trays: Vec<Tray>,
    metrics: TransactionMetrics,
    ledgers: u64,
}

impl Output {
    /// An output to these sinks.
    #[must_use]
    pub fn new(options: OutputOptions, sinks: Vec<Box<dyn Sink>>) -> Self {
        Self {
            identity: options.identity,
            enricher: options.enricher,
            wait_for_sinks: options.wait_for_sinks,
            trays: trays(&sinks),
            sinks,
            metrics: TransactionMetrics::default(),
            ledgers: 0,
        }
    }

    /// When the capture began.
    #[must_use]
    pub const fn epoch(&self) -> Timestamp {
        self.identity.epoch
    }

    /// Takes a message: its record, its metric, and a look at its process while that lives.
    pub(super) fn message(&mut self, message: &Message) {
        let response = message.dns.flags.response();
        let qr = if response { "response" } else { "query" };
        self.metrics.message(qr, message.envelope.transport.name());
        let wanted = self.wanted(Stream::Messages);
        if response && !wanted {
            return;
        }
        let known = look_up_sender(&mut self.enricher, message);
        if wanted {
            let context = context(message, &known);
            let record = self.identity.message(message, context);
            let (_, server) = message.ends();
            let resolver = self.identity.resolver(server.ip());
            let id = record.event_id;
            push(&mut self.trays, Stream::Messages, id, &record, resolver.as_bytes());
            self.offer_full();
        }
    }

    /// Takes a transaction: its record and its metrics.
    pub(super) fn transaction(&mut self, transaction: &Transaction<'_>, links: &Links) {
        let Some(subject) = transaction.subject() else { return };
        let id = self.identity.namespace().message(subject.envelope.id);
        let (_, server) = transaction.query.unwrap_or(subject).ends();
        let resolver = self.identity.resolver(server.ip());
        self.metrics.transaction(&seen(transaction, &resolver));
        if self.trays.iter().any(|tray| tray.renders(Stream::Transactions)) {
            let actor = actor(transaction);
            let known = actor.map(|message| look_up_sender(&mut self.enricher, message));
            let known = known.unwrap_or_default();
            let context = actor.map(|message| context(message, &known)).unwrap_or_default();
            let context = Context { links: *links, ..context };
            if let Some(record) = self.identity.transaction(transaction, &resolver, context) {
                push_transaction(&mut self.trays, transaction, &record);
            }
        } else {
            self.trays.iter_mut().for_each(|tray| tray.count(Stream::Transactions, id));
        }
        self.offer_full();
    }

    /// Takes a packet of encrypted DNS: a look at its process while that lives.
    pub(super) fn glance(&mut self, sealed: &Sealed) {
        let envelope = &sealed.envelope;
        if envelope.task.is_some() {
            look_up(&mut self.enricher, envelope.task.as_ref(), envelope.cgroup_id);
        }
    }

    /// Takes a report of a connection: its record and its metrics.
    pub(super) fn connection(&mut self, report: &Report<'_>) {
        let connection = report.connection;
        let resolver = self.identity.resolver(connection.server.ip());
        if report.is_final {
            self.metrics.connection(report, &resolver);
        }
        if !self.wanted(Stream::Connections) {
            return;
        }
        let task = connection.task.as_ref();
        let known = look_up(&mut self.enricher, task, connection.cgroup_id);
        let context = Context {
            process: task.map(|task| process(task, &known)),
            container: container(&known),
            links: Links::default(),
        };
        let record = self.identity.connection(report, &resolver, context);
        let (id, key) = (record.event_id, resolver.as_bytes());
        push(&mut self.trays, Stream::Connections, id, &record, key);
        self.offer_full();
    }

    /// Takes what could not be read.
    pub(super) fn dead_letter(&mut self, letter: &DeadLetter) {
        if !self.wanted(Stream::Dlq) {
            return;
        }
        let task = letter.envelope.task.as_ref();
        let known = look_up(&mut self.enricher, task, letter.envelope.cgroup_id);
        let context = Context {
            process: task.map(|task| process(task, &known)),
            container: container(&known),
            links: Links::default(),
        };
        let record = self.identity.dead_letter(letter, context);
        let key = self.identity.node.as_bytes();
        push(&mut self.trays, Stream::Dlq, record.event_id, &record, key);
        self.offer_full();
    }

    /// Takes the balance.
    pub(super) fn ledger(&mut self, counters: &Counters, now: Timestamp, last: bool) {
        self.ledgers += 1;
        if self.wanted(Stream::Ledger) {
            let identity = &self.identity;
            let id = identity.namespace().ledger(self.ledgers);
            let record = LedgerRecord {
                schema: Stream::Ledger.schema().to_owned(),
                event_id: id.to_string(),
                ts: now.to_string(),
                node: identity.node.clone(),
                region: identity.region.clone(),
                epoch: identity.epoch.to_string(),
                uptime_seconds: now.since(identity.epoch).as_secs_f64(),
                is_final: last,
                balanced: counters.balanced(),
                counters: counters.clone(),
            };
            let key = identity.node.as_bytes();
            push(&mut self.trays, Stream::Ledger, id, &record, key);
        }
        self.offer();
    }

    /// Sends what was rendered to the sinks.
    pub(super) fn offer(&mut self) {
        for tray in &mut self.trays {
            if tray.batch.is_empty() {
                continue;
            }
            let batch = Arc::new(std::mem::take(&mut tray.batch));
            for sink in self.sinks.iter_mut().filter(|sink| sink.look() == tray.look) {
                while let Some(stop) = &self.wait_for_sinks
                    && !stop.load(Ordering::Relaxed)
                    && !sink.wait_for_room(&batch, PATIENCE)
                {}
                sink.offer(&batch);
            }
        }
    }

    fn offer_full(&mut self) {
        if self.trays.iter().any(Tray::is_full) {
            self.offer();
        }
    }

    /// Waits until the sinks have delivered or dropped all, for `limit` at most; where sinks are
    /// waited for, no longer than until a stop is asked for meanwhile.
    pub fn flush(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        let stop = self.wait_for_sinks.clone().filter(|stop| !stop.load(Ordering::Relaxed));
        let stopped = || stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        for sink in &mut self.sinks {
            while !sink.flush(end.saturating_duration_since(Instant::now()).min(PATIENCE))
                && Instant::now() < end
                && !stopped()
            {}
        }
    }

    /// Ends the sinks; what they still hold is dropped and counted.
    pub fn close(&mut self) {
        for sink in &mut self.sinks {
            sink.close();
        }
    }

    /// What the sinks counted, by sink and stream; what an earlier capture left to a sink stands
    /// under a name of its own.
    #[must_use]
    pub fn delivery(&self) -> BTreeMap<String, BTreeMap<String, Delivery>> {
        let mut delivery = BTreeMap::new();
        for sink in &self.sinks {
            delivery.insert(sink.name().to_owned(), sink.counters());
            if let Some(recovered) = sink.recovered() {
                delivery.insert(format!("{}_recovered", sink.name()), recovered);
            }
        }
        delivery
    }

    /// The sinks that have failed for good, and how many there are in all.
    #[must_use]
    pub fn failures(&self) -> (Vec<(String, Failure)>, usize) {
        let failed = self
            .sinks
            .iter()
            .filter_map(|sink| sink.failure().map(|failure| (sink.name().to_owned(), failure)));
        (failed.collect(), self.sinks.len())
    }

    /// What the sinks measure beside the ledger.
    #[must_use]
    pub fn gauges(&self) -> Vec<(String, Vec<Gauge>)> {
        self.sinks.iter().map(|sink| (sink.name().to_owned(), sink.gauges())).collect()
    }

    /// Octets that wait on disk.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.spool_bytes()).sum()
    }

    /// The same of the sink that has most there.
    #[must_use]
    pub fn fullest_spool_bytes(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.spool_bytes()).max().unwrap_or(0)
    }

    /// Transactions by what dashboards ask for.
    #[must_use]
    pub const fn metrics(&self) -> &TransactionMetrics {
        &self.metrics
    }

    /// Has the sinks reopen their files.
    pub fn reopen(&mut self) {
        for sink in &mut self.sinks {
            sink.reopen();
        }
    }

    /// Adopts new names of resolvers.
    pub fn name_resolvers(&mut self, resolvers: HashMap<IpAddr, String>) {
        self.identity.resolvers = resolvers;
    }

    fn wanted(&self, stream: Stream) -> bool {
        self.trays.iter().any(|tray| tray.streams.contains(stream))
    }
}

impl Tray {
    /// Whether records of the stream are to be rendered for it.
    fn renders(&self, stream: Stream) -> bool {
        self.look != Look::Blank && self.streams.contains(stream)
    }

    /// Adds a record as JSON, if it is wanted.
    fn add(&mut self, stream: Stream, id: EventId, record: &impl Serialize, key: &[u8]) {
        if self.renders(stream) {
            self.batch.push_json(stream, id.0, record, key);
        } else {
            self.count(stream, id);
        }
    }

    /// Adds a record of which nothing is rendered, if it is wanted.
    fn count(&mut self, stream: Stream, id: EventId) {
        if self.streams.contains(stream) {
            self.batch.push(stream, id.0, |_| {}, |_| {});
        }
    }

    fn is_full(&self) -> bool {
        self.batch.size_bytes() >= BATCH_BYTES || self.batch.len() >= BATCH_RECORDS
    }
}

fn trays(sinks: &[Box<dyn Sink>]) -> Vec<Tray> {
    let looks = [Look::Json, Look::Text, Look::Blank];
    let all = looks.map(|look| {
        let sinks = || sinks.iter().filter(move |sink| sink.look() == look);
        let wanted = |stream: &Stream| sinks().any(|sink| sink.wants(*stream));
        let streams = Stream::ALL.into_iter().filter(wanted).collect();
        sinks().next().map(|_| Tray { look, streams, batch: Batch::default() })
    });
    all.into_iter().flatten().collect()
}

fn look_up_sender(enricher: &mut Option<Enricher>, message: &Message) -> Known {
    look_up(enricher, message.envelope.task.as_ref(), message.envelope.cgroup_id)
}

fn look_up(enricher: &mut Option<Enricher>, task: Option<&capture::Task>, cgroup: u64) -> Known {
    enricher.as_mut().map(|enricher| enricher.known(task, cgroup)).unwrap_or_default()
}

/// The message whose task is the transaction's process: at the server the response, elsewhere the
/// query; where that task is unknown, the other's.
fn actor<'a>(transaction: &Transaction<'a>) -> Option<&'a Message> {
    let (first, second) = match transaction.vantage {
        Vantage::Server => (transaction.response, transaction.query),
        Vantage::Client | Vantage::Passive => (transaction.query, transaction.response),
    };
    let knows_task = |message: &&Message| message.envelope.task.is_some();
    first.filter(knows_task).or_else(|| second.filter(knows_task)).or(first).or(second)
}

fn context<'a>(message: &Message, known: &'a Known) -> Context<'a> {
    Context {
        process: message.envelope.task.as_ref().map(|task| process(task, known)),
        container: container(known),
        links: Links::default(),
    }
}

fn process<'a>(task: &capture::Task, known: &'a Known) -> ProcessFields<'a> {
    let comm = task.comm.split(|octet| *octet == 0).next().unwrap_or_default();
    ProcessFields {
        pid: task.pid,
        uid: task.uid,
        comm: String::from_utf8_lossy(comm).into_owned().into(),
        exe: known.exe.as_deref(),
    }
}

fn container(known: &Known) -> Option<ContainerFields<'_>> {
    known.container.as_ref().map(|container| ContainerFields {
        id: &container.id,
        runtime: container.runtime.map(crate::enrich::Runtime::name),
    })
}

/// What metrics want to know.
fn seen<'a>(transaction: &Transaction<'a>, resolver: &'a str) -> Seen<'a> {
    let question = transaction.question();
    Seen {
        vantage: transaction.vantage.name(),
        transport: transaction.subject().map_or("", |message| message.envelope.transport.name()),
        resolver,
        qtype: question.map_or(Cow::Borrowed(""), |question| type_name(question.qtype)),
        status: transaction.status.name(),
        rcode: transaction
            .response
            .map_or(Cow::Borrowed(""), |response| rcode_name(response.dns.rcode())),
        latency_seconds: transaction.latency().map(|latency| latency.as_secs_f64()),
    }
}

/// Hash of resolver and zone: records of one zone at one resolver stay in order in one partition.
fn partition_key(record: &TransactionRecord<'_>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(record.resolver.as_bytes());
    hash.update(&[0]);
    hash.update(record.zone.unwrap_or("").as_bytes());
    hash.digest()
}

fn push_transaction(
    trays: &mut [Tray],
    transaction: &Transaction<'_>,
    record: &TransactionRecord<'_>,
) {
    let stream = Stream::Transactions;
    let hash = format!("{:016x}", partition_key(record));
    for tray in trays {
        if tray.look != Look::Text {
            tray.add(stream, record.event_id, record, hash.as_bytes());
        } else if tray.streams.contains(stream) {
            let render = |out: &mut Vec<u8>| line(out, transaction, record);
            tray.batch.push(stream, record.event_id.0, render, |out| out.extend(hash.as_bytes()));
        }
    }
}

/// Adds a record to the trays that want it, as JSON in either look: only transactions have a line
/// of their own.
fn push(trays: &mut [Tray], stream: Stream, id: EventId, record: &impl Serialize, key: &[u8]) {
    for tray in trays {
        tray.add(stream, id, record, key);
    }
}
