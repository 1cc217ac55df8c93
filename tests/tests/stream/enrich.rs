//! What the job `enrich` adds to the transactions of a capture, in the topic and, by the job `store`, in the table, from JSON and from Avro
//! with a schema registry. It is a job of its own with the topics of a sandbox, so that it knows zones and indicators
//! from its first record on.

use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::environment::{self, lab_capture};
use dnscribe_tests::flink_job::FlinkJob;
use dnscribe_tests::registry::Registry;
use dnscribe_tests::stack::Component;
use dnscribe_tests::{geo, shell};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// Fields that the job adds.
const ADDED: [&str; 6] = ["client_geo", "server_geo", "answers_geo", "zone_meta", "intel", "name"];
/// Before the name of each topic.
const PREFIX: &str = "sandbox.";
const DATABASE: &str = "sandbox";

/// Topics and tables beside those of the other tests.
struct Sandbox<'a> {
    running: &'a Running,
    registry: Registry,
    folder: tempfile::TempDir,
}

impl Sandbox<'_> {
    fn submit(&mut self) -> Vec<FlinkJob> {
        let databases = geo::prepare().unwrap();
        let config = json!({
            "version": 1,
            "kafka": {
                "brokers": self.running.brokers(),
                "registry": { "url": self.registry.url() },
                "topic_prefix": PREFIX,
            },
            "enrich": {
                "group": "sandbox-enrich",
                "geo": {
                    "city": databases.join("GeoLite2-City-Test.mmdb"),
                    "asn": databases.join("GeoLite2-ASN-Test.mmdb"),
                },
            },
            "store": { "group": "sandbox-store", "stores": ["clickhouse"] },
            "clickhouse": {
                "url": self.running.stack().address(Component::ClickHouse).unwrap(),
                "database": DATABASE,
                "retention": "18250d",
            },
            "checkpoints": { "interval": "2s" },
        });
        let jobs = ["enrich", "store-clickhouse"];
        FlinkJob::submit_all(&self.running.stack(), self.folder.path(), &jobs, &config).unwrap()
    }

    /// Replays the capture as a node.
    fn replay(&self, node: &str, words: &[&str]) -> Command {
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").arg(lab_capture()).args(["--stream", "transactions"]).args(words);
        replay.args(["--brokers", self.running.brokers()]).env("DNSCRIBE_NODE", node);
        replay.env("DNSCRIBE_KAFKA__TOPIC_PREFIX", PREFIX);
        replay.env("DNSCRIBE_KAFKA__REGISTRY__URL", self.registry.url());
        replay
    }

    /// Transactions of the capture as a node would write them, in JSON.
    fn expected(&self, node: &str) -> Vec<String> {
        let output = shell::output(&mut self.replay(node, &["--sink", "stdout", "-o", "json"]))
            .unwrap()
            .stdout;
        String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
    }

    /// Writes records with their keys to a topic; a record without a value removes its key.
    fn write(&self, name: &str, records: &[(&str, &str)]) {
        let lines: Vec<_> =
            records.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect();
        self.running.write_lines(&["-t", &topic(name), "-K", "\t", "-Z"], &lines.concat());
    }

    /// Enriched records of a node, by event id, once all of them are there.
    fn enriched(&self, node: &str, count: usize) -> BTreeMap<String, String> {
        shell::wait_for("enriched records", CAUGHT_UP, || {
            let mut found = BTreeMap::new();
            for text in self.running.topic(&topic("enriched")) {
                let record: Value = serde_json::from_str(&text)?;
                if record["node"] == node {
                    found.insert(record["event_id"].as_str().unwrap().to_owned(), text);
                }
            }
            Ok((found.len() >= count).then_some(found))
        })
        .unwrap()
    }

    /// Returns the only row of a query of the sandbox's tables.
    fn query(&mut self, statement: &str) -> String {
        self.running.clickhouse_database(DATABASE, statement).join("\n")
    }
}

/// Name of a topic of the sandbox.
fn topic(name: &str) -> String {
    format!("{PREFIX}dns.{name}")
}

fn operator_record(schema: &str, fields: &Value) -> String {
    let mut record = json!({
        "schema": schema, "event_id": "0".repeat(32), "ts": "2026-01-02T03:04:05Z", "node": "n",
    });
    let fields = fields.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(fields);
    record.to_string()
}

fn indicator(text: &str, kind: &str) -> String {
    let fields = json!({ "indicator": text, "kind": kind, "source": "list", "confidence": 80 });
    operator_record("dns.intel/1", &fields)
}

/// Checks that each transaction is unchanged in its enriched record, byte for byte.
fn assert_unchanged(transactions: &[String], enriched: &BTreeMap<String, String>) {
    assert_eq!(enriched.len(), transactions.len());
    for text in transactions {
        let record: Value = serde_json::from_str(text).unwrap();
        let found = &enriched[record["event_id"].as_str().unwrap()];
        let unchanged = text.replacen("dns.transaction/1", "dns.enriched/1", 1);
        let unchanged = unchanged.strip_suffix('}').unwrap();
        assert!(found.starts_with(unchanged), "{found}\nis not\n{text}");
    }
}

#[test]
fn enriches_from_json_and_avro_alike() {
    let Some(shared) = Shared::get() else { return };
    let folder = tempfile::tempdir().unwrap();
    // It starts while other tests use the stack.
    let registry = Registry::up(folder.path()).unwrap();
    let running = shared.beside();
    let mut sandbox = Sandbox { running: &running, registry, folder };
    // The topics are there before the job: it must know all of this from its first record on.
    let zone = |zone: &str, owner: &str| {
        operator_record("dns.zone/1", &json!({ "zone": zone, "owner": owner, "tier": "1" }))
    };
    let zones = [("com", zone("com", "registry")), ("example.com", zone("example.com", "dns"))];
    sandbox.write("zones", &zones.each_ref().map(|(key, value)| (*key, value.as_str())));
    sandbox.write(
        "intel",
        &[
            ("192.0.2.0/24", &indicator("192.0.2.0/24", "prefix")),
            ("alias.example.com", &indicator("alias.example.com", "domain")),
            ("www.example.com", &indicator("www.example.com", "domain")),
            ("www.example.com", ""),
            ("x", "not json"),
        ],
    );
    let submitted = sandbox.submit();
    shell::output(&mut sandbox.replay("json", &["--sink", "kafka"])).unwrap();
    let mut avro = sandbox.replay("avro", &["--sink", "kafka"]);
    shell::output(avro.env("DNSCRIBE_KAFKA__FORMAT", "avro")).unwrap();

    let transactions = sandbox.expected("json");
    let from_json = sandbox.enriched("json", transactions.len());
    let from_avro = sandbox.enriched("avro", transactions.len());
    assert_unchanged(&transactions, &from_json);
    assert_unchanged(&sandbox.expected("avro"), &from_avro);
    let added = |records: &BTreeMap<String, String>| {
        let mut all: Vec<String> = records
            .values()
            .map(|text| {
                let record: Value = serde_json::from_str(text).unwrap();
                let added = ADDED.map(|field| record[field].to_string());
                format!("{} {} {}", record["ts"], record["client_port"], added.join(" "))
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(added(&from_json), added(&from_avro));

    let records = from_json.values().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let record = records.into_iter().find(|one| one["qname"] == "alias.example.com").unwrap();
    assert_eq!(record["zone_meta"], json!({ "owner": "dns", "tier": "1" }));
    let details = json!({ "source": "list", "confidence": 80 });
    let intel =
        [("alias.example.com", "domain"), ("192.0.2.0/24", "prefix")].map(|(text, kind)| {
            let mut one = details.clone();
            one["indicator"] = text.into();
            one["kind"] = kind.into();
            one
        });
    assert_eq!(record["intel"], json!(intel));
    assert_eq!(record["name"]["class"], "words");

    // A change reaches the job while it runs.
    sandbox.write("zones", &[("example.com", &zone("example.com", "other"))]);
    let counts = shell::wait_for("the tables' records in the ledger", CAUGHT_UP, || {
        let ledgers = sandbox.running.topic(&topic("stream.ledger"));
        let ledgers = ledgers.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
        let ledger = ledgers.rev().find(|ledger| ledger["job"] == "enrich");
        Ok(ledger
            .map(|ledger| ledger["input"].clone())
            .filter(|input| input[topic("zones")]["records"] == 3))
    })
    .unwrap();
    let intel =
        ["records", "unique", "duplicates", "malformed"].map(|name| &counts[topic("intel")][name]);
    assert_eq!(intel, [5, 4, 0, 1]);
    shell::output(&mut sandbox.replay("later", &["--sink", "kafka"])).unwrap();
    let later = sandbox.enriched("later", transactions.len());
    assert!(later.values().all(|text| !text.contains("\"owner\":\"dns\"")));

    let all = [from_json, from_avro, later];
    let all: Vec<&String> = all.iter().flat_map(BTreeMap::values).collect();
    let with = |part: &str| all.iter().filter(|text| text.contains(part)).count();
    let expected =
        [all.len(), with("\"zone_meta\":"), with("\"intel\":"), with("\"class\":\"words\"")];
    let expected = expected.map(|count| count.to_string()).join("\t");
    let mut rows = String::new();
    let waited = shell::wait_for("rows", CAUGHT_UP, || {
        rows = sandbox.query(
            "SELECT count(), countIf(zone_meta.owner != ''), countIf(notEmpty(intel)), \
             countIf(name.class = 'words') FROM dns_transactions FINAL",
        );
        Ok((rows == expected).then_some(()))
    });
    assert!(waited.is_ok(), "{rows}, not {expected}");
    let views = sandbox.query("SELECT uniqCombined64Merge(12)(transactions) FROM dns_names_1h");
    assert_eq!(views, all.len().to_string());
    for query in documented_queries() {
        sandbox.query(&query);
    }
    for job in submitted {
        job.cancel().unwrap();
    }
}

/// The statements of the page of queries.
fn documented_queries() -> Vec<String> {
    let page = environment::workspace().join("docs/queries.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```sql\n").skip(1);
    let queries: Vec<String> =
        blocks.map(|block| block.split_once(";\n```").unwrap().0.to_owned()).collect();
    assert_eq!(queries.len(), 22);
    queries
}
