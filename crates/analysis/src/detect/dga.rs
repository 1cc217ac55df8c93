//! Rule `dga`: generated names that do not exist.
//!
//! Two shapes: a client that queries many registrable domains that do not exist (malware looking
//! for its controller), and many nonexistent names below one zone (random-subdomain attack on the
//! servers of the zone, enumeration of names). The entity of the second has a zone and no process.
//! The method is described in `docs/detectors.md`.

use super::attribution::{
    Attribution, EvidenceSample, hash, hash_address, is_echo, is_multicast, ratio,
};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::lexical::{encoded_bytes, is_lookup_service, is_random};
use super::rolling::{BloomFilter, Rolling};
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_dns::rcode::NXDOMAIN;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{Merge, merged_struct};
use dnscribe_transaction::pair::Status;
use std::time::Duration;

/// Maximum number of clients tracked that got NXDOMAIN for a registrable domain.
const MAX_CLIENTS: usize = 2048;
/// Maximum number of zones tracked with failing names.
const MAX_ZONES: usize = 1024;
/// Time after which an idle client or zone is forgotten.
const IDLE: Duration = Duration::from_hours(2);

/// Minimum share of random-looking names among the failing ones.
const MIN_RANDOM_SHARE: f64 = 0.4;

// Thresholds for a client.

/// Half of the short look-back.
const MINUTES: Duration = Duration::from_mins(10);
/// Half of the long look-back.
const HOUR: Duration = Duration::from_hours(1);

/// Distinct missing domains that look random: short look-back (10 to 20 minutes).
const MIN_RANDOM_SHORT: u64 = 12;
/// Distinct missing domains that look random: long look-back (1 to 2 hours).
const MIN_RANDOM_LONG: u64 = 20;
/// Distinct missing domains of any look: short look-back.
const MIN_ANY_SHORT: u64 = 60;
/// Distinct missing domains of any look: long look-back.
const MIN_ANY_LONG: u64 = 3 * MIN_ANY_SHORT;
/// Minimum share of missing domains among all domains, if they do not look random.
const MIN_MISSING_SHARE: f64 = 0.8;
/// The rule is critical from this many times the threshold for random domains.
const CRITICAL_FACTOR: u64 = 5;

// Thresholds for a zone, over half a minute to a minute.

/// Half of the look-back for a zone.
const HALF_MINUTE: Duration = Duration::from_secs(30);

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

/// Finds generated names.
#[derive(Debug, Default)]
pub struct Dga {
    clients: AssociativeTable<Client, MAX_CLIENTS>,
    zones: AssociativeTable<AttackedZone, MAX_ZONES>,
}

impl Dga {
    /// Records a query for a domain that does not exist.
    fn record_missing(&mut self, observation: &TransactionView<'_>, zone: &str, zone_hash: u64) {
        let first = zone.split('.').next().unwrap_or(zone);
        // Hyphens join words, or random parts to others.
        let random = first.split('-').any(|piece| is_random(piece.as_bytes()));
        let new = || Client::new(Attribution::new(observation));
        let client = self.clients.entry(Attribution::hash(observation), observation.ts, new);
        client.record_missing(observation, zone_hash, random);
    }
}

impl Detector for Dga {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::Dga]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let (Some(qname), Some(zone)) = (observation.qname, observation.zone) else { return };
        let failed = match observation.status {
            Status::Answered => observation.rcode != Some(0),
            Status::Timeout if !observation.is_lost_here() => true,
            _ => return,
        };
        if is_reverse(zone) || is_echo(observation) || is_multicast(observation) {
            return;
        }
        let zone_hash = hash(zone.as_bytes());
        let ts = observation.ts;
        if failed {
            if is_lookup_service(zone) {
                return;
            }
            let missing = observation.rcode == Some(NXDOMAIN);
            if missing {
                self.record_missing(observation, zone, zone_hash);
            }
            if qname.len() > zone.len() {
                let below = &qname[..qname.len() - zone.len()];
                let attacked = self.zones.entry(zone_hash, ts, || AttackedZone::new(zone.into()));
                attacked.record_failure(observation, below, hash(qname.as_bytes()));
            }
            return;
        }
        if let Some(client) = self.clients.get_mut(Attribution::hash(observation), ts) {
            client.record_existing(ts, zone_hash);
        }
        if let Some(attacked) = self.zones.get_mut(zone_hash, ts) {
            attacked.record_answer(ts);
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.clients.evaluate(now, IDLE, |client| client.evaluate(now), each);
        self.zones.evaluate(now, IDLE, |zone| zone.evaluate(now), each);
    }
}

merged_struct! {
    /// Counts of domains; each counts once.
    #[derive(Clone, Copy, Debug, Default)]
    struct Totals {
        missing: f64,
        random: f64,
        existing: f64,
    }
}

/// Domains that a client queried in a span of time.
#[derive(Clone, Debug, Default)]
struct DomainSpan {
    totals: Totals,
    seen: BloomFilter<32>,
    seen_existing: BloomFilter<16>,
}

/// Domains that a client queried.
#[derive(Debug)]
struct Client {
    attribution: Attribution,
    short: Rolling<DomainSpan>,
    long: Rolling<DomainSpan>,
    evidence: EvidenceSample,
}

impl Client {
    fn new(attribution: Attribution) -> Self {
        let (short, long) = (Rolling::default(), Rolling::default());
        Self { attribution, short, long, evidence: EvidenceSample::default() }
    }

    fn roll(&mut self, now: Timestamp) {
        self.short.roll(now, MINUTES);
        self.long.roll(now, HOUR);
    }

    fn record_missing(&mut self, observation: &TransactionView<'_>, domain: u64, random: bool) {
        self.roll(observation.ts);
        add_missing(&mut self.short, domain, random);
        if add_missing(&mut self.long, domain, random) && random {
            self.evidence.record(observation);
        }
    }

    fn record_existing(&mut self, ts: Timestamp, domain: u64) {
        self.roll(ts);
        for Rolling { current, previous, .. } in [&mut self.short, &mut self.long] {
            let new = current.seen_existing.count_new(&previous.seen_existing, domain);
            current.totals.existing += new;
        }
    }

    /// Moves on to `now` and returns the finding of this client, if any.
    fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.roll(now);
        let spans_back = [
            (&self.short, MIN_RANDOM_SHORT, MIN_ANY_SHORT, "20 min"),
            (&self.long, MIN_RANDOM_LONG, MIN_ANY_LONG, "2 h"),
        ];
        let found = spans_back.into_iter().filter_map(|(spans, min_random, min_any, within)| {
            let mut totals = spans.current.totals;
            totals.merge(&spans.previous.totals);
            Some((totals.level(min_random, min_any)?, totals, min_random, within))
        });
        let (level, totals, threshold, within) = found.max_by_key(|(level, ..)| *level)?;
        Some(self.finding(level, &totals, threshold, within))
    }

    fn finding(&self, level: Severity, totals: &Totals, threshold: u64, within: &str) -> Finding {
        let Totals { missing, random, existing } = *totals;
        let summary = format!(
            "{} asked for {missing:.0} domains that do not exist within {within}, {random:.0} of them with names \
             that look random, and for {existing:.0} that do",
            self.attribution
        );
        let figures = vec![
            Figure::new("random_domains", random.round(), Some(to_f64(threshold))),
            Figure::new("missing_domains", missing.round(), None),
            Figure::new("existing_domains", existing.round(), None),
            Figure::new("missing_share", ratio(missing, missing + existing), None),
        ];
        let entity = self.attribution.entity();
        self.evidence.finding(Rule::Dga, entity, level, (summary, figures))
    }
}

impl Totals {
    fn level(&self, min_random: u64, min_any: u64) -> Option<Severity> {
        let random = self.random.round();
        if random >= to_f64(min_random) && ratio(self.random, self.missing) >= MIN_RANDOM_SHARE {
            let critical = to_f64(min_random * CRITICAL_FACTOR);
            return Some(Severity::at_least_warning(random >= critical));
        }
        let missing_share = ratio(self.missing, self.missing + self.existing);
        let is_burst =
            self.missing.round() >= to_f64(min_any) && missing_share >= MIN_MISSING_SHARE;
        is_burst.then_some(Severity::Warning)
    }
}

/// Counts a missing domain unless it is known. Returns whether it was new.
fn add_missing(spans: &mut Rolling<DomainSpan>, domain: u64, random: bool) -> bool {
    let Rolling { current, previous, .. } = spans;
    let new = current.seen.count_new(&previous.seen, domain);
    current.totals.missing += new;
    current.totals.random += if random { new } else { 0.0 };
    new > 0.0
}

/// Names below a zone in a span of time.
#[derive(Clone, Debug, Default)]
struct NameSpan {
    /// Distinct names that failed.
    names: f64,
    /// Distinct failed names that look random.
    random: f64,
    /// Distinct names answered with NXDOMAIN. Queries that an overloaded server left unanswered do
    /// not count.
    missing: f64,
    failed: u64,
    answered: u64,
    /// Distinct clients of failed queries.
    clients: f64,
    seen: BloomFilter<64>,
    seen_clients: BloomFilter<16>,
}

/// A zone below which names fail.
#[derive(Debug)]
struct AttackedZone {
    zone: Box<str>,
    counts: Rolling<NameSpan>,
    evidence: EvidenceSample,
}

impl AttackedZone {
    fn new(zone: Box<str>) -> Self {
        Self { zone, counts: Rolling::default(), evidence: EvidenceSample::default() }
    }

    fn roll(&mut self, now: Timestamp) {
        self.counts.roll(now, HALF_MINUTE);
    }

    /// Records a failed query for a name below the zone.
    fn record_failure(&mut self, observation: &TransactionView<'_>, below: &str, name: u64) {
        self.roll(observation.ts);
        let Rolling { current, previous, .. } = &mut self.counts;
        current.failed += 1;
        let client = hash_address(observation.client.ip());
        current.clients += current.seen_clients.count_new(&previous.seen_clients, client);
        let new = current.seen.count_new(&previous.seen, name);
        if new == 0.0 {
            return;
        }
        current.names += new;
        current.random += if encoded_bytes(below) > 0 { new } else { 0.0 };
        current.missing += if observation.rcode == Some(NXDOMAIN) { new } else { 0.0 };
        if current.names + previous.names > 16.0 {
            self.evidence.record(observation);
        }
    }

    /// Records a successful query for a name below the zone.
    fn record_answer(&mut self, ts: Timestamp) {
        self.roll(ts);
        self.counts.current.answered += 1;
    }

    /// Moves on to `now` and returns the finding of this zone, if any.
    fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.roll(now);
        let sum = |count: fn(&NameSpan) -> f64| {
            (count(&self.counts.current) + count(&self.counts.previous)).round()
        };
        let (failed, answered) =
            (sum(|span| to_f64(span.failed)), sum(|span| to_f64(span.answered)));
        let (names, random, clients, missing) = (
            sum(|span| span.names),
            sum(|span| span.random),
            sum(|span| span.clients),
            sum(|span| span.missing),
        );
        if ratio(failed, failed + answered) < MIN_FAILED_SHARE {
            return None;
        }
        let few_each = names < clients * 8.0;
        let min_random = if few_each { MIN_RANDOM_FEW_EACH } else { MIN_RANDOM };
        let is_random = ratio(random, names) >= MIN_RANDOM_SHARE && names >= to_f64(min_random);
        if !is_random && missing < to_f64(MIN_ANY) {
            return None;
        }
        let level = Severity::at_least_warning(names >= to_f64(CRITICAL));
        let zone = &self.zone;
        let summary = format!(
            "random-subdomain attack on {zone}: {names} different names below it failed within a minute, \
             {missing} of them with NXDOMAIN, from {clients} clients"
        );
        let threshold = if is_random { min_random } else { MIN_ANY };
        let figures = vec![
            Figure::new("failed_names", names, Some(to_f64(threshold))),
            Figure::new("random_share", ratio(random, names), None),
            Figure::new("failed_share", ratio(failed, failed + answered), Some(MIN_FAILED_SHARE)),
            Figure::new("clients", clients, None),
        ];
        let entity = Entity { zone: Some(zone.clone()), ..Entity::default() };
        Some(self.evidence.finding(Rule::Dga, entity, level, (summary, figures)))
    }
}

/// Returns whether `zone` is in the reverse tree, where addresses often have no name.
fn is_reverse(zone: &str) -> bool {
    zone.strip_suffix(".arpa").is_some()
}

#[cfg(test)]
mod tests;
