//! State of the view: takes records, gives rows. A state machine with time as an argument and bounded
//! memory.
//!
//! A transaction counts in the second in which its outcome was known, which for a timeout is its end and not
//! its query. So the figures of a past second never change.

mod alerts;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod uses;

pub use alerts::Alert;
pub(super) use dnscribe_record::number::to_f64;
pub use stats::{Counts, Event, Figures, Moment, OutcomeKind, RECENT, Span};
pub use table::{Fact, Row, Side, Vantage};
pub use uses::{Destination, MAX_ADDRESSES};

use super::record::{Transaction, Use, schema_of};
use super::text::{boundary, clean};
use crate::Unreadable;
use alerts::Alerts;
use dnscribe_delivery::{Batch, Stream};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{ContainerView, JsonText, LedgerRecord, PodView, ProcessView};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use table::{Rows, StatsBySide, Table};
use uses::Uses;

/// Property of a transaction by which lists are grouped and narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Resolver,
    /// Registrable domain of the name.
    Zone,
    Name,
    /// Process and where it runs, or client address where no process is known.
    Process,
    /// Response code, or status where there is none.
    Outcome,
    /// Record type. There is no table of it.
    Type,
}

impl Part {
    pub const COUNT: usize = 6;
}

/// Capacity in rows of the table of each part. A row takes about 4 KiB for each side, 16 KiB at most.
const ROWS: [usize; Part::COUNT - 1] = [512, 512, 1024, 512, 64];

/// Separator of a fact's parts. No part contains it, since all are escaped.
pub const SEPARATOR: &str = "\0";

/// Splits the key of a fact into its parts.
pub fn parts(key: &str) -> [&str; Part::COUNT] {
    let mut parts = key.split(SEPARATOR);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Number of nodes whose ledgers are kept.
const MAX_NODES: usize = 64;

/// Length limit of a part of a key in bytes. A name of 255 bytes, each escaped as `\DDD`, fits.
const MAX_PART_BYTES: usize = 1024;

/// The state that was computed from all records so far.
#[derive(Clone, Debug, Default)]
pub struct Model {
    tables: [Rows; ROWS.len()],
    /// Counts by all parts, for drilling down.
    pub facts: Table<Fact>,
    total: StatsBySide,
    pub uses: Uses,
    pub alerts: Alerts,
    /// The newest ledger of each node.
    pub ledgers: BTreeMap<String, LedgerRecord>,
    /// Nodes that records came from, up to `MAX_NODES`.
    pub nodes: BTreeSet<String>,
    start: Option<u64>,
    now: u64,
    pub records: u64,
    pub unreadable: Unreadable,
}

impl Model {
    pub fn observe(&mut self, batch: &Batch) {
        for rendered in batch.iter() {
            self.line(rendered.stream, rendered.line);
        }
    }

    /// Adds a line of NDJSON. Returns whether it is a record of a schema that this version knows.
    pub fn json_line(&mut self, line: &[u8]) -> bool {
        let Ok(schema) = schema_of(line) else {
            self.unreadable.add();
            return false;
        };
        match Stream::ALL.into_iter().find(|stream| stream.schema() == schema) {
            Some(stream) => {
                self.line(stream, line);
                true
            }
            None => !self.unreadable.add_unknown(&schema),
        }
    }

    /// Adds one record, as JSON. Those of streams that are not shown are ignored.
    pub fn line(&mut self, stream: Stream, line: &[u8]) {
        let is_record = match stream {
            Stream::Transactions => {
                serde_json::from_slice(line).is_ok_and(|one| self.transaction(&one).is_some())
            }
            Stream::Uses => {
                serde_json::from_slice(line).is_ok_and(|one| self.connections(&one).is_some())
            }
            Stream::Alerts => serde_json::from_slice(line).map(|one| self.alert(&one)).is_ok(),
            Stream::Ledger => serde_json::from_slice(line).map(|one| self.ledger(one)).is_ok(),
            _ => return,
        };
        if is_record {
            self.records += 1;
        } else {
            self.unreadable.add();
        }
    }

    fn alert(&mut self, alert: &serde_json::Value) {
        let ts = alert.get("ts").and_then(|ts| ts.as_str());
        let second = ts.and_then(second).unwrap_or(self.now);
        self.alerts.add(alert, second);
        self.tick_second(second);
    }

    /// Adds connections that are alike. Returns none if their time or address is missing or invalid.
    fn connections(&mut self, one: &Use<'_>) -> Option<()> {
        let last = self.uses.add(one)?;
        self.seen(&part(&one.node));
        self.tick_second(last);
        Some(())
    }

    fn ledger(&mut self, ledger: LedgerRecord) {
        if let Some(second) = second(&ledger.ts) {
            self.tick_second(second);
        }
        let node = part(&ledger.node).into_owned();
        self.seen(&node);
        // Files may have the records of a rotated one behind newer ones.
        let is_newest = match self.ledgers.get(&node) {
            Some(known) => age(known) <= age(&ledger),
            None => self.ledgers.len() < MAX_NODES,
        };
        if is_newest {
            self.ledgers.insert(node, ledger);
        }
    }

    fn seen(&mut self, node: &str) {
        if !node.is_empty() && self.nodes.len() < MAX_NODES && !self.nodes.contains(node) {
            self.nodes.insert(node.to_owned());
        }
    }

    /// Adds a transaction. Returns none if its time or status is missing or invalid.
    fn transaction(&mut self, transaction: &Transaction<'_>) -> Option<()> {
        let ts = transaction.ts.parse().ok().filter(|_| !transaction.status.is_empty())?;
        self.seen(&part(&transaction.node));
        let event = self.event(transaction, ts);
        let labels = labels(transaction);
        for ((table, key), capacity) in self.tables.iter_mut().zip(&labels).zip(ROWS) {
            table.add(key, capacity, &event);
        }
        self.total.add(&event);
        let event_id = u128::from_str_radix(&transaction.event_id, 16).ok();
        self.facts.add_fact(&labels.join(SEPARATOR), &event, event_id);
        Some(())
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
            moment: Moment { at, ..self.moment() },
            side,
            kind: OutcomeKind::of(&transaction.status, transaction.rcode.as_deref()),
            latency_ms: latency,
            retries: transaction.retries,
            pid: transaction.process.as_ref().map_or(0, |process| process.pid),
        }
    }

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
            nodes: std::mem::take(&mut self.nodes),
            start: self.start.map(|_| self.now),
            now: self.now,
            ..new
        };
    }

    /// Current time of the view.
    pub fn moment(&self) -> Moment {
        Moment { now: self.now, at: self.now, start: self.start.unwrap_or(self.now) }
    }

    /// Rows of a group, unordered.
    pub fn rows(&self, group: Part) -> impl Iterator<Item = (&str, &Row)> {
        self.tables.get(group as usize).into_iter().flat_map(|table| table.rows.iter())
    }

    /// Counts of evicted rows of a group.
    pub fn other(&self, group: Part, vantage: Vantage) -> Counts {
        let mut sum = Counts::default();
        let tables = self.tables.get(group as usize);
        tables.iter().flat_map(|rows| rows.other.shown(vantage)).for_each(|one| sum.add(one));
        sum
    }

    pub fn total(&self, vantage: Vantage, span: Span) -> Figures {
        self.total.figures(vantage, self.moment(), span)
    }
}

/// Returns what orders the ledger records of a node: the start of the capture, then the order within it.
fn age(ledger: &LedgerRecord) -> (Option<Timestamp>, (bool, f64)) {
    (ledger.epoch.parse().ok(), ledger.order())
}

const fn seconds(ts: Timestamp) -> u64 {
    ts.as_nanos() / 1_000_000_000
}

fn second(ts: &str) -> Option<u64> {
    ts.parse().ok().map(seconds)
}

/// Returns the parts of a transaction, which are its keys in the tables.
fn labels<'a>(transaction: &'a Transaction<'_>) -> [Cow<'a, str>; Part::COUNT] {
    let optional = |text: &'a Option<JsonText<'_>>, none: &'static str| {
        text.as_ref().map_or(Cow::Borrowed(none), |text| part(text))
    };
    let outcome = match (&*transaction.status, &transaction.rcode) {
        ("answered", Some(rcode)) => part(rcode),
        (status, _) => part(status),
    };
    [
        part(&transaction.resolver),
        optional(&transaction.zone, "(no zone)"),
        optional(&transaction.qname, "(no question)"),
        process_label(transaction),
        outcome,
        optional(&transaction.qtype, ""),
    ]
}

/// Returns the process, a space, and where it runs: `curl shop/cart-0`. Pods, containers and hosts contain no
/// spaces, so the last space separates the two. Without a process, the client's address is its name.
pub fn process_label<'a>(transaction: &'a Transaction<'_>) -> Cow<'a, str> {
    let Some(process) = &transaction.process else {
        return Cow::Owned(format!("{} client", part(&transaction.client_ip)));
    };
    let Transaction { k8s, container, .. } = transaction;
    Cow::Owned(process_and_place(process, k8s.as_ref(), container.as_ref()))
}

/// Returns a process, a space, and where it runs.
pub fn process_and_place(
    process: &ProcessView<'_>,
    pod: Option<&PodView<'_>>,
    container: Option<&ContainerView<'_>>,
) -> String {
    let comm = part(&process.comm);
    let place = match (pod, container) {
        (Some(pod), _) => Cow::Owned(format!("{}/{}", part(&pod.namespace), part(&pod.pod))),
        (None, Some(container)) => part(container.id.get(..12).unwrap_or(&container.id)),
        (None, None) => Cow::Borrowed("host"),
    };
    format!("{comm} {}", place.replace(' ', "_"))
}

/// Makes a text of a record safe to show, and limits its length.
fn part(text: &str) -> Cow<'_, str> {
    let cut = boundary(text, MAX_PART_BYTES);
    clean(&text[..cut])
}
