//! Handover: a new agent takes over from a running one under load, while answers are pending.

use crate::support::{RECORD_LIMIT, lab};
use dnscribe::capture::live::HandleName;
use dnscribe::capture::live::testing::QuietWords;
use dnscribe::handover::{FrameKind, FrameSocket, HandoverState, Hello, Offer, PROTOCOL};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::{Host, Lab, SpecialAddress};
use dnscribe_tests::wire::{self, Reply};
use dnscribe_tests::{environment, ledger, shell};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Default rate in queries per second. Each query is captured at both ends; an unoptimised agent
/// can follow this rate.
const RATE: u64 = 1000;
/// Environment variable with another rate.
const RATE_VARIABLE: &str = "DNSCRIBE_TEST_RATE";
/// Delays of the answers, a quarter of them each.
const DELAYS_MS: [u64; 4] = [0, 0, 400, 1500];

/// Vantages of a hook that covers the whole host: each query is captured at both ends.
const BOTH_VANTAGES: [&str; 2] = ["client", "server"];

/// A server with delayed answers, and a client.
struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    client: JoinHandle<u64>,
    server: JoinHandle<()>,
}

impl Traffic {
    fn start(lab: &Lab) -> Self {
        lab.add_special_addresses().unwrap();
        let at = SocketAddr::new(lab.special_address(SpecialAddress::Scripted, false), 53);
        let bind = |host, address: SocketAddr| {
            lab.inside(host, move || UdpSocket::bind(address)).unwrap().unwrap()
        };
        let server = bind(Host::Server, at);
        let client = bind(Host::Client, SocketAddr::new(lab.client_addr(), 0));
        client.connect(at).unwrap();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&done);
        let server = thread::spawn(move || serve(&server, &ends));
        let (stops, ends) = (Arc::clone(&stop), Arc::clone(&done));
        let client = thread::spawn(move || ask(&client, &stops, &ends));
        Self { stop, done, client, server }
    }

    /// Stops the queries, waits for the last answer, and returns the number of queries.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(DELAYS_MS[3] + 500));
        self.done.store(true, Ordering::Relaxed);
        self.server.join().unwrap();
        self.client.join().unwrap()
    }
}

fn serve(socket: &UdpSocket, done: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let mut waiting: [VecDeque<(Instant, SocketAddr, Vec<u8>)>; 4] = Default::default();
    let mut query = [0; 512];
    while !done.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            let label = wire::labels(query).remove(0);
            let number: usize = label[1..].parse().unwrap();
            let (kind, reply) = (number % 4, Reply::to(query).address([192, 0, 2, 7]).octets());
            let due = Instant::now() + Duration::from_millis(DELAYS_MS[kind]);
            waiting[kind].push_back((due, from, reply));
        }
        for queue in &mut waiting {
            while queue.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                let (_, to, reply) = queue.pop_front().unwrap();
                socket.send_to(&reply, to).unwrap();
            }
        }
    }
}

/// Sends queries until `stop` is set, and reads answers until `over` is set: an answer that finds a
/// full or closed socket would not be captured.
fn ask(socket: &UdpSocket, stop: &AtomicBool, done: &AtomicBool) -> u64 {
    let rate = std::env::var(RATE_VARIABLE).map_or(RATE, |rate| rate.parse().unwrap());
    let (began, mut asked) = (Instant::now(), 0);
    socket.set_nonblocking(true).unwrap();
    let mut answer = [0; 512];
    while !done.load(Ordering::Relaxed) {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap() * rate / 1_000_000;
        while asked < due && !stop.load(Ordering::Relaxed) {
            let id = u16::try_from(asked % 65_536).unwrap();
            let name = format!("n{asked}.takeover.test");
            socket.send(&wire::query(id, &name, wire::A).unwrap()).unwrap();
            asked += 1;
        }
        while socket.recv(&mut answer).is_ok() {}
        thread::sleep(Duration::from_millis(1));
    }
    asked
}

/// Folder with the configuration and output of one agent.
struct AgentFolder {
    directory: tempfile::TempDir,
}

impl AgentFolder {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("takeover.sock")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts an agent that writes to a file of this name; on a host of the lab, if one is given.
    fn agent(&self, name: &str, (threads, more): (u32, &[&str]), on: Option<&Lab>) -> Agent {
        let sink = format!("file:{}", self.file(name).display());
        let config = self.file("dnscribe.yaml");
        let socket = self.socket();
        let text = format!(
            "version: 1\ntakeover:\n  socket: {}\ncapture:\n  threads: {threads}\n  nice: 0\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let words = ["--config", config, "--stream", "transactions,ledger", "--sink", &sink];
        let words = [&words, more].concat();
        match on {
            Some(lab) => Agent::run_on(lab, Host::Client, &words).unwrap(),
            None => Agent::run(&words).unwrap(),
        }
    }

    fn records(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until an agent has written the last queries: on a busy host it may lag by seconds.
    fn wait_until_caught_up(&self, name: &str, asked: u64) {
        let last: Vec<_> =
            (asked - 4..asked).map(|one| format!("\"n{one}.takeover.test\"")).collect();
        shell::wait_for("the agent to catch up", Duration::from_secs(60), || {
            let text = std::fs::read_to_string(self.file(name))?;
            Ok(last.iter().all(|name| text.contains(name)).then_some(()))
        })
        .unwrap();
    }
}

/// Returns the output of `ledger verify` for these files; the balance must close.
fn verify(files: &[&Path]) -> String {
    let output = Command::new(environment::binary().unwrap())
        .args(["ledger", "verify"])
        .args(files)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn is_test_query(record: &Value) -> bool {
    record["schema"] == "dns.transaction/1"
        && record["qname"].as_str().is_some_and(|name| name.ends_with(".takeover.test"))
}

/// Returns the records of an agent's traffic by event id; none may occur twice or be an orphan.
fn by_id(records: &[Value]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for record in records.iter().filter(|record| is_test_query(record)) {
        let id = record["event_id"].as_str().unwrap().to_owned();
        assert!(found.insert(id, record.clone()).is_none(), "written twice by one agent: {record}");
    }
    found
}

/// Merges records without duplicates, like a consumer; returns the number of duplicates.
fn merge_without_duplicates(first: &[Value], second: &[Value]) -> (Vec<Value>, usize) {
    let mut all = by_id(first);
    let mut duplicates = 0;
    for (id, record) in by_id(second) {
        if let Some(before) = all.insert(id, record) {
            duplicates += 1;
            assert_eq!(
                before["status"], "open",
                "a record that was not open is duplicated: {before}"
            );
        }
    }
    (all.into_values().collect(), duplicates)
}

/// Checks that every query has one record per vantage, and was answered.
fn assert_complete(records: &[Value], asked: u64, vantages: &[&str]) {
    let mut sides: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    for record in records {
        let key = (text(record, "qname"), text(record, "vantage"));
        sides.entry(key).or_default().push(record);
    }
    let (mut wrong, mut count) = (String::new(), 0);
    for number in 0..asked {
        for vantage in vantages {
            let key = (format!("n{number}.takeover.test"), (*vantage).to_owned());
            let of = sides.get(&key).map_or(&[][..], Vec::as_slice);
            let is_right = matches!(of, [one] if one["status"] == "answered");
            if !is_right {
                count += 1;
                if wrong.len() < 2000 {
                    writeln!(wrong, "{key:?}: {of:?}").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{count} of {asked} queries: {wrong}");
    assert_eq!(records.len() as u64, vantages.len() as u64 * asked);
}

fn last_ledger(records: &[Value]) -> &Value {
    let last = records.iter().rfind(|record| record["schema"] == "dns.ledger/1").unwrap();
    assert_eq!(last["final"], true, "{last}");
    ledger::verify(last).unwrap();
    last
}

/// Waits until an agent has ended because another one took over.
fn wait_until_replaced(agent: Agent) -> EndedAgent {
    shell::wait_for("the end of the first agent", RECORD_LIMIT, || {
        Ok(agent.log().contains("another agent has taken over").then_some(()))
    })
    .unwrap();
    let end = agent.wait().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    end
}

fn check_handover(how: (u32, &[&str]), vantages: &[&str]) {
    let Some((lab, _alone)) = lab() else { return };
    let place = AgentFolder::new();
    let on = (vantages.len() == 1).then_some(&lab);
    let first = place.agent("first", how, on);
    let traffic = Traffic::start(&lab);
    thread::sleep(Duration::from_secs(3));
    let second = place.agent("second", how, on);
    wait_until_replaced(first);
    thread::sleep(Duration::from_secs(2));
    let third = place.agent("third", how, on);
    let second = wait_until_replaced(second);
    thread::sleep(Duration::from_secs(1));
    let asked = traffic.end();
    place.wait_until_caught_up("third", asked);
    let third = third.terminate().unwrap();
    assert!(third.status.success(), "{}", third.stderr);

    let files = ["first", "second", "third"];
    let all = files.map(|name| place.records(name));
    let (both, twice) = merge_without_duplicates(&all[0], &all[1]);
    let (whole, again) = merge_without_duplicates(&both, &all[2]);
    for end in [&second, &third] {
        let timing = end.stderr.lines().find(|line| line.contains("unread_ms")).unwrap();
        eprintln!("{timing}");
    }
    eprintln!("{asked} queries, {twice} and {again} duplicate records");
    assert_complete(&whole, asked, vantages);
    // A quarter of the queries waits for 0.4 s and another for 1.5 s, at each end.
    assert!(twice > 200 && again > 200, "{twice}, {again}");

    let ledgers = [0, 1, 2].map(|number| last_ledger(&all[number]).clone());
    for (number, one) in ledgers.iter().enumerate() {
        assert_eq!(one["epoch"], ledgers[0]["epoch"]);
        assert_eq!(one["takeovers"].as_u64().unwrap_or(0), number as u64);
        assert_eq!(ledger::losses(one).unwrap(), 0, "{one:#}");
    }
    let counter = |name| ledger::counter(&ledgers[2], &["pairing", name]).unwrap();
    let least = vantages.len() as u64 * asked;
    assert!(counter("queries") >= least && counter("answered") >= least);
    assert_eq!([counter("timeout"), counter("orphan"), counter("late")], [0; 3], "{}", ledgers[2]);
    let paths = files.map(|name| place.file(name));
    for path in &paths {
        verify(&[path]);
    }
    let together = verify(&paths.each_ref().map(PathBuf::as_path));
    assert!(!together.contains("not every agent"), "{together}");
}

#[test]
fn handover_loses_nothing_with_one_thread() {
    check_handover((1, &[]), &BOTH_VANTAGES);
}

#[test]
fn handover_loses_nothing_with_two_threads() {
    check_handover((2, &[]), &BOTH_VANTAGES);
}

#[test]
fn handover_loses_nothing_at_hook_socket() {
    check_handover((1, &["--hook", "socket"]), &["client"]);
}

/// Sends the hello of an agent with the same settings, which are learned from a refusal.
fn send_hello(socket: &Path) -> (FrameSocket, Offer) {
    let connect = || FrameSocket::new(UnixStream::connect(socket).unwrap(), RECORD_LIMIT).unwrap();
    let mut hello = Hello { protocol: PROTOCOL, version: "0".into(), same: BTreeMap::new() };
    let mut line = connect();
    line.send_json(FrameKind::Hello, &hello).unwrap();
    let why = line.expect(FrameKind::Offer).unwrap_err().to_string();
    for one in why.split(", nothing here").map(|one| one.trim_start_matches("; ")) {
        if let Some((name, value)) = one.split_once(": ") {
            let value = value.strip_suffix(" there").unwrap();
            hello.same.insert(name.to_owned(), value.to_owned());
        }
    }
    assert!(hello.same.contains_key("ports"), "{why}");
    let mut line = connect();
    line.send_json(FrameKind::Hello, &hello).unwrap();
    let offer = line.expect_json(FrameKind::Offer).unwrap();
    (line, offer)
}

/// The words of the capture's map of settings that disable wakeups.
fn quiet_words(line: &mut FrameSocket, offer: &Offer) -> QuietWords {
    let config = HandleName::Map("CONFIG".to_owned());
    let place = offer.parts.iter().position(|part| *part == config).unwrap();
    // The first one is the listening socket.
    QuietWords::open(line.take_descriptors().remove(place + 1)).unwrap()
}

/// A new agent that disconnects before the handover does not affect the running one.
#[test]
fn aborted_handover_keeps_agent_running() {
    for threads in [1, 2] {
        let Some((lab, _alone)) = lab() else { return };
        let place = AgentFolder::new();
        let agent = place.agent("first", (threads, &[]), None);
        let traffic = Traffic::start(&lab);
        thread::sleep(Duration::from_secs(1));
        let (mut line, offer) = send_hello(&place.socket());
        // The handles do not include the listening socket.
        assert_eq!(line.take_descriptors().len(), offer.parts.len() + 1);
        drop(line);
        thread::sleep(Duration::from_millis(300));
        let (mut line, offer) = send_hello(&place.socket());
        let mut words = quiet_words(&mut line, &offer);
        let before = words.read(threads).unwrap();
        assert!(before.contains(&1), "at this rate the agent polls: {before:?}");
        line.send(FrameKind::Go, &[]).unwrap();
        let state: HandoverState = line.expect_json(FrameKind::State).unwrap();
        assert_eq!(state.shards.len(), threads as usize);
        // The new agent has asked for wakeups before it fails.
        words.clear(threads).unwrap();
        drop(line);
        let end = Instant::now() + RECORD_LIMIT;
        while words.read(threads).unwrap() != before {
            assert!(Instant::now() < end, "the agent does not poll any more");
            thread::sleep(Duration::from_millis(10));
        }
        // A new agent that sends nothing more.
        let (mut line, _) = send_hello(&place.socket());
        line.send(FrameKind::Go, &[]).unwrap();
        thread::sleep(Duration::from_secs(4));
        let asked = traffic.end();
        place.wait_until_caught_up("first", asked);
        let end = agent.terminate().unwrap();
        assert_eq!(end.stderr.matches("this one goes on").count(), 2, "{}", end.stderr);
        let records = place.records("first");
        assert_complete(&by_id(&records).into_values().collect::<Vec<_>>(), asked, &BOTH_VANTAGES);
        assert_eq!(ledger::losses(last_ledger(&records)).unwrap(), 0);
        verify(&[&place.file("first")]);
        drop(line);
    }
}

#[test]
fn refuses_handover_to_other_settings() {
    let Some((lab, _alone)) = lab() else { return };
    let place = AgentFolder::new();
    let first = place.agent("first", (1, &[]), None);
    let second = place.agent("second", (1, &["--port", "53,5353"]), None);
    let log = second.log();
    assert!(log.contains("ports: 53 there, 53,5353 here"), "{log}");
    lab.dig(&["www.example.com"]).unwrap();
    for agent in [first, second] {
        let end = agent.terminate().unwrap();
        assert!(end.status.success(), "{}", end.stderr);
    }
    let epochs = ["first", "second"].map(|name| {
        let records = place.records(name);
        assert!(records.iter().any(|record| record["qname"] == "www.example.com"));
        last_ledger(&records)["epoch"].clone()
    });
    assert_ne!(epochs[0], epochs[1]);
}
