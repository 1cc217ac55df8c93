use super::{MAX_HOURS, open};
use crate::threaded::ThreadedSink;
use crate::{Batch, Rotation, Sink as _, Stream, StreamSet};
use dnscribe_record::ledger::Delivery;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn sink(folder: &Path) -> ThreadedSink {
    sink_of("n", folder)
}

fn sink_of(node: &str, folder: &Path) -> ThreadedSink {
    let streams = StreamSet::EMPTY.with(Stream::Transactions);
    open("parquet".into(), streams, folder, node, Rotation::default()).unwrap()
}

fn offer(sink: &mut ThreadedSink, records: impl IntoIterator<Item = Value>) {
    let mut batch = Batch::default();
    for record in records {
        batch.push(
            Stream::Transactions,
            1,
            |out| out.extend(format!("{record}\n").bytes()),
            |_| {},
        );
    }
    sink.offer(&Arc::new(batch));
}

fn at(hour: usize) -> Value {
    json!({ "ts": format!("2026-01-31T{hour:02}:30:00.000000001Z"), "id": 1 })
}

fn counted(sink: &ThreadedSink) -> Delivery {
    sink.counters()["transactions"].clone()
}

/// Files of the stream, complete or not.
fn files(folder: &Path) -> Vec<PathBuf> {
    let inside = |path: PathBuf| fs::read_dir(path).unwrap().map(|one| one.unwrap().path());
    let days = inside(folder.join("transactions"));
    let mut files: Vec<_> = days.flat_map(inside).flat_map(inside).collect();
    files.sort();
    files
}

#[test]
fn the_earliest_hour_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    offer(&mut sink, (0..=MAX_HOURS).map(at));
    assert!(sink.flush(LIMIT));
    let hours: Vec<_> = files(folder.path());
    assert_eq!(hours.len(), MAX_HOURS + 1, "one file for each hour: {hours:?}");
    offer(&mut sink, (0..=MAX_HOURS).map(at));
    let is_complete = |delivery: &Delivery| delivery.delivered == MAX_HOURS as u64 + 2;
    assert!(crate::threaded::wait_until(LIMIT, || is_complete(&counted(&sink))));
    sink.close();
    assert_eq!(counted(&sink).delivered, 2 * (MAX_HOURS as u64 + 1));
    let is_hidden = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    assert!(!files(folder.path()).iter().any(is_hidden));
}

#[test]
fn records_that_fit_no_columns_are_counted_and_leave_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let mut wrong = at(1);
    wrong["id"] = "text".into();
    offer(&mut sink, [at(1), wrong, at(1), json!({ "id": 1 }), json!(null)]);
    assert!(sink.flush(LIMIT));
    let delivery = counted(&sink);
    assert_eq!((delivery.records, delivery.delivered), (5, 2));
    assert_eq!(delivery.dropped["not_encodable"], 3);
    // A file of which nothing is left is none.
    offer(&mut sink, [json!({ "ts": "2026-01-31T05:00:00Z", "id": "text" })]);
    assert!(sink.flush(LIMIT));
    assert_eq!(files(folder.path()).len(), 1);
}

/// What is in a file that cannot be completed is dropped, and counted once.
#[test]
fn a_file_that_is_gone_fails_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    offer(&mut sink, [at(1), at(1), at(2)]);
    // Nothing is created after the last hour's file.
    let hour = folder.path().join("transactions/day=2026-01-31/hour=02");
    let has_files = || fs::read_dir(&hour).is_ok_and(|mut files| files.next().is_some());
    assert!(crate::threaded::wait_until(LIMIT, has_files));
    fs::remove_dir_all(folder.path().join("transactions")).unwrap();
    assert!(sink.flush(LIMIT));
    let delivery = counted(&sink);
    assert_eq!((delivery.records, delivery.delivered), (3, 0));
    assert_eq!(delivery.dropped["write_error"], 3);
    assert!(sink.failure().is_some());
    offer(&mut sink, [at(3)]);
    assert_eq!(counted(&sink).dropped["write_error"], 4);
}

#[test]
fn only_ones_own_unfinished_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let hour = folder.path().join("transactions/day=2026-01-31/hour=02");
    fs::create_dir_all(&hour).unwrap();
    for name in [".part-n-1.parquet.inprogress", ".part-m-1.parquet.inprogress", "part-n-1.parquet"]
    {
        fs::write(hour.join(name), "").unwrap();
    }
    sink(folder.path()).close();
    let left: Vec<_> = files(folder.path());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(!hour.join(".part-n-1.parquet.inprogress").exists());
}

/// Whatever the names of their nodes, and also if these are the same.
#[test]
fn runs_at_one_time_leave_each_others_files() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = ["host-1", "host_1", "host", "host-1-2", "host-1"];
    let hour = folder.path().join("transactions/day=2026-01-31/hour=01");
    let count = || fs::read_dir(&hour).map_or(0, Iterator::count);
    let mut sinks = Vec::new();
    for node in nodes {
        let mut sink = sink_of(node, folder.path());
        offer(&mut sink, [at(1)]);
        sinks.push(sink);
        assert!(crate::threaded::wait_until(LIMIT, || count() == sinks.len()), "{node}");
    }
    for sink in &mut sinks {
        assert!(sink.flush(LIMIT));
        assert_eq!(counted(sink).delivered, 1);
    }
}

#[test]
fn nodes_stay_different_in_names_of_files() {
    let names = ["host-1", "host_1", "host.1", "host_2d1", "h\u{f6}st-1"].map(super::escaped);
    assert_eq!(names, ["host_2d1", "host_5f1", "host.1", "host_5f2d1", "h_c3_b6st_2d1"]);
}

/// A column has times in 64 bits with a sign, and records have them without.
#[test]
fn times_after_2262_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let last = "2262-04-11T23:47:16.854775807Z";
    let times = [last, "2262-04-11T23:47:16.854775808Z", "2400-01-01T00:00:00Z"];
    offer(&mut sink, times.map(|ts| json!({ "ts": ts, "id": 1 })));
    assert!(sink.flush(LIMIT));
    let delivery = counted(&sink);
    assert_eq!((delivery.delivered, delivery.dropped["not_encodable"]), (1, 2));
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(super::MAX_TIME.to_string(), last);
}
