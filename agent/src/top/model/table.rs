//! Rows by key, bounded: where there are too many, those least asked for lately become `other`.

use super::stats::{Counts, Figures, Kind, Moment, Span, Stats};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// From which side a transaction was seen, and whether it is the second sight of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// At the socket that asks.
    Client,
    /// At the socket that answers, where the query came from elsewhere.
    Server,
    /// At the socket that answers a query whose client was seen, too.
    Again,
    /// In between.
    Passive,
}

impl Sight {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// Which sights are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vantage {
    /// Each query once: all but those that are seen again.
    #[default]
    Once,
    /// Sockets that ask.
    Client,
    /// Sockets that answer.
    Server,
    /// In between.
    Passive,
    /// All: a query seen from both sides counts twice.
    All,
}

impl Vantage {
    /// Every choice, in the order in which a key goes through them.
    pub const ALL: [Self; 5] = [Self::Once, Self::Client, Self::Server, Self::Passive, Self::All];

    /// As flags spell it.
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

    /// Whether a sight is shown.
    #[must_use]
    pub const fn shows(self, sight: Sight) -> bool {
        match self {
            Self::Once => !matches!(sight, Sight::Again),
            Self::Client => matches!(sight, Sight::Client),
            Self::Server => matches!(sight, Sight::Server | Sight::Again),
            Self::Passive => matches!(sight, Sight::Passive),
            Self::All => true,
        }
    }
}

const SIGHTS: [Sight; Sight::COUNT] = [Sight::Client, Sight::Server, Sight::Again, Sight::Passive];

/// The statistics of each sight, made as they are needed.
#[derive(Clone, Debug, Default)]
pub struct BySight([Option<Box<Stats>>; Sight::COUNT]);

impl BySight {
    /// Those of one sight.
    pub fn of(&mut self, sight: Sight) -> &mut Stats {
        self.0[sight as usize].get_or_insert_default()
    }

    /// Those shown.
    pub fn shown(&self, vantage: Vantage) -> impl Iterator<Item = &Stats> + Clone {
        let shown = SIGHTS.iter().filter(move |sight| vantage.shows(**sight));
        shown.filter_map(|sight| self.0[*sight as usize].as_deref())
    }

    /// What those shown come to.
    #[must_use]
    pub fn figures(&self, vantage: Vantage, moment: Moment, span: Span) -> Figures {
        Figures::of(self.shown(vantage), moment, span)
    }
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its figures.
    pub stats: BySight,
    /// The second in which it was last counted in.
    pub last: u64,
    /// The process that last asked, where one is known.
    pub pid: u32,
    /// Counted down again with each eviction: how much it is asked for lately.
    weight: f32,
}

/// Rows by key.
#[derive(Clone, Debug)]
pub struct Table {
    rows: HashMap<Box<str>, Row, RandomState>,
    capacity: usize,
    evicted: [Counts; Sight::COUNT],
}

/// One transaction, as tables count it.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// When.
    pub moment: Moment,
    /// From where.
    pub sight: Sight,
    /// How it ended.
    pub kind: Kind,
    /// Milliseconds to the response.
    pub latency_ms: Option<f64>,
    /// Times sent again.
    pub retries: u32,
    /// The process; 0 where it is not known.
    pub pid: u32,
}

impl Table {
    /// An empty table of at most `capacity` rows.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { rows: HashMap::default(), capacity, evicted: Default::default() }
    }

    /// Counts a transaction in the row of `key`.
    pub fn add(&mut self, key: &str, event: &Event) {
        if !self.rows.contains_key(key) {
            self.make_room();
            self.rows.insert(key.into(), Row::default());
        }
        let Some(row) = self.rows.get_mut(key) else { return };
        let stats = row.stats.of(event.sight);
        stats.add(event.moment, event.kind, event.latency_ms, event.retries);
        row.last = event.moment.at.max(row.last);
        row.weight += 1.0;
        if event.pid != 0 {
            row.pid = event.pid;
        }
    }

    /// Where the table is full, a quarter of it goes: one search serves many rows.
    fn make_room(&mut self) {
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

    /// Every row, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(key, row)| (&**key, row))
    }

    /// What was counted in rows that are no longer there.
    #[must_use]
    pub fn other(&self, vantage: Vantage) -> Counts {
        let mut sum = Counts::default();
        for (sight, counts) in SIGHTS.iter().zip(&self.evicted) {
            if vantage.shows(*sight) {
                sum.add(counts);
            }
        }
        sum
    }
}

/// The weight that a quarter of the rows do not exceed; none where there is no row.
pub fn lightest_quarter(weights: impl Iterator<Item = f32>) -> Option<f32> {
    let mut weights: Vec<f32> = weights.collect();
    let place = weights.len() / 4;
    (place < weights.len()).then(|| *weights.select_nth_unstable_by(place, f32::total_cmp).1)
}
