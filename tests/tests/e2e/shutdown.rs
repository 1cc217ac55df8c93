//! The end of the agent, by each way: traffic continues, and no program stays attached.

use crate::support::{RECORD_LIMIT, agent, attached, lab};
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::Host;
use dnscribe_tests::{environment, shell};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Four seconds of traffic.
fn load(suffix: &str) -> Load {
    Load {
        queries: 8000,
        qps: Some(2000),
        suffix: format!("{suffix}.wild.example.com"),
        ..Load::default()
    }
}

#[test]
fn sigterm_under_load_detaches_everything() {
    let Some((lab, _alone)) = lab() else { return };
    let before = attached();
    let agent = agent(&[]);
    let ours: Vec<u32> = attached().difference(&before).copied().collect();
    assert!(!ours.is_empty(), "no program is attached while the agent runs");
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load("term")).unwrap();
    thread::sleep(Duration::from_secs(1));
    let end = agent.terminate().unwrap();
    let now = attached();

    assert_eq!(end.status.code(), Some(0), "{}", end.stderr);
    end.final_ledger().unwrap();
    assert!(ours.iter().all(|program| !now.contains(program)), "still attached");
    let perf = DnsperfReport::wait(queries).unwrap();
    assert_eq!((perf.completed, perf.lost), (8000, 0), "traffic was disturbed");
}

#[test]
fn sigkill_detaches_everything() {
    let Some((lab, _alone)) = lab() else { return };
    let before = attached();
    let agent = agent(&[]);
    let ours: Vec<u32> = attached().difference(&before).copied().collect();
    assert!(!ours.is_empty(), "no program is attached while the agent runs");
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load("kill")).unwrap();
    thread::sleep(Duration::from_secs(1));
    agent.kill().unwrap();
    shell::wait_for("the kernel to detach", RECORD_LIMIT, || {
        let now = attached();
        Ok(ours.iter().all(|program| !now.contains(program)).then_some(()))
    })
    .unwrap();
    let perf = DnsperfReport::wait(queries).unwrap();
    assert_eq!((perf.completed, perf.lost), (8000, 0), "traffic was disturbed");
}

#[test]
fn run_ends_after_duration() {
    let Some((_lab, _alone)) = lab() else { return };
    let run = ["run", "--duration", "1s", "--stream", "ledger", "--output", "json"];
    let listen = dnscribe_tests::agent::free_address().unwrap().to_string();
    let output = Command::new(environment::binary().unwrap())
        .args(run)
        .args(["--metrics-listen", &listen])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let last = String::from_utf8(output.stdout).unwrap();
    let record = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    dnscribe_tests::ledger::verify(&record).unwrap();
}

#[test]
fn closed_pipe_ends_run_without_error() {
    let Some((lab, _alone)) = lab() else { return };
    let listen = dnscribe_tests::agent::free_address().unwrap().to_string();
    let mut child = Command::new(environment::binary().unwrap())
        .args(["run", "--output", "json", "--metrics-listen", &listen])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = shell::wait_for("the end", Duration::from_mins(1), || {
        lab.dig(&["www.example.com"])?;
        Ok(child.try_wait()?)
    });
    if status.is_err() {
        shell::end(&mut child);
    }
    assert_eq!(status.unwrap().code(), Some(0));
}
