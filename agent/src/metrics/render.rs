//! The whole page: the ledger's counters and what else there is, under the contract's names.

use super::text::Page;
use super::transactions::TransactionMetrics;
use super::{alerts, process};
use crate::detect::AlertCounters;
use crate::enrich::kubernetes::{self, Reason};
use crate::join::{Cache, Joined, Match};
use crate::ledger::{Counters, Delivery, Sampling};
use crate::lookup::{LookupCounters, Outcome};
use crate::sink::Gauge;
use std::collections::BTreeMap;

/// Which program this is.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The version.
    pub version: &'static str,
    /// Commit of the source; `unknown` if it was built without the repository.
    pub revision: &'static str,
}

/// All that a page is made from.
pub struct Snapshot<'a> {
    /// The balance at this moment.
    pub counters: &'a Counters,
    /// Transactions and messages so far.
    pub transactions: &'a TransactionMetrics,
    /// Links between transactions so far.
    pub joined: &'a Joined,
    /// Octets in the ring that wait to be read; absent where there is no ring.
    pub ring_used_bytes: Option<u64>,
    /// Octets on disk that wait for Kafka.
    pub spool_bytes: u64,
    /// Transactions that came too late for their windows.
    pub late: u64,
    /// Octets that the windows take, where there are any.
    pub windows_bytes: Option<u64>,
    /// What lookups came to, where they are made.
    pub looked_up: Option<&'a LookupCounters>,
    /// Alerts, where there is detection.
    pub alerts: Option<&'a AlertCounters>,
    /// The watch of pods, where there is one.
    pub kubernetes: Option<&'a kubernetes::Status>,
    /// The sinks' own numbers, with the sinks' names.
    pub gauges: &'a [(String, Vec<Gauge>)],
    /// Which program this is.
    pub build: Build,
}

/// The page in Prometheus' text format.
#[must_use]
pub fn render(snapshot: &Snapshot<'_>) -> String {
    let mut page = Page::default();
    snapshot.transactions.write(&mut page);
    joined(&mut page, snapshot.joined);
    packets(&mut page, snapshot.counters);
    if let Some(bytes) = snapshot.ring_used_bytes {
        gauge(&mut page, "dnscribe_ring_used_bytes", bytes);
    }
    if let Some(sampling) = &snapshot.counters.sampling {
        sampled(&mut page, sampling);
    }
    records(&mut page, snapshot.counters);
    dropped(&mut page, snapshot.counters, snapshot.joined);
    gauge(&mut page, "dnscribe_spool_bytes", snapshot.spool_bytes);
    gauge(&mut page, "dnscribe_pairing_open", snapshot.counters.pairing.open);
    if let Some(connections) = snapshot.counters.connections {
        gauge(&mut page, "dnscribe_connections_open", connections.open);
    }
    let name = "dnscribe_windows_late_total";
    page.family(name);
    page.count(name, &[], snapshot.late);
    if let Some(bytes) = snapshot.windows_bytes {
        gauge(&mut page, "dnscribe_windows_bytes", bytes);
    }
    if let Some(counters) = snapshot.looked_up {
        lookups(&mut page, counters);
    }
    if let Some(counters) = snapshot.alerts {
        alerts::write(&mut page, counters);
    }
    if let Some(status) = snapshot.kubernetes {
        pods(&mut page, status);
    }
    sinks(&mut page, snapshot.gauges);
    let name = "dnscribe_build_info";
    page.family(name);
    let labels = &[("version", snapshot.build.version), ("revision", snapshot.build.revision)];
    page.count(name, labels, 1);
    process::write(&mut page);
    page.into_text()
}

fn gauge(page: &mut Page, name: &str, value: u64) {
    page.family(name);
    page.count(name, &[], value);
}

fn pods(page: &mut Page, status: &kubernetes::Status) {
    gauge(page, "dnscribe_kubernetes_up", u64::from(status.up));
    gauge(page, "dnscribe_kubernetes_pods", status.pods as u64);
    let name = "dnscribe_kubernetes_errors_total";
    page.family(name);
    for (reason, count) in Reason::ALL.into_iter().zip(status.errors) {
        page.count(name, &[("reason", reason.name())], count);
    }
    let name = "dnscribe_kubernetes_refused_total";
    page.family(name);
    page.count(name, &[], status.refused);
    let name = "dnscribe_kubernetes_transactions_total";
    page.family(name);
    page.count(name, &[("outcome", "named")], status.named);
    page.count(name, &[("outcome", "unnamed")], status.unnamed);
}

fn lookups(page: &mut Page, counters: &LookupCounters) {
    let name = "dnscribe_lookups_total";
    page.family(name);
    for (outcome, count) in Outcome::ALL.into_iter().zip(counters.outcomes) {
        page.count(name, &[("outcome", outcome.name())], count);
    }
    let name = "dnscribe_lookup_queries_total";
    page.family(name);
    for (pod, packets) in counters.packets.iter() {
        page.count(name, &[("pod", pod)], packets.sent);
    }
    let name = "dnscribe_lookup_wasted_queries_total";
    page.family(name);
    for (pod, packets) in counters.packets.iter() {
        page.count(name, &[("pod", pod)], packets.wasted);
    }
    let name = "dnscribe_lookups_evicted_total";
    page.family(name);
    page.count(name, &[], counters.evicted);
    gauge(page, "dnscribe_lookups_open", counters.open);
}

fn joined(page: &mut Page, joined: &Joined) {
    let name = "dns_cache_answers_total";
    page.family(name);
    for (cache, count) in Cache::ALL.into_iter().zip(joined.cache) {
        page.count(name, &[("cache", cache.name())], count);
    }
    let name = "dnscribe_links_total";
    page.family(name);
    for (by, count) in Match::ALL.into_iter().zip(joined.linked) {
        page.count(name, &[("match", by.name())], count);
    }
    page.count(name, &[("match", "none")], joined.unlinked);
}

fn packets(page: &mut Page, counters: &Counters) {
    let name = "dnscribe_packets_total";
    page.family(name);
    for (hook, kernel) in &counters.kernel {
        let outcomes = [
            ("submitted", kernel.submitted),
            ("lost_ring_full", kernel.lost_ring_full),
            ("sampled_out", kernel.sampled_out),
            ("skipped", kernel.skipped.values().sum()),
        ];
        for (outcome, count) in outcomes {
            page.count(name, &[("hook", hook), ("outcome", outcome)], count);
        }
    }
    // Not an outcome: these packets were submitted, in part.
    let name = "dnscribe_clipped_packets_total";
    page.family(name);
    for (hook, kernel) in &counters.kernel {
        page.count(name, &[("hook", hook)], kernel.clipped);
    }
}

fn sampled(page: &mut Page, sampling: &Sampling) {
    let name = "dnscribe_sampling_ratio";
    page.family(name);
    page.value(name, &[], sampling.ratio);
    let name = "dnscribe_sampling_episodes_total";
    page.family(name);
    page.count(name, &[], sampling.episodes);
    let name = "dnscribe_untold_packets_total";
    page.family(name);
    let untold = sampling.untold;
    for (kind, count) in [
        ("query", untold.queries),
        ("response", untold.responses),
        ("tcp_segment", untold.segments),
        ("other", untold.other),
    ] {
        page.count(name, &[("kind", kind)], count);
    }
}

/// The deliveries of all sinks by stream.
fn by_stream(counters: &Counters) -> BTreeMap<&str, Vec<&Delivery>> {
    let mut streams: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
    for (stream, delivery) in counters.delivery.values().flatten() {
        streams.entry(stream).or_default().push(delivery);
    }
    streams
}

/// What one delivery contributes to a family.
type Count = fn(&Delivery) -> u64;

fn records(page: &mut Page, counters: &Counters) {
    const OUTCOMES: [(&str, Count); 3] = [
        ("delivered", |delivery| delivery.delivered),
        ("filtered", |delivery| delivery.filtered),
        ("dropped", |delivery| delivery.dropped.values().sum()),
    ];
    const WAITING: [(&str, Count); 2] =
        [("spooled", |delivery| delivery.spooled), ("in_flight", |delivery| delivery.in_flight)];
    let streams = by_stream(counters);
    let name = "dnscribe_records_total";
    page.family(name);
    write_records(page, &streams, name, "outcome", &OUTCOMES);
    let name = "dnscribe_records_waiting";
    page.family(name);
    write_records(page, &streams, name, "place", &WAITING);
}

fn write_records(
    page: &mut Page,
    streams: &BTreeMap<&str, Vec<&Delivery>>,
    name: &str,
    label: &str,
    outcomes: &[(&str, Count)],
) {
    for (stream, deliveries) in streams {
        for (outcome, count) in outcomes {
            let sum = deliveries.iter().map(|delivery| count(delivery)).sum();
            page.count(name, &[("stream", stream), (label, outcome)], sum);
        }
    }
}

fn dropped(page: &mut Page, counters: &Counters, joined: &Joined) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut add = |stage, reason, count| *sums.entry((stage, reason)).or_default() += count;
    for kernel in counters.kernel.values() {
        add("kernel", "ring_full", kernel.lost_ring_full);
        add("kernel", "sampled_out", kernel.sampled_out);
    }
    for (reason, count) in &counters.decode.malformed {
        add("decode", reason, *count);
    }
    add("pairing", "evicted", counters.pairing.evicted);
    if let Some(connections) = counters.connections {
        add("connections", "evicted", connections.evicted);
    }
    add("join", "table_full", joined.overflowed);
    for delivery in counters.delivery.values().flat_map(BTreeMap::values) {
        for (reason, count) in &delivery.dropped {
            add("delivery", reason, *count);
        }
    }
    let name = "dnscribe_dropped_total";
    page.family(name);
    for ((stage, reason), count) in sums {
        page.count(name, &[("stage", stage), ("reason", reason)], count);
    }
}

/// The sinks' own numbers, by family.
fn sinks(page: &mut Page, gauges: &[(String, Vec<Gauge>)]) {
    let mut families: BTreeMap<&str, Vec<(&str, &Gauge)>> = BTreeMap::new();
    for (sink, own) in gauges {
        for gauge in own {
            families.entry(gauge.name).or_default().push((sink, gauge));
        }
    }
    for (name, samples) in families {
        page.family(name);
        for (sink, gauge) in &samples {
            page.value(name, &[("sink", sink)], gauge.value);
        }
    }
}

#[cfg(test)]
mod tests;
