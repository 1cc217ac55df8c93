//! `dnscribe ledger verify`: reads records back and recomputes the balance.
//!
//! Two questions: does every identity hold in every ledger record, and are the records that the
//! last ledger record says were delivered really there? The data are read as a stream; only event
//! ids are kept, 16 octets each.

use super::Counters;
use crate::record::LedgerRecord;
use crate::sink::Stream;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// One node's capture, by node and epoch.
type Capture = (String, String);

/// What was found of one stream.
#[derive(Debug, Default)]
struct Found {
    records: u64,
    ids: HashSet<u128, foldhash::fast::RandomState>,
}

/// What was found of one node.
#[derive(Debug, Default)]
struct Node {
    streams: BTreeMap<&'static str, Found>,
    statuses: BTreeMap<String, u64>,
}

/// Collects records and balances them.
#[derive(Debug, Default)]
pub struct Verifier {
    nodes: BTreeMap<String, Node>,
    last: BTreeMap<Capture, LedgerRecord>,
    ledgers: u64,
    problems: Vec<String>,
}

/// The part of a record that every stream has.
#[derive(Deserialize)]
struct Head {
    schema: String,
    event_id: String,
    node: String,
    status: Option<String>,
}

impl Verifier {
    /// Takes one record, a JSON object; `place` says where it stood, for messages.
    pub fn record(&mut self, line: &[u8], place: &dyn fmt::Display) {
        if let Err(problem) = self.take(line) {
            self.problems.push(format!("{place}: {problem}"));
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let head: Head =
            serde_json::from_slice(line).map_err(|error| format!("not a record: {error}"))?;
        let stream = Stream::ALL
            .into_iter()
            .find(|stream| stream.schema() == head.schema)
            .ok_or_else(|| format!("unknown schema \"{}\"", head.schema))?;
        let id = u128::from_str_radix(&head.event_id, 16)
            .map_err(|_| format!("event_id \"{}\" is not 32 hex digits", head.event_id))?;
        let node = self.nodes.entry(head.node).or_default();
        let found = node.streams.entry(stream.name()).or_default();
        found.records += 1;
        let first_copy = found.ids.insert(id);
        if let (Stream::Transactions, Some(status), true) = (stream, head.status, first_copy) {
            *node.statuses.entry(status).or_default() += 1;
        }
        if stream == Stream::Ledger {
            let record: LedgerRecord = serde_json::from_slice(line)
                .map_err(|error| format!("not a ledger record: {error}"))?;
            self.ledger(record);
        }
        Ok(())
    }

    fn ledger(&mut self, record: LedgerRecord) {
        self.ledgers += 1;
        let imbalances = record.counters.imbalances();
        let place = format!("ledger of {} at {}", record.node, record.ts);
        self.problems.extend(imbalances.iter().map(|imbalance| format!("{place}: {imbalance}")));
        if record.balanced != imbalances.is_empty() {
            self.problems.push(format!("{place}: `balanced` says {}", record.balanced));
        }
        let capture = (record.node.clone(), record.epoch.clone());
        let newest = self.last.get(&capture);
        if newest.is_none_or(|newest| newest.uptime_seconds <= record.uptime_seconds) {
            self.last.insert(capture, record);
        }
    }

    /// The balance, once everything was read; `sink` names the sink that the records came from,
    /// if it is known.
    #[must_use]
    pub fn report(mut self, sink: Option<&str>) -> Report {
        if self.ledgers == 0 {
            self.problems.push("no ledger record was found: nothing to verify against".into());
        }
        let mut lines = Vec::new();
        for (name, node) in &self.nodes {
            let ledgers: Vec<&LedgerRecord> =
                self.last.values().filter(|ledger| ledger.node == *name).collect();
            node.balance(name, &ledgers, sink, &mut lines, &mut self.problems);
        }
        Report { ledgers: self.ledgers, lines, problems: self.problems }
    }
}

impl Node {
    fn balance(
        &self,
        name: &str,
        ledgers: &[&LedgerRecord],
        sink: Option<&str>,
        lines: &mut Vec<Line>,
        problems: &mut Vec<String>,
    ) {
        let complete = !ledgers.is_empty() && ledgers.iter().all(|ledger| ledger.is_final);
        for stream in Stream::ALL {
            let found = self.streams.get(stream.name());
            let distinct = found.map_or(0, |found| found.ids.len() as u64);
            let records = found.map_or(0, |found| found.records);
            let claimed = claimed(ledgers, sink, stream);
            // A ledger record counts what was delivered before it, so never itself.
            let own = if stream == Stream::Ledger { ledgers.len() as u64 } else { 0 };
            let Some(delivered) = claimed.map(|claimed| claimed + own) else { continue };
            lines.push(Line {
                node: name.to_owned(),
                stream: stream.name(),
                delivered,
                records,
                distinct,
            });
            // Records after the last ledger record are no contradiction while the capture runs.
            let closes = if complete { distinct == delivered } else { distinct >= delivered };
            if !closes {
                problems.push(format!(
                    "{name}: {}: the ledger says {delivered} delivered, {distinct} are there",
                    stream.name()
                ));
            }
        }
        if complete && claimed(ledgers, sink, Stream::Transactions).is_some() {
            self.balance_statuses(name, ledgers, sink, problems);
        }
    }

    /// Where every transaction was delivered, their statuses are those that pairing counted.
    fn balance_statuses(
        &self,
        name: &str,
        ledgers: &[&LedgerRecord],
        sink: Option<&str>,
        problems: &mut Vec<String>,
    ) {
        let lossless = ledgers.iter().all(|ledger| {
            deliveries(&ledger.counters, sink, Stream::Transactions)
                .any(|delivery| delivery.delivered == delivery.records)
        });
        if !lossless {
            return;
        }
        for (status, counted) in statuses(ledgers) {
            let found = self.statuses.get(status).copied().unwrap_or_default();
            if found != counted {
                problems.push(format!(
                    "{name}: pairing.{status} is {counted}, {found} such transactions are there"
                ));
            }
        }
    }
}

fn statuses(ledgers: &[&LedgerRecord]) -> [(&'static str, u64); 8] {
    let sum = |field: fn(&super::Pairing) -> u64| {
        ledgers.iter().map(|ledger| field(&ledger.counters.pairing)).sum()
    };
    [
        ("answered", sum(|p| p.answered)),
        ("timeout", sum(|p| p.timeout)),
        ("late", sum(|p| p.late)),
        ("icmp_error", sum(|p| p.icmp_error)),
        ("duplicate", sum(|p| p.duplicate)),
        ("orphan", sum(|p| p.orphan)),
        ("evicted", sum(|p| p.evicted)),
        ("open", sum(|p| p.open)),
    ]
}

/// What the last ledger records say was delivered of a stream; none where no sink had it.
///
/// Without a sink's name the records may be those of any sink: the one that claims most is meant,
/// for each of several sinks gets a copy of its own.
fn claimed(ledgers: &[&LedgerRecord], sink: Option<&str>, stream: Stream) -> Option<u64> {
    ledgers
        .iter()
        .filter_map(|ledger| {
            deliveries(&ledger.counters, sink, stream).map(|delivery| delivery.delivered).max()
        })
        .reduce(|sum, delivered| sum + delivered)
}

fn deliveries<'a>(
    counters: &'a Counters,
    sink: Option<&'a str>,
    stream: Stream,
) -> impl Iterator<Item = &'a super::Delivery> {
    counters
        .delivery
        .iter()
        .filter(move |(name, _)| sink.is_none_or(|sink| sink == *name))
        .filter_map(move |(_, streams)| streams.get(stream.name()))
}

/// One stream of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The node.
    pub node: String,
    /// The stream.
    pub stream: &'static str,
    /// Records that the ledger says were delivered.
    pub delivered: u64,
    /// Records that are there.
    pub records: u64,
    /// Records that are there, duplicates once.
    pub distinct: u64,
}

/// The balance.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Ledger records read.
    pub ledgers: u64,
    /// Streams, by node.
    pub lines: Vec<Line>,
    /// What does not close.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether everything closes.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:<13} {:>12} {:>12} {:>12}",
            "node", "stream", "delivered", "found", "duplicates"
        )?;
        for line in &self.lines {
            let Line { node, stream, delivered, records, distinct } = line;
            let duplicates = records - distinct;
            writeln!(f, "{node:<20} {stream:<13} {delivered:>12} {distinct:>12} {duplicates:>12}")?;
        }
        for problem in &self.problems {
            writeln!(f, "does not close: {problem}")?;
        }
        let verdict =
            if self.closes() { "the balance closes" } else { "the balance does not close" };
        writeln!(f, "{} ledger records read: {verdict}", self.ledgers)
    }
}

/// Reads newline-delimited JSON; empty lines are passed over.
pub fn read_ndjson(
    verifier: &mut Verifier,
    name: &str,
    input: &mut dyn std::io::BufRead,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            verifier.record(text, &format_args!("{name}:{number}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
