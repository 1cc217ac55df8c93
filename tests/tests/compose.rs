//! `deploy/compose.yaml`: valid, and the same system as the one that `cargo xtask stack up` starts.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_tests::stack::{clickhouse, flink, influxdb, jobs, monitoring, timescaledb};
use dnscribe_tests::{environment, kafka, manifests};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn deploy(name: &str) -> PathBuf {
    environment::workspace().join("deploy").join(name)
}

fn services() -> Value {
    manifests::read_compose(&deploy("compose.yaml")).unwrap()["services"].take()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn validation_finds_errors() {
    let text = std::fs::read_to_string(deploy("compose.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yaml");
    for (right, wrong) in [("cap_drop:", "cap_drops:"), ("restart: unless-stopped", "restart: [1]")]
    {
        std::fs::write(&file, text.replace(right, wrong)).unwrap();
        assert!(manifests::read_compose(&file).is_err(), "{wrong}");
    }
}

/// Versions and ports are those of the stack.
#[test]
fn components_are_those_of_the_stack() {
    let services = services();
    let influxdb = influxdb::VERSION.trim_start_matches('v');
    let (clickhouse, _) = clickhouse::VERSION.rsplit_once('.').unwrap();
    let (prometheus, alertmanager) = (monitoring::PROMETHEUS_PORT, monitoring::ALERTMANAGER_PORT);
    for (service, image, port) in [
        ("kafka", format!("apache/kafka:{}", kafka::VERSION), 9092),
        ("influxdb", format!("influxdb:{influxdb}"), influxdb::PORT),
        ("clickhouse", format!("clickhouse/clickhouse-server:{clickhouse}"), clickhouse::PORT),
        ("jobmanager", "dnscribe-stream".to_owned(), flink::REST_PORT),
        ("timescaledb", String::new(), timescaledb::PORT),
        ("prometheus", String::new(), prometheus),
        ("alertmanager", String::new(), alertmanager),
    ] {
        let (actual, ports) =
            (services[service]["image"].as_str().unwrap(), &services[service]["ports"]);
        assert!(image.is_empty() || actual == image, "{service}: {actual}, not {image}");
        assert_eq!(words(ports), [format!("127.0.0.1:{port}:{port}")], "{service}");
    }
    let timescaledb = services["timescaledb"]["image"].as_str().unwrap();
    assert!(timescaledb.ends_with(&format!("-pg{}", timescaledb::MAJOR)), "{timescaledb}");
    let recipe = std::fs::read_to_string(deploy("stream/Dockerfile")).unwrap();
    assert!(recipe.contains(&format!("\nFROM flink:{}-java17\n", flink::VERSION)), "{recipe}");
}

/// Every image is pinned, and every other one is built from this tree.
#[test]
fn images_are_pinned_or_built() {
    for (name, service) in services().as_object().unwrap() {
        let image = service["image"].as_str().unwrap();
        let is_own = matches!(image, "dnscribe" | "dnscribe-probe" | "dnscribe-stream");
        let tag = image.split_once(':').map_or("", |(_, tag)| tag);
        assert!(is_own || tag.contains(|c: char| c.is_ascii_digit()), "{name}: {image}");
        if let Some(file) = service["build"]["dockerfile"].as_str() {
            assert!(environment::workspace().join(file).is_file(), "{file}");
        }
        for needed in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services()[needed.0].is_object(), "{name} needs {}", needed.0);
        }
    }
}

/// Each job of the stack is submitted, with the same arguments, and the same settings of Flink and
/// of the jobs are set.
#[test]
fn jobs_are_those_of_the_stack() {
    let services = services();
    let submitted: Vec<&str> =
        services.as_object().unwrap().keys().filter_map(|name| name.strip_prefix("job-")).collect();
    assert_eq!(submitted, jobs::JOBS);
    for job in submitted {
        let script = words(&services[&format!("job-{job}")]["command"])[2].to_owned();
        let words = jobs::arguments(job, "/etc/dnscribe/stream.yaml").join(" ");
        let run = format!("dnscribe-stream.jar {words}");
        assert!(script.contains(&run), "{script}");
    }
    for command in ["topics", "migrate"] {
        let entrypoint = words(&services[command]["entrypoint"]).join(" ");
        let run = format!("dnscribe-stream.jar {command} --config /etc/dnscribe/stream.yaml");
        assert!(entrypoint.ends_with(&run), "{entrypoint}");
    }
    let properties = services["taskmanager"]["environment"]["FLINK_PROPERTIES"].as_str().unwrap();
    for key in flink::DURABILITY {
        assert!(properties.contains(&format!("{key}: ")), "compose does not set {key}");
    }
    let keys = |config: &Value| -> BTreeSet<String> {
        let sections = config.as_object().unwrap().iter();
        sections
            .flat_map(|(section, keys)| {
                let keys = keys.as_object().into_iter().flatten();
                keys.map(move |(key, _)| format!("{section}.{key}"))
            })
            .collect()
    };
    let stack = keys(&jobs::configuration("", Some(""), Some("postgres://@")));
    let compose = keys(&manifests::read_yaml(&deploy("compose/stream.yaml")).unwrap());
    let missing: Vec<&String> = stack.difference(&compose).collect();
    assert!(missing.is_empty(), "deploy/compose/stream.yaml has no {missing:?}");
}

/// What the alert rules say of `up` is about jobs of Prometheus that there are.
#[test]
fn rules_know_the_jobs_of_prometheus() {
    let config = manifests::read_yaml(&deploy("compose/prometheus.yml")).unwrap();
    let scraped = config["scrape_configs"].as_array().unwrap().iter();
    let scraped: BTreeSet<&str> = scraped.map(|job| job["job_name"].as_str().unwrap()).collect();
    let mut count = 0;
    for name in ["dnscribe", "stream", "kpi"] {
        let file = environment::workspace().join(format!("grafana/prometheus/rules/{name}.yaml"));
        let rules = std::fs::read_to_string(file).unwrap();
        for part in rules.split("up{job=").skip(1) {
            let jobs = part.trim_start_matches('~').split('"').nth(1).unwrap();
            for job in jobs.split('|') {
                assert!(scraped.contains(job), "{name}.yaml has {job}, which nothing scrapes");
                count += 1;
            }
        }
    }
    assert_eq!(count, 4);
    // ClickHouse serves metrics where its configuration says so.
    let own = manifests::read_yaml(&deploy("compose/clickhouse.yaml")).unwrap();
    let target = format!("clickhouse:{}", own["prometheus"]["port"]);
    assert!(config["scrape_configs"].to_string().contains(&target), "{target}");
    let mounted = "./compose/clickhouse.yaml:/etc/clickhouse-server/config.d/dnscribe.yaml:ro";
    assert!(words(&services()["clickhouse"]["volumes"]).contains(&mounted));
}

/// The agent does not warn at its start that it stays root, or that threads keep a low priority.
#[test]
fn agent_has_what_its_start_needs() {
    let agent = &services()["agent"];
    assert_eq!(agent["environment"]["DNSCRIBE_PRIVILEGES__USER"], "root");
    assert_eq!(agent["ulimits"]["nice"], 20);
    assert!(agent["ulimits"]["nofile"].as_u64().unwrap() >= 65_536);
}
