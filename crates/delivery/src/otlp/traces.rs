//! Traces: a lookup and its transactions, at a resolver a client's transaction and those that it caused.

use super::encode::{key_values, span_id, trace_id};
use super::proto::{Span, Status};
use crate::Stream;
use dnscribe_record::{EventId, OtelRecord};
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Most transactions that wait for what caused them.
const MAX_WAITING: usize = 16_384;

/// Kinds of span.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// Spans of transactions, until what caused them has ended.
#[derive(Default)]
pub(super) struct Tracer {
    waiting: HashMap<u128, Waiting>,
    /// Transactions by the one that caused them.
    children: HashMap<u128, Vec<u128>>,
    /// Ids in order of arrival, with what caused them.
    order: VecDeque<(u128, Option<u128>)>,
}

/// A span whose trace is not complete.
struct Waiting {
    span: Span,
    context: Option<Context>,
}

/// The trace and the span of the application that a query belongs to.
#[derive(Clone)]
struct Context {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
}

impl Context {
    /// Reads W3C's `traceparent`, as records have it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').skip(1);
        let trace = u128::from_str_radix(parts.next()?, 16).ok()?;
        let span = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(Self { trace_id: trace.to_be_bytes().into(), span_id: span.to_be_bytes().into() })
    }
}

impl Tracer {
    /// Adds a transaction or a lookup. A finished trace is appended to `spans`.
    pub(super) fn add(
        &mut self,
        stream: Stream,
        record: &Map<String, Value>,
        event_id: u128,
        head: &OtelRecord,
        spans: &mut Vec<Span>,
    ) {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        if stream == Stream::Lookups {
            let ids = record.get("transaction_ids").and_then(Value::as_array);
            let ids = ids.into_iter().flatten().filter_map(parse_id);
            // At a resolver, what its clients asked has caused its transactions.
            let own: Vec<u128> = ids.filter(|id| self.is_root(*id)).collect();
            if !own.is_empty() {
                let root = span(record, event_id, head, "DNS lookup".to_owned(), INTERNAL);
                let waiting = |id: &u128| self.waiting.get(id)?.context.clone();
                let context = own.iter().find_map(waiting);
                self.finish(event_id, Waiting { span: root, context }, own, spans);
            }
            return;
        }
        if matches!(text("status"), Some("late" | "duplicate" | "orphan") | None) {
            return;
        }
        let kind = match text("vantage") {
            Some("server") => SERVER,
            // What passes by is its client's.
            _ => CLIENT,
        };
        let name = format!("DNS {}", text("qtype").unwrap_or("query"));
        let span = span(record, event_id, head, name, kind);
        let waiting = Waiting { span, context: text("traceparent").and_then(Context::parse) };
        let parent = record.get("parent_event_id").and_then(parse_id);
        if kind == SERVER && parent.is_none() {
            let own = self.children.remove(&event_id).unwrap_or_default();
            return self.finish(event_id, waiting, own, spans);
        }
        if self.waiting.insert(event_id, waiting).is_none() {
            self.order.push_back((event_id, parent));
            if let Some(parent) = parent {
                self.children.entry(parent).or_default().push(event_id);
            }
        }
        while self.order.len() > MAX_WAITING {
            if let Some((oldest, parent)) = self.order.pop_front() {
                self.waiting.remove(&oldest);
                parent.and_then(|parent| self.children.remove(&parent));
            }
        }
    }

    /// Returns whether a transaction waits that no other one caused.
    fn is_root(&self, id: u128) -> bool {
        self.waiting.get(&id).is_some_and(|waiting| waiting.span.parent_span_id.is_empty())
    }

    /// Appends a trace: `root`, below the application's span if its context is known, and the waiting spans below it.
    fn finish(&mut self, id: u128, root: Waiting, below: Vec<u128>, spans: &mut Vec<Span>) {
        let Waiting { span: root, context } = root;
        let (trace, above) = match context {
            Some(Context { trace_id, span_id }) => (trace_id, span_id),
            None => (trace_id(id), Vec::new()),
        };
        let end = root.end_time_unix_nano.max(root.start_time_unix_nano);
        let mut next: Vec<(u128, u128)> = below.into_iter().map(|child| (child, id)).collect();
        spans.push(Span {
            trace_id: trace.clone(),
            parent_span_id: above,
            end_time_unix_nano: end,
            ..root
        });
        while let Some((child, parent)) = next.pop() {
            let Some(Waiting { mut span, .. }) = self.waiting.remove(&child) else { continue };
            span.trace_id.clone_from(&trace);
            span.parent_span_id = span_id(parent);
            // Without a response it lasts as long as whoever asked waited.
            if span.end_time_unix_nano == 0 {
                span.end_time_unix_nano = end.max(span.start_time_unix_nano);
            }
            let below = self.children.remove(&child).unwrap_or_default();
            next.extend(below.into_iter().map(|grandchild| (grandchild, child)));
            spans.push(span);
        }
    }
}

/// Makes a span. Its parent is a mark only, until the trace is finished.
fn span(
    record: &Map<String, Value>,
    event_id: u128,
    head: &OtelRecord,
    name: String,
    kind: i32,
) -> Span {
    let duration = ["latency_ms", "duration_ms"].into_iter().find_map(|name| record.get(name));
    let seconds = duration.and_then(Value::as_f64).map(|milliseconds| milliseconds / 1000.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let failed = head.attributes.iter().any(|(name, _)| name == "error.type");
    let parent = record.get("parent_event_id").and_then(parse_id);
    Span {
        span_id: span_id(event_id),
        parent_span_id: parent.map(span_id).unwrap_or_default(),
        name,
        kind,
        start_time_unix_nano: head.time.as_nanos(),
        end_time_unix_nano: duration.map_or(0, |duration| head.time.plus(duration).as_nanos()),
        attributes: key_values(head.attributes.clone()),
        status: failed.then_some(Status { code: ERROR }),
        ..Span::default()
    }
}

fn parse_id(value: &Value) -> Option<u128> {
    value.as_str()?.parse::<EventId>().ok().map(|id| id.0)
}
