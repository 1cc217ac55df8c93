//! One alert from its first finding to its end.
//!
//! ```text
//!            found N times in a row             worse: at once
//!  pending ────────────────────────▶ level ◀──────────────────────▶ level
//!     │                                │    better: after clear_for
//!     └── away for clear_for ─▶ over ◀─┘
//! ```

use super::finding::{Evidence, Finding, Level, Rule};
use crate::time::Timestamp;
use std::time::Duration;

/// Evaluations in a row for which a rule must have found something before it is told.
const fn patience(rule: Rule) -> u32 {
    match rule {
        // A minute's numbers: one outlier should be over before anybody looks.
        Rule::QueryRate | Rule::Latency | Rule::Nxdomain | Rule::Servfail | Rule::Timeout => 2,
        _ => 1,
    }
}

/// What is known of something that is wrong.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    /// When it was first found.
    pub(super) started: Timestamp,
    /// When it was last found.
    pub(super) found: Timestamp,
    /// How bad it is, once it was found often enough.
    pub(super) level: Option<Level>,
    /// What was told: how bad, and when.
    pub(super) told: Option<(Level, Timestamp)>,
    /// What is told of it.
    pub(super) summary: String,
    pub(super) evidence: Evidence,
    /// Others that it explains.
    pub(super) suppressed: u64,
    /// When another was last seen to explain it.
    pub(super) explained: Option<Timestamp>,
    /// Whether maintenance has kept it from being told.
    pub(super) muted: bool,
    /// By level: evaluations in a row that found it at least so bad, and when it last was.
    levels: [(u32, Option<Timestamp>); 3],
    patience: u32,
}

impl Episode {
    pub(super) fn new(finding: Finding, now: Timestamp) -> Self {
        let mut episode = Self {
            started: now,
            found: now,
            level: None,
            told: None,
            summary: String::new(),
            evidence: Evidence::default(),
            suppressed: 0,
            explained: None,
            muted: false,
            levels: [(0, None); 3],
            patience: patience(finding.rule),
        };
        episode.find(finding, now);
        episode
    }

    /// It was found again. What the new evidence lacks is kept from before.
    pub(super) fn find(&mut self, finding: Finding, now: Timestamp) {
        self.found = now;
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
        keep(&mut self.evidence.samples, before.samples);
        keep(&mut self.evidence.qnames, before.qnames);
        keep(&mut self.evidence.processes, before.processes);
        keep(&mut self.evidence.clients, before.clients);
        keep(&mut self.evidence.resolvers, before.resolvers);
    }

    /// Whether it was found as bad as this finding lately.
    pub(super) fn is_as_bad_as(&self, finding: &Finding) -> bool {
        self.levels[finding.level as usize].1.is_some_and(|last| last == self.found)
    }

    /// Judges at `now`, after all that was found then. False once it is over.
    pub(super) fn judge(&mut self, now: Timestamp, clear_for: Duration) -> bool {
        if self.found < now {
            self.levels.iter_mut().for_each(|(streak, _)| *streak = 0);
        }
        let holds = |last: Option<Timestamp>| last.is_some_and(|last| now.since(last) < clear_for);
        let mut reached = None;
        for (level, (streak, last)) in
            [Level::Info, Level::Warning, Level::Critical].into_iter().zip(self.levels)
        {
            let raised = streak >= self.patience;
            if raised || self.level >= Some(level) && holds(last) {
                reached = Some(level);
            }
        }
        self.level = reached;
        reached.is_some() || holds(self.levels[0].1)
    }
}

fn keep<T>(new: &mut Vec<T>, old: Vec<T>) {
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

    fn finding(rule: Rule, level: Level) -> Finding {
        let (entity, evidence) = (Entity::default(), Evidence::default());
        Finding { rule, entity, level, summary: String::new(), evidence }
    }

    fn at(tick: u64) -> Timestamp {
        Timestamp::from_nanos(tick * 10_000_000_000)
    }

    /// The level after each evaluation; ends with the episode.
    fn play(rule: Rule, found: &[Option<Level>]) -> Vec<Option<Level>> {
        let mut episode: Option<Episode> = None;
        let mut levels = Vec::new();
        for (tick, level) in (1..).zip(found) {
            match (&mut episode, level) {
                (Some(episode), Some(level)) => episode.find(finding(rule, *level), at(tick)),
                (none, Some(level)) => *none = Some(Episode::new(finding(rule, *level), at(tick))),
                (_, None) => {}
            }
            if let Some(now) = &mut episode {
                let goes_on = now.judge(at(tick), CLEAR);
                levels.push(now.level);
                if !goes_on {
                    break;
                }
            }
        }
        levels
    }

    #[test]
    fn rises_at_once_and_falls_late() {
        use Level::{Critical, Info, Warning};
        let seen = [Some(Info), Some(Critical), Some(Info), Some(Info), Some(Info), Some(Info)];
        let told = play(Rule::Tunnel, &seen);
        assert_eq!(told, [Info, Critical, Critical, Critical, Info, Info].map(Some));
        let seen = [Some(Warning), None, Some(Warning), Some(Warning), None, None, None, None];
        let told = play(Rule::Latency, &seen);
        let expected = [None, None, None, Some(Warning), Some(Warning), Some(Warning), None];
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn a_level_was_found_lately_and_often_enough(
            found in prop::collection::vec(prop::option::of(0..3_u8), 1..60),
            slow in any::<bool>(),
        ) {
            let levels = [Level::Info, Level::Warning, Level::Critical];
            let found: Vec<_> = found.iter().map(|l| l.map(|l| levels[usize::from(l)])).collect();
            let rule = if slow { Rule::Latency } else { Rule::Tunnel };
            let skipped = found.iter().position(Option::is_some).unwrap_or(found.len());
            let told = play(rule, &found[skipped..]);
            for (tick, level) in told.iter().enumerate() {
                let Some(level) = level else { continue };
                let seen = &found[skipped..=skipped + tick];
                let lately = &seen[seen.len().saturating_sub(3)..];
                prop_assert!(lately.iter().any(|found| *found >= Some(*level)), "{seen:?} {told:?}");
                let often = seen.windows(2).any(|two| two.iter().all(|found| *found >= Some(*level)));
                prop_assert!(!slow || often, "{seen:?} {told:?}");
            }
        }
    }
}
