//! dnstap of a real resolver, of encrypted questions too, beside another program's reading of the same file.

use crate::support::lab_with;
use anyhow::Result;
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger::counter;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(30);

/// The program that receives dnstap and writes a file of it.
struct Receiver(Child);

impl Receiver {
    fn start(socket: &Path, file: &Path) -> Self {
        let mut command = Command::new("fstrm_capture");
        command.args(["-t", "protobuf:dnstap.Dnstap", "-u"]).arg(socket).arg("-w").arg(file);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        shell::wait_for("the socket of dnstap", START, || Ok(socket.exists().then_some(())))
            .unwrap();
        Self(child)
    }

    /// Lets it write what it has.
    fn flush(&self) {
        shell::signal(&self.0, Signal::HUP).unwrap();
    }

    /// Ends it; the file is complete then.
    fn end(mut self) {
        shell::signal(&self.0, Signal::TERM).unwrap();
        assert!(shell::wait(&mut self.0, START).unwrap().success());
    }
}

/// Lines of unbound's configuration: DoT, DoH and dnstap.
fn options(folder: &Path, socket: &Path) -> Vec<String> {
    let server = Authority::new("lab").unwrap().server(&["dns.lab.example"], Validity::Current);
    let server = server.unwrap();
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| folder.join(name));
    fs::write(&key, server.key).unwrap();
    fs::write(&certificate, server.certificate).unwrap();
    let mut options = ["interface: 0.0.0.0@853", "interface: 0.0.0.0@443", "tls-port: 853"]
        .map(str::to_owned)
        .to_vec();
    options.extend([
        "https-port: 443".to_owned(),
        format!("tls-service-key: \"{}\"", key.display()),
        format!("tls-service-pem: \"{}\"", certificate.display()),
        "dnstap:".to_owned(),
        "dnstap-enable: yes".to_owned(),
        format!("dnstap-socket-path: \"{}\"", socket.display()),
    ]);
    for kind in ["client-query", "client-response", "resolver-query", "resolver-response"] {
        options.push(format!("dnstap-log-{kind}-messages: yes"));
    }
    options
}

/// Asks the resolver by each transport, the first time for a name that it does not know.
fn ask(lab: &Lab) {
    let at = format!("@{}", lab.resolver_addr());
    for transport in ["+tls", "+https", "+notcp", "+tcp"] {
        let words = ["kdig", "+retry=0", &at, "www.example.com", transport];
        let output = lab.run(Host::Client, &words).unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("192.0.2.80"), "{transport}");
    }
}

/// Records of a file, if one can be replayed.
fn replay(file: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("replay").arg(file).args([
        "--stream",
        "messages,transactions,ledger",
        "-o",
        "json",
    ]);
    let output = shell::output(&mut command)?;
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A message as BIND's `dnstap-read` prints it: time of day in milliseconds, type, addresses, bytes.
fn read_by_bind(file: &Path) -> Vec<String> {
    let output = shell::output(Command::new("dnstap-read").arg(file).env("TZ", "UTC")).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, time, kind, client, _, server, _, bytes, _] = words[..] else { panic!("{line}") };
        format!("{time} {kind} {client} {server} {bytes}")
    };
    text.lines().map(line).collect()
}

/// A message as we record it, in the same words.
fn recorded(message: &Value) -> String {
    let end = |side: &str| {
        let (ip, port) = (&message[format!("{side}_ip")], &message[format!("{side}_port")]);
        format!("{}:{port}", ip.as_str().unwrap())
    };
    let is_query = message["qr"] == "query";
    let [client, server] = if is_query { ["src", "dst"] } else { ["dst", "src"] }.map(end);
    let asked = if message["vantage"] == "server" { "C" } else { "R" };
    let kind = if is_query { "Q" } else { "R" };
    let time = &message["ts"].as_str().unwrap()[11..23];
    format!("{time} {asked}{kind} {client} {server} {}b", message["wire_bytes"])
}

#[test]
fn a_resolvers_dnstap_becomes_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let [socket, file]: [PathBuf; 2] = ["sock", "file.dnstap"].map(|name| folder.path().join(name));
    let options = options(folder.path(), &socket);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    if !environment::privileged() {
        return;
    }
    let receiver = Receiver::start(&socket, &file);
    let Some((lab, _alone)) = lab_with(&options) else { return };
    ask(&lab);
    let (client, server) = (lab.client_addr(), lab.server_addr());
    // unbound reports a second later, and not what it has not yet when it ends.
    shell::wait_for("the last response in the file", END, || {
        receiver.flush();
        let last = replay(&file)
            .map(|records| records.iter().any(|one| one["transport"] == "tcp" && one["qr"] == "response"));
        Ok(last.unwrap_or_default().then_some(()))
    })
    .unwrap();
    drop(lab);
    receiver.end();

    let records = replay(&file).unwrap();
    let of = |schema: &'static str| records.iter().filter(move |one| one["schema"] == schema);
    let messages: Vec<String> = of("dns.message/1").map(recorded).collect();
    assert_eq!(messages, read_by_bind(&file));
    let ledger = of("dns.ledger/1").last().unwrap();
    for path in [["decode", "received"], ["decode", "messages"]] {
        assert_eq!(counter(ledger, &path).unwrap(), messages.len() as u64, "{ledger}");
    }
    assert_eq!(ledger["balanced"], true, "{ledger}");

    let ours: Vec<&Value> = of("dns.transaction/1")
        .filter(|one| one["qname"] == "www.example.com" && one["client_ip"] == client.to_string())
        .collect();
    let seen: Vec<_> = ours
        .iter()
        .map(|one| ["transport", "cache", "status"].map(|name| one[name].as_str().unwrap_or("-")))
        .collect();
    let hits = ["doh", "udp", "tcp"].map(|transport| [transport, "hit", "answered"]);
    assert_eq!(seen, [&[["dot", "miss", "answered"]][..], &hits].concat());
    let parent = &ours[0]["event_id"];
    let upstream = of("dns.transaction/1").filter(|one| one["parent_event_id"] == *parent);
    let upstream: Vec<_> = upstream.collect();
    assert!(!upstream.is_empty());
    for one in upstream {
        assert_eq!(
            (&one["vantage"], &one["server_ip"]),
            (&"client".into(), &server.to_string().into())
        );
    }
}
