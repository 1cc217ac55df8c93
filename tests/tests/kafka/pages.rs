//! Commands of pages that need a broker, executed as they are written.

use crate::admin::shared_broker;
use crate::consume::consume;
use dnscribe_tests::page::{Command, End, Executor, Terminal};
use dnscribe_tests::{environment, shell};
use serde_json::json;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// Queries of this host, which the agents of the pages see.
const TRAFFIC: &str = "while :; do dig +tries=1 +time=1 @127.0.0.1 -p 53 www.example.test; sleep 0.2; done >/dev/null 2>&1";

#[test]
fn commands_of_pages_work_with_a_broker() {
    if !environment::privileged() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let brokers = broker.bootstrap();
    let terminal = terminal(&brokers);
    let mut traffic = terminal.shell(TRAFFIC).stdout(Stdio::null()).spawn().unwrap();
    let commands = Executor::Kafka.commands().unwrap();
    assert!(commands.len() > 20, "{}", commands.len());
    let mut wrong = Vec::new();
    for command in &commands {
        let started = std::time::Instant::now();
        if let Err(error) = terminal.run(command, end(command)) {
            wrong.push(format!("{error:#}"));
        }
        eprintln!("{:6.1} s {}: {}", started.elapsed().as_secs_f64(), command.page, command.text);
    }
    shell::end(&mut traffic);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // What they should have done.
    for (topic, records) in [("dns.intel", 2), ("dns.zones", 1)] {
        assert_eq!(consume(&brokers, topic).len(), records, "{topic}");
    }
    let policy = fs::read_to_string(terminal.path("web.yaml")).unwrap();
    assert!(policy.contains("api.example.com"), "{policy}");
}

/// How a command should end.
fn end(command: &Command) -> End {
    let text = command.text.as_str();
    match () {
        () if text.contains("--sink stdout") => End::Interrupted,
        () if text.contains("dnscribe run") || text.contains("cargo xtask run") => {
            End::Silent(Duration::from_millis(500))
        }
        () => End::Code(&[0]),
    }
}

/// A shell in a folder with the files that pages name, and a broker with the records of a tunnel and of a pod.
fn terminal(brokers: &str) -> Terminal {
    let mut terminal = Terminal::new().unwrap();
    for name in ["kafka-1:9092,kafka-2:9092", "kafka-1:9092", "127.0.0.1:23520", "127.0.0.1:29556"]
    {
        terminal.replacements.push((name.to_owned(), brokers.to_owned()));
    }
    // The records are of today.
    for (time, offset) in [("2026-11-20T00:00:00Z", -1), ("2026-11-21T00:00:00Z", 1)] {
        let here = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(offset);
        terminal.replacements.push((time.to_owned(), here.to_string()));
    }
    terminal.replacements.push(("-b kafka-1 ".to_owned(), format!("-b {brokers} ")));
    let log = terminal.path("log").display().to_string();
    terminal.replacements.push(("/var/log/dnscribe".to_owned(), log));
    let spool = terminal.path("spool").display().to_string();
    for (name, value) in [
        // Where a page names a file with other brokers, or none.
        ("DNSCRIBE_KAFKA__BROKERS", brokers),
        ("DNSCRIBE_SPOOL__DIRECTORY", &spool),
        ("DNSCRIBE_METRICS__LISTEN", "127.0.0.1:0"),
    ] {
        terminal.variables.push((name.to_owned(), value.to_owned()));
    }
    fs::create_dir(terminal.path("log")).unwrap();
    terminal.write("hosts.txt", "0.0.0.0 bad.example worse.example\n").unwrap();
    terminal.write("zones.csv", "zone,owner\nshop.example,web\n").unwrap();
    terminal.write("uses.ndjson", &used()).unwrap();
    for name in ["traffic.pcap", "YOUR.pcap"] {
        fs::copy(environment::lab_capture(), terminal.path(name)).unwrap();
    }
    let prepare = format!(
        "DNSCRIBE_MESSAGES__WIRE=true dnscribe replay examples/tunnel.pcapng --sink kafka --stream messages,transactions,alerts,dlq,ledger --brokers {brokers} && \
         kcat -P -b {brokers} -t dns.uses uses.ndjson"
    );
    shell::output(&mut terminal.shell(&prepare)).unwrap();
    terminal
}

/// A connection of the workload that the page about policies names.
fn used() -> String {
    json!({
        "schema": "dns.use/1", "event_id": "0".repeat(32), "ts": "2026-11-20T07:00:00Z", "node": "n", "protocol": "tcp",
        "address": "198.51.100.7", "port": 443, "match": "sole", "name": "api.example.com", "outcome": "established", "count": 1,
        "first": "2026-11-20T07:00:00Z", "last": "2026-11-20T07:00:00Z",
        "k8s": {
            "namespace": "shop", "pod": "web-1", "container": "web", "workload_kind": "Deployment", "workload": "web",
            "labels": { "app.kubernetes.io/name": "web" },
        },
    })
    .to_string()
        + "\n"
}
