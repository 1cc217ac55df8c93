//! Numbers that are far from what is usual: query rate, latency, and the shares of NXDOMAIN, SERVFAIL
//! and queries without an answer, of each resolver, zone, pod, process and of the node.
//!
//! Learned from whole minutes, compared each ten seconds with the last minute. Something is found only
//! where it is statistically surprising (z-score), large (a threshold), and among enough queries.

mod view;

use super::baseline::Usual as Learned;
use super::finding::{Baseline, Detector, Finding};
use super::minute::{Minute, Place};
use super::options::DetectOptions;
use crate::number::float;
use crate::time::Timestamp;
use crate::window::{Grouping, Groups, Span};
use std::collections::BTreeMap;
use std::time::Duration;
use view::{Thresholds, View};

/// Entities with a baseline.
const FOLLOWED: usize = 512;
/// An entity that was not seen for so long makes room for another.
const FORGET: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);
/// Minutes of silence that are learned at once: a longer one is a gap in the capture, not a habit.
const SILENCE: u64 = 60;
/// How late the last minute's numbers may be: what is older is no longer so.
const STALE: Duration = Duration::from_secs(90);

/// Whose baselines are learned.
const GROUPINGS: [Grouping; 5] =
    [Grouping::Node, Grouping::Resolver, Grouping::Zone, Grouping::Process, Grouping::Pod];

/// Smallest believable deviations: of a share, and of the logarithm of a latency (15 %).
const SHARE_FLOOR: f64 = 0.005;
const LATENCY_FLOOR: f64 = 0.15;
/// What is learned of an entity, each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    QueryRate,
    Median,
    Percentile95,
    Nxdomain,
    Servfail,
    Unanswered,
}

impl Number {
    const ALL: [Self; 6] = [
        Self::QueryRate,
        Self::Median,
        Self::Percentile95,
        Self::Nxdomain,
        Self::Servfail,
        Self::Unanswered,
    ];

    /// The value that is learned, with the smallest deviation that is believed of it; latencies as
    /// logarithms. None where the minute says nothing of it.
    fn of(self, minute: &Minute, mean: f64) -> Option<(f64, f64)> {
        let share = |part: f64, whole: f64| {
            let whole = Some(whole).filter(|whole| *whole > 0.0)?;
            // Shares of few queries scatter by chance.
            let usual = mean.clamp(1.0 / whole, 1.0).min(0.5);
            Some((part / whole, (usual * (1.0 - usual) / whole).sqrt().max(SHARE_FLOOR)))
        };
        let responses = float(minute.responses);
        match self {
            Self::QueryRate => {
                let by_chance = mean.max(0.0) / MINUTE.as_secs_f64();
                let floor = by_chance.sqrt().max(0.1 * mean).max(0.1);
                let queries = float(minute.queries + minute.untold);
                (!minute.is_thinned).then_some((queries / MINUTE.as_secs_f64(), floor))
            }
            Self::Median => minute.latency.map(|[p50, _]| (log(p50), LATENCY_FLOOR)),
            Self::Percentile95 => minute.latency.map(|[_, p95]| (log(p95), LATENCY_FLOOR)),
            Self::Nxdomain => share(float(minute.nxdomain), responses),
            Self::Servfail => share(float(minute.servfail), responses),
            Self::Unanswered => share(float(minute.unanswered), float(minute.queries)),
        }
    }
}

/// What is usual of everybody.
#[derive(Debug)]
pub(super) struct Usual {
    thresholds: Thresholds,
    followed: BTreeMap<Place, Followed>,
    /// The last minute, which slides, and its end; whether the capture began in it.
    now: BTreeMap<Place, Minute>,
    end: Timestamp,
    partial: bool,
    /// The end of the last minute that was learned.
    learned: Option<Timestamp>,
}

/// An entity's baselines.
#[derive(Debug, Default)]
struct Followed {
    numbers: [Learned; Number::ALL.len()],
    /// What was wrong when it was last looked at.
    wrong: [bool; Number::ALL.len()],
    seen: Timestamp,
}

impl Followed {
    fn learn(&mut self, at: Timestamp, minute: &Minute) {
        for (place, number) in Number::ALL.into_iter().enumerate() {
            let learned = &mut self.numbers[place];
            if let Some((value, floor)) = number.of(minute, learned.mean()) {
                learned.learn(at, value, floor, self.wrong[place]);
            }
        }
    }

    fn compare(&self, number: Number, at: Timestamp, minute: &Minute) -> Option<(f64, Baseline)> {
        let learned = &self.numbers[number as usize];
        let (value, floor) = number.of(minute, learned.mean())?;
        Some((value, learned.compare(at, value, floor)?))
    }
}

impl Usual {
    pub(super) fn new(options: &DetectOptions) -> Self {
        Self {
            thresholds: Thresholds::of(options),
            followed: BTreeMap::new(),
            now: BTreeMap::new(),
            end: Timestamp::default(),
            partial: true,
            learned: None,
        }
    }

    pub(super) const fn reconfigure(&mut self, options: &DetectOptions) {
        self.thresholds = Thresholds::of(options);
    }

    /// Learns a minute. Who is absent asked nothing.
    fn learn(&mut self, span: &Span, mut minutes: BTreeMap<Place, Minute>) {
        let missed = self.learned.map_or(0, |end| span.start.since(end).as_secs() / 60);
        if missed <= SILENCE {
            for before in (1..=missed).rev() {
                let at = Timestamp::from_nanos(span.start.as_nanos() - before * 60_000_000_000);
                let silence = Minute::default();
                self.followed.values_mut().for_each(|followed| followed.learn(at, &silence));
            }
        }
        self.learned = Some(span.start.plus(span.length));
        for (place, followed) in &mut self.followed {
            let minute = minutes.remove(place);
            if minute.is_some() {
                followed.seen = span.start;
            }
            followed.learn(span.start, &minute.unwrap_or_default());
        }
        if self.followed.len() + minutes.len() > FOLLOWED {
            self.followed.retain(|_, followed| span.start.since(followed.seen) < FORGET);
        }
        for (place, minute) in minutes {
            if self.followed.len() < FOLLOWED {
                let followed = self.followed.entry(place).or_default();
                followed.seen = span.start;
                followed.learn(span.start, &minute);
            }
        }
    }
}

impl Detector for Usual {
    fn window(&mut self, span: &Span, groups: &Groups) {
        if span.length != MINUTE {
            return;
        }
        if span.step == MINUTE {
            if !span.partial {
                self.learn(span, Minute::of(groups, &GROUPINGS));
            }
        } else {
            self.now = Minute::of(groups, &GROUPINGS);
            self.end = span.start.plus(span.length);
            self.partial = span.partial;
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        if now.since(self.end) > STALE {
            self.now.clear();
            self.partial = false;
        }
        let Self { thresholds, followed, now: minutes, partial, .. } = self;
        let view = View { thresholds, at: now, partial: *partial };
        let strangers = minutes.iter().filter(|(place, _)| !followed.contains_key(*place));
        for (place, minute) in strangers {
            view.look(place, minute, &Followed::default(), each);
        }
        for (place, followed) in followed {
            let minute = minutes.get(place).copied().unwrap_or_default();
            followed.wrong = view.look(place, &minute, followed, each);
        }
    }
}

/// A logarithm: what is twice as slow is as surprising at a millisecond as at a second.
fn log(ms: f64) -> f64 {
    ms.max(0.001).ln()
}

#[cfg(test)]
mod tests;
