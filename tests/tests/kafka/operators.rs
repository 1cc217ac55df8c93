//! `zones import`, `intel import` and `annotate`: acknowledged records under their keys, tombstones for
//! what is gone. Needs no root.

use crate::admin::shared_broker;
use crate::consume::consume_as;
use dnscribe_tests::environment;
use dnscribe_tests::kafka::{Broker, Tool};
use rdkafka::message::Message as _;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn dnscribe(broker: &Broker, words: &[&str]) -> Output {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(words).args(["--brokers", &broker.bootstrap()]).stdin(Stdio::null());
    command.output().unwrap()
}

fn write(folder: &Path, name: &str, data: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, data).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns what a reader of the whole topic knows: the newest value of each key that has one.
fn table(broker: &Broker, topic: &str) -> BTreeMap<String, Value> {
    let records = consume_as(&broker.bootstrap(), topic, |message| {
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        (key, message.payload().map(|value| serde_json::from_slice::<Value>(value).unwrap()))
    });
    let mut table = BTreeMap::new();
    for (key, value) in records {
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }
    table
}

fn counts(output: &Output) -> [u64; 3] {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    ["written", "removed", "refused"].map(|name| report[name].as_u64().unwrap())
}

#[test]
fn topics_hold_what_files_say() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let first = "0.0.0.0 bad.example gone.example\nnonsense x\n";
    let first = write(folder.path(), "hosts", first);
    let output = dnscribe(&broker, &["intel", "import", &first, "--source", "a", "-o", "json"]);
    assert_eq!((output.status.code(), counts(&output)), (Some(1), [2, 0, 1]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("hosts:2: \"nonsense\" is not an address"), "{stderr}");

    let other = write(folder.path(), "other", "other.example\n");
    let output = dnscribe(&broker, &["intel", "import", &other, "--source", "b"]);
    assert!(output.status.success());
    let second = write(folder.path(), "second", "bad.example\n198.51.100.7\n");
    let words = ["intel", "import", &second, "--source", "a", "--replace", "-o", "json"];
    let output = dnscribe(&broker, &words);
    assert_eq!((output.status.code(), counts(&output)), (Some(0), [2, 1, 0]));
    let found = table(&broker, "dns.intel");
    let keys: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(keys, ["198.51.100.7/32", "bad.example", "other.example"]);
    assert_eq!(
        (&found["bad.example"]["source"], &found["other.example"]["source"]),
        (&"a".into(), &"b".into())
    );
    let topic = broker.tool(Tool::Topics, &["--describe", "--topic", "dns.intel"]).unwrap();
    assert!(topic.contains("cleanup.policy=compact"), "{topic}");

    let zones = "zone,owner\nShop.Example.,web\n";
    let zones = write(folder.path(), "zones.csv", zones);
    assert!(dnscribe(&broker, &["zones", "import", &zones]).status.success());
    let found = table(&broker, "dns.zones");
    assert_eq!(found["shop.example"]["owner"], "web");

    let words = ["annotate", "--kind", "zone_change", "--zone", "Shop.Example", "--summary", "MX"];
    assert!(dnscribe(&broker, &words).status.success());
    let found = table(&broker, "dns.changes");
    assert_eq!(found["shop.example"]["kind"], "zone_change");
}

#[test]
fn success_means_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::up(folder.path()).unwrap();
    let words = ["annotate", "--kind", "note", "--service", "shop", "--summary", "one"];
    assert!(dnscribe(&broker, &words).status.success());
    broker.kill().unwrap();
    let output = dnscribe(&broker, &words);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    broker.restart().unwrap();
    assert_eq!(consume_as(&broker.bootstrap(), "dns.changes", |_| ()).len(), 1);
}
