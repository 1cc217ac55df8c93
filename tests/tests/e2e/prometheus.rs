//! `/metrics` read by the real programs: promtool accepts the page, and Prometheus has the numbers
//! of the records and of the ledger.

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::prometheus::{Prometheus, check_metrics};
use dnscribe_tests::{environment, http, ledger, shell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time limit for a scrape: Prometheus scrapes each second, a slow machine needs more.
const SCRAPED: Duration = Duration::from_mins(1);

/// Maximum bytes of a page of metrics, for any traffic.
const PAGE_LIMIT: usize = 2 << 20;

#[test]
fn prometheus_matches_ledger() {
    let Some((lab, _alone)) = lab() else { return };
    let isolated = IsolatedCgroup::enter(&lab);
    let options = ["--stream", "transactions,ledger,connections", "--query-timeout", "500ms"];
    let agent = Agent::run(&[&options[..], &isolated.options()].concat()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::up(folder.path(), agent.admin()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let native = Prometheus::up_with_native_histograms(folder.path(), agent.admin()).unwrap();
    traffic(&lab);
    let records = final_transactions(&agent, &lab);
    let transactions = records.len();

    let value = |expression: &str| prometheus.value(expression).unwrap();
    shell::wait_for("all samples in Prometheus", SCRAPED, || {
        Ok((value("sum(dns_transactions_total)") == Some(number(transactions))).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}, but {:?}", value("sum(dns_transactions_total)")));
    assert_eq!(value("up"), Some(1.0));
    for (status, count) in count_by(&records, "status") {
        let sum = format!("sum(dns_transactions_total{{status=\"{status}\"}})");
        assert_eq!(value(&sum), Some(number(count)), "{status}");
    }
    for (rcode, count) in count_by(&records, "rcode") {
        let sum = format!("sum(dns_transactions_total{{rcode=\"{rcode}\"}})");
        assert_eq!(value(&sum), Some(number(count)), "{rcode}");
    }
    compare_latency(&prometheus, &records);
    compare_native_latency(&native, &records);
    let labels = prometheus.query("dns_transactions_total").unwrap();
    for series in &labels {
        let names = ["vantage", "transport", "resolver", "qtype", "status", "rcode"];
        let known = ["__name__", "instance", "job"].iter().chain(&names);
        let labels = series["metric"].as_object().unwrap();
        assert!(labels.keys().all(|label| known.clone().any(|name| name == label)), "{series}");
    }

    // Prometheus asks for OpenMetrics first, and accepts the format of the content type.
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = http::get_with(agent.admin(), "/metrics", accept).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"));
    assert_eq!(check_metrics(&answer.body).unwrap(), "", "promtool complains");

    let end = agent.terminate().unwrap();
    let last = end.final_ledger().unwrap();
    let pairing = |name| ledger::counter(last, &["pairing", name]).unwrap();
    for status in ["answered", "timeout", "icmp_error"] {
        let counted = count_by(&records, "status").get(status).copied().unwrap_or(0);
        assert!(counted > 0, "no {status} among the records");
        assert_eq!(pairing(status), counted as u64, "{status}");
    }
}

/// Sends queries with every result: answers, NXDOMAIN, timeout, closed port, TCP.
fn traffic(lab: &Lab) {
    lab.dnsperf(&Load { queries: 300, ..Load::default() }).unwrap();
    lab.dnsperf(&Load { queries: 50, tcp: true, ..Load::default() }).unwrap();
    lab.dig(&["no-such-name.example.com", "MX"]).unwrap();
    for address in [lab.blackhole_addr(), lab.closed_addr()] {
        let at = format!("@{address}");
        let words = ["dig", "+tries=1", "+time=1", &at, "www.example.com"];
        lab.run(dnscribe_tests::lab::Host::Client, &words).unwrap();
    }
}

/// Returns the transactions once no query waits any more.
fn final_transactions(agent: &Agent, lab: &Lab) -> Vec<Value> {
    let silent = lab.blackhole_addr().to_string();
    let of_silence =
        |record: &Value| record["server_ip"] == silent && record["status"] == "timeout";
    agent.wait_for("the timeout", RECORD_LIMIT, |records| records.iter().any(of_silence)).unwrap();
    shell::wait_for("all waiting queries", RECORD_LIMIT, || {
        let (_, page) = agent.get("/metrics").unwrap();
        let made = sum(&page, "dnscribe_records_total{stream=\"transactions\"");
        let records = agent.records();
        let transactions: Vec<Value> =
            records.into_iter().filter(|record| record["schema"] == "dns.transaction/1").collect();
        let final_transactions = sum(&page, "dnscribe_pairing_open") == 0
            && sum(&page, "dnscribe_records_waiting{stream=\"transactions\"") == 0
            && transactions.len() as u64 == made;
        Ok(final_transactions.then_some(transactions))
    })
    .unwrap()
}

/// Checks that native histograms have each latency, and the median within a bucket's width, beside the classic ones.
fn compare_native_latency(prometheus: &Prometheus, records: &[Value]) {
    let exact = sorted_latencies(records);
    let value = |expression: &str| prometheus.value(expression).unwrap();
    let all = Some(number(exact.len()));
    shell::wait_for("all latencies in native histograms", SCRAPED, || {
        let count = value("histogram_count(sum(dns_transaction_duration_seconds))");
        Ok((count == all).then_some(()))
    })
    .unwrap();
    assert_eq!(value("sum(dns_transaction_duration_seconds_bucket{le=\"+Inf\"})"), all);
    let transactions = Some(number(records.len()));
    assert_eq!(value("sum(dns_transactions_total)"), transactions, "counters come, too");
    for q in [0.1, 0.5, 0.9] {
        let found =
            value(&format!("histogram_quantile({q}, sum(dns_transaction_duration_seconds))"));
        let found = found.unwrap();
        // The middle of two values may be either.
        let rank = |bound: f64| number(exact.partition_point(|latency| *latency < bound));
        let wanted = q * number(exact.len());
        let around = rank(found / 1.1) - 1.0..=rank(found * 1.1) + 1.0;
        assert!(
            around.contains(&wanted),
            "quantile {q} is {found} s: of rank {around:?}, not {wanted}"
        );
    }
    let sum = value("histogram_sum(sum(dns_transaction_duration_seconds))").unwrap();
    let exact: f64 = exact.iter().sum();
    assert!((sum - exact).abs() < 1e-6 * exact, "{sum} s, and the records say {exact} s");
}

/// Latencies of the records in seconds.
fn sorted_latencies(records: &[Value]) -> Vec<f64> {
    let latencies = records.iter().filter_map(|record| Some(record["latency_ms"].as_f64()? / 1e3));
    let mut latencies: Vec<f64> = latencies.collect();
    latencies.sort_unstable_by(f64::total_cmp);
    latencies
}

/// Checks that the median of the histogram is in the same bucket as that of the records.
fn compare_latency(prometheus: &Prometheus, records: &[Value]) {
    let exact = sorted_latencies(records);
    let buckets = "sum by (le) (dns_transaction_duration_seconds_bucket)";
    let median = format!("histogram_quantile(0.5, {buckets})");
    let median = prometheus.value(&median).unwrap().unwrap();
    let count = prometheus.value("sum(dns_transaction_duration_seconds_count)").unwrap();
    assert_eq!(count, Some(number(exact.len())));
    let bounds: Vec<f64> = prometheus
        .query(buckets)
        .unwrap()
        .iter()
        .filter_map(|bucket| bucket["metric"]["le"].as_str()?.parse().ok())
        .collect();
    let bucket = |value: f64| bounds.iter().filter(|bound| **bound < value).count();
    // With an even number of values, the histogram's median may be either of the two middle ones.
    let middle = [exact[(exact.len() - 1) / 2], exact[exact.len() / 2]].map(bucket);
    assert!(middle.contains(&bucket(median)), "{median} s, and the records say {middle:?}");
}

#[test]
fn excess_label_values_become_other() {
    let Some((lab, _alone)) = lab() else { return };
    let isolated = IsolatedCgroup::enter(&lab);
    let options = ["--stream", "transactions,ledger", "--query-timeout", "500ms"];
    let agent = Agent::run(&[&options[..], &isolated.options()].concat()).unwrap();
    let questions = (1000..3000).map(|number| format!("www.example.com TYPE{number}")).collect();
    let load = Load { queries: 2000, questions, ..Load::default() };
    let perf = lab.dnsperf(&load).unwrap();
    assert!(perf.completed > 1500, "{perf:?}");
    let page = shell::wait_for("all transactions", RECORD_LIMIT, || {
        let (_, page) = agent.get("/metrics").unwrap();
        Ok((sum(&page, "dns_transactions_total{vantage=\"client\"") >= 2000).then_some(page))
    })
    .unwrap();
    let series = page.lines().filter(|line| line.starts_with("dns_transactions_total{")).count();
    assert!(series <= 1100, "{series} series");
    assert!(page.contains("qtype=\"other\""), "{page}");
    assert!(page.len() < PAGE_LIMIT, "{} bytes", page.len());
    assert_eq!(check_metrics(&page).unwrap(), "", "promtool complains");
    let end = agent.terminate().unwrap();
    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0);
}

/// Checks the page of a sink with metrics of its own, without a broker.
#[test]
fn promtool_accepts_metrics_of_every_sink() {
    if !environment::privileged() {
        return;
    }
    let agent = Agent::run(&["--sink", "kafka", "--brokers", "127.0.0.1:1"]).unwrap();
    let (status, page) = agent.get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(page.contains("\ndnscribe_kafka_"), "{page}");
    assert_eq!(check_metrics(&page).unwrap(), "", "promtool complains");
}

/// Sum of the samples whose line has this prefix.
fn sum(page: &str, prefix: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(prefix));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn count_by<'a>(records: &'a [Value], field: &str) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for value in records.iter().filter_map(|record| record[field].as_str()) {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
fn number(count: usize) -> f64 {
    count as f64
}
