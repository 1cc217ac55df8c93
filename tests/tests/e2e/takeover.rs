//! A new agent takes over from a running one under load, with answers on their way.

use crate::support::{SOON, lab};
use dnscribe::handover::{Hello, Kind, Line, Offer, PROTOCOL, State};
use dnscribe_tests::agent::{Agent, Finished};
use dnscribe_tests::lab::{Fate, Host, Lab};
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

/// Queries per second unless told otherwise, each seen where it is sent and where it arrives: what an agent that
/// is not optimised can follow.
const RATE: u64 = 1000;
/// Tells otherwise.
const RATE_VARIABLE: &str = "DNSCRIBE_TEST_RATE";
/// After how long answers are sent: a quarter of them each.
const DELAYS_MS: [u64; 4] = [0, 0, 400, 1500];

/// The hook for all of this host sees a query where it is sent and where it arrives.
const BOTH: [&str; 2] = ["client", "server"];

/// A server whose answers take their time, and a client that asks it.
struct Traffic {
    stop: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    client: JoinHandle<u64>,
    server: JoinHandle<()>,
}

impl Traffic {
    fn start(lab: &Lab) -> Self {
        lab.add_hazards().unwrap();
        let at = SocketAddr::new(lab.hazard(Fate::Scripted, false), 53);
        let bind = |host, address: SocketAddr| {
            lab.inside(host, move || UdpSocket::bind(address)).unwrap().unwrap()
        };
        let server = bind(Host::Server, at);
        let client = bind(Host::Client, SocketAddr::new(lab.client_addr(), 0));
        client.connect(at).unwrap();
        let (stop, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&over);
        let server = thread::spawn(move || serve(&server, &ends));
        let (stops, ends) = (Arc::clone(&stop), Arc::clone(&over));
        let client = thread::spawn(move || ask(&client, &stops, &ends));
        Self { stop, over, client, server }
    }

    /// Stops asking, waits for the last answer, and gives the number of queries.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(DELAYS_MS[3] + 500));
        self.over.store(true, Ordering::Relaxed);
        self.server.join().unwrap();
        self.client.join().unwrap()
    }
}

fn serve(socket: &UdpSocket, over: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let mut waiting: [VecDeque<(Instant, SocketAddr, Vec<u8>)>; 4] = Default::default();
    let mut query = [0; 512];
    while !over.load(Ordering::Relaxed) {
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

/// Asks until it is told to stop, and takes the answers until all is over: what finds no room, or no socket, is
/// not seen to arrive.
fn ask(socket: &UdpSocket, stop: &AtomicBool, over: &AtomicBool) -> u64 {
    let rate = std::env::var(RATE_VARIABLE).map_or(RATE, |rate| rate.parse().unwrap());
    let (began, mut asked) = (Instant::now(), 0);
    socket.set_nonblocking(true).unwrap();
    let mut answer = [0; 512];
    while !over.load(Ordering::Relaxed) {
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

/// Where one agent writes and what it is told.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
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

    /// Waits until an agent has told of the last queries: on a busy host it may be behind by seconds.
    fn catches_up(&self, name: &str, asked: u64) {
        let last: Vec<_> =
            (asked - 4..asked).map(|one| format!("\"n{one}.takeover.test\"")).collect();
        shell::wait_for("the agent to catch up", Duration::from_secs(60), || {
            let text = std::fs::read_to_string(self.file(name))?;
            Ok(last.iter().all(|name| text.contains(name)).then_some(()))
        })
        .unwrap();
    }
}

/// What `ledger verify` says of files, which must close.
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

fn is_of_traffic(record: &Value) -> bool {
    record["schema"] == "dns.transaction/1"
        && record["qname"].as_str().is_some_and(|name| name.ends_with(".takeover.test"))
}

/// The records of an agent's traffic by event id; without a stray, and none twice.
fn by_id(records: &[Value]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for record in records.iter().filter(|record| is_of_traffic(record)) {
        let id = record["event_id"].as_str().unwrap().to_owned();
        assert!(found.insert(id, record.clone()).is_none(), "told twice by one agent: {record}");
    }
    found
}

/// Removes duplicates as a consumer would, and gives their number.
fn union(first: &[Value], second: &[Value]) -> (Vec<Value>, usize) {
    let mut all = by_id(first);
    let mut duplicates = 0;
    for (id, record) in by_id(second) {
        if let Some(before) = all.insert(id, record) {
            duplicates += 1;
            assert_eq!(before["status"], "open", "only what waited is told twice: {before}");
        }
    }
    (all.into_values().collect(), duplicates)
}

/// Every query has one record for each side, and was answered.
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

/// Waits until an agent has ended because another took over.
fn ended(agent: Agent) -> Finished {
    shell::wait_for("the end of the first agent", SOON, || {
        Ok(agent.log().contains("another agent has taken over").then_some(()))
    })
    .unwrap();
    let end = agent.wait().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    end
}

fn takes_over(how: (u32, &[&str]), vantages: &[&str]) {
    let Some((lab, _alone)) = lab() else { return };
    let place = Place::new();
    let on = (vantages.len() == 1).then_some(&lab);
    let first = place.agent("first", how, on);
    let traffic = Traffic::start(&lab);
    thread::sleep(Duration::from_secs(3));
    let second = place.agent("second", how, on);
    ended(first);
    thread::sleep(Duration::from_secs(2));
    let third = place.agent("third", how, on);
    let second = ended(second);
    thread::sleep(Duration::from_secs(1));
    let asked = traffic.end();
    place.catches_up("third", asked);
    let third = third.terminate().unwrap();
    assert!(third.status.success(), "{}", third.stderr);

    let files = ["first", "second", "third"];
    let all = files.map(|name| place.records(name));
    let (both, twice) = union(&all[0], &all[1]);
    let (whole, again) = union(&both, &all[2]);
    for end in [&second, &third] {
        let told = end.stderr.lines().find(|line| line.contains("unread_ms")).unwrap();
        eprintln!("{told}");
    }
    eprintln!("{asked} queries, {twice} and {again} records told twice");
    assert_complete(&whole, asked, vantages);
    // A quarter waits for 0.4 s and another for 1.5 s, on each side.
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
fn nothing_is_lost_or_told_wrong_with_one_thread() {
    takes_over((1, &[]), &BOTH);
}

#[test]
fn nothing_is_lost_or_told_wrong_with_two_threads() {
    takes_over((2, &[]), &BOTH);
}

#[test]
fn nothing_is_lost_at_hook_socket() {
    takes_over((1, &["--hook", "socket"]), &["client"]);
}

/// Says hello as an agent with the same settings would: those are learned from a refusal.
fn introduce(socket: &Path) -> (Line, Offer) {
    let connect = || Line::new(UnixStream::connect(socket).unwrap(), SOON).unwrap();
    let mut hello = Hello { protocol: PROTOCOL, version: "0".into(), same: BTreeMap::new() };
    let mut line = connect();
    line.send_json(Kind::Hello, &hello).unwrap();
    let why = line.expect(Kind::Offer).unwrap_err().to_string();
    for one in why.split(", nothing here").map(|one| one.trim_start_matches("; ")) {
        if let Some((name, value)) = one.split_once(": ") {
            let value = value.strip_suffix(" there").unwrap();
            hello.same.insert(name.to_owned(), value.to_owned());
        }
    }
    assert!(hello.same.contains_key("ports"), "{why}");
    let mut line = connect();
    line.send_json(Kind::Hello, &hello).unwrap();
    let offer = line.expect_json(Kind::Offer).unwrap();
    (line, offer)
}

/// One that goes away before it has taken over leaves the running agent as it was.
#[test]
fn one_that_goes_away_before_it_took_costs_nothing() {
    for threads in [1, 2] {
        let Some((lab, _alone)) = lab() else { return };
        let place = Place::new();
        let agent = place.agent("first", (threads, &[]), None);
        let traffic = Traffic::start(&lab);
        thread::sleep(Duration::from_secs(1));
        let (mut line, offer) = introduce(&place.socket());
        // The listening socket is not among the parts.
        assert_eq!(line.take_descriptors().len(), offer.parts.len() + 1);
        drop(line);
        thread::sleep(Duration::from_millis(300));
        let (mut line, _) = introduce(&place.socket());
        line.send(Kind::Go, &[]).unwrap();
        let state: State = line.expect_json(Kind::State).unwrap();
        assert_eq!(state.stands.len(), threads as usize);
        drop(line);
        thread::sleep(Duration::from_millis(300));
        // And one that says nothing more.
        let (mut line, _) = introduce(&place.socket());
        line.send(Kind::Go, &[]).unwrap();
        thread::sleep(Duration::from_secs(4));
        let asked = traffic.end();
        place.catches_up("first", asked);
        let end = agent.terminate().unwrap();
        assert_eq!(end.stderr.matches("this one goes on").count(), 2, "{}", end.stderr);
        let records = place.records("first");
        assert_complete(&by_id(&records).into_values().collect::<Vec<_>>(), asked, &BOTH);
        assert_eq!(ledger::losses(last_ledger(&records)).unwrap(), 0);
        verify(&[&place.file("first")]);
        drop(line);
    }
}

#[test]
fn one_with_other_settings_is_refused_and_both_run() {
    let Some((lab, _alone)) = lab() else { return };
    let place = Place::new();
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
