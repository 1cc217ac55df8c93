//! State of the view: takes records, gives rows. A state machine with time as an argument and bounded
//! memory.
//!
//! A transaction counts in the second in which its outcome was known, which for a timeout is its end and not
//! its query. So the figures of a past second never change.

mod alerts;
mod facts;
mod stats;
mod table;
#[cfg(test)]
mod tests;

pub use alerts::Alert;
pub(super) use dnscribe_record::number::to_f64;
pub use facts::{Fact, Part, SEPARATOR, parts};
pub use stats::{Counts, Figures, Moment, OutcomeKind, RECENT, Span};
pub use table::{Row, Side, Vantage};

use super::record::{Record, Transaction, read};
use super::text::{boundary, clean};
use alerts::Alerts;
use dnscribe_delivery::{Batch, Stream};
use dnscribe_record::LedgerRecord;
use dnscribe_record::time::Timestamp;
use facts::Facts;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use table::{BySide, Event, Table};

/// Grouping of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// By resolver.
    Resolver,
    /// By registrable domain.
    Zone,
    /// By name.
    Name,
    /// By process and where it runs, or by client address where no process is known.
    Process,
    /// By response code, or by status where there is none.
    Outcome,
}

impl Group {
    /// Every group, in the order of the tables in the model.
    const ALL: [Self; 5] = [Self::Resolver, Self::Zone, Self::Name, Self::Process, Self::Outcome];

    /// Capacity in rows. A row takes about 4 KiB for each side, 16 KiB at most.
    const fn capacity(self) -> usize {
        match self {
            Self::Resolver | Self::Zone | Self::Process => 512,
            Self::Name => 1024,
            Self::Outcome => 64,
        }
    }
}

/// Number of nodes whose ledgers are kept.
const MAX_NODES: usize = 64;

/// Length limit of a part of a key in bytes. A name of 255 bytes, each escaped as `\DDD`, fits.
const MAX_PART_BYTES: usize = 1024;

/// The state that was computed from all records so far.
#[derive(Clone, Debug)]
pub struct Model {
    tables: [Table; 5],
    facts: Facts,
    total: BySide,
    alerts: Alerts,
    ledgers: BTreeMap<String, LedgerRecord>,
    node: String,
    start: Option<u64>,
    now: u64,
    records: u64,
    unreadable: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            tables: Group::ALL.map(|group| Table::new(group.capacity())),
            facts: Facts::default(),
            total: BySide::default(),
            alerts: Alerts::default(),
            ledgers: BTreeMap::new(),
            node: String::new(),
            start: None,
            now: 0,
            records: 0,
            unreadable: 0,
        }
    }
}

impl Model {
    /// Adds the records of a batch.
    pub fn observe(&mut self, batch: &Batch) {
        for rendered in batch.iter() {
            self.line(rendered.stream, rendered.line);
        }
    }

    /// Adds one record, as JSON.
    pub fn line(&mut self, stream: Stream, line: &[u8]) {
        match read(stream, line) {
            Ok(Some(record)) => self.record(&record),
            Ok(None) => {}
            Err(_) => self.unreadable += 1,
        }
    }

    /// Counts a line that is not a record.
    pub const fn line_unreadable(&mut self) {
        self.unreadable += 1;
    }

    fn record(&mut self, record: &Record<'_>) {
        match record {
            Record::Transaction(transaction) => self.transaction(transaction),
            Record::Alert(alert) => {
                let ts = alert.get("ts").and_then(|ts| ts.as_str());
                let second = ts.and_then(second).unwrap_or(self.now);
                self.alerts.add(alert, second);
                self.tick_second(second);
                self.records += 1;
            }
            Record::Ledger(ledger) => {
                self.records += 1;
                if let Some(second) = second(&ledger.ts) {
                    self.tick_second(second);
                }
                let node = part(&ledger.node).into_owned();
                if self.ledgers.contains_key(&node) || self.ledgers.len() < MAX_NODES {
                    self.ledgers.insert(node, (**ledger).clone());
                }
            }
        }
    }

    fn transaction(&mut self, transaction: &Transaction<'_>) {
        let Ok(ts) = transaction.ts.parse::<Timestamp>() else {
            self.unreadable += 1;
            return;
        };
        self.records += 1;
        if self.node.is_empty() {
            self.node = part(&transaction.node).into_owned();
        }
        let event = self.event(transaction, ts);
        let labels = Labels::of(transaction);
        let keys = [&labels.resolver, &labels.zone, &labels.name, &labels.process, &labels.outcome];
        for (table, key) in self.tables.iter_mut().zip(keys) {
            table.add(key, &event);
        }
        let total = self.total.of(event.side);
        total.add(event.moment, event.kind, event.latency_ms, event.retries);
        let parts = [
            &*labels.resolver,
            &*labels.zone,
            &*labels.name,
            &*labels.kind,
            &*labels.outcome,
            &*labels.process,
        ];
        let event_id = u128::from_str_radix(&transaction.event_id, 16).ok();
        self.facts.add(parts, &event, event_id);
    }

    fn event(&mut self, transaction: &Transaction<'_>, ts: Timestamp) -> Event {
        let latency = transaction.latency_ms.filter(|latency| (0.0..1e12).contains(latency));
        // Without a response, the outcome was known when the record was written: now.
        let at = latency.map_or(self.now.max(seconds(ts)), |latency| {
            seconds(ts.plus(Duration::from_secs_f64(latency / 1e3)))
        });
        self.tick_second(at);
        let side = match (&*transaction.vantage, transaction.parent_match.as_deref()) {
            ("client", _) => Side::Client,
            ("server", Some("exchange")) => Side::ServerRepeat,
            ("server", _) => Side::Server,
            _ => Side::Passive,
        };
        Event {
            moment: Moment { now: self.now, at, start: self.start.unwrap_or(at) },
            side,
            kind: OutcomeKind::of(&transaction.status, transaction.rcode.as_deref()),
            latency_ms: latency,
            retries: transaction.retries,
            pid: transaction.process.as_ref().map_or(0, |process| process.pid),
        }
    }

    /// Advances time.
    pub fn tick(&mut self, now: Timestamp) {
        if self.start.is_some() {
            self.tick_second(seconds(now));
        }
    }

    fn tick_second(&mut self, second: u64) {
        self.start.get_or_insert(second);
        self.now = self.now.max(second);
    }

    /// Clears all counts. Alerts and ledgers are states and stay.
    pub fn clear(&mut self) {
        let new = Self::default();
        *self = Self {
            alerts: std::mem::take(&mut self.alerts),
            ledgers: std::mem::take(&mut self.ledgers),
            node: std::mem::take(&mut self.node),
            start: self.start.map(|_| self.now),
            now: self.now,
            ..new
        };
    }

    /// Current time of the view.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { now: self.now, at: self.now, start: self.start.unwrap_or(self.now) }
    }

    /// Rows of a group, unordered.
    pub fn rows(&self, group: Group) -> impl Iterator<Item = (&str, &Row)> {
        self.tables[group as usize].rows()
    }

    /// Counts of evicted rows of a group.
    #[must_use]
    pub fn other(&self, group: Group, vantage: Vantage) -> Counts {
        self.tables[group as usize].other(vantage)
    }

    /// Facts, unordered.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.facts.iter()
    }

    /// Figures of all transactions.
    #[must_use]
    pub fn total(&self, vantage: Vantage, span: Span) -> Figures {
        self.total.figures(vantage, self.moment(), span)
    }

    /// Alerts, most severe first.
    #[must_use]
    pub fn alerts(&self) -> Vec<(&str, &Alert)> {
        self.alerts.sorted()
    }

    /// Number of firing alerts: info, warning, critical.
    #[must_use]
    pub fn firing(&self) -> [usize; 3] {
        self.alerts.firing()
    }

    /// The newest ledger of each node.
    #[must_use]
    pub const fn ledgers(&self) -> &BTreeMap<String, LedgerRecord> {
        &self.ledgers
    }

    /// Node of the first record.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Number of records.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Number of lines that were not records.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

const fn seconds(ts: Timestamp) -> u64 {
    ts.as_nanos() / 1_000_000_000
}

fn second(ts: &str) -> Option<u64> {
    ts.parse().ok().map(seconds)
}

/// Keys of a transaction in the tables.
struct Labels<'a> {
    resolver: Cow<'a, str>,
    zone: Cow<'a, str>,
    name: Cow<'a, str>,
    kind: Cow<'a, str>,
    outcome: Cow<'a, str>,
    process: Cow<'a, str>,
}

impl<'a> Labels<'a> {
    fn of(transaction: &'a Transaction<'_>) -> Self {
        let optional = |text: &'a Option<super::record::Text<'_>>, none: &'static str| {
            text.as_ref().map_or(Cow::Borrowed(none), |text| part(text))
        };
        let outcome = match (&*transaction.status, &transaction.rcode) {
            ("answered", Some(rcode)) => part(rcode),
            (status, _) => part(status),
        };
        Self {
            resolver: part(&transaction.resolver),
            zone: optional(&transaction.zone, "(no zone)"),
            name: optional(&transaction.qname, "(no question)"),
            kind: optional(&transaction.qtype, ""),
            outcome,
            process: process(transaction),
        }
    }
}

/// Returns the process, a space, and where it runs: `curl shop/cart-0`. Pods, containers and hosts contain no
/// spaces, so the last space separates the two.
fn process<'a>(transaction: &'a Transaction<'_>) -> Cow<'a, str> {
    let Some(process) = &transaction.process else {
        return Cow::Owned(format!("{} client", part(&transaction.client_ip)));
    };
    let comm = part(&process.comm);
    let place = match (&transaction.k8s, &transaction.container) {
        (Some(pod), _) => Cow::Owned(format!("{}/{}", part(&pod.namespace), part(&pod.pod))),
        (None, Some(container)) => part(container.id.get(..12).unwrap_or(&container.id)),
        (None, None) => Cow::Borrowed("host"),
    };
    Cow::Owned(format!("{comm} {}", place.replace(' ', "_")))
}

/// Makes a text of a record safe to show, and limits its length.
fn part(text: &str) -> Cow<'_, str> {
    let cut = boundary(text, MAX_PART_BYTES);
    clean(&text[..cut])
}
