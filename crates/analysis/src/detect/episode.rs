//! Life of one alert, from its first finding to its resolution.
//!
//! ```text
//!             N findings in a row             rises at once
//!  pending ─────────────────────────▶ level ◀────────────────────────▶ level
//!     │                                 │      falls after clear_for
//!     └─ absent for clear_for ─▶ over ◀─┘
//! ```

use super::finding::{Evidence, Finding, Rule, Severity};
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Returns the number of consecutive evaluations with a finding before an alert of `rule` fires.
const fn required_streak(rule: Rule) -> u32 {
    match rule {
        // Values of a minute: a single outlier is ignored.
        Rule::QueryRate | Rule::Latency | Rule::Nxdomain | Rule::Servfail | Rule::Timeout => 2,
        _ => 1,
    }
}

/// A condition that was found at least once.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    /// Time of the first finding.
    pub(super) started: Timestamp,
    pub(super) last_found: Timestamp,
    /// Severity, once it was found often enough.
    pub(super) level: Option<Severity>,
    /// Severity and time of the last report.
    pub(super) reported: Option<(Severity, Timestamp)>,
    pub(super) summary: String,
    pub(super) evidence: Evidence,
    /// Number of other alerts that it explains.
    pub(super) suppressed: u64,
    /// Time at which another alert last explained this one.
    pub(super) explained: Option<Timestamp>,
    /// Whether maintenance has muted it.
    pub(super) muted: bool,
    /// By severity: consecutive evaluations with at least this severity, and the time of the last
    /// one.
    levels: [(u32, Option<Timestamp>); 3],
    required_streak: u32,
}

impl Episode {
    pub(super) fn new(finding: Finding, now: Timestamp) -> Self {
        let mut episode = Self {
            started: now,
            last_found: now,
            level: None,
            reported: None,
            summary: String::new(),
            evidence: Evidence::default(),
            suppressed: 0,
            explained: None,
            muted: false,
            levels: [(0, None); 3],
            required_streak: required_streak(finding.rule),
        };
        episode.add_finding(finding, now);
        episode
    }

    /// Adds a finding. Evidence that it lacks is kept from before.
    pub(super) fn add_finding(&mut self, finding: Finding, now: Timestamp) {
        self.last_found = now;
        for (level, (streak, last)) in self.levels.iter_mut().enumerate() {
            if finding.level as usize >= level {
                *streak += 1;
                *last = Some(now);
            } else {
                *streak = 0;
            }
        }
        self.summary = finding.summary;
        let before = std::mem::replace(&mut self.evidence, finding.evidence);
        keep_old(&mut self.evidence.samples, before.samples);
        keep_old(&mut self.evidence.qnames, before.qnames);
        keep_old(&mut self.evidence.processes, before.processes);
        keep_old(&mut self.evidence.clients, before.clients);
        keep_old(&mut self.evidence.resolvers, before.resolvers);
    }

    /// Returns whether the last finding was at least as severe as `finding`.
    pub(super) fn is_as_severe_as(&self, finding: &Finding) -> bool {
        self.levels[finding.level as usize].1.is_some_and(|last| last == self.last_found)
    }

    /// Updates the severity after all findings of the evaluation at `now`. Returns false once the
    /// condition is over.
    pub(super) fn update_level(&mut self, now: Timestamp, clear_for: Duration) -> bool {
        if self.last_found < now {
            self.levels.iter_mut().for_each(|(streak, _)| *streak = 0);
        }
        let holds = |last: Option<Timestamp>| last.is_some_and(|last| now.since(last) < clear_for);
        let mut reached = None;
        for (level, (streak, last)) in Severity::ALL.into_iter().zip(self.levels) {
            let raised = streak >= self.required_streak;
            if raised || self.level >= Some(level) && holds(last) {
                reached = Some(level);
            }
        }
        self.level = reached;
        reached.is_some() || holds(self.levels[0].1)
    }
}

fn keep_old<T>(new: &mut Vec<T>, old: Vec<T>) {
    if new.is_empty() {
        *new = old;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Entity;
    use proptest::prelude::*;

    const CLEAR: Duration = Duration::from_secs(30);

    fn finding(rule: Rule, level: Severity) -> Finding {
        let (entity, evidence) = (Entity::default(), Evidence::default());
        Finding { rule, entity, level, summary: String::new(), evidence }
    }

    fn at(tick: u64) -> Timestamp {
        Timestamp::from_nanos(tick * 10_000_000_000)
    }

    /// The level after each evaluation; ends with the episode.
    fn play(rule: Rule, found: &[Option<Severity>]) -> Vec<Option<Severity>> {
        let mut episode: Option<Episode> = None;
        let mut levels = Vec::new();
        for (tick, level) in (1..).zip(found) {
            match (&mut episode, level) {
                (Some(episode), Some(level)) => {
                    episode.add_finding(finding(rule, *level), at(tick));
                }
                (none, Some(level)) => *none = Some(Episode::new(finding(rule, *level), at(tick))),
                (_, None) => {}
            }
            if let Some(now) = &mut episode {
                let goes_on = now.update_level(at(tick), CLEAR);
                levels.push(now.level);
                if !goes_on {
                    break;
                }
            }
        }
        levels
    }

    #[test]
    fn level_rises_at_once_and_falls_late() {
        use Severity::{Critical, Info, Warning};
        let seen = [Some(Info), Some(Critical), Some(Info), Some(Info), Some(Info), Some(Info)];
        let levels = play(Rule::Tunnel, &seen);
        assert_eq!(levels, [Info, Critical, Critical, Critical, Info, Info].map(Some));
        let seen = [Some(Warning), None, Some(Warning), Some(Warning), None, None, None, None];
        let levels = play(Rule::Latency, &seen);
        let expected = [None, None, None, Some(Warning), Some(Warning), Some(Warning), None];
        assert_eq!(levels, expected);
    }

    proptest! {
        #[test]
        fn level_was_found_recently_and_often(
            found in prop::collection::vec(prop::option::of(0..3_u8), 1..60),
            slow in any::<bool>(),
        ) {
            let levels = Severity::ALL;
            let found: Vec<_> = found.iter().map(|l| l.map(|l| levels[usize::from(l)])).collect();
            let rule = if slow { Rule::Latency } else { Rule::Tunnel };
            let skipped = found.iter().position(Option::is_some).unwrap_or(found.len());
            let played = play(rule, &found[skipped..]);
            for (tick, level) in played.iter().enumerate() {
                let Some(level) = level else { continue };
                let seen = &found[skipped..=skipped + tick];
                let lately = &seen[seen.len().saturating_sub(3)..];
                prop_assert!(lately.iter().any(|found| *found >= Some(*level)), "{seen:?} {played:?}");
                let often = seen.windows(2).any(|two| two.iter().all(|found| *found >= Some(*level)));
                prop_assert!(!slow || often, "{seen:?} {played:?}");
            }
        }
    }
}
