//! Writer for Prometheus' text format, version 0.0.4.

use crate::metric::{Metric, MetricKind};
use std::fmt::{self, Display, Write};

/// Content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample, in the order in which they are written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Counts of values in buckets with fixed bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Values per bucket, then values above all bounds.
    counts: Box<[u64]>,
    sum: f64,
}

impl Histogram {
    /// Creates an empty histogram; `bounds` must be in increasing order.
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

/// A page of metrics in Prometheus' text format.
#[derive(Debug)]
pub struct Page {
    text: String,
    find: Find,
}

/// Returns the description of a metric by its name.
pub type Find = fn(&str) -> Option<&'static Metric>;

impl Page {
    /// Creates an empty page for the metrics that `find` describes.
    #[must_use]
    pub const fn new(find: Find) -> Self {
        Self { text: String::new(), find }
    }

    /// Begins a metric family with its HELP and TYPE lines; its samples must follow at once.
    pub fn family<'a>(&'a mut self, name: &'static str) -> Family<'a> {
        match (self.find)(name) {
            Some(metric) => self.header(name, metric.help, metric.kind),
            None => debug_assert!(false, "{name} is not in the dictionary"),
        }
        Family { page: self, name }
    }

    /// Adds a family of one sample without labels.
    pub fn count(&mut self, name: &'static str, value: u64) {
        self.family(name).count(&[], value);
    }

    /// Adds a family of samples that differ in one label.
    pub fn by_label<'v>(
        &mut self,
        name: &'static str,
        label: &str,
        samples: impl IntoIterator<Item = (&'v str, u64)>,
    ) {
        let mut family = self.family(name);
        for (value, count) in samples {
            family.count(&[(label, value)], count);
        }
    }

    fn header(&mut self, name: &str, help: &str, kind: MetricKind) {
        let (kind, help) = (kind.name(), help.replace('\\', "\\\\").replace('\n', "\\n"));
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Returns the page as text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// Writes the samples of one metric family.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// Adds a sample with an integer value.
    pub fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.sample("", labels, None, value);
    }

    /// Adds a sample.
    pub fn value(&mut self, labels: Labels<'_>, value: f64) {
        self.sample("", labels, None, Float(value));
    }

    /// Adds the samples of a histogram.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let mut total = 0;
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count;
            self.sample("_bucket", labels, Some(bound), total);
        }
        self.sample("_sum", labels, None, Float(histogram.sum));
        self.sample("_count", labels, None, total);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<f64>,
        value: impl Display,
    ) {
        self.page.write(format_args!("{}{suffix}", self.name));
        let mut separator = '{';
        for (label, text) in labels {
            self.page.write(format_args!("{separator}{label}=\"{}\"", Escaped(text)));
            separator = ',';
        }
        if let Some(bound) = bound {
            self.page.write(format_args!("{separator}le=\"{}\"", Float(bound)));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        self.page.write(format_args!("{end} {value}\n"));
    }
}

/// Displays a label value with escapes.
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

/// Displays a number in the format's spelling.
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

    static METRICS: [Metric; 3] = [
        Metric::counter("a_total", "1", "What\nit \\ is."),
        Metric::gauge("b", "1", "B."),
        Metric::histogram("h", "seconds", "H."),
    ];

    fn page() -> Page {
        Page::new(|name| METRICS.iter().find(|metric| metric.name == name))
    }

    #[test]
    fn writes_samples() {
        let mut page = page();
        let mut family = page.family("a_total");
        family.count(&[], u64::MAX);
        family.count(&[("x", "q\"b\\n\nü"), ("y", "")], 2);
        let mut family = page.family("b");
        family.value(&[], 0.25);
        family.value(&[("i", "1")], f64::NEG_INFINITY);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What\\nit \\\\ is.\n# TYPE a_total counter\n\
             a_total 18446744073709551615\n\
             a_total{x=\"q\\\"b\\\\n\\nü\",y=\"\"} 2\n\
             # HELP b B.\n# TYPE b gauge\nb 0.25\nb{i=\"1\"} -Inf\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_with_inclusive_bounds() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.25, 0.5, 0.75, 8.0] {
            histogram.observe(value);
        }
        let mut page = page();
        page.family("h").histogram(&[("v", "x")], &histogram);
        assert_eq!(
            page.into_text(),
            "# HELP h H.\n# TYPE h histogram\n\
             h_bucket{v=\"x\",le=\"0.5\"} 2\nh_bucket{v=\"x\",le=\"1\"} 3\n\
             h_bucket{v=\"x\",le=\"+Inf\"} 4\nh_sum{v=\"x\"} 9.5\nh_count{v=\"x\"} 4\n"
        );
    }
}
