//! Fleet detection with a real Kafka broker, Flink cluster and Alertmanager: three nodes lose one of
//! their resolvers, and later another one; each is one alert of the fleet.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_tests::pcap::{Exchange, write_exchanges};
use dnscribe_tests::stack::flink::Submission;
use dnscribe_tests::stack::{Component, Stack, jobs};
use dnscribe_tests::{environment, http, shell};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time limit for the job's start and the alerts of its backlog, on a busy machine.
const CAUGHT_UP: Duration = Duration::from_secs(240);
/// Beginning of generated captures, in seconds since 1970.
const CAPTURES_BEGIN: u64 = 1_700_000_000;
/// Queries per second to each of the three resolvers.
const RATE: u64 = 10;
/// Length of the capture in seconds.
const LENGTH: u64 = 600;
/// Seconds in which the second resolver answers nothing.
const OUTAGE: Range<u64> = 120..240;
/// Second from which on the third resolver answers nothing.
const LASTING_OUTAGE: u64 = 420;

/// A stack that ends with its value.
struct Running {
    stack: Option<Stack>,
    brokers: String,
    folder: tempfile::TempDir,
}

impl Running {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stack = Stack::open(folder.path()).unwrap();
        for component in [Component::Kafka, Component::Flink, Component::Alertmanager] {
            stack.start(component).unwrap();
        }
        let brokers = stack.kafka().unwrap();
        Self { stack: Some(stack), brokers, folder }
    }

    fn stack(&self) -> &Stack {
        self.stack.as_ref().unwrap()
    }

    fn alertmanager(&self) -> SocketAddr {
        let url = self.stack().address(Component::Alertmanager).unwrap();
        url.as_str().unwrap()["http://".len()..].parse().unwrap()
    }

    /// Writes the configuration, creates topics, and returns the arguments of the job.
    fn configure(&self) -> PathBuf {
        let mut config = jobs::configuration(&self.brokers, None, None);
        config["fleet"] = json!({ "sinks": ["fleet"] });
        config["detect"] = json!({ "close_after": "5s" });
        config["alertmanager"] = json!({ "urls": [format!("http://{}", self.alertmanager())] });
        let file = self.folder.path().join("fleet.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-jar"]).arg(jobs::build().unwrap());
        shell::output(java.args(["topics", "--config"]).arg(&file)).unwrap();
        file
    }

    /// Sends the windows and alerts of a capture, as those of a node.
    fn replay(&self, capture: &Path, node: &str) {
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").arg(capture).args(["--sink", "kafka"]);
        replay.args(["--stream", "metrics,alerts", "--brokers", &self.brokers]);
        replay.env("DNSCRIBE_NODE", node).env("DNSCRIBE_REGION", "eu");
        shell::output(&mut replay).unwrap();
    }

    fn produce(&self, topic: &str, record: &Value) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-P", "-t", topic]).stdin(Stdio::piped());
        let mut child = kcat.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{record}").unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Committed records of a topic.
    fn topic(&self, name: &str) -> Vec<Value> {
        let committed = ["-X", "isolation.level=read_committed"];
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-C", "-t", name, "-e", "-q"]).args(committed);
        let text = String::from_utf8(shell::output(&mut kcat).unwrap().stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Committed alerts of a scope about a resolver.
    fn alerts(&self, scope: &str, resolver: &str) -> Vec<Value> {
        let mut alerts = self.topic("dns.alerts");
        alerts.retain(|alert| {
            alert["scope"].as_str().unwrap_or("node") == scope && alert["resolver"] == resolver
        });
        alerts
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stack) = self.stack.take() {
            // A failing test says more than a failing end.
            let _ = stack.down();
        }
    }
}

/// Writes a capture that begins at `begin`, in seconds since 1970.
fn capture(path: &Path, begin: u64) {
    let each = 1_000_000_000 / (3 * RATE);
    let offset = (begin - CAPTURES_BEGIN) * 1_000_000_000;
    let exchanges = (0..LENGTH * 3 * RATE).map(|number| -> Exchange {
        let second = number / (3 * RATE);
        let is_silent = match number % 3 {
            1 => OUTAGE.contains(&second),
            2 => second >= LASTING_OUTAGE,
            _ => false,
        };
        let number_of_query = u32::try_from(number).unwrap();
        (offset + number * each, number_of_query, (!is_silent).then_some(0))
    });
    write_exchanges(BufWriter::new(File::create(path).unwrap()), exchanges).unwrap();
}

fn rfc3339(seconds: u64) -> String {
    let mut date = Command::new("date");
    date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(format!("@{seconds}"));
    String::from_utf8(shell::output(&mut date).unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn resolver_that_fails_for_all_nodes_is_one_alert_of_the_fleet() {
    if !environment::privileged() {
        return;
    }
    let running = Running::up();
    let config = running.configure();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let begin = (now - LENGTH) / 60 * 60;
    let file = running.folder.path().join("outage.pcap");
    capture(&file, begin);
    for node in ["n1", "n2", "n3"] {
        running.replay(&file, node);
    }
    let change = json!({
        "schema": "dns.change/1", "event_id": "00000000000000000000000000000001",
        "ts": rfc3339(begin + 60), "node": "operator", "kind": "deploy",
        "service": "198.19.0.2", "summary": "resolver 1.21", "actor": "jane",
    });
    running.produce("dns.changes", &change);
    let node_alerts = ids(&running.alerts("node", "198.19.0.2"));
    assert_eq!(node_alerts.len(), 3, "each node sees the outage");

    let arguments = vec!["fleet", "--config", config.to_str().unwrap()];
    let submission = Submission { program_args_list: arguments, ..Submission::default() };
    running.stack().flink().unwrap().submit(&jobs::build().unwrap(), &submission).unwrap();
    let lasting = shell::wait_for("the last alert", CAUGHT_UP, || {
        let alerts = running.alerts("fleet", "198.19.0.3");
        Ok((!alerts.is_empty()).then_some(alerts))
    })
    .unwrap();
    assert_eq!(lasting[0]["started"], rfc3339(begin + 480), "{lasting:#?}");
    let alerts = running.alerts("fleet", "198.19.0.2");
    let first = &alerts[0];
    assert_eq!(ids(&alerts).len(), 1, "{alerts:#?}");
    assert_eq!(first["rule"], "resolver_failing", "{first:#}");
    assert_eq!(first["entity"], "resolver=198.19.0.2,vantage=passive", "{first:#}");
    assert_eq!(first["severity"], "critical", "{first:#}");
    assert_eq!(first["nodes"], json!(["n1", "n2", "n3"]), "{first:#}");
    assert_eq!(first["changes"][0]["event_id"], change["event_id"], "{first:#}");
    assert_eq!(first["started"], rfc3339(begin + 180), "{first:#}");
    let suppressed = first["suppressed_alerts"].as_array().unwrap();
    let suppressed: BTreeSet<&str> = suppressed.iter().filter_map(Value::as_str).collect();
    assert_eq!(suppressed, node_alerts.iter().map(String::as_str).collect(), "{first:#}");
    assert_eq!(alerts.last().unwrap()["state"], "resolved", "{alerts:#?}");
    assert_eq!(running.alerts("fleet", "198.19.0.1"), Vec::<Value>::new());

    let posted = shell::wait_for("the alert in Alertmanager", CAUGHT_UP, || {
        let (status, body) = http::get(running.alertmanager(), None, "/api/v2/alerts?active=true")?;
        assert_eq!(status, 200, "{body}");
        let posted: Vec<Value> = serde_json::from_str(&body)?;
        Ok((!posted.is_empty()).then_some(posted))
    })
    .unwrap();
    assert_eq!(posted.len(), 1, "{posted:#?}");
    let labels = &posted[0]["labels"];
    assert_eq!(labels["alertname"], "DnsResolverFailing", "{labels}");
    assert_eq!(labels["scope"], "fleet", "{labels}");
    assert_eq!(labels["resolver"], "198.19.0.3", "{labels}");
    let written = running.alerts("fleet", "198.19.0.2").len() + lasting.len();
    shell::wait_for("the ledger", CAUGHT_UP, || {
        let ledgers = running.topic("dns.stream.ledger");
        let output = |ledger: &Value, sink| ledger["output"][sink]["written"].as_u64();
        let last = ledgers.last().filter(|ledger| ledger["balanced"] == true);
        Ok(last.and_then(|ledger| {
            let counts = [output(ledger, "dns.alerts"), output(ledger, "alertmanager")];
            (counts == [Some(written as u64); 2]).then_some(())
        }))
    })
    .unwrap();
}

fn ids(alerts: &[Value]) -> BTreeSet<String> {
    alerts.iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()).collect()
}
