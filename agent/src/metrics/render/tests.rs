use super::super::dictionary;
use super::super::transactions::RecentlyAdded;
use super::*;
use dnscribe_analysis::attribution::Pod;
use dnscribe_analysis::lookup::{PacketCounts, PacketsByPod};
use dnscribe_record::ledger::{Delivery, Kernel};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{LossStage, Transport};
use dnscribe_transaction::pair::{Status, Vantage};
use std::sync::Arc;
use std::time::Duration;

fn reasons(reasons: &[(&str, u64)]) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

fn page() -> String {
    page_with(false)
}

fn page_with(hides_containers: bool) -> String {
    let mut packets = PacketsByPod::default();
    packets.add(Some("shop/web"), PacketCounts { sent: 30, wasted: 11 });
    packets.add(None, PacketCounts { sent: 4, wasted: 0 });
    let lost =
        LossKey { is_response: false, stage: LossStage::Socket, reason: "SOCKET_RCVBUFF".into() };
    let losses = BTreeMap::from([(lost, 3)]);
    let mut counters = Counters::default();
    let kernel = Kernel {
        seen: 10,
        submitted: 6,
        lost_ring_full: 1,
        sampled_out: 1,
        skipped: reasons(&[("fragment", 1), ("other", 1)]),
        clipped: 2,
    };
    counters.kernel.insert("cgroup".into(), kernel);
    counters.decode.malformed = reasons(&[("ip_header", 3)]);
    counters.pairing.evicted = 4;
    counters.pairing.open = 5;
    counters.connections = Some(dnscribe_record::ledger::Connections::default());
    counters.seen_by = Some(dnscribe_record::ledger::SeenBy { both: 6, ..Default::default() });
    counters.sampling = Some(Sampling { ratio: 0.25, ..Default::default() });
    let delivery = |delivered, full| Delivery {
        records: delivered + full + 1,
        delivered,
        in_flight: 1,
        dropped: reasons(&[("queue_full", full)]),
        ..Delivery::default()
    };
    for (sink, delivered) in [("file", 7), ("kafka", 8)] {
        let streams = [("transactions".to_owned(), delivery(delivered, 2))].into();
        counters.delivery.insert(sink.into(), streams);
    }
    let mut transactions = TransactionMetrics::default();
    transactions.message(false, Transport::Udp);
    let resolver = transactions.resolver("a \"resolver\"\\");
    transactions.transaction(&RecentlyAdded {
        vantage: Vantage::Client,
        transport: Transport::Udp,
        resolver,
        qtype: Some(1),
        status: Status::Answered,
        rcode: Some(0),
        latency_seconds: Some(0.003),
    });
    let gauges = ["kafka", "kafka_2"].map(|sink| {
        let mut own = dnscribe_delivery::all_gauges();
        for gauge in &mut own {
            gauge.value = 9.0;
        }
        (sink.to_owned(), own)
    });
    let mut pods = PodMetrics::default();
    let pod = Arc::new(Pod::named("shop", "web", None));
    pods.query(Timestamp::default(), &pod, Outcome::Servfail, Some(Duration::from_millis(3)));
    render(&MetricsSnapshot {
        counters: &counters,
        transactions: &transactions,
        links: &CorrelationCounters {
            cache: [6, 5, 0, 0],
            unlinked: 2,
            overflowed: 1,
            ..CorrelationCounters::default()
        },
        capture: Some(CaptureStatus {
            ring_used_bytes: 64,
            address_errors: 3,
            clock_steps: 2,
            longest_turn: Duration::from_millis(250),
        }),
        late_transactions: 0,
        windows_bytes: Some(4096),
        losses: Some(&losses),
        uses: Some(&[[0, 1, 2, 3, 4]; 4]),
        lookups: Some(&LookupCounters {
            outcomes: [7, 0, 2, 0, 0, 0, 0, 0, 1, 0],
            packets,
            evicted: 0,
            open: 3,
        }),
        alerts: Some(&AlertCounters::default()),
        indicators: 3,
        first_seen: Some(FirstSeenCounts { zones: 5, evicted: 1, write_failures: 2 }),
        kubernetes: Some(&kubernetes::PodWatchStatus {
            listed: true,
            up: true,
            pods: 12,
            errors: [0, 3, 0, 0, 0, 0, 0],
            named: 8,
            unnamed: 1,
            refused: 0,
        }),
        pods: Some(&pods),
        hides_containers,
        spool_bytes: 0,
        gauges: &gauges,
        build: BuildInfo { version: "0.1.0", revision: "0123456789ab" },
    })
    .into_text()
}

#[test]
fn masked_pods_are_on_no_line() {
    assert!(page().contains("namespace=\"shop\""));
    let masked = page_with(true);
    assert!(!masked.contains("shop") && !masked.contains("pod=\""), "{masked}");
}

#[test]
fn has_names_of_contract() {
    let page = page();
    for line in [
        "dns_cache_answers_total{cache=\"hit\"} 6",
        "dns_cache_answers_total{cache=\"miss\"} 5",
        "dnscribe_links_total{match=\"question\"} 0",
        "dnscribe_links_total{match=\"none\"} 2",
        "dnscribe_links_overflow_total 1",
        "dnscribe_packets_total{hook=\"cgroup\",outcome=\"submitted\"} 6",
        "dnscribe_packets_total{hook=\"cgroup\",outcome=\"skipped\"} 2",
        "dnscribe_clipped_packets_total{hook=\"cgroup\"} 2",
        "dnscribe_ring_used_bytes 64",
        "dnscribe_clock_steps_total 2",
        "dnscribe_address_read_errors_total 3",
        "dnscribe_longest_turn_seconds 0.25",
        "dnscribe_records_total{stream=\"transactions\",outcome=\"delivered\"} 15",
        "dnscribe_records_total{stream=\"transactions\",outcome=\"dropped\"} 4",
        "dnscribe_records_waiting{stream=\"transactions\",place=\"in_flight\"} 2",
        "dnscribe_dropped_packets_total{stage=\"kernel\",reason=\"ring_full\"} 1",
        "dnscribe_dropped_packets_total{stage=\"decode\",reason=\"ip_header\"} 3",
        "dnscribe_dropped_queries_total{stage=\"pairing\",reason=\"evicted\"} 4",
        "dnscribe_dropped_records_total{stage=\"delivery\",reason=\"queue_full\"} 4",
        "dnscribe_kafka_queue_bytes{sink=\"kafka_2\"} 9",
        "dnscribe_spool_bytes 0",
        "dnscribe_lookups_total{outcome=\"nxdomain\"} 2",
        "dns_lost_messages_total{qr=\"query\",stage=\"socket\",reason=\"SOCKET_RCVBUFF\"} 3",
        "dnscribe_uses_total{match=\"sole\",outcome=\"refused\"} 1",
        "dnscribe_lookup_queries_total{namespace=\"\",pod=\"\",container_id=\"\"} 4",
        "dnscribe_lookup_wasted_queries_total{namespace=\"shop\",pod=\"web\",container_id=\"\"} 11",
        "dns_pod_transactions_total{namespace=\"shop\",pod=\"web\",workload=\"\",outcome=\"servfail\"} 1",
        "dns_pod_transaction_duration_seconds_count{namespace=\"shop\",workload=\"\"} 1",
        "dnscribe_kafka_up{sink=\"kafka\"} 9",
        "dnscribe_kubernetes_up 1",
        "dnscribe_kubernetes_pods 12",
        "dnscribe_kubernetes_errors_total{reason=\"unreachable\"} 3",
        "dnscribe_kubernetes_transactions_total{outcome=\"named\"} 8",
        "dnscribe_build_info{version=\"0.1.0\",revision=\"0123456789ab\"} 1",
        "dns_messages_total{qr=\"query\",transport=\"udp\"} 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
}

#[test]
fn each_family_appears_once() {
    let page = page();
    let mut families = std::collections::BTreeSet::new();
    let mut current = "";
    for line in page.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            current = header.split(' ').next().unwrap();
            assert!(families.insert(current), "{current} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(current), "{line} under {current}");
        }
    }
}

#[test]
fn page_matches_dictionary() {
    let page = page();
    let mut families: std::collections::BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    // The families of connections appear with the first connection.
    families.extend(["dns_connections_total", "dns_connection_handshake_seconds"]);
    let known = dictionary::metrics().map(|metric| metric.name).collect();
    assert_eq!(families, known);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or((line, ""));
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| dictionary::metric(name.strip_suffix(suffix)?));
        let Some(metric) = dictionary::metric(name).or(base) else { continue };
        let known =
            |label: &str| label == "le" || metric.labels.iter().any(|(known, _)| *known == label);
        for label in labels.split("\",").filter_map(|part| part.split_once("=\"")) {
            assert!(known(label.0), "{} of {line}", label.0);
        }
    }
}
