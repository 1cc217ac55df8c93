//! Rule `tunnel`: data carried in query names (tunnels, exfiltration, beacons).
//!
//! Evaluated per pair of client and zone. Only parts of a name that look like data count
//! ([`super::lexical`]), and each name counts once: a cache answers repeated names, so a sender of
//! data needs new ones. Volume, record types, answers and regularity, over minutes and hours,
//! distinguish a tunnel from legitimate lookups. The method is described in `docs/detectors.md`.

mod flow;

use super::attribution::{Attribution, combine_hashes, hash, is_echo, is_multicast, share};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::lexical::{MIN_PIECE_BYTES, encoded_bytes, is_lookup_service};
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_dns::has_unknown_suffix;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use flow::{Counts, Flow, NameFeatures};
use std::time::Duration;

/// Maximum number of flows (pairs of zone and client) tracked.
const MAX_FLOWS: usize = 2048;
/// Time after which a flow without names that look like data is forgotten.
const IDLE: Duration = Duration::from_hours(7);

/// Multiple of the threshold from which the rule is critical.
const CRITICAL_FACTOR: u64 = 4;
/// Minimum bytes of data per name, on average, in queries for addresses. Identifiers are shorter.
const MIN_BYTES_PER_NAME: f64 = 16.0;
/// Factor for the threshold of bytes if all answers are yes or no, as from blocklists and virus
/// scanners.
const LOOKUP_ALLOWANCE: u64 = 4;
/// Minimum duration of a beacon.
const MIN_BEACON: Duration = Duration::from_mins(8);
/// Minimum number of intervals and of names of a beacon.
const MIN_INTERVALS: f64 = 16.0;
/// Maximum variation of a beacon's intervals: standard deviation divided by mean.
const MAX_VARIATION: f64 = 0.35;
/// Minimum number of names for a mean to be meaningful.
const MIN_NAMES: u64 = 24;
/// Share of yes-or-no responses from which a zone is a lookup service.
const MIN_LOOKUP_SHARE: f64 = 0.95;
/// Maximum share of queries for other types than addresses at a lookup service.
const MAX_LOOKUP_CARRIERS: f64 = 0.05;
/// Minimum share of listed addresses at a blocklist (RFC 5782), if not all are listed.
const MIN_LISTED_SHARE: f64 = 0.005;
/// A flow without a new name for this long is over,
const MAX_SILENCE: Duration = Duration::from_mins(10);
/// or, if its interval is longer, after this many intervals.
const MAX_MISSED_INTERVALS: f64 = 4.0;

/// Finds data carried in names.
#[derive(Debug, Default)]
pub struct Tunnel {
    flows: AssociativeTable<Flow, MAX_FLOWS>,
}

impl Detector for Tunnel {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::Tunnel]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let Some(qname) = observation.qname else { return };
        let (below, zone) = split(qname, observation.zone);
        let is_opaque = observation.qtype.is_some_and(flow::is_opaque);
        if below.is_empty() || (below.len() < MIN_PIECE_BYTES && !is_opaque) {
            return;
        }
        let encoded = encoded_bytes(below);
        if encoded == 0 && !is_opaque {
            return;
        }
        let counts = observation.is_query() && observation.opcode == 0;
        if !counts || is_echo(observation) || is_multicast(observation) || is_lookup_service(zone) {
            return;
        }
        let key = combine_hashes(hash(zone.as_bytes()), Attribution::hash(observation));
        let new = || Flow::new(zone.into(), Attribution::new(observation));
        let name = NameFeatures { hash: hash(qname.as_bytes()), encoded, is_opaque };
        self.flows.entry(key, observation.ts, new).record(observation, &name);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.flows.evaluate(now, IDLE, |flow| evaluate(flow, now), each);
    }
}

/// Splits a name into the labels below its zone and the zone. Without a registrable domain, the
/// zone is the last two labels. The Public Suffix List treats every unknown last label as a suffix;
/// if the label before it looks like data, the last label is taken for a private zone.
fn split<'a>(qname: &'a str, zone: Option<&'a str>) -> (&'a str, &'a str) {
    let mut zone = zone.unwrap_or_else(|| {
        let mut dots = qname.rmatch_indices('.');
        dots.nth(1).map_or(qname, |(dot, _)| &qname[dot + 1..])
    });
    if zone.len() == qname.len()
        && let Some((first, last)) = qname.rsplit_once('.')
        && encoded_bytes(first) > 0
        && has_unknown_suffix(qname)
    {
        zone = last;
    }
    let below = qname.len().saturating_sub(zone.len() + 1);
    (qname.get(..below).unwrap_or_default(), zone)
}

/// An indication of a tunnel in one look-back.
struct Indication {
    level: Severity,
    /// Name of the decisive figure.
    figure: &'static str,
    value: f64,
    threshold: f64,
}

/// Moves on to `now` and returns the finding of `flow`, if any.
fn evaluate(flow: &mut Flow, now: Timestamp) -> Option<Finding> {
    flow.roll(now);
    let silent = now.since(flow.intervals.last);
    if silent > MAX_SILENCE
        && silent.as_secs_f64() > MAX_MISSED_INTERVALS * flow.intervals.mean_seconds
    {
        return None;
    }
    let short = flow.short.total();
    let long = flow.long.total();
    let indications = [
        beacon(flow, &long).map(|found| (found, &long, "hours")),
        LONG.indication(&long).map(|found| (found, &long, "hours")),
        SHORT.indication(&short).map(|found| (found, &short, "2 min")),
    ];
    // Of equal severities, `max_by_key` returns the last: the current burst.
    let (indication, counts, within) =
        indications.into_iter().flatten().max_by_key(|(found, ..)| found.level)?;
    Some(finding(flow, &indication, counts, within))
}

/// Thresholds of a look-back.
struct Thresholds {
    /// Names queried by NULL or a private type, which have no legitimate use.
    opaque: u64,
    /// Names queried by TXT, CNAME, MX and similar types.
    carriers: u64,
    /// Bytes that look like data in names queried for an address.
    bytes: u64,
}

/// Thresholds over one to two minutes.
const SHORT: Thresholds = Thresholds { opaque: 8, carriers: 30, bytes: 2 << 10 };
/// Thresholds over three to six hours.
const LONG: Thresholds = Thresholds { opaque: 16, carriers: 60, bytes: 6 << 10 };

impl Thresholds {
    fn indication(&self, counts: &Counts) -> Option<Indication> {
        let found = |level, figure, value, threshold| {
            Some(Indication { level, figure, value: to_f64(value), threshold: to_f64(threshold) })
        };
        if counts.opaque >= self.opaque {
            return found(Severity::Critical, "opaque_names", counts.opaque, self.opaque);
        }
        if counts.carriers >= self.carriers {
            let level = level(counts.carriers, self.carriers);
            return found(level, "carrier_names", counts.carriers, self.carriers);
        }
        let is_lookup = is_lookup(counts);
        if (is_lookup && is_blocklist(counts)) || counts.names < MIN_NAMES {
            return None;
        }
        let threshold = self.bytes * if is_lookup { LOOKUP_ALLOWANCE } else { 1 };
        let min_per_name = MIN_BYTES_PER_NAME * if is_lookup { 1.5 } else { 1.0 };
        if counts.bytes < threshold || share(counts.bytes, counts.names) < min_per_name {
            return None;
        }
        let level = if is_lookup { Severity::Warning } else { level(counts.bytes, threshold) };
        found(level, "name_data_bytes", counts.bytes, threshold)
    }
}

fn level(value: u64, threshold: u64) -> Severity {
    Severity::at_least_warning(value >= threshold * CRITICAL_FACTOR)
}

/// Returns whether nearly all answers are yes or no, as those of a lookup service.
fn is_lookup(counts: &Counts) -> bool {
    counts.responses > 0
        && share(counts.verdicts, counts.responses) >= MIN_LOOKUP_SHARE
        && share(counts.carriers + counts.opaque, counts.names) <= MAX_LOOKUP_CARRIERS
}

fn is_blocklist(counts: &Counts) -> bool {
    let listed = share(counts.listed, counts.responses);
    listed >= MIN_LISTED_SHARE && counts.listed < counts.responses
}

/// New names at regular intervals.
fn beacon(flow: &Flow, long: &Counts) -> Option<Indication> {
    let intervals = &flow.intervals;
    let variation = intervals.variation();
    let is_beacon = intervals.count >= MIN_INTERVALS
        && variation <= MAX_VARIATION
        && intervals.duration() >= MIN_BEACON
        && to_f64(long.names) >= MIN_INTERVALS;
    let (level, figure, threshold) = (Severity::Warning, "beat_variation", MAX_VARIATION);
    is_beacon.then_some(Indication { level, figure, value: variation, threshold })
}

fn finding(flow: &Flow, found: &Indication, counts: &Counts, within: &str) -> Finding {
    let Flow { zone, attribution, intervals, .. } = flow;
    let per_name = share(counts.bytes, counts.names);
    let what = match found.figure {
        "opaque_names" => format!("{} names by NULL or private types", counts.opaque),
        "carrier_names" => format!("{} names by TXT, CNAME, MX and the like", counts.carriers),
        "beat_variation" => format!("a new name every {:.1} s", intervals.mean_seconds),
        _ => format!("{} bytes of data in {} names", counts.bytes, counts.names),
    };
    let summary = format!(
        "{attribution} carries data in names of {zone}: {what} within {within}, {per_name:.0} bytes of data in \
         each, {} bytes out and {} back",
        counts.query_bytes, counts.answer_bytes
    );
    let mut figures = vec![Figure::new(found.figure, found.value, Some(found.threshold))];
    let further: [(&str, f64); 9] = [
        ("names", to_f64(counts.names)),
        ("name_data_bytes", to_f64(counts.bytes)),
        ("data_bytes_per_name", per_name),
        ("opaque_names", to_f64(counts.opaque)),
        ("carrier_names", to_f64(counts.carriers)),
        ("query_bytes", to_f64(counts.query_bytes)),
        ("answer_bytes", to_f64(counts.answer_bytes)),
        ("beat_seconds", intervals.mean_seconds),
        ("beat_variation", intervals.variation()),
    ];
    let has_intervals = intervals.count >= 1.0;
    let is_meaningful =
        |name: &str| name != found.figure && (has_intervals || !name.starts_with("beat"));
    let further = further.into_iter().filter(|(name, _)| is_meaningful(name));
    figures.extend(further.map(|(name, value)| Figure::new(name, value, None)));
    let entity = Entity { zone: Some(zone.clone()), ..attribution.entity() };
    flow.evidence.finding(Rule::Tunnel, entity, found.level, (summary, figures))
}

#[cfg(test)]
mod tests;
