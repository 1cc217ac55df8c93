//! The OTLP sink against a real OpenTelemetry collector and a real Prometheus.

use anyhow::{Context as _, Result, ensure};
use dnscribe_delivery::spool::{SpoolConfig, WhenFull};
use dnscribe_delivery::{Batch, KafkaConfig, OpenWith, Sink, Stream, open};
use dnscribe_record::time::Timestamp;
use dnscribe_tests::otel::{Collector, Receiver, attributes};
use dnscribe_tests::{environment, http, shell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(1);
const STREAMS: &str = "transactions,lookups,metrics,alerts,ledger";

/// Replays a capture of the examples to stdout and to sinks; returns the records on stdout.
fn replay(capture: &str, sinks: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(environment::workspace().join("examples").join(capture));
    command.args(["--stream", STREAMS, "-o", "json", "--sink", "stdout"]);
    for sink in sinks {
        command.args(["--sink", sink]);
    }
    let output = shell::output(command.env("DNSCRIBE_NODE", "n").stderr(Stdio::null()))?;
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

fn of<'a>(records: &'a [Value], schema: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["schema"] == schema).collect()
}

/// Adds all texts and numbers of a value.
fn words(value: &Value, all: &mut HashSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|value| words(value, all)),
        Value::Array(items) => items.iter().for_each(|item| words(item, all)),
        Value::Number(number) => drop(all.insert(format!("{:?}", number.as_f64()))),
        Value::String(text) => drop(all.insert(text.clone())),
        other => drop(all.insert(other.to_string())),
    }
}

/// Returns the sum over all points of a metric that is a sum.
fn total(metrics: &[Value], name: &str) -> f64 {
    let own = metrics.iter().filter(|metric| metric["name"] == name);
    let points =
        own.flat_map(|metric| metric["sum"]["dataPoints"].as_array().into_iter().flatten());
    let mut last = BTreeMap::new();
    for point in points {
        let value: f64 =
            point["asInt"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        // Cumulative: the last point of each series.
        last.insert(attributes(point).to_string(), value);
    }
    last.values().sum()
}

/// Everything arrives once, by both protocols, and says what the records say.
#[test]
fn a_collector_receives_what_records_say() -> Result<()> {
    for protocol in ["http", "grpc"] {
        let folder = tempfile::tempdir()?;
        let mut collector = Collector::new(folder.path())?;
        collector.start()?;
        let records =
            replay("slow-curl.pcapng", &[&collector.sink(protocol, "logs,metrics,traces")])?;
        check_logs(&collector, &records).context(protocol)?;
        check_metrics(&collector, &records).context(protocol)?;
        check_spans(&collector, &records).context(protocol)?;
    }
    Ok(())
}

fn check_logs(collector: &Collector, records: &[Value]) -> Result<()> {
    let sent: HashMap<(&str, &str), &Value> = records
        .iter()
        .filter(|record| record["schema"] != "dns.window/1")
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default();
            ((text("schema"), text("event_id")), record)
        })
        .collect();
    let logs = shell::wait_for("all log records", LIMIT, || {
        let logs = collector.items("logs")?;
        Ok((logs.len() >= sent.len()).then_some(logs))
    })?;
    ensure!(logs.len() == sent.len(), "{} of {}", logs.len(), sent.len());
    for log in &logs {
        let found = attributes(log);
        let text = |name: &str| found[name].as_str().unwrap_or_default();
        let record = sent.get(&(text("dnscribe.schema"), text("log.record.uid")));
        let record = record.with_context(|| format!("no record: {log}"))?;
        let (mut said, mut kept) = (HashSet::new(), HashSet::new());
        words(record, &mut said);
        words(&found, &mut kept);
        words(&attributes(&log["resource"]), &mut kept);
        said.remove(record["ts"].as_str().unwrap_or_default());
        // The ledger is that of its moment.
        let lost: Vec<&String> = said.difference(&kept).collect();
        ensure!(
            lost.is_empty() || record["schema"] == "dns.ledger/1",
            "{lost:?} of {record} not in {log}"
        );
        let nanoseconds = log["timeUnixNano"].as_str().and_then(|text| text.parse().ok());
        let time = Timestamp::from_nanos(nanoseconds.unwrap_or_default());
        ensure!(record["schema"] == "dns.ledger/1" || record["ts"] == time.to_string(), "{log}");
    }
    let lookup =
        logs.iter().find(|log| log["eventName"] == "dnscribe.lookup").context("no lookup")?;
    ensure!(attributes(lookup)["dns.question.name"].is_string(), "{lookup}");
    ensure!(
        lookup["body"]["stringValue"].as_str().is_some_and(|body| body.contains("example")),
        "{lookup}"
    );
    ensure!(attributes(&lookup["resource"])["host.name"] == "n", "{lookup}");
    Ok(())
}

fn check_metrics(collector: &Collector, records: &[Value]) -> Result<()> {
    let windows: Vec<&Value> = of(records, "dns.window/1")
        .into_iter()
        .filter(|window| window["window_seconds"] == 10 && window["step_seconds"] == 10)
        .collect();
    let sum = |grouping: &str, field: &str| -> f64 {
        let own = windows.iter().filter(|window| window["grouping"] == grouping);
        own.filter_map(|window| window[field].as_f64()).sum()
    };
    let metrics = shell::wait_for("all windows", LIMIT, || {
        let metrics = collector.items("metrics")?;
        let complete = total(&metrics, "dnscribe.node.queries") >= sum("node", "queries");
        Ok(complete.then_some(metrics))
    })?;
    for grouping in ["node", "resolver", "zone", "qtype"] {
        for (metric, field) in [
            ("queries", "queries"),
            ("transactions", "transactions"),
            ("query.size", "query_bytes"),
        ] {
            let found = total(&metrics, &format!("dnscribe.{grouping}.{metric}"));
            let expected = sum(grouping, field);
            ensure!((found - expected).abs() < 0.5, "{grouping} {metric}: {found}, not {expected}");
        }
    }
    let points = |name: &str, kind: &str| -> Vec<Value> {
        let own = metrics.iter().filter(|metric| metric["name"] == name);
        own.flat_map(|metric| metric[kind]["dataPoints"].as_array().cloned().unwrap_or_default())
            .collect()
    };
    let count = |point: &Value| point["count"].as_str().and_then(|text| text.parse::<u64>().ok());
    let latency = points("dnscribe.node.latency", "exponentialHistogram");
    let answered: u64 = windows
        .iter()
        .filter(|window| window["grouping"] == "node")
        .filter_map(|window| window["latency_ms"]["count"].as_u64())
        .sum();
    ensure!(latency.iter().filter_map(count).max() == Some(answered), "{answered}: {latency:#?}");
    let ids: HashSet<&str> = of(records, "dns.transaction/1")
        .iter()
        .filter_map(|record| record["event_id"].as_str())
        .collect();
    let exemplars: Vec<&Value> = latency
        .iter()
        .flat_map(|point| point["exemplars"].as_array().into_iter().flatten())
        .collect();
    ensure!(!exemplars.is_empty(), "no exemplar: {latency:#?}");
    for exemplar in exemplars {
        let id = &exemplar["filteredAttributes"][0]["value"]["stringValue"];
        ensure!(id.as_str().is_some_and(|id| ids.contains(id)), "{exemplar}");
    }
    let lookups = points("dns.lookup.duration", "histogram");
    let ended = of(records, "dns.lookup/1");
    let ended =
        ended.iter().filter(|record| record["vantage"] == "client" && record["outcome"] != "open");
    ensure!(lookups.iter().filter_map(count).sum::<u64>() == ended.count() as u64, "{lookups:#?}");
    Ok(())
}

fn check_spans(collector: &Collector, records: &[Value]) -> Result<()> {
    let lookups = of(records, "dns.lookup/1");
    let expected: usize = lookups
        .iter()
        .map(|lookup| 1 + lookup["transaction_ids"].as_array().map_or(0, Vec::len))
        .sum();
    let spans = shell::wait_for("all spans", LIMIT, || {
        let spans = collector.items("traces")?;
        Ok((spans.len() >= expected).then_some(spans))
    })?;
    ensure!(spans.len() == expected, "{} of {expected}: {spans:#?}", spans.len());
    for lookup in lookups {
        let in_trace: Vec<&Value> =
            spans.iter().filter(|span| span["traceId"] == lookup["event_id"]).collect();
        let (roots, below): (Vec<&Value>, Vec<&Value>) = in_trace
            .iter()
            .partition(|span| span["parentSpanId"].as_str().is_none_or(str::is_empty));
        ensure!(roots.len() == 1 && roots[0]["name"] == "DNS lookup", "{in_trace:#?}");
        ensure!(below.iter().all(|span| span["parentSpanId"] == roots[0]["spanId"]), "{below:#?}");
        ensure!(below.iter().all(|span| span["kind"] == 3), "kind client: {below:#?}");
        let ids: HashSet<Value> =
            below.iter().map(|span| attributes(span)["log.record.uid"].clone()).collect();
        let own = lookup["transaction_ids"].as_array().cloned().unwrap_or_default();
        ensure!(ids == own.into_iter().collect(), "{lookup}");
    }
    Ok(())
}

fn sink(target: &str, spool: Option<&SpoolConfig>) -> Result<Box<dyn Sink>> {
    let kafka = KafkaConfig::default();
    let with = OpenWith { spool, ..OpenWith::new("n", &kafka) };
    Ok(open(&[target.parse()?], &with)?.remove(0))
}

fn transactions(first: u64, count: u64) -> Arc<Batch> {
    let mut batch = Batch::default();
    for number in first..first + count {
        let record = json!({
            "schema": "dns.transaction/1", "event_id": format!("{number:032x}"), "ts": Timestamp::now(), "node": "n",
            "vantage": "client", "transport": "udp", "client_ip": "192.0.2.1", "qname": "www.example.com",
        });
        batch.push_json(Stream::Transactions, number.into(), &record, b"");
    }
    Arc::new(batch)
}

/// While the collector is away, records wait on disk, also over a restart of the agent; then each arrives once.
#[test]
fn records_wait_for_a_collector_that_is_away() -> Result<()> {
    for protocol in ["http", "grpc"] {
        let folder = tempfile::tempdir()?;
        let mut collector = Collector::new(folder.path())?;
        let spool = SpoolConfig {
            directory: folder.path().join("spool"),
            max_bytes: 64 << 20,
            max_age: Duration::from_hours(1),
            when_full: WhenFull::DropOldest,
        };
        let target = collector.sink(protocol, "logs");
        let mut first = sink(&target, Some(&spool))?;
        first.offer(&transactions(0, 500));
        shell::wait_for("the spool", LIMIT, || {
            Ok((first.counters()["transactions"].spooled == 500).then_some(()))
        })?;
        first.close();
        let left = &first.counters()["transactions"];
        ensure!((left.spooled, left.delivered) == (500, 0), "{left:?}");

        collector.start()?;
        let mut second = sink(&target, Some(&spool))?;
        second.offer(&transactions(500, 500));
        ensure!(second.flush(LIMIT), "{:?}", second.counters());
        collector.stop();
        second.offer(&transactions(1000, 500));
        shell::wait_for("the spool again", LIMIT, || {
            Ok((second.counters()["transactions"].spooled == 500).then_some(()))
        })?;
        collector.start()?;
        ensure!(second.flush(LIMIT), "{:?}", second.counters());
        let own = &second.counters()["transactions"];
        ensure!((own.records, own.delivered) == (1000, 1000), "{own:?}");
        let recovered = second.recovered().context("no counters of the spool")?;
        ensure!(recovered["transactions"].delivered == 500, "{recovered:?}");
        let logs = shell::wait_for("all log records", LIMIT, || {
            let logs = collector.items("logs")?;
            Ok((logs.len() >= 1500).then_some(logs))
        })?;
        let ids: HashSet<Value> =
            logs.iter().map(|log| attributes(log)["log.record.uid"].clone()).collect();
        ensure!((logs.len(), ids.len()) == (1500, 1500), "{} {}", logs.len(), ids.len());
        second.close();
    }
    Ok(())
}

/// Lookups, each with a transaction of its own before it.
fn lookups(first: u64, count: u64) -> Arc<Batch> {
    let mut batch = Batch::default();
    for number in first..first + count {
        let (transaction, lookup) = (2 * number + 1, 2 * number + 2);
        let id = format!("{transaction:032x}");
        let record = json!({
            "schema": "dns.transaction/1", "event_id": id, "ts": Timestamp::now(), "node": "n", "vantage": "client",
            "status": "answered", "qname": "www.example.com", "qtype": "A", "latency_ms": 1.0,
        });
        batch.push_json(Stream::Transactions, transaction.into(), &record, b"");
        let record = json!({
            "schema": "dns.lookup/1", "event_id": format!("{lookup:032x}"), "ts": Timestamp::now(), "node": "n",
            "vantage": "client", "outcome": "answered", "qname": "www.example.com", "duration_ms": 1.0,
            "transaction_ids": [id],
        });
        batch.push_json(Stream::Lookups, lookup.into(), &record, b"");
    }
    Arc::new(batch)
}

/// After an outage each lookup has its span, with its transaction below it, and log records name their spans.
#[test]
fn traces_outlive_an_outage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::new(folder.path())?;
    let spool = SpoolConfig {
        directory: folder.path().join("spool"),
        max_bytes: 64 << 20,
        max_age: Duration::from_hours(1),
        when_full: WhenFull::DropOldest,
    };
    let mut sink = sink(&collector.sink("http", "logs,traces"), Some(&spool))?;
    for number in 0..20 {
        sink.offer(&lookups(number * 10, 10));
        thread::sleep(Duration::from_millis(50));
    }
    shell::wait_for("the spool", LIMIT, || {
        Ok((sink.counters()["lookups"].spooled == 200).then_some(()))
    })?;
    collector.start()?;
    ensure!(sink.flush(LIMIT), "{:?}", sink.counters());
    let spans = shell::wait_for("all spans", LIMIT, || {
        let spans = collector.items("traces")?;
        Ok((spans.len() >= 400).then_some(spans))
    })?;
    let ids: HashSet<(&Value, &Value)> =
        spans.iter().map(|span| (&span["traceId"], &span["spanId"])).collect();
    ensure!((spans.len(), ids.len()) == (400, 400), "{} {}", spans.len(), ids.len());
    for span in spans.iter().filter(|span| span["kind"] == 3) {
        ensure!(ids.contains(&(&span["traceId"], &span["parentSpanId"])), "{span}");
    }
    let logs = collector.items("logs")?;
    for log in logs.iter().filter(|log| log["eventName"] == "dnscribe.lookup") {
        ensure!(ids.contains(&(&log["traceId"], &log["spanId"])), "{log}");
    }
    sink.close();
    Ok(())
}

/// A record that is larger than a receiver accepts is dropped, and no other one with it.
#[test]
fn one_record_is_too_large_for_grpc() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::new(folder.path())?;
    collector.start()?;
    let mut sink = sink(&collector.sink("grpc", "logs"), None)?;
    let mut batch = Batch::default();
    for number in 0_u128..21 {
        let length = if number == 10 { 5 << 20 } else { 10 };
        let record = json!({ "event_id": format!("{number:032x}"), "qname": "x".repeat(length) });
        batch.push_json(Stream::Transactions, number, &record, b"");
    }
    sink.offer(&Arc::new(batch));
    ensure!(sink.flush(LIMIT), "{:?}", sink.counters());
    let own = &sink.counters()["transactions"];
    ensure!((own.delivered, own.dropped["message_too_large"]) == (20, 1), "{own:?}");
    sink.close();
    Ok(())
}

/// Windows come seconds after lookups that ended later: of two nodes, Prometheus has every point, without one refused.
#[test]
fn prometheus_receives_points_as_an_agent_sends_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let prometheus = Receiver::up(folder.path())?;
    let mut sink = sink(&prometheus.sink(), None)?;
    let start = Timestamp::now().as_nanos() / 10_000_000_000 * 10 - 300;
    let at = |second: u64| Timestamp::from_nanos((start + second) * 1_000_000_000).to_string();
    let (mut sent, mut number) = (0, 0_u128);
    for step in 0..5 {
        // Lookups of 13 s, and 3 s later the windows that ended at 10 s.
        for stream in [Stream::Lookups, Stream::Metrics] {
            let mut batch = Batch::default();
            for (node, count) in [("a", 1), ("b", 2)] {
                for name in ["one.example", "two.example"] {
                    number += 1;
                    let record = if stream == Stream::Lookups {
                        json!({
                            "event_id": format!("{number:032x}"), "ts": at(step * 10 + 13), "node": node,
                            "vantage": "client", "outcome": "answered", "qname": name, "duration_ms": 5.0,
                        })
                    } else {
                        json!({
                            "event_id": format!("{number:032x}"), "ts": at(step * 10), "node": node,
                            "window_seconds": 10, "step_seconds": 10, "grouping": "zone", "vantage": "client",
                            "zone": name, "queries": count,
                        })
                    };
                    batch.push_json(stream, number, &record, b"");
                    sent += 1;
                }
            }
            sink.offer(&Arc::new(batch));
            ensure!(sink.flush(LIMIT), "{:?}", sink.counters());
        }
    }
    let counters = sink.counters();
    let delivered: u64 = ["lookups", "metrics"].iter().map(|name| counters[*name].delivered).sum();
    ensure!(delivered == sent, "{delivered} of {sent}: {counters:?}");
    let found = |expression: &str| -> Result<BTreeMap<String, String>> {
        let data = prometheus.ask(&format!("query?query={}", http::quoted(expression)))?;
        let results = data["result"].as_array().context("no result")?.clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |one: Value| (text(&one["metric"]["instance"]), text(&one["value"][1]));
        Ok(results.into_iter().map(one).collect())
    };
    for (expression, [a, b]) in [
        ("sum by (instance) (last_over_time(dnscribe_zone_queries_total[1h]))", ["10", "20"]),
        ("sum by (instance) (last_over_time(dns_lookup_duration_seconds_count[1h]))", ["10", "10"]),
        ("sum by (instance) (count_over_time(dnscribe_zone_queries_total[1h]))", ["10", "10"]),
        (
            "sum by (instance) (count_over_time(dns_lookup_duration_seconds_count[1h]))",
            ["10", "10"],
        ),
    ] {
        let found = found(expression)?;
        let expected =
            [("a", a), ("b", b)].map(|(node, value)| (node.to_owned(), value.to_owned()));
        ensure!(found == BTreeMap::from(expected), "{expression}: {found:?}");
    }
    Ok(())
}

/// Sums, quantiles, lookups and exemplars, in Prometheus' own words.
#[test]
fn prometheus_receives_windows_and_lookups() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let prometheus = Receiver::up(folder.path())?;
    let mut records = replay("dying-resolver.pcapng", &[])?;
    // As on the host that asks: in a capture all queries pass by.
    for record in records.iter_mut().filter(|record| record["vantage"] == "passive") {
        record["vantage"] = "client".into();
    }
    // Prometheus takes nothing that is months old.
    let first =
        records.iter().filter_map(|record| record["ts"].as_str()?.parse::<Timestamp>().ok()).min();
    let first = first.context("no record")?.as_nanos() / 1_000_000_000;
    let now = Timestamp::now().as_nanos() / 1_000_000_000;
    let shift = Duration::from_secs((now - first) / 300 * 300);
    let mut sink = sink(&prometheus.sink(), None)?;
    let mut batch = Batch::default();
    for mut record in records.clone() {
        let stream = Stream::ALL.into_iter().find(|stream| record["schema"] == stream.schema());
        let stream = stream.context("no stream")?;
        let ts: Timestamp = record["ts"].as_str().unwrap_or_default().parse()?;
        record["ts"] = ts.plus(shift).to_string().into();
        let id = u128::from_str_radix(record["event_id"].as_str().unwrap_or_default(), 16)?;
        batch.push_json(stream, id, &record, b"");
    }
    sink.offer(&Arc::new(batch));
    ensure!(sink.flush(LIMIT), "{:?}", sink.counters());
    let counters = sink.counters();
    let windows = &counters["metrics"];
    ensure!(
        windows.delivered > 0 && windows.records == windows.delivered + windows.filtered,
        "{counters:?}"
    );
    let own: Vec<&Value> = of(&records, "dns.window/1")
        .into_iter()
        .filter(|window| window["window_seconds"] == 10 && window["grouping"] == "node")
        .collect();
    let sum = |field: &str| own.iter().filter_map(|window| window[field].as_f64()).sum::<f64>();
    let end = now + 3600;
    let value = |expression: &str| -> Result<f64> {
        let expression = http::quoted(expression);
        let data = prometheus.ask(&format!("query?query={expression}&time={end}"))?;
        let value = data["result"][0]["value"][1].as_str().with_context(|| data.to_string())?;
        Ok(value.parse()?)
    };
    let last = |selector: &str| format!("sum(last_over_time({selector}[2h]))");
    let queries = value(&last("dnscribe_node_queries_total"))?;
    ensure!((queries - sum("queries")).abs() < 0.5, "{queries}, not {}", sum("queries"));
    let timeouts = value(&last("dnscribe_node_transactions_total{dnscribe_status=\"timeout\"}"))?;
    let expected: f64 =
        own.iter().filter_map(|window| window["statuses"]["timeout"].as_f64()).sum();
    ensure!(timeouts > 0.0 && (timeouts - expected).abs() < 0.5, "{timeouts}, not {expected}");
    let latency = "last_over_time(dnscribe_node_latency_seconds[2h])";
    let median = value(&format!("histogram_quantile(0.5, sum({latency}))"))? * 1000.0;
    let mut latencies: Vec<f64> = of(&records, "dns.transaction/1")
        .iter()
        .filter(|record| record["status"] == "answered")
        .filter_map(|record| record["latency_ms"].as_f64())
        .collect();
    latencies.sort_by(f64::total_cmp);
    let exact = latencies.get(latencies.len() / 2).context("no latency")?;
    ensure!((median - exact).abs() <= exact * 0.06, "{median}, not {exact}");
    let lookups = value(&last("dns_lookup_duration_seconds_count"))?;
    let ended = of(&records, "dns.lookup/1");
    let ended: Vec<_> = ended
        .iter()
        .filter(|record| record["vantage"] == "client" && record["outcome"] != "open")
        .collect();
    let count = f64::from(u32::try_from(ended.len())?);
    ensure!((lookups - count).abs() < 0.5, "{lookups}, not {count}");
    let data = prometheus.ask(&format!(
        "query_exemplars?query=dns_lookup_duration_seconds_bucket&start={}&end={end}",
        now - 7200
    ))?;
    let id = &data[0]["exemplars"][0]["labels"]["event_id"];
    ensure!(ended.iter().any(|record| record["event_id"] == *id), "{data}");
    Ok(())
}
