//! The balance as text and as JSON.

use super::{FoundTotals, InputLine, OutputLine, StoreLine, StreamLedgers, TopicTotals};
use dnscribe_record::{Stream, StreamInput};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Sentences of one kind that are shown; the rest is counted.
const SHOWN: usize = 20;

/// Longest cell of a table in characters, that of a name in DNS. Any record may name its node as it likes.
const CELL: usize = 253;

/// Sentences of one kind, of which the first [`SHOWN`] are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The first sentences.
    pub shown: Vec<String>,
    /// Number of further sentences.
    pub more: u64,
}

impl Findings {
    /// Adds a sentence, which is created only if it is kept.
    pub fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.shown.len() < SHOWN {
            self.shown.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// Adds all sentences of another collection.
    pub(super) fn extend(&mut self, other: Self) {
        for sentence in other.shown {
            self.add(|| sentence);
        }
        self.more += other.more;
    }

    /// Number of sentences.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shown.len() as u64 + self.more
    }

    /// Returns whether there are no sentences.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        for sentence in &self.shown {
            writeln!(f, "{kind}: {sentence}")?;
        }
        if self.more > 0 {
            writeln!(f, "{kind}: and {} more", self.more)?;
        }
        Ok(())
    }
}

/// Balance of one stream of one capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceLine {
    /// Name of the node.
    pub node: String,
    /// Start of the capture; none for records that no ledger record of the node accounts for.
    pub epoch: Option<String>,
    /// Whether the newest ledger record is final; if not, the capture still runs or was killed.
    pub ended: bool,
    /// Name of the stream.
    pub stream: &'static str,
    /// Name of the sink in the ledger.
    pub sink: Option<String>,
    /// Records delivered according to the ledger, the newest ledger record itself included.
    pub delivered: Option<u64>,
    /// Records in the spool according to the ledger.
    pub spooled: Option<u64>,
    /// Spooled records that may still be in the spool.
    pub waiting: u64,
    /// Records found, duplicates counted once.
    pub found: u64,
    /// Duplicates of found records.
    pub duplicates: u64,
}

impl BalanceLine {
    const TITLES: [&'static str; 7] =
        ["node", "epoch", "stream", "delivered", "spooled", "found", "duplicates"];

    fn cells(&self) -> [String; 7] {
        [
            self.node.clone(),
            self.epoch.clone().unwrap_or_else(|| "unknown".into()),
            self.stream.to_owned(),
            optional(self.delivered),
            optional(self.spooled),
            self.found.to_string(),
            self.duplicates.to_string(),
        ]
    }
}

/// The balance of all captures.
#[derive(Clone, Debug, Default)]
pub struct BalanceReport {
    /// Number of ledger records read.
    pub ledgers: u64,
    /// Balances by node, stream and epoch.
    pub lines: Vec<BalanceLine>,
    /// Records found, by stream.
    pub totals: BTreeMap<Stream, FoundTotals>,
    /// Records that could not be read, by topic or file.
    pub unreadable: BTreeMap<String, Findings>,
    /// Counters of stream jobs by topic.
    pub inputs: Vec<InputLine>,
    /// Records of jobs by the topic that they are in.
    pub outputs: Vec<OutputLine>,
    /// Rows of stores by table.
    pub stores: Vec<StoreLine>,
    /// Notes: facts that contradict nothing.
    pub notes: Findings,
    /// Problems: everything that does not balance.
    pub problems: Findings,
}

impl BalanceReport {
    /// Compares the counters of stream jobs with the topics. `topics` has the records of topics that no
    /// agent writes; `names` are those of the agents' streams, with whether records of them are gone.
    pub fn compare_jobs(
        &mut self,
        ledgers: &StreamLedgers,
        mut topics: BTreeMap<String, TopicTotals>,
        names: &[(Stream, String, bool)],
    ) {
        for (stream, topic, has_gaps) in names {
            let found = self.total(*stream);
            let unreadable = self.unreadable.get(topic).map_or(0, Findings::count);
            let totals = topics.entry(topic.clone()).or_default();
            totals.found.records += found.records;
            totals.found.distinct += found.distinct;
            totals.found.late_copies += found.late_copies;
            totals.unreadable = unreadable;
            totals.has_gaps |= has_gaps;
            // The job has made a dead letter of each.
            if unreadable <= ledgers.malformed(topic)
                && let Some(found) = self.unreadable.remove(topic)
            {
                self.notes.extend(found);
            }
        }
        self.inputs = ledgers.compare(&topics, &mut self.notes, &mut self.problems);
    }

    /// Compares the records of jobs in a topic with what the jobs say. Their ledgers were read `before`
    /// and `after` the topic; `has_gaps` says whether records of it or of the ledgers are gone.
    pub fn compare_output(
        &mut self,
        topic: &str,
        found: u64,
        before: &StreamLedgers,
        after: &StreamLedgers,
        has_gaps: bool,
    ) {
        let ledgers = (before, after);
        let (notes, problems) = (&mut self.notes, &mut self.problems);
        let line = OutputLine::compare(topic, found, ledgers, has_gaps, notes, problems);
        self.outputs.push(line);
        // Other jobs read it: what they have not read yet is not in their stores.
        for input in self.inputs.iter_mut().filter(|input| input.topic == topic) {
            if input.found.is_none() && !has_gaps {
                before.compare_read(input, found, notes, problems);
            }
        }
    }

    /// Returns the number of records found of a stream.
    #[must_use]
    pub fn total(&self, stream: Stream) -> FoundTotals {
        self.totals.get(&stream).copied().unwrap_or_default()
    }

    /// Adds a table's rows and checks them.
    pub fn compare_rows(&mut self, line: StoreLine, left_out: u64, has_gaps: bool) {
        line.check(left_out, has_gaps, &mut self.notes, &mut self.problems);
        self.stores.push(line);
    }

    /// Adds what could not be read, which no job has explained, to the problems.
    pub(super) fn settle(&mut self) {
        for found in std::mem::take(&mut self.unreadable).into_values() {
            self.problems.extend(found);
        }
    }

    /// Returns whether everything balances.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the report as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "closes": self.closes(),
            "ledgers": self.ledgers,
            "streams": self.lines,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "stores": self.stores,
            "notes": self.notes,
            "problems": self.problems,
        })
    }
}

fn optional(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

impl InputLine {
    const TITLES: [&'static str; 8] =
        ["job", "topic", "records", "unique", "duplicates", "malformed", "found", "distinct"];

    fn cells(&self) -> [String; 8] {
        let StreamInput { records, unique, duplicates, malformed, .. } = self.counters;
        let counts = [records, unique, duplicates, malformed].map(|count| count.to_string());
        let [records, unique, duplicates, malformed] = counts;
        let (job, topic) = (self.job.clone(), self.topic.clone());
        let (found, distinct) = (optional(self.found), optional(self.found_distinct));
        [job, topic, records, unique, duplicates, malformed, found, distinct]
    }
}

impl OutputLine {
    const TITLES: [&'static str; 3] = ["topic of jobs", "written", "found"];

    fn cells(&self) -> [String; 3] {
        [self.topic.clone(), self.written.to_string(), self.found.to_string()]
    }
}

impl StoreLine {
    const TITLES: [&'static str; 6] = ["store", "table", "rows", "expired", "dropped", "unique"];

    fn cells(&self) -> [String; 6] {
        let Self { store, table, rows, expired, dropped, unique, until: _ } = self;
        let counts = [rows, expired, dropped, unique].map(ToString::to_string);
        let [rows, expired, dropped, unique] = counts;
        [store.clone(), table.clone(), rows, expired, dropped, unique]
    }
}

/// Returns a text of at most [`CELL`] characters.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(CELL) {
        let last = text[..end].char_indices().next_back();
        text.truncate(last.map_or(0, |(begin, _)| begin));
        text.push('…');
    }
    text
}

/// Writes rows under their titles; the first `texts` columns are aligned to the left.
fn write_table<const COLUMNS: usize>(
    f: &mut fmt::Formatter<'_>,
    titles: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
    texts: usize,
) -> fmt::Result {
    let rows = std::iter::once(titles.map(str::to_owned)).chain(rows);
    let rows: Vec<_> = rows.map(|row| row.map(shortened)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| width(column).unwrap_or_default());
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let space = if column == 0 { "" } else { "  " };
            if column < texts {
                write!(f, "{space}{cell:<width$}")?;
            } else {
                write!(f, "{space}{cell:>width$}")?;
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

impl fmt::Display for BalanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(f, BalanceLine::TITLES, self.lines.iter().map(BalanceLine::cells), 3)?;
        if !self.inputs.is_empty() {
            writeln!(f)?;
            write_table(f, InputLine::TITLES, self.inputs.iter().map(InputLine::cells), 2)?;
        }
        if !self.outputs.is_empty() {
            writeln!(f)?;
            write_table(f, OutputLine::TITLES, self.outputs.iter().map(OutputLine::cells), 1)?;
        }
        if !self.stores.is_empty() {
            writeln!(f)?;
            write_table(f, StoreLine::TITLES, self.stores.iter().map(StoreLine::cells), 2)?;
        }
        self.notes.write(f, "note")?;
        self.problems.write(f, "does not close")?;
        let verdict =
            if self.closes() { "the balance closes" } else { "the balance does not close" };
        let records = if self.ledgers == 1 { "record" } else { "records" };
        writeln!(f, "{} ledger {records} read: {verdict}", self.ledgers)
    }
}
