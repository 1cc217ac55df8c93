//! Metrics: windows as sums and exponential histograms, lookups as `dns.lookup.duration`.

use super::encode::key_values;
use super::proto::{
    Buckets, Data, Exemplar, ExponentialHistogram, ExponentialPoint, Histogram, HistogramPoint,
    KeyValue, Metric, NumberPoint, Sum,
};
use super::{OtlpConfig, Temporality};
use crate::Stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, OtelEncoder, WindowMetric, error_type, window_metrics};
use dnscribe_sketch::read_bins;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Scale of exponential histograms: 16 buckets from a number to its double, 4.4 % wide.
const SCALE: i32 = 4;
/// Bounds that the convention gives for `dns.lookup.duration`, in seconds.
const LOOKUP_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// A series without a value for so long may be forgotten when there are too many.
const IDLE: Duration = Duration::from_mins(10);
/// Number of windows whose slowest transactions are kept, times groups.
const MAX_SLOW: usize = 8192;

type Record = Map<String, Value>;

/// The node, name and `error.type` of lookups; without the last two, those beyond the limit.
type LookupKey = (String, Option<(String, String)>);

/// Metrics of one resource in one request.
#[derive(Default)]
pub(super) struct MetricSet {
    metrics: BTreeMap<String, Metric>,
    /// Lookups of this request, which have one point for each series.
    lookups: BTreeMap<LookupKey, Vec<Exemplar>>,
    /// The latest end of these lookups.
    lookups_end: Timestamp,
    /// Windows beyond the limit, by key with their grouping: one point for each series, too.
    overflow: BTreeMap<String, String>,
    /// No point of the resource in an earlier request is later.
    pub(super) before: Timestamp,
    /// The latest point of the resource.
    pub(super) latest: Timestamp,
}

pub(super) struct Metrics {
    fields: Vec<WindowMetric>,
    groups: Vec<String>,
    temporality: Temporality,
    /// Length and step in seconds.
    window: (u64, u64),
    max_series: usize,
    windows: HashMap<String, WindowSeries>,
    lookups: HashMap<LookupKey, LookupSeries>,
    /// The slowest transaction of a window by start and group.
    slow: BTreeMap<(u64, String), Exemplar>,
}

/// What one group of windows has summed up to.
#[derive(Default)]
struct WindowSeries {
    attributes: Vec<KeyValue>,
    start: Timestamp,
    /// End of the last window.
    last: Timestamp,
    /// Time of the last point.
    stamped: Timestamp,
    /// By metric and part.
    sums: BTreeMap<(usize, String), u64>,
    latency: Latencies,
}

#[derive(Default)]
struct Latencies {
    buckets: BTreeMap<i32, u64>,
    zeros: u64,
    sum: f64,
}

#[derive(Default)]
struct LookupSeries {
    attributes: Vec<KeyValue>,
    start: Timestamp,
    last: Timestamp,
    counts: LookupCounts,
    sum: f64,
}

/// Lookups by bucket.
type LookupCounts = [u64; LOOKUP_BOUNDS.len() + 1];

impl Metrics {
    pub(super) fn new(config: &OtlpConfig) -> Self {
        let (fields, groups) = window_metrics();
        Self {
            fields,
            groups,
            temporality: config.temporality,
            window: config.window,
            max_series: config.max_series,
            windows: HashMap::new(),
            lookups: HashMap::new(),
            slow: BTreeMap::new(),
        }
    }

    /// Adds a record to the metrics of its resource.
    pub(super) fn add(
        &mut self,
        otel: &OtelEncoder,
        stream: Stream,
        record: &Record,
        time: Timestamp,
        set: &mut MetricSet,
    ) {
        if stream == Stream::Lookups {
            self.add_lookup(record, time, set);
        } else {
            self.add_window(otel, record, time, set);
        }
    }

    /// Returns whether a record becomes metrics: a lookup that is a call, or a window that no other one overlaps.
    pub(super) fn has_points(&self, stream: Stream, record: &Record) -> bool {
        if stream == Stream::Lookups {
            return is_call(record);
        }
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        let (seconds, step) = self.window;
        number("window_seconds") == Some(seconds) && number("step_seconds") == Some(step)
    }

    fn add_window(
        &mut self,
        otel: &OtelEncoder,
        record: &Record,
        start: Timestamp,
        set: &mut MetricSet,
    ) {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let grouping = text("grouping").replace('+', "_");
        let end = start.plus(Duration::from_secs(self.window.0));
        let own = |name: &String| Some((name.clone(), record.get(name)?.clone()));
        let group: Record = self.groups.iter().filter_map(own).collect();
        let mut key = format!("{grouping} {} {}", text("node"), Value::Object(group.clone()));
        let is_delta = self.temporality == Temporality::Delta;
        if !self.windows.contains_key(&key) && self.windows.len() >= self.max_series {
            self.windows.retain(|key, series| {
                set.overflow.contains_key(key) || end.since(series.last) < IDLE
            });
        }
        let is_overflow = !self.windows.contains_key(&key) && self.windows.len() >= self.max_series;
        if is_overflow {
            key = format!("{grouping} {}", text("node"));
            set.overflow.insert(key.clone(), grouping.clone());
        }
        let series = self.windows.entry(key).or_insert_with(|| {
            let own = || key_values(otel.attributes(Stream::Metrics, group));
            let attributes = if is_overflow { overflow() } else { own() };
            WindowSeries { attributes, start, ..WindowSeries::default() }
        });
        series.last = series.last.max(end);
        match (is_delta, is_overflow) {
            // What it was before has been sent.
            (true, false) => {
                (series.start, series.last) = (start, end);
                series.sums.clear();
                series.latency = Latencies::default();
            }
            (true, true) => series.start = series.start.min(start),
            (false, _) => {}
        }
        for (number, field) in self.fields.iter().enumerate() {
            let Some(value) = record.get(&field.field) else { continue };
            if value.get("sketch").is_some() {
                series.latency.add(value);
                continue;
            }
            for (part, count) in parts(value) {
                *series.sums.entry((number, part)).or_default() += count;
            }
        }
        let slow_key = slow_key(&grouping, record);
        let exemplar = self.slow.get(&(start.as_nanos(), slow_key));
        if !is_overflow {
            set.push_window(series, &grouping, exemplar, &self.fields, self.temporality);
        }
    }

    /// Counts a lookup that ended: the call, as the convention has it, so that those in transit are none.
    fn add_lookup(&mut self, record: &Record, start: Timestamp, set: &mut MetricSet) {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let milliseconds = record.get("duration_ms").and_then(Value::as_f64);
        let Some(milliseconds) = milliseconds else { return };
        let error = error_type(Stream::Lookups, record).unwrap_or_default();
        let mut key = (text("node").to_owned(), Some((text("qname").to_owned(), error)));
        let end =
            start.plus(Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default());
        if !self.lookups.contains_key(&key) && self.lookups.len() >= self.max_series {
            self.lookups.retain(|key, series| {
                set.lookups.contains_key(key) || end.since(series.last) < IDLE
            });
            if self.lookups.len() >= self.max_series {
                key.1 = None;
            }
        }
        let series = self.lookups.entry(key.clone()).or_insert_with(|| {
            let attributes = key.1.as_ref().map_or_else(overflow, |(name, error)| {
                let both = [("dns.question.name", name), ("error.type", error)];
                // Masking may have dropped the name.
                let known = both.into_iter().filter(|(_, value)| !value.is_empty());
                let known = known.map(|(name, value)| (name.to_owned(), value.as_str().into()));
                key_values(known.collect())
            });
            LookupSeries { attributes, start, ..LookupSeries::default() }
        });
        if series.counts == LookupCounts::default() {
            series.start = start;
        }
        let seconds = milliseconds / 1000.0;
        let bucket = LOOKUP_BOUNDS.iter().position(|bound| seconds <= *bound);
        series.counts[bucket.unwrap_or(LOOKUP_BOUNDS.len())] += 1;
        series.sum += seconds;
        series.last = series.last.max(end);
        set.lookups_end = set.lookups_end.max(end);
        let exemplars = set.lookups.entry(key).or_default();
        let id = text("event_id");
        match exemplars.first_mut() {
            Some(slowest) if slowest.as_double >= Some(seconds) => {}
            Some(slowest) => *slowest = exemplar(seconds, start, id),
            None => exemplars.push(exemplar(seconds, start, id)),
        }
    }

    /// Remembers the slowest transaction of each window.
    pub(super) fn note_slow(
        &mut self,
        stream: Stream,
        record: &Record,
        time: Timestamp,
        event_id: u128,
    ) {
        let latency = record.get("latency_ms").and_then(Value::as_f64);
        let is_answered = record.get("status").is_some_and(|status| status == "answered");
        let Some(latency) = latency.filter(|_| stream == Stream::Transactions && is_answered)
        else {
            return;
        };
        let window = self.window.0.max(1) * 1_000_000_000;
        let start = time.as_nanos() / window * window;
        for grouping in ["node", "resolver"] {
            let new = || exemplar(latency / 1000.0, time, &EventId(event_id).to_string());
            let slowest = self.slow.entry((start, slow_key(grouping, record))).or_insert_with(new);
            if slowest.as_double < Some(latency / 1000.0) {
                *slowest = new();
            }
        }
        while self.slow.len() > MAX_SLOW {
            self.slow.pop_first();
        }
    }

    /// Adds the points of series that have one for each request.
    pub(super) fn finish(&mut self, set: &mut MetricSet) {
        for (key, grouping) in std::mem::take(&mut set.overflow) {
            let Some(series) = self.windows.get_mut(&key) else { continue };
            set.push_window(series, &grouping, None, &self.fields, self.temporality);
            if self.temporality == Temporality::Delta {
                self.windows.remove(&key);
            }
        }
        if set.lookups.is_empty() {
            return;
        }
        let is_delta = self.temporality == Temporality::Delta;
        let after = set.before.plus(Duration::from_millis(1));
        let time = if is_delta { set.lookups_end } else { set.stamp(set.lookups_end, after) };
        let mut points = Vec::new();
        for (key, exemplars) in std::mem::take(&mut set.lookups) {
            let found = self.lookups.get_mut(&key);
            let found = found.filter(|series| series.counts != LookupCounts::default());
            let Some(series) = found else { continue };
            series.start = series.start.min(time);
            points.push(HistogramPoint {
                attributes: series.attributes.clone(),
                start_time_unix_nano: series.start.as_nanos(),
                time_unix_nano: time.as_nanos(),
                count: series.counts.iter().sum(),
                sum: Some(series.sum),
                bucket_counts: series.counts.to_vec(),
                explicit_bounds: LOOKUP_BOUNDS.to_vec(),
                exemplars,
            });
            if is_delta {
                // The series stays, so that it is one of those that there may be.
                (series.counts, series.sum) = (LookupCounts::default(), 0.0);
            }
        }
        let temporality = self.temporality.number();
        let metric = set.metric("dns.lookup.duration", "s");
        metric.data = Some(Data::Histogram(Histogram { points, temporality }));
    }
}

impl MetricSet {
    /// All metrics, once they are finished.
    pub(super) fn into_metrics(self) -> Vec<Metric> {
        // Prometheus answers one without points, such as responses while all queries time out, with 500.
        let has_points = |metric: &Metric| match &metric.data {
            Some(Data::Sum(sum)) => !sum.points.is_empty(),
            data => data.is_some(),
        };
        self.metrics.into_values().filter(has_points).collect()
    }

    /// Returns the time of a cumulative point of what ended at `end`. Windows come seconds after lookups that ended later, but
    /// Prometheus refuses a request with a point before the last one of its resource, or with one in the future after a restart.
    fn stamp(&mut self, end: Timestamp, at_least: Timestamp) -> Timestamp {
        let time = end.min(Timestamp::now()).max(self.before).max(at_least);
        self.latest = self.latest.max(time);
        time
    }

    /// Adds the points of a window's series.
    fn push_window(
        &mut self,
        series: &mut WindowSeries,
        grouping: &str,
        exemplar: Option<&Exemplar>,
        fields: &[WindowMetric],
        temporality: Temporality,
    ) {
        let mut time = series.last;
        if temporality == Temporality::Cumulative {
            time = self.stamp(time, series.stamped.plus(Duration::from_millis(1)));
            series.stamped = time;
            // Of a host whose clock was fast.
            series.start = series.start.min(time);
        }
        let temporality = temporality.number();
        for (number, field) in fields.iter().enumerate() {
            let metric = self.metric(&format!("dnscribe.{grouping}.{}", field.name), &field.unit);
            if field.unit == "s" {
                let mut point = series.latency.point();
                point.attributes.clone_from(&series.attributes);
                point.start_time_unix_nano = series.start.as_nanos();
                point.time_unix_nano = time.as_nanos();
                point.exemplars = exemplar.cloned().into_iter().collect();
                let empty = ExponentialHistogram { temporality, ..Default::default() };
                let data = metric.data.get_or_insert(Data::ExponentialHistogram(empty));
                if let Data::ExponentialHistogram(histogram) = data {
                    histogram.points.push(point);
                }
                continue;
            }
            let empty = Sum { temporality, is_monotonic: true, ..Sum::default() };
            let Data::Sum(sum) = metric.data.get_or_insert(Data::Sum(empty)) else { continue };
            let first = (number, String::new());
            let of_field = series.sums.range(first..).take_while(|((of, _), _)| *of == number);
            sum.points.extend(of_field.map(|((_, part), value)| {
                let by = field.by.iter().map(|by| (by.clone(), part.as_str().into()));
                let mut attributes = series.attributes.clone();
                attributes.extend(key_values(by.collect()));
                NumberPoint {
                    attributes,
                    start_time_unix_nano: series.start.as_nanos(),
                    time_unix_nano: time.as_nanos(),
                    as_int: Some(i64::try_from(*value).unwrap_or(i64::MAX)),
                }
            }));
        }
    }

    fn metric(&mut self, name: &str, unit: &str) -> &mut Metric {
        self.metrics.entry(name.to_owned()).or_insert_with(|| Metric {
            name: name.to_owned(),
            unit: unit.to_owned(),
            data: None,
        })
    }
}

impl Latencies {
    /// Adds the latencies of a window from its sketch.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a logarithm of a latency is small, and a window has fewer than 2^53 answers"
    )]
    fn add(&mut self, latencies: &Value) {
        let sketch = latencies["sketch"].as_str().and_then(|text| STANDARD.decode(text).ok());
        for (milliseconds, count) in sketch.and_then(|bytes| read_bins(&bytes)).unwrap_or_default()
        {
            let seconds = milliseconds / 1000.0;
            self.sum += seconds * count as f64;
            if seconds > 0.0 {
                let index = (seconds.log2() * f64::from(1 << SCALE)).ceil() as i32 - 1;
                *self.buckets.entry(index).or_default() += count;
            } else {
                self.zeros += count;
            }
        }
    }

    fn point(&self) -> ExponentialPoint {
        let bounds = self.buckets.first_key_value().zip(self.buckets.last_key_value());
        let positive = bounds.map(|((first, _), (last, _))| Buckets {
            offset: *first,
            counts: (*first..=*last)
                .map(|index| self.buckets.get(&index).copied().unwrap_or_default())
                .collect(),
        });
        ExponentialPoint {
            count: self.zeros + self.buckets.values().sum::<u64>(),
            sum: Some(self.sum),
            scale: SCALE,
            zero_count: self.zeros,
            positive,
            ..ExponentialPoint::default()
        }
    }
}

/// Returns the counts of a field by part: a number has one without a name.
fn parts(value: &Value) -> Vec<(String, u64)> {
    match value {
        Value::Number(number) => {
            number.as_u64().map(|count| (String::new(), count)).into_iter().collect()
        }
        Value::Object(parts) => {
            parts.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
        }
        Value::Array(parts) => {
            let named = |part: &Value| {
                part.as_object()?.values().find_map(Value::as_str).map(str::to_owned)
            };
            parts.iter().filter_map(|part| Some((named(part)?, part["count"].as_u64()?))).collect()
        }
        _ => Vec::new(),
    }
}

/// What a transaction and the window that counts it have in common.
fn slow_key(grouping: &str, record: &Record) -> String {
    let names: &[&str] = match grouping {
        "node" => &["vantage"],
        "resolver" => &["vantage", "transport", "resolver"],
        _ => return String::new(),
    };
    json!([grouping, names.iter().map(|name| record.get(*name)).collect::<Vec<_>>()]).to_string()
}

/// Returns whether a lookup is the call of a process of this host, with its end.
fn is_call(record: &Record) -> bool {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    record.get("duration_ms").is_some_and(Value::is_number)
        && text("vantage") == Some("client")
        && text("outcome") != Some("open")
        && !record.contains_key("evicted")
}

fn exemplar(seconds: f64, time: Timestamp, event_id: &str) -> Exemplar {
    Exemplar {
        attributes: key_values(vec![("event_id".to_owned(), event_id.into())]),
        time_unix_nano: time.as_nanos(),
        as_double: Some(seconds),
    }
}

/// The attribute of the series that collects all without one of their own.
fn overflow() -> Vec<KeyValue> {
    key_values(vec![("otel.metric.overflow".to_owned(), true.into())])
}
