//! `dnscribe ledger verify`: reads records back and recomputes the balance.
//!
//! It checks that every identity holds in every ledger record, and that the records which the
//! newest ledger record of each capture counts as delivered were found. A capture is one run of one
//! node, identified by its epoch; an event id begins with a tag of both, which leads from each
//! record to its ledger.
//!
//! Memory is bounded for any number of records: about twenty bytes per record are kept, in memory
//! up to a limit and in temporary files beyond it. Only the newest ledger record of each capture is
//! kept completely.

mod agents;
mod balance;
mod ndjson;
mod report;
mod sort;
mod status;

pub use ndjson::read_ndjson;
pub use report::{BalanceLine, BalanceReport, Findings};
pub use sort::DEFAULT_MEMORY_BYTES;

use agents::AgentLedgers;
use balance::{CaptureBalance, FoundRecords, NodeBalance};
use dnscribe_record::Stream;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, JsonText, LedgerRecord, Namespace};
use serde::Deserialize;
use sort::{SortEntry, Sorter};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A capture: node and epoch.
type Capture = (String, Timestamp);

/// Reasons why some records of a stream could not be read.
type Incomplete = BTreeMap<Stream, Vec<String>>;

/// Memory and temporary files of the verifier.
#[derive(Clone, Debug)]
pub struct SortOptions {
    /// Folder for temporary files. They have no names and disappear with the process.
    pub temp_folder: PathBuf,
    /// Bytes of memory for sort entries; at least one entry fits.
    pub memory_bytes: usize,
}

/// The temporary files cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot use temporary files in {}: {source}", folder.display())]
pub struct TempError {
    folder: PathBuf,
    source: io::Error,
}

impl TempError {
    /// Remedy for the operator.
    pub const REMEDY: &'static str =
        "name a folder with about 25 bytes of free space per record: --temp DIR";
}

/// Collects records and balances them against the ledger.
#[derive(Debug)]
pub struct Verifier {
    folder: PathBuf,
    nodes: HashMap<String, u32, foldhash::fast::RandomState>,
    sorter: Sorter,
    newest: BTreeMap<Capture, AgentLedgers>,
    ledgers: u64,
    failure: Option<io::Error>,
    notes: Findings,
    problems: Findings,
    incomplete: Incomplete,
}

/// The fields that all records have, and the status of transactions.
#[derive(Deserialize)]
struct CommonFields<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    status: Option<JsonText<'a>>,
}

impl Verifier {
    /// Creates a verifier that has read nothing.
    #[must_use]
    pub fn new(room: SortOptions) -> Self {
        Self {
            folder: room.temp_folder.clone(),
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

    /// Adds one record, a JSON object. `header_id` is the event id from the Kafka header, if any;
    /// `location` is where the record was read, for messages.
    ///
    /// Breaks if no more records can be stored; [`Self::report`] then returns the reason.
    pub fn add_record(
        &mut self,
        line: &[u8],
        header_id: Option<&[u8]>,
        location: &dyn fmt::Display,
    ) -> ControlFlow<()> {
        let entry = match self.read(line, header_id, location) {
            Ok(entry) => entry,
            Err(problem) => {
                self.problems.add(|| format!("{location}: {problem}"));
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

    /// Adds a note for the reader of the report.
    pub fn add_note(&mut self, note: &dyn fmt::Display) {
        self.notes.add(|| note.to_string());
    }

    /// Notes that some records of a stream could not be read, and why. The report mentions it if
    /// records of the stream are missing.
    pub fn add_gap(&mut self, stream: Stream, why: String) {
        self.incomplete.entry(stream).or_default().push(why);
    }

    fn read(
        &mut self,
        line: &[u8],
        header_id: Option<&[u8]>,
        location: &dyn fmt::Display,
    ) -> Result<SortEntry, String> {
        let common: CommonFields<'_> =
            serde_json::from_slice(line).map_err(|error| format!("not a record: {error}"))?;
        let stream = Stream::ALL
            .into_iter()
            .find(|stream| stream.schema() == common.schema)
            .ok_or_else(|| format!("unknown schema \"{}\"", common.schema))?;
        let id: EventId = common.event_id.parse().map_err(|error| format!("{error}"))?;
        if let Some(header_id) =
            header_id.filter(|header_id| *header_id != common.event_id.as_bytes())
        {
            let header_id = String::from_utf8_lossy(header_id);
            return Err(format!("event_id is {id}, but {header_id} in the header"));
        }
        let node = self.node_number(&common.node)?;
        let status = common.status.and_then(|status| status::number(&status.0));
        if stream == Stream::Ledger {
            self.read_ledger(line, id, location)?;
        }
        Ok(SortEntry::new(id, node, stream, status))
    }

    fn node_number(&mut self, name: &str) -> Result<u32, String> {
        if let Some(number) = self.nodes.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(self.nodes.len()).map_err(|_| "too many nodes".to_owned())?;
        self.nodes.insert(name.to_owned(), number);
        Ok(number)
    }

    fn read_ledger(
        &mut self,
        line: &[u8],
        id: EventId,
        location: &dyn fmt::Display,
    ) -> Result<(), String> {
        let record: LedgerRecord = serde_json::from_slice(line)
            .map_err(|error| format!("not a ledger record: {error}"))?;
        let epoch: Timestamp = record.epoch.parse().map_err(|error| format!("epoch {error}"))?;
        if id.tag() != Namespace::new(&record.node, epoch).tag() {
            return Err(format!("event_id {id} does not belong to this node and epoch"));
        }
        self.ledgers += 1;
        let imbalances = record.counters.imbalances();
        for imbalance in &imbalances {
            self.problems.add(|| format!("{location}: {imbalance}"));
        }
        if record.balanced != imbalances.is_empty() {
            self.problems.add(|| format!("{location}: `balanced` says {}", record.balanced));
        }
        let capture = (record.node.clone(), epoch);
        self.newest.entry(capture).or_default().add(record);
        Ok(())
    }

    /// Returns the balance once all records are read. `sink` is the name of the sink that the
    /// records came from, if known.
    ///
    /// # Errors
    /// Temporary files could not be written or read.
    pub fn report(mut self, sink: Option<&str>) -> Result<BalanceReport, TempError> {
        let folder = std::mem::take(&mut self.folder);
        if let Some(source) = self.failure.take() {
            return Err(TempError { folder, source });
        }
        self.balance(sink).map_err(|source| TempError { folder, source })
    }

    fn balance(mut self, sink: Option<&str>) -> io::Result<BalanceReport> {
        self.check_names(sink);
        let captures = self.capture_indexes();
        let ledgers: Vec<_> = self.newest.values().filter_map(AgentLedgers::combined).collect();
        let mut found = vec![FoundRecords::default(); self.newest.len()];
        let mut unknown: BTreeMap<u32, FoundRecords> = BTreeMap::new();
        self.sorter.distinct(&mut |entry, copies| {
            let index = captures.get(&(entry.node(), entry.id().tag()));
            match index.and_then(|index| found.get_mut(*index)) {
                Some(found) => found.add(entry, copies),
                None => unknown.entry(entry.node()).or_default().add(entry, copies),
            }
        })?;
        let mut report = BalanceReport {
            ledgers: self.ledgers,
            lines: Vec::new(),
            notes: self.notes,
            problems: self.problems,
        };
        let mut found = found.into_iter();
        let mut epochs: BTreeMap<&str, Vec<CaptureBalance<'_>>> = BTreeMap::new();
        for ((node, _), combined) in self.newest.keys().zip(&ledgers) {
            let found = found.next().unwrap_or_default();
            epochs.entry(node).or_default().push(CaptureBalance {
                combined,
                ledger: &combined.ledger,
                found,
            });
        }
        let nodes: BTreeMap<&String, u32> =
            self.nodes.iter().map(|(name, number)| (name, *number)).collect();
        for (name, number) in nodes {
            let node = NodeBalance {
                name,
                epochs: epochs.remove(name.as_str()).unwrap_or_default(),
                unknown: unknown.remove(&number).unwrap_or_default(),
            };
            node.balance(sink, &self.incomplete, &mut report);
        }
        Ok(report)
    }

    /// Returns the indexes of the captures in `newest`, by node number and tag.
    fn capture_indexes(&mut self) -> HashMap<(u32, u32), usize, foldhash::fast::RandomState> {
        let mut indexes = HashMap::default();
        for (index, (node, epoch)) in self.newest.keys().enumerate() {
            let Some(number) = self.nodes.get(node) else { continue };
            let tag = Namespace::new(node, *epoch).tag();
            if indexes.insert((*number, tag), index).is_some() {
                self.problems.add(|| {
                    format!(
                        "{node}: the event ids of epoch {epoch} have the same tag as those of \
                         another epoch; their records cannot be distinguished"
                    )
                });
            }
        }
        indexes
    }

    fn check_names(&mut self, sink: Option<&str>) {
        if self.ledgers == 0 {
            self.problems.add(|| "no ledger record was found: nothing to verify against".into());
            return;
        }
        let names: BTreeSet<&str> = self.newest.values().flat_map(AgentLedgers::sinks).collect();
        if let Some(sink) = sink.filter(|sink| !names.contains(sink)) {
            let names = Vec::from_iter(names).join(", ");
            self.problems.add(|| format!("no ledger record has a sink {sink}, only: {names}"));
        }
    }
}

#[cfg(test)]
mod tests;
