//! How many alerts there were, and are.

use super::alert::State;
use super::finding::{Level, Rule};

const LEVELS: [Level; 3] = [Level::Info, Level::Warning, Level::Critical];

/// Counts of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertCounters {
    /// Given, by rule, level and state; the order is that of the enums.
    given: [[[u64; State::ALL.len()]; LEVELS.len()]; Rule::ALL.len()],
    /// Firing now, of those that were told, by rule and level.
    active: [[u64; LEVELS.len()]; Rule::ALL.len()],
    /// Not told, since another explains them, by rule.
    pub suppressed: [u64; Rule::ALL.len()],
    /// Not told in time, for maintenance, by rule.
    pub muted: [u64; Rule::ALL.len()],
    /// Findings for which there was no room.
    pub overflowed: u64,
}

impl AlertCounters {
    /// Alerts given, by rule, level and state; without those of which there are none.
    pub fn given(&self) -> impl Iterator<Item = (Rule, Level, State, u64)> {
        let all = Rule::ALL.into_iter().flat_map(|rule| LEVELS.map(|level| (rule, level)));
        let all = all.flat_map(|(rule, level)| State::ALL.map(|state| (rule, level, state)));
        all.map(|(rule, level, state)| {
            let count = self.given[rule as usize][level as usize][state as usize];
            (rule, level, state, count)
        })
        .filter(|(.., count)| *count > 0)
    }

    /// Alerts that fire, by rule and level; zeros where there were any.
    pub fn active(&self) -> impl Iterator<Item = (Rule, Level, u64)> {
        let all = Rule::ALL.into_iter().flat_map(|rule| LEVELS.map(|level| (rule, level)));
        all.filter(|(rule, level)| {
            self.given[*rule as usize][*level as usize][State::Firing as usize] > 0
        })
        .map(|(rule, level)| (rule, level, self.active[rule as usize][level as usize]))
    }

    pub(super) const fn count(&mut self, rule: Rule, level: Level, state: State) {
        self.given[rule as usize][level as usize][state as usize] += 1;
    }

    pub(super) fn set_active(&mut self, active: impl Iterator<Item = (Rule, Level)>) {
        self.active = Default::default();
        for (rule, level) in active {
            self.active[rule as usize][level as usize] += 1;
        }
    }
}
