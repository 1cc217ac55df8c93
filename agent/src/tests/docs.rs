//! Compares pages of the documentation with the code and the files that they describe: what is written twice
//! drifts apart.

use crate::health::{Health, Vitals};
use dnscribe_admin::health::DeliveryVitals;
use dnscribe_delivery::SinkSpec;
use dnscribe_record::{Stream, StreamSet};
use dnscribe_transaction::pair::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths of the files with this extension in a folder and those below it.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
        if root().join(&path).is_dir() {
            found.extend(files(&path, extension));
        } else if Path::new(&path).extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}

/// Rows of the Markdown table whose heading begins with these cells.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows: Vec<Vec<String>> = lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            cells.collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table {heading}");
    rows
}

/// The report of an agent that has lost `lost` packets `ago` seconds ago.
fn report(lost: u64, ago: u64) -> String {
    let start = Instant::now();
    let now = start + Duration::from_secs(ago);
    let mut health = Health::new(Duration::from_mins(1), Some(1 << 30));
    let delivery = DeliveryVitals { sinks: 1, ..DeliveryVitals::default() };
    health.observe(start, Vitals { delivery: delivery.clone(), ..Vitals::default() });
    health.observe(start, Vitals { lost, delivery, ..Vitals::default() });
    health.report(now).to_string()
}

#[test]
fn health_pages_show_the_report() {
    let runbook = read("docs/runbooks/health.md");
    let whole = report(1532, 4);
    assert!(runbook.contains(&whole), "docs/runbooks/health.md lacks:\n{whole}");
    let page = read("docs/health.md");
    let example = page.split("localhost:9353/healthz\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let whole = report(7, 2);
    for line in example.lines() {
        assert!(
            whole.lines().any(|own| own == line),
            "docs/health.md: {line:?} is not of\n{whole}"
        );
    }
    let checks: Vec<&str> =
        whole.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let documented: Vec<String> =
        table(&page, "| check |").into_iter().map(|row| row[0].clone()).collect();
    let expected: Vec<String> = checks.iter().map(|check| format!("`{check}`")).collect();
    assert_eq!(documented, expected);
    for check in checks {
        assert!(runbook.contains(&format!("\n## `{check}`: ")), "no section on {check}");
    }
}

/// One of each kind of sink.
fn sinks() -> [SinkSpec; 10] {
    [
        "stdout",
        "null",
        "parquet:x",
        "kafka",
        "file:x",
        "otlp:http://c",
        "alertmanager",
        "dnstap:file:x",
        "pcapng:x",
        "evidence:x",
    ]
    .map(|text| text.parse().unwrap())
}

#[test]
fn default_streams_are_those_of_the_sinks() {
    let rows = table(&read("docs/sinks.md"), "| stream | topic | schema |");
    let names: Vec<&str> = rows.iter().map(|row| &*row[0]).collect();
    // Nothing of an agent is in `probes`.
    let all = Stream::ALL.into_iter().filter(|stream| *stream != Stream::Probes);
    assert_eq!(names, all.map(Stream::name).collect::<Vec<_>>(), "docs/sinks.md");
    for row in rows {
        let stream = Stream::ALL.into_iter().find(|stream| stream.name() == row[0]).unwrap();
        assert_eq!([&row[1], &row[2]], [stream.default_topic(), stream.schema()], "{stream:?}");
        let takers: Vec<SinkSpec> =
            sinks().into_iter().filter(|sink| sink.default_streams().contains(stream)).collect();
        let names: Vec<&str> = takers.iter().map(SinkSpec::kind).collect();
        let expected = match names.as_slice() {
            [] => "no sink".to_owned(),
            ["stdout", "null", "parquet", "kafka", "file", "otlp"] => {
                "every sink but `alertmanager`, `dnstap`, `pcapng` and `evidence`".to_owned()
            }
            names => names.join(", "),
        };
        assert_eq!(row[4], expected, "docs/sinks.md: {stream:?}");
    }
    let list = |streams: StreamSet| {
        let names: Vec<&str> = streams.iter().map(Stream::name).collect();
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.concat(),
        }
    };
    let [stdout, null, parquet, kafka, file, _, alertmanager, ..] =
        sinks().map(|sink| list(sink.default_streams()));
    assert_eq!((&stdout, &stdout, &kafka), (&null, &parquet, &file));
    let sentence = format!(
        "Default: {stdout} for stdout, parquet and null; {kafka} for file and kafka; alertmanager always gets {alertmanager}."
    );
    assert!(read("docs/config.md").contains(&sentence), "docs/config.md lacks: {sentence}");
}

#[test]
fn every_status_is_explained() {
    let pages = read("docs/records.md") + &read("docs/failures.md");
    for status in Status::ALL {
        let name = status.name();
        let is_explained = [format!("`{name}`"), format!("\n| {name} |")];
        assert!(
            is_explained.iter().any(|text| pages.contains(text)),
            "{name} is explained nowhere"
        );
    }
}

/// Users that the scripts of the stores create.
const STORE_USERS: [&str; 3] = ["dnscribe_migrator", "dnscribe_writer", "dnscribe_reader"];

#[test]
fn users_and_grants_are_those_of_the_stores() {
    let clickhouse = read("stores/clickhouse/roles.sql");
    let timescaledb = read("stores/timescaledb/roles.sql");
    for user in STORE_USERS {
        assert!(clickhouse.contains(&format!("CREATE USER IF NOT EXISTS {user};")), "{user}");
        assert!(timescaledb.contains(&format!("'{user}'")), "{user}");
    }
    let scripts = clickhouse + &timescaledb;
    for page in files("docs", "md") {
        let text = read(&page);
        for grant in text.split("GRANT ").skip(1) {
            let end = grant.find([';', '`', '\n']).unwrap_or(grant.len());
            let grant = format!("GRANT {};", &grant[..end]);
            assert!(scripts.contains(&grant), "{page}: no roles.sql has {grant:?}");
        }
        // The sections of stores in the configuration of the jobs.
        let mut section = "";
        for line in text.lines() {
            if !line.starts_with(' ') {
                section = line;
            }
            let is_store =
                section.starts_with("clickhouse:") || section.starts_with("timescaledb:");
            if let Some(user) = line.trim_start().strip_prefix("user: ").filter(|_| is_store) {
                assert!(STORE_USERS.contains(&user.trim()), "{page}: no roles.sql creates {user}");
            }
        }
    }
}

/// Topics that the rules of Kafka's access control give to a principal for an operation.
fn topics_of(page: &str, principal: &str, operation: &str) -> BTreeSet<String> {
    let rules = page.lines().filter(|line| {
        line.contains(&format!("User:{principal} "))
            && line.contains(&format!("--operation {operation} "))
    });
    let topics = rules.flat_map(|line| line.split("--topic ").skip(1));
    topics.filter_map(|rest| rest.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn access_rules_have_every_topic() {
    let page = read("docs/stream-security.md");
    let of = |streams: &mut dyn Iterator<Item = Stream>| -> BTreeSet<String> {
        streams.map(|stream| stream.default_topic().to_owned()).collect()
    };
    let agent = of(&mut Stream::ALL.into_iter().filter(|stream| *stream != Stream::Probes));
    assert_eq!(topics_of(&page, "dnscribe-agent", "Write"), agent);
    assert_eq!(topics_of(&page, "dnscribe-probe", "Write"), of(&mut StreamSet::PROBED.iter()));
    // The topics of the jobs are those of their configuration, which names each beside its key.
    let jobs = read("stream/src/main/java/dnscribe/stream/config/Config.java");
    let jobs: BTreeSet<String> = jobs
        .lines()
        .filter(|line| line.contains(" == null ? \"dns."))
        .filter_map(|line| line.split('"').nth(1).map(str::to_owned))
        .collect();
    assert!(jobs.len() > 9, "{jobs:?}");
    let read = topics_of(&page, "dnscribe-stream", "Read");
    assert_eq!(read, jobs, "the jobs read what they write, too");
    assert!(topics_of(&page, "dnscribe-stream", "Write").is_subset(&jobs));
}

/// Wherever the endpoints of the admin server are listed, the list is complete.
#[test]
fn endpoints_are_listed_completely() {
    let mut sources = files("docs", "md");
    for (folder, extension) in
        [("deploy", "yaml"), ("agent/src", "rs"), ("probe/src", "rs"), ("crates", "rs")]
    {
        sources.extend(files(folder, extension));
    }
    let mut lists = 0;
    for path in sources.into_iter().filter(|path| !path.ends_with(file!())) {
        for line in read(&path).lines() {
            if line.contains("/metrics") && line.contains("/readyz") {
                lists += 1;
                for endpoint in ["/healthz", "/livez"] {
                    assert!(line.contains(endpoint), "{path}: no {endpoint} in {line:?}");
                }
            }
        }
    }
    assert!(lists > 5, "{lists}");
}

/// Data sources of a board, by the columns of the table in `docs/dashboards.md`: anywhere in it, or not in panels.
fn sources(board: &serde_json::Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match board {
        serde_json::Value::Object(fields) => {
            if let Some(kind) = board["datasource"]["type"].as_str() {
                found.insert(kind.to_owned());
            }
            found.extend(fields.values().flat_map(sources));
        }
        serde_json::Value::Array(items) => found.extend(items.iter().flat_map(sources)),
        _ => {}
    }
    found
}

#[test]
fn boards_need_the_stores_of_the_table() {
    let columns = ["grafana-postgresql-datasource", "grafana-clickhouse-datasource", "prometheus"];
    let mut boards: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    for path in files("grafana/dashboards", "json") {
        let board: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
        let title = board["title"].as_str().unwrap();
        let name = if title.starts_with("Registrar: ") {
            "registrar"
        } else {
            title.trim_start_matches("DNS: ")
        };
        boards.entry(name.to_owned()).or_default().push(sources(&board));
    }
    let rows = table(&read("docs/dashboards.md"), "| board | TimescaleDB |");
    assert_eq!(rows.len(), boards.len());
    for row in rows {
        for used in &boards[&row[0]] {
            assert!(used.iter().all(|kind| columns.contains(&kind.as_str())), "{used:?}");
            for (kind, cell) in columns.iter().zip(&row[1..]) {
                assert_eq!(used.contains(*kind), !cell.is_empty(), "{}: {kind}", row[0]);
            }
        }
    }
}

#[test]
fn index_has_every_page() {
    let index = read("docs/README.md");
    for page in files("docs", "md") {
        let name = page.strip_prefix("docs/").unwrap();
        // SUMMARY.md is the same for the site.
        if !["README.md", "SUMMARY.md"].contains(&name) && !name.contains('/') {
            assert!(index.contains(&format!("]({name})")), "docs/README.md has no link to {name}");
        }
    }
}
