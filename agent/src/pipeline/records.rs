//! Where events become records: attribution, correlation and analysis of each event, and the export of its record.

use super::Pipeline;
use super::analysis::{Analysis, Export};
use super::attribution::{
    attribute, attribute_sender, attribute_transaction, filter_subject, passes,
};
use super::event::{Event, EventSink, RenderedEvent};
use super::filter::FilterSubject;
use crate::capture::live::process::is_same_start;
use crate::enrich::Enricher;
use crate::metrics::{RecentlyAdded, ResolverLabel};
use crate::record::record_tail;
use dnscribe_analysis::attribution::Attribution;
use dnscribe_analysis::lookup::Outcome;
use dnscribe_analysis::uses::Connecting;
use dnscribe_analysis::view::{Facts, TransactionView};
use dnscribe_dns::rcode::NOERROR;
use dnscribe_dns::{Answers, rcode_name};
use dnscribe_record::ledger::Counters;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{LedgerRecord, Stream, TransactionContext};
use dnscribe_transaction::decode::{Connect, DeadLetter, Message};
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::packet::sampling::Timeline;
use dnscribe_transaction::packet::{Task, Transport};
use dnscribe_transaction::pair::{MessageTexts, OrphanReason, Status, Transaction, Vantage};
use std::borrow::Cow;
use std::time::Duration;

impl EventSink for Pipeline {
    fn event(&mut self, at: Timestamp, event: RenderedEvent<'_>) {
        self.now = at;
        if self.render_options.are_met_by(&event) {
            return self.process(&event);
        }
        let mut renderer = self.late_renderer.take().unwrap_or_else(|| self.renderer());
        renderer.options = self.render_options;
        self.process(&renderer.render(event.event));
        self.late_renderer = Some(renderer);
    }

    fn expired(&mut self, now: Timestamp) {
        self.expire(now);
    }
}

impl Pipeline {
    fn process(&mut self, rendered: &RenderedEvent<'_>) {
        match rendered.event {
            Event::Message(message) => self.message(message, rendered),
            Event::Transaction(transaction) => self.transaction(transaction, rendered),
            Event::Began(query) => self.begin(query),
            Event::Encrypted(envelope) => {
                self.note_process(envelope.task.as_ref(), envelope.cgroup_id);
            }
            Event::Sender(sender) => self.note_process(Some(&sender.task), sender.cgroup_id),
            Event::Connection(report) => self.connection(report),
            Event::Connect(connect) => self.connect(connect),
            Event::Dropped(dropped) => {
                if let Some(losses) = &mut self.losses {
                    losses.observe(dropped);
                }
            }
            Event::Step(step) => {
                if let Some(path) = &mut self.path {
                    path.observe(step);
                }
            }
            Event::DeadLetter(letter) => self.dead_letter(letter),
        }
    }

    /// The analysis, and where its records go.
    pub(super) const fn analysis_parts(&mut self) -> (&mut Analysis, Export<'_>) {
        let Self { analysis, identity, router, filters, .. } = self;
        (analysis, Export { identity, router, filters })
    }

    /// Processes a query that has begun a transaction.
    fn begin(&mut self, query: &Message<'_>) {
        self.correlator.start_transaction(query);
        if let Some(losses) = &mut self.losses {
            losses.begin(query);
        }
        let (analysis, mut export) = self.analysis_parts();
        analysis.begin(query, &mut export);
    }

    /// Counts a message and exports its record. Looks up its process while that is alive.
    fn message(&mut self, message: &Message<'_>, event: &RenderedEvent<'_>) {
        let response = message.dns.flags.is_response();
        self.metrics.message(response, message.envelope.transport);
        let filter = self.filters.get(Stream::Messages);
        let rendered = self.router.asks_for(Stream::Messages, filter.is_some());
        if response && !rendered {
            return;
        }
        let sender = attribute_sender(&mut self.enricher, message);
        if rendered {
            let (client, server) = message.client_and_server();
            let resolver = self.resolvers.get(server.ip(), &self.identity, &mut self.metrics);
            if let Some(filter) = filter {
                let subject = FilterSubject {
                    resolvers: &[Cow::Borrowed(&*resolver.name)],
                    ..filter_subject(&sender, client.ip())
                };
                if !passes(filter, message.dns.question(), subject) {
                    self.router.filter(Stream::Messages);
                    return;
                }
            }
            let id = self.identity.namespace.message(message.envelope.id);
            let rest = record_tail(&sender);
            let key = resolver.name.as_bytes();
            self.metrics.shortened.messages += u64::from(event.is_shortened);
            self.router.push_partial(Stream::Messages, id, (event.json, &rest), key);
        }
    }

    /// Counts a transaction, passes it to the analyses, and exports its record.
    fn transaction(&mut self, transaction: &Transaction<'_>, rendered: &RenderedEvent<'_>) {
        let links = self.correlator.end_transaction(transaction);
        let times = self.path.as_mut().and_then(|path| path.take(transaction));
        let Some(subject) = transaction.identifying_message() else { return };
        let Self {
            identity,
            resolvers,
            filters,
            enricher,
            router,
            analysis,
            metrics,
            pod_metrics,
            losses,
            indicators,
            first_seen,
            now,
            ..
        } = self;
        let (client, server) = transaction.query.unwrap_or(subject).client_and_server();
        let resolver = resolvers.get(server.ip(), identity, metrics);
        metrics.transaction(&labels(transaction, subject, resolver.label));
        let resolver = &*resolver.name;
        let filter = filters.get(Stream::Transactions);
        let is_exported = router.asks_for(Stream::Transactions, filter.is_some());
        if !is_exported && !analysis.is_active() && pod_metrics.is_none() {
            return;
        }
        let attribution = attribute_transaction(enricher, transaction);
        if let Some(metrics) = pod_metrics
            && let Some(pod) = &attribution.pod
            && let Some((outcome, latency)) = query_outcome(transaction)
        {
            metrics.query(*now, &pod.pod, outcome, latency);
        }
        if let Some(enricher) = enricher {
            enricher.count(&attribution);
        }
        let sample_ratio = sample_ratio(&self.sampling_timeline, transaction);
        let tail = record_tail(&attribution);
        let lost = losses.as_ref().and_then(|losses| losses.of(transaction));
        let texts = rendered.texts.unwrap_or(MessageTexts::EMPTY);
        let ts = identity.clock.apply(transaction.query.unwrap_or(subject).envelope.ts);
        // Anybody may put records into a query.
        let has_answers = transaction.response.is_some();
        let answers = if has_answers { &texts.answers } else { Answers::NONE };
        let indicators = indicators.find(ts, texts.qname(), answers);
        if analysis.is_active()
            && let Some(view) = TransactionView::new(
                transaction,
                texts,
                &Facts {
                    resolver,
                    links: &links,
                    sample_ratio,
                    attribution: &attribution,
                    tail: &tail,
                    lost: lost.as_ref(),
                    indicators: &indicators,
                },
            )
        {
            let asker = transaction.query.and_then(|query| query.envelope.task);
            analysis.observe(*now, &view, asker.as_ref());
        }
        let exists = transaction.response.is_some_and(|response| response.dns.rcode() == NOERROR);
        let first_seen = first_seen
            .as_mut()
            .zip(texts.zone())
            .and_then(|(first_seen, zone)| first_seen.table.see(ts, zone, exists));
        if !is_exported {
            return;
        }
        if let Some(filter) = filter {
            let rcode = transaction.response.map(|response| rcode_name(response.dns.rcode()));
            let subject = FilterSubject {
                resolvers: &[Cow::Borrowed(resolver)],
                status: Some(transaction.status.name()),
                rcode: rcode.as_deref(),
                ..filter_subject(&attribution, client.ip())
            };
            if !passes(filter, transaction.question(), subject) {
                return router.filter(Stream::Transactions);
            }
        }
        let context = TransactionContext {
            indicators: &indicators,
            first_seen,
            ..identity.transaction_context(
                resolver,
                tail,
                &links,
                Some(sample_ratio).filter(|ratio| *ratio < 1.0),
                lost.as_ref(),
                times,
            )
        };
        let id = identity.namespace.message(subject.envelope.id);
        metrics.shortened.transactions += u64::from(rendered.is_shortened);
        router.push_transaction(id, (rendered.json, &context), texts.zone());
    }

    /// Looks up the process of a packet while the process is alive.
    pub(super) fn note_process(&mut self, task: Option<&Task>, cgroup_id: u64) {
        if task.is_some() {
            attribute(&mut self.enricher, task, cgroup_id);
        }
    }

    /// Counts a connection, passes it to the analyses, and exports its record.
    fn connection(&mut self, report: &ConnectionReport<'_>) {
        let connection = report.connection;
        let server = connection.server.ip();
        let resolver = self.resolvers.get(server, &self.identity, &mut self.metrics);
        if report.is_final {
            self.metrics.connection(report, resolver.label);
        }
        let resolver = &*resolver.name;
        self.analysis.connection(report, resolver);
        let filter = self.filters.get(Stream::Connections);
        if self.router.asks_for(Stream::Connections, filter.is_some()) {
            let task = connection.task.as_ref();
            let cgroup_id = connection.cgroup_id;
            let attribution = attribute(&mut self.enricher, task, cgroup_id);
            let subject = FilterSubject {
                resolvers: &[Cow::Borrowed(resolver)],
                ..filter_subject(&attribution, connection.client.ip())
            };
            if filter.is_some_and(|filter| !filter.admits(&subject)) {
                self.router.filter(Stream::Connections);
                return;
            }
            let record = self.identity.connection(report, resolver, record_tail(&attribution));
            let (id, key) = (record.event_id, resolver.as_bytes());
            self.router.push(Stream::Connections, id, &record, key);
        }
    }

    /// Passes a step of a connection to the analysis, which exports its record.
    fn connect(&mut self, connect: &Connect) {
        let Self { analysis, identity, router, filters, enricher, .. } = self;
        let mut connecting = ConnectingTask { connect, enricher };
        analysis.connect(connect, &mut connecting, &mut Export { identity, router, filters });
    }

    /// Exports the record of a packet that cannot be decoded.
    fn dead_letter(&mut self, letter: &DeadLetter<'_>) {
        if self.router.asks_for(Stream::Dlq, false) {
            let envelope = &letter.envelope;
            let task = envelope.task.as_ref();
            let attribution = attribute(&mut self.enricher, task, envelope.cgroup_id);
            let record = self.identity.dead_letter(letter, record_tail(&attribution));
            let key = self.identity.node.as_bytes();
            self.router.push(Stream::Dlq, record.head.event_id, &record, key);
        }
    }

    /// Exports a ledger record.
    pub(super) fn ledger(&mut self, counters: &Counters, now: Timestamp, last: bool) {
        self.ledgers += 1;
        if self.router.asks_for(Stream::Ledger, false) {
            let identity = &self.identity;
            let id = identity.namespace.ledger(self.ledgers);
            let record = LedgerRecord {
                schema: Stream::Ledger.schema().to_owned(),
                event_id: id.to_string(),
                ts: identity.clock.apply(now).to_string(),
                node: identity.node.clone(),
                region: identity.region.clone(),
                labels: identity.labels.clone().unwrap_or_default(),
                epoch: identity.epoch.to_string(),
                uptime_seconds: now.since(identity.epoch).as_secs_f64(),
                is_final: last,
                balanced: counters.balanced(),
                counters: counters.clone(),
            };
            let key = identity.node.as_bytes();
            self.router.push(Stream::Ledger, id, &record, key);
        }
        self.router.offer();
    }
}

/// The process that opens a connection.
struct ConnectingTask<'a> {
    connect: &'a Connect,
    enricher: &'a mut Option<Enricher>,
}

impl Connecting for ConnectingTask<'_> {
    fn attribute(&mut self) -> (Attribution, u32) {
        let Self { connect, enricher } = self;
        let task = connect.task.as_ref();
        let attribution = attribute(enricher, task, connect.cgroup_id);
        let parent = enricher.as_mut().zip(task).map(|(enricher, task)| enricher.parent(task));
        (attribution, parent.unwrap_or(0))
    }

    fn start_ns(&mut self, pid: u32) -> Option<u64> {
        self.enricher.as_mut()?.start_ns(pid)
    }

    fn is_same_start(&self, a_ns: u64, b_ns: u64) -> bool {
        is_same_start(a_ns, b_ns)
    }
}

/// Share of transactions like this one that were exported when it was seen. TCP is not sampled, and a response
/// whose query was left out by sampling represents no other.
fn sample_ratio(sampling: &Timeline, transaction: &Transaction<'_>) -> f64 {
    let first = transaction.query.or(transaction.response).map(|message| message.envelope);
    let is_stray = transaction.orphan.is_some_and(|stray| stray.reason == OrphanReason::Sampled);
    match first {
        Some(first) if first.transport == Transport::Udp && !is_stray => {
            sampling.exported_share(first.ts)
        }
        _ => 1.0,
    }
}

/// Returns the outcome of a query that a client on this host sent, and its latency where the response came in time. A late
/// response or a duplicate is none: its query has had its outcome.
fn query_outcome(transaction: &Transaction<'_>) -> Option<(Outcome, Option<Duration>)> {
    if transaction.vantage != Vantage::Client {
        return None;
    }
    let latency = match transaction.status {
        Status::Late | Status::Duplicate | Status::Orphan => return None,
        Status::Answered => transaction.latency(),
        Status::Timeout | Status::IcmpError | Status::Evicted | Status::Open => None,
    };
    let dns = transaction.response.map(|response| response.dns);
    let over_udp =
        transaction.query.is_some_and(|query| query.envelope.transport == Transport::Udp);
    let is_truncated = over_udp && dns.is_some_and(|dns| dns.flags.is_truncated());
    let has_records = || dns.is_some_and(|dns| dns.counts.answer > 0);
    let rcode = dns.map(|dns| dns.rcode());
    Some((Outcome::new(transaction.status, rcode, is_truncated, has_records), latency))
}

/// Labels and value of a transaction in the metrics.
fn labels(
    transaction: &Transaction<'_>,
    subject: Message<'_>,
    resolver: ResolverLabel,
) -> RecentlyAdded {
    let asked = |message: Message<'_>| message.dns.question_type_and_class();
    let question = transaction.query.and_then(asked).or(transaction.response.and_then(asked));
    RecentlyAdded {
        vantage: transaction.vantage,
        transport: subject.envelope.transport,
        resolver,
        qtype: question.map(|(qtype, _)| qtype),
        status: transaction.status,
        rcode: transaction.response.map(|response| response.dns.rcode()),
        latency_seconds: transaction.latency().map(|latency| latency.as_secs_f64()),
    }
}
