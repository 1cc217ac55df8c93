//! The job `fleet`: merged windows in the topic and in the stores are the sums over the windows that
//! agents wrote, to the unit, and their quantiles are those that other implementations of the
//! sketches compute.

use crate::rows::moved_to;
use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::stack::{Component, jobs};
use dnscribe_tests::traffic::Traffic;
use dnscribe_tests::{environment, http, shell, sketches};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

const NODES: [&str; 3] = ["fleet-1", "fleet-2", "fleet-3"];
/// About a minute, in 40 zones. Each node has every third exchange.
pub const TRAFFIC: Traffic =
    Traffic { exchanges: 0..600, every: 3, step_ns: 100_000_000, names: 400 };
/// Counters that are compared.
const COUNTERS: [&str; 6] =
    ["transactions", "queries", "successes", "truncated", "query_bytes", "response_bytes"];

#[test]
fn merged_windows_are_the_sums_over_the_nodes() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    // Windows of other tests on this stack are newer: after them, those of this test would be late.
    let others = running.topic("dns.metrics").len();
    if others > 0 {
        read_to(&running, others);
        running.forget("fleet");
    }
    let began = now();
    // Hours before the windows of other tests: those of the same minute would be one window with these.
    let start = began - 7200;
    replay(&running, start, &NODES);
    // Sent again, windows change nothing.
    replay(&running, start, &NODES[1..2]);
    // The end of time for those above.
    replay(&running, start + 1080, &NODES);

    let sent: BTreeMap<String, Value> = running
        .topic("dns.metrics")
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap())
        .filter(|window| NODES.iter().any(|node| window["node"] == *node))
        .map(|window| (window["event_id"].as_str().unwrap().to_owned(), window))
        .collect();
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let range = time(start)..time(start + 600);
    let in_range = |window: &&Value| range.contains(&window["ts"].as_str().unwrap().to_owned());
    for window in sent.values().filter(in_range) {
        if let Some(key) = key_of(window) {
            groups.entry(key).or_default().push(window.clone());
        }
    }
    assert!(groups.len() > 100, "{} groups", groups.len());

    let merged = shell::wait_for("final windows", CAUGHT_UP, || {
        thread::sleep(Duration::from_millis(500));
        let merged = newest(&running);
        let is_final = |key| merged.get(key).is_some_and(|window: &Value| window["final"] == true);
        Ok(groups.keys().all(is_final).then_some(merged))
    })
    .unwrap();
    for (key, windows) in &groups {
        let merged = &merged[key];
        for counter in COUNTERS {
            let sum: u64 = windows.iter().map(|window| window[counter].as_u64().unwrap()).sum();
            assert_eq!(merged[counter], sum, "{key} {counter}");
        }
        let nodes: BTreeSet<&str> =
            windows.iter().map(|window| window["node"].as_str().unwrap()).collect();
        assert_eq!(merged["nodes"], nodes.len(), "{key}");
    }
    compare_sketches(&groups, &merged);
    let expected: BTreeMap<&String, &Value> =
        merged.iter().filter(|(key, _)| groups.contains_key(*key)).collect();
    compare_rows(&running, &expected, &range);
    compare_points(&running, &expected, &range);
    final_rows_are_those_that_came_last(&running, expected.values().next().unwrap());
    unknown_numbers_have_no_value(&running, expected.values().next().unwrap());
    balances(&running, others, sent.len());
    backfill(&running, began, &range);
}

/// Writes a merged window again, as a job does that has lost its state and so has other revisions.
fn final_rows_are_those_that_came_last(running: &Running, window: &Value) {
    let put = |revision: u64, is_final: bool, transactions: u64| {
        let mut record = window.clone();
        record["revision"] = revision.into();
        record["final"] = is_final.into();
        record["transactions"] = transactions.into();
        let record = record.to_string().replace('\'', "''");
        let statement = format!(
            "SELECT dns_fleet_put('dns_fleet', '[{record}]', false); SELECT revision, transactions FROM dns_fleet \
             WHERE event_id = '{}'",
            window["event_id"].as_str().unwrap()
        );
        running.stack().timescaledb(&statement).unwrap().trim().to_owned()
    };
    let (revision, transactions) =
        (window["revision"].as_u64().unwrap(), window["transactions"].as_u64().unwrap());
    assert_eq!(put(revision + 9, true, 1), format!("{}|1", revision + 9));
    assert_eq!(put(revision + 99, false, 2), format!("{}|1", revision + 9), "not final");
    assert_eq!(put(revision, true, transactions), format!("{revision}|{transactions}"));
}

/// Writes a merged window as a job makes it of nodes that mask names and servers.
fn unknown_numbers_have_no_value(running: &Running, window: &Value) {
    let mut record = window.clone();
    let fields = record.as_object_mut().unwrap();
    for name in ["unique_qnames", "unique_resolvers", "resolver", "zone", "top_qnames"] {
        fields.remove(name);
    }
    for (name, value) in
        [("grouping", "zone"), ("vantage", "passive"), ("ts", "2020-01-01T00:00:00Z")]
    {
        fields.insert(name.to_owned(), value.into());
    }
    fields.insert("other".to_owned(), true.into());
    let record = record.to_string().replace('\'', "''");
    let statement = format!(
        "SELECT dns_fleet_put('dns_fleet', '[{record}]', false); SELECT group_key, unique_qnames IS NULL, unique_clients \
         IS NULL FROM dns_fleet WHERE ts = '2020-01-01'; DELETE FROM dns_fleet WHERE ts = '2020-01-01'"
    );
    assert_eq!(running.stack().timescaledb(&statement).unwrap().trim(), "zone?other|t|f");
}

/// Makes the rows of these times anew from what Kafka received since a time in seconds since the epoch.
fn backfill(running: &Running, received: u64, times: &Range<String>) {
    let checksum = |running: &Running| {
        let columns = COUNTERS.join(", ");
        let rows = format!(
            "SELECT count(*), md5(string_agg(row::text, ' ' ORDER BY row::text)) FROM (SELECT ts, \
             window_seconds, step_seconds, vantage, group_key, nodes, final, latency_ms_p99, \
             unique_qnames, {columns} FROM dns_fleet WHERE ts >= '{}' AND ts < '{}') AS row",
            times.start, times.end
        );
        running.stack().timescaledb(&rows).unwrap()
    };
    let before = checksum(running);
    let gone =
        format!("DELETE FROM dns_fleet WHERE ts >= '{}' AND ts < '{}'", times.start, times.end);
    running.stack().timescaledb(&gone).unwrap();
    assert_ne!(checksum(running), before);
    let [from, to] = [received, now() + 1].map(|seconds| format!("{}Z", time(seconds)));
    // Twice: rows that are there stay as they are.
    for _ in 0..2 {
        jobs::backfill(&running.stack(), "store-timescaledb", &from, &to).unwrap();
        assert_eq!(checksum(running), before);
    }
}

/// Writes the windows of each node's share of the traffic, which begins at `time`, in seconds since the epoch. By time, as
/// nodes write that live at once, and none before the job has read those of the twenty seconds before: it may read a partition far
/// ahead of another, and then windows are late.
fn replay(running: &Running, time: u64, nodes: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let windows = |node: &str| -> Vec<Value> {
        let first = NODES.iter().position(|name| *name == node).unwrap();
        let first = u32::try_from(first).unwrap();
        let traffic = Traffic { exchanges: first..TRAFFIC.exchanges.end, ..TRAFFIC };
        let mut capture = Vec::new();
        traffic.write(&mut capture).unwrap();
        let file = folder.path().join(format!("{node}.pcap"));
        std::fs::write(&file, moved_to(&capture, time)).unwrap();
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").arg(file).args(["--stream", "metrics", "-o", "json"]);
        let output = shell::output(replay.env("DNSCRIBE_NODE", node)).unwrap();
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    };
    let mut slices: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    let first = self::time(time);
    // The key of an agent's record: the group's value.
    let key = |window: &Value| {
        let value = &window[window["grouping"].as_str().unwrap_or_default()];
        value.as_str().unwrap_or("other").to_owned()
    };
    for window in nodes.iter().flat_map(|node| windows(node)) {
        // Longer windows begin before the traffic.
        let begin = window["ts"].as_str().unwrap()[..19].to_owned().max(first.clone());
        slices.entry(begin).or_default().push((key(&window), window));
    }
    let slices: Vec<_> = slices.into_values().collect();
    for slices in slices.chunks(2) {
        running.write("dns.metrics", &slices.concat());
        read_to(running, running.topic("dns.metrics").len());
    }
}

/// Returns what the windows that are merged have in common; `None` for those of one node only.
fn key_of(window: &Value) -> Option<String> {
    let grouping = match window["grouping"].as_str()? {
        "node" | "all" => "all",
        "process" | "pod" => return None,
        other => other,
    };
    let seconds = ["window_seconds", "step_seconds"].map(|name| window[name].to_string());
    let text = |name: &str| window[name].as_str().unwrap_or_default().to_owned();
    let ts = text("ts")[..19].to_owned();
    let value = ["region", "resolver", "zone", "qtype"].map(text).concat();
    let other = window["other"].as_bool().unwrap_or_default();
    Some(format!("{ts} {} {} {grouping} {value} {other}", seconds.join("/"), text("vantage")))
}

/// Returns the records of `dns.fleet` that count: the highest revision of each window.
fn newest(running: &Running) -> BTreeMap<String, Value> {
    let mut newest: BTreeMap<String, Value> = BTreeMap::new();
    for text in running.topic("dns.fleet") {
        let window: Value = serde_json::from_str(&text).unwrap();
        let key = key_of(&window).unwrap();
        let rank = |window: &Value| (window["revision"].as_u64(), window["final"].as_bool());
        if newest.get(&key).is_none_or(|other| rank(other) < rank(&window)) {
            newest.insert(key, window);
        }
    }
    newest
}

fn compare_sketches(groups: &BTreeMap<String, Vec<Value>>, merged: &BTreeMap<String, Value>) {
    let lists: Vec<Vec<Value>> = groups.values().cloned().collect();
    let others = sketches::merge(&lists).unwrap();
    for ((key, _), theirs) in groups.iter().zip(others) {
        let ours = &merged[key];
        for name in ["count", "p50", "p90", "p95", "p99"] {
            let values = [&ours["latency_ms"][name], &theirs["latency_ms"][name]];
            let [ours, theirs] = values.map(|value| value.as_f64().unwrap_or_default());
            assert!((ours - theirs).abs() <= 1e-9 * theirs, "{key} {name}: {ours} {theirs}");
        }
        for name in ["unique_qnames", "unique_clients", "unique_resolvers"] {
            let values = [&ours[name]["estimate"], &theirs[name]["estimate"]];
            let [ours, theirs] = values.map(|value| value.as_f64().unwrap());
            // Estimates depend on the order of merging once there are registers: 2.3 % for 2,048 of them.
            assert!((ours - theirs).abs() <= 0.023 * theirs, "{key} {name}: {ours} {theirs}");
        }
    }
}

fn compare_rows(running: &Running, expected: &BTreeMap<&String, &Value>, times: &Range<String>) {
    let statement = format!(
        "SELECT count(*), bool_and(final), {} FROM dns_fleet WHERE ts >= '{}' AND ts < '{}'",
        COUNTERS.map(|counter| format!("sum({counter})")).join(", "),
        times.start,
        times.end
    );
    let sum = |counter: &str| -> u64 {
        expected.values().map(|window| window[counter].as_u64().unwrap()).sum()
    };
    let sums = COUNTERS.map(|counter| sum(counter).to_string()).join("|");
    let wanted = format!("{}|t|{sums}", expected.len());
    let waited = shell::wait_for("rows of merged windows", CAUGHT_UP, || {
        let rows = running.stack().timescaledb(&statement)?;
        Ok((rows.trim() == wanted).then_some(()))
    });
    let rows = running.stack().timescaledb(&statement);
    assert!(waited.is_ok(), "{waited:?}: {rows:?}, not {wanted}");
}

fn compare_points(running: &Running, expected: &BTreeMap<&String, &Value>, times: &Range<String>) {
    let address = running.stack().address(Component::InfluxDb).unwrap();
    let text = |name: &str| address[name].as_str().unwrap().to_owned();
    let socket: SocketAddr = text("url")["http://".len()..].parse().unwrap();
    let headers = format!(
        "Authorization: Token {}\r\nContent-Type: application/vnd.flux\r\nAccept: application/csv\r\n",
        text("token")
    );
    for grouping in ["all", "zone"] {
        let windows = expected.values().filter(|window| window["grouping"] == grouping);
        let sum: u64 = windows.map(|window| window["transactions"].as_u64().unwrap()).sum();
        let query = format!(
            "from(bucket: \"{}\") |> range(start: {}Z, stop: {}Z) |> filter(fn: (r) => r._measurement == \"dns_fleet\" \
             and r._field == \"transactions\" and r.grouping == \"{grouping}\") |> group() |> sum()",
            text("bucket"),
            times.start,
            times.end
        );
        let path = format!("/api/v2/query?org={}", text("org"));
        let wanted = format!(",{sum}");
        let mut last = String::new();
        let waited = shell::wait_for("points of merged windows", CAUGHT_UP, || {
            let answer = http::send(socket, "POST", &path, &headers, query.as_bytes())?;
            assert_eq!(answer.status, 200, "{}", answer.body);
            last = answer.body;
            Ok(last.lines().any(|line| line.ends_with(&wanted)).then_some(()))
        });
        assert!(waited.is_ok(), "{grouping}: {waited:?}: {last}, not {sum}");
    }
}

/// Waits for a ledger of the job whose counters of `dns.metrics` are as wanted; returns it.
fn ledger(running: &Running, is_wanted: impl Fn(&Value) -> bool) -> Value {
    shell::wait_for("the ledger of the job fleet", CAUGHT_UP, || {
        let ledgers = running.topic("dns.stream.ledger");
        let mut ledgers = ledgers.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
        let newest = ledgers.rfind(|ledger| ledger["job"] == "fleet");
        Ok(newest.filter(|ledger| is_wanted(&ledger["input"]["dns.metrics"])))
    })
    .unwrap()
}

/// Waits until the job has read so many windows. Its ledger may have begun after some of them, if another test has submitted
/// it anew, and then lacks partitions that had nothing new: the newest offset of each counts.
fn read_to(running: &Running, windows: usize) {
    shell::wait_for("the ledger of the job fleet", CAUGHT_UP, || {
        thread::sleep(Duration::from_millis(200));
        let mut next = BTreeMap::new();
        for text in running.topic("dns.stream.ledger") {
            let ledger: Value = serde_json::from_str(&text).unwrap();
            let offsets = ledger["input"]["dns.metrics"]["offsets"].as_object();
            for (partition, offset) in
                offsets.filter(|_| ledger["job"] == "fleet").into_iter().flatten()
            {
                next.insert(partition.clone(), offset.as_u64().unwrap());
            }
        }
        Ok((next.values().sum::<u64>() == windows as u64).then_some(()))
    })
    .unwrap();
}

/// Checks the job's ledger: each window was read once.
fn balances(running: &Running, others: usize, unique: usize) {
    let windows = running.topic("dns.metrics").len() - others;
    let ledger = ledger(running, |input| input["records"] == windows);
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(ledger["input"]["dns.metrics"]["unique"], unique, "{ledger}");
    assert_eq!(ledger["late"], 0, "{ledger}");
}

pub fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Returns a time in seconds since the epoch as records have it, without a fraction.
pub fn time(seconds: u64) -> String {
    let date = shell::run(&["date", "-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"]);
    String::from_utf8(date.unwrap().stdout).unwrap().trim().to_owned()
}
