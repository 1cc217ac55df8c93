//! The figures of one row: outcomes and latencies, since the start and of the last minute.

use crate::number::float;
use crate::window::sketch::{Binned, Quantiles};

/// How a transaction ended, as far as the view tells outcomes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NOERROR.
    Noerror,
    /// NXDOMAIN.
    Nxdomain,
    /// SERVFAIL.
    Servfail,
    /// Any other response code.
    OtherError,
    /// No response in time.
    Timeout,
    /// ICMP told that the query cannot arrive.
    Unreachable,
    /// Not known: evicted, or open when the capture stopped.
    Unsettled,
    /// A response without a query of its own: late, duplicate, orphan.
    Stray,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// By status and response code.
    #[must_use]
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

    /// Whether whoever asked was not helped. NXDOMAIN counts: the view names it, and whoever reads it
    /// knows whether the name should exist.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Noerror | Self::Unsettled | Self::Stray)
    }
}

/// Transactions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; Kind::COUNT]);

impl Counts {
    /// How many of one kind.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those that began with a query.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.sum() - self.of(Kind::Stray)
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own += other);
    }

    /// The share of some kinds in the queries whose outcome is known; zero where there are none.
    #[must_use]
    pub fn share(&self, kinds: &[Kind]) -> f64 {
        let known = self.queries() - self.of(Kind::Unsettled);
        let count: u64 = kinds.iter().map(|kind| self.of(*kind)).sum();
        if known == 0 { 0.0 } else { float(count) / float(known) }
    }
}

/// Seconds that the view calls recent.
pub const RECENT: usize = 60;

/// As many cells as there are recent seconds, and the current one.
const CELLS: usize = 64;

/// Counts of each of the last seconds.
#[derive(Clone, Debug)]
struct Recent {
    cells: Box<[[u32; Kind::COUNT]; CELLS]>,
    /// The newest second that was counted in.
    newest: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { cells: Box::new([[0; Kind::COUNT]; CELLS]), newest: 0 }
    }
}

/// The same as a number of seconds.
const SPAN: u64 = CELLS as u64;

fn cell(second: u64) -> usize {
    usize::try_from(second % SPAN).unwrap_or(0)
}

impl Recent {
    fn add(&mut self, second: u64, kind: Kind) {
        if second > self.newest {
            let first = (self.newest + 1).max((second + 1).saturating_sub(SPAN));
            (first..=second).for_each(|second| self.cells[cell(second)] = [0; Kind::COUNT]);
            self.newest = second;
        }
        if self.newest - second < SPAN {
            self.cells[cell(second)][kind as usize] += 1;
        }
    }

    fn at(&self, second: u64) -> &[u32; Kind::COUNT] {
        const NONE: [u32; Kind::COUNT] = [0; Kind::COUNT];
        let known = second <= self.newest && self.newest - second < SPAN;
        if known { &self.cells[cell(second)] } else { &NONE }
    }
}

/// Queries over all of the time, in cells that grow wider as it does.
#[derive(Clone, Debug)]
struct Whole {
    cells: Box<[u32; RECENT]>,
    /// Each cell is 2^this seconds wide.
    width: u32,
}

impl Default for Whole {
    fn default() -> Self {
        Self { cells: Box::new([0; RECENT]), width: 0 }
    }
}

impl Whole {
    /// Counts in a second since the start.
    fn add(&mut self, second: u64) {
        self.widen(second);
        if let Ok(place) = usize::try_from(second >> self.width)
            && let Some(cell) = self.cells.get_mut(place)
        {
            *cell += 1;
        }
    }

    fn widen(&mut self, second: u64) {
        while second >> self.width >= RECENT as u64 && self.width < u64::BITS - 1 {
            for place in 0..RECENT {
                let pair = self.cells.get(place * 2..place * 2 + 2).unwrap_or_default();
                self.cells[place] = pair.iter().fold(0, |sum, one| sum.saturating_add(*one));
            }
            self.width += 1;
        }
    }
}

/// Latencies: since the start, and of the current and the last half minute.
#[derive(Clone, Debug, Default)]
struct Latencies {
    whole: Quantiles,
    halves: [Quantiles; 2],
    /// Which half minute since the epoch the first of them is.
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
        let value = Binned::of(milliseconds);
        self.whole.add(value);
        self.halves[0].add(value);
    }

    fn recent(&self, now: u64) -> Quantiles {
        let mut recent = Quantiles::default();
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

/// What is counted of transactions that have something in common.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    counts: Counts,
    retries: u64,
    recent: Recent,
    whole: Whole,
    latencies: Latencies,
}

/// When something is counted, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The second that the view is in, since the Unix epoch.
    pub now: u64,
    /// The second in which the outcome was known.
    pub at: u64,
    /// The second in which the view began.
    pub start: u64,
}

/// Which time the figures are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// The last minute.
    #[default]
    Recent,
    /// All since the start.
    Whole,
}

impl Stats {
    /// Counts a transaction.
    pub fn add(&mut self, moment: Moment, kind: Kind, latency_ms: Option<f64>, retries: u32) {
        self.counts.0[kind as usize] += 1;
        self.retries += u64::from(retries);
        self.recent.add(moment.at, kind);
        if kind != Kind::Stray {
            self.whole.add(moment.at.saturating_sub(moment.start));
        }
        // Of a duplicate or a late response it is another time than the one that somebody waited.
        if let Some(latency) = latency_ms.filter(|_| kind != Kind::Stray) {
            self.latencies.add(moment.now, latency);
        }
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// The figures of some [`Stats`] together, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// By kind, of the span.
    pub counts: Counts,
    /// Queries per second: over the last ten whole seconds, or over all of the time.
    pub rate: f64,
    /// Latencies of the span.
    pub latencies: Quantiles,
    /// Queries sent again, since the start.
    pub retries: u64,
    /// Queries in each of 60 cells, the newest last.
    pub history: [u32; RECENT],
    /// Of these, those that failed, NXDOMAIN aside; of the last minute only.
    pub failures: [u32; RECENT],
}

/// Whole seconds that a rate is taken over.
const RATE_SECONDS: u64 = 10;

impl Figures {
    /// Of all `parts`, as they stand at `moment`.
    pub fn of<'a>(
        parts: impl Iterator<Item = &'a Stats> + Clone,
        moment: Moment,
        span: Span,
    ) -> Self {
        let mut figures = Self {
            counts: Counts::default(),
            rate: 0.0,
            latencies: Quantiles::default(),
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
                    *queries += if place == Kind::Stray as usize { 0 } else { *count };
                    *failures += if FAILURES[place] { *count } else { 0 };
                }
            }
            self.latencies.merge(&stats.latencies.recent(now));
        }
        // The current second is not over; before ten are, there are fewer.
        let seconds = now.saturating_sub(start).clamp(1, RATE_SECONDS);
        let before = usize::from(now > start);
        let cells = self.history.iter().rev().skip(before);
        let queries: u32 = cells.take(usize::try_from(seconds).unwrap_or(1)).sum();
        self.rate = f64::from(queries) / float(seconds);
    }

    fn add_whole<'a>(&mut self, parts: impl Iterator<Item = &'a Stats>, moment: Moment) {
        let elapsed = moment.now.saturating_sub(moment.start);
        for stats in parts {
            self.counts.add(&stats.counts);
            self.latencies.merge(&stats.latencies.whole);
            let mut whole = stats.whole.clone();
            whole.widen(elapsed);
            for (own, other) in self.history.iter_mut().zip(*whole.cells) {
                *own += other;
            }
        }
        // The newest cell is the last one, as in a minute's history.
        let width = (0..u64::BITS).find(|width| elapsed >> width < RECENT as u64).unwrap_or(0);
        let used = usize::try_from(elapsed >> width).map_or(RECENT, |last| last + 1);
        self.history.rotate_right(RECENT - used.min(RECENT));
        self.rate = float(self.counts.queries()) / float(elapsed.max(1));
    }
}

/// By kind: see [`Kind::is_failure`]. In a chart NXDOMAIN is no failure: names that do not exist are
/// always asked for, and would hide what is wrong.
const FAILURES: [bool; Kind::COUNT] = [false, false, true, true, true, true, false, false];

#[cfg(test)]
mod tests;
