//! The probe with a real broker: records and ledger arrive, through an outage too, and the balance closes.

use crate::live_agent::create_topics;
use crate::replay::verify_command;
use crate::{LEDGER, consume};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

const PROBES: &str = "dns.probes";
const END: Duration = Duration::from_mins(1);

/// Starts a probe of ten ports that accept connections, each five times a second.
fn start(folder: &Path, broker: &Broker, ports: &[u16]) -> Child {
    let targets: Vec<_> = ports
        .iter()
        .map(|port| json!({ "tcp": { "address": format!("127.0.0.1:{port}") } }))
        .collect();
    let config = json!({
        "version": 1,
        "node": "probe-1",
        "metrics": { "listen": "off" },
        "kafka": { "brokers": [broker.bootstrap()] },
        "spool": { "directory": folder.join("spool") },
        "defaults": { "interval": "200ms" },
        "services": [{ "name": "shop", "targets": targets }],
    });
    let path = folder.join("probes.yaml");
    fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new(environment::probe_binary().unwrap());
    command.args(["run", "--config"]).arg(path).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until a topic has `count` more records.
fn wait_for_more(broker: &Broker, topic: &str, count: usize) {
    let records = || consume(&broker.bootstrap(), topic).len();
    let before = records();
    shell::wait_for(&format!("{count} more records of {topic}"), 2 * END, || {
        thread::sleep(Duration::from_millis(200));
        Ok((records() >= before + count).then_some(()))
    })
    .unwrap();
}

fn end(mut probe: Child, signal: Signal) {
    shell::signal(&probe, signal).unwrap();
    let status = shell::wait(&mut probe, END).unwrap();
    assert!(status.success() || signal == Signal::KILL, "{status}");
}

#[test]
fn ledger_closes_over_a_probe_through_an_outage_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::up(folder.path()).unwrap();
    create_topics(&broker);
    let listeners: Vec<_> = (0..10).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<_> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
    for listener in listeners {
        thread::spawn(move || listener.incoming().for_each(drop));
    }

    let killed = start(folder.path(), &broker, &ports);
    wait_for_more(&broker, LEDGER, 1);
    end(killed, Signal::KILL);
    let probe = start(folder.path(), &broker, &ports);
    wait_for_more(&broker, PROBES, 150);
    broker.stop().unwrap();
    // The outage.
    thread::sleep(Duration::from_secs(3));
    broker.restart().unwrap();
    wait_for_more(&broker, PROBES, 400);
    end(probe, Signal::TERM);

    let output = verify_command(&broker).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    let ledgers = consume(&broker.bootstrap(), LEDGER);
    let last = ledgers.iter().find(|record| record.value["final"] == true).unwrap();
    let probing = &last.value["probing"];
    let probes = consume(&broker.bootstrap(), PROBES);
    let tag = |value: &Value| value["event_id"].as_str().unwrap()[..8].to_owned();
    let own: BTreeSet<_> = probes
        .iter()
        .filter(|record| tag(&record.value) == tag(&last.value))
        .map(|record| record.value["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(own.len() as u64, probing["records"].as_u64().unwrap(), "{probing}");
    assert!(own.len() > 400, "ten targets, five times a second: {}", own.len());
    assert!(last.value["kernel"].as_object().unwrap().is_empty());
}
