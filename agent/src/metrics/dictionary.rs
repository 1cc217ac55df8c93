//! All metrics of the agent: HELP and TYPE lines and `docs/metrics.md` come from here. A metric
//! that is missing here fails a debug assertion.

mod agent;
mod dns;

use dnscribe_admin::metric::Metric;
use dnscribe_admin::{process, sinks};

/// All metrics by subject.
const ALL: [&[Metric]; 5] =
    [dns::METRICS, agent::METRICS, sinks::RECORDS, sinks::METRICS, process::METRICS];

/// Returns all metrics.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    ALL.into_iter().flatten()
}

/// Returns the metric with a name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    metrics().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests;
