//! The file sink under load, while another program rotates its file.

use crate::support::{RECORD_LIMIT, lab, records};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Host;
use dnscribe_tests::{environment, ledger, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Six seconds of traffic.
fn load() -> Load {
    Load {
        queries: 18_000,
        qps: Some(3000),
        suffix: "rotated.wild.example.com".to_owned(),
        ..Load::default()
    }
}

#[test]
fn reopening_three_times_under_load_loses_nothing() {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.ndjson");
    let sink = format!("file:{}", out.display());
    let agent = Agent::run(&["--stream", "transactions,ledger", "--sink", &sink]).unwrap();
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load()).unwrap();
    let mut files = Vec::new();
    for number in 1..=3 {
        thread::sleep(Duration::from_millis(1300));
        let moved = directory.path().join(format!("out.ndjson.{number}"));
        fs::rename(&out, &moved).unwrap();
        agent.signal(Signal::HUP).unwrap();
        shell::wait_for("the new file", RECORD_LIMIT, || Ok(out.exists().then_some(()))).unwrap();
        files.push(moved);
    }
    assert!(queries.wait_with_output().unwrap().status.success());
    let end = agent.terminate().unwrap();
    files.push(out);

    assert!(end.status.success(), "{}", end.stderr);
    // Up to three more if the sink notices a move before the signal arrives.
    let reopened = end.stderr.matches("file reopened").count();
    assert!((3..=6).contains(&reopened), "{}", end.stderr);
    let sizes: Vec<usize> = files.iter().map(|file| records(file).len()).collect();
    assert!(sizes.iter().all(|size| *size > 100), "a file was not written to: {sizes:?}");
    let verified = Command::new(environment::binary().unwrap())
        .args(["ledger", "verify"])
        .args(&files)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    let all: Vec<Value> = files.iter().flat_map(|file| records(file)).collect();
    let last = all.last().unwrap();
    assert_eq!(last["final"], true);
    ledger::verify(last).unwrap();
    assert_eq!(ledger::losses(last).unwrap(), 0, "{last:#}");
    let transactions = all.iter().filter(|record| record["schema"] == "dns.transaction/1");
    let ids: Vec<&str> = transactions.map(|record| record["event_id"].as_str().unwrap()).collect();
    let delivered =
        ledger::counter(last, &["delivery", "file", "transactions", "delivered"]).unwrap();
    assert_eq!(ids.len() as u64, delivered, "the ledger and the files differ");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an event id occurs twice");
    // At least the client side and the server side of each query.
    assert!(delivered >= 36_000, "{delivered}");
}

#[test]
fn reopens_files_despite_rejected_configuration() {
    let Some((_lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (out, moved) = (directory.path().join("out"), directory.path().join("moved"));
    let config = directory.path().join("dnscribe.yaml");
    fs::write(&config, format!("version: 1\nsinks: [\"file:{}\"]\n", out.display())).unwrap();
    let agent = Agent::run(&["--config", &config.display().to_string()]).unwrap();
    fs::write(&config, "version: 1\nsinks: [nowhere]\n").unwrap();
    fs::rename(&out, &moved).unwrap();
    agent.signal(Signal::HUP).unwrap();
    shell::wait_for("the new file", RECORD_LIMIT, || Ok(out.exists().then_some(()))).unwrap();
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    assert!(end.stderr.contains("the configuration stays as it was"), "{}", end.stderr);
    assert_eq!(records(&out).last().unwrap()["final"], true);
}
