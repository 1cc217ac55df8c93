//! Columns of lists: titles, widths, values, tones.

use super::list::{FactList, ListEntry, Listing};
use super::model::{Destination, Figures, MAX_ADDRESSES, OutcomeKind, Part, to_f64};
use super::text;

/// A column. [`Column::layout`] has the titles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Label of the line; takes the remaining width.
    Label(&'static str),
    /// Pod, container or host of a process.
    Place,
    /// Last process.
    Asker(&'static str),
    Rate,
    Queries,
    Share,
    P50,
    P99,
    Max,
    /// Share of timeouts and ICMP errors.
    NoAnswer,
    Servfail,
    Nxdomain,
    OtherError,
    Retries,
    /// Late, duplicate and orphaned responses.
    Strays,
    /// Age of the last transaction.
    Last,
    Type,
    Outcome,
    Count,
    /// Latency of the last transaction.
    Latency,
    /// Process id of the last transaction.
    Pid,
    /// Event id of the last transaction.
    EventId,
    /// Queries over time.
    History,
    /// Number of addresses.
    Addresses,
    /// Shares of outcomes of connections.
    Established,
    Refused,
    TimedOut,
    Reset,
    /// Share of connections that used a stale answer.
    Stale,
    /// Medians of the time that lookups and connections took.
    LookupTime,
    ConnectTime,
}

/// Value of a column, for sorting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SortValue<'a> {
    Number(f64),
    Text(&'a str),
}

/// Importance of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Less important.
    Dim,
    Plain,
    Warning,
    Bad,
}

use Column::{
    Addresses, Asker, ConnectTime, Count, Established, EventId, History, Label, Last, Latency,
    LookupTime, Max, NoAnswer, Nxdomain, OtherError, Outcome, P50, P99, Pid, Place, Queries, Rate,
    Refused, Reset, Retries, Servfail, Share, Stale, Strays, TimedOut, Type,
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
    (Asker("LAST ASKED BY"), 0),
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

const DESTINATIONS: ColumnLayout = &[
    (Label("NAME"), 0),
    (Addresses, 90),
    (Count, 0),
    (Established, 0),
    (Refused, 0),
    (TimedOut, 0),
    (Reset, 100),
    (Stale, 0),
    (LookupTime, 0),
    (ConnectTime, 0),
    (Last, 120),
    (Asker("LAST USED BY"), 90),
    (Pid, 130),
];

const DESTINATION_USERS: ColumnLayout = &[
    (Label("PROCESS"), 0),
    (Place, 0),
    (Addresses, 100),
    (Count, 0),
    (Established, 0),
    (Refused, 0),
    (TimedOut, 100),
    (Reset, 110),
    (Stale, 100),
    (LookupTime, 90),
    (ConnectTime, 0),
    (Last, 120),
    (Pid, 0),
];

/// Space between two columns.
pub const GAP: usize = 1;
/// Width of the mark before the first column.
pub const MARK: usize = 2;

/// Returns the columns of a list that fit on a screen of this width.
pub fn columns(listing: Listing, width: u16) -> Vec<Column> {
    let mut columns = wanted_columns(listing, width);
    let fits = |columns: &[Column]| {
        let used: usize = columns.iter().map(|column| column.layout().1 + GAP).sum();
        MARK + used <= usize::from(width) + GAP
    };
    while columns.len() > 1 && !fits(&columns) {
        columns.pop();
    }
    columns
}

fn wanted_columns(listing: Listing, width: u16) -> Vec<Column> {
    let shown = |plan: ColumnLayout| {
        plan.iter().filter(move |(_, from)| width >= *from).map(|(column, _)| *column)
    };
    let group = match listing {
        Listing::Facts(FactList::Names) => return shown(NAMES).collect(),
        Listing::Facts(FactList::Processes) => return shown(PROCESSES).collect(),
        Listing::Facts(FactList::Resolvers) => return shown(RESOLVERS).collect(),
        Listing::Destinations => return shown(DESTINATIONS).collect(),
        Listing::DestinationUsers => return shown(DESTINATION_USERS).collect(),
        Listing::Group(group) => group,
    };
    let (first, history): (ColumnLayout, ColumnLayout) = match group {
        Part::Resolver => (&[(Label("RESOLVER"), 0)], &[(History, 0)]),
        Part::Zone => (&[(Label("ZONE"), 0)], &[(History, 0)]),
        Part::Name | Part::Type => (&[(Label("NAME"), 0)], &[(History, 100)]),
        // Where the screen is narrow, failures are worth more than places.
        Part::Process => (&[(Label("PROCESS"), 0), (Place, 78)], &[(Pid, 110), (History, 90)]),
        Part::Outcome => (&[(Label("OUTCOME"), 0), (Share, 0)], &[(History, 0)]),
    };
    let figures = shown(FIGURES).filter(|column| {
        group != Part::Outcome || !matches!(column, NoAnswer | Servfail | Nxdomain | OtherError)
    });
    shown(first).chain(figures).chain(shown(history)).collect()
}

impl Column {
    /// Title, and width in characters; the least one for columns that share the remaining width.
    pub const fn layout(self) -> (&'static str, usize) {
        match self {
            Label(title) => (title, 13),
            Place => ("WHERE", 16),
            Asker(title) => (title, 16),
            Rate => ("QPS", 7),
            Queries => ("QUERIES", 9),
            Share => ("SHARE%", 6),
            P50 => ("P50", 7),
            P99 => ("P99", 7),
            Max => ("MAX", 7),
            NoAnswer => ("NOANS%", 6),
            Servfail => ("SERVF%", 6),
            Nxdomain => ("NXDOM%", 6),
            OtherError => ("OTHER%", 6),
            Retries => ("RETRIES", 7),
            Strays => ("STRAY", 5),
            Last => ("LAST", 5),
            Type => ("TYPE", 7),
            Outcome => ("OUTCOME", 10),
            Count => ("COUNT", 8),
            Latency => ("LATENCY", 8),
            Pid => ("PID", 8),
            EventId => ("LAST EVENT_ID", 32),
            History => ("HISTORY", 10),
            Addresses => ("ADDRS", 5),
            Established => ("ESTAB%", 6),
            Refused => ("REFUS%", 6),
            TimedOut => ("TIMEO%", 6),
            Reset => ("RESET%", 6),
            Stale => ("STALE%", 6),
            LookupTime => ("LOOKUP", 7),
            ConnectTime => ("CONNECT", 7),
        }
    }

    /// Whether its cells are aligned to the right.
    pub const fn is_number(self) -> bool {
        !matches!(self, Label(_) | Place | Asker(_) | Type | Outcome | EventId | History)
    }

    /// Whether lists can be sorted by it.
    pub const fn is_sortable(self) -> bool {
        !matches!(self, EventId | History)
    }

    /// Whether the first sort order is descending.
    pub const fn begins_descending(self) -> bool {
        self.is_number() && !matches!(self, Last)
    }

    /// Returns the value of a line, to sort by. Unknown values are below all others.
    pub fn value(self, entry: &ListEntry) -> SortValue<'_> {
        let quantile = |q| of(entry, |figures| figures.latencies.quantile(q).unwrap_or(-1.0));
        let used = |figure: &dyn Fn(&Destination) -> f64| {
            entry.connections.as_deref().map_or(-1.0, figure)
        };
        let outcome = |name| used(&|one| one.share(&[name]));
        SortValue::Number(match self {
            Label(_) | History | EventId => return SortValue::Text(&entry.label),
            Place | Asker(_) => return SortValue::Text(&entry.place),
            Type => return SortValue::Text(&entry.kind),
            Outcome => return SortValue::Text(&entry.outcome),
            Rate => of(entry, |figures| figures.rate),
            Queries | Count => to_f64(entry.count),
            Share => entry.share,
            P50 => quantile(0.5),
            P99 => quantile(0.99),
            Max => of(entry, |figures| figures.latencies.max().unwrap_or(-1.0)),
            NoAnswer => kinds(entry, &[OutcomeKind::Timeout, OutcomeKind::Unreachable]),
            Servfail => kinds(entry, &[OutcomeKind::Servfail]),
            Nxdomain => kinds(entry, &[OutcomeKind::Nxdomain]),
            OtherError => kinds(entry, &[OutcomeKind::OtherError]),
            Retries => of(entry, |figures| to_f64(figures.retries)),
            Strays => of(entry, |figures| to_f64(figures.counts.get(OutcomeKind::Stray))),
            Last => to_f64(entry.age),
            Latency => entry.latency_ms.unwrap_or(-1.0),
            Pid => f64::from(entry.pid),
            Addresses => used(&|one| to_f64(one.addresses() as u64)),
            Established => outcome("established"),
            Refused => outcome("refused"),
            TimedOut => outcome("timeout"),
            Reset => outcome("reset"),
            Stale => used(&Destination::stale),
            LookupTime => used(&|one| one.lookups.quantile(0.5).unwrap_or(-1.0)),
            ConnectTime => used(&|one| one.connects.quantile(0.5).unwrap_or(-1.0)),
        })
    }

    /// Returns the text of a cell; empty for [`Column::History`], which is drawn separately.
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
        let figure = |of: fn(&Figures) -> u64| text::count(entry.figures.as_deref().map_or(0, of));
        match self {
            Rate => text::rate(number),
            Queries | Count => text::count(entry.count),
            P50 | P99 | Max | Latency | LookupTime | ConnectTime => {
                text::latency((number >= 0.0).then_some(number))
            }
            NoAnswer | Servfail | Nxdomain | OtherError | Share | Established | Refused
            | TimedOut | Reset | Stale => text::percent(number),
            Addresses => {
                let addresses = entry.connections.as_deref().map_or(0, Destination::addresses);
                let more = if addresses == MAX_ADDRESSES { "+" } else { "" };
                format!("{addresses}{more}")
            }
            Last => text::age(entry.age),
            Pid if entry.pid == 0 => String::new(),
            Pid => entry.pid.to_string(),
            Retries => figure(|figures| figures.retries),
            _ => figure(|figures| figures.counts.get(OutcomeKind::Stray)),
        }
    }

    pub fn tone(self, entry: &ListEntry) -> Tone {
        let share = |limits| match self.value(entry) {
            SortValue::Number(share) if share > 0.0 => Tone::of_share(share, limits),
            _ => Tone::Dim,
        };
        match self {
            NoAnswer | Servfail | OtherError | Refused | TimedOut | Reset | Stale => share(FAILING),
            // NXDOMAIN is common; only a large share is unusual.
            Nxdomain => share([0.2, 0.5]),
            Outcome if entry.failed => Tone::Bad,
            Last | EventId | Place | Asker(_) => Tone::Dim,
            _ => Tone::Plain,
        }
    }
}

/// Shares of failures for a warning, and for a bad line.
pub const FAILING: [f64; 2] = [0.01, 0.05];

impl Tone {
    /// Mark of a line with a warning or a failure.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Dim | Self::Plain => "  ",
            Self::Warning => "! ",
            Self::Bad => "!!",
        }
    }

    /// Returns the importance of a share, which is a warning from the first limit on and bad from the second on.
    pub fn of_share(share: f64, [warning, bad]: [f64; 2]) -> Self {
        match share {
            share if share >= bad => Self::Bad,
            share if share >= warning => Self::Warning,
            _ => Self::Plain,
        }
    }
}

pub fn tone(entry: &ListEntry) -> Tone {
    use OutcomeKind::{OtherError, Servfail, Timeout, Unreachable};
    if let Some(connections) = &entry.connections {
        return Tone::of_share(connections.share(&["refused", "timeout", "reset"]), FAILING);
    }
    Tone::of_share(kinds(entry, &[Timeout, Unreachable, Servfail, OtherError]), FAILING)
}

fn of(entry: &ListEntry, figure: impl Fn(&Figures) -> f64) -> f64 {
    entry.figures.as_deref().map_or(-1.0, figure)
}

fn kinds(entry: &ListEntry, kinds: &[OutcomeKind]) -> f64 {
    of(entry, |figures| figures.counts.share(kinds)).max(0.0)
}
