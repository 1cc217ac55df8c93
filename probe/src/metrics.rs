//! Metrics for Prometheus: the last result of each target, and the counters of the program.
//!
//! What blackbox_exporter has too is named as it names it (`probe_success`), the rest `dnscribe_probe_…`.
//! [`results`] writes results, for `/metrics` with labels and for `/probe` without.

mod dictionary;
mod page;
pub mod results;

pub use dictionary::{metric, metrics};
pub use page::page;

use crate::measure::Round;
use crate::memory::MemoryCounters;
use dnscribe_admin::page::Page;
use dnscribe_admin::{process, sinks};
use dnscribe_delivery::Gauge;
use dnscribe_record::ProbeFields;
use dnscribe_record::ledger::Counters;
use results::LabeledResult;
use std::collections::BTreeMap;

/// Largest number of results that have labels of their own; the last one of all others has `other`.
const MAX_RESULTS: usize = 20_000;

/// Service, kind and name of a target.
type TargetKey = (String, String, String);

/// The last results of each target: one for each of its resolvers, nameservers and addresses.
#[derive(Debug, Default)]
pub struct Metrics {
    results: BTreeMap<TargetKey, Vec<ProbeFields>>,
    /// Number of those results.
    count: usize,
    /// The last result beyond the limit.
    other: Option<ProbeFields>,
    /// Number of results beyond the limit.
    others: u64,
    /// Number of nameserver addresses that this host has no route to.
    unrouted: u64,
}

/// A verdict in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictMetric {
    /// Service.
    pub service: String,
    /// Cause: `dns`, `certificate`, ...
    pub cause: String,
    /// Severity: info, warning or critical.
    pub severity: String,
}

/// Everything else that the page is made from.
#[derive(Debug)]
pub struct MetricsSnapshot<'a> {
    /// Counters of the ledger.
    pub counters: &'a Counters,
    /// Counters of the memory.
    pub memory: MemoryCounters,
    /// Number of circuit breakers that are open.
    pub open_breakers: u64,
    /// Requests for `/probe` by outcome.
    pub requests: &'a [(&'static str, u64)],
    /// Verdicts in force.
    pub verdicts: &'a [VerdictMetric],
    /// Metrics of the sinks, with the sinks' names.
    pub gauges: &'a [(String, Vec<Gauge>)],
    /// Bytes on disk that wait for Kafka.
    pub spool_bytes: u64,
}

impl Metrics {
    /// Keeps the results of a round, in place of those of the round before.
    pub fn observe(&mut self, round: &Round) {
        self.unrouted += round.unrouted;
        let target = &round.target;
        let key = (target.service.to_string(), target.kind.name().to_owned(), target.name.clone());
        self.count -= self.results.get(&key).map_or(0, Vec::len);
        if self.count + round.found.len() > MAX_RESULTS {
            self.results.remove(&key);
            self.others += round.found.len() as u64;
            self.other = round.found.last().cloned();
        } else {
            self.count += round.found.len();
            self.results.insert(key, round.found.clone());
        }
    }

    /// Drops the results of targets that are no longer configured. `is_target` takes service, kind and name.
    pub fn retain(&mut self, is_target: impl Fn(&str, &str, &str) -> bool) {
        self.results.retain(|(service, kind, target), _| is_target(service, kind, target));
        self.count = self.results.values().map(Vec::len).sum();
        self.other = None;
    }

    /// Renders the page.
    #[must_use]
    pub fn render(&self, snapshot: &MetricsSnapshot<'_>) -> Page {
        let mut page = Page::new(metric);
        let mut results: Vec<_> = self.results.values().flatten().map(LabeledResult::new).collect();
        results.extend(self.other.as_ref().map(LabeledResult::other));
        results::write(&mut page, &results);
        page.count("dnscribe_probe_other_results_total", self.others);
        page.count("dnscribe_probe_unrouted_addresses_total", self.unrouted);
        write_rounds(&mut page, snapshot.counters);
        write_states(&mut page, snapshot);
        write_memory(&mut page, &snapshot.memory);
        sinks::write_records(&mut page, &snapshot.counters.delivery);
        sinks::write_dropped(&mut page, &snapshot.counters.delivery);
        page.count("dnscribe_spool_bytes", snapshot.spool_bytes);
        sinks::write(&mut page, snapshot.gauges);
        let version = ("version", env!("CARGO_PKG_VERSION"));
        page.family("dnscribe_probe_build_info").count(&[version], 1);
        process::write(&mut page);
        page
    }
}

fn write_rounds(page: &mut Page, counters: &Counters) {
    let Some(probing) = &counters.probing else { return };
    let skipped = probing.skipped.iter().map(|(reason, count)| (reason.as_str(), *count));
    let outcomes = skipped.chain([("completed", probing.completed)]);
    page.by_label("dnscribe_probe_rounds_total", "outcome", outcomes);
    page.count("dnscribe_probe_rounds_late_total", probing.late);
    page.count("dnscribe_probe_rounds_running", probing.running);
}

fn write_states(page: &mut Page, snapshot: &MetricsSnapshot<'_>) {
    page.count("dnscribe_probe_breakers_open", snapshot.open_breakers);
    let requests = snapshot.requests.iter().copied();
    page.by_label("dnscribe_probe_requests_total", "outcome", requests);
    let mut family = page.family("dnscribe_probe_verdict");
    for VerdictMetric { service, cause, severity } in snapshot.verdicts {
        family.count(&[("service", service), ("cause", cause), ("severity", severity)], 1);
    }
}

fn write_memory(page: &mut Page, memory: &MemoryCounters) {
    page.count("dnscribe_probe_memory_subjects", memory.subjects);
    page.count("dnscribe_probe_memory_values", memory.values);
    page.count("dnscribe_probe_memory_evicted_total", memory.evicted);
    page.count("dnscribe_probe_memory_overflow_total", memory.overflowed);
    page.count("dnscribe_probe_memory_write_failures_total", memory.write_failures);
}

#[cfg(test)]
mod tests;
