//! Rows by key, bounded: when the table is full, the least active rows are evicted and counted as `other`.

use super::stats::{Counts, Figures, Moment, OutcomeKind, Span, Stats};
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
    /// Number of sides.
    pub const COUNT: usize = 4;
}

/// Sides that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vantage {
    /// Each query once: all sides but [`Side::ServerRepeat`].
    #[default]
    Once,
    /// Clients' sockets.
    Client,
    /// Servers' sockets.
    Server,
    /// On the way.
    Passive,
    /// All: a query that was captured at both sockets counts twice.
    All,
}

impl Vantage {
    /// Every choice, in the order of the key `v`.
    pub const ALL: [Self; 5] = [Self::Once, Self::Client, Self::Server, Self::Passive, Self::All];

    /// Name, as in flags.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Client => "client",
            Self::Server => "server",
            Self::Passive => "passive",
            Self::All => "all",
        }
    }

    /// Whether a side is shown.
    #[must_use]
    pub const fn shows(self, side: Side) -> bool {
        match self {
            Self::Once => !matches!(side, Side::ServerRepeat),
            Self::Client => matches!(side, Side::Client),
            Self::Server => matches!(side, Side::Server | Side::ServerRepeat),
            Self::Passive => matches!(side, Side::Passive),
            Self::All => true,
        }
    }
}

const SIDES: [Side; Side::COUNT] = [Side::Client, Side::Server, Side::ServerRepeat, Side::Passive];

/// Statistics by side, created when needed.
#[derive(Clone, Debug, Default)]
pub struct BySide([Option<Box<Stats>>; Side::COUNT]);

impl BySide {
    /// Statistics of one side.
    pub fn of(&mut self, side: Side) -> &mut Stats {
        self.0[side as usize].get_or_insert_default()
    }

    /// Statistics of the sides that are shown.
    pub fn shown(&self, vantage: Vantage) -> impl Iterator<Item = &Stats> + Clone {
        let shown = SIDES.iter().filter(move |side| vantage.shows(**side));
        shown.filter_map(|side| self.0[*side as usize].as_deref())
    }

    /// Figures of the sides that are shown.
    #[must_use]
    pub fn figures(&self, vantage: Vantage, moment: Moment, span: Span) -> Figures {
        Figures::of(self.shown(vantage), moment, span)
    }
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Statistics of the row.
    pub stats: BySide,
    /// Second of the last transaction.
    pub last: u64,
    /// Last process, if known.
    pub pid: u32,
    /// Recent activity; halved with each eviction.
    weight: f32,
}

/// Rows by key.
#[derive(Clone, Debug)]
pub struct Table {
    rows: HashMap<Box<str>, Row, RandomState>,
    capacity: usize,
    evicted: [Counts; Side::COUNT],
}

/// A transaction, as tables count it.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Time.
    pub moment: Moment,
    /// Side.
    pub side: Side,
    /// Outcome.
    pub kind: OutcomeKind,
    /// Latency of the response in milliseconds.
    pub latency_ms: Option<f64>,
    /// Number of retransmissions.
    pub retries: u32,
    /// Process id; 0 where it is unknown.
    pub pid: u32,
}

impl Table {
    /// Creates an empty table of at most `capacity` rows.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { rows: HashMap::default(), capacity, evicted: Default::default() }
    }

    /// Counts a transaction in the row of `key`.
    pub fn add(&mut self, key: &str, event: &Event) {
        if !self.rows.contains_key(key) {
            self.evict();
            self.rows.insert(key.into(), Row::default());
        }
        let Some(row) = self.rows.get_mut(key) else { return };
        let stats = row.stats.of(event.side);
        stats.add(event.moment, event.kind, event.latency_ms, event.retries);
        row.last = event.moment.at.max(row.last);
        row.weight += 1.0;
        if event.pid != 0 {
            row.pid = event.pid;
        }
    }

    /// Evicts a quarter of a full table, so that one search makes space for many rows.
    fn evict(&mut self) {
        if self.rows.len() < self.capacity {
            return;
        }
        let Some(limit) = lightest_quarter(self.rows.values().map(|row| row.weight)) else {
            return;
        };
        let mut surplus = self.capacity / 4 + 1;
        let evicted = &mut self.evicted;
        self.rows.retain(|_, row| {
            if row.weight > limit || surplus == 0 {
                row.weight /= 2.0;
                return true;
            }
            surplus -= 1;
            for (sum, stats) in evicted.iter_mut().zip(&row.stats.0) {
                if let Some(stats) = stats {
                    sum.add(stats.counts());
                }
            }
            false
        });
    }

    /// Every row, unordered.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(key, row)| (&**key, row))
    }

    /// Counts of evicted rows.
    #[must_use]
    pub fn other(&self, vantage: Vantage) -> Counts {
        let mut sum = Counts::default();
        for (side, counts) in SIDES.iter().zip(&self.evicted) {
            if vantage.shows(*side) {
                sum.add(counts);
            }
        }
        sum
    }
}

/// Returns the weight that a quarter of the rows do not exceed; none where there is no row.
pub fn lightest_quarter(weights: impl Iterator<Item = f32>) -> Option<f32> {
    let mut weights: Vec<f32> = weights.collect();
    let place = weights.len() / 4;
    (place < weights.len()).then(|| *weights.select_nth_unstable_by(place, f32::total_cmp).1)
}
