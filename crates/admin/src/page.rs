//! A page of metrics: Prometheus' text format, version 0.0.4, or its Protobuf messages, which alone carry native histograms.

use crate::histogram::Histogram;
use crate::metric::Metric;
use crate::proto;
use prost::Message as _;
use std::fmt::{self, Display, Write as _};

/// Labels of a sample, in the order in which they are written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page of metrics.
#[derive(Debug)]
pub struct Page {
    families: Vec<proto::MetricFamily>,
    find: Find,
}

/// Returns the description of a metric by its name.
pub type Find = fn(&str) -> Option<&'static Metric>;

impl Page {
    /// Creates an empty page for the metrics that `find` describes.
    #[must_use]
    pub const fn new(find: Find) -> Self {
        Self { families: Vec::new(), find }
    }

    /// Begins a metric family; its samples must follow at once.
    pub fn family(&mut self, name: &'static str) -> Family<'_> {
        let metric = (self.find)(name);
        debug_assert!(metric.is_some(), "{name} is not in the dictionary");
        let family = proto::MetricFamily {
            name: name.into(),
            help: metric.map_or_else(String::new, |metric| metric.help.into()),
            kind: metric.map_or(proto::MetricType::Untyped, |metric| metric.kind.into()).into(),
            metrics: Vec::new(),
        };
        Family(self.families.push_mut(family))
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

    /// Returns the page in the text format.
    #[must_use]
    pub fn into_text(self) -> String {
        let mut text = String::new();
        for family in &self.families {
            // Writing to a String cannot fail.
            let _ = write!(text, "{family}");
        }
        text
    }

    /// Returns the page as messages, each behind its length.
    #[must_use]
    pub fn into_protobuf(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A message without metrics is no family to Prometheus.
        for family in self.families.iter().filter(|family| !family.metrics.is_empty()) {
            bytes.extend(family.encode_length_delimited_to_vec());
        }
        bytes
    }
}

/// Adds the samples of one metric family.
#[derive(Debug)]
pub struct Family<'a>(&'a mut proto::MetricFamily);

impl Family<'_> {
    /// Adds a sample with an integer value.
    #[expect(clippy::cast_precision_loss, reason = "all values are 64-bit floats to Prometheus")]
    pub fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.value(labels, value as f64);
    }

    /// Adds a sample.
    pub fn value(&mut self, labels: Labels<'_>, value: f64) {
        let number = Some(proto::Number { value });
        let is_counter = self.0.kind() == proto::MetricType::Counter;
        let (counter, gauge) = if is_counter { (number, None) } else { (None, number) };
        self.sample(labels, proto::Metric { gauge, counter, ..proto::Metric::default() });
    }

    /// Adds the samples of a histogram.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let histogram = Some(histogram.into());
        self.sample(labels, proto::Metric { histogram, ..proto::Metric::default() });
    }

    fn sample(&mut self, labels: Labels<'_>, metric: proto::Metric) {
        let pair = |(name, value): &(&str, &str)| proto::LabelPair {
            name: (*name).into(),
            value: (*value).into(),
        };
        self.0.metrics.push(proto::Metric { labels: labels.iter().map(pair).collect(), ..metric });
    }
}

impl Display for proto::MetricFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let help = self.help.replace('\\', "\\\\").replace('\n', "\\n");
        let kind = self.kind().name();
        writeln!(f, "# HELP {0} {help}\n# TYPE {0} {kind}", self.name)?;
        for metric in &self.metrics {
            let mut sample = |suffix, bound, value: &dyn Display| {
                writeln!(f, "{}{suffix}{} {value}", self.name, Shown(&metric.labels, bound))
            };
            if let Some(proto::Number { value }) = metric.counter.or(metric.gauge) {
                sample("", None, &Float(value))?;
            }
            let Some(histogram) = &metric.histogram else { continue };
            for bucket in &histogram.buckets {
                sample("_bucket", Some(bucket.upper_bound), &bucket.cumulative_count)?;
            }
            sample("_sum", None, &Float(histogram.sum))?;
            sample("_count", None, &histogram.count)?;
        }
        Ok(())
    }
}

/// Displays labels, and the bound of a bucket.
struct Shown<'a>(&'a [proto::LabelPair], Option<f64>);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        for proto::LabelPair { name, value } in self.0 {
            write!(f, "{separator}{name}=\"{}\"", Escaped(value))?;
            separator = ',';
        }
        if let Some(bound) = self.1 {
            write!(f, "{separator}le=\"{}\"", Float(bound))?;
            separator = ',';
        }
        if separator == ',' { f.write_str("}") } else { Ok(()) }
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
             a_total 18446744073709552000\n\
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
