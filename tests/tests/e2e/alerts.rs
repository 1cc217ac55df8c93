//! A resolver stops under load and restarts: its alerts, and their delay.

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::lab;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::alertmanager::Alertmanager;
use dnscribe_tests::environment;
use dnscribe_tests::lab::{Host, Lab, SpecialAddress};
use dnscribe_tests::wire::{self, Reply};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Queries per second.
const RATE: u32 = 1000;
/// Time limit for the alert.
const WITHIN: Duration = Duration::from_secs(30);
/// Time in which no other alert may appear; windows are closed and evaluated in it.
const WATCH: Duration = Duration::from_secs(12);
const TICK: Duration = Duration::from_millis(10);

/// Runs a resolver at one address until it is stopped.
fn serve(lab: &Lab, at: SocketAddr, stop: &AtomicBool) {
    let socket = lab.inside(Host::Server, || UdpSocket::bind(at)).unwrap().unwrap();
    socket.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let reply = Reply::to(&buffer[..length]).address([192, 0, 2, 7]);
        socket.send_to(&reply.octets(), from).unwrap();
    }
}

/// Sends queries for many names without waiting for answers, until it is stopped.
fn ask(lab: &Lab, server: SocketAddr, stop: &AtomicBool) {
    let socket = lab.inside(Host::Client, || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    let started = Instant::now();
    let mut sent: u32 = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed() * RATE).as_secs();
        while u64::from(sent) < due {
            let id = u16::try_from(sent % 65_536).unwrap();
            let name = format!("n{}.zone{}.example", sent % 500, sent % 50);
            let query = wire::query(id, &name, wire::A).unwrap();
            // While the server is down, this call returns the ICMP error of an earlier query.
            let _ = socket.send_to(&query, server);
            sent += 1;
        }
        thread::sleep(TICK);
    }
}

fn alerts(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["schema"] == "dns.alert/1").collect()
}

#[test]
fn stopped_resolver_causes_one_alert_until_restart() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_special_addresses().unwrap();
    let isolated = IsolatedCgroup::enter(&lab);
    let transactions = lab.folder().join("transactions.ndjson");
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("run").args(isolated.options()).args([
        "--query-timeout",
        "500ms",
        "--sink",
        "stdout",
    ]);
    command.args(["--sink", &format!("file:{}", transactions.display())]);
    command.env("DNSCRIBE_STREAMS", "alerts").env("DNSCRIBE_FILE__STREAMS", "transactions");
    command.env("DNSCRIBE_DETECT__RULES__RESOLVER_DOWN__CLEAR_FOR", "1s");
    let folder = tempfile::tempdir().unwrap();
    let mut alertmanager = Alertmanager::new(folder.path()).unwrap();
    alertmanager.start().unwrap();
    command.env("DNSCRIBE_ALERTMANAGER__URLS", format!("http://{}", alertmanager.address()));
    let agent = Agent::start(&mut command).unwrap();
    let address = SocketAddr::new(lab.special_address(SpecialAddress::Restarted, false), 53);
    let over = AtomicBool::new(false);
    let active = thread::scope(|scope| {
        scope.spawn(|| ask(&lab, address, &over));
        {
            let dead = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| serve(&lab, address, &dead));
                thread::sleep(Duration::from_millis(1500));
                dead.store(true, Ordering::Relaxed);
            });
        }
        let died = Instant::now();
        let fired = agent.wait_for("an alert", WITHIN, |received| !alerts(received).is_empty());
        eprintln!("alert {:.1} s after the resolver stopped", died.elapsed().as_secs_f64());
        thread::sleep(if fired.is_ok() { WATCH } else { Duration::ZERO });
        let active = alertmanager.alerts();
        let dead = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| serve(&lab, address, &dead));
            let back = Instant::now();
            // The assertions below show what went wrong.
            let _ = agent.wait_for("the end", WITHIN, |received| alerts(received).len() > 1);
            eprintln!(
                "resolved {:.1} s after the resolver restarted",
                back.elapsed().as_secs_f64()
            );
            dead.store(true, Ordering::Relaxed);
            over.store(true, Ordering::Relaxed);
        });
        active
    });
    let end = agent.terminate().unwrap();
    let received = alerts(&end.records);
    let [fired, resolved] = received.as_slice() else { panic!("{received:#?}\n{}", end.stderr) };
    assert_eq!((&fired["rule"], &fired["state"]), (&"resolver_down".into(), &"firing".into()));
    assert_eq!(fired["severity"], "critical");
    let [active]: [Value; 1] = active.unwrap().try_into().unwrap();
    assert_eq!(active["labels"]["alertname"], "DnsResolverDown");
    assert_eq!(active["labels"]["resolver"], fired["resolver"]);
    assert_eq!(active["annotations"]["summary"], fired["summary"]);
    assert!(alertmanager.alerts().unwrap().is_empty(), "Alertmanager still has the alert");
    assert_eq!(fired["resolver"], address.ip().to_string());
    assert_eq!(resolved["state"], "resolved");
    assert_eq!(fired["alert_id"], resolved["alert_id"]);
    eprintln!("{} others suppressed", resolved["suppressed"]);
    let own = format!("[{}]", std::process::id());
    let processes = fired["processes"].as_array().unwrap();
    assert!(processes.iter().any(|one| one.as_str().unwrap().ends_with(&own)), "{fired:#}");
    let samples: HashSet<&str> =
        fired["samples"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert!(!samples.is_empty());
    let file = BufReader::new(std::fs::File::open(&transactions).unwrap());
    let mut found = 0;
    for line in file.lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if record["event_id"].as_str().is_some_and(|id| samples.contains(id)) {
            found += 1;
            let status = record["status"].as_str().unwrap();
            assert!(["timeout", "icmp_error"].contains(&status), "{record}");
            assert_eq!(record["resolver"], fired["resolver"]);
        }
    }
    assert_eq!(found, samples.len());
}
