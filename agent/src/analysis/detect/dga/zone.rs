//! Zones below which many names fail: the target of a random-subdomain attack.

use super::{MIN_RANDOM_SHARE, NXDOMAIN};
use crate::analysis::detect::attribution::{EvidenceSample, hash_address, share};
use crate::analysis::detect::finding::{Entity, Figure, Finding, Rule, Severity};
use crate::analysis::detect::lexical::encoded_bytes;
use crate::analysis::detect::rolling::{BloomFilter, Rolling};
use crate::analysis::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Half of the look-back.
const HALF_MINUTE: Duration = Duration::from_secs(30);

// Thresholds over half a minute to a minute.

/// Distinct failed names that look random.
const MIN_RANDOM: u64 = 100;
/// Distinct failed names that look random, if each client sends fewer than eight: many browsers that
/// probe for search domains look the same.
const MIN_RANDOM_FEW_EACH: u64 = 600;
/// Distinct nonexistent names of any look.
const MIN_ANY: u64 = 600;
/// Distinct failed names from which the rule is critical.
const CRITICAL: u64 = 2000;
/// Minimum share of failed queries.
const MIN_FAILED_SHARE: f64 = 0.85;

/// Counts of a span of time.
#[derive(Clone, Debug, Default)]
struct SpanCounts {
    /// Distinct names that failed.
    names: u64,
    /// Distinct failed names that look random.
    random: u64,
    /// Distinct names answered with NXDOMAIN. Queries that an overloaded server left unanswered do
    /// not count.
    missing: u64,
    /// Failed queries.
    failed: u64,
    /// Successful queries.
    answered: u64,
    /// Distinct clients of failed queries.
    clients: u64,
    seen: BloomFilter<64>,
    seen_clients: BloomFilter<16>,
}

/// A zone below which names fail.
#[derive(Debug)]
pub(super) struct AttackedZone {
    zone: Box<str>,
    counts: Rolling<SpanCounts>,
    evidence: EvidenceSample,
}

impl AttackedZone {
    pub(super) fn new(zone: Box<str>) -> Self {
        Self { zone, counts: Rolling::default(), evidence: EvidenceSample::default() }
    }

    fn roll(&mut self, now: Timestamp) {
        self.counts.roll(now, HALF_MINUTE);
    }

    /// Records a failed query for a name below the zone.
    pub(super) fn record_failure(
        &mut self,
        observation: &TransactionView<'_>,
        below: &str,
        name: u64,
    ) {
        self.roll(observation.ts);
        let Rolling { current, previous, .. } = &mut self.counts;
        current.failed += 1;
        let client = hash_address(observation.client.ip());
        current.clients +=
            u64::from(current.seen_clients.insert_new(&previous.seen_clients, client));
        if !current.seen.insert_new(&previous.seen, name) {
            return;
        }
        current.names += 1;
        current.random += u64::from(encoded_bytes(below) > 0);
        current.missing += u64::from(observation.rcode == Some(NXDOMAIN));
        if current.names + previous.names > 16 {
            self.evidence.record(observation);
        }
    }

    /// Records a successful query for a name below the zone.
    pub(super) fn record_answer(&mut self, ts: Timestamp) {
        self.roll(ts);
        self.counts.current.answered += 1;
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.zone.len() + self.evidence.heap_bytes()
    }

    /// Moves on to `now` and returns the finding of this zone, if any.
    pub(super) fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.roll(now);
        let sum = |count: fn(&SpanCounts) -> u64| self.counts.sum(count);
        let (failed, answered) = (sum(|span| span.failed), sum(|span| span.answered));
        let (names, random, clients) =
            (sum(|span| span.names), sum(|span| span.random), sum(|span| span.clients));
        if share(failed, failed + answered) < MIN_FAILED_SHARE {
            return None;
        }
        let few_each = names < clients.saturating_mul(8);
        let min_random = if few_each { MIN_RANDOM_FEW_EACH } else { MIN_RANDOM };
        let is_random = share(random, names) >= MIN_RANDOM_SHARE && names >= min_random;
        if !is_random && sum(|span| span.missing) < MIN_ANY {
            return None;
        }
        let level = Severity::at_least_warning(names >= CRITICAL);
        let zone = &self.zone;
        let summary = format!(
            "random-subdomain attack on {zone}: {names} different names below it got no answer within a \
             minute, from {clients} clients"
        );
        let threshold = if is_random { min_random } else { MIN_ANY };
        let figures = vec![
            Figure::new("failed_names", to_f64(names), Some(to_f64(threshold))),
            Figure::new("random_share", share(random, names), None),
            Figure::new("failed_share", share(failed, failed + answered), Some(MIN_FAILED_SHARE)),
            Figure::new("clients", to_f64(clients), None),
        ];
        let entity = Entity { zone: Some(zone.clone()), ..Entity::default() };
        Some(self.evidence.finding(Rule::Dga, entity, level, (summary, figures)))
    }
}
