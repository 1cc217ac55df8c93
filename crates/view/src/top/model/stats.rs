//! Statistics of one row: outcomes and latencies, since the start and of the last minute.

use super::table::Side;
use dnscribe_record::Merge as _;
use dnscribe_record::number::to_f64;
use dnscribe_sketch::{Binned, QuantileSketch};

/// Outcome of a transaction, as the view distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    Noerror,
    Nxdomain,
    Servfail,
    /// Any other response code.
    OtherError,
    /// No response in time.
    Timeout,
    /// ICMP error: the query could not arrive.
    Unreachable,
    /// Unknown: evicted, or open when capture stopped.
    Unsettled,
    /// A response without a query of its own: late, duplicate, orphan.
    Stray,
}

impl OutcomeKind {
    pub const COUNT: usize = 8;

    pub fn of(status: &str, rcode: Option<&str>) -> Self {
        match (status, rcode) {
            ("answered", None | Some("NOERROR")) => Self::Noerror,
            ("answered", Some("NXDOMAIN")) => Self::Nxdomain,
            ("answered", Some("SERVFAIL")) => Self::Servfail,
            ("answered", Some(_)) => Self::OtherError,
            ("timeout", _) => Self::Timeout,
            ("icmp_error", _) => Self::Unreachable,
            ("late" | "duplicate" | "orphan", _) => Self::Stray,
            _ => Self::Unsettled,
        }
    }

    /// Whether it is a failure for the client. NXDOMAIN counts as one: the reader knows whether the name should
    /// exist.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Noerror | Self::Unsettled | Self::Stray)
    }
}

/// Transactions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; OutcomeKind::COUNT]);

impl Counts {
    pub const fn get(&self, kind: OutcomeKind) -> u64 {
        self.0[kind as usize]
    }

    /// Number of transactions of all kinds.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Number of transactions that began with a query.
    pub fn queries(&self) -> u64 {
        self.sum() - self.get(OutcomeKind::Stray)
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own += other);
    }

    /// Number of queries with a known outcome, as windows count them.
    pub fn settled(&self) -> u64 {
        self.queries() - self.get(OutcomeKind::Unsettled)
    }

    /// Share of some kinds in the queries with a known outcome; zero where there are none.
    pub fn share(&self, kinds: &[OutcomeKind]) -> f64 {
        let known = self.settled();
        let count: u64 = kinds.iter().map(|kind| self.get(*kind)).sum();
        if known == 0 { 0.0 } else { to_f64(count) / to_f64(known) }
    }
}

/// Length of the recent time in seconds.
pub const RECENT: usize = 60;

/// Number of cells, one for each second: at least the recent ones and the current one.
const CELLS: usize = 64;

/// Counts by second, of the last seconds.
#[derive(Clone, Debug, Default)]
struct Recent {
    /// [`CELLS`] of them from the first count on.
    cells: Vec<[u32; OutcomeKind::COUNT]>,
    /// Newest second with a count.
    newest: u64,
}

/// [`CELLS`] as a number of seconds.
const SPAN: u64 = CELLS as u64;

fn cell(second: u64) -> usize {
    usize::try_from(second % SPAN).unwrap_or(0)
}

impl Recent {
    fn add(&mut self, second: u64, kind: OutcomeKind) {
        self.cells.resize(CELLS, [0; OutcomeKind::COUNT]);
        if second > self.newest {
            let first = (self.newest + 1).max((second + 1).saturating_sub(SPAN));
            (first..=second).for_each(|second| self.cells[cell(second)] = [0; OutcomeKind::COUNT]);
            self.newest = second;
        }
        if self.newest - second < SPAN {
            self.cells[cell(second)][kind as usize] += 1;
        }
    }

    fn at(&self, second: u64) -> &[u32; OutcomeKind::COUNT] {
        const NONE: [u32; OutcomeKind::COUNT] = [0; OutcomeKind::COUNT];
        let is_known = second <= self.newest && self.newest - second < SPAN;
        self.cells.get(cell(second)).filter(|_| is_known).unwrap_or(&NONE)
    }
}

/// Queries since the start, in cells whose width doubles as time goes on.
#[derive(Clone, Debug, Default)]
struct Whole {
    /// [`RECENT`] of them from the first count on.
    cells: Vec<u32>,
    /// Binary logarithm of a cell's width in seconds.
    width: u32,
}

impl Whole {
    /// Counts a query. `second` is relative to the start.
    fn add(&mut self, second: u64) {
        self.cells.resize(RECENT, 0);
        self.widen(second);
        if let Ok(place) = usize::try_from(second >> self.width)
            && let Some(cell) = self.cells.get_mut(place)
        {
            *cell += 1;
        }
    }

    fn widen(&mut self, second: u64) {
        while second >> self.width >= RECENT as u64 && self.width < u64::BITS - 1 {
            for place in 0..self.cells.len() {
                let pair = self.cells.get(place * 2..place * 2 + 2).unwrap_or_default();
                self.cells[place] = pair.iter().fold(0, |sum, one| sum.saturating_add(*one));
            }
            self.width += 1;
        }
    }
}

/// Latencies since the start, and of the current and the last half minute.
#[derive(Clone, Debug, Default)]
struct Latencies {
    whole: QuantileSketch,
    halves: [QuantileSketch; 2],
    /// Number of the current half minute since the epoch.
    half: u64,
}

const HALF: u64 = RECENT as u64 / 2;

impl Latencies {
    fn add(&mut self, now: u64, milliseconds: f64) {
        let half = now / HALF;
        if half > self.half {
            let [current, _] = std::mem::take(&mut self.halves);
            if half == self.half + 1 {
                self.halves[1] = current;
            }
            self.half = half;
        }
        let value = Binned::new(milliseconds);
        self.whole.add(value);
        self.halves[0].add(value);
    }

    fn recent(&self, now: u64) -> QuantileSketch {
        let mut recent = QuantileSketch::default();
        let age = (now / HALF).saturating_sub(self.half);
        if age <= 1 {
            recent.merge(&self.halves[0]);
        }
        if age == 0 {
            recent.merge(&self.halves[1]);
        }
        recent
    }
}

/// Statistics of a group of transactions.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Counts since the start.
    pub counts: Counts,
    retries: u64,
    recent: Recent,
    whole: Whole,
    latencies: Latencies,
}

/// Times of a transaction, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Current time of the view.
    pub now: u64,
    /// Time at which the outcome was known.
    pub at: u64,
    /// Start of the view.
    pub start: u64,
}

/// Time span of figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// The last minute.
    #[default]
    Recent,
    /// The time since the start.
    Whole,
}

/// A transaction, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub moment: Moment,
    pub side: Side,
    pub kind: OutcomeKind,
    /// Latency of the response in milliseconds.
    pub latency_ms: Option<f64>,
    /// Number of retransmissions.
    pub retries: u32,
    /// Process id; 0 where it is unknown.
    pub pid: u32,
}

impl Stats {
    pub fn add(&mut self, event: &Event) {
        let Event { moment, kind, latency_ms, retries, .. } = *event;
        self.counts.0[kind as usize] += 1;
        self.recent.add(moment.at, kind);
        // The latency of a duplicate or late response is not the client's waiting time; its query was counted.
        if kind != OutcomeKind::Stray {
            self.retries += u64::from(retries);
            self.whole.add(moment.at.saturating_sub(moment.start));
            if let Some(latency) = latency_ms {
                self.latencies.add(moment.now, latency);
            }
        }
    }
}

/// Figures of several [`Stats`], at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Counts by kind, of the span.
    pub counts: Counts,
    /// Queries per second, over the last ten complete seconds or since the start.
    pub rate: f64,
    pub latencies: QuantileSketch,
    /// Retransmissions since the start.
    pub retries: u64,
    /// Queries in each of 60 cells, the newest last.
    pub history: [u32; RECENT],
    /// Failures among them, without NXDOMAIN; of the last minute only.
    pub failures: [u32; RECENT],
}

/// Complete seconds over which a rate is computed.
const RATE_SECONDS: u64 = 10;

impl Figures {
    /// Computes the figures of all `parts` at `moment`.
    pub fn of<'a>(
        parts: impl Iterator<Item = &'a Stats> + Clone,
        moment: Moment,
        span: Span,
    ) -> Self {
        let mut figures = Self {
            counts: Counts::default(),
            rate: 0.0,
            latencies: QuantileSketch::default(),
            retries: parts.clone().map(|stats| stats.retries).sum(),
            history: [0; RECENT],
            failures: [0; RECENT],
        };
        match span {
            Span::Recent => figures.add_recent(parts, moment),
            Span::Whole => figures.add_whole(parts, moment),
        }
        figures
    }

    fn add_recent<'a>(&mut self, parts: impl Iterator<Item = &'a Stats>, moment: Moment) {
        let Moment { now, start, .. } = moment;
        for stats in parts {
            let cells = self.history.iter_mut().zip(&mut self.failures).rev();
            for (second, (queries, failures)) in (0..=now).rev().zip(cells) {
                for (place, count) in stats.recent.at(second).iter().enumerate() {
                    self.counts.0[place] += u64::from(*count);
                    *queries += if place == OutcomeKind::Stray as usize { 0 } else { *count };
                    *failures += if FAILURES[place] { *count } else { 0 };
                }
            }
            self.latencies.merge(&stats.latencies.recent(now));
        }
        // The current second is not complete. There are fewer than ten after the start.
        let seconds = now.saturating_sub(start).clamp(1, RATE_SECONDS);
        let before = usize::from(now > start);
        let cells = self.history.iter().rev().skip(before);
        let queries: u32 = cells.take(usize::try_from(seconds).unwrap_or(1)).sum();
        self.rate = f64::from(queries) / to_f64(seconds);
    }

    fn add_whole<'a>(&mut self, parts: impl Iterator<Item = &'a Stats>, moment: Moment) {
        let elapsed = moment.now.saturating_sub(moment.start);
        for stats in parts {
            self.counts.add(&stats.counts);
            self.latencies.merge(&stats.latencies.whole);
            let mut whole = stats.whole.clone();
            whole.widen(elapsed);
            for (own, other) in self.history.iter_mut().zip(whole.cells) {
                *own += other;
            }
        }
        // The newest cell is the last one, as in a minute's history.
        let width = (0..u64::BITS).find(|width| elapsed >> width < RECENT as u64).unwrap_or(0);
        let used = usize::try_from(elapsed >> width).map_or(RECENT, |last| last + 1);
        self.history.rotate_right(RECENT - used.min(RECENT));
        self.rate = to_f64(self.counts.queries()) / to_f64(elapsed.max(1));
    }
}

/// Failures by kind, as charts show them: like [`OutcomeKind::is_failure`] but without NXDOMAIN, which is
/// common and would hide other failures.
const FAILURES: [bool; OutcomeKind::COUNT] = [false, false, true, true, true, true, false, false];

#[cfg(test)]
mod tests;
