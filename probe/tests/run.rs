//! `dnscribe-probe run` as a process, with servers of the tests on the loopback interface.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(1);

/// Answers each query with one address after `delay`, in a thread of its own.
fn dns_server(delay: Duration) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let mut end = 12;
            while query[end] != 0 {
                end += usize::from(query[end]) + 1;
            }
            assert!(end + 5 <= length);
            let mut response = query[..2].to_vec();
            response.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            response.extend(&query[12..end + 5]);
            response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            let socket = socket.try_clone().unwrap();
            thread::spawn(move || {
                thread::sleep(delay);
                socket.send_to(&response, client).unwrap();
            });
        }
    });
    address
}

/// Accepts connections, in a thread of its own.
fn tcp_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    address
}

/// A port that refuses connections.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A configuration with a file sink.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn records_file(&self) -> PathBuf {
        self.folder.path().join("records.ndjson")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("probes.yaml")
    }

    /// Writes the configuration; `rest` follows the sink.
    fn write(&self, rest: &str) {
        let records = self.records_file();
        let head = format!(
            "version: 1\nnode: probe-1\nmetrics: {{ listen: \"off\" }}\nsinks: [\"file:{}\"]\n",
            records.display()
        );
        fs::write(self.config(), head + rest).unwrap();
    }

    /// Records so far, whole lines only.
    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.records_file()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn rounds_of(&self, target: &str) -> usize {
        self.records().iter().filter(|record| record["target"] == target).count()
    }

    fn run(&self) -> Probe {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-probe"));
        command.args(["run", "--config"]).arg(self.config());
        Probe { child: command.stderr(Stdio::piped()).spawn().unwrap() }
    }
}

fn once(config: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-probe"));
    command.args(["run", "--once", "--config"]).arg(config).args(more).output().unwrap()
}

/// A running probe. Dropping it kills it.
struct Probe {
    child: Child,
}

impl Probe {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends the probe; returns what it wrote to stderr.
    fn terminate(mut self) -> String {
        self.signal(Signal::TERM);
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "waited for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The last ledger record, which must be final and balanced.
fn final_ledger(records: &[Value]) -> &Value {
    let ledger = records.iter().rfind(|record| record["schema"] == "dns.ledger/1").unwrap();
    assert_eq!((&ledger["final"], &ledger["balanced"]), (&true.into(), &true.into()), "{ledger}");
    ledger
}

#[test]
fn once_prints_services_in_order_and_fails_with_a_target() {
    let setup = Setup::new();
    let (slow, quick) = (dns_server(Duration::from_millis(300)), dns_server(Duration::ZERO));
    let (open, closed) = (tcp_server(), closed_port());
    fs::write(
        setup.config(),
        format!(
            "version: 1\nresolvers: {{ slow: \"udp://{slow}\", quick: \"udp://{quick}\" }}\n\
             services:\n\
             \x20 - name: first\n    targets:\n      - dns: {{ name: a.example, resolvers: [slow] }}\n      - tcp: {{ address: \"{open}\" }}\n\
             \x20 - name: second\n    targets:\n      - dns: {{ name: b.example }}\n      - tcp: {{ address: \"{closed}\" }}\n"
        ),
    )
    .unwrap();
    let output = once(&setup.config(), &["--output", "text"]);
    assert_eq!(output.status.code(), Some(1), "one target refuses");
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().take(4).collect()).collect();
    let verdict = lines.iter().position(Vec::is_empty).unwrap();
    let (lines, verdict) = (&lines[..verdict], &lines[verdict + 1..]);
    assert_eq!(verdict[0], ["critical", "verdict_hosting:", "second:", "b.example"], "{table}");
    assert_eq!(verdict.last().unwrap(), &["→", "hosting"], "{table}");
    let (open, closed) = (open.to_string(), closed.to_string());
    let expected = [
        ["ok", "first", "dns", "a.example"],
        ["ok", "first", "tcp", &open],
        ["ok", "second", "dns", "b.example"],
        ["ok", "second", "dns", "b.example"],
        ["FAIL", "second", "tcp", &closed],
    ];
    assert_eq!(lines, expected, "{table}");

    let output = once(&setup.config(), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (probes, alerts): (Vec<&Value>, Vec<&Value>) =
        records.iter().partition(|record| record["schema"] == "dns.probe/1");
    assert_eq!((probes.len(), alerts.len()), (5, 1), "{text}");
    let alert = alerts[0];
    assert_eq!((&alert["rule"], &alert["scope"]), (&"verdict_hosting".into(), &"probe".into()));
    assert_eq!(alert["entity"], "service=second");
    let refused = probes.iter().find(|record| record["target"] == closed).unwrap();
    assert_eq!(alert["samples"][0], refused["event_id"]);
    assert_eq!(alert["evidence"][1], format!("TCP to {closed} refused"), "{alert}");
}

#[test]
fn measures_until_stopped_and_accounts_for_every_round() {
    let setup = Setup::new();
    let (dns, silent) = (dns_server(Duration::ZERO), dns_server(Duration::from_hours(1)));
    let (open, closed) = (tcp_server(), closed_port());
    setup.write(&format!(
        "resolvers: {{ local: \"udp://{dns}\", silent: \"udp://{silent}\" }}\n\
         defaults: {{ interval: 200ms, timeout: 1s }}\n\
         limits: {{ breaker_failures: 3, breaker_backoff: 1s, breaker_max_backoff: 2s }}\n\
         services:\n  - name: shop\n    targets:\n\
         \x20     - dns: {{ name: a.example, resolvers: [local] }}\n\
         \x20     - dns: {{ name: slow.example, resolvers: [silent] }}\n\
         \x20     - tcp: {{ address: \"{open}\" }}\n\
         \x20     - tcp: {{ address: \"{closed}\" }}\n"
    ));
    let probe = setup.run();
    let start = Instant::now();
    wait_for("some rounds", || setup.rounds_of("a.example A") >= 20);
    // 20 rounds take 3.8 s; the slow target, which takes a second, holds up no other.
    assert!(start.elapsed() < Duration::from_secs(10));
    let log = probe.terminate();

    let records = setup.records();
    let ledger = final_ledger(&records);
    let probing = &ledger["probing"];
    let number = |value: &Value| value.as_u64().unwrap();
    let reasons = probing["skipped"].as_object().unwrap();
    let skipped: u64 = reasons.values().map(number).sum();
    let rounds = number(&probing["rounds"]);
    assert_eq!(rounds, number(&probing["completed"]) + skipped, "{probing}");
    assert_eq!(probing["running"], 0);
    assert!(number(&reasons["overrun"]) > 5, "the slow target: {probing}");
    assert!(number(&reasons["breaker"]) > 5, "the closed port: {probing}");
    let probes: Vec<_> = records.iter().filter(|one| one["schema"] == "dns.probe/1").collect();
    assert_eq!(number(&probing["records"]), probes.len() as u64);
    assert_eq!(ledger["delivery"]["file"]["probes"]["delivered"], probes.len());
    let ids: BTreeSet<_> = probes.iter().map(|probe| probe["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), probes.len());
    let outcomes: BTreeMap<_, _> = probes
        .iter()
        .map(|probe| (probe["target"].as_str().unwrap(), probe["error"]["reason"].as_str()))
        .collect();
    let (open, closed) = (open.to_string(), closed.to_string());
    let expected = [
        ("a.example A", None),
        ("slow.example A", Some("timeout")),
        (&*open, None),
        (&*closed, Some("refused")),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected));
    assert!(log.contains("every identity closes") && log.contains("rounds"), "{log}");
}

#[test]
fn reload_keeps_what_has_not_changed() {
    let setup = Setup::new();
    let dns = dns_server(Duration::ZERO);
    let with = |names: &[&str], interval: &str| {
        let targets: Vec<_> =
            names.iter().map(|name| format!("      - dns: {{ name: {name} }}\n")).collect();
        let targets = targets.concat();
        setup.write(&format!(
            "resolvers: {{ local: \"udp://{dns}\" }}\ndefaults: {{ interval: {interval} }}\n\
             services:\n  - name: shop\n    targets:\n{targets}"
        ));
    };
    with(&["kept.example", "gone.example"], "500ms");
    let probe = setup.run();
    wait_for("both targets", || {
        setup.rounds_of("kept.example A") >= 3 && setup.rounds_of("gone.example A") >= 3
    });
    with(&["kept.example", "new.example"], "500ms");
    probe.signal(Signal::HUP);
    wait_for("the new target", || setup.rounds_of("new.example A") >= 3);
    let gone = setup.rounds_of("gone.example A");

    fs::write(setup.config(), "version: 1\nservices:\n  - nmae: typo\n").unwrap();
    probe.signal(Signal::HUP);
    let before = setup.rounds_of("kept.example A");
    wait_for("rounds after a bad file", || setup.rounds_of("kept.example A") >= before + 3);

    // A sink that cannot be opened: nothing else of the file holds either.
    with(&["kept.example"], "500ms");
    let text = fs::read_to_string(setup.config()).unwrap();
    let missing = setup.folder.path().join("missing/records.ndjson");
    let records_file = setup.records_file().display().to_string();
    fs::write(setup.config(), text.replace(&records_file, &missing.display().to_string())).unwrap();
    probe.signal(Signal::HUP);
    let before = setup.rounds_of("new.example A");
    wait_for("rounds after a bad sink", || setup.rounds_of("new.example A") >= before + 3);
    let log = probe.terminate();

    assert_eq!(setup.rounds_of("gone.example A"), gone, "no rounds once it is removed");
    assert!(log.contains("configuration reloaded"), "{log}");
    assert!(
        log.matches("stays as it was").count() == 2 && log.contains("line 3, column 5"),
        "line and column: {log}"
    );
    let records = setup.records();
    final_ledger(&records);
    let times: Vec<i64> = records
        .iter()
        .filter(|record| record["target"] == "kept.example A")
        .map(|record| milliseconds(record["ts"].as_str().unwrap()))
        .collect();
    for (earlier, later) in times.iter().zip(&times[1..]) {
        let off = (later - earlier + 250).rem_euclid(500) - 250;
        assert!(off.abs() < 150, "on the grid over both reloads: {times:?}");
    }
}

/// Milliseconds of a time within its day.
fn milliseconds(ts: &str) -> i64 {
    let number = |from: usize, to: usize| ts[from..to].parse::<i64>().unwrap();
    ((number(11, 13) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1000 + number(20, 23)
}

#[test]
fn check_names_what_is_missing() {
    let setup = Setup::new();
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-probe"));
        let output = command.args(["check", "--config"]).arg(setup.config()).args(more).output();
        let output = output.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    setup.write(
        "services:\n  - name: shop\n    targets:\n      - tcp: { address: \"192.0.2.1:443\" }\n",
    );
    let (code, text) = check(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 services with 1 targets"), "{text}");
    assert!(!setup.records_file().exists(), "check leaves nothing behind");
    let brokers = closed_port().to_string();
    let (code, help) = check(&["--help"]);
    assert_eq!(code, 0, "{help}");
    assert!(help.contains("Print the results as text or json [default: text]"), "{help}");
    let (code, text) = check(&["--sink", "kafka", "--brokers", &brokers, "--output", "json"]);
    assert_eq!(code, 1, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let failed = report["probes"].as_array().unwrap().iter().find(|probe| probe["name"] == "kafka");
    assert!(failed.unwrap()["detail"].as_str().unwrap().contains("refused"), "{text}");
    fs::write(setup.config(), "version: 2\n").unwrap();
    let (code, text) = check(&[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("fail  config") && text.contains("line 1, column 10"), "{text}");
}

/// `check` says whether echo requests can be sent, by any of the ways in which `run` sends them.
#[test]
fn check_and_run_agree_about_ping() {
    let setup = Setup::new();
    setup.write(
        "services:\n  - name: shop\n    targets:\n      - ping: { address: 127.0.0.1, count: 1 }\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-probe"));
    let output = command.args(["check", "-o", "json", "--config"]).arg(setup.config()).output();
    let report: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let ping = report["probes"].as_array().unwrap().iter().find(|probe| probe["name"] == "ping");
    let ping = ping.expect("a probe of ping");
    assert_eq!(ping["required"], false, "{report}");
    let output = once(&setup.config(), &["-o", "json"]);
    let measured = setup.records().iter().any(|record| record["received"] == 1);
    assert_eq!(ping["ok"], measured, "{ping}");
    // What was not measured is not good.
    assert_eq!(output.status.success(), measured, "{output:?}");
}

/// Each of these would run without a result, or without saying why.
#[test]
fn what_can_have_no_result_is_refused() {
    let setup = Setup::new();
    setup.write("services: []\n");
    let errors = |output: Output| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = errors(once(&setup.config(), &[]));
    assert!(text.contains("there is no target to measure"), "{text}");
    let text = errors(once(&setup.config(), &["--stream", "transactions"]));
    assert!(
        text.contains("a probe has no transactions: give some of alerts, ledger, probes"),
        "{text}"
    );
    for name in ["192.0.2.1", "https://shop.example"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-probe"));
        let output = command.args(["explain", name, "--config"]).arg(setup.config()).output();
        let text = errors(output.unwrap());
        assert!(text.contains("is no name of DNS"), "{text}");
    }
}
