//! State of a report: takes records, gives figures.

use super::connection::{Destinations, LostMessages};
use super::evidence::Evidence;
use super::group::{Figures, Groups, Outcome, ResolverTimelines};
use super::record::{AlertFields, ChangeFields, LookupFields, LostTransaction, UseFields};
use super::timeline::Timeline;
use crate::Unreadable;
use crate::top::{OutcomeKind, TransactionView, process_label};
use dnscribe_delivery::{Batch, Stream};
use dnscribe_record::LedgerRecord;
use dnscribe_record::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Streams that a report is made of.
pub const STREAMS: [Stream; 5] =
    [Stream::Transactions, Stream::Lookups, Stream::Uses, Stream::Alerts, Stream::Ledger];

/// Schema of changes, which are no stream of the agent.
const CHANGE: &str = "dns.change/1";

/// Name of the field of transactions with lost messages.
const LOST_AT: &[u8] = b"\"lost_at\"";

/// Number of names and clients that have a group or are counted. A group takes about 400 bytes.
const MAX_NAMES: usize = 100_000;

/// Number of resolvers, zones and processes that have a group.
const MAX_GROUPS: usize = 20_000;

/// Number of alerts and of changes that are kept.
const MAX_EVENTS: usize = 2_000;

/// Number of nodes whose ledgers are kept.
const MAX_NODES: usize = 1_000;

/// A span of time: both ends are optional, the end is not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpan {
    /// Start.
    pub from: Option<Timestamp>,
    /// End.
    pub to: Option<Timestamp>,
}

impl TimeSpan {
    fn contains(&self, ts: Timestamp) -> bool {
        self.from.is_none_or(|from| ts >= from) && self.to.is_none_or(|to| ts < to)
    }
}

/// Lookups of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct LookupFigures {
    pub(super) lookups: u64,
    pub(super) failed: u64,
    pub(super) packets: u64,
    pub(super) wasted: u64,
    pub(super) search_expansions: u64,
    pub(super) retries: u64,
    pub(super) waited_ms: f64,
    /// Lookups of at least [`SLOW_MS`], and their time.
    pub(super) slow: u64,
    pub(super) slow_ms: f64,
}

/// Time of a lookup that an application's user notices, in milliseconds.
const SLOW_MS: f64 = 1_000.0;

/// Figures of all records so far.
#[derive(Clone, Debug)]
pub struct ReportModel {
    span: TimeSpan,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Timestamp,
    pub(super) nodes: BTreeSet<String>,
    /// Clients with queries.
    pub(super) clients: BTreeSet<String>,
    /// Whether more clients have queries than are counted.
    pub(super) has_more_clients: bool,
    pub(super) total: Figures,
    pub(super) timeline: Timeline,
    pub(super) resolver_timelines: ResolverTimelines,
    pub(super) resolvers: Groups,
    pub(super) zones: Groups,
    pub(super) names: Groups,
    pub(super) processes: Groups,
    pub(super) qtypes: Groups,
    pub(super) evidence: Evidence,
    pub(super) lookups: LookupFigures,
    pub(super) lookups_by_process: BTreeMap<String, LookupFigures>,
    pub(super) destinations: Destinations,
    pub(super) lost: LostMessages,
    pub(super) alerts: BTreeMap<String, AlertFields>,
    pub(super) changes: BTreeSet<ChangeFields>,
    /// The newest ledger of each capture: node and epoch.
    pub(super) ledgers: BTreeMap<(String, String), LedgerRecord>,
    records: u64,
    unreadable: Unreadable,
}

impl ReportModel {
    /// Creates the model of the records of a span of time.
    #[must_use]
    pub fn new(span: TimeSpan) -> Self {
        Self {
            span,
            first: None,
            last: Timestamp::default(),
            nodes: BTreeSet::new(),
            clients: BTreeSet::new(),
            has_more_clients: false,
            total: Figures::default(),
            timeline: Timeline::default(),
            resolver_timelines: ResolverTimelines::default(),
            resolvers: Groups::new(MAX_GROUPS),
            zones: Groups::new(MAX_GROUPS),
            names: Groups::new(MAX_NAMES),
            processes: Groups::new(MAX_GROUPS),
            qtypes: Groups::new(MAX_GROUPS),
            evidence: Evidence::default(),
            lookups: LookupFigures::default(),
            lookups_by_process: BTreeMap::new(),
            destinations: Destinations::default(),
            lost: LostMessages::default(),
            alerts: BTreeMap::new(),
            changes: BTreeSet::new(),
            ledgers: BTreeMap::new(),
            records: 0,
            unreadable: Unreadable::default(),
        }
    }

    /// Adds a batch of records.
    pub fn observe(&mut self, batch: &Batch) {
        for rendered in batch.iter() {
            self.record(rendered.stream.schema(), rendered.line);
        }
    }

    /// Adds a line of NDJSON. Records of streams that are not shown are ignored, and what cannot be read is counted.
    pub fn line(&mut self, line: &[u8]) {
        match crate::top::schema_of(line) {
            Ok(schema) => self.record(&schema, line),
            Err(_) => self.unreadable.add(),
        }
    }

    /// Returns the number of records that were read.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Returns the lines that were left out.
    #[must_use]
    pub const fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    fn record(&mut self, schema: &str, line: &[u8]) {
        let of = |stream: Stream| schema == stream.schema();
        let read = if of(Stream::Transactions) {
            serde_json::from_slice(line).and_then(|one| self.transaction(&one, line))
        } else if of(Stream::Lookups) {
            serde_json::from_slice(line).map(|one| self.lookup(&one))
        } else if of(Stream::Uses) {
            serde_json::from_slice::<UseFields<'_>>(line).map(|one| {
                if self.span.contains(one.ts) {
                    self.destinations.add(&one);
                }
            })
        } else if of(Stream::Alerts) {
            serde_json::from_slice(line).map(|one| self.alert(one))
        } else if of(Stream::Ledger) {
            serde_json::from_slice(line).map(|one| self.ledger(one))
        } else if schema == CHANGE {
            serde_json::from_slice(line).map(|one| self.change(one))
        } else {
            self.unreadable.add_unknown(schema);
            return;
        };
        match read {
            Ok(()) => self.records += 1,
            Err(_) => self.unreadable.add(),
        }
    }

    /// Adds a transaction.
    ///
    /// # Errors
    /// Its time is invalid.
    fn transaction(
        &mut self,
        transaction: &TransactionView<'_>,
        line: &[u8],
    ) -> serde_json::Result<()> {
        let ts: Timestamp = transaction.ts.parse().map_err(serde::de::Error::custom)?;
        // The resolver's own view of a query that its client's view counts already.
        let is_repeated = transaction.parent_match.as_deref() == Some("exchange");
        if is_repeated || !self.span.contains(ts) {
            return Ok(());
        }
        self.note_time(ts);
        self.nodes.insert(transaction.node.to_string());
        let kind = OutcomeKind::of(&transaction.status, transaction.rcode.as_deref());
        if kind != OutcomeKind::Stray {
            self.note_client(&transaction.client_ip);
        }
        let outcome = Outcome {
            second: ts.as_nanos() / 1_000_000_000,
            kind,
            latency_ms: transaction.latency_ms.filter(|latency| (0.0..1e12).contains(latency)),
            retries: transaction.retries,
        };
        self.total.add(&outcome);
        self.timeline.add(&outcome);
        self.resolver_timelines.add(&transaction.resolver, &outcome);
        self.resolvers.add(&transaction.resolver, &outcome);
        self.zones.add(transaction.zone.as_deref().unwrap_or("(no zone)"), &outcome);
        self.names.add(transaction.qname.as_deref().unwrap_or("(no question)"), &outcome);
        self.qtypes.add(transaction.qtype.as_deref().unwrap_or("(no question)"), &outcome);
        let process = process_label(transaction);
        self.processes.add(&process, &outcome);
        self.evidence.add(transaction, ts, kind, &process);
        // Few have it, and all are read.
        if line.windows(LOST_AT.len()).any(|part| part == LOST_AT)
            && let Ok(LostTransaction { lost_at: Some(lost) }) = serde_json::from_slice(line)
        {
            self.lost.add(&lost, &transaction.node, &process);
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &LookupFields<'_>) {
        if !self.span.contains(lookup.ts) {
            return;
        }
        let process =
            TransactionView { client_ip: lookup.client_ip.clone(), ..TransactionView::default() };
        let process = match &lookup.process {
            Some(found) => {
                crate::top::process_and_place(found, lookup.k8s.as_ref(), lookup.container.as_ref())
            }
            None => process_label(&process).into_owned(),
        };
        self.lookups.add(lookup);
        if self.lookups_by_process.len() < MAX_GROUPS
            || self.lookups_by_process.contains_key(&process)
        {
            self.lookups_by_process.entry(process).or_default().add(lookup);
        }
    }

    fn alert(&mut self, alert: AlertFields) {
        if !self.span.contains(alert.ts) && !self.span.contains(alert.started) {
            return;
        }
        let is_newer = self.alerts.get(&alert.alert_id).is_none_or(|known| known.ts <= alert.ts);
        if is_newer && (self.alerts.len() < MAX_EVENTS || self.alerts.contains_key(&alert.alert_id))
        {
            self.alerts.insert(alert.alert_id.clone(), alert);
        }
    }

    fn change(&mut self, change: ChangeFields) {
        if self.span.contains(change.ts) && self.changes.len() < MAX_EVENTS {
            self.changes.insert(change);
        }
    }

    fn ledger(&mut self, ledger: LedgerRecord) {
        let key = (ledger.node.clone(), ledger.epoch.clone());
        let is_newer = self.ledgers.get(&key).is_none_or(|known| known.order() <= ledger.order());
        if is_newer && (self.ledgers.len() < MAX_NODES || self.ledgers.contains_key(&key)) {
            self.ledgers.insert(key, ledger);
        }
    }

    pub(super) fn note_client(&mut self, client_ip: &str) {
        if self.clients.contains(client_ip) {
            return;
        }
        if self.clients.len() < MAX_NAMES {
            self.clients.insert(client_ip.to_owned());
        } else {
            self.has_more_clients = true;
        }
    }

    fn note_time(&mut self, ts: Timestamp) {
        self.first = Some(self.first.map_or(ts, |first| first.min(ts)));
        self.last = self.last.max(ts);
    }
}

impl LookupFigures {
    fn add(&mut self, lookup: &LookupFields<'_>) {
        self.lookups += 1;
        self.failed += u64::from(!matches!(&*lookup.outcome, "answered" | "nodata" | "nxdomain"));
        self.packets += lookup.packets;
        self.wasted += lookup.packets_wasted;
        self.search_expansions += lookup.search_expansions;
        self.retries += lookup.retries;
        self.waited_ms += lookup.duration_ms;
        if lookup.duration_ms >= SLOW_MS {
            self.slow += 1;
            self.slow_ms += lookup.duration_ms;
        }
    }
}
