//! The stream jobs with a real Kafka broker, Flink cluster, `ClickHouse` engine and `TimescaleDB`:
//! every transaction that the agent wrote is one row, although the store and the task manager were
//! killed.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_tests::stack::{Component, Stack, jobs};
use dnscribe_tests::{environment, http, shell};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Time limit for the job to reach the end of its topic, on a busy machine and with a restart.
const CAUGHT_UP: Duration = Duration::from_secs(300);
/// Records that are no transactions, one a line.
const MALFORMED: &str = "not json
{\"schema\":\"dns.transaction/2\",\"event_id\":\"00000000000000000000000000000000\"}
{\"schema\":\"dns.transaction/1\",\"event_id\":\"xyz\"}
";

/// A stack that ends with the test.
struct Running {
    stack: Option<Stack>,
    brokers: String,
    _folder: tempfile::TempDir,
}

impl Running {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stack = Stack::open(folder.path()).unwrap();
        for component in
            [Component::Kafka, Component::Flink, Component::TimescaleDb, Component::ClickHouse]
        {
            stack.start(component).unwrap();
        }
        // The captures are of past years.
        jobs::submit(&stack, &[("retention", "18250d")]).unwrap();
        let brokers = stack.kafka().unwrap();
        Self { stack: Some(stack), brokers, _folder: folder }
    }

    fn stack(&mut self) -> &mut Stack {
        self.stack.as_mut().unwrap()
    }

    /// Writes the transactions of the captures to Kafka, as those of a node.
    fn replay(&self, node: &str) {
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").args(captures()).args(["--sink", "kafka", "--stream", "transactions"]);
        replay.args(["--brokers", &self.brokers]).env("DNSCRIBE_NODE", node);
        shell::output(&mut replay).unwrap();
    }

    fn write_malformed(&self) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-P", "-t", "dns.normalized"]).stdin(Stdio::piped());
        let mut child = kcat.spawn().unwrap();
        child.stdin.take().unwrap().write_all(MALFORMED.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Committed records of a topic, one text each.
    fn topic(&self, name: &str) -> Vec<String> {
        let committed = ["-X", "isolation.level=read_committed"];
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-C", "-t", name, "-e", "-q"]).args(committed);
        let text = String::from_utf8(shell::output(&mut kcat).unwrap().stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn ledger(&self) -> Option<Value> {
        serde_json::from_str(self.topic("dns.stream.ledger").last()?).ok()
    }

    /// Event ids of the table's rows, sorted.
    fn rows(&mut self) -> Vec<String> {
        let url = self.stack().address(Component::ClickHouse).unwrap();
        let address: SocketAddr = url.as_str().unwrap()["http://".len()..].parse().unwrap();
        let query = b"SELECT event_id FROM dns_transactions FINAL ORDER BY event_id";
        let answer = http::send(address, "POST", "/?database=dns", "", query).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body.lines().map(str::to_owned).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stack) = self.stack.take() {
            // A failing test says more than a failing end.
            let _ = stack.down();
        }
    }
}

/// Real captures, or the project's own where they are missing.
fn captures() -> Vec<PathBuf> {
    let own = environment::workspace().join("tests/goldens/lab.pcap");
    let Some(corpus) = environment::corpus() else { return vec![own; 12] };
    let programs = ["dns-collector", "packetbeat", "suricata-verify", "wireshark", "zeek"];
    let folders = programs.map(|name| corpus.join("pcap").join(name));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "pcap"));
    files.sort();
    files.push(own);
    files
}

#[test]
fn each_transaction_is_one_row_after_store_and_task_manager_were_killed() {
    if !environment::privileged() {
        return;
    }
    let mut running = Running::up();
    for node in ["n1", "n2", "n3"] {
        running.replay(node);
    }
    shell::wait_for("the first ledger", CAUGHT_UP, || Ok(running.ledger())).unwrap();
    running.stack().kill_clickhouse().unwrap();
    running.replay("n4");
    running.stack().start(Component::ClickHouse).unwrap();
    running.stack().restart_task_manager().unwrap();
    running.replay("n5");
    // An agent that was killed sends records again.
    running.replay("n2");
    running.write_malformed();

    let written = running.topic("dns.normalized");
    let malformed = MALFORMED.lines().count();
    let mut transactions = BTreeMap::new();
    for text in &written {
        let Ok(record) = serde_json::from_str::<Value>(text) else { continue };
        if record["schema"] == "dns.transaction/1" && record["node"].is_string() {
            let id = record["event_id"].as_str().unwrap().to_owned();
            transactions.insert(id, record);
        }
    }
    let total = written.len() as u64;
    let ledger = shell::wait_for("the end of the topic", CAUGHT_UP, || {
        let ledger = running.ledger();
        Ok(ledger.filter(|ledger| ledger["input"]["dns.normalized"]["records"] == total))
    })
    .unwrap();
    let input = &ledger["input"]["dns.normalized"];
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(input["unique"], transactions.len() as u64, "{ledger}");
    assert_eq!(input["malformed"], malformed as u64, "{ledger}");
    assert_eq!(ledger["output"]["clickhouse"]["written"], input["unique"], "{ledger}");

    let enriched: Vec<Value> = running
        .topic("dns.enriched")
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    assert_eq!(enriched.len(), transactions.len(), "a record is missing or there twice");
    for mut record in enriched {
        assert_eq!(record["schema"], "dns.enriched/1");
        record["schema"] = "dns.transaction/1".into();
        record.as_object_mut().unwrap().remove("name");
        assert_eq!(record, transactions[record["event_id"].as_str().unwrap()]);
    }
    let letters = running.topic("dns.dlq");
    let reasons: BTreeSet<String> = letters
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["reason"].as_str().unwrap().into())
        .collect();
    assert_eq!(letters.len(), malformed);
    assert_eq!(reasons, ["field", "json", "schema"].map(str::to_owned).into());

    let ledgers = running.topic("dns.stream.ledger").len();
    let statement = "SELECT count(*), bool_and(balanced) FROM stream_ledger";
    // The row of a checkpoint is written just after the record of that checkpoint is committed.
    shell::wait_for("rows of the ledger", CAUGHT_UP, || {
        let rows = running.stack().timescaledb(statement)?;
        let (count, balanced) = rows.trim().split_once('|').unwrap();
        assert_eq!(balanced, "t");
        Ok((count.parse::<usize>()? >= ledgers).then_some(()))
    })
    .unwrap();

    // Some captures have made-up times in 1970, which retention removes.
    let kept: Vec<&String> = transactions
        .iter()
        .filter(|(_, record)| record["ts"].as_str().unwrap() > "1980")
        .map(|(id, _)| id)
        .collect();
    let rows = running.rows();
    let kept_rows: Vec<&String> = rows
        .iter()
        .filter(|id| transactions[id.as_str()]["ts"].as_str().unwrap() > "1980")
        .collect();
    assert_eq!(kept_rows, kept, "rows and transactions differ");
}
