//! Traces: a lookup and its transactions, at a resolver a client's transaction and those that it caused.

use super::encode::{key_values, span_id};
use super::proto::{Span, Status};
use crate::Stream;
use dnscribe_record::{EventId, OtelRecord};
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Most transactions that wait for what caused them.
const MAX_WAITING: usize = 16_384;
/// Most transactions whose place in a trace is remembered for what they cause later.
const MAX_PLACES: usize = 16_384;

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
    /// Ids in order of arrival.
    order: VecDeque<u128>,
    /// Where transactions are that have a span, or that a lookup with a span names.
    places: HashMap<u128, Place>,
    /// Their ids in order of arrival.
    placed: VecDeque<u128>,
}

/// The trace of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// The record has no span.
    Absent,
    /// What caused the record decides.
    Open,
    /// Its id.
    Known(u128),
}

/// A span whose trace is not complete.
struct Waiting {
    span: Span,
    parent: Option<u128>,
    context: Option<Context>,
}

/// A trace and the span in it that is above: for a query with `traceparent`, the application's.
#[derive(Clone, Copy)]
struct Context {
    trace: u128,
    above: Option<[u8; 8]>,
}

#[derive(Clone, Copy)]
struct Place {
    context: Context,
    /// When whoever waited had its answer, in nanoseconds.
    end: u64,
}

impl Context {
    /// Reads W3C's `traceparent`, as records have it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').skip(1);
        let trace = u128::from_str_radix(parts.next()?, 16).ok()?;
        let span = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(Self { trace, above: Some(span.to_be_bytes()) })
    }
}

impl Tracer {
    /// Adds a transaction or a lookup. Spans whose trace is known are appended to `spans`.
    pub(super) fn add(
        &mut self,
        stream: Stream,
        record: &Map<String, Value>,
        event_id: u128,
        head: &OtelRecord,
        spans: &mut Vec<Span>,
    ) -> Trace {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        if stream == Stream::Lookups {
            return self.add_lookup(record, event_id, head, spans);
        }
        if matches!(text("status"), Some("late" | "duplicate" | "orphan") | None) {
            return Trace::Absent;
        }
        let kind = match text("vantage") {
            Some("server") => SERVER,
            // What passes by is its client's.
            _ => CLIENT,
        };
        let name = format!("DNS {}", text("qtype").unwrap_or("query"));
        let span = span(record, event_id, head, name, kind);
        let context = text("traceparent").and_then(Context::parse);
        let parent = record.get("parent_event_id").and_then(parse_id);
        let waiting = Waiting { span, parent, context };
        let above = parent.and_then(|parent| {
            let Place { context, end } = *self.places.get(&parent)?;
            let context = Context { above: Some(span_id(parent)), ..context };
            Some(Place { context, end })
        });
        let place = self.places.get(&event_id).copied().or(above);
        if place.is_some() || kind == SERVER && parent.is_none() {
            return Trace::Known(self.finish(event_id, waiting, place, spans));
        }
        let trace = context.map_or(Trace::Open, |context| Trace::Known(context.trace));
        if self.waiting.insert(event_id, waiting).is_none() {
            self.order.push_back(event_id);
            if let Some(parent) = parent {
                self.children.entry(parent).or_default().push(event_id);
            }
        }
        while self.order.len() > MAX_WAITING {
            self.give_up(spans);
        }
        trace
    }

    fn add_lookup(
        &mut self,
        record: &Map<String, Value>,
        event_id: u128,
        head: &OtelRecord,
        spans: &mut Vec<Span>,
    ) -> Trace {
        let ids = record.get("transaction_ids").and_then(Value::as_array);
        let ids: Vec<u128> = ids.into_iter().flatten().filter_map(parse_id).collect();
        let waiting = |id: &u128| self.waiting.get(id);
        // At a resolver, what its clients asked has caused its transactions.
        let is_root = |id: &u128| waiting(id).is_some_and(|waiting| waiting.parent.is_none());
        let is_elsewhere = |id: &u128| waiting(id).is_some() || self.places.contains_key(id);
        if !ids.iter().any(is_root) && ids.iter().any(is_elsewhere) {
            return Trace::Absent;
        }
        let own = ids.into_iter().filter(|id| is_root(id) || !is_elsewhere(id));
        let own: Vec<u128> = own.collect();
        let context = own.iter().find_map(|id| waiting(id)?.context);
        let Context { trace, above } = context.unwrap_or(Context { trace: event_id, above: None });
        let mut span = span(record, event_id, head, "DNS lookup".to_owned(), INTERNAL);
        span.trace_id = trace.to_be_bytes().into();
        span.parent_span_id = above.map(Vec::from).unwrap_or_default();
        span.end_time_unix_nano = span.end_time_unix_nano.max(span.start_time_unix_nano);
        let context = Context { trace, above: Some(span_id(event_id)) };
        let place = Place { context, end: span.end_time_unix_nano };
        spans.push(span);
        for id in own {
            // One that comes later finds its place.
            match self.waiting.remove(&id) {
                Some(waiting) => drop(self.finish(id, waiting, Some(place), spans)),
                None => self.remember(id, place),
            }
        }
        Trace::Known(trace)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Appends the spans of transactions that nothing claimed, because the sink ends.
    pub(super) fn end(&mut self, spans: &mut Vec<Span>) {
        while !self.order.is_empty() {
            self.give_up(spans);
        }
    }

    /// Stops waiting for what caused the oldest transaction: what is known of it becomes a trace.
    fn give_up(&mut self, spans: &mut Vec<Span>) {
        let Some(mut top) = self.order.pop_front() else { return };
        while let Some(parent) = self.waiting.get(&top).and_then(|waiting| waiting.parent)
            && self.waiting.contains_key(&parent)
        {
            top = parent;
        }
        if let Some(waiting) = self.waiting.remove(&top) {
            if let Some(parent) = waiting.parent
                && let Some(children) = self.children.get_mut(&parent)
            {
                children.retain(|child| *child != top);
                if children.is_empty() {
                    self.children.remove(&parent);
                }
            }
            self.finish(top, waiting, None, spans);
        }
    }

    /// Appends a transaction and those that it caused. Its place is that of its `traceparent` if it names another trace, or
    /// `place`; else it begins a trace. Returns the id of the trace.
    fn finish(
        &mut self,
        id: u128,
        waiting: Waiting,
        place: Option<Place>,
        spans: &mut Vec<Span>,
    ) -> u128 {
        let mut next = vec![(id, waiting, place)];
        let mut first = None;
        while let Some((id, Waiting { mut span, context, .. }, place)) = next.pop() {
            let start = span.start_time_unix_nano;
            // Without a response it lasts as long as whoever asked waited.
            let end = place.map_or(start, |place| place.end.max(start));
            if span.end_time_unix_nano == 0 {
                span.end_time_unix_nano = end;
            }
            let given = place.map(|place| place.context);
            let is_own = |own: &Context| given.is_none_or(|given| given.trace != own.trace);
            let begun = Context { trace: id, above: None };
            let context = context.filter(is_own).or(given).unwrap_or(begun);
            first.get_or_insert(context.trace);
            span.trace_id = context.trace.to_be_bytes().into();
            span.parent_span_id = context.above.map(Vec::from).unwrap_or_default();
            let end = place.map_or(span.end_time_unix_nano, |place| place.end);
            self.remember(id, Place { context, end });
            let below = Context { above: Some(span_id(id)), ..context };
            for child in self.children.remove(&id).unwrap_or_default() {
                let child = self.waiting.remove(&child).map(|waiting| (child, waiting));
                let place = Place { context: below, end };
                next.extend(child.map(|(id, waiting)| (id, waiting, Some(place))));
            }
            spans.push(span);
        }
        first.unwrap_or(id)
    }

    fn remember(&mut self, id: u128, place: Place) {
        if self.places.insert(id, place).is_none() {
            self.placed.push_back(id);
        }
        while self.placed.len() > MAX_PLACES {
            self.placed.pop_front().map(|oldest| self.places.remove(&oldest));
        }
    }
}

/// Makes a span, without its trace and parent.
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
    Span {
        span_id: span_id(event_id).into(),
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
