//! What the rooms give becomes records here, and numbers.

use super::analysis::Analysis;
use super::handover::Standing;
use super::observe::{Facts, observation};
use super::outbox::{Next, Outbox, Post};
use super::resolvers::Resolvers;
use super::scribe::{Scribe, Told, Wanted};
use super::who::Who;
use crate::capture::Transport;
use crate::capture::sampling::{Change, Timeline, Untold};
use crate::connection::Report;
use crate::decode::{DeadLetter, Envelope, Message};
use crate::detect::{AlertCounters, DetectOptions, Detection};
use crate::enrich::{Enricher, kubernetes};
use crate::filter::Filters;
use crate::join::Links;
use crate::ledger::Counters;
use crate::lookup::LookupCounters;
use crate::metrics::{ResolverLabel, Seen, TransactionMetrics};
use crate::pair::{OrphanReason, Transaction};
use crate::privacy::{BadKey, Masker, Privacy};
use crate::record::{Identity, LedgerRecord, RecordTail, Texts};
use crate::sink::{Look, Sink, Stream};
use crate::time::Timestamp;
use crate::window::WindowOptions;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What the output needs beside its sinks.
pub struct OutputOptions {
    /// Who writes.
    pub identity: Identity,
    /// Looks up executables and containers; none in replay.
    pub enricher: Option<Enricher>,
    /// Wait for sinks that are full, as replay can, instead of dropping, until this is set.
    pub wait_for_sinks: Option<Arc<AtomicBool>>,
    /// Which windows are written.
    pub windows: WindowOptions,
    /// What finds out that something is wrong, if anybody wants to be told.
    pub detection: Option<Detection>,
    /// Which records are told.
    pub filters: Filters,
    /// What they do not tell.
    pub masker: Masker,
}

impl OutputOptions {
    /// Nobody to look up, no sink waited for, all windows, no detection, nothing left out or masked.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let windows = WindowOptions::DEFAULT;
        Self {
            identity,
            enricher: None,
            wait_for_sinks: None,
            windows,
            detection: None,
            filters: Filters::default(),
            masker: Masker::default(),
        }
    }
}

/// Other sinks, and what follows from that.
pub struct SinkChange {
    /// The sinks.
    pub next: Vec<Next>,
    /// How long those that go have to deliver what they hold.
    pub patience: Duration,
    /// Whether there is detection.
    pub detects: Detects,
}

/// Whether there is detection from here on.
pub enum Detects {
    /// There is none.
    No,
    /// That which there was.
    AsBefore,
    /// This, which has seen nothing.
    Newly(Box<Detection>),
}

/// Makes records and gives them to the sinks.
pub struct Output {
    identity: Identity,
    enricher: Option<Enricher>,
    outbox: Outbox,
    analysis: Analysis,
    metrics: TransactionMetrics,
    resolvers: Resolvers,
    filters: Filters,
    sampling: Timeline,
    ledgers: u64,
    /// Agents that had the capture before.
    takeovers: u64,
    /// The capture's clock.
    now: Timestamp,
}

impl Output {
    /// An output to these sinks.
    #[must_use]
    pub fn new(options: OutputOptions, sinks: Vec<Box<dyn Sink>>) -> Self {
        let resolvers = Resolvers::new(options.masker.hides_servers());
        let outbox = Outbox::new(sinks, options.masker, options.wait_for_sinks);
        Self {
            now: options.identity.epoch,
            analysis: Analysis::new(options.windows, options.detection, &options.identity, &outbox),
            identity: options.identity,
            enricher: options.enricher,
            outbox,
            metrics: TransactionMetrics::default(),
            resolvers,
            filters: options.filters,
            sampling: Timeline::default(),
            ledgers: 0,
            takeovers: 0,
        }
    }

    /// When the capture began.
    #[must_use]
    pub const fn epoch(&self) -> Timestamp {
        self.identity.epoch
    }

    /// The way out.
    pub const fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// The sinks, to look at.
    pub(super) const fn post(&self) -> &Post {
        self.outbox.post()
    }

    /// Begins the records that this output ends.
    pub(super) fn scribe(&self) -> Scribe {
        Scribe::new(self.identity.clone(), self.wanted())
    }

    /// What of records is begun.
    pub(super) fn wanted(&self) -> Wanted {
        let outbox = &self.outbox;
        Wanted {
            texts: outbox.renders(Stream::Transactions) || self.analysis.is_wanted(),
            transactions: outbox.wants_as(Look::Json, Stream::Transactions),
            messages: outbox.renders(Stream::Messages),
        }
    }

    /// Writes to other sinks from here on, with the rooms that these want something of.
    pub(super) fn replace_sinks(&mut self, change: SinkChange) {
        let SinkChange { next, patience, detects } = change;
        self.outbox.replace(next, patience);
        self.analysis.adopt(detects, self.now, &self.outbox);
    }

    /// Sets the clock: when what comes next is known.
    pub(super) const fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Takes a query that has begun a transaction.
    pub(super) fn begin(&mut self, query: &Message<'_>) {
        self.analysis.begin(query, &self.identity, (&mut self.outbox, &self.filters));
    }

    /// Takes a message: its record, of which `begun` is there, its metric, and a look at its process while
    /// that lives.
    pub(super) fn message(&mut self, message: &Message<'_>, begun: &[u8]) {
        let response = message.dns.flags.response();
        self.metrics.message(response, message.envelope.transport);
        let filter = self.filters.of(Stream::Messages);
        let rendered = self.outbox.asks_for(Stream::Messages, filter.is_some());
        if response && !rendered {
            return;
        }
        let who = Who::sent(&mut self.enricher, message);
        if rendered {
            if let Some(filter) = filter
                && !who.passes(filter, message.dns.question(), message.ends().0.ip())
            {
                self.outbox.filter(Stream::Messages);
                return;
            }
            let id = self.identity.namespace().message(message.envelope.id);
            let rest = tail(&who);
            let (_, server) = message.ends();
            let resolver = self.resolvers.at(server.ip(), &self.identity, &mut self.metrics);
            let key = resolver.name.as_bytes();
            self.outbox.push_begun(Stream::Messages, id, (begun, &rest), key);
        }
    }

    /// What another agent must know to go on: what was left out when, the ordinals of ledger, windows and
    /// alerts, and how many had the capture before.
    pub(super) fn standing(&self) -> (impl Iterator<Item = Change>, [u64; 3], u64) {
        let (windows, alerts) = self.analysis.ordinals();
        (self.sampling.changes(), [self.ledgers, windows, alerts], self.takeovers)
    }

    /// Goes on where another agent stood, at `now`.
    pub(super) fn adopt(&mut self, standing: &Standing, now: Timestamp) {
        self.ledgers = standing.ledgers;
        self.takeovers = standing.takeovers;
        self.analysis.begin_at(now, (standing.windows, standing.alerts));
        self.now = now;
    }

    /// Another share of the transactions is told from here on.
    pub(super) fn sample(&mut self, change: Change) {
        self.sampling.note(change);
    }

    /// Takes what was not told.
    pub(super) fn untold(&mut self, ts: Timestamp, untold: &Untold) {
        let resolver = untold.server.map(|server| self.identity.resolver(server));
        self.analysis.untold(ts, untold, resolver.as_deref());
    }

    /// Takes a transaction: its record, its metrics, and what is made of many. `told` is what was told of
    /// it.
    pub(super) fn transaction(
        &mut self,
        transaction: &Transaction<'_>,
        links: &Links,
        told: &Told<'_>,
    ) {
        let Some(subject) = transaction.subject() else { return };
        let Self {
            identity,
            resolvers,
            filters,
            enricher,
            outbox,
            analysis,
            metrics,
            sampling,
            now,
            ..
        } = self;
        let (_, server) = transaction.query.unwrap_or(subject).ends();
        let resolver = resolvers.at(server.ip(), identity, metrics);
        metrics.transaction(&seen(transaction, subject, resolver.label));
        let resolver = &*resolver.name;
        let filter = filters.of(Stream::Transactions);
        let rendered = outbox.asks_for(Stream::Transactions, filter.is_some());
        if !rendered && !analysis.is_wanted() {
            return;
        }
        let who = Who::behind(enricher, transaction);
        who.count(enricher);
        let (process, container, k8s) = (who.process(), who.container(), who.k8s());
        let texts = told.texts.unwrap_or(Texts::NONE);
        let sample_ratio = sample_ratio(sampling, transaction);
        if analysis.is_wanted() {
            let (process, container) = (process.as_ref(), container.as_ref());
            let place = who.place();
            let facts = Facts { resolver, texts, process, container, place, sample_ratio };
            if let Some(observation) = observation(transaction, links, &facts) {
                analysis.observe(*now, &observation);
            }
        }
        if let Some(filter) = filter.filter(|_| rendered) {
            let client = transaction.query.unwrap_or(subject).ends().0.ip();
            if !who.passes(filter, transaction.question(), client) {
                outbox.filter(Stream::Transactions);
                return;
            }
        }
        if rendered {
            let sample_ratio = Some(sample_ratio).filter(|ratio| *ratio < 1.0);
            let tail = RecordTail { process, container, k8s, masking: None };
            let context = identity.transaction_context(resolver, tail, links, sample_ratio);
            let id = identity.namespace().message(subject.envelope.id);
            let body = || identity.transaction(transaction, texts);
            let begun = (told.json, &context);
            outbox.push_transaction(id, begun, texts.zone(), body);
        }
    }

    /// Takes a packet of encrypted DNS: a look at its process while that lives.
    pub(super) fn glance(&mut self, envelope: &Envelope) {
        if envelope.task.is_some() {
            Who::of(&mut self.enricher, envelope.task.as_ref(), envelope.cgroup_id);
        }
    }

    /// Takes a report of a connection: its record and its metrics.
    pub(super) fn connection(&mut self, report: &Report<'_>) {
        let connection = report.connection;
        let server = connection.server.ip();
        let resolver = self.resolvers.at(server, &self.identity, &mut self.metrics);
        if report.is_final {
            self.metrics.connection(report, resolver.label);
        }
        let resolver = &*resolver.name;
        self.analysis.connection(report, resolver);
        let filter = self.filters.of(Stream::Connections);
        if self.outbox.asks_for(Stream::Connections, filter.is_some()) {
            let task = connection.task.as_ref();
            let who = Who::of(&mut self.enricher, task, connection.cgroup_id);
            let subject = who.subject(connection.client.ip());
            if filter.is_some_and(|filter| !filter.admits(&subject)) {
                self.outbox.filter(Stream::Connections);
                return;
            }
            let record = self.identity.connection(report, resolver, tail(&who));
            let (id, key) = (record.event_id, resolver.as_bytes());
            self.outbox.push(Stream::Connections, id, &record, key);
        }
    }

    /// Takes what could not be read.
    pub(super) fn dead_letter(&mut self, letter: &DeadLetter<'_>) {
        if self.outbox.asks_for(Stream::Dlq, false) {
            let envelope = &letter.envelope;
            let who = Who::of(&mut self.enricher, envelope.task.as_ref(), envelope.cgroup_id);
            let record = self.identity.dead_letter(letter, tail(&who));
            let key = self.identity.node.as_bytes();
            self.outbox.push(Stream::Dlq, record.head.event_id, &record, key);
        }
    }

    /// Lets time pass, once all outcomes up to `now` have been given.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.analysis.expire(now, &self.identity, (&mut self.outbox, &self.filters));
    }

    /// The capture has ended.
    pub(super) fn finish(&mut self, now: Timestamp) {
        self.analysis.finish(now, &self.identity, (&mut self.outbox, &self.filters));
        self.outbox.offer();
    }

    /// Takes the balance.
    pub(super) fn ledger(&mut self, counters: &Counters, now: Timestamp, last: bool) {
        self.ledgers += 1;
        if self.outbox.asks_for(Stream::Ledger, false) {
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
                takeovers: self.takeovers,
                counters: counters.clone(),
            };
            let key = identity.node.as_bytes();
            self.outbox.push(Stream::Ledger, id, &record, key);
        }
        self.outbox.offer();
    }

    /// Transactions by what dashboards ask for.
    pub(super) const fn metrics(&self) -> &TransactionMetrics {
        &self.metrics
    }

    /// Transactions that came too late for their windows.
    pub(super) fn late(&self) -> u64 {
        self.analysis.late()
    }

    /// Octets that the windows take, where there are any.
    pub(super) fn windows_bytes(&self) -> Option<u64> {
        self.analysis.windows_bytes()
    }

    /// What the lookups came to, where they are made.
    pub(super) fn looked_up(&self) -> Option<&LookupCounters> {
        self.analysis.looked_up()
    }

    /// Adopts how long a query waits for its response.
    pub(super) fn adopt_query_timeout(&mut self, query_timeout: Duration) {
        self.analysis.adopt_query_timeout(query_timeout);
    }

    /// How the watch of pods stands, where there is one.
    pub(super) fn kubernetes(&self) -> Option<kubernetes::Status> {
        self.enricher.as_ref().and_then(Enricher::kubernetes)
    }

    /// How many alerts there were, where there is detection.
    pub(super) fn alerts(&self) -> Option<&AlertCounters> {
        self.analysis.alerts()
    }

    /// Adopts new names of resolvers, other windows, and other options of detection.
    pub(super) fn reconfigure(
        &mut self,
        resolvers: HashMap<IpAddr, String>,
        windows: WindowOptions,
        detect: Option<DetectOptions>,
    ) {
        self.identity.resolvers = resolvers;
        self.resolvers.forget();
        self.analysis.reconfigure(windows, detect);
    }

    /// Adopts other filters, and other rules for what records do not tell.
    pub(super) fn disclose(&mut self, filters: Filters, privacy: Privacy) -> Result<(), BadKey> {
        self.filters = filters;
        self.outbox.adopt(privacy)?;
        self.resolvers = Resolvers::new(self.outbox.masker().hides_servers());
        Ok(())
    }
}

fn tail<'a>(who: &'a Who<'_>) -> RecordTail<'a> {
    let (process, container, k8s) = (who.process(), who.container(), who.k8s());
    RecordTail { process, container, k8s, masking: None }
}

/// The share of transactions like this one that were told when it passed. Streams are always told, and
/// a response whose query was left out stands for no other.
fn sample_ratio(sampling: &Timeline, transaction: &Transaction<'_>) -> f64 {
    let first = transaction.query.or(transaction.response).map(|message| message.envelope);
    let is_stray = transaction.stray.is_some_and(|stray| stray.reason == OrphanReason::Sampled);
    match first {
        Some(first) if first.transport == Transport::Udp && !is_stray => sampling.told(first.ts),
        _ => 1.0,
    }
}

/// What metrics want to know.
fn seen(transaction: &Transaction<'_>, subject: Message<'_>, resolver: ResolverLabel) -> Seen {
    let asked = |message: Message<'_>| message.dns.asked();
    let question = transaction.query.and_then(asked).or(transaction.response.and_then(asked));
    Seen {
        vantage: transaction.vantage,
        transport: subject.envelope.transport,
        resolver,
        qtype: question.map(|(qtype, _)| qtype),
        status: transaction.status,
        rcode: transaction.response.map(|response| response.dns.rcode()),
        latency_seconds: transaction.latency().map(|latency| latency.as_secs_f64()),
    }
}
