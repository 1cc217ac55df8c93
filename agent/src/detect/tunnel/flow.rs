//! What one asker does in one zone.

use crate::decode::dns::Answer;
use crate::detect::lexical::encoded_octets;
use crate::detect::table::{Halves, Seen};
use crate::detect::who::{Exhibits, Who};
use crate::observation::Observation;
use crate::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Half of the short look back.
const MINUTE: Duration = Duration::from_secs(60);
/// Half of the long one.
const HOURS: Duration = Duration::from_secs(3 * 3600);

const A: u16 = 1;
const CNAME: u16 = 5;
const NULL: u16 = 10;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;
/// The first type for private use (RFC 6895, 3.1).
const PRIVATE: u16 = 65_280;

/// Whether a record type's data can be anything and nothing honest asks for it.
pub(super) const fn is_opaque(qtype: u16) -> bool {
    qtype == NULL || qtype >= PRIVATE
}

/// What was found out about a name before its flow was known.
pub(super) struct Look {
    /// Its hash.
    pub(super) name: u64,
    /// How many of its octets look like data.
    pub(super) encoded: u32,
    /// Whether the type asked for is opaque.
    pub(super) carries_anything: bool,
}

/// What one asker does in one zone.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) zone: Box<str>,
    pub(super) who: Who,
    pub(super) short: Halves<Span<32>>,
    pub(super) long: Halves<Span<128>>,
    pub(super) beat: Beat,
    pub(super) exhibits: Exhibits,
}

/// What was counted in a span of time; names that came before in it are not counted again.
#[derive(Clone, Debug, Default)]
pub(super) struct Span<const WORDS: usize> {
    pub(super) sums: Sums,
    seen: Seen<WORDS>,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Different names that look like data.
    pub(super) names: u64,
    /// Their octets that look like data.
    pub(super) octets: u64,
    /// Those asked for by an opaque type.
    pub(super) opaque: u64,
    /// Those asked for by a type that carries text or names, or answered with an alias that looks
    /// like data.
    pub(super) carriers: u64,
    /// Octets of queries.
    pub(super) query_bytes: u64,
    /// Octets of responses beyond the question that they repeat.
    pub(super) answer_bytes: u64,
    /// Responses.
    pub(super) responses: u64,
    /// Responses that tell no more than yes or no: no such name, no data, or an address that leads
    /// nowhere in the Internet.
    pub(super) verdicts: u64,
    /// Those with an address from 127.0.0.2 on: listed (RFC 5782, 2.1).
    pub(super) listed: u64,
}

impl Sums {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            names: self.names + other.names,
            octets: self.octets + other.octets,
            opaque: self.opaque + other.opaque,
            carriers: self.carriers + other.carriers,
            query_bytes: self.query_bytes + other.query_bytes,
            answer_bytes: self.answer_bytes + other.answer_bytes,
            responses: self.responses + other.responses,
            verdicts: self.verdicts + other.verdicts,
            listed: self.listed + other.listed,
        }
    }
}

impl Flow {
    pub(super) fn new(zone: Box<str>, who: Who) -> Self {
        Self {
            zone,
            who,
            short: Halves::default(),
            long: Halves::default(),
            beat: Beat::default(),
            exhibits: Exhibits::default(),
        }
    }

    /// Moves on in time.
    pub(super) fn roll(&mut self, now: Timestamp) {
        self.short.roll(now, MINUTE);
        self.long.roll(now, HOURS);
    }

    /// Counts a query.
    pub(super) fn take(&mut self, observation: &Observation<'_>, look: &Look) {
        self.roll(observation.ts);
        let sums = sums_of(observation, look);
        add(&mut self.short, look.name, sums);
        if add(&mut self.long, look.name, sums) {
            self.beat.take(observation.ts);
            self.exhibits.take(observation);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.zone.len() + self.who.heap_bytes() + self.exhibits.heap_bytes()
    }
}

/// Counts what belongs to a name if it is a new one; says whether it is.
fn add<const WORDS: usize>(halves: &mut Halves<Span<WORDS>>, name: u64, sums: Sums) -> bool {
    let is_new = !halves.now.seen.has(name) && !halves.before.seen.has(name);
    if is_new {
        halves.now.seen.insert(name);
        halves.now.sums = halves.now.sums.plus(sums);
    }
    is_new
}

fn sums_of(observation: &Observation<'_>, look: &Look) -> Sums {
    let query_bytes = u64::from(observation.query_bytes.unwrap_or(0));
    let is_address = matches!(observation.qtype, Some(A | AAAA | HTTPS) | None);
    let is_carrier = !look.carries_anything && (!is_address || has_alias_of_data(observation));
    let response = observation.rcode.map(|rcode| verdict_of(rcode, observation.answers));
    Sums {
        names: 1,
        octets: u64::from(look.encoded),
        opaque: u64::from(look.carries_anything),
        carriers: u64::from(is_carrier),
        query_bytes,
        answer_bytes: observation.response_bytes.unwrap_or(0).saturating_sub(query_bytes),
        responses: u64::from(response.is_some()),
        verdicts: u64::from(matches!(response, Some(Verdict::No | Verdict::Listed))),
        listed: u64::from(response == Some(Verdict::Listed)),
    }
}

/// Whether an address was asked for and an alias given that looks like data itself.
fn has_alias_of_data(observation: &Observation<'_>) -> bool {
    observation.answers.first().is_some_and(|answer| {
        answer.rtype == CNAME
            && observation
                .zone
                .is_some_and(|zone| answer.data.trim_end_matches('.').ends_with(zone))
            && encoded_octets(&answer.data) > 0
    })
}

/// What a response tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// More than yes or no.
    More,
    /// Nothing, or an address that leads nowhere in the Internet.
    No,
    /// An address from 127.0.0.2 on.
    Listed,
}

fn verdict_of(rcode: u16, answers: &[Answer]) -> Verdict {
    if rcode != 0 || answers.is_empty() {
        return Verdict::No;
    }
    let address = |answer: &Answer| match answer.rtype {
        A | AAAA => answer.data.parse::<IpAddr>().ok(),
        _ => None,
    };
    let mut listed = false;
    for answer in answers {
        match address(answer) {
            Some(IpAddr::V4(v4)) if v4.is_loopback() => listed |= v4 != Ipv4Addr::LOCALHOST,
            Some(IpAddr::V4(v4)) if v4.is_private() || v4.is_unspecified() => {}
            Some(IpAddr::V6(v6))
                if v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() => {}
            _ => return Verdict::More,
        }
    }
    if listed { Verdict::Listed } else { Verdict::No }
}

/// How regularly something comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beat {
    first: Timestamp,
    last: Timestamp,
    /// Intervals counted; the oldest count for less and less.
    pub(super) intervals: f64,
    mean: f64,
    variance: f64,
}

impl Beat {
    /// The oldest of so many intervals is forgotten.
    const MEMORY: f64 = 64.0;
    /// What comes so soon after another belongs to it.
    const TOGETHER: Duration = Duration::from_millis(200);
    /// An interval so many times the usual one is a pause, or a query that went lost.
    const PAUSE: f64 = 4.0;

    fn take(&mut self, ts: Timestamp) {
        let interval = ts.since(self.last);
        if self.last != Timestamp::default() && interval < Self::TOGETHER {
            return;
        }
        let begins = self.last == Timestamp::default();
        self.last = self.last.max(ts);
        if begins {
            self.first = ts;
            return;
        }
        let seconds = interval.as_secs_f64();
        if self.intervals >= 8.0 && seconds > Self::PAUSE * self.mean {
            return;
        }
        self.intervals = (self.intervals + 1.0).min(Self::MEMORY);
        let weight = 1.0 / self.intervals;
        let off = seconds - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }

    /// Seconds between two, usually.
    pub(super) const fn period_seconds(&self) -> f64 {
        self.mean
    }

    /// The standard deviation of the intervals by their mean: 0 for a clock, 1 for chance.
    pub(super) fn variation(&self) -> f64 {
        if self.mean > 0.0 { self.variance.sqrt() / self.mean } else { f64::INFINITY }
    }

    /// How long it has gone on.
    pub(super) fn lasted(&self) -> Duration {
        self.last.since(self.first)
    }

    /// When it came last.
    pub(super) const fn last(&self) -> Timestamp {
        self.last
    }
}
