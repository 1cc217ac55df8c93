//! Lines of a list, selected from the model, filtered and sorted.

use super::column::{Column, SortValue};
use super::model::{
    Destination, Fact, Figures, Model, OutcomeKind, Part, SEPARATOR, Span, Vantage, parts, to_f64,
};
use super::view::Drill;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Content of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The rows of a group.
    Group(Part),
    /// The facts that were drilled into.
    Facts(FactList),
    /// Connections by name, or address where no name is known.
    Destinations,
    /// Connections to one of these, by process.
    DestinationUsers,
}

/// Part by which facts are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactList {
    /// Name, type and outcome.
    Names,
    Processes,
    Resolvers,
}

/// One line of a list.
#[derive(Clone, Debug, Default)]
pub struct ListEntry {
    /// Key of the line within its list.
    pub key: String,
    pub label: String,
    /// Pod, container or host of a process; for a name or a resolver, the last process.
    pub place: String,
    /// Type of a name.
    pub kind: String,
    /// Outcome of the last transaction.
    pub outcome: String,
    /// Figures of a row; facts have a count only.
    pub figures: Option<Box<Figures>>,
    /// Figures of connections.
    pub connections: Option<Box<Destination>>,
    pub share: f64,
    pub count: u64,
    /// Seconds since the last transaction.
    pub age: u64,
    /// Latency of the last transaction in milliseconds.
    pub latency_ms: Option<f64>,
    /// Process id of the last transaction.
    pub pid: u32,
    /// Event id of the last transaction.
    pub event_id: Option<u128>,
    /// Whether the last transaction failed.
    pub failed: bool,
}

/// Keys of the lines of a list.
pub fn keys(entries: &[ListEntry]) -> impl ExactSizeIterator<Item = &str> {
    entries.iter().map(|entry| entry.key.as_str())
}

/// Selection of lines from the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Query<'a> {
    pub listing: Option<Listing>,
    /// The facts that are listed.
    pub drill: Option<&'a Drill>,
    pub vantage: Vantage,
    pub span: Span,
    /// Text that a line must contain, in lower case.
    pub filter: &'a str,
    pub sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    pub column: Column,
    /// Whether the greatest value is first.
    pub descending: bool,
}

impl Query<'_> {
    /// Returns the lines, filtered and sorted.
    pub fn lines(&self, model: &Model) -> Vec<ListEntry> {
        let mut entries = match (self.listing, self.drill) {
            (Some(Listing::Destinations | Listing::DestinationUsers), drill) => {
                destinations(model, drill)
            }
            (Some(Listing::Facts(_)), Some(drill)) => self.facts(model, drill),
            (Some(Listing::Group(group)), _) => self.rows(model, group),
            (Some(Listing::Facts(_)), None) | (None, _) => return Vec::new(),
        };
        entries.retain(|entry| self.passes(entry));
        entries.sort_by(|one, other| self.compare(one, other));
        entries
    }

    fn passes(&self, entry: &ListEntry) -> bool {
        let texts = [&entry.label, &entry.place, &entry.kind, &entry.outcome];
        self.filter.is_empty()
            || texts.into_iter().any(|text| text.to_lowercase().contains(self.filter))
    }

    /// Compares two lines. Equal ones are ordered by key, so that their order is stable.
    fn compare(&self, one: &ListEntry, other: &ListEntry) -> Ordering {
        let order = match (self.sort.column.value(one), self.sort.column.value(other)) {
            (SortValue::Number(one), SortValue::Number(other)) => one.total_cmp(&other),
            (SortValue::Text(one), SortValue::Text(other)) => one.cmp(other),
            (SortValue::Number(_), SortValue::Text(_)) => Ordering::Less,
            (SortValue::Text(_), SortValue::Number(_)) => Ordering::Greater,
        };
        let order = if self.sort.descending { order.reverse() } else { order };
        order.then_with(|| one.key.cmp(&other.key))
    }

    fn rows(&self, model: &Model, group: Part) -> Vec<ListEntry> {
        let moment = model.moment();
        let all = model.total(self.vantage, self.span).counts.queries().max(1);
        let rows = model.rows(group).filter_map(|(key, row)| {
            row.stats.shown(self.vantage).flatten().next()?;
            let figures = row.stats.figures(self.vantage, moment, self.span);
            let (label, place) = match group {
                Part::Process => name_and_place(key),
                _ => (key, ""),
            };
            Some(ListEntry {
                key: key.to_owned(),
                label: label.to_owned(),
                place: place.to_owned(),
                share: share(figures.counts.queries(), all),
                count: figures.counts.queries(),
                age: moment.now.saturating_sub(row.last),
                pid: row.pid,
                figures: Some(Box::new(figures)),
                ..ListEntry::default()
            })
        });
        rows.collect()
    }

    fn facts(&self, model: &Model, drill: &Drill) -> Vec<ListEntry> {
        let mut entries: HashMap<String, ListEntry> = HashMap::new();
        let now = model.moment().now;
        let mut all = 0;
        for (key, fact) in model.facts.iter() {
            let parts = parts(key);
            let count: u64 = fact.counts.shown(self.vantage).sum();
            let fits = drill.narrowed.iter().all(|(part, value)| parts[*part as usize] == value);
            if !fits || count == 0 || drill.failing && !has_failed(fact) {
                continue;
            }
            all += count;
            let key = drill.by.parts().iter().map(|part| parts[*part as usize]);
            let entry = entries.entry(key.collect::<Vec<_>>().join(SEPARATOR)).or_default();
            let age = now.saturating_sub(fact.last);
            if entry.count == 0 || age < entry.age {
                describe(entry, drill.by, &parts, fact);
                entry.age = age;
            }
            entry.count += count;
        }
        let finished = entries.into_iter().map(|(key, entry)| {
            let share = share(entry.count, all);
            ListEntry { key, share, ..entry }
        });
        finished.collect()
    }
}

/// Lists connections by name, or by the process that opened those to the name of the drill.
fn destinations(model: &Model, drill: Option<&Drill>) -> Vec<ListEntry> {
    let narrowed = drill.and_then(|drill| drill.narrowed.first()).map(|(_, name)| name.as_str());
    let mut merged: HashMap<&str, (&str, Destination)> = HashMap::new();
    for (name, process, destination) in model.uses.iter() {
        let key = match narrowed {
            Some(narrowed) if narrowed == name => process,
            Some(_) => continue,
            None => name,
        };
        let (last_process, sum) = merged.entry(key).or_default();
        if destination.last >= sum.last {
            *last_process = process;
        }
        sum.merge(destination);
    }
    let all: u64 = merged.values().map(|(_, sum)| sum.count()).sum();
    let now = model.moment().now;
    let entries = merged.into_iter().map(|(key, (process, sum))| {
        let (process, place) = name_and_place(process);
        let (label, place) = match narrowed {
            Some(_) => (process, place.to_owned()),
            None => (key, format!("{process} {place}")),
        };
        ListEntry {
            key: key.to_owned(),
            label: label.to_owned(),
            place,
            share: share(sum.count(), all),
            count: sum.count(),
            age: now.saturating_sub(sum.last),
            pid: sum.pid,
            connections: Some(Box::new(sum)),
            ..ListEntry::default()
        }
    });
    entries.collect()
}

fn share(count: u64, all: u64) -> f64 {
    to_f64(count) / to_f64(all.max(1))
}

fn has_failed(fact: &Fact) -> bool {
    fact.kind.is_some_and(OutcomeKind::is_failure)
}

/// Splits the key of a process into its name and where it runs.
fn name_and_place(process: &str) -> (&str, &str) {
    process.rsplit_once(' ').unwrap_or((process, ""))
}

impl FactList {
    /// Parts that make the key of a line, by which it narrows the next list.
    pub const fn parts(self) -> &'static [Part] {
        match self {
            Self::Names => &[Part::Name, Part::Type, Part::Outcome],
            Self::Processes => &[Part::Process],
            Self::Resolvers => &[Part::Resolver],
        }
    }
}

/// Fills in the fields of a line from its newest fact.
fn describe(entry: &mut ListEntry, by: FactList, parts: &[&str; Part::COUNT], fact: &Fact) {
    let part = |part: Part| parts[part as usize];
    let process = part(Part::Process);
    let (label, place) = match by {
        FactList::Names => (part(Part::Name), process),
        FactList::Processes => name_and_place(process),
        FactList::Resolvers => (part(Part::Resolver), process),
    };
    (entry.label, entry.place) = (label.to_owned(), place.to_owned());
    part(Part::Type).clone_into(&mut entry.kind);
    part(Part::Outcome).clone_into(&mut entry.outcome);
    entry.latency_ms = fact.latency_ms;
    entry.pid = fact.pid;
    entry.event_id = fact.event_id;
    entry.failed = has_failed(fact);
}
