//! `/healthz` and `/readyz` are correct while packets are lost, while the spool is full, and while
//! the agent ends.

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, http, ledger, shell};
use rustix::process::Signal;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// Time limit for repeated load to have its effect.
const LOAD_LIMIT: Duration = Duration::from_mins(1);

/// Starts an agent that captures only the lab's client, with settings as environment variables.
fn agent(isolated: &IsolatedCgroup, arguments: &[&str], settings: &[(&str, &str)]) -> Agent {
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("run").args(isolated.options()).args(arguments);
    for (name, value) in settings {
        command.env(format!("DNSCRIBE_{name}"), value);
    }
    Agent::start(&mut command).unwrap()
}

/// Returns status code and body of `/healthz`.
fn health(agent: &Agent) -> (u16, String) {
    agent.get("/healthz").unwrap()
}

fn load(lab: &Lab) {
    lab.dnsperf(&Load { queries: 2000, ..Load::default() }).unwrap();
}

#[test]
fn unhealthy_while_ring_loses_packets() {
    let Some((lab, _alone)) = lab() else { return };
    let isolated = IsolatedCgroup::enter(&lab);
    let settings = [("CAPTURE__RING_BYTES", "64KiB"), ("HEALTH__WINDOW", "3s")];
    let agent = agent(&isolated, &["--stream", "ledger"], &settings);
    let (code, text) = agent.get("/readyz").unwrap();
    assert_eq!((code, text.contains("hook cgroup")), (200, true), "{text}");
    let (code, text) = health(&agent);
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("ok    ring      no packets lost"), "{text}");

    agent.signal(Signal::STOP).unwrap();
    load(&lab);
    agent.signal(Signal::CONT).unwrap();
    let body = shell::wait_for("the reported loss", RECORD_LIMIT, || {
        let (code, text) = health(&agent);
        Ok((code == 503).then_some(text))
    })
    .unwrap();
    assert!(body.starts_with("unhealthy\n") && body.contains("\nfail  ring  "), "{body}");
    assert!(body.contains("packets lost by the ring"), "{body}");
    assert_eq!(agent.get("/readyz").unwrap().0, 200, "every hook is still attached");

    let body = shell::wait_for("the end of the reported loss", RECORD_LIMIT, || {
        let (code, text) = health(&agent);
        Ok((code == 200).then_some(text))
    })
    .unwrap();
    let line = body.lines().find(|line| line.starts_with("ok    ring")).unwrap();
    let lost: u64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    let end = agent.terminate().unwrap();
    let record = end.final_ledger().unwrap();
    // All hooks share the ring, and one of them sees ICMP errors of the whole host.
    let losses = ledger::loss_places(record).unwrap();
    let of_kernel = losses.iter().filter(|(place, _)| place.starts_with("kernel."));
    let counted: u64 = of_kernel.map(|(_, lost)| lost).sum();
    assert!(losses.contains_key("kernel.cgroup.lost_ring_full"), "{body}");
    assert_eq!(lost, counted, "{body}");
}

#[test]
fn unhealthy_while_spool_is_full() {
    let Some((lab, _alone)) = lab() else { return };
    let isolated = IsolatedCgroup::enter(&lab);
    let settings = [("SPOOL__MAX_BYTES", "1MiB"), ("MESSAGES__WIRE", "true")];
    let arguments =
        ["--sink", "kafka", "--brokers", "127.0.0.1:1", "--stream", "messages,transactions,ledger"];
    let agent = agent(&isolated, &arguments, &settings);
    let (code, text) = health(&agent);
    assert_eq!(code, 200, "Kafka is away, and the spool has room: {text}");
    let body = shell::wait_for("the spool to fill up", LOAD_LIMIT, || {
        load(&lab);
        let (code, text) = health(&agent);
        Ok((code == 503).then_some(text))
    })
    .unwrap();
    assert!(body.contains("\nfail  spool  "), "{body}");
    assert!(body.contains("of 1048576 bytes") && body.contains("spool.max_bytes"), "{body}");
}

#[test]
fn replay_is_ready_while_reading() {
    let (mut replay, mut input, address) = slow_replay();
    let state = |path: &str| http::get(address, None, path).map(|(code, _)| code).ok();
    shell::wait_for("the server", RECORD_LIMIT, || Ok(state("/healthz"))).unwrap();
    assert_eq!(state("/readyz"), Some(503), "ready before anything was read");
    let golden = environment::workspace().join("tests/goldens/lab.pcap");
    let capture = std::fs::read(golden).unwrap();
    std::io::Write::write_all(&mut input, &capture).unwrap();
    shell::wait_for("replay to be ready", RECORD_LIMIT, || {
        Ok((state("/readyz") == Some(200)).then_some(()))
    })
    .unwrap();
    drop(input);
    assert!(shell::wait(&mut replay, RECORD_LIMIT).unwrap().success());
}

/// Starts `dnscribe replay -`, with its input held by the test.
fn slow_replay() -> (Child, ChildStdin, std::net::SocketAddr) {
    let address = dnscribe_tests::agent::free_address().unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["replay", "-", "--sink", "null", "--metrics-listen", &address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    (child, input, address)
}
