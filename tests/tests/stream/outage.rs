//! Stores that are away for longer than Kafka keeps a transaction open: topics go on, no record is lost, and `ledger verify`
//! says so. Jobs of their own with the topics of a sandbox and stores of their own, because their transactions end early.

use crate::disk::{empty, fill, mount, unmount};
use crate::fleet::{TRAFFIC, now};
use crate::rows::moved_to;
use crate::running::{ANSWER, CAUGHT_UP, Running, Shared};
use dnscribe_tests::flink_job::FlinkJob;
use dnscribe_tests::stack::{Component, Stack, jobs};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Before the name of each topic, and name of the node.
const NAME: &str = "outage";
/// Time after which the broker aborts a transaction.
const TRANSACTION: Duration = Duration::from_secs(24);
/// How long the stores are away: the broker of these tests looks for old transactions every second.
const AWAY: Duration = Duration::from_secs(30);
/// After such a time without a record all windows that end are final: longer than their lateness.
const SETTLED: Duration = Duration::from_secs(15);
/// Pause between two minutes of records.
const PAUSE: Duration = Duration::from_millis(400);
/// Stores that are suspended. The file system of the archive is full meanwhile.
const STORES: [Component; 3] = [Component::ClickHouse, Component::TimescaleDb, Component::InfluxDb];
/// All jobs, each store's among them.
const JOBS: [&str; 6] =
    ["enrich", "fleet", "store-clickhouse", "store-timescaledb", "store-influxdb", "store-archive"];
/// Topics that the stores read.
const TOPICS: [&str; 2] = ["dns.enriched", "dns.fleet"];

#[test]
fn no_record_is_lost_when_stores_outlast_transactions() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.beside();
    let outage = Outage::start(&running);
    let submitted = outage.submit();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| outage.write_minutes(&stop));
        let flows = || Ok(outage.written().iter().all(|count| *count > 0).then_some(()));
        let flowing = shell::wait_for("records of all topics", CAUGHT_UP, flows);
        let before = outage.written();
        {
            let _away = flowing.is_ok().then(|| Away::new(&outage));
            thread::sleep(AWAY);
        }
        let meanwhile = outage.written();
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        flowing.unwrap();
        let waits = meanwhile.iter().zip(&before).any(|(after, before)| after <= before);
        assert!(!waits, "a topic waits for a store: {before:?}, then {meanwhile:?}");
    });
    shell::wait_for("the last windows", CAUGHT_UP, || {
        let before = outage.written();
        thread::sleep(SETTLED);
        Ok((outage.written() == before).then_some(()))
    })
    .unwrap();
    outage.check_balance();
    outage.check_archive();
    for job in submitted {
        job.cancel().unwrap();
    }
}

/// Stores of this test, which end with its value.
struct Outage<'a> {
    running: &'a Running,
    stack: Option<Stack>,
    folder: tempfile::TempDir,
}

impl<'a> Outage<'a> {
    fn start(running: &'a Running) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stack = Stack::for_test(&folder.path().join("stack")).unwrap();
        stack.start_all(&STORES).unwrap();
        let outage = Self { running, stack: Some(stack), folder };
        mount(&outage.archive(), "50m");
        outage
    }

    fn stack(&self) -> &Stack {
        self.stack.as_ref().unwrap()
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn address(&self, store: Component) -> Value {
        self.stack().address(store).unwrap()
    }

    fn submit(&self) -> Vec<FlinkJob> {
        let tables = jobs::jdbc(self.address(Component::TimescaleDb).as_str().unwrap());
        let config = json!({
            "version": 1,
            "kafka": {
                "brokers": self.running.brokers(),
                "topic_prefix": format!("{NAME}."),
                "options": { "transaction.timeout.ms": TRANSACTION.as_millis().to_string() },
            },
            "checkpoints": { "interval": "2s", "timeout": "10s" },
            "enrich": { "group": format!("{NAME}-enrich") },
            "fleet": { "group": NAME, "allowed_lateness": "10s" },
            "store": {
                "group": format!("{NAME}-store"),
                "stores": ["clickhouse", "timescaledb", "influxdb", "archive"],
            },
            "clickhouse": { "url": self.address(Component::ClickHouse) },
            "timescaledb": { "url": format!("{tables}?socketTimeout={}", ANSWER.as_secs()) },
            "influxdb": self.address(Component::InfluxDb),
            "archive": { "path": format!("file://{}", self.archive().display()) },
            "detect": { "enabled": false },
        });
        FlinkJob::submit_all(&self.running.stack(), self.folder.path(), &JOBS, &config).unwrap()
    }

    /// Writes the transactions and windows of a node until `stop` is set, a minute of them at a time.
    fn write_minutes(&self, stop: &AtomicBool) {
        let mut capture = Vec::new();
        TRAFFIC.write(&mut capture).unwrap();
        // As many minutes as this test may take to write: none is ahead of the clock.
        let start = now() - 14_400;
        for minute in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let file = self.folder.path().join("minute.pcap");
            std::fs::write(&file, moved_to(&capture, start + 60 * minute)).unwrap();
            let mut replay = Command::new(environment::binary().unwrap());
            replay.arg("replay").arg(&file).args(["--sink", "kafka"]);
            replay.args(["--stream", "transactions,metrics,ledger"]);
            replay.args(["--brokers", self.running.brokers()]).env("DNSCRIBE_NODE", NAME);
            replay.env("DNSCRIBE_KAFKA__TOPIC_PREFIX", format!("{NAME}."));
            shell::output(&mut replay).unwrap();
            thread::sleep(PAUSE);
        }
    }

    /// Number of committed records of each topic that the stores read.
    fn written(&self) -> [u64; TOPICS.len()] {
        TOPICS.map(|topic| self.running.topic(&named(topic)).len() as u64)
    }

    fn verify(&self) -> Output {
        let influxdb = self.address(Component::InfluxDb);
        let [url, org, bucket, token] =
            ["url", "org", "bucket", "token"].map(|name| influxdb[name].as_str().unwrap());
        let mut verify = Command::new(environment::binary().unwrap());
        verify.args(["ledger", "verify", "-o", "json", "--brokers", self.running.brokers()]);
        for store in [Component::ClickHouse, Component::TimescaleDb] {
            verify.args(["--store", self.address(store).as_str().unwrap()]);
        }
        verify.args(["--store", &format!("influx:{url}/?org={org}&bucket={bucket}")]);
        verify.env("INFLUX_TOKEN", token).env("DNSCRIBE_KAFKA__TOPIC_PREFIX", format!("{NAME}."));
        verify.output().unwrap()
    }

    /// Checks that `ledger verify` closes, with as many records of each topic as the topic has.
    fn check_balance(&self) {
        let is_whole = |found: &Output| {
            found.status.success()
                && TOPICS.map(|topic| said(&found.stdout, topic)) == self.written()
        };
        let closes =
            shell::wait_for(
                "the balance",
                CAUGHT_UP,
                || Ok(is_whole(&self.verify()).then_some(())),
            );
        let last = self.verify();
        let [text, errors] = [&last.stdout, &last.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(closes.is_ok(), "{:?} in {TOPICS:?}: {text}{errors}", self.written());
        let report: Value = serde_json::from_str(&text).unwrap();
        let tables = report["stores"].as_array().unwrap().iter();
        let tables: BTreeSet<&str> = tables.map(|line| line["table"].as_str().unwrap()).collect();
        assert!(tables.contains("dns_transactions") && tables.contains("dns_fleet"), "{text}");
    }

    /// Checks that the archive has each record of `dns.enriched` once.
    fn check_archive(&self) {
        let files = self.archive().join("**/*.parquet");
        let query = format!("SELECT count(), uniqExact(event_id) FROM file('{}')", files.display());
        let [enriched, _] = self.written();
        let wanted = format!("{enriched}\t{enriched}");
        let archived = || self.running.clickhouse(&query);
        let waited = shell::wait_for("files of the archive", CAUGHT_UP, || {
            Ok((archived() == [wanted.as_str()]).then_some(()))
        });
        assert!(waited.is_ok(), "{:?}, not {wanted}", archived());
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        // A failing test says more than a failing end.
        unmount(&self.archive());
        if let Some(stack) = self.stack.take() {
            let _ = stack.down();
        }
    }
}

/// Suspended stores and a full archive, which go on with the end of this value.
struct Away<'a>(&'a Outage<'a>);

impl<'a> Away<'a> {
    fn new(outage: &'a Outage<'a>) -> Self {
        for store in STORES {
            outage.stack().service(store).unwrap().freeze().unwrap();
        }
        fill(&outage.archive());
        Self(outage)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        empty(&self.0.archive());
        for store in STORES {
            self.0.stack().service(store).unwrap().thaw().unwrap();
        }
    }
}

/// Name of a topic of the sandbox.
fn named(topic: &str) -> String {
    format!("{NAME}.{topic}")
}

/// Number of records that jobs say they have written to a topic of the sandbox.
fn said(report: &[u8], topic: &str) -> u64 {
    let report: Value = serde_json::from_slice(report).unwrap();
    let outputs = report["outputs"].as_array().unwrap();
    let line = outputs.iter().find(|line| line["topic"] == named(topic));
    line.map_or(0, |line| line["written"].as_u64().unwrap())
}
