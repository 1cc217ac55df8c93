//! Shared helpers of the end-to-end tests.

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

/// Time limit from a packet to its record on the agent's standard output.
pub const RECORD_LIMIT: Duration = Duration::from_mins(1);

/// Two labs and two agents at the same time would disturb each other's measurements.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Creates a lab for one test and prevents other tests of this program from running. `None`, with a
/// message, if this host does not allow it.
pub fn lab() -> Option<(Lab, MutexGuard<'static, ()>)> {
    lab_with(&[])
}

/// Like [`lab`], with additional lines for unbound's configuration.
pub fn lab_with(options: &[&str]) -> Option<(Lab, MutexGuard<'static, ()>)> {
    if !environment::privileged() {
        return None;
    }
    let alone = alone();
    Some((Lab::up_with(options).unwrap(), alone))
}

/// Prevents other tests of this program that need the host to themselves from running.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the agent with transactions and ledger on its standard output.
pub fn agent(more: &[&str]) -> Agent {
    Agent::run(&[&["--stream", "transactions,ledger"], more].concat()).unwrap()
}

/// Returns whether a record is a transaction with this name, client address and vantage.
pub fn is_transaction(
    record: &Value,
    vantage: &str,
    client: std::net::IpAddr,
    qname: &str,
) -> bool {
    record["schema"] == "dns.transaction/1"
        && record["vantage"] == vantage
        && record["client_ip"] == client.to_string()
        && record["qname"] == qname
}

/// Waits for the client's first transaction for a name.
pub fn transaction(agent: &Agent, lab: &Lab, qname: &str) -> Value {
    let wanted = |record: &&Value| is_transaction(record, "client", lab.client_addr(), qname);
    let records = agent
        .wait_for(&format!("a transaction for {qname}"), RECORD_LIMIT, |records| {
            records.iter().any(|record| wanted(&record))
        })
        .unwrap();
    records.iter().find(wanted).unwrap().clone()
}

/// Returns the records of a file; its last line must be complete.
pub fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}", path.display());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the ids of the programs attached to any cgroup of this host.
pub fn attached() -> BTreeSet<u32> {
    let tree = shell::run(&["bpftool", "cgroup", "tree"]).unwrap();
    String::from_utf8(tree.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

/// Our `dns-client` on the lab's client host.
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

    /// Process that opened the socket.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Queries a name; returns the process that sent the query, and the result.
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
