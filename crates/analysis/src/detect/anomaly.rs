//! Rules `query_rate`, `latency`, `nxdomain`, `servfail` and `timeout`: values of a resolver, zone,
//! pod, process or of the node that are far from their baseline.
//!
//! Baselines are learned from whole minutes. Every ten seconds the last minute is compared with
//! them. A finding must be statistically significant (z-score), large (threshold), based on enough
//! queries, and beyond every minute of the last day. While an entity was not observed for long
//! enough, there is none: the rule is learning.

mod comparison;
mod range;

use super::alert::{AlertCounters, EntityCounts};
use super::finding::{Baseline, Detector, Finding, Rule};
use super::group_stats::{GroupKey, GroupStats};
use super::options::DetectOptions;
use crate::window::{Grouping, Groups, Span};
use comparison::Comparison;
use dnscribe_baseline::{LearnedBaseline, lower_bound};
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use range::DayRange;
use std::collections::BTreeMap;
use std::time::Duration;

/// Maximum number of entities with a baseline.
const MAX_ENTITIES: usize = 512;
/// Time after which an absent entity may be replaced by another one.
const FORGET: Duration = Duration::from_mins(10);
const MINUTE: Duration = Duration::from_mins(1);
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
/// Multiple of the minimum number of answers from which the 95th percentile is judged.
const TAIL_ANSWERS: u64 = 2;
/// Share of failures that is an incident, whatever is usual.
pub(super) const MOST: f64 = 0.5;

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
    /// logarithms. `None` if the minute has no such value, or too few answers for a latency.
    fn value(self, stats: &GroupStats, mean: f64, min_measured: u64) -> Option<(f64, f64)> {
        if let Some((part, whole)) = self.counts(stats) {
            let whole = Some(to_f64(whole)).filter(|whole| *whole > 0.0)?;
            // The share of a few queries varies by chance.
            let usual = mean.clamp(1.0 / whole, 1.0).min(0.5);
            let floor = (usual * (1.0 - usual) / whole).sqrt().max(SHARE_FLOOR);
            return Some((to_f64(part) / whole, floor));
        }
        match self {
            Self::QueryRate => {
                let by_chance = mean.max(0.0) / MINUTE.as_secs_f64();
                let floor = by_chance.sqrt().max(0.1 * mean).max(0.1);
                let queries = to_f64(stats.queries + stats.not_exported);
                (!stats.is_thinned).then_some((queries / MINUTE.as_secs_f64(), floor))
            }
            Self::Median if stats.measured >= min_measured => {
                stats.latency.map(|[p50, _]| (log(p50), LATENCY_FLOOR))
            }
            Self::Percentile95 if stats.measured >= min_measured.saturating_mul(TAIL_ANSWERS) => {
                stats.latency.map(|[_, p95]| (log(p95), LATENCY_FLOOR))
            }
            Self::Median
            | Self::Percentile95
            | Self::Nxdomain
            | Self::Servfail
            | Self::Unanswered
            | Self::Failed => None,
        }
    }

    /// Returns the parts of a share: the number of queries or responses that it counts, and of all.
    const fn counts(self, stats: &GroupStats) -> Option<(u64, u64)> {
        match self {
            Self::Nxdomain => Some((stats.nxdomain, stats.responses)),
            Self::Servfail => Some((stats.servfail, stats.responses)),
            Self::Unanswered => Some((stats.unanswered, stats.queries)),
            Self::Failed => Some((stats.queries - stats.succeeded(), stats.queries)),
            Self::QueryRate | Self::Median | Self::Percentile95 => None,
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
    /// Number of those with enough answers for a latency.
    measured_minutes: u64,
    /// Values of the last day. Of a share that is the number of queries that it counts: in a quiet
    /// hour the same failures are a larger share.
    ranges: [DayRange; Metric::ALL.len()],
}

impl EntityBaselines {
    fn learn(&mut self, at: Timestamp, stats: &GroupStats, min_measured: u64) {
        self.minutes += 1;
        self.measured_minutes += u64::from(stats.measured >= min_measured);
        for metric in Metric::ALL {
            let anomalous = self.anomalous[metric as usize];
            let baseline = &mut self.baselines[metric as usize];
            if let Some((value, floor)) = metric.value(stats, baseline.mean(), min_measured) {
                baseline.learn(at, value, floor, anomalous);
                let extent = metric.counts(stats).map_or(value, |(part, _)| to_f64(part));
                self.ranges[metric as usize].add(at, extent, anomalous);
            }
        }
    }

    /// Returns the number of minutes that `rule` has learned. For `latency`, at most half of them may
    /// have had too few answers.
    const fn learned_minutes(&self, rule: Rule) -> u64 {
        match rule {
            Rule::Latency if self.measured_minutes < self.minutes / 2 => self.measured_minutes * 2,
            _ => self.minutes,
        }
    }

    /// Returns the highest value of a minute of the last day; for shares, the highest count.
    fn highest(&self, metric: Metric) -> f64 {
        self.ranges[metric as usize].bounds().map_or(f64::NEG_INFINITY, |(_, highest)| highest)
    }

    fn usual_failures(&self, at: Timestamp) -> UsualFailures {
        let usual = self.baselines[Metric::Failed as usize].compare(at, 0.0, SHARE_FLOOR);
        UsualFailures { share: usual.map(|usual| usual.mean), most: self.highest(Metric::Failed) }
    }

    fn compare(
        &self,
        metric: Metric,
        at: Timestamp,
        stats: &GroupStats,
        min_measured: u64,
    ) -> Option<(f64, Baseline)> {
        let baseline = &self.baselines[metric as usize];
        let (value, floor) = metric.value(stats, baseline.mean(), min_measured)?;
        Some((value, baseline.compare(at, value, floor)?))
    }
}

/// What is usual of the queries of an entity that fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsualFailures {
    /// Their share; unknown if most failed from the start.
    pub(super) share: Option<f64>,
    /// Their number in the worst minute of the last day.
    most: f64,
}

impl UsualFailures {
    /// Returns the share that is too large: `more` than usual.
    pub(super) fn limit(&self, more: f64) -> f64 {
        self.share.map_or(MOST, |share| (share + more).min(MOST.max(more)))
    }

    /// Returns whether `failed` of `all` queries within some minutes are too many.
    pub(super) fn are_exceeded(&self, (failed, all): (u64, u64), minutes: f64, more: f64) -> bool {
        let share = lower_bound(failed, all);
        share > self.limit(more) && (share > MOST || to_f64(failed) / minutes > self.most)
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
                if is_learning(&self.options, rule, entity.learned_minutes(rule)) {
                    counts.learning += 1;
                } else {
                    counts.judged += 1;
                }
            }
            counters.entities[rule as usize] = counts;
        }
    }

    /// Returns what is usual of the failed queries of an entity; `None` while `success_ratio` learns
    /// it.
    pub(super) fn usual_failures(&self, key: &GroupKey, at: Timestamp) -> Option<UsualFailures> {
        let entity = self.entities.get(key)?;
        let is_learning = is_learning(&self.options, Rule::SuccessRatio, entity.minutes);
        (!is_learning).then(|| entity.usual_failures(at))
    }

    pub(super) fn reconfigure(&mut self, options: &DetectOptions) {
        self.options = options.clone();
    }

    /// Learns a minute. An absent entity sent no queries.
    fn learn(&mut self, span: &Span, mut groups: BTreeMap<GroupKey, GroupStats>) {
        let min_measured = self.options.latency.min_queries;
        let missed = self.learned.map_or(0, |end| span.start.since(end).as_secs() / 60);
        if missed <= MAX_SILENCE {
            for before in (1..=missed).rev() {
                let at = Timestamp::from_nanos(span.start.as_nanos() - before * 60_000_000_000);
                let silence = GroupStats::default();
                let entities = self.entities.values_mut();
                entities.for_each(|entity| entity.learn(at, &silence, min_measured));
            }
        }
        self.learned = Some(span.start.plus(span.length));
        self.minutes += 1 + if missed <= MAX_SILENCE { missed } else { 0 };
        for (key, entity) in &mut self.entities {
            let stats = groups.remove(key);
            if stats.is_some() {
                entity.last_seen = span.start;
            }
            entity.learn(span.start, &stats.unwrap_or_default(), min_measured);
        }
        if self.entities.len() + groups.len() > MAX_ENTITIES {
            self.entities.retain(|_, entity| span.start.since(entity.last_seen) < FORGET);
        }
        for (key, stats) in groups {
            if self.entities.len() < MAX_ENTITIES {
                let entity = self.entities.entry(key).or_default();
                entity.last_seen = span.start;
                entity.learn(span.start, &stats, min_measured);
            }
        }
    }
}

impl Detector for AnomalyDetector {
    #[cfg(any(test, feature = "testing"))]
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
