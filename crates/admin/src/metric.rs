//! The description of one metric: its HELP and TYPE lines and its entry in the documentation.

use dnscribe_record::named_enum;
use std::fmt::Write as _;

named_enum! {
    /// Kind of numbers that a metric holds, with its name in Prometheus' text format.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum MetricKind {
        /// Only increases; its name ends in `_total`.
        Counter = "counter",
        /// Increases and decreases.
        Gauge = "gauge",
        /// Counts by size, in buckets.
        Histogram = "histogram",
    }
}

/// Description of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name of the metric.
    pub name: &'static str,
    /// Kind of its numbers.
    pub kind: MetricKind,
    /// Unit of its numbers.
    pub unit: &'static str,
    /// HELP text in one sentence.
    pub help: &'static str,
    /// Labels, each with its possible values.
    pub labels: &'static [(&'static str, &'static str)],
    /// Formula, or how to use the metric, in `PromQL` if it is an expression.
    pub formula: &'static str,
    /// Source: a record, a counter of the ledger, the system.
    pub source: &'static str,
    /// Caveat for users of the metric.
    pub caveat: &'static str,
}

impl Metric {
    const fn new(
        name: &'static str,
        kind: MetricKind,
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self { name, kind, unit, help, labels: &[], formula: "", source: "", caveat: "" }
    }

    /// Describes a number that only increases.
    #[must_use]
    pub const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricKind::Counter, unit, help)
    }

    /// Describes a number that increases and decreases.
    #[must_use]
    pub const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricKind::Gauge, unit, help)
    }

    /// Describes a distribution over buckets.
    #[must_use]
    pub const fn histogram(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricKind::Histogram, unit, help)
    }

    /// Adds labels with their possible values.
    #[must_use]
    pub const fn labels(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }

    /// Adds a formula.
    #[must_use]
    pub const fn formula(self, formula: &'static str) -> Self {
        Self { formula, ..self }
    }

    /// Adds the source.
    #[must_use]
    pub const fn source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    /// Adds a caveat.
    #[must_use]
    pub const fn caveat(self, caveat: &'static str) -> Self {
        Self { caveat, ..self }
    }

    /// Returns the entry of this metric in the documentation, as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Self { name, kind, unit, help, labels, formula, source, caveat } = self;
        let mut text = format!("\n**`{name}`** · {} · {unit}\n\n{help}\n\n", kind.name());
        if !labels.is_empty() {
            let labels: Vec<String> =
                labels.iter().map(|(label, values)| format!("`{label}` ({values})")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- Labels: {}.", labels.join(", "));
        }
        let parts = [("Formula", formula), ("Source", source), ("Caveat", caveat)];
        for (title, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            let dot = if part.ends_with('.') { "" } else { "." };
            let _ = writeln!(text, "- {title}: {part}{dot}");
        }
        text
    }
}
