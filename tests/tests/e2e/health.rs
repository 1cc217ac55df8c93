//! `/healthz` and `/readyz` tell the truth: while packets are lost, while the spool is full, while
//! the agent ends.

use crate::apart::Apart;
use crate::support::{SOON, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, http, ledger, shell};
use rustix::process::Signal;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// Load is sent again until it has been enough.
const ENOUGH: Duration = Duration::from_secs(60);

/// An agent that sees the lab's client alone, with settings as environment variables.
fn agent(apart: &Apart, arguments: &[&str], settings: &[(&str, &str)]) -> Agent {
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("run").args(apart.options()).args(arguments);
    for (name, value) in settings {
        command.env(format!("DNSCRIBE_{name}"), value);
    }
    Agent::start(&mut command).unwrap()
}

/// What `/healthz` says.
fn health(agent: &Agent) -> (u16, String) {
    agent.get("/healthz").unwrap()
}

fn load(lab: &Lab) {
    lab.dnsperf(&Load { queries: 2000, ..Load::default() }).unwrap();
}

#[test]
fn a_ring_that_loses_is_unhealthy_until_it_has_not_for_a_while() {
    let Some((lab, _alone)) = lab() else { return };
    let apart = Apart::enter(&lab);
    let settings = [("CAPTURE__RING_BYTES", "64KiB"), ("HEALTH__WINDOW", "3s")];
    let agent = agent(&apart, &["--stream", "ledger"], &settings);
    let (code, text) = agent.get("/readyz").unwrap();
    assert_eq!((code, text.contains("hook cgroup")), (200, true), "{text}");
    let (code, text) = health(&agent);
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("ok    ring      no packets lost"), "{text}");

    agent.signal(Signal::STOP).unwrap();
    load(&lab);
    agent.signal(Signal::CONT).unwrap();
    let told = shell::wait_for("the loss to be told", SOON, || {
        let (code, text) = health(&agent);
        Ok((code == 503).then_some(text))
    })
    .unwrap();
    assert!(told.starts_with("unhealthy\n") && told.contains("\nfail  ring  "), "{told}");
    assert!(told.contains("packets lost by the ring"), "{told}");
    assert_eq!(agent.get("/readyz").unwrap().0, 200, "every hook is still attached");

    let told = shell::wait_for("the loss to be forgotten", SOON, || {
        let (code, text) = health(&agent);
        Ok((code == 200).then_some(text))
    })
    .unwrap();
    let line = told.lines().find(|line| line.starts_with("ok    ring")).unwrap();
    let lost: u64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    let end = agent.terminate().unwrap();
    let record = end.final_ledger().unwrap();
    let counted = ledger::counter(record, &["kernel", "cgroup", "lost_ring_full"]).unwrap();
    assert_eq!(lost, counted, "{told}");
}

#[test]
fn a_full_spool_is_unhealthy() {
    let Some((lab, _alone)) = lab() else { return };
    let apart = Apart::enter(&lab);
    let settings = [("SPOOL__MAX_BYTES", "1MiB"), ("MESSAGES__WIRE", "true")];
    let arguments =
        ["--sink", "kafka", "--brokers", "127.0.0.1:1", "--stream", "messages,transactions,ledger"];
    let agent = agent(&apart, &arguments, &settings);
    let (code, text) = health(&agent);
    assert_eq!(code, 200, "Kafka is away, and the spool has room: {text}");
    let told = shell::wait_for("the spool to fill up", ENOUGH, || {
        load(&lab);
        let (code, text) = health(&agent);
        Ok((code == 503).then_some(text))
    })
    .unwrap();
    assert!(told.contains("\nfail  spool  "), "{told}");
    assert!(told.contains("of 1048576 octets") && told.contains("spool.max_bytes"), "{told}");
}

#[test]
fn replay_is_ready_while_it_reads() {
    let (mut replay, mut input, address) = slow_replay();
    let state = |path: &str| http::get(address, None, path).map(|(code, _)| code).ok();
    shell::wait_for("the server", SOON, || Ok(state("/healthz"))).unwrap();
    assert_eq!(state("/readyz"), Some(503), "nothing has been read yet");
    let golden = environment::workspace().join("tests/goldens/lab.pcap");
    let capture = std::fs::read(golden).unwrap();
    std::io::Write::write_all(&mut input, &capture).unwrap();
    shell::wait_for("replay to be ready", SOON, || {
        Ok((state("/readyz") == Some(200)).then_some(()))
    })
    .unwrap();
    drop(input);
    assert!(shell::wait(&mut replay, SOON).unwrap().success());
}

/// `dnscribe replay -`, of which the test holds the input.
fn slow_replay() -> (Child, ChildStdin, std::net::SocketAddr) {
    let address = dnscribe_tests::agent::free_address().unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["replay", "-", "--sink", "null", "--metrics-listen", &address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    (child, input, address)
}
