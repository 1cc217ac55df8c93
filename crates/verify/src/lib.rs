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
//!
//! ```
//! use dnscribe_verify::{DEFAULT_MEMORY_BYTES, SortOptions, Verifier};
//!
//! let temp_folder = std::env::temp_dir();
//! let mut verifier = Verifier::new(SortOptions { temp_folder, memory_bytes: DEFAULT_MEMORY_BYTES });
//! assert!(verifier.add_record(b"{", None, &"dns.normalized/0 at offset 7").is_continue());
//! let report = verifier.report(None)?;
//! assert!(!report.closes(), "a record could not be read");
//! # Ok::<(), dnscribe_verify::TempError>(())
//! ```

mod balance;
mod report;
mod rows;
mod sort;

pub use report::{BalanceLine, BalanceReport, Findings};
pub use rows::{
    Bounds, FoundTotals, InputLine, OutputLine, StoreLine, StreamLedgers, TopicCounter,
    TopicTotals, is_of_job,
};
pub use sort::DEFAULT_MEMORY_BYTES;

use balance::{CaptureBalance, FoundRecords, NodeBalance};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, JsonText, LedgerRecord, Namespace, Stream, read_object};
use serde::Deserialize;
use sort::{SortEntry, Sorter};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// Time between a record's own and that at which it was written, from which on it is late: jobs may have forgotten
/// the first copy by then. Agents write within seconds, but for what they kept while there was no broker.
const LATE: Duration = Duration::from_mins(15);

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
    newest: BTreeMap<Capture, LedgerRecord>,
    ledgers: u64,
    failure: Option<io::Error>,
    options: SortOptions,
    /// Records that could not be read, by topic.
    unreadable: BTreeMap<String, Findings>,
    /// Times between which transactions are compared with the rows of a store.
    bounds: Bounds,
    /// When the next record was written to its topic, if known.
    written: Option<Timestamp>,
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
    #[serde(borrow)]
    ts: Option<JsonText<'a>>,
}

impl Verifier {
    /// Creates a verifier that has read nothing.
    #[must_use]
    pub fn new(options: SortOptions) -> Self {
        Self {
            folder: options.temp_folder.clone(),
            nodes: HashMap::default(),
            sorter: Sorter::new(options.clone()),
            options,
            unreadable: BTreeMap::new(),
            bounds: Bounds::default(),
            written: None,
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
                let place = location.to_string();
                let topic = place.split('/').next().unwrap_or_default().to_owned();
                let unreadable = self.unreadable.entry(topic).or_default();
                unreadable.add(|| format!("{place}: {problem}"));
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

    /// Sets the times between which transactions are compared with the rows of a store, for the records
    /// from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Sets when the next record was written to its topic, if that is known.
    pub const fn set_written(&mut self, written: Option<Timestamp>) {
        self.written = written;
    }

    /// Returns a counter for the records of another topic, with the memory and the temporary files of
    /// this verifier.
    #[must_use]
    pub fn topic_counter(&self) -> TopicCounter {
        TopicCounter::new(Sorter::new(self.options.clone()))
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
            read_object(line).map_err(|error| format!("not a record: {error}"))?;
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
        let status = common.status.and_then(|status| balance::status_number(&status.0));
        if stream == Stream::Ledger {
            self.read_ledger(line, id, location)?;
        }
        let mut entry = SortEntry::new(id, node, stream, status);
        if let (Some(written), Some(ts)) = (self.written, &common.ts)
            && ts.0.parse().is_ok_and(|ts| written.since(ts) > LATE)
        {
            entry = entry.late();
        }
        if stream == Stream::Transactions && self.bounds != Bounds::default() {
            let ts = common.ts.ok_or("ts is missing")?;
            let ts = ts.0.parse::<Timestamp>().map_err(|error| error.to_string())?;
            entry = entry.with_age(self.bounds.age(0, ts, ts));
        }
        Ok(entry)
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
        let newest = self.newest.get(&capture);
        if newest.is_none_or(|newest| newest.order() <= record.order()) {
            self.newest.insert(capture, record);
        }
        Ok(())
    }

    /// Returns the balance once all records are read. `sink` is the name of the sink that the
    /// records came from, if known.
    ///
    /// # Errors
    /// Temporary files could not be written or read.
    pub fn report(self, sink: Option<&str>) -> Result<BalanceReport, TempError> {
        self.report_with(sink, |_| {})
    }

    /// Returns the balance as [`Self::report`] does, after `compare` has added what stream jobs and
    /// stores have.
    ///
    /// # Errors
    /// Temporary files could not be written or read.
    pub fn report_with(
        mut self,
        sink: Option<&str>,
        compare: impl FnOnce(&mut BalanceReport),
    ) -> Result<BalanceReport, TempError> {
        let folder = std::mem::take(&mut self.folder);
        if let Some(source) = self.failure.take() {
            return Err(TempError { folder, source });
        }
        let report = self.balance(sink).map_err(|source| TempError { folder, source });
        report.map(|mut report| {
            compare(&mut report);
            report.settle();
            report
        })
    }

    fn balance(mut self, sink: Option<&str>) -> io::Result<BalanceReport> {
        self.check_names(sink);
        let captures = self.capture_indexes();
        let mut found = vec![FoundRecords::default(); self.newest.len()];
        let mut unknown: BTreeMap<u32, FoundRecords> = BTreeMap::new();
        let mut totals = [FoundTotals::default(); Stream::ALL.len()];
        self.sorter.distinct(&mut |entry, copies| {
            if let Some(totals) = totals.get_mut(usize::from(entry.stream)) {
                totals.records += copies.all;
                totals.late_copies += copies.late.min(copies.all - 1);
                totals.add_distinct(entry.age());
            }
            let index = captures.get(&(entry.node, entry.id().tag()));
            match index.and_then(|index| found.get_mut(*index)) {
                Some(found) => found.add(entry, copies.all),
                None => unknown.entry(entry.node).or_default().add(entry, copies.all),
            }
        })?;
        let mut report = BalanceReport {
            ledgers: self.ledgers,
            lines: Vec::new(),
            totals: Stream::ALL.into_iter().zip(totals).collect(),
            unreadable: self.unreadable,
            inputs: Vec::new(),
            outputs: Vec::new(),
            stores: Vec::new(),
            notes: self.notes,
            problems: self.problems,
        };
        let mut found = found.into_iter();
        let mut epochs: BTreeMap<&str, Vec<CaptureBalance<'_>>> = BTreeMap::new();
        for ((node, _), ledger) in &self.newest {
            let found = found.next().unwrap_or_default();
            epochs.entry(node).or_default().push(CaptureBalance { ledger, found });
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
        let names: BTreeSet<&str> = self.newest.values().flat_map(sinks).collect();
        if let Some(sink) = sink.filter(|sink| !names.contains(sink)) {
            let names = Vec::from_iter(names).join(", ");
            self.problems.add(|| format!("no ledger record has a sink {sink}, only: {names}"));
        }
    }
}

/// Returns the names of the sinks of a ledger record.
fn sinks(ledger: &LedgerRecord) -> impl Iterator<Item = &str> {
    ledger.counters.delivery.keys().map(String::as_str)
}

/// Maximum length of a line in bytes. Kafka accepts no record of this size, and a file without line
/// ends must not fill the memory.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Adds the records of a newline-delimited JSON file to `verifier`; empty lines are skipped.
///
/// A writer that was killed may have left its last line or compressed block incomplete: that is
/// noted, and the balance shows whether a record is missing.
///
/// # Errors
/// The file cannot be read or is not NDJSON.
pub fn read_ndjson(
    verifier: &mut Verifier,
    name: &str,
    input: &mut dyn BufRead,
    mut on_record: impl FnMut(u64),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        match input.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                verifier.add_note(&format_args!("{name}: the compressed data ends early"));
            }
            Err(error) => return Err(error),
        }
        if line.len() == MAX_LINE_BYTES {
            let problem = format!("line {number} is longer than 16 MiB: this is not NDJSON");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let last = line.last() != Some(&b'\n');
        let text = line.trim_ascii();
        if last && is_torn(text) {
            verifier.add_note(&format_args!("{name}:{number}: the last record is incomplete"));
        } else if !text.is_empty() {
            on_record(number);
            if verifier.add_record(text, None, &format_args!("{name}:{number}")).is_break() {
                break;
            }
        }
        if last {
            break;
        }
    }
    Ok(())
}

/// Returns whether a line without its end is the beginning of a JSON value.
fn is_torn(text: &[u8]) -> bool {
    let whole: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(text);
    !text.is_empty() && whole.is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests;
