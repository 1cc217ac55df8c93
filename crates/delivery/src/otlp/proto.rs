//! The messages of OTLP 1.9 that the sink sends and receives, as far as it uses their fields: `opentelemetry/proto/` of
//! <https://github.com/open-telemetry/opentelemetry-proto>. The crate `opentelemetry-proto` has them all, together with
//! OpenTelemetry's SDK.

use super::Signal;
use dnscribe_record::EventId;
use prost::{Message, Oneof};
use std::fmt::Debug;

/// `common/v1/common.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) value: Option<Any>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Any {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    List(KeyValueList),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// `resource/v1/resource.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

/// `ExportLogsServiceRequest`, `ExportMetricsServiceRequest` and `ExportTraceServiceRequest`, which have the same layout.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request<T: Message + Default + Debug> {
    #[prost(message, repeated, tag = "1")]
    pub(super) resources: Vec<OfResource<T>>,
}

/// `ResourceLogs`, `ResourceMetrics` and `ResourceSpans`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OfResource<T: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scopes: Vec<OfScope<T>>,
}

/// `ScopeLogs`, `ScopeMetrics` and `ScopeSpans`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OfScope<T: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) items: Vec<T>,
    #[prost(string, tag = "3")]
    pub(super) schema_url: String,
}

/// `ExportLogsServiceResponse` and its like.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// `logs/v1/logs.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "11")]
    pub(super) observed_time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    pub(super) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(super) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(super) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    pub(super) span_id: Vec<u8>,
    #[prost(string, tag = "12")]
    pub(super) event_name: String,
}

/// `metrics/v1/metrics.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(oneof = "Data", tags = "7, 9, 10")]
    pub(super) data: Option<Data>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Data {
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
    #[prost(message, tag = "10")]
    ExponentialHistogram(ExponentialHistogram),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    pub(super) temporality: i32,
    #[prost(bool, tag = "3")]
    pub(super) is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    pub(super) temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExponentialHistogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<ExponentialPoint>,
    #[prost(int32, tag = "2")]
    pub(super) temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberPoint {
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(sfixed64, optional, tag = "6")]
    pub(super) as_int: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramPoint {
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(super) bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) explicit_bounds: Vec<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(super) exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExponentialPoint {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    pub(super) scale: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(message, optional, tag = "8")]
    pub(super) positive: Option<Buckets>,
    #[prost(message, repeated, tag = "11")]
    pub(super) exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Buckets {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint64, repeated, tag = "2")]
    pub(super) counts: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Exemplar {
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) time_unix_nano: u64,
    #[prost(double, optional, tag = "3")]
    pub(super) as_double: Option<f64>,
}

/// `trace/v1/trace.proto`.
#[derive(Clone, PartialEq, Message)]
#[expect(clippy::struct_field_names, reason = "a name of OTLP")]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

/// `google/rpc/status.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusDetails {
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Detail>,
}

/// `google/protobuf/any.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Detail {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google/rpc/error_details.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) delay: Option<Delay>,
}

/// `google/protobuf/duration.proto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// Returns how many log records, data points or spans a request has.
pub(super) fn item_count(signal: Signal, request: &[u8]) -> usize {
    match signal {
        Signal::Logs => sum_items(request, |_: &LogRecord| 1),
        Signal::Traces => sum_items(request, |_: &Span| 1),
        Signal::Metrics => sum_items(request, |metric: &Metric| match &metric.data {
            Some(Data::Sum(sum)) => sum.points.len(),
            Some(Data::Histogram(histogram)) => histogram.points.len(),
            Some(Data::ExponentialHistogram(histogram)) => histogram.points.len(),
            None => 0,
        }),
    }
}

fn sum_items<T: Message + Default + Debug>(request: &[u8], count: impl Fn(&T) -> usize) -> usize {
    let request = Request::<T>::decode(request).unwrap_or_default();
    let scopes = request.resources.iter().flat_map(|resource| &resource.scopes);
    scopes.flat_map(|scope| &scope.items).map(count).sum()
}

/// Makes two requests of one. `None`: it has one item, or one data point.
pub(super) fn halve(signal: Signal, request: &[u8]) -> Option<[Vec<u8>; 2]> {
    match signal {
        Signal::Logs => halve_items::<LogRecord>(request),
        Signal::Metrics => halve_items::<Metric>(request).or_else(|| halve_points(request)),
        Signal::Traces => halve_items::<Span>(request),
    }
}

fn halve_items<T: Message + Clone + Default + Debug>(request: &[u8]) -> Option<[Vec<u8>; 2]> {
    let mut second = Request::<T>::decode(request).ok()?;
    let mut left = second.scopes().map(|scope| scope.items.len()).sum::<usize>() / 2;
    if left == 0 {
        return None;
    }
    let mut first = second.clone();
    for (first, second) in first.scopes().zip(second.scopes()) {
        let here = left.min(first.items.len());
        first.items.truncate(here);
        second.items.drain(..here);
        left -= here;
    }
    Some([first, second].map(|mut half| {
        let has_items = |scope: &OfScope<T>| !scope.items.is_empty();
        half.resources.retain(|resource| resource.scopes.iter().any(has_items));
        half.encode_to_vec()
    }))
}

/// As [`halve`], of a request of one metric.
fn halve_points(request: &[u8]) -> Option<[Vec<u8>; 2]> {
    let mut second = Request::<Metric>::decode(request).ok()?;
    let mut first = second.clone();
    let metrics = [&mut first, &mut second].map(|half| {
        half.scopes().find_map(|scope| scope.items.first_mut()).and_then(|one| one.data.as_mut())
    });
    let [Some(one), Some(other)] = metrics else { return None };
    let is_halved = match (one, other) {
        (Data::Sum(one), Data::Sum(other)) => split(&mut one.points, &mut other.points),
        (Data::Histogram(one), Data::Histogram(other)) => split(&mut one.points, &mut other.points),
        (Data::ExponentialHistogram(one), Data::ExponentialHistogram(other)) => {
            split(&mut one.points, &mut other.points)
        }
        _ => false,
    };
    is_halved.then(|| [first, second].map(|half| half.encode_to_vec()))
}

/// Leaves the first half of equal items in one list, and the second half in the other. Returns false if there is only one.
fn split<T>(one: &mut Vec<T>, other: &mut Vec<T>) -> bool {
    let half = one.len() / 2;
    one.truncate(half);
    other.drain(..half);
    half > 0
}

impl<T: Message + Default + Debug> Request<T> {
    fn scopes(&mut self) -> impl Iterator<Item = &mut OfScope<T>> {
        self.resources.iter_mut().flat_map(|resource| &mut resource.scopes)
    }
}

/// Returns the ids of the records in a request of logs or traces.
pub(super) fn record_ids(signal: Signal, request: &[u8]) -> Vec<u128> {
    match signal {
        Signal::Logs => ids_of(request, |log: &LogRecord| &log.attributes),
        Signal::Metrics => Vec::new(),
        Signal::Traces => ids_of(request, |span: &Span| &span.attributes),
    }
}

fn ids_of<T: Message + Default + Debug>(
    request: &[u8],
    attributes: impl Fn(&T) -> &[KeyValue],
) -> Vec<u128> {
    let id = |item: &T| {
        let uid = attributes(item).iter().find(|one| one.key == "log.record.uid")?;
        let Some(Any::String(id)) = &uid.value.as_ref()?.value else { return None };
        id.parse::<EventId>().ok().map(|id| id.0)
    };
    let mut request = Request::<T>::decode(request).unwrap_or_default();
    request.scopes().flat_map(|scope| &scope.items).filter_map(id).collect()
}
