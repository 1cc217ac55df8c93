//! Is it a tunnel?

use super::flow::{Flow, Sums};
use crate::detect::finding::{Entity, Figure, Finding, Level, Rule};
use crate::detect::who::{figure, share};
use crate::number::float;
use crate::time::Timestamp;
use std::time::Duration;

/// From when on names that look like data are a finding. All counts are of different names, over one to two
/// minutes (`burst`) and over three to six hours (`steady`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TunnelOptions {
    /// Names asked for by NULL or a private type: nothing honest does that.
    pub opaque_burst: u64,
    /// The same over hours.
    pub opaque_steady: u64,
    /// Names asked for by TXT, CNAME, MX and the like.
    pub carriers_burst: u64,
    /// The same over hours.
    pub carriers_steady: u64,
    /// Octets that look like data, in names that are asked for their address.
    pub octets_burst: u64,
    /// The same over hours.
    pub octets_steady: u64,
    /// Such octets that a name has at least, on average, for its zone to be one that carries data by
    /// addresses. Identifiers are shorter.
    pub octets_per_name: f64,
    /// How many times more octets are needed where all that is answered is yes or no: as blocklists
    /// and virus scanners are asked.
    pub lookup_allowance: u64,
    /// How long a beat has to last.
    pub beat_lasts: Duration,
    /// How many beats are needed.
    pub beats: f64,
    /// How much intervals of a beat vary at most: standard deviation by mean.
    pub beat_variation: f64,
    /// How many times the threshold is critical.
    pub critical: u64,
}

impl Default for TunnelOptions {
    fn default() -> Self {
        Self {
            opaque_burst: 8,
            opaque_steady: 16,
            carriers_burst: 30,
            carriers_steady: 60,
            octets_burst: 2 << 10,
            octets_steady: 6 << 10,
            octets_per_name: 16.0,
            lookup_allowance: 4,
            beat_lasts: Duration::from_secs(480),
            beats: 16.0,
            beat_variation: 0.35,
            critical: 4,
        }
    }
}

/// Names over which a mean can be trusted.
const LEAST_NAMES: u64 = 24;
/// The share of responses that tell no more than yes or no from which a zone is one of lookups.
const LOOKUP_SHARE: f64 = 0.95;
/// The share of names asked for by other types than addresses to which that holds.
const LOOKUP_CARRIERS: f64 = 0.05;
/// The share of listed ones from which it is a blocklist (RFC 5782), if not all are.
const LISTED: f64 = 0.005;
/// What gave no new name for so long is over,
const SILENT: Duration = Duration::from_secs(600);
/// unless its usual interval is longer: then for so many of them.
const MISSED: f64 = 4.0;

/// What a look back shows.
struct Shown {
    level: Level,
    how: &'static str,
    value: f64,
    threshold: f64,
}

/// The finding that a flow is, if it is one.
pub(super) fn of(flow: &Flow, now: Timestamp, options: &TunnelOptions) -> Option<Finding> {
    let silent = now.since(flow.beat.last());
    if silent > SILENT && silent.as_secs_f64() > MISSED * flow.beat.period_seconds() {
        return None;
    }
    let burst = flow.short.now.sums.plus(flow.short.before.sums);
    let steady = flow.long.now.sums.plus(flow.long.before.sums);
    let by_burst = Thresholds {
        opaque: options.opaque_burst,
        carriers: options.carriers_burst,
        octets: options.octets_burst,
    };
    let by_hours = Thresholds {
        opaque: options.opaque_steady,
        carriers: options.carriers_steady,
        octets: options.octets_steady,
    };
    let shown = [
        beat(flow, &steady, options).map(|shown| (shown, &steady, "hours")),
        by_hours.shown(&steady, options).map(|shown| (shown, &steady, "hours")),
        by_burst.shown(&burst, options).map(|shown| (shown, &burst, "2 min")),
    ];
    // Of those that are as bad, the last: what happens right now.
    let worst = shown.into_iter().flatten().max_by_key(|(shown, ..)| shown.level)?;
    let (shown, sums, within) = worst;
    Some(finding(flow, &shown, sums, within))
}

/// How much of each is too much.
struct Thresholds {
    opaque: u64,
    carriers: u64,
    octets: u64,
}

impl Thresholds {
    fn shown(&self, sums: &Sums, options: &TunnelOptions) -> Option<Shown> {
        if sums.opaque >= self.opaque {
            let (value, threshold) = (float(sums.opaque), float(self.opaque));
            let how = "opaque_names";
            return Some(Shown { level: Level::Critical, how, value, threshold });
        }
        if sums.carriers >= self.carriers {
            let level = critical_from(sums.carriers, self.carriers, options);
            let (value, threshold) = (float(sums.carriers), float(self.carriers));
            return Some(Shown { level, how: "carrier_names", value, threshold });
        }
        let is_lookup = is_lookup(sums);
        if (is_lookup && is_blocklist(sums)) || sums.names < LEAST_NAMES {
            return None;
        }
        let allowance = if is_lookup { options.lookup_allowance } else { 1 };
        let octets = self.octets.saturating_mul(allowance);
        let wanted = options.octets_per_name * if is_lookup { 1.5 } else { 1.0 };
        if sums.octets < octets || share(sums.octets, sums.names) < wanted {
            return None;
        }
        let level =
            if is_lookup { Level::Warning } else { critical_from(sums.octets, octets, options) };
        let (value, threshold) = (float(sums.octets), float(octets));
        Some(Shown { level, how: "name_data_bytes", value, threshold })
    }
}

fn critical_from(value: u64, threshold: u64, options: &TunnelOptions) -> Level {
    let critical = threshold.saturating_mul(options.critical);
    if value >= critical { Level::Critical } else { Level::Warning }
}

/// Whether all that is answered is yes or no.
fn is_lookup(sums: &Sums) -> bool {
    sums.responses > 0
        && share(sums.verdicts, sums.responses) >= LOOKUP_SHARE
        && share(sums.carriers + sums.opaque, sums.names) <= LOOKUP_CARRIERS
}

fn is_blocklist(sums: &Sums) -> bool {
    let listed = share(sums.listed, sums.responses);
    listed >= LISTED && sums.listed < sums.responses
}

fn beat(flow: &Flow, steady: &Sums, options: &TunnelOptions) -> Option<Shown> {
    let beat = &flow.beat;
    let variation = beat.variation();
    let is_beat = beat.intervals >= options.beats
        && variation <= options.beat_variation
        && beat.lasted() >= options.beat_lasts
        && float(steady.names) >= options.beats;
    let level = Level::Warning;
    is_beat.then_some(Shown {
        level,
        how: "beat_variation",
        value: variation,
        threshold: options.beat_variation,
    })
}

fn finding(flow: &Flow, shown: &Shown, sums: &Sums, within: &str) -> Finding {
    let Flow { zone, who, beat, .. } = flow;
    let per_name = share(sums.octets, sums.names);
    let what = match shown.how {
        "opaque_names" => format!("{} names by NULL or private types", sums.opaque),
        "carrier_names" => format!("{} names by TXT, CNAME, MX and the like", sums.carriers),
        "beat_variation" => format!("a new name every {:.1} s", beat.period_seconds()),
        _ => format!("{} octets of data in {} names", sums.octets, sums.names),
    };
    let summary = format!(
        "{who} carries data in names of {zone}: {what} within {within}, {per_name:.0} octets of data in \
         each, {} octets out and {} back",
        sums.query_bytes, sums.answer_bytes
    );
    let mut figures = vec![figure(shown.how, shown.value, Some(shown.threshold))];
    let further: [(&str, f64); 9] = [
        ("names", float(sums.names)),
        ("name_data_bytes", float(sums.octets)),
        ("data_bytes_per_name", per_name),
        ("opaque_names", float(sums.opaque)),
        ("carrier_names", float(sums.carriers)),
        ("query_bytes", float(sums.query_bytes)),
        ("answer_bytes", float(sums.answer_bytes)),
        ("beat_seconds", beat.period_seconds()),
        ("beat_variation", beat.variation()),
    ];
    let has_beat = beat.intervals >= 1.0;
    figures.extend(further.into_iter().filter_map(|(name, value)| {
        let tells = name != shown.how && (has_beat || !name.starts_with("beat"));
        tells.then(|| figure(name, value, None)) as Option<Figure>
    }));
    Finding {
        rule: Rule::Tunnel,
        entity: Entity { zone: Some(zone.clone()), ..who.entity() },
        level: shown.level,
        summary,
        evidence: flow.exhibits.evidence(figures),
    }
}
