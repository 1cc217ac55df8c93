//! dnstap of a real resolver, of encrypted questions too, beside another program's reading of the same file.

use crate::support::{agent, lab_with};
use anyhow::{Result, bail};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger::counter;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod servers;

const START: Duration = Duration::from_mins(1);
/// A name that nobody has asked for before.
const NAME: &str = "mail.example.com";
const END: Duration = Duration::from_mins(1);

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
        "dnstap-identity: \"lab-resolver\"".to_owned(),
        "dnstap-send-identity: yes".to_owned(),
        "dnstap-send-version: yes".to_owned(),
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
        let words = ["kdig", "+retry=0", &at, NAME, transport];
        let output = lab.run(Host::Client, &words).unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("192.0.2.25"), "{transport}");
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
        let [_, time, kind, client, _, server, _, bytes, _] = words[..] else {
            bail!("not a message: {line}");
        };
        Ok(format!("{time} {kind} {client} {server} {bytes}"))
    };
    text.lines().map(line).collect::<Result<_>>().unwrap()
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

/// Checks the transactions of the questions of [`ask`], in their order, and the queries that the resolver sent for them.
fn check(records: &[Value], client: IpAddr) {
    let transactions = || records.iter().filter(|one| one["schema"] == "dns.transaction/1");
    let mut ours: Vec<&Value> = transactions()
        .filter(|one| one["qname"] == NAME && one["client_ip"] == client.to_string())
        .collect();
    ours.sort_by_key(|one| one["ts"].as_str());
    let seen: Vec<_> = ours
        .iter()
        .map(|one| ["transport", "cache", "status"].map(|name| one[name].as_str().unwrap_or("-")))
        .collect();
    let hits = ["doh", "udp", "tcp"].map(|transport| [transport, "hit", "answered"]);
    assert_eq!(seen, [&[["dot", "miss", "answered"]][..], &hits].concat());
    let parent = &ours[0]["event_id"];
    let upstream: Vec<_> = transactions().filter(|one| one["parent_event_id"] == *parent).collect();
    assert!(!upstream.is_empty());
    for one in upstream {
        assert_eq!((&one["vantage"], &one["server_port"]), (&"client".into(), &53.into()));
        // The zone whose servers are asked.
        let zone = one["dnstap"]["zone"].as_str().unwrap();
        assert!(zone == "." || NAME.ends_with(zone), "{one}");
    }
    for one in ours {
        assert_eq!(one["dnstap"]["identity"], "lab-resolver", "{one}");
        assert!(one["dnstap"]["version"].as_str().unwrap().starts_with("unbound 1."), "{one}");
    }
}

/// Whether records have the last message of [`ask`], or its transaction.
fn have_last(records: &[Value]) -> bool {
    records
        .iter()
        .any(|one| one["transport"] == "tcp" && one["qname"] == NAME && one["qr"] != "query")
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
    let client = lab.client_addr();
    // unbound reports a second later, and not what it has not yet when it ends.
    shell::wait_for("the last response in the file", END, || {
        receiver.flush();
        let records = replay(&file).unwrap_or_default();
        Ok(have_last(&records).then_some(()))
    })
    .unwrap();
    drop(lab);
    receiver.end();

    let records = replay(&file).unwrap();
    let of = |schema: &'static str| records.iter().filter(move |one| one["schema"] == schema);
    let mut messages: Vec<String> = of("dns.message/1").map(recorded).collect();
    let mut others = read_by_bind(&file);
    messages.sort_unstable();
    others.sort_unstable();
    assert_eq!(messages, others);
    let ledger = of("dns.ledger/1").next_back().unwrap();
    for path in [["decode", "received"], ["decode", "messages"]] {
        assert_eq!(counter(ledger, &path).unwrap(), messages.len() as u64, "{ledger}");
    }
    assert_eq!(ledger["balanced"], true, "{ledger}");
    check(&records, client);
}

#[test]
fn an_agent_shows_what_a_resolver_is_asked_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let options = options(folder.path(), &socket);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    if !environment::privileged() {
        return;
    }
    let address = format!("unix:{}", socket.display());
    let agent = agent(&["--dnstap", &address]);
    let Some((lab, _alone)) = lab_with(&options) else { return };
    ask(&lab);
    agent.wait_for("the last transaction", END, have_last).unwrap();
    let client = lab.client_addr();
    let mut stray = UnixStream::connect(&socket).unwrap();
    stray.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let (_, metrics) = agent.get("/metrics").unwrap();
    assert!(metrics.contains("dnscribe_packets_total{hook=\"dnstap\""), "{metrics}");
    drop(lab);
    let ended = agent.terminate().unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    check(&ended.records, client);
    let ledger = ended.records.iter().rfind(|one| one["schema"] == "dns.ledger/1").unwrap();
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let received = counter(ledger, &["ring", "received"]).unwrap();
    assert!(received > 8, "{ledger}");
    for path in [&["kernel", "dnstap", "seen"][..], &["decode", "messages"]] {
        assert_eq!(counter(ledger, path).unwrap(), received, "{ledger}");
    }
}

/// What a socket and the server saw is one transaction, with the process of the one and what the other says; what is encrypted only
/// the server saw, and it has the server's process.
#[test]
fn both_views_of_an_exchange_are_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let options = options(folder.path(), &socket);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    // unbound connects once the agent is there. No other test has traffic now.
    let Some((lab, _alone)) = lab_with(&options) else { return };
    let address = format!("unix:{}", socket.display());
    let streams = "messages,transactions,ledger";
    let agent =
        Agent::run(&["--hook", "cgroup", "--dnstap", &address, "--stream", streams]).unwrap();
    shell::wait_for("unbound's connection", END, || {
        Ok(agent.log().contains("a sender of dnstap has connected").then_some(()))
    })
    .unwrap();
    ask(&lab);
    let client = lab.client_addr().to_string();
    let is_ours = |one: &Value| {
        one["vantage"] == "server" && one["client_ip"] == *client && one["qname"] == NAME
    };
    let is_joined = |records: &[Value]| {
        records
            .iter()
            .any(|one| is_ours(one) && one["transport"] == "tcp" && one["seen_by"][1] == "dnstap")
    };
    agent
        .wait_for("the last transaction", END, is_joined)
        .unwrap_or_else(|error| panic!("{error}: {:#?} {}", agent.records(), agent.log()));
    drop(lab);
    let ended = agent.terminate().unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);

    let transactions: Vec<&Value> = ended.records_of("dns.transaction/1").collect();
    let mut ours: Vec<&Value> = transactions.iter().copied().filter(|one| is_ours(one)).collect();
    ours.sort_by_key(|one| one["ts"].as_str());
    let seen: Vec<Value> = ours
        .iter()
        .map(|one| {
            json!([
                one["transport"],
                one["status"],
                one["cache"],
                one["seen_by"],
                one["process"]["comm"],
                one["dnstap"]["identity"]
            ])
        })
        .collect();
    let row = |transport: &str, cache: &str, seen_by: &[&str]| {
        json!([transport, "answered", cache, seen_by, "unbound", "lab-resolver"])
    };
    let (server, both) = (&["dnstap"][..], &["socket", "dnstap"][..]);
    let wanted = [
        row("dot", "miss", server),
        row("doh", "hit", server),
        row("udp", "hit", both),
        row("tcp", "hit", both),
    ];
    assert_eq!(seen, wanted);
    // The encrypted question is the parent of what sockets saw for it.
    let upstream: Vec<_> = transactions
        .iter()
        .filter(|one| one["parent_event_id"] == ours[0]["event_id"])
        .map(|one| (&one["vantage"], &one["seen_by"]))
        .collect();
    assert!(!upstream.is_empty());
    for (vantage, seen_by) in upstream {
        assert_eq!((vantage, seen_by), (&json!("client"), &json!(both)));
    }
    // The client's own view is that of a socket.
    let own =
        transactions.iter().find(|one| one["vantage"] == "client" && one["client_ip"] == *client);
    assert_eq!(own.unwrap()["seen_by"], json!(["socket"]));
    // No message is there twice.
    let questions = ended.records_of("dns.message/1").filter(|one| {
        one["vantage"] == "server" && one["src_ip"] == *client && one["qname"] == NAME
    });
    assert_eq!(questions.count(), 4);

    let ledger = ended.final_ledger().unwrap();
    let count = |name: &str| counter(ledger, &["seen_by", name]).unwrap();
    let records = counter(ledger, &["delivery", "stdout", "transactions", "records"]).unwrap();
    assert_eq!(count("both") + count("socket") + count("dnstap"), records, "{ledger}");
    let merged = ledger["seen_by"]["merged"].as_object().unwrap().values();
    assert_eq!(merged.filter_map(Value::as_u64).sum::<u64>(), count("both"), "{ledger}");
    let ids: BTreeSet<&str> =
        transactions.iter().filter_map(|one| one["event_id"].as_str()).collect();
    assert_eq!(ids.len(), transactions.len());
    let records = folder.path().join("records.ndjson");
    let lines: Vec<String> = ended.records.iter().map(|one| format!("{one}\n")).collect();
    fs::write(&records, lines.concat()).unwrap();
    let mut verify = Command::new(environment::binary().unwrap());
    shell::output(verify.args(["ledger", "verify"]).arg(&records)).unwrap();
}

/// unbound with a certificate of its own is heard; who has none, or another one, is not.
#[test]
fn a_resolver_sends_by_tls_and_strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ours, other) = (Authority::new("ours").unwrap(), Authority::new("other").unwrap());
    let server = ours.server(&["agent.example"], Validity::Current).unwrap();
    let client = ours.client("resolver", Validity::Current, None).unwrap();
    let stranger = other.client("resolver", Validity::Current, None).unwrap();
    for (name, content) in [
        ("ca.pem", ours.pem().unwrap()),
        ("server.pem", server.certificate),
        ("server.key", server.key),
        ("client.pem", client.certificate),
        ("client.key", client.key),
        ("stranger.pem", stranger.certificate + &stranger.key),
    ] {
        fs::write(at(name), content).unwrap();
    }
    // The agent reads it as root, before it gives that up.
    fs::set_permissions(at("server.key"), Permissions::from_mode(0o600)).unwrap();
    let options = [
        "dnstap:".to_owned(),
        "dnstap-enable: yes".to_owned(),
        "dnstap-ip: 127.0.0.1@6000".to_owned(),
        "dnstap-tls: yes".to_owned(),
        "dnstap-tls-server-name: \"agent.example\"".to_owned(),
        format!("dnstap-tls-cert-bundle: \"{}\"", at("ca.pem")),
        format!("dnstap-tls-client-cert-file: \"{}\"", at("client.pem")),
        format!("dnstap-tls-client-key-file: \"{}\"", at("client.key")),
        "dnstap-log-client-query-messages: yes".to_owned(),
        "dnstap-log-client-response-messages: yes".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let Some((lab, _alone)) = lab_with(&options) else { return };
    let config = json!({ "version": 1, "capture": {
        "dnstap": ["tls:127.0.0.1:6000"],
        "dnstap_tls": {
            "cert_file": at("server.pem"), "key_file": at("server.key"), "client_ca_file": at("ca.pem"),
        },
    } });
    fs::write(at("dnscribe.yaml"), config.to_string()).unwrap();
    let arguments = ["--config", &at("dnscribe.yaml"), "--stream", "transactions,ledger"];
    let agent = Agent::run_on(&lab, Host::Resolver, &arguments).unwrap();
    lab.dig(&[NAME]).unwrap();
    let ours = |records: &[Value]| {
        records.iter().any(|one| one["qname"] == NAME && one["status"] == "answered")
    };
    agent.wait_for("what unbound has sent", END, ours).unwrap();

    for identity in [&[][..], &["-cert", &at("stranger.pem"), "-key", &at("stranger.pem")]] {
        let words = ["openssl", "s_client", "-connect", "127.0.0.1:6000", "-CAfile", &at("ca.pem")];
        lab.run(Host::Resolver, &[&words[..], identity].concat()).unwrap();
    }
    let refused = "a sender of dnstap was refused";
    shell::wait_for("both refusals", START, || {
        Ok((agent.log().matches(refused).count() == 2).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
    let ended = agent.terminate().unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.final_ledger().unwrap();
}

/// What the sink writes, other programs read: BIND's `dnstap-read` from a file, `fstrm_capture` from a socket, and we
/// ourselves.
#[test]
fn other_programs_read_our_dnstap() {
    let folder = tempfile::tempdir().unwrap();
    let [socket, captured, file] =
        ["sock", "captured", "file"].map(|name| folder.path().join(name));
    let capture = environment::workspace().join("examples/dying-resolver.pcapng");
    let receiver = Receiver::start(&socket, &captured);
    let (to_socket, to_file) =
        (format!("dnstap:unix:{}", socket.display()), format!("dnstap:file:{}", file.display()));
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("replay").arg(&capture).args(["--stream", "messages,ledger", "-o", "json"]);
    command.args(["--sink", "stdout", "--sink", &to_socket, "--sink", &to_file]);
    let output = shell::output(&mut command).unwrap();
    receiver.end();
    let records: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (messages, ledgers): (Vec<&Value>, Vec<&Value>) =
        records.iter().partition(|record| record["schema"] == "dns.message/1");
    // In a capture, messages pass by: those of a client that is asked.
    let passing = |message: &&Value| {
        assert_eq!(message["vantage"], "passive");
        recorded(message).replace(" RQ ", " CQ ").replace(" RR ", " CR ")
    };
    let mut ours: Vec<String> = messages.iter().map(passing).collect();
    ours.sort_unstable();
    assert!(ours.len() > 100);
    for file in [&captured, &file] {
        let mut others = read_by_bind(file);
        others.sort_unstable();
        assert_eq!(others, ours, "{}", file.display());
        let question = |record: &Value| {
            ["ts", "qname", "qtype", "id", "qr"].map(|name| record[name].to_string())
        };
        let again = replay(file).unwrap();
        let mut again: Vec<_> =
            again.iter().filter(|one| one["schema"] == "dns.message/1").map(question).collect();
        let mut before: Vec<_> = messages.iter().map(|one| question(one)).collect();
        again.sort_unstable();
        before.sort_unstable();
        assert_eq!(again, before);
    }
    for sink in ["dnstap", "dnstap_2"] {
        let delivered =
            counter(ledgers.last().unwrap(), &["delivery", sink, "messages", "delivered"]);
        assert_eq!(delivered.unwrap(), ours.len() as u64, "{sink}");
    }
}
