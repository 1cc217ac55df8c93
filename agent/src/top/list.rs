//! From the model to the lines of a list: what is listed, in which order, with which columns.

use super::column::{Column, Value};
use super::model::{Fact, Figures, Group, Kind, Model, Part, SEPARATOR, Span, Vantage, parts};
use std::cmp::Ordering;
use std::collections::HashMap;

/// What a list consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The rows of a group.
    Group(Group),
    /// What one has drilled into, by a part of it.
    Facts(By),
}

/// What facts are listed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Name, type and outcome.
    Names,
    /// Who asked.
    Processes,
    /// Who was asked.
    Resolvers,
}

/// One line of a list.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// What it is known by within its list.
    pub key: String,
    /// Its name.
    pub label: String,
    /// Where it is: a process's pod, container or host; of a name, who asked last.
    pub place: String,
    /// Type of a name.
    pub kind: String,
    /// Outcome of what is asked.
    pub outcome: String,
    /// Figures of a row; facts have a count only.
    pub figures: Option<Box<Figures>>,
    /// Share in all queries.
    pub share: f64,
    /// How often.
    pub count: u64,
    /// Seconds since it happened last.
    pub age: u64,
    /// Milliseconds that it took the last time.
    pub latency_ms: Option<f64>,
    /// The process, the last time.
    pub pid: u32,
    /// The record of the last time.
    pub event_id: Option<u128>,
    /// Whether it is a failure.
    pub failed: bool,
}

/// What of the model is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Query<'a> {
    /// What the list consists of.
    pub listing: Listing,
    /// Facts: what they must have in common.
    pub narrowed: &'a [(Part, String)],
    /// Facts: failures only.
    pub failing: bool,
    /// From which side.
    pub vantage: Vantage,
    /// Of which time.
    pub span: Span,
    /// What a line must contain, in lower case.
    pub filter: &'a str,
    /// The order.
    pub sort: Sort,
}

/// An order of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub column: Column,
    /// The greatest first.
    pub descending: bool,
}

impl Query<'_> {
    /// The lines, filtered and in order.
    #[must_use]
    pub fn lines(&self, model: &Model) -> Vec<Entry> {
        let mut entries = match self.listing {
            Listing::Group(group) => self.rows(model, group),
            Listing::Facts(by) => self.facts(model, by),
        };
        entries.retain(|entry| self.passes(entry));
        entries.sort_by(|one, other| self.compare(one, other));
        entries
    }

    fn passes(&self, entry: &Entry) -> bool {
        let texts = [&entry.label, &entry.place, &entry.kind, &entry.outcome];
        self.filter.is_empty()
            || texts.into_iter().any(|text| text.to_lowercase().contains(self.filter))
    }

    /// Lines that are equal stand by their keys, so that they stand still.
    fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        let order = match (self.sort.column.value(one), self.sort.column.value(other)) {
            (Value::Number(one), Value::Number(other)) => one.total_cmp(&other),
            (Value::Text(one), Value::Text(other)) => one.cmp(other),
            (Value::Number(_), Value::Text(_)) => Ordering::Less,
            (Value::Text(_), Value::Number(_)) => Ordering::Greater,
        };
        let order = if self.sort.descending { order.reverse() } else { order };
        order.then_with(|| one.key.cmp(&other.key))
    }

    fn rows(&self, model: &Model, group: Group) -> Vec<Entry> {
        let moment = model.moment();
        let all = model.total(self.vantage, self.span).counts.queries().max(1);
        let rows = model.rows(group).filter_map(|(key, row)| {
            row.stats.shown(self.vantage).next()?;
            let figures = row.stats.figures(self.vantage, moment, self.span);
            let (label, place) = match group {
                Group::Process => key.rsplit_once(' ').unwrap_or((key, "")),
                _ => (key, ""),
            };
            Some(Entry {
                key: key.to_owned(),
                label: label.to_owned(),
                place: place.to_owned(),
                share: share(figures.counts.queries(), all),
                count: figures.counts.queries(),
                age: moment.now.saturating_sub(row.last),
                pid: row.pid,
                figures: Some(Box::new(figures)),
                ..Entry::default()
            })
        });
        rows.collect()
    }

    fn facts(&self, model: &Model, by: By) -> Vec<Entry> {
        let mut entries: HashMap<String, Entry> = HashMap::new();
        let now = model.moment().now;
        let mut all = 0;
        for (key, fact) in model.facts() {
            let parts = parts(key);
            let count = fact.count(self.vantage);
            let fits = self.narrowed.iter().all(|(part, value)| parts[*part as usize] == value);
            if !fits || count == 0 || self.failing && !fact.kind.is_some_and(Kind::is_failure) {
                continue;
            }
            all += count;
            let entry = entries.entry(by.key(&parts)).or_default();
            let age = now.saturating_sub(fact.last);
            if entry.count == 0 || age < entry.age {
                tell(entry, by, &parts, fact);
                entry.age = age;
            }
            entry.count += count;
        }
        let finished = entries.into_iter().map(|(key, entry)| {
            let share = share(entry.count, all);
            Entry { key, share, ..entry }
        });
        finished.collect()
    }
}

fn share(count: u64, all: u64) -> f64 {
    super::model::float(count) / super::model::float(all.max(1))
}

impl By {
    fn key(self, parts: &[&str; Part::COUNT]) -> String {
        match self {
            Self::Names => {
                let [name, kind, outcome] =
                    [Part::Name, Part::Type, Part::Outcome].map(|part| parts[part as usize]);
                format!("{name}{SEPARATOR}{kind}{SEPARATOR}{outcome}")
            }
            Self::Processes => parts[Part::Process as usize].to_owned(),
            Self::Resolvers => parts[Part::Resolver as usize].to_owned(),
        }
    }

    /// What a line of this list narrows the next one by.
    #[must_use]
    pub fn narrowing(self, key: &str) -> Vec<(Part, String)> {
        match self {
            Self::Names => [Part::Name, Part::Type, Part::Outcome]
                .into_iter()
                .zip(key.split(SEPARATOR).map(str::to_owned))
                .collect(),
            Self::Processes => vec![(Part::Process, key.to_owned())],
            Self::Resolvers => vec![(Part::Resolver, key.to_owned())],
        }
    }
}

/// Says in a line what its newest fact was.
fn tell(entry: &mut Entry, by: By, parts: &[&str; Part::COUNT], fact: &Fact) {
    let part = |part: Part| parts[part as usize].to_owned();
    let process = part(Part::Process);
    (entry.label, entry.place) = match by {
        By::Names => (part(Part::Name), process),
        By::Processes => {
            let (name, place) = process.rsplit_once(' ').unwrap_or((&process, ""));
            (name.to_owned(), place.to_owned())
        }
        By::Resolvers => (part(Part::Resolver), process),
    };
    entry.kind = part(Part::Type);
    entry.outcome = part(Part::Outcome);
    entry.latency_ms = fact.latency_ms;
    entry.pid = fact.pid;
    entry.event_id = fact.event_id;
    entry.failed = fact.kind.is_some_and(Kind::is_failure);
}
