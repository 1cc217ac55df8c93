//! Whether resolvers and pods get answers: the share of queries that end well, whatever is usual.

use super::baseline::at_least;
use super::finding::{Detector, Entity, Evidence, Figure, Finding, Level, Rule};
use super::minute::{Minute, Place};
use super::options::SuccessOptions;
use crate::number::float;
use crate::time::Timestamp;
use crate::window::{Grouping, Groups, Span};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Entities followed at a time.
const FOLLOWED: usize = 512;
/// Length of a pane.
const PANE: Duration = Duration::from_secs(10);
/// Panes of a minute.
const MINUTE: usize = 6;
/// Panes remembered at most: an hour.
const MAX_PANES: usize = 360;

/// Watches the share of queries that succeed.
#[derive(Debug)]
pub(super) struct Success {
    options: SuccessOptions,
    /// Panes that make up [`SuccessOptions::span`].
    panes: usize,
    followed: BTreeMap<Place, Followed>,
    /// The end of the last pane.
    end: Timestamp,
}

/// What is known of an entity.
#[derive(Debug, Default)]
struct Followed {
    /// Successes and queries by pane, newest last.
    panes: VecDeque<(u64, u64)>,
    /// Panes since all minutes have been under the threshold.
    under: usize,
}

impl Followed {
    fn push(&mut self, pane: (u64, u64), keep: usize, warning: f64) {
        while self.panes.len() >= keep.max(MINUTE) {
            self.panes.pop_front();
        }
        self.panes.push_back(pane);
        let (good, all) = self.last(MINUTE);
        if all > 0 {
            self.under = if ratio(good, all) < warning { self.under + 1 } else { 0 };
        } else if self.last(self.panes.len()).1 == 0 {
            self.under = 0;
        } else if self.under > 0 {
            // Nobody asks: it is no better for that.
            self.under += 1;
        }
    }

    /// The sums of the newest panes.
    fn last(&self, panes: usize) -> (u64, u64) {
        let newest = self.panes.iter().rev().take(panes);
        newest.fold((0, 0), |(good, all), (more, of)| (good + more, all + of))
    }
}

impl Success {
    pub(super) fn new(options: SuccessOptions) -> Self {
        let (followed, end) = (BTreeMap::new(), Timestamp::default());
        Self { options, panes: panes(options.span), followed, end }
    }

    pub(super) fn reconfigure(&mut self, options: SuccessOptions) {
        self.options = options;
        self.panes = panes(options.span);
    }

    /// Panes of silence, of which no window tells.
    fn pass(&mut self, until: Timestamp) {
        let silent = until.since(self.end).as_nanos() / PANE.as_nanos();
        let silent = usize::try_from(silent).unwrap_or(MAX_PANES).min(self.panes.max(MINUTE));
        for followed in self.followed.values_mut() {
            (0..silent).for_each(|_| followed.push((0, 0), self.panes, self.options.warning));
        }
        self.followed.retain(|_, followed| followed.last(followed.panes.len()).1 > 0);
    }
}

impl Detector for Success {
    fn window(&mut self, span: &Span, groups: &Groups) {
        if span.length != PANE {
            return;
        }
        if self.end != Timestamp::default() {
            self.pass(span.start);
        }
        self.end = span.start.plus(span.length);
        let mut minutes = Minute::of(groups, &[Grouping::Resolver, Grouping::Pod]);
        for (place, followed) in &mut self.followed {
            let minute = minutes.remove(place).unwrap_or_default();
            followed.push((minute.succeeded(), minute.queries), self.panes, self.options.warning);
        }
        for (place, minute) in minutes {
            if self.followed.len() < FOLLOWED && minute.queries > 0 {
                let pane = (minute.succeeded(), minute.queries);
                let followed = self.followed.entry(place).or_default();
                followed.push(pane, self.panes, self.options.warning);
            }
        }
        self.followed.retain(|_, followed| followed.last(followed.panes.len()).1 > 0);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        if now.since(self.end) > self.options.span {
            // Nothing was asked for so long.
            self.followed.clear();
        }
        let options = self.options;
        for (place, followed) in &self.followed {
            let (good, all) = followed.last(self.panes);
            let surely = at_least(all - good, all);
            if followed.under < self.panes
                || all < options.min_queries
                || surely <= 1.0 - options.warning
            {
                continue;
            }
            let share = ratio(good, all);
            let is_critical = surely > 1.0 - options.critical;
            let threshold = if is_critical { options.critical } else { options.warning };
            let figure = |name, value, threshold| Figure { name, value, threshold, baseline: None };
            each(Finding {
                rule: Rule::SuccessRatio,
                entity: Entity::from(place),
                level: if is_critical { Level::Critical } else { Level::Warning },
                summary: format!(
                    "{place}: {:.1} % of {all} queries succeeded in the last {} s, under {:.1} % all the time.",
                    share * 100.0,
                    self.panes as u64 * PANE.as_secs(),
                    options.warning * 100.0,
                ),
                evidence: Evidence {
                    figures: vec![
                        figure("success_ratio", share, Some(threshold)),
                        figure("failed_queries", float(all - good), None),
                        figure("queries", float(all), Some(float(options.min_queries))),
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

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

#[cfg(test)]
mod tests;
