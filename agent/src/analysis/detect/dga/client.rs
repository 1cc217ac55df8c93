//! Clients that query domains that do not exist.

use super::MIN_RANDOM_SHARE;
use crate::analysis::Merge;
use crate::analysis::detect::attribution::{Attribution, EvidenceSample, share};
use crate::analysis::detect::finding::{Figure, Finding, Rule, Severity};
use crate::analysis::detect::rolling::{BloomFilter, Rolling};
use crate::analysis::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Half of the short look-back.
const MINUTES: Duration = Duration::from_secs(600);
/// Half of the long look-back.
const HOUR: Duration = Duration::from_secs(3600);

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

merged_struct! {
    /// Counts of domains; each counts once.
    #[derive(Clone, Copy, Debug, Default)]
    struct Totals {
        missing: u64,
        random: u64,
        existing: u64,
    }
}

/// Domains of a span of time.
#[derive(Clone, Debug, Default)]
struct SpanCounts {
    totals: Totals,
    seen: BloomFilter<32>,
    seen_existing: BloomFilter<16>,
}

/// Domains that a client queried.
#[derive(Debug)]
pub(super) struct Client {
    attribution: Attribution,
    short: Rolling<SpanCounts>,
    long: Rolling<SpanCounts>,
    evidence: EvidenceSample,
}

impl Client {
    pub(super) fn new(attribution: Attribution) -> Self {
        let (short, long) = (Rolling::default(), Rolling::default());
        Self { attribution, short, long, evidence: EvidenceSample::default() }
    }

    fn roll(&mut self, now: Timestamp) {
        self.short.roll(now, MINUTES);
        self.long.roll(now, HOUR);
    }

    /// Records a domain that does not exist.
    pub(super) fn record_missing(
        &mut self,
        observation: &TransactionView<'_>,
        domain: u64,
        random: bool,
    ) {
        self.roll(observation.ts);
        add_missing(&mut self.short, domain, random);
        if add_missing(&mut self.long, domain, random) && random {
            self.evidence.record(observation);
        }
    }

    /// Records a domain that exists.
    pub(super) fn record_existing(&mut self, ts: Timestamp, domain: u64) {
        self.roll(ts);
        for Rolling { current, previous, .. } in [&mut self.short, &mut self.long] {
            let is_new = current.seen_existing.insert_new(&previous.seen_existing, domain);
            current.totals.existing += u64::from(is_new);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.attribution.heap_bytes() + self.evidence.heap_bytes()
    }

    /// Moves on to `now` and returns the finding of this client, if any.
    pub(super) fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.roll(now);
        let look_backs = [
            (&self.short, MIN_RANDOM_SHORT, MIN_ANY_SHORT, "20 min"),
            (&self.long, MIN_RANDOM_LONG, MIN_ANY_LONG, "2 h"),
        ];
        let found = look_backs.into_iter().filter_map(|(spans, min_random, min_any, within)| {
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
            "{} asked for {missing} domains that do not exist within {within}, {random} of them with names \
             that look random, and for {existing} that do",
            self.attribution
        );
        let figures = vec![
            Figure::new("random_domains", to_f64(random), Some(to_f64(threshold))),
            Figure::new("missing_domains", to_f64(missing), None),
            Figure::new("existing_domains", to_f64(existing), None),
            Figure::new("missing_share", share(missing, missing + existing), None),
        ];
        let entity = self.attribution.entity();
        self.evidence.finding(Rule::Dga, entity, level, (summary, figures))
    }
}

impl Totals {
    fn level(&self, min_random: u64, min_any: u64) -> Option<Severity> {
        if self.random >= min_random && share(self.random, self.missing) >= MIN_RANDOM_SHARE {
            return Some(Severity::at_least_warning(self.random >= min_random * CRITICAL_FACTOR));
        }
        let missing_share = share(self.missing, self.missing + self.existing);
        let is_burst = self.missing >= min_any && missing_share >= MIN_MISSING_SHARE;
        is_burst.then_some(Severity::Warning)
    }
}

/// Counts a missing domain unless it is known. Returns whether it was new.
fn add_missing(spans: &mut Rolling<SpanCounts>, domain: u64, random: bool) -> bool {
    let Rolling { current, previous, .. } = spans;
    let is_new = current.seen.insert_new(&previous.seen, domain);
    current.totals.missing += u64::from(is_new);
    current.totals.random += u64::from(is_new && random);
    is_new
}
