//! `stores/clickhouse/kafka.sql`: `ClickHouse` reads the agents' topics itself, with a real broker and engine. Every record
//! that an agent has delivered is a row, field by field, although the engine is killed; what is no record stops nothing.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_record::time::Timestamp;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::environment::{self, lab_capture, stream_captures};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::pcap::{self, Datagram};
use dnscribe_tests::stack::{Component, Stack};
use dnscribe_tests::{grafana, http, kafka, shell, wire};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// Time limit for rows of records that Kafka has, on a busy machine.
const CAUGHT_UP: Duration = Duration::from_mins(5);
/// Twice the time after which a Kafka table of `ClickHouse` tries again whether it has views.
const READS_AGAIN: Duration = Duration::from_secs(1);
/// Before the name of each topic: the balance must not depend on these.
const PREFIX: &str = "lab.";
/// Names that mean something to SQL, JSON, regular expressions or the text form of names.
const AWKWARD: [&str; 4] = ["it's.example", "a\"b.example", "a\\b.example", "$re$'\\\"%_(.example"];
/// Records of connections, which no capture file has.
const USES: &str = include_str!("../goldens/uses.ndjson");
const LOOKUPS: &str = include_str!("../goldens/lookups.ndjson");
const CONNECTIONS: &str = include_str!("../goldens/encrypted.ndjson");
/// Values that are no transaction, one a line.
const MALFORMED: [&str; 6] = [
    "not json",
    "{}",
    "[1, 2]",
    "\"\"",
    "{\"schema\":\"dns.transaction/2\",\"event_id\":\"00000000000000000000000000000001\",\"ts\":\"2026-11-20T08:40:26Z\"}",
    "{\"schema\":\"dns.transaction/1\",\"event_id\":\"xyz\",\"ts\":\"2026-11-20T08:40:26Z\"}",
];

/// Kafka and `ClickHouse` without jobs, which end with their value.
struct Fleet {
    stack: Option<Stack>,
    brokers: String,
    folder: tempfile::TempDir,
}

impl Fleet {
    fn up() -> Self {
        let fleet = Self::with_tables(&[Component::Kafka, Component::ClickHouse]);
        fleet.apply(&reading());
        fleet
    }

    /// Starts components; `ClickHouse` has the tables and reads nothing.
    fn with_tables(components: &[Component]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stack = Stack::for_test(&folder.path().join("stack")).unwrap();
        for component in components {
            stack.start(*component).unwrap();
        }
        let brokers = stack.kafka().unwrap_or_default();
        let fleet = Self { stack: Some(stack), brokers, folder };
        fleet.query_of("default", "CREATE DATABASE dns");
        let folder = environment::workspace().join("stores/clickhouse");
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
        let mut migrations: Vec<_> = files.filter(|file| name(file).starts_with('0')).collect();
        migrations.sort();
        for file in migrations {
            fleet.apply(&file);
        }
        // The captures are of past years.
        for table in
            ["dns_transactions", "dns_resolvers_1m", "dns_uses", "dns_lookups", "dns_connections"]
        {
            fleet.query(&format!("ALTER TABLE {table} REMOVE TTL"));
        }
        fleet
    }

    fn stack(&mut self) -> &mut Stack {
        self.stack.as_mut().unwrap()
    }

    /// Runs a file with the address of the broker.
    fn apply(&self, file: &Path) {
        for statement in self.statements(file) {
            self.query(&statement);
        }
    }

    /// Statements of a file with the address of the broker, as the page has it replaced by sed, and with blocks that are inserted
    /// sooner.
    fn statements(&self, file: &Path) -> Vec<String> {
        let text = fs::read_to_string(file).unwrap().replace("kafka:9092", &self.brokers);
        let text = text.replace("topic_list = '", &format!("topic_list = '{PREFIX}"));
        let text = text.replace("kafka_format", "kafka_flush_interval_ms = 500, kafka_format");
        let code: Vec<_> = text.lines().filter(|line| !line.starts_with("--")).collect();
        let code = code.join("\n") + "\n";
        let statements = code.split(";\n").map(str::trim).filter(|code| !code.is_empty());
        statements.map(str::to_owned).collect()
    }

    /// Makes what reads from Kafka anew, as slowly as a busy server does, while transactions of node n4 arrive, each with a value
    /// that is none. Returns their number.
    fn read_anew(&self) -> usize {
        let mut written = 0;
        for statement in self.statements(&reading()) {
            self.query(&statement);
            if statement.contains(" VIEW ") {
                let record = json!({ "schema": "dns.transaction/1", "event_id": format!("{written:032x}"),
                    "ts": "2026-11-20T08:40:26.000000000Z", "node": "n4" });
                self.write("dns.normalized", &[&record.to_string(), "none"]);
                written += 1;
                thread::sleep(READS_AGAIN);
            }
        }
        written
    }

    fn query(&self, query: &str) -> Vec<String> {
        self.query_of("dns", query)
    }

    fn query_of(&self, database: &str, query: &str) -> Vec<String> {
        let service = self.stack.as_ref().unwrap().service(Component::ClickHouse).unwrap();
        let path = format!("/?database={database}");
        let answer = http::send(service.address, "POST", &path, "", query.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}: {query}", answer.body);
        answer.body.lines().map(str::to_owned).collect()
    }

    /// Rows of a query as JSON objects, with times as in records.
    fn rows(&self, query: &str) -> Vec<Value> {
        let settings =
            "output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'";
        let lines = self.query(&format!("{query} FORMAT JSONEachRow SETTINGS {settings}"));
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Writes the records of captures, as those of a node.
    fn replay(&self, node: &str, captures: &[PathBuf]) {
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").args(captures).args(["--sink", "kafka", "--brokers", &self.brokers]);
        replay.args(["--stream", "transactions,alerts,ledger"]).env("DNSCRIBE_NODE", node);
        replay.env("DNSCRIBE_KAFKA__TOPIC_PREFIX", PREFIX);
        shell::output(&mut replay).unwrap();
    }

    /// Kills the engine and starts it again, with its data.
    fn restart(&mut self) {
        self.stack().service(Component::ClickHouse).unwrap().kill().unwrap();
        self.stack().start(Component::ClickHouse).unwrap();
    }

    /// Waits until each of so many captures has all its rows.
    fn balanced(&self, captures: usize) {
        let waited = shell::wait_for("a balance of all captures", CAUGHT_UP, || {
            // Topics are read one by one: rows of alerts may come after those of transactions.
            let query = "SELECT countIf(stream = 'transactions'), countIf(missing != 0 OR NOT final) FROM dns_balance";
            Ok((self.query(query) == [format!("{captures}\t0")]).then_some(()))
        });
        assert!(waited.is_ok(), "{:#?}", self.rows("SELECT * FROM dns_balance"));
    }

    /// Distinct records of a topic by event id.
    fn topic(&self, name: &str, schema: &str) -> BTreeMap<String, Value> {
        let name = format!("{PREFIX}{name}");
        let lines = kafka::committed(&self.brokers, &name, "beginning").unwrap();
        let records = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let own = records.filter(|record| record["schema"] == schema && record["node"].is_string());
        own.map(|record| (record["event_id"].as_str().unwrap().to_owned(), record)).collect()
    }
}

/// The file that has `ClickHouse` read the agents' topics.
fn reading() -> PathBuf {
    environment::workspace().join("stores/clickhouse/kafka.sql")
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(stack) = self.stack.take() {
            // A failing test says more than a failing end.
            let _ = stack.down();
        }
    }
}

#[test]
fn clickhouse_without_flink_has_every_record_once() {
    let mut fleet = Fleet::up();
    let names = fleet.folder.path().join("names.pcap");
    fs::write(&names, awkward_names()).unwrap();
    fleet.replay("it's \"me\" \\", &[names]);
    fleet.balanced(1);
    // What was read and not inserted is read again.
    fleet.replay("n1", &stream_captures().unwrap());
    fleet.restart();
    fleet.write("dns.normalized", &MALFORMED);
    fleet.replay("n2", &stream_captures().unwrap());
    fleet.balanced(3);
    // Views and tables of Kafka are new, offsets are not.
    let meanwhile = fleet.read_anew();
    fleet.write("dns.alerts", &["no alert"]);
    let pods = uses_of_pods();
    fleet.write("dns.uses", &USES.lines().chain(pods.lines()).collect::<Vec<_>>());
    // Each with records of a ledger, which are none of these.
    fleet.write("dns.lookups", &LOOKUPS.lines().collect::<Vec<_>>());
    fleet.write("dns.connections", &CONNECTIONS.lines().collect::<Vec<_>>());
    let ledgers = |text: &str| text.matches("\"schema\":\"dns.ledger/1\"").count();
    fleet
        .replay("n3", &[lab_capture(), environment::workspace().join("tests/goldens/outage.pcap")]);
    fleet.balanced(4);
    // No capture has delivered these, so that they are in no balance.
    let values = MALFORMED.len() + meanwhile + 1 + ledgers(LOOKUPS) + ledgers(CONNECTIONS);
    for (rows, expected) in [
        ("dns_uses FINAL", USES.lines().count() + pods.lines().count()),
        ("dns_lookups FINAL", LOOKUPS.lines().count() - ledgers(LOOKUPS)),
        ("dns_connections FINAL", CONNECTIONS.lines().count() - ledgers(CONNECTIONS)),
        ("dns_transactions FINAL WHERE node = 'n4'", meanwhile),
        ("dns_kafka_errors FINAL", values),
    ] {
        let mut found = Vec::new();
        let all = || {
            found = fleet.query(&format!("SELECT count() FROM {rows}"));
            Ok((found == [expected.to_string()]).then_some(()))
        };
        let waited = shell::wait_for(rows, CAUGHT_UP, all);
        assert!(waited.is_ok(), "{rows}: {found:?} instead of {expected}");
    }

    for (topic, schema, table) in [
        ("dns.normalized", "dns.transaction/1", "dns_transactions"),
        ("dns.alerts", "dns.alert/1", "dns_alerts"),
        ("dns.uses", "dns.use/1", "dns_uses"),
        ("dns.lookups", "dns.lookup/1", "dns_lookups"),
        ("dns.connections", "dns.connection/1", "dns_connections"),
    ] {
        let records = fleet.topic(topic, schema);
        let rows = fleet.rows(&format!("SELECT * FROM {table} FINAL"));
        assert_eq!(rows.len(), records.len(), "{table}");
        assert!(!rows.is_empty(), "{table}");
        for row in rows {
            let mut record = records[row["event_id"].as_str().unwrap()].clone();
            record.as_object_mut().unwrap().remove("schema");
            assert!(contains(&row, &record), "{table}: {row} is not {record}");
        }
    }
    policies_are_those_of_its_records(&fleet, &pods);
    let errors = fleet.rows("SELECT * FROM dns_kafka_errors FINAL");
    for (stream, error, record) in [
        ("transactions", "no JSON", "not json"),
        (
            "transactions",
            "no dns.transaction/1 with event_id and ts: dns.transaction/2",
            MALFORMED[4],
        ),
        ("alerts", "no JSON", "no alert"),
        (
            "lookups",
            "no dns.lookup/1 with event_id and ts: dns.ledger/1",
            LOOKUPS.lines().last().unwrap(),
        ),
    ] {
        let is_it = |row: &Value| {
            row["stream"] == stream && row["error"] == error && row["record"] == record
        };
        let found = errors.iter().any(is_it);
        assert!(found, "{error}: {record}: {errors:#?}");
    }
    // The views over the rows count each once, too: exactly up to 128 in a group, else with an error of 1.6 %.
    let counted = "SELECT sum(count) FROM (SELECT uniqCombined64Merge(12)(transactions) AS count FROM dns_resolvers_1m \
         GROUP BY minute, resolver, vantage, status, rcode)";
    let count = |query: &str| fleet.query(query)[0].parse::<f64>().unwrap();
    let (counted, rows) = (count(counted), count("SELECT count() FROM dns_transactions FINAL"));
    assert!((counted / rows - 1.0).abs() < 0.04, "{counted} of {rows}");
    every_column_is_read(&fleet);
    boards_read_its_rows(&fleet);
}

/// A job that starts again inserts rows once more, and views see them. No group has more rows than are counted exactly.
#[test]
fn rows_that_come_twice_change_no_number_of_a_view() {
    let fleet = Fleet::with_tables(&[Component::ClickHouse]);
    let minute = fleet.query("SELECT toStartOfMinute(now('UTC'))").remove(0);
    let insert = |from: u32, count: u32, latency_ms: u32| {
        let columns = "event_id, ts, node, resolver, vantage, transport, client_ip, qname, zone, status, rcode, latency_ms, \
                       response_bytes";
        fleet.query(&format!(
            "INSERT INTO dns_transactions ({columns}) SELECT leftPad(toString(number), 32, '0'), \
             toDateTime64('{minute}', 9, 'UTC'), 'n1', '192.0.2.53', 'client', 'udp', \
             concat('192.0.2.', toString(number % 8)), concat('n', toString(number % 9), '.example'), 'example', \
             'answered', if(number % 5 = 0, 'SERVFAIL', 'NOERROR'), {latency_ms}, 10 * {latency_ms} \
             FROM numbers({from}, {count})"
        ));
    };
    insert(0, 30, 1);
    insert(30, 50, 100);
    let numbers = numbers_of_views(&fleet);
    assert!(numbers.len() >= 7 && numbers.values().all(|rows| !rows.is_empty()), "{numbers:?}");
    insert(0, 30, 1);
    assert_eq!(numbers_of_views(&fleet), numbers);

    let number = |query: &str| fleet.query(query)[0].parse::<f64>().unwrap();
    for (bins, table, value) in [
        ("latency_bins", "dns_resolvers_1m", "latency_ms"),
        ("size_bins", "dns_traffic_1m", "response_bytes"),
    ] {
        for share in [0.2, 0.5, 0.95] {
            let counted = number(&format!(
                "SELECT pow(1.01 / 0.99, 4 * quantileExactWeighted({share})(bin, n) - 2) \
                 FROM (SELECT uniqCombined64MapMerge(12)({bins}) AS bins FROM {table}) \
                 ARRAY JOIN mapKeys(bins) AS bin, mapValues(bins) AS n"
            ));
            let exact = number(&format!(
                "SELECT quantileExact({share})({value}) FROM dns_transactions FINAL"
            ));
            assert!((counted / exact - 1.0).abs() < 0.041, "{value}: {counted}, not {exact}");
        }
    }
}

/// Rows of the tables that views fill, with the values of their states.
fn numbers_of_views(fleet: &Fleet) -> BTreeMap<String, Vec<String>> {
    let tables = "SELECT table, arrayStringConcat(groupArray(if(startsWith(type, 'AggregateFunction'), \
        concat('finalizeAggregation(', name, ')'), name)), ', ') FROM system.columns \
        WHERE database = currentDatabase() AND table IN (SELECT name FROM system.tables \
        WHERE database = currentDatabase() AND engine = 'AggregatingMergeTree') GROUP BY table";
    let tables = fleet.query(tables);
    let rows = tables.iter().map(|line| {
        let (table, columns) = line.split_once('\t').unwrap();
        let mut rows = fleet.query(&format!("SELECT {columns} FROM {table} FINAL"));
        rows.sort();
        (table.to_owned(), rows)
    });
    rows.collect()
}

/// Milliseconds that the clock of each host is ahead.
const CLOCKS: [(Host, i64); 3] = [(Host::Client, 0), (Host::Resolver, 200), (Host::Server, -200)];

/// Agents on three hosts, whose clocks differ; all names are alike for the view, which must find the ends by the rest.
#[test]
fn exchanges_between_hosts_have_both_ends() {
    if !environment::privileged() {
        return;
    }
    let fleet = Fleet::up();
    let lab = Lab::up().unwrap();
    let options = ["--stream", "transactions", "--hook", "socket", "--interface", "eth0"];
    let agents = CLOCKS.map(|(host, _)| Agent::run_on(&lab, host, &options).unwrap());
    let load = Load { queries: 2000, qps: Some(1000), ..Load::default() };
    let answered = lab.dnsperf(&load).unwrap().completed;
    let mut names = BTreeMap::new();
    let mut rows = Vec::new();
    for (agent, (host, ahead)) in agents.into_iter().zip(CLOCKS) {
        for mut record in agent.terminate().unwrap().records {
            if record["schema"] != "dns.transaction/1" {
                continue;
            }
            let ts: Timestamp = record["ts"].as_str().unwrap().parse().unwrap();
            let shifted = ts.as_nanos().checked_add_signed(ahead * 1_000_000).unwrap();
            record["ts"] = json!(Timestamp::from_nanos(shifted));
            record["node"] = json!(host.name());
            let id = record["event_id"].as_str().unwrap().to_owned();
            names.insert(id, record["qname"].as_str().unwrap_or_default().to_owned());
            record["qname"] = json!("same.example");
            rows.push(record);
        }
    }
    let of = |host: Host, vantage: &str| -> Vec<Value> {
        let is = |row: &&Value| row["node"] == host.name() && row["vantage"] == vantage;
        rows.iter().filter(is).cloned().collect()
    };
    let (asked, arrived) = (of(Host::Client, "client"), of(Host::Resolver, "server"));
    let (sent, served) = (of(Host::Resolver, "client"), of(Host::Server, "server"));
    assert!(asked.len() as u64 >= answered && arrived.len() as u64 >= answered, "{answered}");
    assert!(sent.len() as u64 >= answered && served.len() as u64 >= answered, "{answered}");
    // A service's address, as hook cgroup shows it before its translation.
    for row in rows.iter_mut().filter(|row| row["node"] == "client").step_by(2) {
        row["server_ip"] = json!("10.96.0.10");
    }
    // Somebody elsewhere may have sent what arrived, just before the time that is asked for: which of the two did is not guessed.
    let doubtful: Vec<Value> = asked.iter().take(50).cloned().collect();
    for (number, row) in doubtful.iter().enumerate() {
        let mut other = row.clone();
        other["event_id"] = json!(format!("{number:032x}"));
        other["node"] = json!("elsewhere");
        let ts: Timestamp = row["ts"].as_str().unwrap().parse().unwrap();
        other["ts"] = json!(Timestamp::from_nanos(ts.as_nanos() - 200_000_000));
        rows.push(other);
    }
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let settings = "date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1";
    for lines in lines.chunks(1000) {
        let lines = lines.join("\n");
        let insert = format!("INSERT INTO dns_transactions SETTINGS {settings} FORMAT JSONEachRow");
        fleet.query(&format!("{insert} {lines}"));
    }

    let first =
        "SELECT min(ts), now() + INTERVAL 1 DAY FROM dns_transactions WHERE node = 'client'";
    let times = fleet.query(first).remove(0);
    let (from, to) = times.split_once('\t').unwrap();
    let view =
        |skew_ms: u32| format!("dns_exchanges(from = '{from}', to = '{to}', skew_ms = {skew_ms})");
    let found = fleet.rows(&format!("SELECT * FROM {}", view(1000)));
    let doubtful: Vec<&str> =
        doubtful.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    let mut offsets: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in &found {
        let [client, server] =
            ["client_event_id", "server_event_id"].map(|end| row[end].as_str().unwrap());
        assert_eq!(names[client], names[server], "{row}");
        assert!(!doubtful.contains(&client), "{row}");
        let nodes = [&row["client_node"], &row["server_node"]].map(|node| node.as_str().unwrap());
        assert!([["client", "resolver"], ["resolver", "server"]].contains(&nodes), "{row}");
        assert!(row["outside_ms"].is_null() || row["outside_ms"].as_f64() > Some(0.0), "{row}");
        offsets.entry(nodes[0]).or_default().push(row["offset_ms"].as_f64().unwrap());
    }
    let count = |node: &str| offsets[node].len();
    // A query that was sent again may have arrived once, and the other way round.
    assert!(
        count("client") + doubtful.len() >= arrived.len() - 20,
        "{} of {}",
        count("client"),
        arrived.len()
    );
    assert!(count("resolver") >= served.len() - 20, "{} of {}", count("resolver"), served.len());
    for (node, skew) in [("client", 200.0), ("resolver", -400.0)] {
        let offsets = offsets.get_mut(node).unwrap();
        offsets.sort_by(f64::total_cmp);
        let median = offsets[offsets.len() / 2];
        assert!((median - skew).abs() < 50.0, "{node}: {median}");
    }
    // Clocks that are farther apart than allowed find nothing.
    assert!(fleet.rows(&format!("SELECT * FROM {} LIMIT 1", view(100))).is_empty());
}

/// Records of connections of pods today: awkward names, literal and ambiguous addresses, large counts.
fn uses_of_pods() -> String {
    let now = Timestamp::now();
    let literal = json!({ "match": "none", "address": "203.0.113.8", "port": 8443 });
    let names = ["a.example.net", "b.example.net"];
    let ambiguous = json!({ "match": "ambiguous", "candidates": names, "protocol": "udp", "address": "2001:db8::7" });
    let named =
        AWKWARD.map(|name| json!({ "match": "sole", "name": name, "count": 5_000_000_000_u64 }));
    let service = json!({ "match": "sole", "name": "db.prod.svc.cluster.local", "address": "10.96.7.7", "port": 5432 });
    let web = named.into_iter().chain([literal, ambiguous]).map(|more| ("web", more));
    let lines = web.chain([("api", service)]).enumerate().map(|(number, (workload, more))| {
        let mut record = json!({
            "schema": "dns.use/1", "event_id": format!("{number:032x}"), "ts": now, "node": "n1", "protocol": "tcp",
            "address": "198.51.100.7", "port": 443, "outcome": "established", "count": 1, "first": now, "last": now,
            "k8s": { "namespace": "shop", "pod": format!("{workload}-7d9-x"), "workload_kind": "Deployment",
                "workload": workload, "labels": { "app": workload, "pod-template-hash": "7d9" } },
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record.to_string() + "\n"
    });
    lines.collect()
}

/// `dnscribe policy` reads the rows of the page's query as it reads the records themselves, with integers as texts, too.
fn policies_are_those_of_its_records(fleet: &Fleet, records: &str) {
    let folder = fleet.folder.path();
    let page = fs::read_to_string(environment::workspace().join("docs/policy.md")).unwrap();
    let (_, query) = page.split_once("clickhouse-client --query \"").unwrap();
    let (query, _) = query.split_once('"').unwrap();
    let policy = |input: &str, arguments: &[&str]| {
        let file = folder.join("uses.ndjson");
        fs::write(&file, input).unwrap();
        let mut policy = Command::new(environment::binary().unwrap());
        policy.arg("policy").args(arguments).args(["--namespace", "shop"]);
        policy.stdin(fs::File::open(file).unwrap()).output().unwrap()
    };
    let suggested = folder.join("policy.yaml");
    for quoted in ["0", "1"] {
        let settings = format!("SETTINGS output_format_json_quote_64bit_integers = {quoted}");
        let rows = fleet.query(&format!("{query} {settings}")).join("\n");
        assert_eq!(rows.contains("\"count\":\"5000000000\""), quoted == "1", "{rows}");
        for format in ["cluster", "kubernetes", "cilium"] {
            let [of_rows, of_records] =
                [&rows, records].map(|input| policy(input, &["suggest", "-", "-o", format]));
            assert!(of_rows.status.success(), "{of_rows:?}");
            assert_eq!(printed(&of_rows), printed(&of_records), "{format}");
            fs::write(&suggested, of_rows.stdout).unwrap();
        }
        let check = ["check", suggested.to_str().unwrap(), "--records", "-"];
        let [of_rows, of_records] = [&rows, records].map(|input| policy(input, &check));
        assert_eq!(printed(&of_rows), printed(&of_records));
        let text = String::from_utf8(of_rows.stdout).unwrap();
        let refused = "shop/web  by no name  203.0.113.8 port 8443/TCP";
        assert!(text.contains(refused) && of_rows.status.code() == Some(1), "{text}");
        let api = [&check[..], &["--workload", "api"]].concat();
        assert_eq!(policy(&rows, &api).status.code(), Some(0));
    }
    let policies = fs::read_to_string(suggested).unwrap();
    assert!(
        policies.contains(
            "5000000000 connections to 198.51.100.7 port 443/TCP; it's.example is no name"
        ),
        "{policies}"
    );
    assert!(policies.contains("serviceName: db"), "{policies}");
}

/// Exit code and standard output; the log has times.
fn printed(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap())
}

/// The views read each column that migrations create, with its type.
fn every_column_is_read(fleet: &Fleet) {
    let text = fs::read_to_string(reading()).unwrap().replace("\\'", "'");
    for table in ["dns_transactions", "dns_alerts", "dns_uses", "dns_lookups", "dns_connections"] {
        let (_, view) = text.split_once(&format!("{table}_kafka_view TO {table} AS")).unwrap();
        let (view, _) = view.split_once(";\n").unwrap();
        let of_table = format!("FROM system.columns WHERE database = 'dns' AND table = '{table}'");
        for column in fleet.query(&format!("SELECT name, type {of_table} FORMAT TSVRaw")) {
            let (name, kind) = column.split_once('\t').unwrap();
            assert!(view.contains(&format!("`{name}` {kind}")), "{table}: {column}");
            assert!(view.contains(&format!(" AS {name}")), "{table}: {column}");
        }
    }
}

impl Fleet {
    /// Writes values to a topic.
    fn write(&self, topic: &str, values: &[&str]) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-P", "-t", &format!("{PREFIX}{topic}")])
            .stdin(Stdio::piped());
        let mut child = kcat.spawn().unwrap();
        child.stdin.take().unwrap().write_all((values.join("\n") + "\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// A capture with queries for the awkward names and their answers.
fn awkward_names() -> Vec<u8> {
    let [client, server]: [SocketAddrV4; 2] =
        ["192.0.2.1:4000", "192.0.2.53:53"].map(|address| address.parse().unwrap());
    let exchange = |(number, name): (usize, &&str)| {
        let id = u16::try_from(number).unwrap();
        let query = wire::query(id, name, wire::A).unwrap();
        let answer = wire::Reply::to(&query).address([192, 0, 2, 80]).octets();
        let at_ns = u64::from(id) * 1_000_000;
        [
            Datagram { at_ns, from: client, to: server, payload: query },
            Datagram { at_ns: at_ns + 100, from: server, to: client, payload: answer },
        ]
    };
    let datagrams: Vec<_> = AWKWARD.iter().enumerate().flat_map(exchange).collect();
    let mut capture = Vec::new();
    pcap::write_datagrams(&mut capture, &datagrams).unwrap();
    capture
}

/// Returns whether a row has all values of a record. It may have more: defaults of fields that are absent.
fn contains(row: &Value, record: &Value) -> bool {
    match (row, record) {
        (Value::Object(row), Value::Object(record)) => record
            .iter()
            .all(|(name, value)| row.get(name).is_some_and(|found| contains(found, value))),
        (Value::Array(row), Value::Array(record)) => {
            row.len() == record.len()
                && row.iter().zip(record).all(|(row, record)| contains(row, record))
        }
        (Value::Number(row), Value::Number(record)) => row.as_f64() == record.as_f64(),
        _ => row == record,
    }
}

/// Every query of the boards to `ClickHouse` is understood, and those that need no enrichment have rows.
fn boards_read_its_rows(fleet: &Fleet) {
    let mut panels = BTreeMap::new();
    for entry in fs::read_dir(grafana::folder().join("dashboards")).unwrap() {
        let board: Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                if target["datasource"]["type"] == "grafana-clickhouse-datasource" {
                    let rows = fleet.query(&expand(target["rawSql"].as_str().unwrap()));
                    let title = panel["title"].as_str().unwrap().to_owned();
                    panels.insert(title, rows.len());
                }
            }
        }
    }
    eprintln!("{panels:#?}");
    for title in ["Latency by resolver and zone", "Who asks for names that do not exist"] {
        assert!(panels[title] > 0, "{panels:#?}");
    }
}

/// Replaces the macros of Grafana's source and its variables: all times, everything chosen.
fn expand(sql: &str) -> String {
    let mut sql = sql.replace("$vantage", "passive").replace("$__interval_s", "60");
    for (macro_name, instead) in
        [("$__timeFilter(", "isNotNull("), ("$__timeInterval(", "toStartOfMinute(")]
    {
        sql = sql.replace(macro_name, instead);
    }
    sql = sql.replace("$__fromTime", "toDateTime(0)").replace("$__toTime", "now()");
    for variable in ["resolver", "zone", "environment", "node", "site", "client"] {
        sql = sql.replace(&format!("${{{variable}:regex}}"), ".*");
    }
    assert!(!sql.contains("$__") && !sql.contains("${"), "{sql}");
    sql
}
