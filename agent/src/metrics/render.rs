//! Renders the `/metrics` page: the ledger's counters and further metrics, under the contract's
//! names.

use super::dictionary;
use super::pods::PodMetrics;
use super::transactions::TransactionMetrics;
use crate::capture::live::CaptureStatus;
use crate::enrich::kubernetes::{self, ApiErrorReason};
use dnscribe_admin::page::Page;
use dnscribe_admin::{process, sinks};
use dnscribe_analysis::detect::{AlertCounters, Rule};
use dnscribe_analysis::first_seen::FirstSeenCounts;
use dnscribe_analysis::lookup::{LookupCounters, Outcome};
use dnscribe_analysis::losses::LossKey;
use dnscribe_analysis::uses::{Match, UseCounts, UseOutcome};
use dnscribe_delivery::Gauge;
use dnscribe_record::PodName;
use dnscribe_record::ledger::{Counters, Sampling};
use dnscribe_transaction::correlate::{AnswerSource, CorrelationCounters, ParentMatch};
use std::collections::BTreeMap;

/// Version of the program.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Version number.
    pub version: &'static str,
    /// Commit of the source; `unknown` if it was built without the repository.
    pub revision: &'static str,
}

/// Everything that the page is made from.
pub struct MetricsSnapshot<'a> {
    /// Counters of the ledger.
    pub counters: &'a Counters,
    /// Metrics of transactions, messages and connections.
    pub transactions: &'a TransactionMetrics,
    /// Counters of links between transactions.
    pub links: &'a CorrelationCounters,
    /// State of a live capture; absent in replay.
    pub capture: Option<CaptureStatus>,
    /// Bytes on disk that wait for Kafka.
    pub spool_bytes: u64,
    /// Transactions that came too late for their windows.
    pub late_transactions: u64,
    /// Memory of the windows in bytes, if there are any.
    pub windows_bytes: Option<u64>,
    /// Messages that the kernel discarded, if these are captured.
    pub losses: Option<&'a BTreeMap<LossKey, u64>>,
    /// Connections by match and outcome, if they are captured.
    pub uses: Option<&'a UseCounts>,
    /// Counters of lookups, if they are made.
    pub lookups: Option<&'a LookupCounters>,
    /// Counters of alerts, if detection is on.
    pub alerts: Option<&'a AlertCounters>,
    /// State of the watch of Kubernetes pods, if there is one.
    pub kubernetes: Option<&'a kubernetes::PodWatchStatus>,
    /// Metrics by pod, if Kubernetes is configured.
    pub pods: Option<&'a PodMetrics>,
    /// Whether pods and containers are masked: nothing on the page names one.
    pub hides_containers: bool,
    /// Metrics of the sinks, with the sinks' names.
    pub gauges: &'a [(String, Vec<Gauge>)],
    /// Number of indicators.
    pub indicators: u64,
    /// First times of zones, if they are remembered.
    pub first_seen: Option<FirstSeenCounts>,
    /// Version of the program.
    pub build: BuildInfo,
}

/// Renders the page.
#[must_use]
pub fn render(snapshot: &MetricsSnapshot<'_>) -> Page {
    let mut page = Page::new(dictionary::metric);
    snapshot.transactions.write(&mut page);
    joined(&mut page, snapshot.links);
    packets(&mut page, snapshot.counters);
    if let Some(capture) = snapshot.capture {
        page.count("dnscribe_ring_used_bytes", capture.ring_used_bytes);
        page.count("dnscribe_clock_steps_total", capture.clock_steps);
        page.count("dnscribe_address_read_errors_total", capture.address_errors);
        let mut family = page.family("dnscribe_longest_turn_seconds");
        family.value(&[], capture.longest_turn.as_secs_f64());
    }
    if let Some(sampling) = &snapshot.counters.sampling {
        sampled(&mut page, sampling);
    }
    if let Some(seen_by) = &snapshot.counters.seen_by {
        let mut family = page.family("dnscribe_seen_total");
        for (by, count) in
            [("both", seen_by.both), ("socket", seen_by.socket), ("dnstap", seen_by.dnstap)]
        {
            family.count(&[("by", by)], count);
        }
    }
    sinks::write_records(&mut page, &snapshot.counters.delivery);
    dropped(&mut page, snapshot.counters);
    sinks::write_dropped(&mut page, &snapshot.counters.delivery);
    page.count("dnscribe_spool_bytes", snapshot.spool_bytes);
    page.count("dnscribe_pairing_open", snapshot.counters.pairing.open);
    if let Some(connections) = snapshot.counters.connections {
        page.count("dnscribe_connections_open", connections.open);
        page.count("dnscribe_connections_evicted_total", connections.evicted);
    }
    page.count("dnscribe_windows_late_total", snapshot.late_transactions);
    if let Some(bytes) = snapshot.windows_bytes {
        page.count("dnscribe_windows_bytes", bytes);
    }
    if let Some(counters) = snapshot.lookups {
        lookups(&mut page, counters, snapshot.hides_containers);
    }
    if let Some(losses) = snapshot.losses {
        let mut family = page.family("dns_lost_messages_total");
        for (LossKey { is_response, stage, reason }, count) in losses {
            let qr = if *is_response { "response" } else { "query" };
            family.count(&[("qr", qr), ("stage", stage.name()), ("reason", reason)], *count);
        }
    }
    if let Some(outcomes) = snapshot.uses {
        let mut family = page.family("dnscribe_uses_total");
        for (matched, counts) in Match::ALL.into_iter().zip(outcomes) {
            for (outcome, count) in UseOutcome::ALL.into_iter().zip(counts) {
                family.count(&[("match", matched.name()), ("outcome", outcome.name())], *count);
            }
        }
    }
    if let Some(counters) = snapshot.alerts {
        alerts(&mut page, counters);
    }
    page.count("dnscribe_indicators", snapshot.indicators);
    if let Some(FirstSeenCounts { zones, evicted, write_failures }) = snapshot.first_seen {
        page.count("dnscribe_first_seen_zones", zones);
        page.count("dnscribe_first_seen_evicted_total", evicted);
        page.count("dnscribe_first_seen_write_failures_total", write_failures);
    }
    if let Some(status) = snapshot.kubernetes {
        pods(&mut page, status);
    }
    if let Some(metrics) = snapshot.pods.filter(|_| !snapshot.hides_containers) {
        metrics.write(&mut page);
    }
    sinks::write(&mut page, snapshot.gauges);
    let mut family = page.family("dnscribe_build_info");
    let labels = &[("version", snapshot.build.version), ("revision", snapshot.build.revision)];
    family.count(labels, 1);
    process::write(&mut page);
    page
}

fn alerts(page: &mut Page, counters: &AlertCounters) {
    let mut family = page.family("dnscribe_alerts_total");
    for (rule, level, state, count) in counters.reported() {
        let labels = &[("rule", rule.name()), ("severity", level.name()), ("state", state.name())];
        family.count(labels, count);
    }
    let mut family = page.family("dnscribe_alerts_active");
    for (rule, level, count) in counters.active() {
        family.count(&[("rule", rule.name()), ("severity", level.name())], count);
    }
    let mut family = page.family("dnscribe_alert_baselines");
    for (rule, entities) in counters.entities() {
        let states = [("learning", entities.learning), ("judged", entities.judged)];
        for (state, count) in states {
            family.count(&[("rule", rule.name()), ("state", state)], count);
        }
    }
    let unreported = [
        ("dnscribe_alerts_suppressed_total", &counters.suppressed),
        ("dnscribe_alerts_muted_total", &counters.muted),
    ];
    for (name, counts) in unreported {
        let rules = Rule::ALL.map(Rule::name).into_iter().zip(counts.iter().copied());
        page.by_label(name, "rule", rules.filter(|(_, count)| *count > 0));
    }
    page.count("dnscribe_alerts_overflow_total", counters.overflowed);
}

fn pods(page: &mut Page, status: &kubernetes::PodWatchStatus) {
    page.count("dnscribe_kubernetes_up", u64::from(status.up));
    page.count("dnscribe_kubernetes_pods", status.pods as u64);
    let errors = ApiErrorReason::ALL.map(ApiErrorReason::name).into_iter().zip(status.errors);
    page.by_label("dnscribe_kubernetes_errors_total", "reason", errors);
    page.count("dnscribe_kubernetes_refused_total", status.refused);
    let outcomes = [("named", status.named), ("unnamed", status.unnamed)];
    page.by_label("dnscribe_kubernetes_transactions_total", "outcome", outcomes);
}

fn lookups(page: &mut Page, counters: &LookupCounters, hides_containers: bool) {
    let outcomes = Outcome::ALL.map(Outcome::name).into_iter().zip(counters.outcomes);
    page.by_label("dnscribe_lookups_total", "outcome", outcomes);
    let packets = || counters.packets.iter().filter(|_| !hides_containers);
    by_pod(page, "dnscribe_lookup_queries_total", packets().map(|(pod, of)| (pod, of.sent)));
    by_pod(
        page,
        "dnscribe_lookup_wasted_queries_total",
        packets().map(|(pod, of)| (pod, of.wasted)),
    );
    page.count("dnscribe_lookups_evicted_total", counters.evicted);
    page.count("dnscribe_lookups_open", counters.open);
}

/// Writes counts by `namespace/pod`, or the id of a container.
fn by_pod<'a>(page: &mut Page, name: &'static str, counts: impl Iterator<Item = (&'a str, u64)>) {
    let mut family = page.family(name);
    for (path, count) in counts {
        let (pod, container) = PodName::or_container(Some(path));
        let labels = &[
            ("namespace", pod.map_or("", |pod| pod.namespace)),
            ("pod", pod.map_or("", |pod| pod.pod)),
            ("container_id", container.map_or("", |container| container.id)),
        ];
        family.count(labels, count);
    }
}

fn joined(page: &mut Page, joined: &CorrelationCounters) {
    let sources = AnswerSource::ALL.map(AnswerSource::name).into_iter().zip(joined.cache);
    page.by_label("dns_cache_answers_total", "cache", sources);
    let matches = ParentMatch::ALL.map(ParentMatch::name).into_iter().zip(joined.linked);
    page.by_label("dnscribe_links_total", "match", matches.chain([("none", joined.unlinked)]));
    page.count("dnscribe_links_overflow_total", joined.overflowed);
}

fn packets(page: &mut Page, counters: &Counters) {
    let mut family = page.family("dnscribe_packets_total");
    for (hook, kernel) in &counters.kernel {
        let outcomes = [
            ("submitted", kernel.submitted),
            ("lost_ring_full", kernel.lost_ring_full),
            ("sampled_out", kernel.sampled_out),
            ("skipped", kernel.skipped.values().sum()),
        ];
        for (outcome, count) in outcomes {
            family.count(&[("hook", hook), ("outcome", outcome)], count);
        }
    }
    // Not an outcome: these packets were submitted in part.
    let clipped = counters.kernel.iter().map(|(hook, kernel)| (&**hook, kernel.clipped));
    page.by_label("dnscribe_clipped_packets_total", "hook", clipped);
}

fn sampled(page: &mut Page, sampling: &Sampling) {
    page.family("dnscribe_sampling_ratio").value(&[], sampling.ratio);
    page.count("dnscribe_sampling_episodes_total", sampling.episodes);
    let packets = sampling.not_exported;
    let kinds = [
        ("query", packets.queries),
        ("response", packets.responses),
        ("tcp_segment", packets.segments),
        ("other", packets.other),
    ];
    page.by_label("dnscribe_not_exported_packets_total", "kind", kinds);
}

fn dropped(page: &mut Page, counters: &Counters) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut add = |stage, reason, count| *sums.entry((stage, reason)).or_default() += count;
    for kernel in counters.kernel.values() {
        add("kernel", "ring_full", kernel.lost_ring_full);
        add("kernel", "sampled_out", kernel.sampled_out);
    }
    for (reason, count) in &counters.decode.malformed {
        add("decode", reason, *count);
    }
    let mut family = page.family("dnscribe_dropped_packets_total");
    for ((stage, reason), count) in sums {
        family.count(&[("stage", stage), ("reason", reason)], count);
    }
    let mut family = page.family("dnscribe_dropped_queries_total");
    family.count(&[("stage", "pairing"), ("reason", "evicted")], counters.pairing.evicted);
}

#[cfg(test)]
mod tests;
