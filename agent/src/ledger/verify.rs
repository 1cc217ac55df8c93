//! `dnscribe ledger verify`: reads records back and recomputes the balance.
//!
//! Two questions: does every identity hold in every ledger record, and are the records that the
//! newest ledger record of each capture says were delivered really there? A capture is one run of
//! one node, named by its epoch; an event id begins with a tag of both, so that each record finds
//! its ledger.
//!
//! Memory is bounded however many records there are: of each record an entry of some twenty octets
//! is kept, beyond a bound in temporary files. Only the newest ledger record of each
//! capture is kept whole.

mod agents;
mod balance;
mod ndjson;
mod report;
mod sort;
mod status;

pub use ndjson::read_ndjson;
pub use report::{Findings, Line, Report};
pub use sort::MEMORY_BYTES;

use crate::record::{EventId, LedgerRecord, Namespace};
use crate::sink::Stream;
use crate::time::Timestamp;
use agents::Agents;
use balance::{Epoch, Found, Node};
use serde::Deserialize;
use sort::{Entry, Sorter};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// One node's capture, by node and epoch.
type Capture = (String, Timestamp);

/// Why not every record of a stream could be read.
type Incomplete = BTreeMap<Stream, Vec<String>>;

/// Where the verifier may put what does not fit into memory.
#[derive(Clone, Debug)]
pub struct Room {
    /// The folder for temporary files. They have no names and vanish with the process.
    pub temp: PathBuf,
    /// Octets of memory for the entries of records; at least one entry.
    pub memory_bytes: usize,
}

/// Why the balance cannot be drawn: the temporary files.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep what was read in {}: {source}", folder.display())]
pub struct TempError {
    folder: PathBuf,
    source: io::Error,
}

impl TempError {
    /// What the operator can do about it.
    pub const REMEDY: &'static str =
        "give a folder with room for some 25 octets per record: --temp DIR";
}

/// Collects records and balances them.
#[derive(Debug)]
pub struct Verifier {
    folder: PathBuf,
    nodes: HashMap<String, u32, foldhash::fast::RandomState>,
    sorter: Sorter,
    newest: BTreeMap<Capture, Agents>,
    ledgers: u64,
    failure: Option<io::Error>,
    notes: Findings,
    problems: Findings,
    incomplete: Incomplete,
}

/// The part of a record that every stream has, and the status that transactions have.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

/// Text that is copied only where it is escaped; serde borrows in an `Option` only so.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Verifier {
    /// A verifier that has read nothing.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self {
            folder: room.temp.clone(),
            nodes: HashMap::default(),
            sorter: Sorter::new(room),
            newest: BTreeMap::new(),
            ledgers: 0,
            failure: None,
            notes: Findings::default(),
            problems: Findings::default(),
            incomplete: Incomplete::new(),
        }
    }

    /// Takes one record, a JSON object, with the event id that came beside it, where one did;
    /// `place` says where it stood, for messages.
    ///
    /// Breaks where no more can be taken; [`Self::report`] then says why.
    pub fn record(
        &mut self,
        line: &[u8],
        beside: Option<&[u8]>,
        place: &dyn fmt::Display,
    ) -> ControlFlow<()> {
        let entry = match self.read(line, beside, place) {
            Ok(entry) => entry,
            Err(problem) => {
                self.problems.add(|| format!("{place}: {problem}"));
                return ControlFlow::Continue(());
            }
        };
        match self.sorter.push(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Takes note of something that the reader of the report should know.
    pub fn note(&mut self, note: &dyn fmt::Display) {
        self.notes.add(|| note.to_string());
    }

    /// Takes note that not every record of a stream could be read, and why, to be said where some
    /// are missing.
    pub fn incomplete(&mut self, stream: Stream, why: String) {
        self.incomplete.entry(stream).or_default().push(why);
    }

    fn read(
        &mut self,
        line: &[u8],
        beside: Option<&[u8]>,
        place: &dyn fmt::Display,
    ) -> Result<Entry, String> {
        let head: Head<'_> =
            serde_json::from_slice(line).map_err(|error| format!("not a record: {error}"))?;
        let stream = Stream::ALL
            .into_iter()
            .find(|stream| stream.schema() == head.schema)
            .ok_or_else(|| format!("unknown schema \"{}\"", head.schema))?;
        let id: EventId = head.event_id.parse().map_err(|error| format!("{error}"))?;
        if let Some(beside) = beside.filter(|beside| *beside != head.event_id.as_bytes()) {
            let beside = String::from_utf8_lossy(beside);
            return Err(format!("event_id is {id}, but {beside} in the header"));
        }
        let node = self.node(&head.node)?;
        let status = head.status.and_then(|status| status::number(&status.0));
        if stream == Stream::Ledger {
            self.ledger(line, id, place)?;
        }
        Ok(Entry::new(id, node, stream, status))
    }

    fn node(&mut self, name: &str) -> Result<u32, String> {
        if let Some(number) = self.nodes.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(self.nodes.len()).map_err(|_| "too many nodes".to_owned())?;
        self.nodes.insert(name.to_owned(), number);
        Ok(number)
    }

    fn ledger(&mut self, line: &[u8], id: EventId, place: &dyn fmt::Display) -> Result<(), String> {
        let record: LedgerRecord = serde_json::from_slice(line)
            .map_err(|error| format!("not a ledger record: {error}"))?;
        let epoch: Timestamp = record.epoch.parse().map_err(|error| format!("epoch {error}"))?;
        if id.tag() != Namespace::new(&record.node, epoch).tag() {
            return Err(format!("event_id {id} is not one of this node and epoch"));
        }
        self.ledgers += 1;
        let imbalances = record.counters.imbalances();
        for imbalance in &imbalances {
            self.problems.add(|| format!("{place}: {imbalance}"));
        }
        if record.balanced != imbalances.is_empty() {
            self.problems.add(|| format!("{place}: `balanced` says {}", record.balanced));
        }
        let capture = (record.node.clone(), epoch);
        self.newest.entry(capture).or_default().take(record);
        Ok(())
    }

    /// The balance, once everything was read; `sink` names the sink that the records came from,
    /// if it is known.
    pub fn report(mut self, sink: Option<&str>) -> Result<Report, TempError> {
        let folder = std::mem::take(&mut self.folder);
        if let Some(source) = self.failure.take() {
            return Err(TempError { folder, source });
        }
        self.balance(sink).map_err(|source| TempError { folder, source })
    }

    fn balance(mut self, sink: Option<&str>) -> io::Result<Report> {
        self.check_names(sink);
        let captures = self.captures();
        let wholes: Vec<_> = self.newest.values().filter_map(Agents::whole).collect();
        let mut found = vec![Found::default(); self.newest.len()];
        let mut unknown: BTreeMap<u32, Found> = BTreeMap::new();
        self.sorter.distinct(&mut |entry, copies| {
            let place = captures.get(&(entry.node(), entry.id().tag()));
            match place.and_then(|place| found.get_mut(*place)) {
                Some(found) => found.add(entry, copies),
                None => unknown.entry(entry.node()).or_default().add(entry, copies),
            }
        })?;
        let mut report = Report {
            ledgers: self.ledgers,
            lines: Vec::new(),
            notes: self.notes,
            problems: self.problems,
        };
        let mut found = found.into_iter();
        let mut epochs: BTreeMap<&str, Vec<Epoch<'_>>> = BTreeMap::new();
        for ((node, _), whole) in self.newest.keys().zip(&wholes) {
            let found = found.next().unwrap_or_default();
            epochs.entry(node).or_default().push(Epoch { whole, ledger: &whole.ledger, found });
        }
        let nodes: BTreeMap<&String, u32> =
            self.nodes.iter().map(|(name, number)| (name, *number)).collect();
        for (name, number) in nodes {
            let node = Node {
                name,
                epochs: epochs.remove(name.as_str()).unwrap_or_default(),
                unknown: unknown.remove(&number).unwrap_or_default(),
            };
            node.balance(sink, &self.incomplete, &mut report);
        }
        Ok(report)
    }

    /// The places of the captures in `newest`, by number of the node and tag.
    fn captures(&mut self) -> HashMap<(u32, u32), usize, foldhash::fast::RandomState> {
        let mut places = HashMap::default();
        for (place, (node, epoch)) in self.newest.keys().enumerate() {
            let Some(number) = self.nodes.get(node) else { continue };
            let tag = Namespace::new(node, *epoch).tag();
            if places.insert((*number, tag), place).is_some() {
                self.problems.add(|| {
                    format!(
                        "{node}: the event ids of epoch {epoch} begin as those of another epoch \
                         do; the two cannot be told apart"
                    )
                });
            }
        }
        places
    }

    fn check_names(&mut self, sink: Option<&str>) {
        if self.ledgers == 0 {
            self.problems.add(|| "no ledger record was found: nothing to verify against".into());
            return;
        }
        let names: BTreeSet<&str> = self.newest.values().flat_map(Agents::sinks).collect();
        if let Some(sink) = sink.filter(|sink| !names.contains(sink)) {
            let names = Vec::from_iter(names).join(", ");
            self.problems.add(|| format!("no ledger record has a sink {sink}, only: {names}"));
        }
    }
}

#[cfg(test)]
mod tests;
