//! `ledger verify` with the ledger of a stream job: identity 6 against the topics, identity 7 against a store. Needs no root.

use crate::admin::shared_broker;
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn dnscribe(broker: &Broker, words: &[&str]) -> Output {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(words).args(["--brokers", &broker.bootstrap()]).stdin(Stdio::null());
    command.output().unwrap()
}

fn produce(broker: &Broker, topic: &str, value: impl AsRef<[u8]>) {
    let config = [("bootstrap.servers", broker.bootstrap())];
    let producer: BaseProducer = config
        .into_iter()
        .fold(ClientConfig::new(), |mut config, (key, value)| config.set(key, value).clone())
        .create()
        .unwrap();
    producer.send(BaseRecord::to(topic).key("enrich").payload(value.as_ref())).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Returns a ledger record of the job `enrich`.
fn ledger(checkpoint: u64, unique: u64, malformed: u64) -> String {
    let records = unique + malformed;
    json!({
        "schema": "dns.stream.ledger/1", "event_id": format!("{checkpoint:032x}"),
        "ts": "2026-11-20T07:30:00Z", "node": "enrich", "job": "enrich", "checkpoint": checkpoint,
        "input": {"dns.normalized": {"records": records, "unique": unique, "duplicates": 0,
            "malformed": malformed}},
        "output": {"dns.enriched": {"records": unique, "written": unique},
            "clickhouse": {"records": unique, "written": unique}},
        "late": 0, "balanced": true,
    })
    .to_string()
}

/// Runs `ledger verify` with more arguments; returns its exit code and report.
fn verify_with(broker: &Broker, more: &[&str]) -> (Option<i32>, Value) {
    let output = dnscribe(broker, &[&["ledger", "verify", "-o", "json"], more].concat());
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

fn verify(broker: &Broker) -> (Option<i32>, Value) {
    verify_with(broker, &[])
}

/// Replays the lab's capture to the broker; returns the number of its transactions.
fn replay(broker: &Broker) -> u64 {
    let capture = environment::lab_capture();
    let words = ["replay", capture.to_str().unwrap(), "--sink", "kafka"];
    assert!(dnscribe(broker, &words).status.success());
    let (code, report) = verify(broker);
    assert_eq!((code, report["inputs"].as_array().unwrap().len()), (Some(0), 0));
    let streams = report["streams"].as_array().unwrap();
    let transactions = streams.iter().find(|line| line["stream"] == "transactions").unwrap();
    transactions["found"].as_u64().unwrap()
}

/// Starts a server that answers as `ClickHouse` does, with `rows` for every count.
fn start_clickhouse(rows: Arc<AtomicU64>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client says what it has not got.
            let _ = answer(stream, rows.load(Ordering::SeqCst));
        }
    });
    Ok(address)
}

fn answer(stream: TcpStream, rows: u64) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        line.clear();
    }
    let mut query = vec![0; length];
    reader.read_exact(&mut query)?;
    let is_count = query.starts_with(b"SELECT count()");
    let body = if is_count { rows.to_string() } else { "ReplacingMergeTree".to_owned() };
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    reader.get_mut().write_all((head + &body).as_bytes())
}

#[test]
fn job_accounts_for_every_record_of_the_topic() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let found = replay(&broker);

    produce(&broker, "dns.stream.ledger", ledger(1, found - 1, 0));
    let (code, report) = verify(&broker);
    let problem = report["problems"]["shown"][0].as_str().unwrap();
    assert!(code == Some(1) && problem.contains("has not read to the end"), "{problem}");
    produce(&broker, "dns.stream.ledger", ledger(2, found, 0));
    assert_eq!(verify(&broker).0, Some(0));

    // A malformed record is explained by the job's counter.
    produce(&broker, "dns.normalized", "{");
    assert_eq!(verify(&broker).0, Some(1));
    produce(&broker, "dns.stream.ledger", ledger(3, found, 1));
    let (code, report) = verify(&broker);
    assert_eq!((code, &report["inputs"][0]["found"]), (Some(0), &json!(found + 1)), "{report}");
}

/// Records that begin like Avro where no registry is configured: nobody can read them, and the others are compared.
#[test]
fn stray_records_neither_stop_it_nor_hide_missing_rows() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let found = replay(&broker);
    for last in [3, 4] {
        produce(&broker, "dns.normalized", [0, 0, 0, 0xff, 0xff, 1, 2, last]);
    }
    let (code, report) = verify(&broker);
    let problems = &report["problems"];
    assert_eq!((code, problems["shown"].as_array().unwrap().len()), (Some(1), 2), "{problems}");
    assert!(problems.to_string().contains("give kafka.registry.url"), "{problems}");

    produce(&broker, "dns.stream.ledger", ledger(1, found, 2));
    let rows = Arc::new(AtomicU64::new(found));
    let address = start_clickhouse(Arc::clone(&rows)).unwrap();
    let compare = || verify_with(&broker, &["--store", &format!("http://{address}")]);
    let (code, report) = compare();
    assert_eq!((code, &report["stores"][0]["unique"]), (Some(0), &json!(found)), "{report}");
    assert!(report["notes"].to_string().contains("give kafka.registry.url"), "{report}");
    rows.store(found - 1, Ordering::SeqCst);
    let (code, report) = compare();
    let problems = &report["problems"]["shown"];
    assert!(
        code == Some(1) && problems[0].as_str().unwrap().contains("1 rows are missing"),
        "{report}"
    );
    // A record that only the job finds wrong has no row.
    produce(&broker, "dns.stream.ledger", ledger(2, found - 1, 3));
    assert_eq!(compare().0, Some(0));
}
