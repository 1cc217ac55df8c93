//! Zones below which names are asked for that do not exist.

use super::{DgaOptions, NXDOMAIN};
use crate::detect::finding::{Entity, Finding, Level, Rule};
use crate::detect::lexical::encoded_octets;
use crate::detect::table::{Halves, Seen};
use crate::detect::who::{Exhibits, figure, hash_of_address, share};
use crate::number::float;
use crate::observation::Observation;
use crate::time::Timestamp;
use std::time::Duration;

/// Half of the look back.
const HALF_MINUTE: Duration = Duration::from_secs(30);

/// What was counted in a span of time.
#[derive(Clone, Debug, Default)]
struct Span {
    /// Different names that failed.
    names: u64,
    /// Those that look random.
    random: u64,
    /// Those that do not exist, as the answer says: not those that a server in trouble left unanswered.
    missing: u64,
    /// Queries that failed.
    failed: u64,
    /// Queries that did not.
    answered: u64,
    /// Different clients of failed queries.
    clients: u64,
    seen: Seen<64>,
    seen_clients: Seen<16>,
}

/// A zone below which names do not exist.
#[derive(Debug)]
pub(super) struct Target {
    zone: Box<str>,
    halves: Halves<Span>,
    exhibits: Exhibits,
}

impl Target {
    pub(super) fn new(zone: Box<str>) -> Self {
        Self { zone, halves: Halves::default(), exhibits: Exhibits::default() }
    }

    pub(super) fn roll(&mut self, now: Timestamp) {
        self.halves.roll(now, HALF_MINUTE);
    }

    /// A name below the zone got no answer.
    pub(super) fn failed(&mut self, observation: &Observation<'_>, below: &str, name: u64) {
        self.roll(observation.ts);
        let Halves { now, before, .. } = &mut self.halves;
        now.failed += 1;
        let client = hash_of_address(observation.client.ip());
        if !now.seen_clients.has(client) && !before.seen_clients.has(client) {
            now.seen_clients.insert(client);
            now.clients += 1;
        }
        if now.seen.has(name) || before.seen.has(name) {
            return;
        }
        now.seen.insert(name);
        now.names += 1;
        now.random += u64::from(encoded_octets(below) > 0);
        now.missing += u64::from(observation.rcode == Some(NXDOMAIN));
        if now.names + before.names > 16 {
            self.exhibits.take(observation);
        }
    }

    /// A name below the zone got one.
    pub(super) fn answered(&mut self, ts: Timestamp) {
        self.roll(ts);
        self.halves.now.answered += 1;
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.zone.len() + self.exhibits.heap_bytes()
    }

    pub(super) fn finding(&self, options: &DgaOptions) -> Option<Finding> {
        let sum = |of: fn(&Span) -> u64| of(&self.halves.now) + of(&self.halves.before);
        let (failed, answered) = (sum(|span| span.failed), sum(|span| span.answered));
        let (names, random, clients) =
            (sum(|span| span.names), sum(|span| span.random), sum(|span| span.clients));
        if share(failed, failed + answered) < options.below_failing {
            return None;
        }
        let few_each = names < clients.saturating_mul(8);
        let wanted = if few_each { options.below_few_each } else { options.below_random };
        let is_random = share(random, names) >= options.random_share && names >= wanted;
        if !is_random && sum(|span| span.missing) < options.below_any {
            return None;
        }
        let critical = names >= options.below_critical;
        let level = if critical { Level::Critical } else { Level::Warning };
        let zone = &self.zone;
        let summary = format!(
            "random-subdomain attack on {zone}: {names} different names below it got no answer within a \
             minute, from {clients} clients"
        );
        let threshold = if is_random { wanted } else { options.below_any };
        let figures = vec![
            figure("failed_names", float(names), Some(float(threshold))),
            figure("random_share", share(random, names), None),
            figure("failed_share", share(failed, failed + answered), Some(options.below_failing)),
            figure("clients", float(clients), None),
        ];
        Some(Finding {
            rule: Rule::Dga,
            entity: Entity { zone: Some(zone.clone()), ..Entity::default() },
            level,
            summary,
            evidence: self.exhibits.evidence(figures),
        })
    }
}
