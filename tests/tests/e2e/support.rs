//! What the tests have in common.

use dnscribe_tests::agent::Agent;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a record may take from its packet to the agent's standard output.
pub const SOON: Duration = Duration::from_secs(10);

/// Two labs and two agents at once would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A lab of the test's own, with nothing else of this program running beside it. `None` where
/// this host does not allow it, which is said.
pub fn lab() -> Option<(Lab, MutexGuard<'static, ()>)> {
    lab_with(&[])
}

/// As [`lab`], with lines for unbound's configuration.
pub fn lab_with(options: &[&str]) -> Option<(Lab, MutexGuard<'static, ()>)> {
    if !environment::privileged() {
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Some((Lab::up_with(options).unwrap(), alone))
}

/// The agent with transactions and ledger on its standard output.
pub fn agent(more: &[&str]) -> Agent {
    Agent::run(&[&["--stream", "transactions,ledger"], more].concat()).unwrap()
}

/// Whether a record is a transaction of this name, client address and vantage.
pub fn is(record: &Value, vantage: &str, client: std::net::IpAddr, qname: &str) -> bool {
    record["schema"] == "dns.transaction/1"
        && record["vantage"] == vantage
        && record["client_ip"] == client.to_string()
        && record["qname"] == qname
}

/// The first transaction that the client made for a name, once it is written.
pub fn transaction(agent: &Agent, lab: &Lab, qname: &str) -> Value {
    let wanted = |record: &&Value| is(record, "client", lab.client_addr(), qname);
    let records = agent
        .wait_for(&format!("a transaction for {qname}"), SOON, |records| {
            records.iter().any(|record| wanted(&record))
        })
        .unwrap();
    records.iter().find(wanted).unwrap().clone()
}

/// The records of a file, each of whose lines must be whole.
pub fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}", path.display());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of the programs attached to any cgroup of this host.
pub fn attached() -> BTreeSet<u32> {
    let tree = shell::run(&["bpftool", "cgroup", "tree"]).unwrap();
    String::from_utf8(tree.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

/// Our own DNS client on the lab's client host.
pub struct Client {
    child: Child,
    names: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Starts it and waits until its socket is open.
    pub fn start(lab: &Lab, mode: &str, server: std::net::IpAddr) -> Self {
        let program = env!("CARGO_BIN_EXE_dns-client");
        let words = [program, mode, &format!("{server}:53")];
        let mut child = lab.spawn(Host::Client, &words).unwrap();
        let names = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut client = Self { child, names, answers };
        assert_eq!(client.line(), "ready");
        client
    }

    /// The process that opened the socket.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a name; the process that asked, and how it went.
    pub fn ask(&mut self, name: &str) -> (u32, String) {
        writeln!(self.names, "{name}").unwrap();
        let line = self.line();
        let (pid, how) = line.split_once(' ').unwrap();
        (pid.parse().unwrap(), how.to_owned())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}
