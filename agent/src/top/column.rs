//! Columns of lists: titles, widths, values, looks.

use super::list::{By, Entry, Listing};
use super::model::{Figures, Group, Kind};
use super::text;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// What a line is about; as wide as there is room.
    Label(&'static str),
    /// Where a process runs.
    Place,
    /// Who asked last.
    Asker,
    /// Queries per second.
    Rate,
    /// Queries.
    Queries,
    /// Share in all queries.
    Share,
    /// Median latency.
    P50,
    /// Latency that one in a hundred exceeds.
    P99,
    /// Greatest latency.
    Max,
    /// Share of timeouts and ICMP errors.
    NoAnswer,
    /// Share of SERVFAIL.
    Servfail,
    /// Share of NXDOMAIN.
    Nxdomain,
    /// Share of other response codes.
    OtherError,
    /// Queries sent again.
    Retries,
    /// Responses without a query of their own.
    Strays,
    /// When last.
    Last,
    /// Type of a name.
    Type,
    /// Outcome.
    Outcome,
    /// How often.
    Count,
    /// Latency of the last one.
    Latency,
    /// Process id of the last one.
    Pid,
    /// Record of the last one.
    EventId,
    /// Queries over time.
    History,
}

/// What a column says of a line, for sorting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number.
    Number(f64),
    /// A text.
    Text(&'a str),
}

/// How much a cell matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Beside the point.
    Dim,
    /// As usual.
    Plain,
    /// Worth a look.
    Warning,
    /// Bad.
    Bad,
}

use Column::{
    Asker, Count, EventId, History, Label, Last, Latency, Max, NoAnswer, Nxdomain, OtherError,
    Outcome, P50, P99, Pid, Place, Queries, Rate, Retries, Servfail, Share, Strays, Type,
};

/// Columns with the width of the screen from which on they are shown.
type Plan = &'static [(Column, u16)];

const FIGURES: Plan = &[
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

const NAMES: Plan = &[
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

const PROCESSES: Plan = &[
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

const RESOLVERS: Plan = &[
    (Label("RESOLVER"), 0),
    (Count, 0),
    (Share, 0),
    (Last, 0),
    (Latency, 0),
    (Outcome, 0),
    (EventId, 120),
];

/// The columns of a list on a screen so wide.
#[must_use]
pub fn columns(listing: Listing, width: u16) -> Vec<Column> {
    let shown =
        |plan: Plan| plan.iter().filter(move |(_, from)| width >= *from).map(|(column, _)| *column);
    match listing {
        Listing::Facts(By::Names) => shown(NAMES).collect(),
        Listing::Facts(By::Processes) => shown(PROCESSES).collect(),
        Listing::Facts(By::Resolvers) => shown(RESOLVERS).collect(),
        Listing::Group(group) => {
            let (first, history): (Plan, Plan) = match group {
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
    /// What stands above it.
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

    /// Its width; of those that share what is left over, the least.
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

    /// Whether its cells end where it ends.
    #[must_use]
    pub const fn is_number(self) -> bool {
        !matches!(self, Label(_) | Place | Asker | Type | Outcome | EventId | History)
    }

    /// Whether lists can be sorted by it.
    #[must_use]
    pub const fn is_sortable(self) -> bool {
        !matches!(self, EventId | History)
    }

    /// Whether the greatest stand first unless told otherwise.
    #[must_use]
    pub const fn begins_descending(self) -> bool {
        self.is_number() && !matches!(self, Last)
    }

    /// What it says of a line, to sort by. What is not known stands below all that is.
    #[must_use]
    pub fn value(self, entry: &Entry) -> Value<'_> {
        let quantile = |q| of(entry, |figures| figures.latencies.quantile(q).unwrap_or(-1.0));
        Value::Number(match self {
            Label(_) | History | EventId => return Value::Text(&entry.label),
            Place | Asker => return Value::Text(&entry.place),
            Type => return Value::Text(&entry.kind),
            Outcome => return Value::Text(&entry.outcome),
            Rate => of(entry, |figures| figures.rate),
            Queries | Count => super::model::float(entry.count),
            Share => entry.share,
            P50 => quantile(0.5),
            P99 => quantile(0.99),
            Max => of(entry, |figures| figures.latencies.max().unwrap_or(-1.0)),
            NoAnswer => kinds(entry, &[Kind::Timeout, Kind::Unreachable]),
            Servfail => kinds(entry, &[Kind::Servfail]),
            Nxdomain => kinds(entry, &[Kind::Nxdomain]),
            OtherError => kinds(entry, &[Kind::OtherError]),
            Retries => of(entry, |figures| super::model::float(figures.retries)),
            Strays => of(entry, |figures| super::model::float(figures.counts.of(Kind::Stray))),
            Last => super::model::float(entry.age),
            Latency => entry.latency_ms.unwrap_or(-1.0),
            Pid => f64::from(entry.pid),
        })
    }

    /// What stands in it; [`Column::History`] is drawn by others.
    #[must_use]
    pub fn text(self, entry: &Entry) -> String {
        let number = match self.value(entry) {
            Value::Text(text) => {
                return match (self, entry.event_id) {
                    (EventId, Some(id)) => format!("{id:032x}"),
                    (EventId, None) | (History, _) => String::new(),
                    _ => text.to_owned(),
                };
            }
            Value::Number(number) => number,
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
                let strays = |figures: &Figures| figures.counts.of(Kind::Stray);
                text::count(entry.figures.as_ref().map_or(0, |figures| strays(figures)))
            }
        }
    }

    /// How much what it says matters.
    #[must_use]
    pub fn tone(self, entry: &Entry) -> Tone {
        let share = |value: Value<'_>, limits: [f64; 2]| match value {
            Value::Number(share) if share >= limits[1] => Tone::Bad,
            Value::Number(share) if share >= limits[0] => Tone::Warning,
            Value::Number(share) if share <= 0.0 => Tone::Dim,
            _ => Tone::Plain,
        };
        match self {
            NoAnswer | Servfail | OtherError => share(self.value(entry), FAILING),
            // Names that do not exist are often asked for; it takes many to be odd.
            Nxdomain => share(self.value(entry), [0.2, 0.5]),
            Outcome if entry.failed => Tone::Bad,
            Last | EventId | Place | Asker => Tone::Dim,
            _ => Tone::Plain,
        }
    }
}

/// Shares of failures from which on they are worth a look, or bad.
const FAILING: [f64; 2] = [0.01, 0.05];

/// How bad a line is as a whole.
#[must_use]
pub fn tone(entry: &Entry) -> Tone {
    let bad = [Kind::Timeout, Kind::Unreachable, Kind::Servfail, Kind::OtherError];
    match kinds(entry, &bad) {
        share if share >= FAILING[1] => Tone::Bad,
        share if share >= FAILING[0] => Tone::Warning,
        _ => Tone::Plain,
    }
}

fn of(entry: &Entry, figure: impl Fn(&Figures) -> f64) -> f64 {
    entry.figures.as_deref().map_or(-1.0, figure)
}

fn kinds(entry: &Entry, kinds: &[Kind]) -> f64 {
    of(entry, |figures| figures.counts.share(kinds)).max(0.0)
}
