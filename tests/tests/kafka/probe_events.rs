//! What the probe reads from a real broker: alerts that ask for a round, and changes that explain or mute its alerts;
//! and `run --once` with Kafka as its sink.

use crate::admin::shared_broker;
use crate::consume;
use crate::live_agent::create_topics;
use crate::replay::verify_command;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::{environment, shell};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PROBES: &str = "dns.probes";
const ALERTS: &str = "dns.alerts";
const LIMIT: Duration = Duration::from_mins(1);

/// A resolver that answers every query of type A with one address.
struct Resolver {
    address: SocketAddr,
    /// Last byte of the address in its answers.
    answer: Arc<AtomicU8>,
}

impl Resolver {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answer = Arc::new(AtomicU8::new(1));
        let last = Arc::clone(&answer);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                let reply = reply(&query[..length], last.load(Ordering::Relaxed));
                socket.send_to(&reply, client).unwrap();
            }
        });
        Self { address, answer }
    }
}

/// Returns the response to a query: an A record where one is asked for, else no data.
fn reply(query: &[u8], last: u8) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = &query[12..end + 5];
    let is_address = question[question.len() - 4..] == [0, 1, 0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    reply.extend(question);
    if is_address {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
    }
    reply
}

/// Writes a configuration with Kafka as its sink; `more` has the other sections.
fn write_config(folder: &Path, broker: &Broker, more: &Value) -> PathBuf {
    let mut config = json!({
        "version": 1,
        "node": "probe-1",
        "metrics": { "listen": "off" },
        "sinks": ["kafka"],
        "kafka": { "brokers": [broker.bootstrap()] },
        "spool": { "directory": folder.join("spool") },
        "memory": { "directory": folder.join("memory"), "learn_after": "1s" },
    });
    for (name, section) in more.as_object().unwrap() {
        config[name] = section.clone();
    }
    let path = folder.join("probes.yaml");
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// A running probe, with its log in a file. Dropping it kills it.
struct Probe {
    child: Child,
    log: PathBuf,
}

impl Probe {
    fn start(config: &Path) -> Self {
        let log = config.with_extension("log");
        let mut command = Command::new(environment::probe_binary().unwrap());
        command.args(["run", "--config"]).arg(config).stderr(fs::File::create(&log).unwrap());
        Self { child: command.spawn().unwrap(), log }
    }

    fn terminate(&mut self) {
        shell::signal(&self.child, Signal::TERM).unwrap();
        let status = shell::wait(&mut self.child, LIMIT).unwrap();
        assert!(status.success(), "{}", fs::read_to_string(&self.log).unwrap());
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}

/// Reads a topic until it has what is expected.
fn wait_for(broker: &Broker, topic: &str, is_there: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let end = Instant::now() + LIMIT;
    loop {
        let records = consume(&broker.bootstrap(), topic);
        let values: Vec<Value> = records.into_iter().map(|record| record.value).collect();
        if is_there(&values) {
            return values;
        }
        assert!(Instant::now() < end, "{topic} has only {values:#?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Writes an alert of an agent about a zone. `id` tells it from others.
fn send_alert(broker: &Broker, id: u8, state: &str) {
    let event_id = format!("{id:02x}{}", "5".repeat(30));
    let now = jiff::Timestamp::now().to_string();
    let alert = json!({
        "schema": "dns.alert/1", "event_id": event_id, "ts": now, "node": "agent-1",
        "alert_id": format!("{:02x}{}", id & 0x0f, "7".repeat(30)), "scope": "node", "rule": "nxdomain",
        "entity": "zone=example.com", "zone": "example.com", "state": state, "severity": "warning",
        "started": now, "duration_seconds": 1.0, "summary": "half of all names do not exist", "figures": [],
        "samples": [], "suppressed": 0, "runbook": "x",
    });
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let text = alert.to_string();
    // The topic is compacted: it refuses records without a key.
    producer.send(BaseRecord::to(ALERTS).key("zone=example.com").payload(&text)).unwrap();
    producer.flush(LIMIT).unwrap();
}

fn triggered(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["triggered_by"].is_string()).collect()
}

fn results<'a>(alerts: &'a [Value], state: &str) -> Vec<&'a Value> {
    alerts.iter().filter(|one| one["rule"] == "probe_result" && one["state"] == state).collect()
}

fn texts(values: &[&Value], field: &str) -> BTreeSet<String> {
    values.iter().map(|value| value[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn alert_gives_one_round_and_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    create_topics(&broker);
    let (one, two) = (Resolver::start(), Resolver::start());
    two.answer.store(2, Ordering::Relaxed);
    let udp = |resolver: &Resolver| format!("udp://{}", resolver.address);
    let config = json!({
        "resolvers": { "one": udp(&one), "two": udp(&two) },
        // The schedule itself begins within five minutes: after the test.
        "defaults": { "interval": "24h", "dnssec": false },
        "services": [{ "name": "shop", "targets": [
            { "dns": { "name": "www.example.com", "resolvers": ["one"], "interval": "24h" } },
            { "dns": { "name": "www.example.net", "resolvers": ["one"], "interval": "24h" } },
        ] }],
    });
    let mut probe = Probe::start(&write_config(folder.path(), &broker, &config));
    // Alerts are read from the start of the probe on; its first ledger record comes after it.
    wait_for(&broker, crate::LEDGER, |ledgers| !ledgers.is_empty());
    send_alert(&broker, 0x11, "firing");
    let alerts = wait_for(&broker, ALERTS, |alerts| !results(alerts, "firing").is_empty());
    let result = results(&alerts, "firing")[0];
    assert_eq!(result["triggered_by"], format!("11{}", "5".repeat(30)));
    assert_eq!(
        (&result["entity"], &result["severity"]),
        (&json!("zone=example.com"), &json!("info"))
    );
    let evidence = result["evidence"].to_string();
    assert!(evidence.contains("asked for by nxdomain: half of all names"), "{result:#}");

    // The target of the zone, at the resolver that it has and at the other one; no target of another zone.
    let probes = wait_for(&broker, PROBES, |probes| triggered(probes).len() >= 2);
    let measured = triggered(&probes);
    assert_eq!(texts(&measured, "resolver"), ["one", "two"].map(str::to_owned).into());
    assert_eq!(texts(&measured, "qname"), ["www.example.com".to_owned()].into());
    let samples: BTreeSet<_> = result["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(samples, texts(&measured, "event_id"));

    // The alert again, and another one of its entity: both too soon. The end of the first ends its result.
    send_alert(&broker, 0x21, "firing");
    send_alert(&broker, 0x22, "firing");
    send_alert(&broker, 0x31, "resolved");
    let alerts = wait_for(&broker, ALERTS, |alerts| !results(alerts, "resolved").is_empty());
    assert_eq!(results(&alerts, "firing").len(), 1, "{alerts:#?}");
    assert_eq!(
        results(&alerts, "resolved")[0]["alert_id"],
        results(&alerts, "firing")[0]["alert_id"]
    );
    probe.terminate();
    let probes = wait_for(&broker, PROBES, |probes| !probes.is_empty());
    assert_eq!(triggered(&probes).len(), 2, "{probes:#?}");
    let output = verify_command(&broker).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn annotate(broker: &Broker, words: &[&str]) {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["annotate", "--brokers", &broker.bootstrap()]).args(words);
    shell::output(command.stdin(Stdio::null())).unwrap();
}

/// Accepts connections until a client sends something.
fn port() -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving =
        thread::spawn(move || while listener.accept().is_ok_and(|(stream, _)| !is_end(&stream)) {});
    (port, serving)
}

/// Whether a client says that the port is to be closed. The probe sends nothing.
fn is_end(mut stream: &std::net::TcpStream) -> bool {
    std::io::Read::read(&mut stream, &mut [0]).is_ok_and(|length| length > 0)
}

fn close((port, serving): (u16, thread::JoinHandle<()>)) {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut stream, b"x").unwrap();
    serving.join().unwrap();
}

#[test]
fn changes_explain_and_maintenance_mutes() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    create_topics(&broker);
    let resolver = Resolver::start();
    let (web, api) = (port(), port());
    let dns = |name: &str| json!({ "name": name, "targets": [{ "dns": { "name": format!("www.{name}.example") } }] });
    let tcp = |name: &str, port: u16| json!({ "name": name, "targets": [{ "tcp": { "address": format!("127.0.0.1:{port}") } }] });
    let config = json!({
        "resolvers": { "one": format!("udp://{}", resolver.address) },
        "defaults": { "interval": "200ms", "dnssec": false },
        "services": [dns("shop"), dns("mail"), tcp("web", web.0), tcp("api", api.0)],
    });
    let zone_change =
        ["--kind", "zone_change", "--zone", "shop.example", "--summary", "new address"];
    annotate(&broker, &zone_change);
    let muted =
        ["--kind", "maintenance", "--service", "web", "--summary", "new disk", "--ends", "1h"];
    annotate(&broker, &muted);
    let mut probe = Probe::start(&write_config(folder.path(), &broker, &config));
    wait_for(&broker, PROBES, |probes| probes.len() > 60);
    resolver.answer.store(2, Ordering::Relaxed);
    close(web);
    close(api);

    let of = |service: &'static str| move |alert: &&Value| alert["service"] == service;
    let alerts = wait_for(&broker, ALERTS, |alerts| {
        let services = texts(&alerts.iter().collect::<Vec<_>>(), "service");
        ["api", "mail", "shop"].iter().all(|service| services.contains(*service))
    });
    let found = |service| alerts.iter().find(of(service)).unwrap();
    let (shop, mail, api) = (found("shop"), found("mail"), found("api"));
    assert_eq!(
        (&shop["rule"], &shop["severity"]),
        (&json!("answer_changed"), &json!("info")),
        "{shop:#}"
    );
    assert_eq!(shop["changes"][0]["summary"], "new address", "{shop:#}");
    assert_eq!(
        (&mail["rule"], &mail["severity"]),
        (&json!("answer_changed"), &json!("warning")),
        "{mail:#}"
    );
    assert!(mail.get("changes").is_none(), "{mail:#}");
    assert_eq!(api["rule"], "verdict_hosting", "{api:#}");
    probe.terminate();
    let failed = |record: &&Value| record["service"] == "web" && record["ok"] == false;
    let probes = wait_for(&broker, PROBES, |probes| probes.iter().any(|record| failed(&record)));
    // A verdict needs two; then the breaker opens.
    assert!(probes.iter().filter(failed).count() >= 2, "the closed port was measured");
    let alerts = wait_for(&broker, ALERTS, |alerts| !alerts.is_empty());
    assert_eq!(alerts.iter().filter(of("web")).count(), 0, "{alerts:#?}");
}

#[test]
fn once_delivers_to_kafka_and_balances() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    create_topics(&broker);
    let (good, bad) = (port(), port());
    let bad_port = bad.0;
    close(bad);
    let target = |port: u16| json!({ "tcp": { "address": format!("127.0.0.1:{port}") } });
    let config = json!({
        "services": [
            { "name": "good", "targets": [target(good.0)] },
            { "name": "bad", "targets": [target(bad_port)] },
        ],
    });
    let config = write_config(folder.path(), &broker, &config);
    let mut command = Command::new(environment::probe_binary().unwrap());
    let output = command.args(["run", "--once", "--config"]).arg(&config).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "a target has failed: {stderr}");
    let probes = wait_for(&broker, PROBES, |probes| probes.len() == 2);
    assert_eq!(probes.iter().filter(|record| record["ok"] == true).count(), 1);
    let alerts = wait_for(&broker, ALERTS, |alerts| !alerts.is_empty());
    assert_eq!(alerts[0]["entity"], "service=bad");
    let ledgers = wait_for(&broker, crate::LEDGER, |ledgers| !ledgers.is_empty());
    let last = ledgers.iter().find(|record| record["final"] == true).unwrap();
    assert_eq!((&last["balanced"], &last["probing"]["completed"]), (&json!(true), &json!(2)));
    let output = verify_command(&broker).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
