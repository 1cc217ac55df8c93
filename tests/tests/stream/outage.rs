//! A store that is away for longer than Kafka keeps a transaction open: topics go on, no record is lost, and `ledger verify`
//! says so. Jobs of their own with the topics of a sandbox, because their transactions end early.

use crate::fleet::{TRAFFIC, now};
use crate::rows::moved_to;
use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::flink_job::FlinkJob;
use dnscribe_tests::stack::Component;
use dnscribe_tests::stack::service::Service;
use dnscribe_tests::{environment, http, shell};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Before the name of each topic, and name of the bucket.
const NAME: &str = "outage";
/// Time after which the broker aborts a transaction.
const TRANSACTION: Duration = Duration::from_secs(18);
/// How long the store is suspended: the broker of these tests looks for old transactions every second.
const SUSPENDED: Duration = Duration::from_secs(24);
/// After such a time without a record all windows are final: longer than their lateness.
const SETTLED: Duration = Duration::from_secs(15);

#[test]
fn no_record_of_a_topic_is_lost_when_a_store_outlasts_transactions() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.beside();
    let folder = tempfile::tempdir().unwrap();
    let influxdb = running.stack().address(Component::InfluxDb).unwrap();
    create_bucket(&influxdb, NAME);
    let store = running.stack().service(Component::InfluxDb).unwrap().clone();
    let submitted = submit(&running, folder.path(), &influxdb);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (running, folder, stop) = (&*running, folder.path(), &stop);
        let load = scope.spawn(move || write_windows(running, folder, stop));
        let flows = || Ok((written(running) > 0).then_some(()));
        shell::wait_for("merged windows", CAUGHT_UP, flows).unwrap();
        let frozen = Frozen::new(&store);
        let before = written(running);
        thread::sleep(SUSPENDED);
        let meanwhile = written(running);
        drop(frozen);
        assert!(meanwhile > before, "the topic waits for the store: {meanwhile} records");
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    let topic = format!("{NAME}.dns.fleet");
    shell::wait_for("the last windows", CAUGHT_UP, || {
        let before = written(&running);
        thread::sleep(SETTLED);
        Ok((written(&running) == before).then_some(()))
    })
    .unwrap();
    let closes = || {
        let found = verify(&running, &influxdb);
        let is_whole = found.status.success()
            && said(&String::from_utf8_lossy(&found.stdout), &topic) == written(&running) as u64;
        Ok(is_whole.then_some(found))
    };
    let balance = shell::wait_for("the balance", CAUGHT_UP, closes);
    let balance = balance.unwrap_or_else(|_| verify(&running, &influxdb));
    let [text, errors] =
        [&balance.stdout, &balance.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(balance.status.success(), "{text}{errors}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said(&text, &topic), written(&running) as u64, "{text}");
    assert_eq!(report["stores"][0]["table"], "dns_fleet", "{text}");
    for job in submitted {
        job.cancel().unwrap();
    }
}

/// A suspended service, which goes on with the end of this value.
struct Frozen<'a>(&'a Service);

impl<'a> Frozen<'a> {
    fn new(service: &'a Service) -> Self {
        service.freeze().unwrap();
        Self(service)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.thaw().unwrap();
    }
}

/// Number of records that jobs say they have written to a topic.
fn said(report: &str, topic: &str) -> u64 {
    let report: Value = serde_json::from_str(report).unwrap();
    let outputs = report["outputs"].as_array().unwrap();
    let line = outputs.iter().find(|line| line["topic"] == topic);
    line.map_or(0, |line| line["written"].as_u64().unwrap())
}

/// Number of committed records of merged windows.
fn written(running: &Running) -> usize {
    running.topic(&format!("{NAME}.dns.fleet")).len()
}

fn submit(running: &Running, folder: &Path, influxdb: &Value) -> Vec<FlinkJob> {
    let mut store = influxdb.clone();
    store["bucket"] = NAME.into();
    let config = json!({
        "version": 1,
        "kafka": {
            "brokers": running.brokers(),
            "topic_prefix": format!("{NAME}."),
            "options": { "transaction.timeout.ms": TRANSACTION.as_millis().to_string() },
        },
        "checkpoints": { "interval": "1s", "timeout": "8s" },
        "fleet": { "group": NAME, "allowed_lateness": "10s" },
        "store": { "group": format!("{NAME}-store"), "stores": ["influxdb"] },
        "influxdb": store,
        "detect": { "enabled": false },
    });
    FlinkJob::submit_all(&running.stack(), folder, &["fleet", "store-influxdb"], &config).unwrap()
}

/// Writes the windows of a node until `stop` is set, a minute of them at a time.
fn write_windows(running: &Running, folder: &Path, stop: &AtomicBool) {
    let mut capture = Vec::new();
    TRAFFIC.write(&mut capture).unwrap();
    let start = now() - 7200;
    for minute in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let file = folder.join("minute.pcap");
        std::fs::write(&file, moved_to(&capture, start + 60 * minute)).unwrap();
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").arg(&file).args(["--sink", "kafka", "--stream", "metrics,ledger"]);
        replay.args(["--brokers", running.brokers()]).env("DNSCRIBE_NODE", NAME);
        replay.env("DNSCRIBE_KAFKA__TOPIC_PREFIX", format!("{NAME}."));
        shell::output(&mut replay).unwrap();
    }
}

fn verify(running: &Running, influxdb: &Value) -> Output {
    let [url, org, token] = ["url", "org", "token"].map(|name| influxdb[name].as_str().unwrap());
    let mut verify = Command::new(environment::binary().unwrap());
    verify.args(["ledger", "verify", "-o", "json", "--brokers", running.brokers()]);
    verify.args(["--store", &format!("influx:{url}/?org={org}&bucket={NAME}")]);
    verify.env("INFLUX_TOKEN", token).env("DNSCRIBE_KAFKA__TOPIC_PREFIX", format!("{NAME}."));
    verify.output().unwrap()
}

/// Creates a bucket of a test's own.
pub fn create_bucket(influxdb: &Value, name: &str) {
    let [url, org, token] = ["url", "org", "token"].map(|name| influxdb[name].as_str().unwrap());
    let address: SocketAddr = url["http://".len()..].parse().unwrap();
    let headers = format!("Authorization: Token {token}\r\nContent-Type: application/json\r\n");
    let path = format!("/api/v2/orgs?org={org}");
    let found = http::send(address, "GET", &path, &headers, b"").unwrap();
    let found: Value = serde_json::from_str(&found.body).unwrap();
    let bucket = json!({ "name": name, "orgID": found["orgs"][0]["id"] }).to_string();
    let made = http::send(address, "POST", "/api/v2/buckets", &headers, bucket.as_bytes()).unwrap();
    assert_eq!(made.status, 201, "{}", made.body);
}
