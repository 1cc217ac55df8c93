//! Columns of lists: titles, widths, values, tones.

use super::list::{FactList, ListEntry, Listing};
use super::model::{Figures, Group, OutcomeKind};
use super::text;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Label of the line; takes the remaining width.
    Label(&'static str),
    /// Pod, container or host of a process.
    Place,
    /// Last process.
    Asker,
    /// Queries per second.
    Rate,
    /// Queries.
    Queries,
    /// Share of all queries.
    Share,
    /// Median latency.
    P50,
    /// 99th percentile of latency.
    P99,
    /// Maximum latency.
    Max,
    /// Share of timeouts and ICMP errors.
    NoAnswer,
    /// Share of SERVFAIL.
    Servfail,
    /// Share of NXDOMAIN.
    Nxdomain,
    /// Share of other response codes.
    OtherError,
    /// Retransmissions.
    Retries,
    /// Late, duplicate and orphaned responses.
    Strays,
    /// Age of the last transaction.
    Last,
    /// Record type.
    Type,
    /// Outcome.
    Outcome,
    /// Number of transactions.
    Count,
    /// Latency of the last transaction.
    Latency,
    /// Process id of the last transaction.
    Pid,
    /// Event id of the last transaction.
    EventId,
    /// Queries over time.
    History,
}

/// Value of a column, for sorting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SortValue<'a> {
    /// A number.
    Number(f64),
    /// A text.
    Text(&'a str),
}

/// Importance of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Less important.
    Dim,
    /// Normal.
    Plain,
    /// Warning.
    Warning,
    /// Bad.
    Bad,
}

use Column::{
    Asker, Count, EventId, History, Label, Last, Latency, Max, NoAnswer, Nxdomain, OtherError,
    Outcome, P50, P99, Pid, Place, Queries, Rate, Retries, Servfail, Share, Strays, Type,
};

/// Columns, each with the least width of the screen at which it is shown.
type ColumnLayout = &'static [(Column, u16)];

const FIGURES: ColumnLayout = &[
    (Rate, 0),
    (Queries, 90),
    (P50, 0),
    (P99, 0),
    (Max, 150),
    (NoAnswer, 0),
    (Servfail, 0),
    (Nxdomain, 0),
    (OtherError, 100),
    (Retries, 140),
    (Strays, 160),
    (Last, 120),
];

const NAMES: ColumnLayout = &[
    (Label("NAME"), 0),
    (Type, 0),
    (Outcome, 0),
    (Count, 0),
    (Share, 100),
    (Last, 0),
    (Latency, 90),
    (Asker, 0),
    (Pid, 110),
    (EventId, 160),
];

const PROCESSES: ColumnLayout = &[
    (Label("PROCESS"), 0),
    (Place, 0),
    (Count, 0),
    (Share, 0),
    (Last, 0),
    (Latency, 90),
    (Type, 100),
    (Outcome, 100),
    (Pid, 0),
    (EventId, 160),
];

const RESOLVERS: ColumnLayout = &[
    (Label("RESOLVER"), 0),
    (Count, 0),
    (Share, 0),
    (Last, 0),
    (Latency, 0),
    (Outcome, 0),
    (EventId, 120),
];

/// Returns the columns of a list on a screen of this width.
#[must_use]
pub fn columns(listing: Listing, width: u16) -> Vec<Column> {
    let shown = |plan: ColumnLayout| {
        plan.iter().filter(move |(_, from)| width >= *from).map(|(column, _)| *column)
    };
    match listing {
        Listing::Facts(FactList::Names) => shown(NAMES).collect(),
        Listing::Facts(FactList::Processes) => shown(PROCESSES).collect(),
        Listing::Facts(FactList::Resolvers) => shown(RESOLVERS).collect(),
        Listing::Group(group) => {
            let (first, history): (ColumnLayout, ColumnLayout) = match group {
                Group::Resolver => (&[(Label("RESOLVER"), 0)], &[(History, 0)]),
                Group::Zone => (&[(Label("ZONE"), 0)], &[(History, 0)]),
                Group::Name => (&[(Label("NAME"), 0)], &[(History, 100)]),
                Group::Process => {
                    (&[(Label("PROCESS"), 0), (Place, 0)], &[(Pid, 110), (History, 90)])
                }
                Group::Outcome => (&[(Label("OUTCOME"), 0), (Share, 0)], &[(History, 0)]),
            };
            let figures = shown(FIGURES).filter(|column| {
                group != Group::Outcome
                    || !matches!(column, NoAnswer | Servfail | Nxdomain | OtherError)
            });
            let figures: Vec<Column> = figures.collect();
            shown(first).chain(figures).chain(shown(history)).collect()
        }
    }
}

impl Column {
    /// Title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Label(title) => title,
            Place => "WHERE",
            Asker => "LAST ASKED BY",
            Rate => "QPS",
            Queries => "QUERIES",
            Share => "SHARE%",
            P50 => "P50",
            P99 => "P99",
            Max => "MAX",
            NoAnswer => "NOANS%",
            Servfail => "SERVF%",
            Nxdomain => "NXDOM%",
            OtherError => "OTHER%",
            Retries => "RETRIES",
            Strays => "STRAY",
            Last => "LAST",
            Type => "TYPE",
            Outcome => "OUTCOME",
            Count => "COUNT",
            Latency => "LATENCY",
            Pid => "PID",
            EventId => "LAST EVENT_ID",
            History => "HISTORY",
        }
    }

    /// Width in characters; the least one for columns that share the remaining width.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Label(_) => 14,
            Place | Asker => 16,
            Rate | P50 | P99 | Max | Type | Retries => 7,
            NoAnswer | Servfail | Nxdomain | OtherError | Share => 6,
            Queries => 9,
            Strays | Last => 5,
            Count | Latency | Pid => 8,
            EventId => 32,
            Outcome | History => 10,
        }
    }

    /// Whether its cells are aligned to the right.
    #[must_use]
    pub const fn is_number(self) -> bool {
        !matches!(self, Label(_) | Place | Asker | Type | Outcome | EventId | History)
    }

    /// Whether lists can be sorted by it.
    #[must_use]
    pub const fn is_sortable(self) -> bool {
        !matches!(self, EventId | History)
    }

    /// Whether the first sort order is descending.
    #[must_use]
    pub const fn begins_descending(self) -> bool {
        self.is_number() && !matches!(self, Last)
    }

    /// Returns the value of a line, to sort by. Unknown values are below all others.
    #[must_use]
    pub fn value(self, entry: &ListEntry) -> SortValue<'_> {
        let quantile = |q| of(entry, |figures| figures.latencies.quantile(q).unwrap_or(-1.0));
        SortValue::Number(match self {
            Label(_) | History | EventId => return SortValue::Text(&entry.label),
            Place | Asker => return SortValue::Text(&entry.place),
            Type => return SortValue::Text(&entry.kind),
            Outcome => return SortValue::Text(&entry.outcome),
            Rate => of(entry, |figures| figures.rate),
            Queries | Count => super::model::to_f64(entry.count),
            Share => entry.share,
            P50 => quantile(0.5),
            P99 => quantile(0.99),
            Max => of(entry, |figures| figures.latencies.max().unwrap_or(-1.0)),
            NoAnswer => kinds(entry, &[OutcomeKind::Timeout, OutcomeKind::Unreachable]),
            Servfail => kinds(entry, &[OutcomeKind::Servfail]),
            Nxdomain => kinds(entry, &[OutcomeKind::Nxdomain]),
            OtherError => kinds(entry, &[OutcomeKind::OtherError]),
            Retries => of(entry, |figures| super::model::to_f64(figures.retries)),
            Strays => {
                of(entry, |figures| super::model::to_f64(figures.counts.get(OutcomeKind::Stray)))
            }
            Last => super::model::to_f64(entry.age),
            Latency => entry.latency_ms.unwrap_or(-1.0),
            Pid => f64::from(entry.pid),
        })
    }

    /// Returns the text of a cell; empty for [`Column::History`], which is drawn separately.
    #[must_use]
    pub fn text(self, entry: &ListEntry) -> String {
        let number = match self.value(entry) {
            SortValue::Text(text) => {
                return match (self, entry.event_id) {
                    (EventId, Some(id)) => format!("{id:032x}"),
                    (EventId, None) | (History, _) => String::new(),
                    _ => text.to_owned(),
                };
            }
            SortValue::Number(number) => number,
        };
        match self {
            Rate => text::rate(number),
            Queries | Count => text::count(entry.count),
            P50 | P99 | Max | Latency => text::latency((number >= 0.0).then_some(number)),
            NoAnswer | Servfail | Nxdomain | OtherError | Share => text::percent(number),
            Last => text::age(entry.age),
            Pid if entry.pid == 0 => String::new(),
            Pid => entry.pid.to_string(),
            Retries => text::count(entry.figures.as_ref().map_or(0, |figures| figures.retries)),
            _ => {
                let strays = |figures: &Figures| figures.counts.get(OutcomeKind::Stray);
                text::count(entry.figures.as_ref().map_or(0, |figures| strays(figures)))
            }
        }
    }

    /// Returns the importance of a cell.
    #[must_use]
    pub fn tone(self, entry: &ListEntry) -> Tone {
        let share = |value: SortValue<'_>, limits: [f64; 2]| match value {
            SortValue::Number(share) if share >= limits[1] => Tone::Bad,
            SortValue::Number(share) if share >= limits[0] => Tone::Warning,
            SortValue::Number(share) if share <= 0.0 => Tone::Dim,
            _ => Tone::Plain,
        };
        match self {
            NoAnswer | Servfail | OtherError => share(self.value(entry), FAILING),
            // NXDOMAIN is common; only a large share is unusual.
            Nxdomain => share(self.value(entry), [0.2, 0.5]),
            Outcome if entry.failed => Tone::Bad,
            Last | EventId | Place | Asker => Tone::Dim,
            _ => Tone::Plain,
        }
    }
}

/// Shares of failures for a warning, and for a bad line.
const FAILING: [f64; 2] = [0.01, 0.05];

/// Returns the importance of a whole line.
#[must_use]
pub fn tone(entry: &ListEntry) -> Tone {
    let bad = [
        OutcomeKind::Timeout,
        OutcomeKind::Unreachable,
        OutcomeKind::Servfail,
        OutcomeKind::OtherError,
    ];
    match kinds(entry, &bad) {
        share if share >= FAILING[1] => Tone::Bad,
        share if share >= FAILING[0] => Tone::Warning,
        _ => Tone::Plain,
    }
}

fn of(entry: &ListEntry, figure: impl Fn(&Figures) -> f64) -> f64 {
    entry.figures.as_deref().map_or(-1.0, figure)
}

fn kinds(entry: &ListEntry, kinds: &[OutcomeKind]) -> f64 {
    of(entry, |figures| figures.counts.share(kinds)).max(0.0)
}
