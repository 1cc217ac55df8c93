use super::*;
use crate::target::{Target, TargetKind, TcpTarget};
use dnscribe_admin::metric::MetricKind;
use dnscribe_record::ledger::Probing;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{CertificateFields, ProbeError, SignatureFields};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn snapshot(counters: &Counters) -> MetricsSnapshot<'_> {
    MetricsSnapshot {
        counters,
        memory: MemoryCounters::default(),
        open_breakers: 0,
        requests: &[],
        verdicts: &[],
        gauges: &[],
        spool_bytes: 0,
    }
}

fn round(target: &str, found: Vec<ProbeFields>) -> Round {
    let host = crate::target::Host {
        name: crate::target::HostName::Address([192, 0, 2, 10].into()),
        port: 443,
        resolver: None,
        family: crate::target::AddressFamily::Any,
        source: crate::source::Source::default(),
    };
    let target = Target {
        service: "shop".into(),
        name: target.to_owned(),
        interval: Duration::from_mins(1),
        timeout: Duration::from_secs(5),
        retries: 0,
        kind: TargetKind::Tcp(TcpTarget { host, query_response: Vec::new() }),
    };
    Round {
        target: Arc::new(target),
        start: Timestamp::default(),
        found,
        skipped: None,
        unrouted: 0,
    }
}

/// A result with every field.
fn everything(kind: &str) -> ProbeFields {
    ProbeFields {
        kind: kind.into(),
        service: "shop".into(),
        target: "shop.example.com".into(),
        duration_ms: 12.5,
        error: Some(ProbeError {
            stage: "http".into(),
            reason: "body_mismatch".into(),
            detail: None,
        }),
        resolver: Some("corp".into()),
        qname: Some("shop.example.com".into()),
        qtype: Some("SOA".into()),
        rcode: Some("NOERROR".into()),
        latency_ms: Some(1.5),
        answers: vec!["ns1.example.com. host.example.com. 2026112101 1 2 3 4".into()],
        answer_records: Some(1),
        authority_records: Some(2),
        additional_records: Some(3),
        answer_digest: Some("00000000deadbeef".into()),
        min_ttl_seconds: Some(300),
        known_ttl_seconds: Some(600),
        dnssec: Some("secure".into()),
        signature: Some(SignatureFields::default()),
        changed: Some(true),
        differs_from: vec!["backup".into()],
        nameserver: Some("ns1.example.com".into()),
        address: Some("192.0.2.10".into()),
        lame: Some(false),
        resolve_ms: Some(2.0),
        connect_ms: Some(3.0),
        handshake_ms: Some(4.0),
        tls_version: Some("TLSv1.3".into()),
        cipher: Some("TLS_AES_128_GCM_SHA256".into()),
        cert: Some(CertificateFields {
            not_after: Some(Timestamp::from_nanos(1_900_000_000_000_000_000)),
            chain_ok: true,
            revocation: Some("unknown".into()),
            revocation_reason: Some("crl_unreachable".into()),
            ..CertificateFields::default()
        }),
        issuer_changed: Some(false),
        response_labels: [("version".to_owned(), "2.0".to_owned())].into(),
        http_status: Some(200),
        http_version: Some("1.1".into()),
        redirects: Some(1),
        ttfb_ms: Some(5.0),
        transfer_ms: Some(6.0),
        body_bytes: Some(1234),
        loss_ratio: Some(0.2),
        rtt_ms: Some(0.5),
        ..ProbeFields::default()
    }
}

#[test]
fn follows_prometheus_conventions() {
    let mut names = BTreeSet::new();
    for metric in metrics() {
        assert!(names.insert(metric.name), "{} twice", metric.name);
        let is_total = metric.name.ends_with("_total");
        assert_eq!(is_total, metric.kind == MetricKind::Counter, "{}", metric.name);
        assert!(metric.help.ends_with('.') && !metric.source.is_empty(), "{}", metric.name);
    }
}

#[test]
fn every_result_metric_is_written_and_described() {
    let mut metrics = Metrics::default();
    for kind in ["dns", "http", "ping"] {
        metrics.observe(&round(kind, vec![everything(kind)]));
    }
    let text = metrics.render(&snapshot(&Counters::default())).into_text();
    for name in results::names() {
        assert!(metric(name).is_some(), "{name}");
        assert!(
            text.contains(&format!("\n# TYPE {name} gauge\n"))
                || text.starts_with(&format!("# HELP {name}")),
            "{name}"
        );
    }
    let described = dictionary::COMPATIBLE.iter().chain(dictionary::RESULTS);
    assert_eq!(described.count(), results::names().count());
    for sample in [
        "probe_success{service=\"shop\",kind=\"dns\",target=\"shop.example.com\",resolver=\"corp\",qname=\"shop.example.com\",qtype=\"SOA\",nameserver=\"ns1.example.com\",address=\"192.0.2.10\"} 0\n",
        "qtype=\"SOA\",nameserver=\"ns1.example.com\",address=\"192.0.2.10\"} 2026112101\n",
        "phase=\"processing\"} 0.005\n",
        "version=\"TLS 1.3\"} 1\n",
        "address=\"192.0.2.10\",version=\"2.0\"} 1\n",
        "digest=\"00000000deadbeef\",rcode=\"NOERROR\"} 1\n",
        "status=\"unknown\",source=\"\",reason=\"crl_unreachable\"} 1\n",
    ] {
        assert!(text.contains(sample), "{sample} in\n{text}");
    }
}

#[test]
fn keeps_last_round_of_configured_targets() {
    let mut metrics = Metrics::default();
    let found = |ok, target: &str| ProbeFields {
        kind: "tcp".into(),
        service: "shop".into(),
        target: target.into(),
        ok,
        ..ProbeFields::default()
    };
    metrics.observe(&round("a", vec![found(false, "a")]));
    metrics.observe(&round("a", vec![found(true, "a")]));
    metrics.observe(&round("b", vec![found(true, "b")]));
    let success = |metrics: &Metrics| {
        let text = metrics.render(&snapshot(&Counters::default())).into_text();
        let lines = text.lines().filter(|line| line.starts_with("probe_success{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let labels =
        |target| format!("probe_success{{service=\"shop\",kind=\"tcp\",target=\"{target}\"}} 1");
    assert_eq!(success(&metrics), [labels("a"), labels("b")]);
    metrics.retain(|service, kind, target| (service, kind, target) == ("shop", "tcp", "b"));
    assert_eq!(success(&metrics), [labels("b")]);
}

#[test]
fn too_many_results_are_other() {
    let mut metrics = Metrics::default();
    let many = vec![everything("dns"); MAX_RESULTS - 1];
    metrics.observe(&round("many", many.clone()));
    metrics.observe(&round("a", vec![everything("dns")]));
    metrics.observe(&round("b", vec![everything("dns")]));
    metrics.observe(&round("many", many));
    let text = metrics.render(&snapshot(&Counters::default())).into_text();
    assert!(
        text.contains("\nprobe_success{service=\"other\",kind=\"other\",target=\"other\"} 0\n")
    );
    assert!(text.contains("\ndnscribe_probe_other_results_total 1\n"));
    assert_eq!(
        text.lines().filter(|line| line.starts_with("probe_success{")).count(),
        MAX_RESULTS + 1
    );
}

#[test]
fn writes_counters_of_program() {
    let probing = Probing {
        rounds: 10,
        completed: 7,
        running: 1,
        late: 3,
        skipped: [("breaker".to_owned(), 2)].into(),
        records: 7,
    };
    let counters = Counters { probing: Some(probing), ..Counters::default() };
    let snapshot = MetricsSnapshot {
        memory: MemoryCounters { subjects: 4, ..MemoryCounters::default() },
        open_breakers: 1,
        verdicts: &[VerdictMetric {
            service: "shop".into(),
            cause: "hosting".into(),
            severity: "critical".into(),
        }],
        ..snapshot(&counters)
    };
    let text = Metrics::default().render(&snapshot).into_text();
    for line in [
        "dnscribe_probe_rounds_total{outcome=\"completed\"} 7",
        "dnscribe_probe_rounds_total{outcome=\"breaker\"} 2",
        "dnscribe_probe_breakers_open 1",
        "dnscribe_probe_verdict{service=\"shop\",cause=\"hosting\",severity=\"critical\"} 1",
        "dnscribe_probe_memory_subjects 4",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in\n{text}");
    }
}

/// `docs/probe-metrics.md` is what the code generates.
#[test]
fn golden_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/probe-metrics.md");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == page(),
        "docs/probe-metrics.md is not what the code generates: `cargo xtask bless`"
    );
}
