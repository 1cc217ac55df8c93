//! Responses that contradict each other: one query has one answer, and who gives another one lies, or
//! the first did.
//!
//! A further response to an answered query is harmless when it says the same: the network doubled it, or
//! the query was sent again. It is a spoof race when it says something else, and the query was sent
//! once. Where the query was sent again, a server may have answered both, each time with other addresses of
//! a large site; so that counts only in numbers.

use super::finding::{Detector, Entity, Finding, Level, Rule};
use super::table::{Halves, Table};
use super::who::{Exhibits, figure, hash, is_multicast, is_other_end};
use crate::number::float;
use crate::observation::Observation;
use crate::pair::Status;
use crate::time::Timestamp;
use std::time::Duration;

/// Octets that [`Spoofing`] takes at most.
pub const SPOOFING_MEMORY_BYTES: usize = 3 << 20;

/// Resolvers at a time whose responses contradict each other.
const RESOLVERS: usize = 512;
/// Half of the look back.
const SPAN: Duration = Duration::from_secs(300);

/// From when on contradictions are a finding. All within five to ten minutes at one resolver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpoofingOptions {
    /// Contradictions without a query sent again.
    pub races: u64,
    /// So many are critical.
    pub races_critical: u64,
    /// Contradictions where the query was sent again.
    pub after_retries: u64,
}

impl Default for SpoofingOptions {
    fn default() -> Self {
        Self { races: 1, races_critical: 3, after_retries: 10 }
    }
}

/// Finds responses that contradict each other.
#[derive(Debug)]
pub struct Spoofing {
    options: SpoofingOptions,
    resolvers: Table<Resolver>,
}

#[derive(Debug)]
struct Resolver {
    name: Box<str>,
    halves: Halves<Counts>,
    exhibits: Exhibits,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    races: u64,
    after_retries: u64,
    /// The shortest time between the query and the response that contradicts, in milliseconds.
    soonest_ms: Option<f64>,
}

impl Default for Spoofing {
    fn default() -> Self {
        Self::new(SpoofingOptions::default())
    }
}

impl Spoofing {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: SpoofingOptions) -> Self {
        Self { options, resolvers: Table::new(RESOLVERS) }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.resolvers.bytes(|resolver| resolver.name.len() + resolver.exhibits.heap_bytes())
    }
}

impl Detector for Spoofing {
    fn observe(&mut self, observation: &Observation<'_>) {
        let contradicts = observation.status == Status::Duplicate && observation.conflict;
        if !contradicts || is_other_end(observation) || is_multicast(observation) {
            return;
        }
        let key = hash(observation.resolver.as_bytes());
        let resolver = self.resolvers.entry(key, observation.ts, || Resolver {
            name: observation.resolver.into(),
            halves: Halves::default(),
            exhibits: Exhibits::default(),
        });
        resolver.halves.roll(observation.response_ts.unwrap_or(observation.ts), SPAN);
        let counts = &mut resolver.halves.now;
        if observation.retries == 0 {
            counts.races += 1;
        } else {
            counts.after_retries += 1;
        }
        counts.soonest_ms = soonest(counts.soonest_ms, observation.latency_ms);
        resolver.exhibits.take(observation);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for resolver in self.resolvers.values_mut() {
            resolver.halves.roll(now, SPAN);
            if let Some(finding) = resolver.finding(&self.options) {
                each(finding);
            }
        }
        self.resolvers.age(now, SPAN * 3);
    }
}

impl Resolver {
    fn finding(&self, options: &SpoofingOptions) -> Option<Finding> {
        let Halves { now, before, .. } = &self.halves;
        let races = now.races + before.races;
        let after_retries = now.after_retries + before.after_retries;
        let (level, value, threshold, how) = if races >= options.races {
            let critical = races >= options.races_critical;
            let level = if critical { Level::Critical } else { Level::Warning };
            (level, races, options.races, "to queries that were sent once")
        } else if after_retries >= options.after_retries {
            (
                Level::Warning,
                after_retries,
                options.after_retries,
                "to queries that were sent again",
            )
        } else {
            return None;
        };
        let soonest = soonest(now.soonest_ms, before.soonest_ms);
        let within =
            soonest.map_or(String::new(), |ms| format!(", the soonest {ms:.1} ms after the query"));
        let summary = format!(
            "{value} responses of {} within 10 min contradict an earlier one, {how}{within}: one of the two \
             is forged",
            self.name
        );
        let mut figures = vec![
            figure("contradictions", float(value), Some(float(threshold))),
            figure("contradictions_after_retries", float(after_retries), None),
        ];
        figures.extend(soonest.map(|ms| figure("soonest_ms", ms, None)));
        Some(Finding {
            rule: Rule::Spoofing,
            entity: Entity { resolver: Some(self.name.clone()), ..Entity::default() },
            level,
            summary,
            evidence: self.exhibits.evidence(figures),
        })
    }
}

fn soonest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests;
