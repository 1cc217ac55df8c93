//! `lost_at`: messages that the kernel discards, against its own counters; and `path`: times on the way through the host,
//! against what the programs say.

use crate::support::{RECORD_LIMIT, lab};
use dnscribe_record::time::Timestamp;
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::name_server::NameServer;
use dnscribe_tests::wire::{self, Reply};
use dnscribe_tests::{environment, ledger, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than the kernel looks for a neighbour.
const QUERY_TIMEOUT: &str = "4s";

/// Number of queries of a flood, more than a socket's buffer holds.
const FLOOD: u16 = 6_000;

fn agent(lab: &Lab) -> Agent {
    let config = lab.folder().join("lost.yaml");
    let text = format!(
        "version: 1\ncapture: {{ path: true, ring_bytes: 32MiB }}\npairing: {{ query_timeout: {QUERY_TIMEOUT} }}\n"
    );
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    Agent::run(&["--stream", "transactions,ledger", "--config", &config]).unwrap()
}

/// Ends the agent, and returns its transactions. The ledger must balance, and count at least this many discarded packets:
/// the kernel discards those of other tests as well.
fn transactions(agent: Agent, dropped: usize) -> Vec<Value> {
    let ended = agent.terminate().unwrap();
    let last = ended.final_ledger().unwrap();
    ledger::verify(last).unwrap();
    assert_eq!(last["kernel"]["drop"]["lost_ring_full"], 0, "{}", ended.stderr);
    let seen = last["kernel"]["drop"]["seen"].as_u64().unwrap();
    assert!(seen >= dropped as u64, "{last:#}");
    let EndedAgent { records, .. } = ended;
    records.into_iter().filter(|record| record["schema"] == "dns.transaction/1").collect()
}

/// Waits for a record, and returns it.
fn wait_for(agent: &Agent, is_it: impl Fn(&Value) -> bool) -> Value {
    let found = |records: &[Value]| records.iter().any(&is_it);
    let records = agent.wait_for("a transaction", RECORD_LIMIT, found).unwrap();
    records.into_iter().find(&is_it).unwrap()
}

/// Asks a server for a name on the client, once, without waiting long for the answer.
fn ask(lab: &Lab, server: IpAddr, name: &str) {
    let at = format!("@{server}");
    lab.run(Host::Client, &["dig", "+tries=1", "+time=1", &at, name]).unwrap();
}

/// The transactions for a name at a vantage.
fn of<'a>(transactions: &'a [Value], vantage: &str, qname: &str) -> Vec<&'a Value> {
    let is_it = |record: &&Value| record["vantage"] == vantage && record["qname"] == qname;
    transactions.iter().filter(is_it).collect()
}

#[test]
fn lost_messages_carry_the_reason_of_the_kernel() {
    let Some((lab, _alone)) = lab() else { return };
    let server = lab.server_addr();
    let agent = agent(&lab);
    let (query, response) = ("udp dport 53", "udp sport 53");
    // Host, family, hook, what the rule matches, message, hook in the record.
    let rules = [
        (Host::Client, "ip", "output", query, "query", "output"),
        (Host::Client, "ip", "postrouting", query, "query", "postrouting"),
        (Host::Client, "netdev", "egress device eth0", query, "query", "egress"),
        (Host::Server, "netdev", "ingress device eth0", query, "query", "ingress"),
        (Host::Server, "ip", "prerouting", query, "query", "prerouting"),
        (Host::Server, "ip", "input", query, "query", "input"),
        (Host::Server, "ip", "output", response, "response", "output"),
        (Host::Client, "ip", "input", response, "response", "input"),
    ];
    for (host, family, hook, matches, _, expected) in rules {
        let rule = lab.discard(host, family, hook, matches).unwrap();
        ask(&lab, server, &format!("{expected}-{host:?}.example.com"));
        assert_eq!(rule.count().unwrap(), 1, "{hook}");
    }
    for hook in ["prerouting", "forward"] {
        let rule = lab.discard_on_bridge(hook, query).unwrap();
        ask(&lab, server, &format!("{hook}-bridge.example.com"));
        assert_eq!(rule.count().unwrap(), 1, "{hook}");
    }
    ask(&lab, lab.closed_addr(), "closed.example.com");
    ask(&lab, lab.address_number(200), "nobody.example.com");
    ask(&lab, server, "answered.example.com");
    // The kernel gives up on the neighbour after three seconds.
    wait_for(&agent, |record| record["qname"] == "nobody.example.com");
    let transactions = transactions(agent, rules.len() + 4);

    for (host, _, _, _, message, hook) in rules {
        let name = format!("{hook}-{host:?}.example.com").to_lowercase();
        let [client] = of(&transactions, "client", &name)[..] else { panic!("{transactions:#?}") };
        assert_eq!((&client["status"], &client["retries"]), (&json!("timeout"), &json!(0)));
        assert_eq!(client["process"]["comm"], "dig", "{client:#}");
        let lost = &client["lost_at"];
        let found = [&lost["message"], &lost["stage"], &lost["reason"], &lost["hook"]];
        assert_eq!(found, [message, "netfilter", "NETFILTER_DROP", hook], "{client:#}");
        assert!(lost["function"].is_string() && lost["count"].is_null(), "{client:#}");
        // Discarded before the hook for packets that leave a socket, the response is a server's all the same.
        for at_server in of(&transactions, "server", &name) {
            assert_eq!((message, &at_server["status"]), ("response", &json!("answered")));
            let lost = if hook == "output" { lost } else { &Value::Null };
            assert_eq!(at_server["lost_at"], *lost, "{at_server:#}");
        }
    }
    for hook in ["prerouting", "forward"] {
        let name = format!("{hook}-bridge.example.com");
        let [client] = of(&transactions, "client", &name)[..] else { panic!("{transactions:#?}") };
        assert_eq!((&client["status"], &client["retries"]), (&json!("timeout"), &json!(0)));
        assert_eq!(client["lost_at"]["hook"], hook, "{client:#}");
    }
    let found = |name: &str| {
        let found = of(&transactions, "client", name);
        let [one] = found[..] else { panic!("{name}: {found:#?}") };
        (one["status"].clone(), one["lost_at"]["stage"].clone(), one["lost_at"]["reason"].clone())
    };
    let texts = |status, stage, reason| (json!(status), json!(stage), json!(reason));
    assert_eq!(found("closed.example.com"), texts("icmp_error", "socket", "NO_SOCKET"));
    let (_, stage, reason) = found("nobody.example.com");
    assert_eq!((stage, reason), (json!("neighbour"), json!("NEIGH_FAILED")));
    assert_eq!(found("answered.example.com"), (json!("answered"), Value::Null, Value::Null));
}

/// The kernel's number of datagrams that found a full buffer, on a host.
fn buffer_errors(lab: &Lab, host: Host) -> u64 {
    let output = lab.run(host, &["cat", "/proc/net/snmp"]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let place = names.split(' ').position(|name| name == "RcvbufErrors").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

#[test]
fn full_buffers_lose_what_the_kernel_counts() {
    let Some((lab, _alone)) = lab() else { return };
    // A server that reads nothing.
    let address = lab.address_number(71);
    lab.add_address(Host::Server, 71).unwrap();
    let deaf = lab.inside(Host::Server, || UdpSocket::bind((address, 53))).unwrap().unwrap();
    let answering = NameServer::start(&lab, 72, |query| {
        Some(Reply::to(query).address([192, 0, 2, 1]).octets())
    })
    .unwrap();
    let agent = agent(&lab);
    let connect = |server: IpAddr| {
        lab.inside(Host::Client, || {
            let socket = UdpSocket::bind((lab.client_addr(), 0))?;
            socket.connect((server, 53)).map(|()| socket)
        })
    };
    let flood = |server: IpAddr, name: &str| {
        let socket = connect(server).unwrap().unwrap();
        for id in 0..FLOOD {
            socket.send(&wire::query(id, name, wire::A).unwrap()).unwrap();
        }
        socket
    };
    let before = [Host::Server, Host::Client].map(|host| buffer_errors(&lab, host));
    let at_server = flood(address, "deaf.example.com");
    let lost_queries = buffer_errors(&lab, Host::Server) - before[0];
    // A client that reads nothing: its answers find a full buffer.
    let at_client = flood(answering.address, "full.example.com");
    let is_answered =
        |record: &Value| record["qname"] == "full.example.com" && record["vantage"] == "client";
    let whole = || agent.records().iter().filter(|one| is_answered(one)).count();
    let until = Instant::now() + RECORD_LIMIT * 2;
    while whole() < usize::from(FLOOD) && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    let lost_responses = buffer_errors(&lab, Host::Client) - before[1];
    let lost_more = buffer_errors(&lab, Host::Server) - before[0] - lost_queries;
    let (_, metrics) = agent.get("/metrics").unwrap();
    let transactions = transactions(agent, 2);
    drop((at_server, at_client, deaf));

    assert!(lost_queries > 0 && lost_responses > 0, "{lost_queries} and {lost_responses}");
    let lost = |vantage: &str, name: &str, status: &str, message: &str| {
        let all = of(&transactions, vantage, name);
        let is_lost = |one: &&&Value| {
            let lost = &one["lost_at"];
            one["status"] == status
                && lost["message"] == message
                && (&lost["stage"], &lost["reason"]) == (&json!("socket"), &json!("SOCKET_RCVBUFF"))
        };
        all.iter().filter(is_lost).count() as u64
    };
    let (deaf, full) = ("deaf.example.com", "full.example.com");
    // Each query that the server's socket refused, from both ends; those that it holds are lost by nobody.
    assert_eq!(lost("client", deaf, "timeout", "query"), lost_queries);
    assert_eq!(lost("server", deaf, "timeout", "query"), lost_queries);
    assert_eq!(of(&transactions, "client", deaf).len(), usize::from(FLOOD));
    // Each answer that reached the host, and not its socket.
    assert_eq!(lost("client", full, "answered", "response"), lost_responses);
    assert_eq!(lost("client", full, "timeout", "query"), lost_more);
    for (qr, count) in [("query", lost_queries + lost_more), ("response", lost_responses)] {
        let name = format!(
            "dns_lost_messages_total{{qr=\"{qr}\",stage=\"socket\",reason=\"SOCKET_RCVBUFF\"}} "
        );
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok());
        assert!(value.is_some_and(|value| value >= count), "{name}{count}: {metrics}");
    }
}

/// The number of packets that the ledger says were discarded for a reason, in both directions and elsewhere.
fn discarded(last: &Value, reason: &str) -> u64 {
    let path = &last["path"];
    let places = [&path["leaving"]["dropped"], &path["arriving"]["dropped"], &path["passing"]];
    places.into_iter().filter_map(|reasons| reasons[reason].as_u64()).sum()
}

#[test]
fn sums_of_the_path_close_with_what_the_kernel_counts() {
    let Some((lab, _alone)) = lab() else { return };
    let address = lab.address_number(75);
    lab.add_address(Host::Server, 75).unwrap();
    let stopped = lab.inside(Host::Server, || UdpSocket::bind((address, 53))).unwrap().unwrap();
    let answering = NameServer::start(&lab, 76, |query| {
        Some(Reply::to(query).address([192, 0, 2, 1]).octets())
    })
    .unwrap();
    let client = lab.inside(Host::Client, || UdpSocket::bind((lab.client_addr(), 0)));
    let client = client.unwrap().unwrap();
    client.set_read_timeout(Some(RECORD_LIMIT)).unwrap();
    let agent = agent(&lab);
    let before = buffer_errors(&lab, Host::Server);
    let mut buffer = [0; 512];
    // Answered and read, discarded by a rule, and sent to a server that does not read.
    for id in 0..500 {
        let query = wire::query(id, "read.sums.example", wire::A).unwrap();
        client.send_to(&query, (answering.address, 53)).unwrap();
        client.recv_from(&mut buffer).unwrap();
    }
    let rule = lab.discard(Host::Client, "ip", "output", "udp dport 53").unwrap();
    for id in 0..300 {
        let query = wire::query(id, "rule.sums.example", wire::A).unwrap();
        client.send_to(&query, (answering.address, 53)).unwrap_err();
    }
    let by_rule = rule.count().unwrap();
    drop(rule);
    for id in 0..FLOOD {
        let query = wire::query(id, "stopped.sums.example", wire::A).unwrap();
        client.send_to(&query, (address, 53)).unwrap();
    }
    let by_buffer = buffer_errors(&lab, Host::Server) - before;
    let held = u64::from(FLOOD) - by_buffer;
    // What waits in the socket's queue dies with it.
    drop(stopped);
    wait_for(&agent, |one| one["qname"] == "stopped.sums.example" && one["status"] == "timeout");
    let ended = agent.terminate().unwrap();
    let last = ended.final_ledger().unwrap();
    ledger::verify(last).unwrap();
    let path = &last["path"];
    assert_eq!(by_rule, 300);
    assert!(by_buffer > 1_000 && held > 0, "{by_buffer}");
    assert_eq!(path["leaving"]["dropped"]["NETFILTER_DROP"], by_rule, "{path:#}");
    assert_eq!(path["arriving"]["dropped"]["SOCKET_RCVBUFF"], by_buffer, "{path:#}");
    let dropped: u64 =
        path["arriving"]["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert!(dropped >= by_buffer + held, "{held} in the queue: {path:#}");
    let number = |way: &str, name: &str| path[way][name].as_u64().unwrap();
    // Queries, answers, and those that the server refused.
    assert!(number("leaving", "packets") >= 1_000 + 300 + u64::from(FLOOD), "{path:#}");
    assert!(number("leaving", "delivered") >= 1_000 + u64::from(FLOOD) - 4, "{path:#}");
    assert!(number("arriving", "packets") >= 1_000 + u64::from(FLOOD), "{path:#}");
    assert!(number("arriving", "delivered") >= 1_000, "{path:#}");
    assert_eq!(path["lost"], 0);
}

/// The agent stands still, and its smallest ring overflows: what is reported and what is lost add up to the kernel's number.
#[test]
fn sums_of_the_path_close_when_reports_are_lost() {
    let Some((lab, _alone)) = lab() else { return };
    let client = lab.inside(Host::Client, || UdpSocket::bind((lab.client_addr(), 0)));
    let client = client.unwrap().unwrap();
    let config = lab.folder().join("small.yaml");
    fs::write(&config, "version: 1\ncapture: { path: true, ring_bytes: 64KiB }\n").unwrap();
    let config = config.display().to_string();
    let agent = Agent::run(&["--stream", "ledger", "--config", &config]).unwrap();
    agent.signal(Signal::STOP).unwrap();
    let rule = lab.discard(Host::Client, "ip", "output", "udp dport 53").unwrap();
    for id in 0..FLOOD {
        let query = wire::query(id, "full.sums.example", wire::A).unwrap();
        client.send_to(&query, (lab.server_addr(), 53)).unwrap_err();
    }
    let by_rule = rule.count().unwrap();
    agent.signal(Signal::CONT).unwrap();
    let ended = agent.terminate().unwrap();
    let last = ended.final_ledger().unwrap();
    ledger::verify(last).unwrap();
    let lost = last["path"]["lost"].as_u64().unwrap();
    assert_eq!(by_rule, u64::from(FLOOD));
    assert!(lost > 1_000, "{last:#}");
    assert_eq!(last["path"]["lost"], last["kernel"]["drop"]["lost_ring_full"]);
    // Other packets of the host may be among what is lost, or discarded for this reason.
    let reported = discarded(last, "NETFILTER_DROP");
    assert!(reported > 0 && reported <= by_rule && reported + lost >= by_rule, "{last:#}");
    verify_manipulated(&ended, &lab);
}

/// `ledger verify` must accept the records of the agent, and none of which a packet was taken away.
fn verify_manipulated(ended: &EndedAgent, lab: &Lab) {
    let verify = |records: &[Value]| {
        let file = lab.folder().join("records.ndjson");
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let mut command = Command::new(environment::binary().unwrap());
        let output = command.args(["ledger", "verify"]).arg(file).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = verify(&ended.records);
    assert_eq!(code, Some(0), "{said}");
    for (pointer, place) in [
        ("/path/leaving/packets", "path.leaving"),
        ("/path/arriving/unknown", "path.arriving"),
        ("/path/lost", "kernel.drop"),
        ("/path/leaving/dropped/NETFILTER_DROP", "path.leaving"),
    ] {
        let mut records = ended.records.clone();
        let last = records.iter_mut().rev().find(|one| one["schema"] == "dns.ledger/1").unwrap();
        let counter = last.pointer_mut(pointer).unwrap();
        *counter = json!(counter.as_u64().unwrap() + 1);
        let (code, said) = verify(&records);
        assert!(code == Some(1) && said.contains(place), "{pointer}: {code:?} {said}");
    }
}

#[test]
fn query_that_was_sent_again_says_what_became_of_the_first() {
    let Some((lab, _alone)) = lab() else { return };
    let server = NameServer::start(&lab, 73, |query| Some(Reply::to(query).octets())).unwrap();
    let agent = agent(&lab);
    let query = wire::query(4711, "again.example.com", wire::A).unwrap();
    let socket = lab.inside(Host::Client, || UdpSocket::bind((lab.client_addr(), 0)));
    let socket = socket.unwrap().unwrap();
    socket.set_read_timeout(Some(RECORD_LIMIT)).unwrap();
    let rule = lab.discard(Host::Client, "ip", "output", "udp dport 53").unwrap();
    for _ in 0..2 {
        let error = socket.send_to(&query, (server.address, 53)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::PERM.raw_os_error()));
    }
    drop(rule);
    socket.send_to(&query, (server.address, 53)).unwrap();
    let mut buffer = [0; 512];
    socket.recv(&mut buffer).unwrap();
    let record = wait_for(&agent, |record| {
        record["qname"] == "again.example.com" && record["vantage"] == "client"
    });
    assert_eq!((&record["status"], &record["retries"]), (&json!("answered"), &json!(2)));
    let lost = &record["lost_at"];
    let found = [&lost["message"], &lost["stage"], &lost["hook"]];
    assert_eq!(found, ["query", "netfilter", "output"], "{record:#}");
    assert_eq!(lost["count"], 2);
    let transactions = transactions(agent, 2);
    assert_eq!(of(&transactions, "client", "again.example.com").len(), 1);
}

/// Sends queries faster than the queue lets them go, and prints how many it refused.
const SEND: &str = r#"
import errno, socket, struct, sys
IP_RECVERR = 11
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
question = b"\x05queue\x07example\x03com\x00\x00\x01\x00\x01"
refused = 0
for number in range(300):
    try:
        client.sendto(struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + question, (sys.argv[1], 53))
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        refused += 1
print(refused)
"#;

#[test]
fn queues_of_traffic_control_lose_what_they_refuse() {
    let Some((lab, _alone)) = lab() else { return };
    let namespace = lab.namespace(Host::Client);
    let agent = agent(&lab);
    let queue = ["dev", "eth0", "root", "tbf", "rate", "64kbit", "burst", "2kb", "limit", "4kb"];
    shell::run(&[&["tc", "-n", &namespace, "qdisc", "add"][..], &queue].concat()).unwrap();
    // Other packets may be in the queue, too: with IP_RECVERR, the sender is given ENOBUFS for its own.
    let server = lab.server_addr().to_string();
    let output = lab.run(Host::Client, &["python3", "-c", SEND, &server]).unwrap();
    let refused: usize = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(refused > 0, "the queue took everything");
    let arrived = |records: &[Value]| of(records, "server", "queue.example.com").len();
    let all = |records: &[Value]| arrived(records) >= 300 - refused;
    agent.wait_for("what the queue took", RECORD_LIMIT * 2, all).unwrap();
    shell::run(&["tc", "-n", &namespace, "qdisc", "del", "dev", "eth0", "root"]).unwrap();
    wait_for(&agent, |record| record["status"] == "timeout" && record["vantage"] == "client");
    let transactions = transactions(agent, refused);
    let by_queue = |record: &&&Value| record["lost_at"]["stage"] == "queue";
    let all = of(&transactions, "client", "queue.example.com");
    assert_eq!(all.iter().filter(by_queue).count(), refused);

    // Each of the others waited for the one before, as the other end sees it.
    let at_server = of(&transactions, "server", "queue.example.com");
    let (mut slowest, mut unseen) = (0.0_f64, 0);
    for one in all.iter().filter(|one| !by_queue(one)) {
        let Some(other) = at_server.iter().find(|other| other["id"] == one["id"]) else { continue };
        let [left, arrived] = [one, other].map(|one| one["ts"].as_str().unwrap().parse().unwrap());
        let took_ms = Timestamp::since(arrived, left).as_secs_f64() * 1e3;
        let Some(send_ms) = one["path"]["send_ms"].as_f64() else {
            unseen += 1;
            continue;
        };
        assert!(send_ms <= took_ms && took_ms - send_ms < 50.0, "{took_ms} {one:#}");
        slowest = slowest.max(send_ms);
    }
    assert!(slowest > 50.0, "no query waited: {slowest}");
    // On a busy host the kernel does not always call the program when a queue gives a packet to its device.
    assert!(unseen <= 4, "{unseen} of {}", all.len() - refused);
}

/// This kernel resolves the race in its own tables, so a rule that takes the first AAAA of a port stands in for one that does not. glibc then
/// asks again, after its timeout, by the same socket.
#[test]
fn second_queries_of_one_socket_are_a_race() {
    let Some((lab, _alone)) = lab() else { return };
    let stub = format!("nameserver {}\noptions timeout:2\n", lab.resolver_addr());
    let _stub = lab.configure_stub(Host::Client, &stub).unwrap();
    // Names of processes that no other test has.
    let [racer, blocked] = ["racer", "blocked"].map(|name| {
        let program = lab.folder().join(name);
        fs::copy("/usr/bin/getent", &program).unwrap();
        program.display().to_string()
    });
    let agent = Agent::run(&["--stream", "transactions,alerts,ledger"]).unwrap();
    let resolve_all = |program: &str, prefix: &str| {
        thread::scope(|scope| {
            for number in 0..12 {
                let name = format!("{prefix}{number:02}.wild.example.com");
                let lab = &lab;
                scope.spawn(move || lab.run(Host::Client, &[program, "ahosts", &name]).unwrap());
            }
        });
    };
    // Nobody answers AAAA, however often it is asked: type 28 behind a name of 22 bytes.
    let aaaa = "udp dport 53 @th,336,16 28";
    let rule = lab.discard_on_bridge("forward", aaaa).unwrap();
    resolve_all(&blocked, "b");
    assert!(rule.count().unwrap() >= 12);
    let is_lost = |record: &Value, comm: &str| {
        record["process"]["comm"] == comm
            && record["vantage"] == "client"
            && (record["status"] == "timeout" || record["retries"] != 0)
    };
    // Known before those of the other program: what reports these would report both.
    let all =
        |records: &[Value]| records.iter().filter(|one| is_lost(one, "blocked")).count() >= 12;
    agent.wait_for("lost queries", RECORD_LIMIT, all).unwrap();
    drop(rule);
    let first_aaaa = format!(
        "{aaaa} meter ports {{ udp sport timeout 60s limit rate 1/minute burst 1 packets }}"
    );
    let rule = lab.discard(Host::Resolver, "ip", "input", &first_aaaa).unwrap();
    let started = Instant::now();
    resolve_all(&racer, "r");
    assert!(started.elapsed() >= Duration::from_secs(2), "glibc has waited");
    assert_eq!(rule.count().unwrap(), 12);
    let is_race = |one: &Value| one["schema"] == "dns.alert/1" && one["rule"] == "conntrack_race";
    let records = agent
        .wait_for("an alert", RECORD_LIMIT * 4, |records| records.iter().any(is_race))
        .unwrap();
    let alert = records.into_iter().find(is_race).unwrap();
    let summary = alert["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("racer lost the second of two queries that it sent at once"),
        "{summary}"
    );
    assert_eq!(alert["process"]["comm"], "racer");
    let EndedAgent { records, .. } = agent.terminate().unwrap();
    let lost = records.iter().filter(|one| is_lost(one, "racer"));
    assert_eq!(lost.map(|one| one["qtype"].clone()).collect::<Vec<_>>(), vec![json!("AAAA"); 12]);
    assert!(!records.iter().any(|one| is_race(one) && one["process"]["comm"] == "blocked"));
}

#[test]
fn messages_say_how_long_they_waited_to_be_read() {
    let Some((lab, _alone)) = lab() else { return };
    let address = lab.address_number(74);
    lab.add_address(Host::Server, 74).unwrap();
    let server = lab.inside(Host::Server, || UdpSocket::bind((address, 53))).unwrap().unwrap();
    let client = lab.inside(Host::Client, || UdpSocket::bind((lab.client_addr(), 0)));
    let client = client.unwrap().unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(RECORD_LIMIT)).unwrap();
    }
    let agent = agent(&lab);
    let pause = || thread::sleep(Duration::from_millis(70));
    let mut buffer = [0; 512];
    // What is known of each query: no less than from the end of one call to the beginning of another, no more than from
    // the beginning to the end.
    let mut bounds = Vec::new();
    for id in 1..=3 {
        let query = wire::query(id, "waits.example.com", wire::A).unwrap();
        let began = Instant::now();
        client.send_to(&query, (address, 53)).unwrap();
        let sent = Instant::now();
        pause();
        let reading = Instant::now();
        let (size, from) = server.recv_from(&mut buffer).unwrap();
        let at_server = (reading - sent, began.elapsed());
        pause();
        buffer[2] |= 0x80;
        let answering = Instant::now();
        server.send_to(&buffer[..size], from).unwrap();
        let answered = Instant::now();
        pause();
        let reading = Instant::now();
        client.recv_from(&mut buffer).unwrap();
        bounds.push((at_server, (reading - answered, answering.elapsed())));
    }
    // Closed with the answer in its queue.
    let query = wire::query(4, "closed.example.com", wire::A).unwrap();
    client.send_to(&query, (address, 53)).unwrap();
    let (size, from) = server.recv_from(&mut buffer).unwrap();
    buffer[2] |= 0x80;
    server.send_to(&buffer[..size], from).unwrap();
    pause();
    drop(client);
    wait_for(&agent, |one| one["qname"] == "closed.example.com" && one["vantage"] == "client");
    let transactions = transactions(agent, 0);

    // A packet that leaves a network namespace arrives a moment after the call.
    let slack = Duration::from_millis(35);
    let check = |record: &Value, (least, most): (Duration, Duration)| {
        let read_ms = record["path"]["read_ms"].as_f64();
        let Some(read_ms) = read_ms else { return false };
        let read = Duration::from_secs_f64(read_ms / 1e3);
        read + slack >= least && read <= most && record["path"]["arrive_ms"].is_number()
    };
    for (id, (at_server, at_client)) in (1..).zip(bounds) {
        for (vantage, bounds) in [("server", at_server), ("client", at_client)] {
            let all = of(&transactions, vantage, "waits.example.com");
            let one = all.iter().find(|one| one["id"] == id).unwrap();
            assert!(check(one, bounds), "{bounds:?} {one:#}");
            assert!(vantage == "server" || one["path"]["send_ms"].is_number(), "{one:#}");
        }
    }
    let [closed] = of(&transactions, "client", "closed.example.com")[..] else {
        panic!("{transactions:#?}")
    };
    assert_eq!(closed["lost_at"]["message"], "response", "{closed:#}");
    assert_eq!(
        (&closed["lost_at"]["stage"], &closed["path"]["read_ms"]),
        (&json!("socket"), &Value::Null)
    );
}

/// One client asks two addresses of a server, which has a socket for each, and reads the later query first.
#[test]
fn sockets_of_one_port_read_their_own_messages() {
    let Some((lab, _alone)) = lab() else { return };
    let [late, soon] = [77, 78].map(|number| {
        lab.add_address(Host::Server, number).unwrap();
        let address = lab.address_number(number);
        let socket = lab.inside(Host::Server, || UdpSocket::bind((address, 53)));
        let socket = socket.unwrap().unwrap();
        socket.set_read_timeout(Some(RECORD_LIMIT)).unwrap();
        (address, socket)
    });
    let client = lab.inside(Host::Client, || UdpSocket::bind((lab.client_addr(), 0)));
    let client = client.unwrap().unwrap();
    let agent = agent(&lab);
    let began = Instant::now();
    for (id, name, (address, _)) in [(1, "late.two.example", &late), (2, "soon.two.example", &soon)]
    {
        let query = wire::query(id, name, wire::A).unwrap();
        client.send_to(&query, (*address, 53)).unwrap();
    }
    let answer = |(_, server): &(IpAddr, UdpSocket)| {
        let mut buffer = [0; 512];
        let (size, from) = server.recv_from(&mut buffer).unwrap();
        let read_after = began.elapsed();
        buffer[2] |= 0x80;
        server.send_to(&buffer[..size], from).unwrap();
        read_after
    };
    let soon_after = answer(&soon);
    thread::sleep(Duration::from_millis(70));
    answer(&late);
    for name in ["soon.two.example", "late.two.example"] {
        wait_for(&agent, |one| one["qname"] == name && one["vantage"] == "server");
    }
    let transactions = transactions(agent, 0);
    let read_ms = |name: &str| {
        let [one] = of(&transactions, "server", name)[..] else { panic!("{transactions:#?}") };
        one["path"]["read_ms"].as_f64().unwrap_or_else(|| panic!("{one:#}"))
    };
    let (late_ms, soon_ms) = (read_ms("late.two.example"), read_ms("soon.two.example"));
    assert!(soon_ms <= soon_after.as_secs_f64() * 1e3, "{soon_ms} ms of {soon_after:?}");
    assert!(late_ms >= 70.0, "{late_ms} ms");
}
