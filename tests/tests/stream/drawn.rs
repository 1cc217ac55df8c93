//! Records drawn from the whole of their schemas, with extreme times and numbers, empty and enormous texts and every null,
//! through the jobs of all stores: each is a row or a dead letter, in the store's words, and none stops those after it.

use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_record::time::Timestamp;
use dnscribe_tests::draw::Draw;
use dnscribe_tests::flink_job::FlinkJob;
use dnscribe_tests::rng::Rng;
use dnscribe_tests::stack::{Component, jobs};
use dnscribe_tests::{environment, http, shell};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// Name of the database, the bucket and the folder, and beginning of the topics' names.
const NAME: &str = "drawn";
/// Records of each topic. `DNSCRIBE_DRAWN` has another number for long runs, `DNSCRIBE_SEED` another seed.
const RECORDS: u64 = 100;
/// Topics and their schemas.
const TOPICS: [(&str, &str); 9] = [
    ("dns.enriched", "dns.enriched-1"),
    ("dns.alerts", "dns.alert-1"),
    ("dns.lookups", "dns.lookup-1"),
    ("dns.connections", "dns.connection-1"),
    ("dns.uses", "dns.use-1"),
    ("dns.fleet", "dns.fleet-1"),
    ("dns.fleet.rollups", "dns.fleet-1"),
    ("dns.probes", "dns.probe-1"),
    ("dns.changes", "dns.change-1"),
];
/// Jobs, and the sinks of each that have a table of their own: name in the ledger, name of the table.
const JOBS: [(&str, &[(&str, &str)]); 4] = [
    (
        "store-clickhouse",
        &[
            ("clickhouse", "dns_transactions"),
            ("clickhouse.dns_alerts", "dns_alerts"),
            ("clickhouse.dns_lookups", "dns_lookups"),
            ("clickhouse.dns_connections", "dns_connections"),
            ("clickhouse.dns_uses", "dns_uses"),
        ],
    ),
    (
        "store-timescaledb",
        &[
            ("timescaledb.dns_fleet", "dns_fleet"),
            ("timescaledb.dns_alerts", "dns_alerts"),
            ("timescaledb.dns_probes", "dns_probes"),
            ("timescaledb.dns_changes", "dns_changes"),
        ],
    ),
    ("store-influxdb", &[]),
    ("store-archive", &[]),
];

#[test]
fn each_record_is_a_row_or_a_dead_letter() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.beside();
    let folder = tempfile::tempdir().unwrap();
    let submitted = submit(&running, folder.path());
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let (seed, records) = (number("DNSCRIBE_SEED", 42), number("DNSCRIBE_DRAWN", RECORDS));
    let mut rng = Rng::new(seed);
    let now = Timestamp::now().to_string();
    for (topic, schema) in TOPICS {
        let file = environment::workspace().join(format!("schemas/{schema}.json"));
        let schema = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let mut draw = Draw::new(&schema, &now[..19], &mut rng);
        let lines: Vec<String> = (0..records).map(|_| format!("k\t{}\n", draw.record())).collect();
        // Compacted topics refuse records without a key.
        running.write_lines(&["-t", &named(topic), "-K", "\t"], &lines.concat());
    }

    let settled = shell::wait_for("the ledgers of all jobs", CAUGHT_UP, || {
        let ledgers = ledgers(&running);
        let is_settled = |(job, _): &(&str, &[_])| {
            ledgers.get(*job).is_some_and(|ledger| {
                let inputs = ledger["input"].as_object().unwrap();
                let own = inputs.iter().filter(|(topic, _)| !topic.ends_with("stream.ledger"));
                let mut own = own.peekable();
                own.peek().is_some() && own.all(|(_, input)| input["records"] == records)
            })
        };
        Ok(JOBS.iter().all(is_settled).then_some(()))
    });
    let ledgers = ledgers(&running);
    assert!(settled.is_ok(), "seed {seed}: {ledgers:#?}");
    let (mut refused, mut malformed) = (0, 0);
    for ledger in ledgers.values() {
        assert_eq!(ledger["balanced"], true, "{ledger:#}");
        let inputs = ledger["input"].as_object().unwrap().values();
        malformed += inputs.map(|input| input["malformed"].as_u64().unwrap()).sum::<u64>();
        for output in ledger["output"].as_object().unwrap().values() {
            refused += output["dropped"]["refused"].as_u64().unwrap_or_default();
        }
    }
    check_letters(&running, refused, malformed);
    for (job, tables) in JOBS {
        for (sink, table) in tables {
            let rows = if job == "store-clickhouse" {
                running.clickhouse_database(NAME, &format!("SELECT count() FROM {table} FINAL"))[0]
                    .clone()
            } else {
                query(&running, &format!("SELECT count(*) FROM {table}"))
            };
            let output = &ledgers[job]["output"][sink];
            assert_eq!(rows.trim(), output["written"].to_string(), "seed {seed}, {sink}: {output}");
            assert_ne!(output["written"], 0, "seed {seed}, {sink}");
        }
    }
    let files = folder.path().join("archive/**/*.parquet");
    let archived = format!("SELECT count() FROM file('{}')", files.display());
    let written = ledgers["store-archive"]["output"]["archive"]["written"].to_string();
    shell::wait_for("files of the archive", CAUGHT_UP, || {
        Ok((running.clickhouse(&archived) == [written.as_str()]).then_some(()))
    })
    .unwrap();
    for job in submitted {
        job.cancel().unwrap();
    }
}

/// Checks that each record that is no row has a dead letter: with the store's words, or with what is wrong with it.
fn check_letters(running: &Running, refused: u64, malformed: u64) {
    let mut letters: BTreeMap<String, u64> = BTreeMap::new();
    for text in running.topic(&named("dns.dlq")) {
        let letter: Value = serde_json::from_str(&text).unwrap();
        let detail = letter["detail"].as_str().unwrap();
        if letter["stage"] == "store" {
            assert_eq!(letter["reason"], "refused", "{letter}");
            let (sink, words) = detail.split_once(": ").unwrap();
            assert!(
                words.len() > 10 && sink.contains("db") || sink.contains("clickhouse"),
                "{letter}"
            );
        }
        *letters.entry(letter["stage"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let count = |stage: &str| letters.get(stage).copied().unwrap_or_default();
    assert_eq!((count("store"), count("stream")), (refused, malformed), "{letters:?}");
    // Else the test draws nothing that a store refuses.
    assert!(refused > 0 && malformed > 0, "{letters:?}");
}

/// The newest ledger of each job.
fn ledgers(running: &Running) -> BTreeMap<String, Value> {
    let all = running.topic(&named("dns.stream.ledger"));
    let all = all.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    all.map(|ledger| (ledger["job"].as_str().unwrap().to_owned(), ledger)).collect()
}

fn named(topic: &str) -> String {
    format!("{NAME}.{topic}")
}

fn query(running: &Running, statement: &str) -> String {
    running.timescaledb_database(NAME, statement)
}

fn submit(running: &Running, folder: &Path) -> Vec<FlinkJob> {
    let mut influxdb = running.stack().address(Component::InfluxDb).unwrap();
    create_bucket(&influxdb, NAME);
    influxdb["bucket"] = NAME.into();
    running.stack().timescaledb(&format!("CREATE DATABASE {NAME}")).unwrap();
    query(running, "CREATE EXTENSION timescaledb");
    let tables = running.stack().address(Component::TimescaleDb).unwrap();
    let (tables, _) = tables.as_str().unwrap().rsplit_once('/').unwrap();
    let config = json!({
        "version": 1,
        "kafka": { "brokers": running.brokers(), "topic_prefix": format!("{NAME}.") },
        "store": {
            "group": NAME,
            "stores": ["clickhouse", "timescaledb", "influxdb", "archive"],
        },
        "clickhouse": {
            "url": running.stack().address(Component::ClickHouse).unwrap(),
            "database": NAME,
            "retention": "18250d",
        },
        "timescaledb": { "url": jobs::jdbc(&format!("{tables}/{NAME}")) },
        "influxdb": influxdb,
        "archive": { "path": format!("file://{}", folder.join("archive").display()) },
        "checkpoints": { "interval": "2s" },
    });
    FlinkJob::submit_all(&running.stack(), folder, &JOBS.map(|(job, _)| job), &config).unwrap()
}

/// Creates a bucket of a test's own.
fn create_bucket(influxdb: &Value, name: &str) {
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
