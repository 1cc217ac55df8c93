//! Live packets with their process as comments, and the evidence of an alert, by an agent without privileges.

use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::lab::Host;
use dnscribe_tests::rng::Rng;
use dnscribe_tests::{environment, ledger, shell, wire};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Type NULL, which tunnels use.
const NULL: u16 = 10;
/// Time limit for the alert: a window of ten seconds, and its lateness.
const WITHIN: Duration = Duration::from_secs(40);

fn comments(file: &Path) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-e", "frame.comment", "-r"]).arg(file);
    let output = shell::output(&mut command).unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The comment of a message's packet.
fn comment(message: &Value) -> String {
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
    let number = |pointer: &str| message.pointer(pointer).and_then(Value::as_u64);
    let process = text("/process/comm").zip(number("/process/pid"));
    let parts = [
        process.map(|(comm, pid)| format!("process={comm}[{pid}]")),
        number("/process/uid").map(|uid| format!("uid={uid}")),
        text("/process/exe").map(|exe| format!("exe={exe}")),
        text("/container/id").map(|id| format!("container={id}")),
        text("/event_id").map(|id| format!("event_id={id}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[test]
fn packets_name_their_process_and_an_alert_its_evidence() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (file, directory) =
        (folder.path().join("dns.pcapng"), folder.path().join("state/evidence"));
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--sink", "stdout", "--stream", "messages,alerts,ledger"]);
    command.args(["--sink", &format!("pcapng:{}", file.display())]);
    command.args(["--sink", &format!("evidence:{}", directory.display())]);
    let agent = Agent::start(&mut command).unwrap();
    for transport in ["+notcp", "+tcp"] {
        lab.dig(&["www.example.com", transport]).unwrap();
    }
    let socket = lab.inside(Host::Client, || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    let mut rng = Rng::new(7);
    for id in 0..200 {
        let [data, more] =
            [(); 2].map(|()| format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()));
        let query = wire::query(id, &format!("{data}.{more}.wild.example.com"), NULL).unwrap();
        socket.send_to(&query, (lab.resolver_addr(), 53)).unwrap();
    }
    let fired = |records: &[Value]| records.iter().any(|record| record["rule"] == "tunnel");
    let records = agent.wait_for("an alert", WITHIN, fired).unwrap();
    let alert = records.iter().find(|record| record["rule"] == "tunnel").unwrap();
    let evidence = Path::new(alert["evidence_file"].as_str().unwrap());
    shell::wait_for("the file of the alert", RECORD_LIMIT, || Ok(evidence.exists().then_some(())))
        .unwrap();
    assert_eq!(evidence.parent(), Some(&*directory));
    assert_eq!([&directory, evidence].map(|path| path.metadata().unwrap().uid()), [65534; 2]);

    let end = agent.terminate().unwrap();
    let messages: Vec<&Value> = end.records_of("dns.message/1").collect();
    let expected: Vec<String> = messages.iter().map(|message| comment(message)).collect();
    assert_eq!(comments(&file), expected);
    let by_dig = |transport: &str| {
        let is_one = |message: &&&Value| {
            message["transport"] == transport && message["process"]["comm"] == "dig"
        };
        messages.iter().filter(is_one).count()
    };
    assert_eq!([by_dig("udp"), by_dig("tcp")], [2; 2]);

    let client = lab.client_addr().to_string();
    let concerns = |message: &&&Value| {
        let side = if message["qr"] == "query" { "src_ip" } else { "dst_ip" };
        message[side] == client.as_str() && message["ts"].as_str() <= alert["ts"].as_str()
    };
    let expected: BTreeSet<String> =
        messages.iter().filter(concerns).map(|one| comment(one)).collect();
    let found: BTreeSet<String> = comments(evidence).into_iter().collect();
    assert!(found.len() >= 200 && found.len() < messages.len(), "{} messages", found.len());
    assert!(found.is_subset(&expected), "{:#?}", found.difference(&expected));
    let last = end.final_ledger().unwrap();
    ledger::verify(last).unwrap();
    let delivered = ledger::counter(&last["delivery"]["evidence"], &["messages", "delivered"]);
    assert_eq!(delivered.unwrap(), found.len() as u64);
}
