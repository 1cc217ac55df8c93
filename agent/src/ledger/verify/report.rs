//! The balance, for people and as JSON.

use serde::Serialize;
use std::fmt;

/// So many of a kind are shown; the rest is counted.
const SHOWN: usize = 20;

/// Sentences, of which the first are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The first of them.
    pub shown: Vec<String>,
    /// How many more there are.
    pub more: u64,
}

impl Findings {
    /// Adds a sentence, which is made only where it is kept.
    pub(super) fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.shown.len() < SHOWN {
            self.shown.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// Whether there are none.
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

/// One stream of one capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The node.
    pub node: String,
    /// When the capture began; none for records that no ledger record of the node accounts for.
    pub epoch: Option<String>,
    /// Whether the newest ledger record is the capture's last; if not, it still runs or was killed.
    pub ended: bool,
    /// The stream.
    pub stream: &'static str,
    /// The sink that the ledger speaks of.
    pub sink: Option<String>,
    /// Records that the ledger says were delivered, the newest ledger record itself included.
    pub delivered: Option<u64>,
    /// Records that the ledger says were in the spool.
    pub spooled: Option<u64>,
    /// Of these, records that still are.
    pub waiting: u64,
    /// Records that are there, duplicates once.
    pub found: u64,
    /// Further copies of records that are there.
    pub duplicates: u64,
}

impl Line {
    const TITLES: [&'static str; 7] =
        ["node", "epoch", "stream", "delivered", "spooled", "found", "duplicates"];

    fn cells(&self) -> [String; 7] {
        let number =
            |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        [
            self.node.clone(),
            self.epoch.clone().unwrap_or_else(|| "unknown".into()),
            self.stream.to_owned(),
            number(self.delivered),
            number(self.spooled),
            self.found.to_string(),
            self.duplicates.to_string(),
        ]
    }
}

/// The balance.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Ledger records read.
    pub ledgers: u64,
    /// By node, stream and epoch.
    pub lines: Vec<Line>,
    /// What the reader should know, though it contradicts nothing.
    pub notes: Findings,
    /// What does not close.
    pub problems: Findings,
}

impl Report {
    /// Whether everything closes.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.problems.is_empty()
    }

    /// The same as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "closes": self.closes(),
            "ledgers": self.ledgers,
            "streams": self.lines,
            "notes": self.notes,
            "problems": self.problems,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = Line::TITLES.map(str::to_owned);
        let rows: Vec<[String; 7]> =
            std::iter::once(titles).chain(self.lines.iter().map(Line::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or_default());
        for row in &rows {
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    1 | 2 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        self.notes.write(f, "note")?;
        self.problems.write(f, "does not close")?;
        let verdict =
            if self.closes() { "the balance closes" } else { "the balance does not close" };
        writeln!(f, "{} ledger records read: {verdict}", self.ledgers)
    }
}
