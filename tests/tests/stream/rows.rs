//! What the topics and tables contain: the fields of the transactions, each once, also if an agent
//! sends them again; other records become dead letters.

use crate::accounts;
use crate::running::Shared;
use dnscribe_tests::environment::{self, lab_capture, stream_captures};
use dnscribe_tests::shell;
use dnscribe_tests::stack::Component;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Records that are no transactions, one a line; the second is of a newer version of the schema.
const MALFORMED: &str = "not json
{\"schema\":\"dns.transaction/2\",\"event_id\":\"00000000000000000000000000000000\"}
{\"schema\":\"dns.transaction/1\",\"event_id\":\"xyz\"}
";

#[test]
fn each_transaction_is_one_row_although_agents_send_them_again() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    // Killed while it sends; the next one sends all of it.
    running.replay_and_kill("n1", &stream_captures().unwrap(), Duration::from_millis(500));
    for node in ["n1", "n2"] {
        running.replay(node, &stream_captures().unwrap());
    }
    running.replay("n2", &stream_captures().unwrap());
    running.write_malformed(MALFORMED);
    let transactions = accounts::check(&running);

    for text in running.topic("dns.enriched") {
        let mut record: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["schema"], "dns.enriched/1");
        let transaction = &transactions[record["event_id"].as_str().unwrap()];
        record["schema"] = "dns.transaction/1".into();
        let record = record.as_object_mut().unwrap();
        record.retain(|field, _| transaction.get(field).is_some());
        assert_eq!(Some(&*record), transaction.as_object());
    }
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for text in running.topic("dns.dlq") {
        let letter: Value = serde_json::from_str(&text).unwrap();
        *reasons.entry(letter["reason"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let expected = ["field", "json", "schema"].map(|reason| (reason.to_owned(), 1));
    assert_eq!(reasons, expected.into());
    let undurable = running.clickhouse(
        "SELECT name FROM system.tables WHERE database = 'dns' AND engine LIKE '%MergeTree' AND name != 'dns_migrations' \
         AND NOT (engine_full LIKE '%fsync_after_insert = 1%' AND engine_full LIKE '%min_rows_to_fsync_after_merge = 1%')",
    );
    assert!(undurable.is_empty(), "{undurable:?}");
}

#[test]
fn a_node_whose_clock_is_wrong_disturbs_no_other() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let folder = tempfile::tempdir().unwrap();
    for (node, time) in [("right", now), ("slow", now - 3600), ("fast", now + 3600)] {
        let capture = folder.path().join(format!("{node}.pcap"));
        std::fs::write(&capture, moved_to(&std::fs::read(lab_capture()).unwrap(), time)).unwrap();
        running.replay(node, &[capture]);
    }
    let transactions = accounts::check(&running);
    let count = |node: &str| {
        transactions.values().filter(|record| record["node"] == node).count().to_string()
    };
    for node in ["right", "slow", "fast"] {
        let query = format!(
            "SELECT count() FROM dns_transactions FINAL WHERE node = '{node}' AND ts > now() - 86400"
        );
        assert_eq!(running.clickhouse(&query), [count(node)], "{node}");
        assert_ne!(count(node), "0");
    }
}

#[test]
fn each_use_lookup_and_connection_is_one_row_although_it_is_read_twice() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    for (stream, goldens, day, count) in [
        ("uses", include_str!("../../goldens/uses.ndjson"), "2026-11-26T", 3),
        ("lookups", include_str!("../../goldens/lookups.ndjson"), "2026-11-20T", 30),
        ("connections", include_str!("../../goldens/encrypted.ndjson"), "2026-11-20T", 16),
    ] {
        let (topic, ledger) = (format!("dns.{stream}"), "\"dns.ledger/1\"");
        // Old rows would expire.
        let lines = goldens.lines().filter(|line| !line.contains(ledger));
        let lines: String = lines.map(|line| line.replace(day, &today()) + "\n").collect();
        running.write_lines(&["-t", &topic], &lines.repeat(2));
        let counters = running.caught_up("store-clickhouse", &topic, 2 * count);
        let input = &counters["input"][&topic];
        assert_eq!([&input["unique"], &input["duplicates"]], [count, count], "{counters}");
        let rows = format!("SELECT count(), uniqExact(event_id) FROM dns_{stream} FINAL");
        assert_eq!(running.clickhouse(&rows), [format!("{count}\t{count}")]);
    }
    for (query, row) in [
        (
            "sum(count), anyIf(name, ttl_left_ms < 0), min(ttl_left_ms) FROM dns_uses",
            "5\tshop.example\t-30000",
        ),
        (
            "qname, duration_ms, packets_wasted, names_tried[1] FROM dns_lookups ORDER BY ts LIMIT 1",
            "www.example.com\t16.275128\t6\twww.example.com.shop.svc.cluster.test",
        ),
        (
            "protocol, sni, handshake_ms, resumed, ech FROM dns_connections ORDER BY ts LIMIT 1",
            "dot\tdns.lab.example\t1.234\tfalse\t\\N",
        ),
    ] {
        assert_eq!(running.clickhouse(&format!("SELECT {query}")), [row]);
    }
    accounts::check_balance(&running);
}

/// The date of today as records have it.
fn today() -> String {
    let now = dnscribe_record::time::Timestamp::now().to_string();
    now.get(..11).unwrap().to_owned()
}

#[test]
fn a_report_of_the_store_is_that_of_its_records() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    running.replay("report", &stream_captures().unwrap());
    let transactions = accounts::check(&running);
    let mut records: Vec<&Value> = transactions.values().collect();
    records.sort_by_key(|record| (record["ts"].as_str(), record["event_id"].as_str()));
    let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    for record in records {
        writeln!(file, "{record}").unwrap();
    }
    let store = running.stack().address(Component::ClickHouse).unwrap();
    let report = |input: &[&str]| {
        let mut report = Command::new(environment::binary().unwrap());
        report.arg("report").args(input).args(["--from", "1980-01-01T00:00:00Z"]);
        let output = shell::output(report.stdin(Stdio::null())).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let of_store = report(&["--store", store.as_str().unwrap()]);
    let of_records = report(&[file.path().to_str().unwrap()]);
    for part in ["timeline", "resolvers", "zones", "names", "processes", "evidence"] {
        let section = |html: &str| {
            let start = html.find(&format!("<section id=\"{part}\">")).unwrap();
            let end = start + html[start..].find("</section>").unwrap();
            html[start..end].replace("><", ">\n<")
        };
        let (ours, theirs) = (section(&of_store), section(&of_records));
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs, "{part}");
        }
        assert_eq!(ours.len(), theirs.len(), "{part}");
    }
}

/// Returns a little-endian pcap file with the packets' times moved so that the first is at `time`,
/// in seconds since the epoch.
pub fn moved_to(pcap: &[u8], time: u64) -> Vec<u8> {
    const HEADER: usize = 24;
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!(matches!(number(pcap, 0), 0xa1b2_c3d4 | 0xa1b2_3c4d), "not little-endian");
    let mut moved = pcap.to_vec();
    let first = number(pcap, HEADER);
    let mut at = HEADER;
    while at < pcap.len() {
        let seconds = u32::try_from(time).unwrap() + number(pcap, at) - first;
        moved[at..at + 4].copy_from_slice(&seconds.to_le_bytes());
        at += 16 + number(pcap, at + 8) as usize;
    }
    moved
}
