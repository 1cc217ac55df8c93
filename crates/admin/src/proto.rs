//! Prometheus' Protobuf messages, as far as a page needs them: `io/prometheus/client/metrics.proto` of
//! <https://github.com/prometheus/client_model>, version 0.6.

use crate::metric::MetricKind;
use prost::{Enumeration, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(crate) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Untyped = 3,
    Histogram = 4,
}

impl MetricType {
    /// Name in the text format.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Untyped => "untyped",
            Self::Histogram => "histogram",
        }
    }
}

impl From<MetricKind> for MetricType {
    fn from(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter,
            MetricKind::Gauge => Self::Gauge,
            MetricKind::Histogram => Self::Histogram,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) help: String,
    /// Serialized even if it is `COUNTER`, which is 0: the messages are those of proto2.
    #[prost(enumeration = "MetricType", required, tag = "3")]
    pub(crate) kind: i32,
    #[prost(message, repeated, tag = "4")]
    pub(crate) metrics: Vec<Metric>,
}

/// A sample with its labels; exactly one of the values is there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(crate) gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    pub(crate) counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    pub(crate) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// `Gauge` and `Counter`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Number {
    #[prost(double, required, tag = "1")]
    pub(crate) value: f64,
}

/// A histogram in both forms: classic buckets, and a native histogram.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, required, tag = "1")]
    pub(crate) count: u64,
    #[prost(double, required, tag = "2")]
    pub(crate) sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) buckets: Vec<Bucket>,
    #[prost(sint32, required, tag = "5")]
    pub(crate) schema: i32,
    #[prost(double, required, tag = "6")]
    pub(crate) zero_threshold: f64,
    #[prost(uint64, required, tag = "7")]
    pub(crate) zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    pub(crate) spans: Vec<BucketSpan>,
    /// Counts of the spans' buckets, each less the one before it.
    #[prost(sint64, repeated, packed = "true", tag = "13")]
    pub(crate) deltas: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Bucket {
    #[prost(uint64, required, tag = "1")]
    pub(crate) cumulative_count: u64,
    #[prost(double, required, tag = "2")]
    pub(crate) upper_bound: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct BucketSpan {
    /// Buckets between the end of the last span, or bucket 0, and the first of this one.
    #[prost(sint32, required, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, required, tag = "2")]
    pub(crate) length: u32,
}
