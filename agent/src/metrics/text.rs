//! Prometheus' text format, version 0.0.4.

use super::dictionary;
use std::fmt::{self, Display, Write};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of numbers a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As the format spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels of a sample, in the order in which they are written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A distribution over fixed bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Of each bound those above the one before, then those above all.
    counts: Box<[u64]>,
    sum: f64,
}

impl Histogram {
    /// Empty, over bounds in rising order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1].into(), sum: 0.0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }
}

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins the family of a metric of the dictionary: all its samples follow.
    pub fn family(&mut self, name: &str) {
        match dictionary::metric(name) {
            Some(metric) => self.header(name, metric.help, metric.kind),
            // It would be a metric of which nobody knows what it means.
            None => debug_assert!(false, "{name} is not in the dictionary"),
        }
    }

    fn header(&mut self, name: &str, help: &str, kind: Kind) {
        let (kind, help) = (kind.name(), help.replace('\\', "\\\\").replace('\n', "\\n"));
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Adds a sample of a whole number.
    pub fn count(&mut self, name: &str, labels: Labels<'_>, value: u64) {
        self.sample(name, "", labels, None, value);
    }

    /// Adds a sample.
    pub fn value(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.sample(name, "", labels, None, Float(value));
    }

    /// Adds a histogram's samples.
    pub fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let mut total = 0;
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count;
            self.sample(name, "_bucket", labels, Some(bound), total);
        }
        self.sample(name, "_sum", labels, None, Float(histogram.sum));
        self.sample(name, "_count", labels, None, total);
    }

    /// The page as text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<f64>,
        value: impl Display,
    ) {
        self.write(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for (label, text) in labels {
            self.write(format_args!("{separator}{label}=\"{}\"", Escaped(text)));
            separator = ',';
        }
        if let Some(bound) = bound {
            self.write(format_args!("{separator}le=\"{}\"", Float(bound)));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        self.write(format_args!("{end} {value}\n"));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
    }
}

/// A label's value.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            match part.as_bytes().last() {
                Some(b'\\') => write!(f, "{part}\\")?,
                Some(b'"') => write!(f, "{}\\\"", &part[..part.len() - 1])?,
                Some(b'\n') => write!(f, "{}\\n", &part[..part.len() - 1])?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

struct Float(f64);

impl Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => value.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_samples() {
        let mut page = Page::default();
        page.header("a_total", "What\nit \\ is.", Kind::Counter);
        page.count("a_total", &[], u64::MAX);
        page.count("a_total", &[("x", "q\"b\\n\nü"), ("y", "")], 2);
        page.header("b", "B.", Kind::Gauge);
        page.value("b", &[], 0.25);
        page.value("b", &[("i", "1")], f64::NEG_INFINITY);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What\\nit \\\\ is.\n# TYPE a_total counter\n\
             a_total 18446744073709551615\n\
             a_total{x=\"q\\\"b\\\\n\\nü\",y=\"\"} 2\n\
             # HELP b B.\n# TYPE b gauge\nb 0.25\nb{i=\"1\"} -Inf\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_closed_above() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.25, 0.5, 0.75, 8.0] {
            histogram.observe(value);
        }
        let mut page = Page::default();
        page.histogram("h", &[("v", "x")], &histogram);
        assert_eq!(
            page.into_text(),
            "h_bucket{v=\"x\",le=\"0.5\"} 2\nh_bucket{v=\"x\",le=\"1\"} 3\n\
             h_bucket{v=\"x\",le=\"+Inf\"} 4\nh_sum{v=\"x\"} 9.5\nh_count{v=\"x\"} 4\n"
        );
    }
}
