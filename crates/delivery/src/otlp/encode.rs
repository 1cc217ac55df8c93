//! Requests of records.

use super::metrics::{MetricSet, Metrics};
use super::proto::{
    Any, AnyValue, ArrayValue, KeyValue, KeyValueList, LogRecord, OfResource, OfScope, Request,
    Resource, Scope, Span,
};
use super::traces::{Trace, Tracer};
use super::{OtlpConfig, Signal, SignalSet};
use crate::Stream;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{Attribute, OtelEncoder, OtelRecord, text_line};
use prost::Message;
use serde_json::{Map, Value};
use std::fmt::Debug;

/// Version of the conventions of [`OtelEncoder`].
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.39.0";

/// Makes requests of records.
pub(super) struct Encoder {
    otel: OtelEncoder,
    signals: SignalSet,
    metrics: Metrics,
    /// Time of the last point of each resource.
    latest: ByResource<Timestamp>,
    tracer: Tracer,
    /// What made the last record.
    resource: Vec<Attribute>,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inclusion {
    /// It is in the requests of these signals.
    Sent(SignalSet),
    /// A record that none of the signals has: a window that others contain, one without a span where traces are all, or a lookup
    /// that is no call where metrics are all.
    Filtered,
    /// It is no record.
    Invalid,
}

/// Requests, and what became of each record.
pub(super) struct Encoded {
    pub(super) requests: Vec<(Signal, Vec<u8>)>,
    pub(super) inclusions: Vec<Inclusion>,
}

/// Items of one signal by resource.
pub(super) struct ByResource<T>(Vec<(Vec<Attribute>, T)>);

impl<T: Default> ByResource<T> {
    /// The items of a resource: nearly always the one of before.
    pub(super) fn of(&mut self, resource: &[Attribute]) -> &mut T {
        let place = self.0.iter().rposition(|(known, _)| known == resource);
        let place = place.unwrap_or_else(|| {
            self.0.push((resource.to_vec(), T::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    /// Adds the request of a signal, if it has items. Resources without items are left out.
    fn encode<M: Message + Default + Debug>(
        self,
        signal: Signal,
        mut items: impl FnMut(T) -> Vec<M>,
        requests: &mut Vec<(Signal, Vec<u8>)>,
    ) {
        let scope = || Scope { name: "dnscribe".into(), version: env!("CARGO_PKG_VERSION").into() };
        let with_items = self.0.into_iter().map(|(resource, all)| (resource, items(all)));
        let with_items = with_items.filter(|(_, items)| !items.is_empty());
        let resources = with_items.map(|(resource, items)| OfResource {
            resource: Some(Resource { attributes: key_values(resource) }),
            scopes: vec![OfScope { scope: Some(scope()), items, schema_url: SCHEMA_URL.into() }],
        });
        let request = Request { resources: resources.collect() };
        if !request.resources.is_empty() {
            requests.push((signal, request.encode_to_vec()));
        }
    }
}

impl Encoder {
    pub(super) fn new(config: &OtlpConfig, signals: SignalSet) -> Self {
        Self {
            otel: OtelEncoder::default(),
            signals,
            metrics: Metrics::new(config),
            latest: ByResource(Vec::new()),
            tracer: Tracer::default(),
            resource: Vec::new(),
        }
    }

    /// Makes requests of JSON lines. Cumulative metrics count them: call it once for each record.
    pub(super) fn encode<'a>(
        &mut self,
        records: impl Iterator<Item = (Stream, u128, &'a [u8])>,
    ) -> Encoded {
        let mut logs = ByResource::<Vec<LogRecord>>(Vec::new());
        let mut metrics = ByResource::<MetricSet>(Vec::new());
        let mut spans = ByResource::<Vec<Span>>(Vec::new());
        let mut inclusions = Vec::new();
        for (stream, event_id, line) in records {
            let Ok(record) = serde_json::from_slice::<Map<String, Value>>(line) else {
                inclusions.push(Inclusion::Invalid);
                continue;
            };
            let mut signals = self.signals.of(stream);
            let head = self.otel.encode(stream, record.clone());
            let mut trace = Trace::Absent;
            if signals.contains(Signal::Traces) {
                let spans = spans.of(&head.resource);
                trace = self.tracer.add(stream, &record, event_id, &head, spans);
                if trace == Trace::Absent {
                    signals = signals.without(Signal::Traces);
                }
                self.resource.clone_from(&head.resource);
            }
            if self.signals.contains(Signal::Metrics) {
                self.metrics.note_slow(stream, &record, head.time, event_id);
            }
            if !self.metrics.has_points(stream, &record) {
                signals = signals.without(Signal::Metrics);
            }
            if signals.contains(Signal::Metrics) {
                let set = metrics.of(&head.resource);
                set.before = *self.latest.of(&head.resource);
                self.metrics.add(&self.otel, stream, &record, head.time, set);
            }
            if signals.contains(Signal::Logs) {
                let mut log = log(stream, &record, line, &head);
                if let Trace::Known(trace) = trace {
                    log.trace_id = trace.to_be_bytes().into();
                    log.span_id = span_id(event_id).into();
                }
                log.attributes = key_values(head.attributes);
                logs.of(&head.resource).push(log);
            }
            let is_sent = signals != SignalSet::default();
            inclusions.push(if is_sent { Inclusion::Sent(signals) } else { Inclusion::Filtered });
        }
        let mut requests = Vec::new();
        logs.encode(Signal::Logs, |all| all, &mut requests);
        for (resource, set) in &mut metrics.0 {
            self.metrics.finish(set);
            let latest = self.latest.of(resource);
            *latest = set.latest.max(*latest);
        }
        metrics.encode(Signal::Metrics, MetricSet::into_metrics, &mut requests);
        spans.encode(Signal::Traces, |all| all, &mut requests);
        Encoded { requests, inclusions }
    }

    /// Number of transactions whose spans wait.
    pub(super) fn waiting(&self) -> usize {
        self.tracer.waiting()
    }

    /// Makes a request of the spans that wait, because the sink ends.
    pub(super) fn end(&mut self) -> Option<(Signal, Vec<u8>)> {
        let mut spans = Vec::new();
        self.tracer.end(&mut spans);
        let mut requests = Vec::new();
        if !spans.is_empty() {
            let resource = std::mem::take(&mut self.resource);
            ByResource(vec![(resource, spans)]).encode(Signal::Traces, |all| all, &mut requests);
        }
        requests.pop()
    }
}

/// Makes a log record, without its attributes.
fn log(stream: Stream, record: &Map<String, Value>, line: &[u8], head: &OtelRecord) -> LogRecord {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let (severity_number, severity_text) = match (stream, text("severity")) {
        _ if text("state") == "resolved" => (9, "INFO"),
        (Stream::Alerts, "critical") => (17, "ERROR"),
        (Stream::Alerts, "warning") | (Stream::Dlq, _) => (13, "WARN"),
        _ => (9, "INFO"),
    };
    let mut body = Vec::new();
    // A masked record may lack what its line shows.
    let body = text_line(&mut body, stream, line).then(|| String::from_utf8(body).ok()).flatten();
    let (kind, _) = stream.schema().rsplit_once('/').unwrap_or_default();
    LogRecord {
        time_unix_nano: head.time.as_nanos(),
        observed_time_unix_nano: head.time.as_nanos(),
        severity_number,
        severity_text: severity_text.into(),
        body: body.map(|body| any(body.trim_end().into())),
        event_name: format!("dnscribe.{}", kind.trim_start_matches("dns.")),
        ..LogRecord::default()
    }
}

/// The span of a record: all of its id is in it.
pub(super) fn span_id(event_id: u128) -> [u8; 8] {
    let bytes = event_id.to_be_bytes();
    std::array::from_fn(|index| bytes[index] ^ bytes[index + 8])
}

pub(super) fn key_values(attributes: Vec<Attribute>) -> Vec<KeyValue> {
    attributes.into_iter().map(|(key, value)| KeyValue { key, value: Some(any(value)) }).collect()
}

fn any(value: Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(yes) => Some(Any::Bool(yes)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Any::Int(whole),
            None => Any::Double(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => Some(Any::String(text)),
        Value::Array(values) => {
            Some(Any::Array(ArrayValue { values: values.into_iter().map(any).collect() }))
        }
        Value::Object(fields) => {
            Some(Any::List(KeyValueList { values: key_values(fields.into_iter().collect()) }))
        }
    };
    AnyValue { value }
}
