//! Compares the last minute of one entity with its baselines.

use super::{EntityBaselines, MOST, Metric, is_learning};
use crate::detect::finding::{Baseline, Entity, Evidence, Figure, Finding, Rule, Severity};
use crate::detect::group_stats::{GroupKey, GroupStats};
use crate::detect::options::{AnomalyOptions, DetectOptions};
use crate::window::Grouping;
use dnscribe_baseline::lower_bound;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;

/// Minimum slowdown in milliseconds: of the median, of the 95th percentile.
const MIN_SLOWDOWN_MS: [f64; 2] = [20.0, 100.0];
/// Factor for the threshold of the 95th percentile, which varies more than the median.
const TAIL_FACTOR: f64 = 1.5;
/// Minimum median of a critical finding, in milliseconds.
const MIN_CRITICAL_MS: f64 = 500.0;
/// A rate below this share of the usual one is low.
const LOW_RATE_SHARE: f64 = 0.2;
/// Minimum z-score of a high rate, and of a latency.
const MIN_RATE_Z: f64 = 6.0;
const MIN_LATENCY_Z: f64 = 5.0;
/// A high rate or latency is at least this multiple of the highest minute of the last day, and a low
/// rate at most the inverse of the lowest.
const BEYOND_DAY: f64 = 1.5;
/// Multiple of the minimum number of queries behind a share, for a zone: clients repeat queries for the
/// few names that fail.
const ZONE_FACTOR: u64 = 2;
/// Share of failures that is critical without a baseline; [`MOST`] is a warning.
const CRITICAL_SHARE: f64 = 0.9;

/// The last minute of one entity and its baselines.
#[derive(Clone, Copy)]
pub(super) struct Comparison<'a> {
    pub(super) options: &'a DetectOptions,
    pub(super) at: Timestamp,
    /// Whether the capture began within the minute, so that its rate is unknown.
    pub(super) partial: bool,
    pub(super) key: &'a GroupKey,
    pub(super) stats: &'a GroupStats,
    pub(super) baselines: &'a EntityBaselines,
}

impl Comparison<'_> {
    /// Passes all findings to `each`, and returns which values are anomalous.
    pub(super) fn find(self, each: &mut dyn FnMut(Finding)) -> [bool; Metric::ALL.len()] {
        let DetectOptions { nxdomain, servfail, timeout, .. } = *self.options;
        let found: [(&[Metric], Option<Finding>); 5] = [
            (&[Metric::QueryRate], self.rate()),
            (&[Metric::Median, Metric::Percentile95], self.latency()),
            (&[Metric::Nxdomain], self.share(Rule::Nxdomain, Metric::Nxdomain, nxdomain)),
            (&[Metric::Servfail], self.share(Rule::Servfail, Metric::Servfail, servfail)),
            (&[Metric::Unanswered], self.share(Rule::Timeout, Metric::Unanswered, timeout)),
        ];
        let mut anomalous = [false; Metric::ALL.len()];
        let more = 1.0 - self.options.success.warning;
        let usual = self.baselines.usual_failures(self.at);
        anomalous[Metric::Failed as usize] = Metric::Failed
            .counts(self.stats)
            .is_some_and(|failed| usual.are_exceeded(failed, 1.0, more));
        for (metrics, finding) in found {
            for metric in metrics {
                anomalous[*metric as usize] = finding.is_some();
            }
            finding
                .into_iter()
                .filter(|finding| !self.is_learning(finding.rule))
                .for_each(&mut *each);
        }
        anomalous
    }

    fn is_learning(&self, rule: Rule) -> bool {
        is_learning(self.options, rule, self.baselines.learned_minutes(rule))
    }

    /// Compares the value of `rule` with its baseline; `None` while the rule is learning.
    fn compare(&self, rule: Rule, metric: Metric) -> Option<(f64, Baseline)> {
        if self.is_learning(rule) {
            return None;
        }
        self.baselines.compare(metric, self.at, self.stats, self.options.latency.min_queries)
    }

    fn finding(&self, rule: Rule, level: Severity, what: &str, figures: Vec<Figure>) -> Finding {
        Finding {
            rule,
            entity: Entity::from(self.key),
            level,
            summary: format!("{}: {what}.", self.key),
            evidence: Evidence { figures, ..Evidence::default() },
        }
    }

    fn rate(&self) -> Option<Finding> {
        let options = self.options.query_rate;
        let compared = self.compare(Rule::QueryRate, Metric::QueryRate);
        let (rate, usual) = compared.filter(|_| !self.partial)?;
        let range = self.baselines.ranges[Metric::QueryRate as usize].bounds();
        let (lowest, highest) = range.unwrap_or((rate, rate));
        let least = to_f64(options.min_queries) / 60.0;
        let is_high = usual.z >= MIN_RATE_Z
            && rate >= (usual.mean * options.warning).max(highest * BEYOND_DAY)
            && rate - usual.mean >= least;
        // The end of a pod or process is no anomaly.
        let lasts = matches!(self.key.grouping, Grouping::Node | Grouping::Resolver);
        let is_low = lasts
            && -usual.z >= MIN_RATE_Z / 2.0
            && rate < lowest
            && rate <= (usual.mean * LOW_RATE_SHARE).min(lowest / BEYOND_DAY)
            && usual.mean >= least;
        if !is_high && !is_low {
            return None;
        }
        let is_critical = options.critical.is_some_and(|times| rate >= usual.mean * times);
        let level = match (is_high, lasts) {
            (true, true) if is_critical => Severity::Critical,
            (true, true) => Severity::Warning,
            _ => Severity::Info,
        };
        let what = format!("{rate:.1} queries per second, usually {:.1}", usual.mean);
        let threshold = usual.mean * if is_high { options.warning } else { LOW_RATE_SHARE };
        let figure = Figure {
            name: Metric::QueryRate.name(),
            value: rate,
            threshold: Some(threshold),
            baseline: Some(usual),
        };
        Some(self.finding(Rule::QueryRate, level, &what, vec![figure]))
    }

    fn latency(&self) -> Option<Finding> {
        let options = self.options.latency;
        let metrics = [
            (Metric::Median, 1.0, MIN_SLOWDOWN_MS[0]),
            (Metric::Percentile95, TAIL_FACTOR, MIN_SLOWDOWN_MS[1]),
        ];
        let mut level = None;
        let mut figures = Vec::new();
        for (metric, more, least) in metrics {
            let Some((log, learned)) = self.compare(Rule::Latency, metric) else { continue };
            let (now, usual) = (log.exp(), learned.mean.exp());
            let exceeds = |threshold: f64| now >= usual * threshold * more;
            let is_beyond = now >= self.baselines.highest(metric).exp() * BEYOND_DAY;
            let is_significant = learned.z >= MIN_LATENCY_Z && now - usual >= least;
            if is_beyond && is_significant && exceeds(options.warning) {
                let critical = options.critical.is_some_and(exceeds) && now >= MIN_CRITICAL_MS;
                let is_critical = critical && metric == Metric::Median;
                level = level.max(Some(Severity::at_least_warning(is_critical)));
            }
            let deviation = usual * (learned.deviation.exp() - 1.0);
            let baseline = Baseline { mean: usual, deviation, ..learned };
            let threshold = Some(usual * options.warning * more);
            figures.push(Figure {
                name: metric.name(),
                value: now,
                threshold,
                baseline: Some(baseline),
            });
        }
        let level = level?;
        let [what, ..] = figures.as_slice() else { return None };
        let what = format!(
            "half of the answers take {:.0} ms or longer, usually {:.0} ms; the slowest 5 % {:.0} ms",
            what.value,
            what.baseline.map_or(0.0, |usual| usual.mean),
            self.stats.latency.map_or(0.0, |[_, p95]| p95),
        );
        Some(self.finding(Rule::Latency, level, &what, figures))
    }

    fn share(&self, rule: Rule, metric: Metric, options: AnomalyOptions) -> Option<Finding> {
        let (part, whole) = metric.counts(self.stats)?;
        let lower = lower_bound(part, whole);
        let is_broken = lower >= MOST && self.may_be_broken(rule);
        let is_beyond = is_broken || to_f64(part) > self.baselines.highest(metric);
        // Nobody repeats a query for a name that does not exist.
        let is_repeated = self.key.grouping == Grouping::Zone && rule != Rule::Nxdomain;
        let factor = if is_repeated { ZONE_FACTOR } else { 1 };
        if part < options.min_queries.saturating_mul(factor) || !is_beyond {
            return None;
        }
        let share = to_f64(part) / to_f64(whole);
        let Some((_, usual)) = self.compare(rule, metric) else {
            return self.share_without_baseline(rule, metric, share, lower);
        };
        let exceeds = |more: f64| lower >= usual.mean + more && share >= usual.mean * 2.0;
        let level = if options.critical.is_some_and(exceeds) {
            Severity::Critical
        } else if exceeds(options.warning) {
            Severity::Warning
        } else if exceeds(options.warning / 2.0) {
            Severity::Info
        } else {
            return None;
        };
        let what = format!(
            "{:.1} % {}, usually {:.1} %",
            share * 100.0,
            describe(rule),
            usual.mean * 100.0
        );
        let threshold = Some(usual.mean + options.warning);
        let figure = Figure { name: metric.name(), value: share, threshold, baseline: Some(usual) };
        let count = Figure::new("count", to_f64(part), None);
        Some(self.finding(rule, level, &what, vec![figure, count]))
    }

    /// Returns whether it is an incident if most queries fail, whatever is usual. A zone or process may
    /// be broken for ever.
    const fn may_be_broken(&self, rule: Rule) -> bool {
        matches!(rule, Rule::Servfail | Rule::Timeout)
            && matches!(self.key.grouping, Grouping::Node | Grouping::Resolver | Grouping::Pod)
    }

    /// Returns the finding for a share without a baseline: while the rule is learning, and where most
    /// queries failed from the start. Such values do not become the baseline.
    fn share_without_baseline(
        &self,
        rule: Rule,
        metric: Metric,
        share: f64,
        lower: f64,
    ) -> Option<Finding> {
        if lower < MOST || !self.may_be_broken(rule) {
            return None;
        }
        let what = format!("{:.1} % {}", share * 100.0, describe(rule));
        let (level, threshold) = if lower >= CRITICAL_SHARE {
            (Severity::Critical, Some(CRITICAL_SHARE))
        } else {
            (Severity::Warning, Some(MOST))
        };
        let figure = Figure::new(metric.name(), share, threshold);
        Some(self.finding(rule, level, &what, vec![figure]))
    }
}

/// Returns how a summary describes what `rule` counts.
const fn describe(rule: Rule) -> &'static str {
    match rule {
        Rule::Nxdomain => "NXDOMAIN",
        Rule::Servfail => "SERVFAIL",
        _ => "of the queries without an answer",
    }
}
