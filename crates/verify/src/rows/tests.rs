//! Tests of ledgers of jobs beside topics and rows.

use super::*;
use serde_json::json;

fn record(checkpoint: u64, unique: u64, duplicates: u64, malformed: u64) -> Vec<u8> {
    let records = unique + duplicates + malformed;
    let dropped = json!({"refused": 1});
    json!({
        "schema": "dns.stream.ledger/1", "event_id": format!("{checkpoint:032x}"),
        "ts": "2026-11-20T07:30:00Z", "node": "enrich", "job": "enrich",
        "checkpoint": checkpoint, "late": 0, "balanced": true,
        "input": {"dns.normalized": {"records": records, "unique": unique,
            "duplicates": duplicates, "malformed": malformed}},
        "output": {"clickhouse": {"records": unique, "written": unique - 1, "dropped": dropped}},
    })
    .to_string()
    .into_bytes()
}

fn compare(ledgers: &StreamLedgers, totals: TopicTotals) -> (Findings, Findings) {
    let (mut notes, mut problems) = (Findings::default(), Findings::default());
    let topics = [("dns.normalized".to_owned(), totals)].into();
    assert_eq!(ledgers.compare(&topics, &mut notes, &mut problems).len(), 1);
    (notes, problems)
}

fn totals(records: u64, distinct: u64, unreadable: u64) -> TopicTotals {
    let found = FoundTotals { records, distinct, ..FoundTotals::default() };
    TopicTotals { found, unreadable, has_gaps: false }
}

#[test]
fn newest_checkpoint_of_each_run_counts() {
    let mut ledgers = StreamLedgers::default();
    for checkpoint in [1, 2, 2, 3] {
        ledgers.add(&record(checkpoint, 10 * checkpoint, 2, 1)).unwrap();
    }
    assert_eq!((ledgers.malformed("dns.normalized"), ledgers.dropped("clickhouse")), (1, Some(1)));
    let (notes, problems) = compare(&ledgers, totals(32, 30, 1));
    assert!(notes.is_empty() && problems.is_empty(), "{problems:?}");
    ledgers.add(&record(1, 5, 0, 0)).unwrap();
    let (notes, problems) = compare(&ledgers, totals(32, 30, 1));
    assert!(!notes.is_empty() && problems.is_empty());
    assert_eq!(ledgers.dropped("influxdb"), None);
}

/// Returns a record of a job that went on from a checkpoint with as many records.
fn restored(checkpoint: u64, records: u64, from: (u64, u64)) -> Vec<u8> {
    let mut value: serde_json::Value =
        serde_json::from_slice(&record(checkpoint, records, 0, 0)).unwrap();
    let output = serde_json::from_slice::<serde_json::Value>(&record(from.0, from.1, 0, 0));
    value["event_id"] = format!("f{checkpoint:031x}").into();
    value["restored"] = json!({"checkpoint": from.0, "output": output.unwrap()["output"]});
    value.to_string().into_bytes()
}

#[test]
fn counters_before_an_older_savepoint_count_once() {
    let mut ledgers = StreamLedgers::default();
    for checkpoint in [1, 2, 3] {
        ledgers.add(&record(checkpoint, 10 * checkpoint, 0, 0)).unwrap();
    }
    let check = |ledgers: &StreamLedgers, records: u64, written: u64| {
        let (notes, problems) = compare(ledgers, totals(records, records, 0));
        assert!(notes.is_empty() && problems.is_empty(), "{notes:?} {problems:?}");
        assert!(!compare(ledgers, totals(records - 1, records - 1, 0)).1.is_empty());
        assert_eq!(
            (ledgers.written("clickhouse"), ledgers.dropped("clickhouse")),
            (written, Some(1))
        );
    };
    check(&ledgers, 30, 29);
    // It writes the 20th to the 30th again.
    ledgers.add(&restored(3, 31, (2, 20))).unwrap();
    check(&ledgers, 31, 10 + 30);
    // A failure: it goes on from its own newest checkpoint.
    ledgers.add(&restored(5, 40, (3, 31))).unwrap();
    check(&ledgers, 40, 10 + 39);
    // Back once more, after failed checkpoints: the number of its first record is larger than the last one.
    ledgers.add(&restored(9, 45, (2, 20))).unwrap();
    check(&ledgers, 45, 10 + 20 + 44);
}

#[test]
fn records_that_the_store_would_not_keep_are_not_dropped() {
    let mut ledger: serde_json::Value = serde_json::from_slice(&record(1, 30, 0, 0)).unwrap();
    ledger["output"]["clickhouse"]["written"] = 27.into();
    ledger["output"]["clickhouse"]["dropped"]["expired"] = 2.into();
    let mut ledgers = StreamLedgers::default();
    ledgers.add(ledger.to_string().as_bytes()).unwrap();
    assert_eq!(ledgers.dropped("clickhouse"), Some(1));
}

#[test]
fn every_missing_unit_is_found() {
    let mut ledgers = StreamLedgers::default();
    ledgers.add(&record(1, 30, 2, 1)).unwrap();
    for wrong in [totals(33, 31, 1), totals(31, 29, 1), totals(32, 29, 1), totals(32, 31, 1)] {
        let (_, problems) = compare(&ledgers, wrong);
        assert!(!problems.is_empty(), "{wrong:?}");
    }
    // The job finds a field wrong that is not looked at here.
    assert!(compare(&ledgers, totals(33, 31, 0)).1.is_empty());
    let mut broken: serde_json::Value = serde_json::from_slice(&record(2, 1, 0, 0)).unwrap();
    broken["input"]["dns.normalized"]["records"] = json!(2);
    assert!(ledgers.add(broken.to_string().as_bytes()).is_err());
}

/// An agent sends from its spool what a job no longer remembers.
#[test]
fn copies_that_come_late_are_a_note() {
    let mut ledgers = StreamLedgers::default();
    ledgers.add(&record(1, 30, 2, 0)).unwrap();
    let with_late = |late_copies| {
        let mut totals = totals(32, 27, 0);
        totals.found.late_copies = late_copies;
        compare(&ledgers, totals)
    };
    let (notes, problems) = with_late(3);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(notes.shown[0].contains("3 copies") && notes.shown[0].contains("enrich.deduplicate"));
    let (notes, problems) = with_late(2);
    assert!(notes.is_empty() && !problems.is_empty(), "the third one came in time");
}

#[test]
fn records_after_the_newest_checkpoint_are_no_loss() {
    let counted = |minutes: u64, records: u64, offset: i64| {
        let mut ledgers = StreamLedgers::default();
        let mut value: serde_json::Value =
            serde_json::from_slice(&record(1, records, 0, 0)).unwrap();
        value["ts"] = Timestamp::now().minus(Duration::from_secs(60 * minutes)).to_string().into();
        value["input"]["dns.normalized"]["offsets"] = json!({"1": offset});
        ledgers.add(value.to_string().as_bytes()).unwrap();
        for offset in 0..10 {
            ledgers.count("dns.normalized", 1, offset);
        }
        ledgers.count("dns.normalized", 2, 0);
        compare(&ledgers, totals(11, 11, 0))
    };
    let (notes, problems) = counted(0, 7, 7);
    assert!(!notes.is_empty() && problems.is_empty(), "{problems:?}");
    assert!(!counted(0, 6, 7).1.is_empty(), "one is missing");
    assert!(!counted(0, 8, 7).1.is_empty(), "one too many");
    assert!(!counted(3, 7, 7).1.is_empty(), "the job has stopped");
}

#[test]
fn topics_have_what_jobs_say_that_they_wrote() {
    let written = |checkpoint: u64, minutes: u64, count: u64| {
        let mut value: serde_json::Value =
            serde_json::from_slice(&record(checkpoint, 1, 0, 0)).unwrap();
        value["ts"] = Timestamp::now().minus(Duration::from_secs(60 * minutes)).to_string().into();
        value["output"]["dns.fleet"] = json!({"records": count, "written": count});
        value.to_string().into_bytes()
    };
    let compare = |ledgers: &StreamLedgers, found, has_gaps| {
        let (mut notes, mut problems) = (Findings::default(), Findings::default());
        let both = (ledgers, ledgers);
        OutputLine::compare("dns.fleet", found, both, has_gaps, &mut notes, &mut problems);
        (notes.shown, problems.shown)
    };
    let mut ledgers = StreamLedgers::default();
    // A run, then one without its state.
    for (checkpoint, count) in [(7, 1000), (1, 3000), (2, 3090)] {
        ledgers.add(&written(checkpoint, 2, count)).unwrap();
    }
    assert_eq!(ledgers.outputs(), ["clickhouse", "dns.fleet"].into());
    assert_eq!(compare(&ledgers, 4090, false), (vec![], vec![]));
    let lost = "dns.fleet: the jobs say that they have written 4090 records, 4042 were found: \
                48 missing";
    assert_eq!(compare(&ledgers, 4042, false), (vec![], vec![lost.to_owned()]));
    assert!(compare(&ledgers, 4042, true).1.is_empty());
    assert_eq!(compare(&ledgers, 4091, false).1.len(), 1);
    // The newest checkpoint's topics may still be committed.
    ledgers.add(&written(3, 0, 3100)).unwrap();
    for found in [4090, 4100] {
        assert_eq!(compare(&ledgers, found, false), (vec![], vec![]));
    }
    assert_eq!(compare(&ledgers, 4089, false).1.len(), 1);
}

#[test]
fn others_topics_are_compared_by_offsets() {
    let compare = |minutes: u64, runs: &[u64], offset: Option<i64>| {
        let mut ledgers = StreamLedgers::default();
        for records in runs {
            let mut value: serde_json::Value =
                serde_json::from_slice(&record(1, *records, 0, 0)).unwrap();
            value["event_id"] = format!("{records:032x}").into();
            value["ts"] =
                Timestamp::now().minus(Duration::from_secs(60 * minutes)).to_string().into();
            if let Some(offset) = offset {
                value["input"]["dns.normalized"]["offsets"] = json!({"0": offset});
            }
            ledgers.add(value.to_string().as_bytes()).unwrap();
        }
        // Every other offset is that of a transaction's end.
        for offset in 0..37 {
            ledgers.count("dns.normalized", 0, 2 * offset);
        }
        let (mut notes, mut problems) = (Findings::default(), Findings::default());
        let mut lines = ledgers.compare(&BTreeMap::new(), &mut notes, &mut problems);
        ledgers.compare_read(&mut lines[0], 37, &mut notes, &mut problems);
        (lines[0].unread, notes.shown.len(), problems.shown.len())
    };
    assert_eq!(compare(0, &[37], Some(74)), (0, 0, 0));
    assert_eq!(compare(0, &[30], Some(60)), (7, 1, 0), "seven came later");
    assert_eq!(compare(3, &[30], Some(60)), (7, 0, 1), "the job does not run");
    assert_eq!(compare(0, &[10], Some(74)), (0, 1, 0), "it began later, and has read all");
    assert_eq!(compare(0, &[31], Some(60)), (7, 1, 1), "one too many");
    // The sum of two runs hides nothing that is not read.
    assert_eq!(compare(0, &[25, 30], Some(60)), (7, 2, 0));
    assert_eq!(compare(0, &[30], None), (7, 1, 0), "a ledger without offsets");
}

#[test]
fn partitions_without_records_since_a_new_run_are_read() {
    let mut ledgers = StreamLedgers::default();
    for (id, offsets) in [(1, json!({"0": 3, "1": 2})), (2, json!({"0": 5}))] {
        let mut value: serde_json::Value = serde_json::from_slice(&record(1, 5, 0, 0)).unwrap();
        value["event_id"] = format!("{id:032x}").into();
        value["input"]["dns.normalized"]["offsets"] = offsets;
        ledgers.add(value.to_string().as_bytes()).unwrap();
    }
    for (partition, offset) in [(0, 3), (0, 5), (1, 1), (1, 2), (2, 0)] {
        ledgers.count("dns.normalized", partition, offset);
    }
    assert_eq!(ledgers.read_of("enrich", "dns.normalized"), Some(2));
}

#[test]
fn sinks_that_a_job_no_longer_writes_still_count() {
    let written = |checkpoint: u64, topics: &[(&str, u64)]| {
        let mut value: serde_json::Value =
            serde_json::from_slice(&record(checkpoint, 1, 0, 0)).unwrap();
        value["output"] = json!({});
        for (topic, count) in topics {
            value["output"][topic] =
                json!({"records": count + 1, "written": count, "dropped": {"refused": 1}});
        }
        value["ts"] = Timestamp::now().to_string().into();
        value.to_string().into_bytes()
    };
    let mut ledgers = StreamLedgers::default();
    ledgers.add(&written(1, &[("a", 10), ("b", 5)])).unwrap();
    ledgers.add(&written(2, &[("a", 20)])).unwrap();
    assert_eq!((ledgers.written("b"), ledgers.committed("b")), (5, 5));
    // It is switched on again: its counters begin anew.
    ledgers.add(&written(3, &[("a", 30), ("b", 2)])).unwrap();
    assert_eq!((ledgers.written("b"), ledgers.committed("b")), (7, 5));
    ledgers.add(&written(4, &[("a", 30), ("b", 3)])).unwrap();
    assert_eq!((ledgers.written("b"), ledgers.committed("b")), (8, 7));
    assert_eq!((ledgers.written("a"), ledgers.dropped("b")), (30, Some(2)));
    assert_eq!(ledgers.outputs(), ["a", "b"].into());
    let (mut notes, mut problems) = (Findings::default(), Findings::default());
    let _lines = ledgers.compare(&BTreeMap::new(), &mut notes, &mut problems);
    assert!(notes.is_empty());
    let mut last: serde_json::Value = serde_json::from_slice(&written(5, &[("a", 31)])).unwrap();
    last["input"] = json!({});
    ledgers.add(last.to_string().as_bytes()).unwrap();
    let lines = ledgers.compare(&BTreeMap::new(), &mut notes, &mut problems);
    assert!(lines.is_empty(), "it reads nothing any more");
    assert_eq!(notes.shown, ["enrich: it no longer writes b: 8 records until then"]);
}

#[test]
fn records_of_jobs_are_not_those_of_agents() {
    for (line, expected) in [
        (r#"{"schema":"dns.fleet/1"}"#, false),
        (r#"{"schema":"dns.fleet/1","node":"fleet"}"#, true),
        (r#"{"schema":"dns.enriched/1","node":"\u00e4"}"#, true),
        (r#"{"schema":"dns.dlq/1","node":"stream","stage":"decode"}"#, false),
        (r#"{"schema":"dns.dlq/1","node":"stream","stage":"stream"}"#, true),
        (r#"{"schema":"dns.alert/1","node":"fleet","scope":"node"}"#, false),
        (r#"{"schema":"dns.alert/1","node":"fleet","scope":"fleet"}"#, true),
    ] {
        assert_eq!(is_of_job(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn age_is_that_of_the_window() {
    let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
    let bounds = Bounds {
        expired: [(60, at(100))].into(),
        expired_by_default: [(300, at(100))].into(),
        recent: Some(at(200)),
    };
    assert_eq!(bounds.age(60, at(99), at(159)), Age::Expired);
    assert_eq!(bounds.age(300, at(99), at(399)), Age::ExpiredByDefault);
    assert_eq!(bounds.age(300, at(100), at(400)), Age::Recent);
    assert_eq!(bounds.age(10, at(99), at(109)), Age::Kept);
    assert_eq!(bounds.age(60, at(150), at(210)), Age::Recent);
    let of_all = Bounds { expired: [(0, at(100))].into(), ..Bounds::default() };
    assert_eq!([0, 60].map(|step| of_all.age(step, at(99), at(159))), [Age::Expired; 2]);
    assert_eq!(Bounds::default().age(0, at(0), at(u32::MAX.into())), Age::Kept);
}

#[test]
fn rows_are_compared_to_the_unit() {
    let line = |rows| StoreLine {
        store: "clickhouse".into(),
        table: "dns_transactions".into(),
        rows,
        expired: 10,
        dropped: 1,
        unique: 100,
        until: None,
    };
    let findings = |rows, left_out, has_gaps| {
        let (mut notes, mut problems) = (Findings::default(), Findings::default());
        line(rows).check(left_out, has_gaps, &mut notes, &mut problems);
        (notes.shown, problems.shown)
    };
    let closes = |rows, left_out, has_gaps| findings(rows, left_out, has_gaps).1.is_empty();
    assert!(closes(89, 0, false) && closes(90, 0, false) && closes(88, 1, false));
    assert!(!closes(88, 0, false) && !closes(91, 0, false) && closes(91, 0, true));
    assert!(findings(89, 0, false).0.is_empty() && findings(88, 1, false).0.is_empty());
    // Two rows that were not expected could hide two that are missing.
    let (notes, _) = findings(90, 1, false);
    assert!(
        notes.len() == 1 && notes[0].contains("up to 2 missing rows would not show"),
        "{notes:?}"
    );
}

#[test]
fn records_that_nobody_can_read_excuse_no_missing_row() {
    let mut ledgers = StreamLedgers::default();
    ledgers.add(&record(1, 500, 0, 71)).unwrap();
    let left_out = |unreadable| ledgers.left_out("dns.normalized", unreadable);
    assert_eq!([0, 70, 71, 72].map(left_out), [71, 1, 0, 0]);
    assert_eq!(ledgers.left_out("dns.alerts", 0), 0);
}

/// Windows of a step of which a store has no row any more.
#[test]
fn windows_beyond_the_default_retention_are_expired() {
    let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
    let verifier = crate::Verifier::new(crate::SortOptions {
        temp_folder: std::env::temp_dir(),
        memory_bytes: 1 << 20,
    });
    let mut counter = verifier.topic_counter();
    counter.bounds.expired = [(60, at(100))].into();
    counter.bounds.expired_by_default = [(10, at(100))].into();
    for (begin, step) in [(50, 60), (60, 10), (70, 10), (70, 10), (100, 10)] {
        let window = json!({
            "schema": "dns.fleet/1", "event_id": "0", "node": "fleet", "ts": at(begin).to_string(), "revision": 1,
            "window_seconds": step, "step_seconds": step, "grouping": "all", "vantage": "client",
        });
        counter.add(window.to_string().as_bytes()).unwrap();
    }
    let expected = FoundTotals {
        records: 5,
        distinct: 4,
        expired: 3,
        expired_by_default: 2,
        ..FoundTotals::default()
    };
    assert_eq!(counter.totals(false).unwrap().found, expected);
}
