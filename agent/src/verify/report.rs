//! The balance as text and as JSON.

use serde::Serialize;
use std::fmt;

/// Sentences of one kind that are shown; the rest is counted.
const SHOWN: usize = 20;

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
    pub(super) fn add(&mut self, sentence: impl FnOnce() -> String) {
        if self.shown.len() < SHOWN {
            self.shown.push(sentence());
        } else {
            self.more += 1;
        }
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

/// The balance of all captures.
#[derive(Clone, Debug, Default)]
pub struct BalanceReport {
    /// Number of ledger records read.
    pub ledgers: u64,
    /// Balances by node, stream and epoch.
    pub lines: Vec<BalanceLine>,
    /// Notes: facts that contradict nothing.
    pub notes: Findings,
    /// Problems: everything that does not balance.
    pub problems: Findings,
}

impl BalanceReport {
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
            "notes": self.notes,
            "problems": self.problems,
        })
    }
}

impl fmt::Display for BalanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = BalanceLine::TITLES.map(str::to_owned);
        let rows: Vec<[String; 7]> =
            std::iter::once(titles).chain(self.lines.iter().map(BalanceLine::cells)).collect();
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
