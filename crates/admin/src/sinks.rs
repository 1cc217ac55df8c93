//! Metrics of the sinks: those that the ledger counts, and those beyond it.

use crate::metric::Metric;
use crate::page::Page;
use dnscribe_delivery::Gauge;
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;

/// Names of sinks; the name of a second sink of a kind ends in `_2`.
const SINK: &[(&str, &str)] = &[("sink", "names of the sinks")];
const STATISTICS: &str = "librdkafka's statistics, every 5 s";

const fn kafka(metric: Metric) -> Metric {
    metric.labels(SINK).source(STATISTICS)
}

const fn alertmanager(metric: Metric) -> Metric {
    metric.labels(SINK).source("the sink for Alertmanager")
}

const fn otlp(metric: Metric) -> Metric {
    metric.labels(SINK).source("the sink for OTLP")
}

/// Descriptions of the metrics of all sinks.
pub const METRICS: &[Metric] = &[
    kafka(Metric::gauge(
        "dnscribe_kafka_queue_records",
        "records",
        "Records in librdkafka's queue.",
    )),
    kafka(Metric::gauge("dnscribe_kafka_queue_bytes", "bytes", "Bytes in librdkafka's queue.")),
    kafka(Metric::gauge(
        "dnscribe_kafka_brokers_up",
        "brokers",
        "Brokers with a working connection.",
    )),
    kafka(Metric::gauge(
        "dnscribe_kafka_rtt_p99_seconds",
        "seconds",
        "Round-trip time to the slowest broker, 99th percentile of the last 5 s.",
    )),
    kafka(Metric::counter("dnscribe_kafka_sent_bytes_total", "bytes", "Bytes sent.")),
    kafka(Metric::counter("dnscribe_kafka_requests_total", "requests", "Requests sent.")),
    kafka(Metric::counter(
        "dnscribe_kafka_request_errors_total",
        "requests",
        "Requests that could not be sent.",
    )),
    kafka(Metric::counter(
        "dnscribe_kafka_request_retries_total",
        "requests",
        "Requests sent again.",
    )),
    kafka(Metric::counter(
        "dnscribe_kafka_request_timeouts_total",
        "requests",
        "Requests without an answer in time.",
    )),
    Metric::gauge(
        "dnscribe_kafka_up",
        "0 or 1",
        "0 while Kafka accepts no records, else 1, also before the first one.",
    )
    .labels(SINK)
    .source("the sink"),
    Metric::gauge(
        "dnscribe_spool_oldest_seconds",
        "seconds",
        "Age of the oldest records in the spool.",
    )
    .labels(SINK)
    .source("the spool"),
    Metric::counter(
        "dnscribe_spool_torn_bytes_total",
        "bytes",
        "Bytes that were incomplete or corrupt when the spool was opened.",
    )
    .labels(SINK)
    .source("the spool"),
    alertmanager(Metric::counter(
        "dnscribe_alertmanager_sent_total",
        "alerts",
        "Alerts that an Alertmanager accepted, reminders included.",
    )),
    alertmanager(Metric::counter(
        "dnscribe_alertmanager_failed_total",
        "posts",
        "Requests that no Alertmanager accepted.",
    )),
    alertmanager(Metric::gauge(
        "dnscribe_alertmanager_firing",
        "alerts",
        "Firing alerts that are sent repeatedly.",
    )),
    alertmanager(Metric::gauge(
        "dnscribe_alertmanager_waiting",
        "alerts",
        "Alerts whose latest state no Alertmanager has received.",
    )),
    alertmanager(Metric::gauge(
        "dnscribe_alertmanager_up",
        "0 or 1",
        "0 while no Alertmanager accepts alerts, else 1, also before the first one.",
    )),
    otlp(Metric::counter("dnscribe_otlp_requests_total", "requests", "Requests sent.")),
    otlp(Metric::counter(
        "dnscribe_otlp_failed_requests_total",
        "requests",
        "Requests that the server did not accept.",
    )),
    otlp(Metric::counter("dnscribe_otlp_sent_bytes_total", "bytes", "Bytes of accepted requests.")),
    otlp(Metric::counter(
        "dnscribe_otlp_rejected_total",
        "items",
        "Log records, data points and spans that the server rejected; of a whole request, 1. Spans that were lost when the \
         sink ended.",
    )),
    otlp(Metric::gauge(
        "dnscribe_otlp_up",
        "0 or 1",
        "0 while the server accepts no requests, else 1, also before the first one.",
    )),
];

const STREAM: (&str, &str) = ("stream", "names of the streams");

/// Descriptions of what the ledger counts of all sinks.
pub const RECORDS: &[Metric] = &[
    Metric::counter(
        "dnscribe_dropped_records_total",
        "records",
        "Records that sinks dropped, by reason.",
    )
    .labels(&[("stage", "delivery"), ("reason", "as in the ledger")])
    .source("ledger: `delivery`"),
    Metric::counter("dnscribe_records_total", "records", "Records of all sinks by outcome.")
        .labels(&[STREAM, ("outcome", "delivered, filtered, dropped")])
        .source("ledger: `delivery`")
        .caveat("A record for two sinks counts twice."),
    Metric::gauge(
        "dnscribe_records_waiting",
        "records",
        "Records of all sinks that are not delivered yet.",
    )
    .labels(&[STREAM, ("place", "spooled, in_flight")])
    .source("ledger: `delivery`"),
];

/// Returns what one delivery adds to a family.
type Count = fn(&Delivery) -> u64;

/// Writes what the ledger counts of all sinks by stream.
pub fn write_records(page: &mut Page, sinks: &BTreeMap<String, BTreeMap<String, Delivery>>) {
    const OUTCOMES: &[(&str, Count)] = &[
        ("delivered", |delivery| delivery.delivered),
        ("filtered", |delivery| delivery.filtered),
        ("dropped", |delivery| delivery.dropped.values().sum()),
    ];
    const WAITING: &[(&str, Count)] =
        &[("spooled", |delivery| delivery.spooled), ("in_flight", |delivery| delivery.in_flight)];
    let mut streams: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
    for (stream, delivery) in sinks.values().flatten() {
        streams.entry(stream).or_default().push(delivery);
    }
    for (name, label, counts) in [
        ("dnscribe_records_total", "outcome", OUTCOMES),
        ("dnscribe_records_waiting", "place", WAITING),
    ] {
        let mut family = page.family(name);
        for (stream, deliveries) in &streams {
            for (value, count) in counts {
                let sum = deliveries.iter().map(|delivery| count(delivery)).sum();
                family.count(&[("stream", stream), (label, value)], sum);
            }
        }
    }
}

/// Writes the records that sinks dropped, by reason.
pub fn write_dropped(page: &mut Page, sinks: &BTreeMap<String, BTreeMap<String, Delivery>>) {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let deliveries = sinks.values().flat_map(BTreeMap::values);
    for (reason, count) in deliveries.flat_map(|delivery| &delivery.dropped) {
        *reasons.entry(reason).or_default() += count;
    }
    let mut family = page.family("dnscribe_dropped_records_total");
    for (reason, count) in reasons {
        family.count(&[("stage", "delivery"), ("reason", reason)], count);
    }
}

/// Writes the metrics of the sinks by family. `gauges` holds those of each sink, with its name.
pub fn write(page: &mut Page, gauges: &[(String, Vec<Gauge>)]) {
    let mut families: BTreeMap<&'static str, Vec<(&str, &Gauge)>> = BTreeMap::new();
    for (sink, own) in gauges {
        for gauge in own {
            families.entry(gauge.name).or_default().push((sink, gauge));
        }
    }
    for (name, samples) in families {
        let mut family = page.family(name);
        for (sink, gauge) in &samples {
            family.value(&[("sink", sink)], gauge.value);
        }
    }
}
