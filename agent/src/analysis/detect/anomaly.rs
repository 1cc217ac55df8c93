//! Rules `query_rate`, `latency`, `nxdomain`, `servfail` and `timeout`: values of a resolver, zone,
//! pod, process or of the node that are far from their baseline.
//!
//! Baselines are learned from whole minutes. Every ten seconds the last minute is compared with
//! them. A finding must be statistically significant (z-score), large (threshold), and based on
//! enough queries. While an entity was not observed for long enough, there is none: the rule is
//! learning.

mod comparison;
mod range;

use super::alert::{AlertCounters, EntityCounts};
use super::finding::{Baseline, Detector, Finding, Rule};
use super::group_stats::{GroupKey, GroupStats};
use super::options::DetectOptions;
use crate::analysis::window::{Grouping, Groups, Span};
use comparison::Comparison;
use dnscribe_baseline::LearnedBaseline;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use range::DayRange;
use std::collections::BTreeMap;
use std::time::Duration;

/// Maximum number of entities with a baseline.
const MAX_ENTITIES: usize = 512;
/// Time after which an absent entity may be replaced by another one.
const FORGET: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);
/// Maximum number of minutes without a window that are learned as silence: a longer time is a gap
/// in the capture.
const MAX_SILENCE: u64 = 60;
/// Maximum age of the last minute's values.
const STALE: Duration = Duration::from_secs(90);

/// Groupings of which baselines are learned.
const GROUPINGS: [Grouping; 5] =
    [Grouping::Node, Grouping::Resolver, Grouping::Zone, Grouping::Process, Grouping::Pod];

/// Smallest deviation assumed of a share, and of the logarithm of a latency (15 %).
const SHARE_FLOOR: f64 = 0.005;
const LATENCY_FLOOR: f64 = 0.15;

dnscribe_record::named_enum! {
    /// Values that are learned of each entity, with their names in evidence.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    enum Metric {
        QueryRate = "query_rate",
        Median = "latency_p50_ms",
        Percentile95 = "latency_p95_ms",
        Nxdomain = "nxdomain_ratio",
        Servfail = "servfail_ratio",
        Unanswered = "unanswered_ratio",
        Failed = "failed_ratio",
    }
}

impl Metric {
    /// Returns the value of a minute, and the smallest deviation to assume for it; latencies as
    /// logarithms. `None` if the minute has no such value.
    fn value(self, stats: &GroupStats, mean: f64) -> Option<(f64, f64)> {
        let share = |part: f64, whole: f64| {
            let whole = Some(whole).filter(|whole| *whole > 0.0)?;
            // The share of a few queries varies by chance.
            let usual = mean.clamp(1.0 / whole, 1.0).min(0.5);
            Some((part / whole, (usual * (1.0 - usual) / whole).sqrt().max(SHARE_FLOOR)))
        };
        let responses = to_f64(stats.responses);
        match self {
            Self::QueryRate => {
                let by_chance = mean.max(0.0) / MINUTE.as_secs_f64();
                let floor = by_chance.sqrt().max(0.1 * mean).max(0.1);
                let queries = to_f64(stats.queries + stats.untold);
                (!stats.is_thinned).then_some((queries / MINUTE.as_secs_f64(), floor))
            }
            Self::Median => stats.latency.map(|[p50, _]| (log(p50), LATENCY_FLOOR)),
            Self::Percentile95 => stats.latency.map(|[_, p95]| (log(p95), LATENCY_FLOOR)),
            Self::Nxdomain => share(to_f64(stats.nxdomain), responses),
            Self::Servfail => share(to_f64(stats.servfail), responses),
            Self::Unanswered => share(to_f64(stats.unanswered), to_f64(stats.queries)),
            Self::Failed => share(to_f64(stats.queries - stats.succeeded()), to_f64(stats.queries)),
        }
    }
}

/// Compares the values of all entities with their baselines.
#[derive(Debug)]
pub(super) struct AnomalyDetector {
    options: DetectOptions,
    entities: BTreeMap<GroupKey, EntityBaselines>,
    /// Last sliding minute, its end, and whether the capture began within it.
    last_minute: BTreeMap<GroupKey, GroupStats>,
    end: Timestamp,
    partial: bool,
    /// End of the last minute that was learned.
    learned: Option<Timestamp>,
    /// Number of minutes of the capture that were learned.
    minutes: u64,
}

#[derive(Debug, Default)]
struct EntityBaselines {
    baselines: [LearnedBaseline; Metric::ALL.len()],
    /// Values that were anomalous in the last comparison.
    anomalous: [bool; Metric::ALL.len()],
    last_seen: Timestamp,
    /// Number of minutes that were learned, those without queries included.
    minutes: u64,
    /// Rates of the last day.
    range: DayRange,
}

impl EntityBaselines {
    fn learn(&mut self, at: Timestamp, stats: &GroupStats) {
        self.minutes += 1;
        if let Some((rate, _)) = Metric::QueryRate.value(stats, 0.0) {
            self.range.add(at, rate, self.anomalous[Metric::QueryRate as usize]);
        }
        for metric in Metric::ALL {
            let baseline = &mut self.baselines[metric as usize];
            if let Some((value, floor)) = metric.value(stats, baseline.mean()) {
                baseline.learn(at, value, floor, self.anomalous[metric as usize]);
            }
        }
    }

    fn compare(
        &self,
        metric: Metric,
        at: Timestamp,
        stats: &GroupStats,
    ) -> Option<(f64, Baseline)> {
        let baseline = &self.baselines[metric as usize];
        let (value, floor) = metric.value(stats, baseline.mean())?;
        Some((value, baseline.compare(at, value, floor)?))
    }
}

impl AnomalyDetector {
    pub(super) fn new(options: &DetectOptions) -> Self {
        Self {
            options: options.clone(),
            entities: BTreeMap::new(),
            last_minute: BTreeMap::new(),
            end: Timestamp::default(),
            partial: true,
            learned: None,
            minutes: 0,
        }
    }

    /// Returns the rules that have not observed the capture for as long as their baselines need.
    pub(super) fn learning(&self) -> impl Iterator<Item = Rule> {
        let rules = Rule::ALL.into_iter().filter(|rule| self.options.rule(*rule).enabled);
        rules.filter(|rule| is_learning(&self.options, *rule, self.minutes))
    }

    /// Counts the entities of each rule: those that it learns, and those that it judges.
    pub(super) fn count_entities(&self, counters: &mut AlertCounters) {
        for rule in Rule::ALL.into_iter().filter(|rule| rule.has_baseline()) {
            let is_of_rule = |key: &GroupKey| {
                rule != Rule::SuccessRatio
                    || matches!(key.grouping, Grouping::Resolver | Grouping::Pod)
            };
            let mut counts = EntityCounts::default();
            for (_, entity) in self.entities.iter().filter(|(key, _)| is_of_rule(key)) {
                if is_learning(&self.options, rule, entity.minutes) {
                    counts.learning += 1;
                } else {
                    counts.judged += 1;
                }
            }
            counters.entities[rule as usize] = counts;
        }
    }

    /// Returns the usual share of failed queries of an entity; `None` while `success_ratio` learns it.
    /// The share is 0 where it was not learned because most queries failed from the start.
    pub(super) fn usual_failures(&self, key: &GroupKey, at: Timestamp) -> Option<f64> {
        let entity = self.entities.get(key)?;
        if is_learning(&self.options, Rule::SuccessRatio, entity.minutes) {
            return None;
        }
        let baseline = entity.baselines[Metric::Failed as usize].compare(at, 0.0, SHARE_FLOOR);
        Some(baseline.map_or(0.0, |usual| usual.mean))
    }

    pub(super) fn reconfigure(&mut self, options: &DetectOptions) {
        self.options = options.clone();
    }

    /// Learns a minute. An absent entity sent no queries.
    fn learn(&mut self, span: &Span, mut groups: BTreeMap<GroupKey, GroupStats>) {
        let missed = self.learned.map_or(0, |end| span.start.since(end).as_secs() / 60);
        if missed <= MAX_SILENCE {
            for before in (1..=missed).rev() {
                let at = Timestamp::from_nanos(span.start.as_nanos() - before * 60_000_000_000);
                let silence = GroupStats::default();
                self.entities.values_mut().for_each(|entity| entity.learn(at, &silence));
            }
        }
        self.learned = Some(span.start.plus(span.length));
        self.minutes += 1 + if missed <= MAX_SILENCE { missed } else { 0 };
        for (key, entity) in &mut self.entities {
            let stats = groups.remove(key);
            if stats.is_some() {
                entity.last_seen = span.start;
            }
            entity.learn(span.start, &stats.unwrap_or_default());
        }
        if self.entities.len() + groups.len() > MAX_ENTITIES {
            self.entities.retain(|_, entity| span.start.since(entity.last_seen) < FORGET);
        }
        for (key, stats) in groups {
            if self.entities.len() < MAX_ENTITIES {
                let entity = self.entities.entry(key).or_default();
                entity.last_seen = span.start;
                entity.learn(span.start, &stats);
            }
        }
    }
}

impl Detector for AnomalyDetector {
    #[cfg(test)]
    fn settings_in_force(&self) -> String {
        format!("{:?} {:?}", self.rules(), &self.options)
    }

    fn rules(&self) -> &'static [Rule] {
        &[Rule::QueryRate, Rule::Latency, Rule::Nxdomain, Rule::Servfail, Rule::Timeout]
    }

    fn window(&mut self, span: &Span, groups: &Groups) {
        if span.length != MINUTE {
            return;
        }
        if span.step == MINUTE {
            if !span.partial {
                self.learn(span, GroupStats::by_group(groups, &GROUPINGS));
            }
        } else {
            self.last_minute = GroupStats::by_group(groups, &GROUPINGS);
            self.end = span.start.plus(span.length);
            self.partial = span.partial;
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        if now.since(self.end) > STALE {
            self.last_minute.clear();
            self.partial = false;
        }
        let Self { options, entities, last_minute: groups, partial, .. } = self;
        let mut find = |key: &GroupKey, stats: &GroupStats, baselines: &EntityBaselines| {
            Comparison { options, at: now, partial: *partial, key, stats, baselines }.find(each)
        };
        for (key, stats) in groups.iter().filter(|(key, _)| !entities.contains_key(*key)) {
            find(key, stats, &EntityBaselines::default());
        }
        for (key, baselines) in entities {
            let stats = groups.get(key).copied().unwrap_or_default();
            baselines.anomalous = find(key, &stats, baselines);
        }
    }
}

/// Returns whether `rule` still learns what was observed for some minutes.
fn is_learning(options: &DetectOptions, rule: Rule, minutes: u64) -> bool {
    MINUTE.as_secs().saturating_mul(minutes) < options.rule(rule).learning.as_secs()
}

/// Returns the logarithm of a latency: a doubling is equally surprising at a millisecond and at a
/// second.
fn log(ms: f64) -> f64 {
    ms.max(0.001).ln()
}

#[cfg(test)]
mod tests;
