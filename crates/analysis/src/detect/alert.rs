//! Alerts as they leave detection, and their counters.

use super::finding::{Entity, Evidence, Rule, Severity};
use dnscribe_record::time::Timestamp;

dnscribe_record::named_enum! {
    /// State of an alert.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum AlertState {
        /// The condition holds.
        Firing = "firing",
        /// The condition is over.
        Resolved = "resolved",
    }
}

/// One change of an alert, or a repetition of it.
///
/// `crate::record::Identity` derives `alert_id` from the node, `rule`, `entity` and `started`; it is
/// the same in all records of an episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Number of this alert within the capture, from 1.
    pub ordinal: u64,
    /// Time of the evaluation, by the capture's clock.
    pub ts: Timestamp,
    /// Rule that found the condition.
    pub rule: Rule,
    /// Entity that it concerns.
    pub entity: Entity,
    /// Whether the condition still holds.
    pub state: AlertState,
    /// Severity; of a resolved alert, its last severity.
    pub level: Severity,
    /// Previous severity, if the severity has changed.
    pub previous: Option<Severity>,
    /// Time of the first finding.
    pub started: Timestamp,
    /// Time of the last finding, if the alert is resolved.
    pub ended: Option<Timestamp>,
    /// One sentence for a reader.
    pub summary: String,
    /// Evidence of the condition.
    pub evidence: Evidence,
    /// Number of other alerts that this one explains, and that were suppressed for it.
    pub suppressed: u64,
}

/// Number of severities.
const LEVELS: usize = Severity::ALL.len();

/// Counters of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertCounters {
    /// Alerts reported, indexed by rule, level and state.
    reported: [[[u64; AlertState::ALL.len()]; LEVELS]; Rule::ALL.len()],
    /// Reported alerts that are firing now, indexed by rule and level.
    active: [[u64; LEVELS]; Rule::ALL.len()],
    /// Alerts not reported because another one explains them, by rule.
    pub suppressed: [u64; Rule::ALL.len()],
    /// Alerts delayed by maintenance, by rule.
    pub muted: [u64; Rule::ALL.len()],
    /// Findings dropped because their rule has too many alerts.
    pub overflowed: u64,
    /// Entities that a rule with a baseline knows, by rule: still learning, and judged.
    pub entities: [EntityCounts; Rule::ALL.len()],
}

/// Entities with a baseline, by what a rule does with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntityCounts {
    /// Entities that were not observed for long enough, about which the rule reports nothing.
    pub learning: u64,
    /// Entities that the rule judges.
    pub judged: u64,
}

impl AlertCounters {
    /// Returns the number of alerts reported by rule, level and state, without zeros.
    pub fn reported(&self) -> impl Iterator<Item = (Rule, Severity, AlertState, u64)> {
        all()
            .flat_map(|(rule, level)| {
                let counts = self.reported[rule as usize][level as usize];
                AlertState::ALL.map(|state| (rule, level, state, counts[state as usize]))
            })
            .filter(|(.., count)| *count > 0)
    }

    /// Returns the number of firing alerts by rule and level, with zeros where an alert has fired before.
    pub fn active(&self) -> impl Iterator<Item = (Rule, Severity, u64)> {
        all()
            .filter(|(rule, level)| {
                self.reported[*rule as usize][*level as usize][AlertState::Firing as usize] > 0
            })
            .map(|(rule, level)| (rule, level, self.active[rule as usize][level as usize]))
    }

    /// Returns the number of entities of each rule with a baseline.
    pub fn entities(&self) -> impl Iterator<Item = (Rule, EntityCounts)> {
        let learned = Rule::ALL.into_iter().filter(|rule| rule.has_baseline());
        learned.map(|rule| (rule, self.entities[rule as usize]))
    }

    pub(super) const fn count(&mut self, rule: Rule, level: Severity, state: AlertState) {
        self.reported[rule as usize][level as usize][state as usize] += 1;
    }

    pub(super) fn set_active(&mut self, active: impl Iterator<Item = (Rule, Severity)>) {
        self.active = Default::default();
        for (rule, level) in active {
            self.active[rule as usize][level as usize] += 1;
        }
    }
}

fn all() -> impl Iterator<Item = (Rule, Severity)> {
    Rule::ALL.into_iter().flat_map(|rule| Severity::ALL.map(|level| (rule, level)))
}
