//! The archive, read by Apache Arrow and `ClickHouse`: each record of `dns.enriched` is in one Parquet
//! file, with all its fields.

use crate::accounts;
use crate::running::Shared;
use dnscribe_tests::environment::stream_captures;
use serde_json::Value;
use std::collections::BTreeMap;

/// Columns that `ClickHouse` compares with those of its own table. It reads decimal numbers from JSON
/// with an error in their last bits, and has no tuples without a value.
const COLUMNS: &str = "event_id, toUnixTimestamp64Nano(ts), node, ifNull(qname, ''), ifNull(rcode, ''), \
                       round(latency_ms, 6), flags, min_ttl_seconds, ifNull(tupleElement(name, 'label_count'), 0)";

#[test]
fn other_readers_find_every_field_of_every_record() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    running.replay("archive", &stream_captures().unwrap());
    accounts::check(&running);

    let topic = running.topic("dns.enriched");
    let by_id = |records: Vec<Value>| -> BTreeMap<String, Value> {
        let id = |record: &Value| record["event_id"].as_str().unwrap().to_owned();
        records.into_iter().map(|record| (id(&record), record)).collect()
    };
    let expected = by_id(topic.iter().map(|text| serde_json::from_str(text).unwrap()).collect());
    let archived = by_id(dnscribe_tests::archive::read(&running.archive()).unwrap());
    assert_eq!(archived.len(), expected.len());
    for (id, record) in &expected {
        assert_eq!(&archived[id], record);
    }

    let files = running.archive().join("**/*.parquet");
    let theirs =
        format!("SELECT {COLUMNS} FROM file('{}') WHERE ts > '1980-01-01'", files.display());
    let ours = format!("SELECT {COLUMNS} FROM dns_transactions FINAL WHERE ts > '1980-01-01'");
    for (left, right) in [(&theirs, &ours), (&ours, &theirs)] {
        let different = format!("SELECT * FROM ({left} EXCEPT {right}) LIMIT 3");
        assert_eq!(running.clickhouse(&different), [""; 0]);
    }
}
