//! `dns.use/1`: the names of connections, against what the programs say that they did.

mod phases;
mod services;
mod sni;
mod unconnected;

use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::name_server::NameServer;
use dnscribe_tests::tmux::Terminal;
use dnscribe_tests::wire::{self, Reply};
use dnscribe_tests::{environment, go, ledger, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const CLIENT: &str = include_str!("uses/client.py");

/// Numbers of the lab's addresses that names lead to.
const ADDRESSES: [u8; 6] = [60, 61, 62, 63, 64, 65];

/// Names on shared addresses.
const NAMES: usize = 200;

/// An address of the lab by its place in [`ADDRESSES`].
fn address(lab: &Lab, place: usize) -> Ipv4Addr {
    match lab.address_number(ADDRESSES[place % ADDRESSES.len()]) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!(),
    }
}

/// Adds the addresses, and starts the name server that knows names by their first label: `s7` is on a shared address,
/// `all` on each of these, `only` on one that no other name has, `alias` is a CNAME of the last of them; `ttl1` has a TTL of 1 s.
fn name_server(lab: &Lab) -> NameServer {
    for number in ADDRESSES {
        lab.add_address(Host::Server, number).unwrap();
    }
    let addresses: Vec<Ipv4Addr> = (0..ADDRESSES.len()).map(|place| address(lab, place)).collect();
    NameServer::start(lab, 59, move |query| {
        let reply = Reply::to(query);
        if wire::qtype(query) != wire::A {
            return Some(reply.octets());
        }
        let labels = wire::labels(query);
        let label = labels.first()?.as_str();
        let octets = |place: usize| addresses[place].octets();
        let number = || label.get(1..).and_then(|number| number.parse::<usize>().ok());
        Some(
            match label {
                "all" => {
                    addresses.iter().take(3).fold(reply, |reply, one| reply.address(one.octets()))
                }
                "only" => reply.address(octets(5)),
                "ttl1" => reply.record_for(12, wire::A, 1, &octets(4)),
                "alias" => {
                    // Behind header, question and the record's beginning: the target `edge`, and the zone by a pointer.
                    let target = [&[4][..], b"edge", &[0xc0, 12 + 6]].concat();
                    let offset = u16::try_from(query.len()).ok()? + 12;
                    let reply = reply.record_for(12, CNAME, 60, &target);
                    reply.record_for(offset, wire::A, 300, &octets(3))
                }
                _ => reply.address(octets(number()? % 3)),
            }
            .octets(),
        )
    })
    .unwrap()
}

const CNAME: u16 = 5;

/// Runs the steps on the lab's client, and returns what it says that it did.
fn run(lab: &Lab, steps: &[Value]) -> Vec<Value> {
    follow(lab.spawn(Host::Client, &["python3", "-c", CLIENT]).unwrap(), steps)
}

/// Starts a client of this name that waits for its steps.
fn start(lab: &Lab, name: &str) -> Child {
    lab.spawn(Host::Client, &["python3", "-c", CLIENT, name]).unwrap()
}

/// Lets a client run the steps, and returns what it says that it did.
fn follow(mut child: Child, steps: &[Value]) -> Vec<Value> {
    let mut stdin = child.stdin.take().unwrap();
    let text = json!(steps).to_string();
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    writer.join().unwrap();
    assert!(shell::wait(&mut child, RECORD_LIMIT).unwrap().success());
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The uses after the agent has ended, and its last ledger, which is balanced and without a loss.
fn end(agent: Agent) -> (Vec<Value>, Value) {
    let EndedAgent { mut records, stderr, .. } = agent.terminate().unwrap();
    let last = records.iter().rposition(|record| record["schema"] == "dns.ledger/1").unwrap();
    let last = records.swap_remove(last);
    ledger::verify(&last).unwrap();
    assert_eq!(last["kernel"]["connect"]["lost_ring_full"], 0, "{stderr}");
    records.retain(|record| record["schema"] == "dns.use/1");
    (records, last)
}

/// Uses by port.
type Uses = BTreeMap<u64, Vec<Value>>;

fn by_port(records: impl IntoIterator<Item = Value>) -> Uses {
    let mut uses = Uses::new();
    for record in records {
        uses.entry(record["port"].as_u64().unwrap()).or_default().push(record);
    }
    uses
}

/// The uses of Python programs, after the agent has ended.
fn uses(agent: Agent) -> Uses {
    let is_python = |record: &Value| {
        record["process"]["comm"].as_str().unwrap_or_default().starts_with("python")
    };
    by_port(end(agent).0.into_iter().filter(is_python))
}

fn agent() -> Agent {
    Agent::run(&["--stream", "uses,ledger"]).unwrap()
}

fn has_candidate(record: &Value, name: &str) -> bool {
    record["candidates"].as_array().is_some_and(|names| names.iter().any(|one| one == name))
}

#[test]
fn connections_have_the_names_that_programs_looked_up() {
    let Some((lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let _stub =
        lab.configure_stub(Host::Client, &format!("nameserver {}\n", server.address)).unwrap();
    let agent = agent();
    // Each has a port of its own, where nobody listens.
    let mut port = 20_000;
    let mut step = |name: String, more: Value| {
        port += 1;
        let mut step = json!({ "name": name, "port": port });
        let more = more.as_object().unwrap().clone();
        step.as_object_mut().unwrap().extend(more);
        step
    };
    let none = || json!({});
    let mut steps: Vec<Value> =
        (0..NAMES).map(|number| step(format!("s{number}.uses.example"), none())).collect();
    steps.push(step("all.uses.example".into(), json!({ "all": true })));
    steps.push(step("alias.uses.example".into(), json!({ "pause": 1.2 })));
    steps.push(step("ttl1.uses.example".into(), json!({ "pause": 1.2 })));
    steps.push(step("only.uses.example".into(), json!({ "mapped": true })));
    steps.push(step("only.uses.example".into(), json!({ "udp": true, "datagrams": 3 })));
    steps.push(step("only.uses.example".into(), json!({ "udp": true, "datagrams": 0 })));
    steps.push(step("only.uses.example".into(), json!({ "fork": true })));
    steps.push(step("only.uses.example".into(), json!({ "times": 5 })));
    let literal = lab.blackhole_addr().to_string();
    steps.push(step("-".into(), json!({ "literal": literal, "timeout": 0.1 })));
    let said = run(&lab, &steps);
    assert_eq!(said.len(), steps.len() + 2 + 4);
    // Again, at once.
    let at_once: Vec<Value> = (0..NAMES)
        .map(|number| step(format!("t{number}.uses.example"), json!({ "thread": number % 8 })))
        .collect();
    let said_at_once = run(&lab, &at_once);
    assert_eq!(said_at_once.len(), NAMES);

    let uses = uses(agent);
    let (mut right, mut ambiguous) = (0, 0);
    for did in said.iter().chain(&said_at_once) {
        let (name, address) = (did["name"].as_str().unwrap(), did["address"].as_str().unwrap());
        let records = uses.get(&did["port"].as_u64().unwrap()).map_or(&[][..], Vec::as_slice);
        if did["udp"] == true && did["datagrams"] == 0 {
            assert_eq!(records, [] as [Value; 0], "nothing was sent");
            continue;
        }
        let of_address = |record: &&Value| record["address"] == address;
        let record =
            records.iter().find(of_address).unwrap_or_else(|| panic!("{did}: {records:?}"));
        match record["match"].as_str().unwrap() {
            "none" => assert_eq!(did["literal"], address, "{did}: {record:#}"),
            "ambiguous" => {
                // Only where names were looked up at once, or their addresses are those of many.
                let may = did.get("thread").is_some() || did["all"] == true;
                assert!(may && has_candidate(record, name), "{did}: {record:#}");
                ambiguous += 1;
            }
            _ => {
                assert_eq!(record["name"], name, "{did}: {record:#}");
                right += 1;
            }
        }
    }
    eprintln!("{right} of {} have their name, {ambiguous} are ambiguous", right + ambiguous);
    let of = |option: &str, value: Value| {
        let did = said.iter().find(|did| did[option] == value).unwrap();
        uses[&did["port"].as_u64().unwrap()].clone()
    };
    let only = |option: &str, value: Value| of(option, value).into_iter().next().unwrap();
    let stale = only("name", json!("ttl1.uses.example"));
    assert!(stale["ttl_left_ms"].as_f64().unwrap() < 0.0, "{stale:#}");
    let alias = only("name", json!("alias.uses.example"));
    let age = alias["answer_age_ms"].as_f64().unwrap();
    let left = alias["ttl_left_ms"].as_f64().unwrap();
    assert!((1_200.0..5_000.0).contains(&age), "{alias:#}");
    assert!((age + left - 60_000.0).abs() < 0.01, "the CNAME's TTL is the shortest: {alias:#}");
    assert_eq!(alias["lookup_scope"], "process");
    assert!(alias["lookup_event_id"].is_string() && alias["lookup_ms"].is_number(), "{alias:#}");
    let udp = only("datagrams", json!(3));
    assert_eq!(
        [&udp["protocol"], &udp["outcome"], &udp["count"]],
        [&json!("udp"), &json!("unknown"), &json!(1)]
    );
    assert_eq!(only("fork", json!(true))["lookup_scope"], "parent");
    let counts: Vec<_> = of("times", json!(5)).iter().map(|one| one["count"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(4)], "one first use, and the sum of the others");
}

/// Programs with other stubs and caches: what they run, and the port that they connect to.
fn programs(folder: &Path) -> Vec<(u16, Vec<String>)> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let musl = file(
        "musl.c",
        "#include <netdb.h>\n#include <sys/socket.h>\nint main(int count, char **words) { struct addrinfo *found; \
         if (getaddrinfo(words[1], words[2], 0, &found)) return 1; \
         connect(socket(found->ai_family, SOCK_STREAM, 0), found->ai_addr, found->ai_addrlen); return 0; }\n",
    );
    let built = folder.join("musl-client").to_str().unwrap().to_owned();
    shell::run(&["musl-gcc", "-static", "-o", &built, &musl]).unwrap();
    let built_go = folder.join("go-client");
    go::compile(
        "package main\n\nimport (\n\t\"net\"\n\t\"os\"\n\t\"time\"\n)\n\nfunc main() {\n\t\
         net.DialTimeout(\"tcp\", net.JoinHostPort(os.Args[1], os.Args[2]), 2*time.Second)\n}\n",
        &built_go,
    )
    .unwrap();
    let built_go = built_go.display().to_string();
    // Java remembers an answer for 30 s, whatever its TTL.
    let java = file(
        "Client.java",
        "public class Client { public static void main(String[] words) throws Exception { \
         for (int i = 0; i < 2; i++) { \
         try { new java.net.Socket(words[0], Integer.parseInt(words[1])).close(); } catch (java.io.IOException refused) { } \
         Thread.sleep(1500); } } }\n",
    );
    let node = "require('net').connect(process.argv[2], process.argv[1]).on('error', () => {})";
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        (23_001, words(&["curl", "-sS", "-m", "5", "http://only.uses.example:23001/"])),
        (23_002, words(&[&built, "only.uses.example", "23002"])),
        (23_003, words(&[&built_go, "only.uses.example", "23003"])),
        (23_004, words(&["node", "-e", node, "only.uses.example", "23004"])),
        (23_005, words(&["java", "-Xshare:auto", &java, "ttl1.uses.example", "23005"])),
    ]
}

/// Runs nginx, which looks up the name of its upstream when it starts, and forwards one request of curl.
fn forward_by_nginx(lab: &Lab, folder: &Path) {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|name| format!("{name}_temp_path {}/{name};", folder.display()));
    let config = format!(
        "daemon off; worker_processes 1; user root; pid {0}/pid; error_log stderr; events {{}} http {{ access_log off; {1} \
         server {{ listen 127.0.0.1:8099; location / {{ proxy_pass http://only.uses.example:23006; }} }} }}",
        folder.display(),
        paths.join(" ")
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let words = ["nginx", "-e", "stderr", "-c", file.to_str().unwrap()];
    let mut nginx = lab.spawn(Host::Client, &words).unwrap();
    shell::wait_for("nginx", RECORD_LIMIT, || {
        let words =
            ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8099/"];
        Ok(lab.run(Host::Client, &words).is_ok_and(|found| found.stdout == b"502").then_some(()))
    })
    .unwrap();
    shell::end(&mut nginx);
}

#[test]
fn programs_with_other_stubs_have_the_names_that_they_looked_up() {
    let Some((lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let text = format!("nameserver {}\n", server.address);
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(folder.path());
    let agent = agent();
    for (_, words) in &programs {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Nobody listens, which some of them report.
        let _ = lab.run(Host::Client, &words);
    }
    forward_by_nginx(&lab, folder.path());
    let EndedAgent { records, .. } = agent.terminate().unwrap();
    let of_port = |port: u16| -> Vec<&Value> {
        let is_of = |one: &&Value| one["schema"] == "dns.use/1" && one["port"] == port;
        records.iter().filter(is_of).collect()
    };
    for port in 23_001..=23_006 {
        let found = of_port(port);
        assert!(!found.is_empty(), "{port}: {records:#?}");
        let name = if port == 23_005 { "ttl1.uses.example" } else { "only.uses.example" };
        for one in &found {
            assert_eq!(
                (&one["name"], &one["outcome"]),
                (&json!(name), &json!("refused")),
                "{one:#}"
            );
            let scope = if port == 23_006 { "parent" } else { "process" };
            assert_eq!(one["lookup_scope"], scope, "{one:#}");
        }
    }
    let stale = |one: &&&Value| one["ttl_left_ms"].as_f64().unwrap() < 0.0;
    assert_eq!(of_port(23_005).iter().filter(stale).count(), 1, "the second of Java");
}

/// Steps that look a name up, and connect `times` times: with 0, the lookup is for nothing.
fn lookups(name: &str, times: u64) -> Vec<Value> {
    vec![json!({ "name": name, "port": 24_100, "times": times, "pause": 0.1 }); 25]
}

#[test]
fn rules_report_fixed_addresses_and_lookups_for_nothing() {
    let Some((lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let _stub =
        lab.configure_stub(Host::Client, &format!("nameserver {}\n", server.address)).unwrap();
    let fixed = address(&lab, 3).to_string();
    let looked_up = address(&lab, 0).to_string();
    let _dot = lab.inside(Host::Server, || TcpListener::bind((&*fixed, 853))).unwrap().unwrap();
    let older = start(&lab, "older");
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--stream", "uses,alerts,ledger"]);
    for (key, value) in [
        // All that there are: rules are evaluated every ten seconds, perhaps between two connections.
        ("NO_LOOKUP__MIN_CONNECTIONS", "8"),
        ("NO_LOOKUP__FOR", "2s"),
        ("UNUSED_ANSWERS__MIN_LOOKUPS", "20"),
        ("UNUSED_ANSWERS__FOR", "2s"),
    ] {
        command.env(format!("DNSCRIBE_DETECT__RULES__{key}"), value);
    }
    let agent = Agent::start(&mut command).unwrap();
    // Each to a port of its own: those alike are summed up for a minute.
    let literal = |address: &str, port: u16| -> Vec<Value> {
        let step = |port| json!({ "literal": address, "port": port, "pause": 0.4 });
        (port..port + 8).map(step).collect()
    };
    let used = |name: &str| json!({ "name": name, "port": 24_101 });
    let forks = json!({ "name": "only.uses.example", "port": 24_102, "fork": true, "pause": 0.4 });
    let mut hidden = vec![json!({ "literal": fixed, "port": 853 })];
    hidden.extend(literal(&fixed, 24_001));
    // A connection that receives no data is reported five seconds later.
    hidden[1]["pause"] = json!(6);
    let mut prefetch = vec![used("only.uses.example")];
    prefetch.extend(lookups("s0.uses.example", 0));
    let mut worker = vec![used("only.uses.example")];
    worker.extend(lookups("s1.uses.example", 1));
    let url = format!("http://{}:24040/", address(&lab, 4));
    let curls = format!("for i in 1 2 3 4 5 6 7 8; do curl -sm1 {url}; sleep 0.4; done");
    thread::scope(|scope| {
        let client = |name: &'static str, steps: Vec<Value>| {
            let child = start(&lab, name);
            scope.spawn(move || follow(child, &steps));
        };
        client("prefetch", prefetch);
        client("worker", worker);
        client("hidden", hidden);
        client("forks", vec![forks; 8]);
        scope.spawn(|| follow(older, &literal(&fixed, 24_020)));
        scope.spawn(|| lab.run(Host::Client, &["sh", "-c", &curls]).unwrap());
        scope.spawn(|| {
            for _ in 0..25 {
                let at = format!("@{}", server.address);
                lab.run(Host::Client, &["dig", "+short", &at, "s2.uses.example"]).unwrap();
            }
        });
    });
    // Another process has looked this address up.
    follow(start(&lab, "cached"), &literal(&looked_up, 24_030));
    let alerts = |records: &[Value]| -> Vec<Value> {
        let is_of_rule = |one: &&Value| {
            one["schema"] == "dns.alert/1"
                && ["no_lookup", "unused_answers"].iter().any(|rule| one["rule"] == *rule)
        };
        records.iter().filter(is_of_rule).cloned().collect()
    };
    let limit = RECORD_LIMIT * 4;
    agent.wait_for("three alerts", limit, |records| alerts(records).len() >= 3).unwrap();
    // One evaluation more.
    thread::sleep(Duration::from_secs(11));
    let EndedAgent { records, .. } = agent.terminate().unwrap();
    let alerts = alerts(&records);
    let of = |rule: &str, process: &str| -> Option<&Value> {
        let is_of = |one: &&Value| one["rule"] == rule && one["process"]["comm"] == process;
        alerts.iter().find(is_of)
    };
    let hidden = of("no_lookup", "hidden").unwrap_or_else(|| panic!("{alerts:#?}"));
    let summary = hidden["summary"].as_str().unwrap();
    let begin = format!(
        "hidden connects to addresses that no lookup gave: 8 connections within 60 min to {fixed}:24001, "
    );
    let end = format!(", 100 % of those to public addresses; it uses encrypted DNS of {fixed}");
    assert!(summary.starts_with(&begin) && summary.ends_with(&end), "{summary}");
    assert_eq!((&hidden["severity"], &hidden["resolvers"]), (&json!("warning"), &json!([fixed])));
    let curl = of("no_lookup", "curl").unwrap_or_else(|| panic!("{alerts:#?}"));
    assert!(curl["summary"].as_str().unwrap().contains(&address(&lab, 4).to_string()), "{curl:#}");
    let prefetch = of("unused_answers", "prefetch").unwrap_or_else(|| panic!("{alerts:#?}"));
    assert_eq!(prefetch["severity"], "info");
    assert_eq!(prefetch["qname"], "s0.uses.example");
    for process in ["older", "cached", "forks", "worker", "dig"] {
        let found = ["no_lookup", "unused_answers"].map(|rule| of(rule, process));
        assert_eq!(found, [None, None], "{process}: {alerts:#?}");
    }
    assert!(of("unused_answers", "hidden").is_none() && of("no_lookup", "prefetch").is_none());
}

#[test]
fn the_live_screen_shows_connections_by_name() {
    let Some((lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let _stub =
        lab.configure_stub(Host::Client, &format!("nameserver {}\n", server.address)).unwrap();
    let open = address(&lab, 0);
    let _listener =
        lab.inside(Host::Server, || TcpListener::bind((open, 24_201))).unwrap().unwrap();
    let binary = environment::binary().unwrap();
    let script = format!("{} top; echo ended", shell::quote(binary));
    let terminal = Terminal::start((132, 30), &script).unwrap();
    terminal.wait_for("the view", |text| text.contains("[1 Resolvers]")).unwrap();
    let steps = [
        json!({ "name": "s0.uses.example", "port": 24_201, "times": 3 }),
        json!({ "name": "s0.uses.example", "port": 24_202 }),
        json!({ "name": "ttl1.uses.example", "port": 24_202, "pause": 1.2 }),
    ];
    follow(start(&lab, "shopper"), &steps);
    terminal.press(&["8"]).unwrap();
    terminal.press(&["/"]).unwrap();
    terminal.type_text("uses.example").unwrap();
    terminal.press(&["Enter"]).unwrap();
    let row = |text: &str, name: &str, cells: &[&str]| {
        let line = text.lines().find(|line| line.contains(name));
        line.is_some_and(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            cells.iter().all(|cell| words.contains(cell))
        })
    };
    // The first use of each kind comes at once, the others within a minute.
    terminal
        .wait_for("both names", |text| {
            row(text, "s0.uses.example", &["1", "2", "50.0", "shopper"])
                && row(text, "ttl1.uses.example", &["1", "100", "shopper"])
        })
        .unwrap();
    terminal.press(&["End", "Home", "Enter"]).unwrap();
    terminal
        .wait_for("the process", |text| {
            text.contains("PROCESS") && row(text, "shopper", &["host", "50.0"])
        })
        .unwrap();
    terminal.press(&["q"]).unwrap();
    terminal.wait_for("the end", |text| text.contains("ended")).unwrap();
}

#[test]
fn outcomes_are_those_of_the_connections() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_address(Host::Server, ADDRESSES[0]).unwrap();
    let open = address(&lab, 0);
    let listen =
        |port: u16| lab.inside(Host::Server, || TcpListener::bind((open, port))).unwrap().unwrap();
    let accepting = listen(21_001);
    let resetting = listen(21_002);
    let resets = thread::spawn(move || {
        let (socket, _) = resetting.accept().unwrap();
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&socket, linger).unwrap();
    });
    let reject = |ports: &str, answer: &str| {
        let matches = format!("tcp dport {{ {ports} }}");
        lab.reject(Host::Client, "ip", "output", &matches, answer).unwrap()
    };
    let _rules = [
        reject("21007, 21009", "icmp port-unreachable"),
        reject("21008, 21010", "icmp admin-prohibited"),
    ];
    let agent = agent();
    let to = |literal: IpAddr, port: u16, timeout: f64| json!({ "literal": literal.to_string(), "port": port, "timeout": timeout, "wait": 1.2 });
    // Waits in `connect`, where the kernel sends a second SYN before it says that the first was refused.
    let blocking =
        |port: u16| json!({ "literal": open.to_string(), "port": port, "timeout": null });
    let said = run(
        &lab,
        &[
            to(open.into(), 21_001, 2.0),
            to(open.into(), 21_002, 2.0),
            to(open.into(), 21_003, 2.0),
            to(lab.blackhole_addr(), 21_004, 1.5),
            to(lab.blackhole_addr(), 21_005, 0.2),
            to(lab.closed_addr(), 21_006, 2.0),
            to(open.into(), 21_007, 2.0),
            to(open.into(), 21_008, 2.0),
            blocking(21_009),
            blocking(21_010),
        ],
    );
    assert_eq!(said.len(), 10);
    resets.join().unwrap();
    drop(accepting);
    let uses = uses(agent);
    let outcome = |port: u64| {
        let [record] = uses[&port].as_slice() else { panic!("{port}: {uses:#?}") };
        (record["outcome"].as_str().unwrap().to_owned(), record["connect_ms"].is_number())
    };
    assert_eq!(
        (21_001..=21_010).map(outcome).collect::<Vec<_>>(),
        [
            ("established", true),
            ("reset", true),
            ("refused", true),
            ("timeout", true),
            ("unknown", true),
            ("refused", true),
            ("refused", true),
            ("refused", true),
            ("refused", true),
            ("refused", true),
        ]
        .map(|(name, timed)| (name.to_owned(), timed))
    );
}

#[test]
fn connections_that_do_not_fit_into_the_ring_are_counted() {
    let Some((lab, _alone)) = lab() else { return };
    lab.add_address(Host::Server, ADDRESSES[0]).unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--stream", "uses,ledger"]).env("DNSCRIBE_CAPTURE__RING_BYTES", "64KiB");
    let agent = Agent::start(&mut command).unwrap();
    agent.signal(Signal::STOP).unwrap();
    let step = json!({ "literal": address(&lab, 0).to_string(), "port": 22_000, "times": 2_000 });
    let said = run(&lab, &[step]);
    agent.signal(Signal::CONT).unwrap();
    assert_eq!(said.len(), 2_000);
    let EndedAgent { records, .. } = agent.terminate().unwrap();
    let last = records.iter().rev().find(|one| one["schema"] == "dns.ledger/1").unwrap();
    ledger::verify(last).unwrap();
    let (uses, connect) = (&last["uses"], &last["kernel"]["connect"]);
    let number = |value: &Value| value.as_u64().unwrap();
    assert!(number(&uses["lost"]) > 500, "{last:#}");
    assert_eq!(uses["lost"], connect["lost_ring_full"]);
    assert!(number(&uses["connects"]) >= 2_000, "{last:#}");
    let counted: u64 = records
        .iter()
        .filter(|one| one["schema"] == "dns.use/1")
        .map(|one| number(&one["count"]))
        .sum();
    assert_eq!(counted + number(&uses["lost"]), number(&uses["connects"]), "{last:#}");
}

#[test]
fn connections_are_captured_only_where_they_are_asked_for() {
    let Some((_lab, _alone)) = lab() else { return };
    let ended = Agent::run(&["--stream", "ledger"]).unwrap().terminate().unwrap();
    let last = ended.records.last().unwrap();
    assert!(last["uses"].is_null() && last["kernel"]["connect"].is_null(), "{last:#}");
    let run = |hook: &str, streams: &str| {
        let mut command = Command::new(environment::binary().unwrap());
        command.args(["run", "--hook", hook, "--stream", streams, "--duration", "1s"]);
        command.env("DNSCRIBE_CAPTURE__CONNECTIONS", "true").stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("socket", "uses");
    assert!(code == Some(2) && said.contains("hook socket sees no connections"), "{said}");
    let (code, said) = run("cgroup", "ledger");
    assert!(code == Some(2) && said.contains("no sink gets the stream uses"), "{said}");
    assert_eq!(run("cgroup", "uses,ledger").0, Some(0));
}
