//! Entries by key, bounded: when a table is full, the least active entries are evicted and counted as `other`.

use super::stats::{Counts, Event, Figures, Moment, OutcomeKind, Span, Stats};
use dnscribe_record::named_enum;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Side from which a transaction was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At the client's socket.
    Client,
    /// At the server's socket; the client's socket was not captured.
    Server,
    /// At the server's socket; the same query was captured at the client's socket, too.
    ServerRepeat,
    /// On the way.
    Passive,
}

impl Side {
    pub const ALL: [Self; 4] = [Self::Client, Self::Server, Self::ServerRepeat, Self::Passive];
}

named_enum! {
    /// Sides that are shown, in the order of the key `v`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Vantage: "a side" {
        /// Each query once: all sides but the second of a query that was captured at both sockets.
        #[default]
        Once = "once",
        /// Queries captured at a client's socket.
        Client = "client",
        /// Queries captured at a server's socket.
        Server = "server",
        /// Queries captured on the way.
        Passive = "passive",
        /// All: a query that was captured at both sockets counts twice.
        All = "all",
    }
}

impl Vantage {
    pub(crate) const fn shows(self, side: Side) -> bool {
        match self {
            Self::Once => !matches!(side, Side::ServerRepeat),
            Self::Client => matches!(side, Side::Client),
            Self::Server => matches!(side, Side::Server | Side::ServerRepeat),
            Self::Passive => matches!(side, Side::Passive),
            Self::All => true,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BySide<T>(pub [T; Side::ALL.len()]);

impl<T> BySide<T> {
    pub const fn of(&mut self, side: Side) -> &mut T {
        &mut self.0[side as usize]
    }

    /// The sides that are shown.
    pub fn shown(&self, vantage: Vantage) -> impl Iterator<Item = &T> + Clone {
        let shown = Side::ALL.iter().zip(&self.0).filter(move |(side, _)| vantage.shows(**side));
        shown.map(|(_, one)| one)
    }
}

/// Statistics by side, created when needed.
pub type StatsBySide = BySide<Option<Box<Stats>>>;

impl StatsBySide {
    pub fn add(&mut self, event: &Event) {
        self.of(event.side).get_or_insert_default().add(event);
    }

    /// Figures of the sides that are shown.
    pub fn figures(&self, vantage: Vantage, moment: Moment, span: Span) -> Figures {
        Figures::of(self.shown(vantage).filter_map(Option::as_deref), moment, span)
    }
}

/// Entries by key, each with its recent activity, which is halved with each eviction.
#[derive(Clone, Debug, Default)]
pub struct Table<T>(HashMap<Box<str>, (f32, T), RandomState>);

impl<T: Default> Table<T> {
    /// Returns the entry of `key` after adding to its activity. Where there are `capacity` others, `evicted` gets the
    /// entries that make space for it.
    pub fn add(
        &mut self,
        key: &str,
        activity: f32,
        capacity: usize,
        evicted: impl FnMut(&T),
    ) -> Option<&mut T> {
        if !self.0.contains_key(key) {
            if self.0.len() >= capacity {
                self.evict(evicted);
            }
            self.0.insert(key.into(), Default::default());
        }
        let (weight, entry) = self.0.get_mut(key)?;
        *weight += activity;
        Some(entry)
    }

    /// Evicts a quarter of a full table, so that one search makes space for many entries.
    fn evict(&mut self, mut evicted: impl FnMut(&T)) {
        let mut weights: Vec<f32> = self.0.values().map(|(weight, _)| *weight).collect();
        let quarter = weights.len() / 4;
        let limit = *weights.select_nth_unstable_by(quarter, f32::total_cmp).1;
        let mut surplus = quarter + 1;
        self.0.retain(|_, (weight, entry)| {
            if *weight > limit || surplus == 0 {
                *weight /= 2.0;
                return true;
            }
            surplus -= 1;
            evicted(entry);
            false
        });
    }

    /// Every entry, unordered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, (_, entry))| (&**key, entry))
    }
}

/// Statistics of the transactions of one key.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub stats: StatsBySide,
    /// Second of the last transaction.
    pub last: u64,
    /// Last process, if known.
    pub pid: u32,
}

/// The rows of a group, and the counts of those that were evicted.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub rows: Table<Row>,
    pub other: BySide<Counts>,
}

impl Rows {
    /// Counts a transaction in the row of `key`.
    pub fn add(&mut self, key: &str, capacity: usize, event: &Event) {
        let Self { rows, other } = self;
        let evicted = |row: &Row| {
            for (sum, stats) in other.0.iter_mut().zip(&row.stats.0) {
                sum.add(&stats.as_ref().map_or_else(Counts::default, |stats| stats.counts));
            }
        };
        let Some(row) = rows.add(key, 1.0, capacity, evicted) else { return };
        row.stats.add(event);
        row.last = event.moment.at.max(row.last);
        row.pid = if event.pid == 0 { row.pid } else { event.pid };
    }
}

/// Capacity in facts; each takes about 300 bytes with names of usual length.
pub const FACTS: usize = 16_384;

/// Number of transactions with the same key, and the last of them.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    pub counts: BySide<u64>,
    /// Second of the last one.
    pub last: u64,
    pub latency_ms: Option<f64>,
    /// Process id of the last one; 0 where it is unknown.
    pub pid: u32,
    /// Event id of the last one, if it is valid.
    pub event_id: Option<u128>,
    /// Outcome of the last one.
    pub kind: Option<OutcomeKind>,
}

impl Table<Fact> {
    /// Counts a transaction as a fact.
    pub fn add_fact(&mut self, key: &str, event: &Event, event_id: Option<u128>) {
        // Failures stay longer than successes: users drill down to find them.
        let activity = if event.kind.is_failure() { 8.0 } else { 1.0 };
        let Some(fact) = self.add(key, activity, FACTS, |_| {}) else { return };
        *fact.counts.of(event.side) += 1;
        fact.last = event.moment.at.max(fact.last);
        fact.latency_ms = event.latency_ms;
        fact.event_id = event_id;
        fact.kind = Some(event.kind);
        fact.pid = if event.pid == 0 { fact.pid } else { event.pid };
    }
}
