//! Rule `success_ratio`: too few queries of a resolver or pod succeed.
//!
//! A share that is further below the usual one than `warning` is below 1 is a finding, if more queries a
//! minute fail than in the worst minute of the last day; or if most fail. Nothing is found while the
//! usual share is learned.

use super::anomaly::AnomalyDetector;
use super::attribution::share;
use super::finding::{Entity, Evidence, Figure, Finding, Rule, Severity};
use super::group_stats::{GroupKey, GroupStats};
use super::options::SuccessOptions;
use crate::window::{Grouping, Groups, Span};
use dnscribe_baseline::lower_bound;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const MAX_ENTITIES: usize = 512;
/// Length of a pane.
const PANE: Duration = Duration::from_secs(10);
/// Panes per minute.
const MINUTE: usize = 6;
/// Minimum number of failed queries in [`SuccessOptions::span`].
const MIN_FAILED: u64 = 20;
/// Maximum number of panes kept: one hour.
const MAX_PANES: usize = 360;

/// Tracks the share of queries that succeed.
#[derive(Debug)]
pub(super) struct SuccessRatio {
    options: SuccessOptions,
    /// Number of panes in [`SuccessOptions::span`].
    panes: usize,
    entities: BTreeMap<GroupKey, EntityHistory>,
    /// End of the last pane.
    end: Timestamp,
}

#[derive(Debug, Default)]
struct EntityHistory {
    /// Successful and all queries per pane, newest last.
    panes: VecDeque<(u64, u64)>,
    /// Consecutive panes at whose end the last minute was below the threshold.
    under: usize,
}

impl EntityHistory {
    fn push(&mut self, pane: (u64, u64), keep: usize, warning: f64) {
        while self.panes.len() >= keep.max(MINUTE) {
            self.panes.pop_front();
        }
        self.panes.push_back(pane);
        let (good, all) = self.last(MINUTE);
        if all > 0 {
            self.under = if share(good, all) < warning { self.under + 1 } else { 0 };
        } else if self.last(self.panes.len()).1 == 0 {
            self.under = 0;
        } else if self.under > 0 {
            // Silence does not end the condition.
            self.under += 1;
        }
    }

    /// Returns the sums of the newest panes.
    fn last(&self, panes: usize) -> (u64, u64) {
        let newest = self.panes.iter().rev().take(panes);
        newest.fold((0, 0), |(good, all), (more, of)| (good + more, all + of))
    }
}

impl SuccessRatio {
    pub(super) fn new(options: SuccessOptions) -> Self {
        let (entities, end) = (BTreeMap::new(), Timestamp::default());
        Self { options, panes: panes(options.span), entities, end }
    }

    pub(super) fn reconfigure(&mut self, options: SuccessOptions) {
        self.options = options;
        self.panes = panes(options.span);
    }

    /// Adds the panes without queries up to `until`, for which there was no window.
    fn add_silence(&mut self, until: Timestamp) {
        let silent = until.since(self.end).as_nanos() / PANE.as_nanos();
        let silent = usize::try_from(silent).unwrap_or(MAX_PANES).min(self.panes.max(MINUTE));
        for history in self.entities.values_mut() {
            (0..silent).for_each(|_| history.push((0, 0), self.panes, self.options.warning));
        }
        self.entities.retain(|_, history| history.last(history.panes.len()).1 > 0);
    }

    /// The settings in force, as text.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn settings_in_force(&self) -> String {
        format!("{:?}", (self.options, self.panes))
    }

    pub(super) fn window(&mut self, span: &Span, groups: &Groups) {
        if span.length != PANE {
            return;
        }
        if self.end != Timestamp::default() {
            self.add_silence(span.start);
        }
        self.end = span.start.plus(span.length);
        let mut groups = GroupStats::by_group(groups, &[Grouping::Resolver, Grouping::Pod]);
        for (key, history) in &mut self.entities {
            let stats = groups.remove(key).unwrap_or_default();
            history.push((stats.succeeded(), stats.queries), self.panes, self.options.warning);
        }
        for (key, stats) in groups {
            if self.entities.len() < MAX_ENTITIES && stats.queries > 0 {
                let pane = (stats.succeeded(), stats.queries);
                let history = self.entities.entry(key).or_default();
                history.push(pane, self.panes, self.options.warning);
            }
        }
        self.entities.retain(|_, history| history.last(history.panes.len()).1 > 0);
    }

    /// Passes every condition that holds at `now` to `each`. `usual` knows the usual shares of failures.
    pub(super) fn evaluate(
        &mut self,
        now: Timestamp,
        usual: &AnomalyDetector,
        each: &mut dyn FnMut(Finding),
    ) {
        if now.since(self.end) > self.options.span {
            // There were no queries for the whole span.
            self.entities.clear();
        }
        let options = self.options;
        for (key, history) in &self.entities {
            let (good, all) = history.last(self.panes);
            if history.under < self.panes || all < options.min_queries || all - good < MIN_FAILED {
                continue;
            }
            let Some(usual) = usual.usual_failures(key, now) else { continue };
            let minutes = to_f64(self.panes as u64) / to_f64(MINUTE as u64);
            if !usual.are_exceeded((all - good, all), minutes, 1.0 - options.warning) {
                continue;
            }
            let ratio = share(good, all);
            let limit = 1.0 - usual.limit(1.0 - options.warning);
            let is_critical = lower_bound(all - good, all) > 1.0 - options.critical;
            let threshold = if is_critical { limit.min(options.critical) } else { limit };
            let known =
                usual.share.map(|usual| format!(", usually {:.1} %", (1.0 - usual) * 100.0));

            each(Finding {
                rule: Rule::SuccessRatio,
                entity: Entity::from(key),
                level: if is_critical { Severity::Critical } else { Severity::Warning },
                summary: format!(
                    "{key}: {:.1} % of {all} queries succeeded in the last {} s{}; under {:.1} % all the time.",
                    ratio * 100.0,
                    self.panes as u64 * PANE.as_secs(),
                    known.unwrap_or_default(),
                    options.warning * 100.0,
                ),
                evidence: Evidence {
                    figures: vec![
                        Figure::new("success_ratio", ratio, Some(threshold)),
                        Figure::new("failed_queries", to_f64(all - good), None),
                        Figure::new("queries", to_f64(all), Some(to_f64(options.min_queries))),
                    ],
                    ..Evidence::default()
                },
            });
        }
    }
}

fn panes(span: Duration) -> usize {
    let panes = span.as_nanos().div_ceil(PANE.as_nanos());
    usize::try_from(panes).unwrap_or(MAX_PANES).clamp(1, MAX_PANES)
}

#[cfg(test)]
mod tests;
