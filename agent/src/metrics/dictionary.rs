//! Every metric of the page, and what it means: the HELP and TYPE lines come from here, and so does
//! `docs/metrics.md`. Whoever adds a metric adds it here, or the page has no place for it.

mod agent;
mod dns;
mod page;
mod process;
mod sinks;

pub use page::page;

use super::text::Kind;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of numbers it has.
    pub kind: Kind,
    /// In what they are counted.
    pub unit: &'static str,
    /// One sentence: what they count.
    pub help: &'static str,
    /// Its labels, each with the values that it may have.
    pub labels: &'static [(&'static str, &'static str)],
    /// How it is made, or what to make of it, in `PromQL` where that is an expression.
    pub formula: &'static str,
    /// Where it comes from: a record, a counter of the ledger, the system.
    pub source: &'static str,
    /// What to beware of.
    pub caveat: &'static str,
}

impl Metric {
    const fn new(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Self {
        Self { name, kind, unit, help, labels: &[], formula: "", source: "", caveat: "" }
    }

    /// A number that only ever rises.
    const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Counter, unit, help)
    }

    /// A number that rises and falls.
    const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, unit, help)
    }

    const fn histogram(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, unit, help)
    }

    const fn labels(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }

    const fn formula(self, formula: &'static str) -> Self {
        Self { formula, ..self }
    }

    const fn source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    const fn caveat(self, caveat: &'static str) -> Self {
        Self { caveat, ..self }
    }
}

/// Every metric, by where it is from.
const ALL: [&[Metric]; 4] = [dns::METRICS, agent::METRICS, sinks::METRICS, process::METRICS];

/// Every metric.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    ALL.into_iter().flatten()
}

/// The metric of a name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    metrics().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests;
