//! Queries of one client for names of one zone.

use crate::detect::attribution::{Attribution, EvidenceSample};
use crate::detect::lexical::encoded_bytes;
use crate::detect::rolling::{Rolling, SpanCounts};
use crate::view::TransactionView;
use dnscribe_dns::rtype::{A, AAAA, CNAME, HTTPS, NULL};
use dnscribe_dns::{Answer, Answers};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{Merge, merged_struct};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Half of the short look-back.
const SHORT_SPAN: Duration = Duration::from_mins(1);
/// Half of the long look-back.
const LONG_SPAN: Duration = Duration::from_hours(3);

/// First record type for private use (RFC 6895, section 3.1).
const PRIVATE: u16 = 65_280;

/// Returns whether records of this type carry arbitrary data and have no legitimate use.
pub(super) const fn is_opaque(qtype: u16) -> bool {
    qtype == NULL || qtype >= PRIVATE
}

/// Features of a name, computed before its flow is known.
pub(super) struct NameFeatures {
    pub(super) hash: u64,
    /// Bytes of the name that look like data.
    pub(super) encoded: u32,
    /// Whether the query type is opaque.
    pub(super) is_opaque: bool,
}

/// Queries of one client for names of one zone.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) zone: Box<str>,
    pub(super) attribution: Attribution,
    pub(super) short: Rolling<SpanCounts<Counts, 32>>,
    pub(super) long: Rolling<SpanCounts<Counts, 128>>,
    pub(super) intervals: Intervals,
    pub(super) evidence: EvidenceSample,
}

merged_struct! {
    /// Counts of distinct names.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Counts {
        /// Distinct names that look like data.
        pub(super) names: u64,
        /// Bytes of these names that look like data.
        pub(super) bytes: u64,
        /// Names queried by an opaque type.
        pub(super) opaque: u64,
        /// Names queried by a type that carries text or names, or answered with an alias that looks
        /// like data.
        pub(super) carriers: u64,
        /// Bytes of the queries.
        pub(super) query_bytes: u64,
        /// Bytes of the responses beyond the repeated question.
        pub(super) answer_bytes: u64,
        /// Responses.
        pub(super) responses: u64,
        /// Responses that say only yes or no: no such name, no data, or an address that is not on the
        /// Internet.
        pub(super) verdicts: u64,
        /// Responses with an address from 127.0.0.2 on: listed (RFC 5782, section 2.1).
        pub(super) listed: u64,
    }
}

impl Flow {
    pub(super) fn new(zone: Box<str>, attribution: Attribution) -> Self {
        Self {
            zone,
            attribution,
            short: Rolling::default(),
            long: Rolling::default(),
            intervals: Intervals::default(),
            evidence: EvidenceSample::default(),
        }
    }

    /// Moves on to the spans that contain `now`.
    pub(super) fn roll(&mut self, now: Timestamp) {
        self.short.roll(now, SHORT_SPAN);
        self.long.roll(now, LONG_SPAN);
    }

    pub(super) fn record(&mut self, observation: &TransactionView<'_>, name: &NameFeatures) {
        self.roll(observation.ts);
        let counts = &counts_of(observation, name);
        add(&mut self.short, name.hash, counts);
        if add(&mut self.long, name.hash, counts) {
            self.intervals.record(observation.ts);
            self.evidence.record(observation);
        }
    }
}

/// Adds the counts of a name unless it is known. Returns whether it was new.
fn add<const WORDS: usize>(
    spans: &mut Rolling<SpanCounts<Counts, WORDS>>,
    name: u64,
    counts: &Counts,
) -> bool {
    let is_new = spans.is_new(name);
    if is_new {
        spans.current.counts.merge(counts);
    }
    is_new
}

fn counts_of(observation: &TransactionView<'_>, name: &NameFeatures) -> Counts {
    let query_bytes = u64::from(observation.query_bytes.unwrap_or(0));
    let is_address = matches!(observation.qtype, Some(A | AAAA | HTTPS) | None);
    let is_carrier = !name.is_opaque && (!is_address || has_data_alias(observation));
    let response = observation.rcode.map(|rcode| response_kind(rcode, observation.answers));
    Counts {
        names: 1,
        bytes: u64::from(name.encoded),
        opaque: u64::from(name.is_opaque),
        carriers: u64::from(is_carrier),
        query_bytes,
        answer_bytes: observation.response_bytes.unwrap_or(0).saturating_sub(query_bytes),
        responses: u64::from(response.is_some()),
        verdicts: u64::from(matches!(
            response,
            Some(ResponseKind::Negative | ResponseKind::Listed)
        )),
        listed: u64::from(response == Some(ResponseKind::Listed)),
    }
}

/// Returns whether the answer to an address query is an alias that looks like data, within the same
/// zone.
fn has_data_alias(observation: &TransactionView<'_>) -> bool {
    observation.answers.first().is_some_and(|answer| {
        answer.rtype == CNAME
            && observation
                .zone
                .is_some_and(|zone| answer.data.trim_end_matches('.').ends_with(zone))
            && encoded_bytes(answer.data) > 0
    })
}

/// Content of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseKind {
    /// Data.
    Data,
    /// No data, or an address that is not on the Internet.
    Negative,
    /// An address from 127.0.0.2 on.
    Listed,
}

fn response_kind(rcode: u16, answers: &Answers) -> ResponseKind {
    if rcode != 0 || answers.is_empty() {
        return ResponseKind::Negative;
    }
    let address = |answer: Answer<'_>| match answer.rtype {
        A | AAAA => answer.data.parse::<IpAddr>().ok(),
        _ => None,
    };
    let mut listed = false;
    for answer in answers.iter() {
        match address(answer) {
            Some(IpAddr::V4(v4)) if v4.is_loopback() => listed |= v4 != Ipv4Addr::LOCALHOST,
            Some(IpAddr::V4(v4)) if v4.is_private() || v4.is_unspecified() => {}
            Some(IpAddr::V6(v6))
                if v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() => {}
            _ => return ResponseKind::Data,
        }
    }
    if listed { ResponseKind::Listed } else { ResponseKind::Negative }
}

/// Intervals between new names, exponentially weighted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Intervals {
    first: Timestamp,
    pub(super) last: Timestamp,
    /// Number of intervals, up to [`Self::MEMORY`].
    pub(super) count: f64,
    pub(super) mean_seconds: f64,
    variance: f64,
}

impl Intervals {
    /// Number of intervals that are averaged.
    const MEMORY: f64 = 64.0;
    /// Names within this time of each other count as one event.
    const MIN_INTERVAL: Duration = Duration::from_millis(200);
    /// An interval this many times the mean is a pause or a lost query, and is ignored.
    const MAX_INTERVAL_FACTOR: f64 = 4.0;

    fn record(&mut self, ts: Timestamp) {
        let interval = ts.since(self.last);
        if self.last != Timestamp::default() && interval < Self::MIN_INTERVAL {
            return;
        }
        let is_first = self.last == Timestamp::default();
        self.last = self.last.max(ts);
        if is_first {
            self.first = ts;
            return;
        }
        let seconds = interval.as_secs_f64();
        if self.count >= 8.0 && seconds > Self::MAX_INTERVAL_FACTOR * self.mean_seconds {
            return;
        }
        self.count = (self.count + 1.0).min(Self::MEMORY);
        let weight = 1.0 / self.count;
        let deviation = seconds - self.mean_seconds;
        self.mean_seconds += weight * deviation;
        self.variance = (1.0 - weight) * (self.variance + weight * deviation * deviation);
    }

    /// Standard deviation of the intervals divided by their mean: 0 for a clock, 1 for a Poisson
    /// process.
    pub(super) fn variation(&self) -> f64 {
        if self.mean_seconds > 0.0 {
            self.variance.sqrt() / self.mean_seconds
        } else {
            f64::INFINITY
        }
    }

    /// Time from the first event to the last.
    pub(super) fn duration(&self) -> Duration {
        self.last.since(self.first)
    }
}
