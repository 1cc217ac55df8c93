//! DNS over TLS and HTTPS between real programs: the agent's connection records.

use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger::counter;
use dnscribe_tests::shell;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

const SERVER_NAME: &str = "dns.lab.example";
const PORT: u16 = 853;
/// Port of DNS over HTTPS on the lab's resolver.
const HTTPS: &str = "443";

/// unbound with TLS on the lab's resolver. Dropping it ends it.
struct TlsResolver(Child);

impl TlsResolver {
    fn start(lab: &Lab) -> Self {
        let folder = lab.folder().join("tls");
        fs::create_dir_all(&folder).unwrap();
        let server = Authority::new("lab").unwrap().server(&[SERVER_NAME], Validity::Current);
        let server = server.unwrap();
        fs::write(folder.join("key.pem"), server.key).unwrap();
        fs::write(folder.join("cert.pem"), server.certificate).unwrap();
        let (folder, address) = (folder.display().to_string(), lab.resolver_addr());
        let config = format!(
            "server:\n  username: \"\"\n  chroot: \"\"\n  directory: \"{folder}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  logfile: \"{folder}/log\"\n  interface: {address}@{PORT}\n  \
             interface: {address}@{HTTPS}\n  tls-port: {PORT}\n  https-port: {HTTPS}\n  \
             tls-service-key: key.pem\n  tls-service-pem: cert.pem\n  module-config: \"iterator\"\n  \
             access-control: 0.0.0.0/0 allow\n  num-threads: 1\n  incoming-num-tcp: 512\n  tcp-idle-timeout: 120000\n  \
             local-zone: \"com.\" static\n  local-data: \"www.example.com. A 192.0.2.80\"\n\
             remote-control:\n  control-enable: no\n"
        );
        fs::write(format!("{folder}/conf"), config).unwrap();
        let mut command = lab.command(Host::Resolver, &["unbound", "-d", "-c"]);
        command.arg(format!("{folder}/conf")).stdin(Stdio::null());
        let tls = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        shell::wait_for("unbound's port for TLS", Duration::from_mins(1), || {
            let listening = lab.run(Host::Resolver, &["ss", "-Hltn", "sport = :853"])?;
            Ok((!listening.stdout.is_empty()).then_some(()))
        })
        .unwrap();
        tls
    }
}

impl Drop for TlsResolver {
    fn drop(&mut self) {
        shell::end(&mut self.0);
    }
}

fn agent(lab: &Lab, more: &[&str]) -> Agent {
    let config = config(lab);
    Agent::run(&[&["--stream", "connections,ledger", "--config", &config], more].concat()).unwrap()
}

/// Writes a configuration with the lab's resolver; returns its path.
fn config(lab: &Lab) -> String {
    let config = lab.folder().join("encrypted.yaml");
    fs::write(&config, format!("version: 1\nencrypted:\n  resolvers: [{}]\n", lab.resolver_addr()))
        .unwrap();
    config.display().to_string()
}

fn is_connection(record: &Value, vantage: &str, server: IpAddr) -> bool {
    record["schema"] == "dns.connection/1"
        && record["vantage"] == vantage
        && record["server_ip"] == server.to_string()
}

/// Waits for the only connection of the client to the server.
fn connection(agent: &Agent, vantage: &str, server: IpAddr) -> Value {
    let wanted = |record: &&Value| is_connection(record, vantage, server);
    let records = agent
        .wait_for("a connection", RECORD_LIMIT * 2, |records| {
            records.iter().any(|one| wanted(&one))
        })
        .unwrap();
    let found: Vec<&Value> = records.iter().filter(wanted).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Runs kdig on the client; returns its process id.
fn kdig(lab: &Lab, server: IpAddr, words: &[&str]) -> u32 {
    let at = format!("@{server}");
    let words = [&["kdig", "+retry=0", &at, "www.example.com"], words].concat();
    let mut child = lab.spawn(Host::Client, &words).unwrap();
    let pid = child.id();
    shell::wait(&mut child, Duration::from_secs(30)).unwrap();
    pid
}

#[test]
fn records_connection_at_both_ends() {
    let Some((lab, _alone)) = lab() else { return };
    let tls = TlsResolver::start(&lab);
    let resolver = lab.resolver_addr();
    let agent = agent(&lab, &[]);
    let pid = kdig(&lab, resolver, &["+tls", "+tls-sni=DNS.lab.example"]);
    let (client, server) =
        (connection(&agent, "client", resolver), connection(&agent, "server", resolver));
    for seen in [&client, &server] {
        assert_eq!((&seen["protocol"], &seen["transport"]), (&"dot".into(), &"tcp".into()));
        assert_eq!((&seen["status"], &seen["final"]), (&"closed".into(), &true.into()), "{seen}");
        assert_eq!((&seen["sni"], &seen["alpn"][0]), (&SERVER_NAME.into(), &"dot".into()));
        assert_eq!((&seen["tls_version"], &seen["resumed"]), (&"TLSv1.3".into(), &false.into()));
        let spans = ["connect_ms", "handshake_ms", "duration_ms"];
        let [connect, handshake, duration] = spans.map(|name| seen[name].as_f64().unwrap());
        assert!(connect > 0.0 && handshake > 0.0 && connect + handshake <= duration, "{seen}");
    }
    assert_eq!(
        (&client["process"]["pid"], &client["process"]["comm"]),
        (&pid.into(), &"kdig".into())
    );
    assert_eq!(server["process"]["pid"], tls.0.id(), "{server}");
    for bytes in ["client_bytes", "server_bytes"] {
        assert!(client[bytes].as_u64().unwrap() > 300, "{client}");
    }
    assert_eq!(client["client_bytes"], server["client_bytes"]);
    let end = agent.terminate().unwrap();
    let ledger = end.final_ledger().unwrap();
    assert!(counter(ledger, &["connections", "closed"]).unwrap() >= 2);
}

#[test]
fn reports_status_of_failed_connections() {
    let Some((lab, _alone)) = lab() else { return };
    let _tls = TlsResolver::start(&lab);
    let agent = agent(&lab, &["--query-timeout", "500ms"]);
    let wrong = ["+tls-hostname=wrong.example", "+timeout=2"];
    for (server, words, status) in [
        (lab.closed_addr(), &["+tls", "+timeout=2"][..], "refused"),
        (lab.blackhole_addr(), &["+tls", "+timeout=1"], "timeout"),
        (lab.resolver_addr(), &wrong, "handshake_failed"),
    ] {
        let pid = kdig(&lab, server, words);
        let seen = connection(&agent, "client", server);
        assert_eq!(
            (&seen["status"], &seen["process"]["pid"]),
            (&status.into(), &pid.into()),
            "{seen}"
        );
        assert!(seen.get("handshake_ms").is_none(), "{seen}");
    }
    agent.terminate().unwrap().final_ledger().unwrap();
}

#[test]
fn watches_https_only_at_known_resolvers() {
    let Some((lab, _alone)) = lab() else { return };
    let _tls = TlsResolver::start(&lab);
    let resolver = lab.resolver_addr();
    let agent = agent(&lab, &[]);
    // No program listens there: a watched connection would be recorded as refused.
    kdig(&lab, lab.server_addr(), &["+https", "+timeout=1"]);
    let pid = kdig(&lab, resolver, &["+https", "+tls-sni=dns.lab.example", "+timeout=5"]);
    let seen = connection(&agent, "client", resolver);
    assert_eq!((&seen["protocol"], &seen["alpn"][0]), (&"doh".into(), &"h2".into()), "{seen}");
    assert_eq!(seen["process"]["pid"], pid);
    let end = agent.terminate().unwrap();
    end.final_ledger().unwrap();
    assert!(!end.records.iter().any(|record| is_connection(record, "client", lab.server_addr())));
}

#[test]
fn hook_socket_records_connections_without_processes() {
    let Some((lab, _alone)) = lab() else { return };
    let _tls = TlsResolver::start(&lab);
    let resolver = lab.resolver_addr();
    let config = config(&lab);
    let tap = ["--hook", "socket", "--interface", "eth0", "--config", &config];
    let options = [&["--stream", "connections,ledger"], &tap[..]].concat();
    let agent = Agent::run_on(&lab, Host::Client, &options).unwrap();
    kdig(&lab, lab.server_addr(), &["+https", "+timeout=1"]);
    kdig(&lab, resolver, &["+https", "+tls-sni=dns.lab.example", "+timeout=5"]);
    kdig(&lab, resolver, &["+tls", "+tls-sni=dns.lab.example"]);
    let closed = |records: &[Value], protocol: &str| {
        let wanted = |record: &&Value| {
            is_connection(record, "client", resolver)
                && record["protocol"] == protocol
                && record["final"] == true
        };
        records.iter().find(wanted).cloned()
    };
    let protocols = ["doh", "dot"];
    let records = agent
        .wait_for("both connections", RECORD_LIMIT * 2, |records| {
            protocols.iter().all(|protocol| closed(records, protocol).is_some())
        })
        .unwrap();
    for protocol in protocols {
        let seen = closed(&records, protocol).unwrap();
        assert_eq!(
            (&seen["sni"], &seen["status"]),
            (&SERVER_NAME.into(), &"closed".into()),
            "{seen}"
        );
        assert_eq!(seen["tls_version"], "TLSv1.3", "{seen}");
        assert!(seen["handshake_ms"].is_number() && seen.get("process").is_none(), "{seen}");
        for bytes in ["client_bytes", "server_bytes"] {
            assert!(seen[bytes].as_u64().unwrap() > 300, "{seen}");
        }
    }
    let end = agent.terminate().unwrap();
    end.final_ledger().unwrap();
    assert!(!end.records.iter().any(|record| is_connection(record, "client", lab.server_addr())));
}

#[test]
fn records_many_short_connections_and_an_open_one() {
    const MANY: usize = 1000;
    let Some((lab, _alone)) = lab() else { return };
    let _tls = TlsResolver::start(&lab);
    let resolver = lab.resolver_addr();
    let agent = agent(&lab, &[]);
    let (program, at) = (env!("CARGO_BIN_EXE_tls-client"), format!("{resolver}:{PORT}"));
    let count = MANY.to_string();
    let done = lab.run(Host::Client, &[program, "many", &count, &at, SERVER_NAME]).unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), count, "{done:?}");
    let mut held = lab.spawn(Host::Client, &[program, "hold", &at, SERVER_NAME]).unwrap();
    let mut line = String::new();
    BufReader::new(held.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let finished = |records: &[Value]| {
        let over = |record: &&Value| {
            is_connection(record, "client", resolver) && record["status"] != "open"
        };
        records.iter().filter(over).count() == MANY
    };
    agent.wait_for("all connections", Duration::from_mins(1), finished).unwrap();
    let end = agent.terminate().unwrap();
    let of_client =
        || end.records.iter().filter(|record| is_connection(record, "client", resolver));
    let last: Vec<&Value> = of_client().filter(|record| record["final"] == true).collect();
    assert_eq!(last.len(), MANY + 1);
    let open: Vec<&&Value> = last.iter().filter(|record| record["status"] == "open").collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0]["process"]["pid"], held.id());
    for record in &last {
        assert_eq!(record["sni"], SERVER_NAME, "{record}");
        assert!(record["handshake_ms"].is_number(), "{record}");
    }
    let ledger = end.final_ledger().unwrap();
    assert_eq!(counter(ledger, &["connections", "evicted"]).unwrap(), 0);
    shell::end(&mut held);
}
