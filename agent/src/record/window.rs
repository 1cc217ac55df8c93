//! Builds `dns.window/1` from the tally of one group in one window.

use super::RecordBuilder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_analysis::window::{Group, Grouping, Span, Tally, Tops, bounds};
use dnscribe_dns::rcode::{NXDOMAIN, SERVFAIL};
use dnscribe_dns::{rcode_name, type_name};
use dnscribe_record::number::to_f64;
use dnscribe_record::{
    BucketCount, DistinctFields, EstimateFields, ExactFields, LatencyFields, PodName, ProcessName,
    QtypeCount, RcodeCount, StatusCounts, Stream, TopSketches, WindowRecord, WindowStatistics,
};
use dnscribe_sketch::{DistinctSketch, QuantileSketch, TopSketch};
use dnscribe_transaction::pair::Status;
use std::borrow::Cow;

/// Entries of each list of most frequent values.
const RANKS: usize = 10;

/// Version of the sketch encodings that `docs/sketches.md` describes.
const SKETCH_ENCODING: u32 = 1;

impl RecordBuilder {
    /// Builds `dns.window/1`, the `ordinal`th of its capture, from 1.
    #[must_use]
    pub fn window<'a>(
        &'a self,
        span: &Span,
        group: &'a Group,
        tally: &Tally,
        ordinal: u64,
    ) -> WindowRecord<'a> {
        let of = |grouping| group.value_of(grouping);
        let (k8s, container) = PodName::or_container(of(Grouping::Pod));
        WindowRecord {
            head: self.head(Stream::Metrics, self.namespace.window(ordinal), span.start),
            window_seconds: span.length.as_secs(),
            step_seconds: span.step.as_secs(),
            partial: span.partial,
            late_total: span.late_total,
            sketch_encoding: SKETCH_ENCODING,
            grouping: group.grouping.name(),
            vantage: group.vantage.name(),
            transport: group.transport,
            resolver: of(Grouping::Resolver),
            zone: of(Grouping::Zone),
            qtype: of(Grouping::Qtype),
            process: of(Grouping::Process).map(|comm| ProcessName { comm }),
            container,
            k8s,
            other: group.value.is_none(),
            undercounted: tally.undercounted,
            statistics: statistics(tally, group, span),
            masking: None,
        }
    }
}

fn statistics(tally: &Tally, group: &Group, span: &Span) -> WindowStatistics {
    let statuses = statuses(tally);
    let queries = tally.transactions - statuses.late - statuses.duplicate - statuses.orphan;
    let responses = tally.rcodes.total();
    let tops = tally.tops.as_deref();
    WindowStatistics {
        transactions: tally.transactions,
        sample_ratio: sample_ratio(tally),
        estimated_transactions: estimated(tally),
        exact: exact(tally, queries),
        statuses,
        queries,
        query_rate: to_f64(queries) / span.length.as_secs_f64(),
        rcodes: rcodes(tally),
        qtypes: qtypes(tally),
        successes: tally.successes,
        success_ratio: ratio(
            tally.successes,
            statuses.answered + statuses.timeout + statuses.icmp_error,
        ),
        truncated: tally.truncated,
        retries: tally.retries,
        tcp_fallbacks: tally.tcp_fallbacks,
        cache_hits: tally.cache_hits,
        cache_misses: tally.cache_misses,
        dnssec_queries: tally.dnssec_ok,
        ecs_queries: tally.client_subnets,
        nxdomain_ratio: ratio(tally.rcodes.get(NXDOMAIN), responses),
        servfail_ratio: ratio(tally.rcodes.get(SERVFAIL), responses),
        timeout_ratio: ratio(statuses.timeout, queries),
        truncation_ratio: ratio(tally.truncated, responses),
        retry_ratio: ratio(tally.retries, queries),
        tcp_fallback_ratio: ratio(tally.tcp_fallbacks, queries),
        cache_hit_ratio: ratio(tally.cache_hits, tally.cache_hits + tally.cache_misses),
        dnssec_ratio: ratio(tally.dnssec_ok, queries),
        ecs_ratio: ratio(tally.client_subnets, queries),
        conflicts: tally.conflicts,
        query_bytes: tally.query_bytes,
        response_bytes: tally.response_bytes,
        amplification: ratio(tally.response_bytes, tally.query_bytes),
        latency_ms: latency(&tally.latency),
        unique_qnames: distinct(&tally.qnames),
        unique_clients: distinct(&tally.clients),
        unique_resolvers: distinct(&tally.resolvers),
        top_qnames: tops.map_or_else(Vec::new, |tops| tops.qnames.ranked(RANKS)),
        top_zones: tops.map_or_else(Vec::new, |tops| tops.zones.ranked(RANKS)),
        top_clients: tops.map_or_else(Vec::new, |tops| tops.clients.ranked(RANKS)),
        top_processes: tops.map_or_else(Vec::new, |tops| tops.processes.ranked(RANKS)),
        top_sketches: tops.filter(|_| group.grouping == Grouping::Node).map(sketches),
        qname_entropy: buckets(bounds::ENTROPY, &tally.entropy),
        label_lengths: buckets(bounds::LABEL_LENGTHS, &tally.label_lengths),
        min_ttls: buckets(bounds::MIN_TTL, &tally.min_ttl),
    }
}

/// Returns the ratio of exported transactions to all, if below 1.
fn sample_ratio(tally: &Tally) -> Option<f64> {
    let estimate = tally.sampled.estimate(tally.transactions);
    tally.sampled.is_sampled().then(|| to_f64(tally.transactions) / estimate.value)
}

fn estimated(tally: &Tally) -> Option<EstimateFields> {
    tally.sampled.is_sampled().then(|| tally.sampled.estimate(tally.transactions))
}

/// Returns exact counts of all messages, exported or not, if some were not exported.
fn exact(tally: &Tally, queries: u64) -> Option<ExactFields> {
    let not_exported = tally.not_exported.as_deref()?;
    // The header holds the lower four bits of an extended code (RFC 6891, 6.1.3).
    let mut counts = not_exported.rcodes;
    for (rcode, count) in tally.rcodes.sorted() {
        counts[usize::from(rcode & 15)] += count;
    }
    let mut rcodes: Vec<RcodeCount> = (0..)
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(rcode, count)| RcodeCount { rcode: rcode_name(rcode), count })
        .collect();
    if tally.rcodes.other() > 0 {
        rcodes.push(RcodeCount { rcode: Cow::Borrowed("other"), count: tally.rcodes.other() });
    }
    rcodes.sort_by_key(|row| std::cmp::Reverse(row.count));
    Some(ExactFields {
        queries: queries + tally.retries + not_exported.queries,
        responses: tally.rcodes.total() + not_exported.responses,
        rcodes,
        truncated: tally.truncated + not_exported.truncated,
        not_exported: not_exported.queries + not_exported.responses,
        lost: not_exported.lost,
        lost_segments: not_exported.segments,
    })
}

fn statuses(tally: &Tally) -> StatusCounts {
    let of = |status: Status| tally.statuses[status as usize];
    StatusCounts {
        answered: of(Status::Answered),
        timeout: of(Status::Timeout),
        late: of(Status::Late),
        icmp_error: of(Status::IcmpError),
        duplicate: of(Status::Duplicate),
        orphan: of(Status::Orphan),
        evicted: of(Status::Evicted),
        open: of(Status::Open),
    }
}

fn rcodes(tally: &Tally) -> Vec<RcodeCount> {
    let known = tally.rcodes.sorted().into_iter();
    let known = known.map(|(rcode, count)| RcodeCount { rcode: rcode_name(rcode), count });
    let other = RcodeCount { rcode: Cow::Borrowed("other"), count: tally.rcodes.other() };
    known.chain((other.count > 0).then_some(other)).collect()
}

fn qtypes(tally: &Tally) -> Vec<QtypeCount> {
    let known = tally.qtypes.sorted().into_iter();
    let known = known.map(|(qtype, count)| QtypeCount { qtype: type_name(qtype), count });
    let other = QtypeCount { qtype: Cow::Borrowed("other"), count: tally.qtypes.other() };
    known.chain((other.count > 0).then_some(other)).collect()
}

fn latency(sketch: &QuantileSketch) -> Option<LatencyFields> {
    Some(LatencyFields {
        count: sketch.count(),
        p50: sketch.quantile(0.5)?,
        p90: sketch.quantile(0.9)?,
        p95: sketch.quantile(0.95)?,
        p99: sketch.quantile(0.99)?,
        max: sketch.max()?,
        sketch: BASE64.encode(sketch.serialize()),
    })
}

fn distinct(sketch: &DistinctSketch) -> DistinctFields {
    let estimate = sketch.estimate();
    DistinctFields {
        estimate: estimate.value,
        lower: estimate.lower,
        upper: estimate.upper,
        sketch: BASE64.encode(sketch.serialize()),
    }
}

/// Records are written often, so their sketches are smaller than those in memory.
fn sketches(tops: &Tops) -> TopSketches {
    let encode = |top: &TopSketch, lg_slots| BASE64.encode(top.serialize(lg_slots));
    TopSketches {
        qnames: encode(&tops.qnames, 8),
        zones: encode(&tops.zones, 7),
        clients: encode(&tops.clients, 7),
        processes: encode(&tops.processes, 7),
    }
}

/// Returns all buckets, including empty ones, so that two windows can be compared bucket by bucket.
fn buckets(bounds: &[f64], counts: &[u64]) -> Vec<BucketCount> {
    let bounds = bounds.iter().copied().map(Some).chain([None]);
    bounds.zip(counts).map(|(up_to, count)| BucketCount { up_to, count: *count }).collect()
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| to_f64(part) / to_f64(whole))
}
