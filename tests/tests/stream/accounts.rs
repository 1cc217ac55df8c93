//! Comparison of what was written to Kafka with topics, tables and ledger, to the unit.

use crate::running::{CAUGHT_UP, Running};
use dnscribe_tests::shell;
use dnscribe_tests::stack::jobs;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Waits until the job has read every record that was written, and checks that each transaction is
/// in the topic and in the table once, each malformed record is a dead letter, and the ledger
/// counts exactly these. Returns the transactions by event id.
pub fn check(running: &Running) -> BTreeMap<String, Value> {
    let written = running.topic("dns.normalized");
    let transactions: BTreeMap<String, Value> =
        written.iter().filter_map(|text| transaction(text)).collect();
    let ledger = running.caught_up(jobs::ENRICH, "dns.normalized", written.len() as u64);
    let (unique, malformed) = (transactions.len() as u64, running.malformed());
    let input = &ledger["input"]["dns.normalized"];
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(input["unique"], unique, "{ledger}");
    assert_eq!(input["malformed"], malformed, "{ledger}");
    for (sink, records) in [("dns.enriched", unique), ("dns.dlq", malformed)] {
        assert_eq!(ledger["output"][sink]["written"], records, "{sink}: {ledger}");
    }
    // Some captures have made-up times in 1970, which ClickHouse would not keep.
    let recent = |id: &&String| transactions[*id]["ts"].as_str().unwrap() > "1980";
    let kept: Vec<&String> = transactions.keys().filter(recent).collect();
    let stores = [("clickhouse", kept.len() as u64), ("archive", unique)];
    for (sink, written) in stores {
        let ledger = running.caught_up(&format!("store-{sink}"), "dns.enriched", unique);
        assert_eq!(ledger["balanced"], true, "{ledger}");
        assert_eq!(ledger["input"]["dns.enriched"]["unique"], unique, "{ledger}");
        assert_eq!(ledger["output"][sink]["written"], written, "{sink}: {ledger}");
    }

    let enriched = running.topic("dns.enriched");
    let ids: Vec<String> = enriched.iter().map(|text| field(text, "event_id")).collect();
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(ids.len(), distinct.len(), "a record is in dns.enriched twice");
    let missing = transactions.keys().filter(|id| !distinct.contains(id)).count();
    assert_eq!((missing, ids.len()), (0, transactions.len()), "missing in dns.enriched");
    let letters = running.topic("dns.dlq");
    let distinct: BTreeSet<String> = letters.iter().map(|text| field(text, "event_id")).collect();
    assert_eq!((letters.len() as u64, distinct.len()), (malformed, letters.len()), "dead letters");

    let rows = running.clickhouse("SELECT event_id FROM dns_transactions FINAL ORDER BY event_id");
    assert!(
        rows.iter().eq(kept.iter().copied()),
        "{} rows, {} transactions",
        rows.len(),
        kept.len()
    );

    // Files get their names just after the record of their checkpoint is committed.
    let files = running.archive().join("**/*.parquet");
    let query = format!("SELECT count(), uniqExact(event_id) FROM file('{}')", files.display());
    let wanted = format!("{unique}\t{unique}");
    let archived = || Ok((running.clickhouse(&query) == [wanted.as_str()]).then_some(()));
    let waited = shell::wait_for("files of the archive", CAUGHT_UP, archived);
    assert!(waited.is_ok(), "archived: {:?}, not {wanted}", running.clickhouse(&query));

    let ledgers = running.topic("dns.stream.ledger").len();
    let statement =
        "SELECT count(*), count(DISTINCT event_id), bool_and(balanced) FROM stream_ledger";
    // The row of a checkpoint is written just after the record of that checkpoint is committed.
    shell::wait_for("rows of the ledger", CAUGHT_UP, || {
        let Ok(rows) = running.stack().timescaledb(statement) else { return Ok(None) };
        let [count, distinct, balanced] =
            rows.trim().split('|').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((count, balanced), (distinct, "t"));
        Ok((count.parse::<usize>()? >= ledgers).then_some(()))
    })
    .unwrap();
    check_balance(running);
    transactions
}

/// Checks that `ledger verify` closes from the nodes' ledgers to the rows of all stores.
pub fn check_balance(running: &Running) {
    let closes = shell::wait_for("the balance", CAUGHT_UP, || {
        Ok(running.verify().status.success().then_some(()))
    });
    if closes.is_err() {
        let found = running.verify();
        let [text, errors] =
            [&found.stdout, &found.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(found.status.success(), "{text}{errors}");
    }
}

/// Returns the event id and the record, if it is one of an agent.
fn transaction(text: &str) -> Option<(String, Value)> {
    let record: Value = serde_json::from_str(text).ok()?;
    let is_ours = record["schema"] == "dns.transaction/1" && record["node"].is_string();
    is_ours.then(|| (record["event_id"].as_str().unwrap().to_owned(), record))
}

fn field(text: &str, name: &str) -> String {
    let record: Value = serde_json::from_str(text).unwrap();
    record[name].as_str().unwrap().to_owned()
}
