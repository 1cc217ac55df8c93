//! The agent as a child process: starting it, reading its records and log, and ending it.

use crate::lab::{Host, Lab};
use crate::{environment, http, ledger, shell};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time limit for attaching every hook.
const READY: Duration = Duration::from_mins(1);
/// Time limit for the end after SIGTERM: the drain timeout and a margin.
const END: Duration = Duration::from_mins(1);

/// A running agent. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    admin: SocketAddr,
    lines: Arc<Mutex<Vec<Value>>>,
    log: Arc<Mutex<String>>,
    readers: Option<(JoinHandle<Result<()>>, JoinHandle<()>)>,
    /// Network namespace that the agent runs in, if not the host's.
    namespace: Option<PathBuf>,
    /// Spool directory of this agent alone, where the command names none.
    _spool: Option<tempfile::TempDir>,
}

/// The output of an agent that has ended.
#[derive(Debug)]
pub struct EndedAgent {
    /// Exit status.
    pub status: ExitStatus,
    /// Records from standard output, in order.
    pub records: Vec<Value>,
    /// Standard error: log, progress and summary.
    pub stderr: String,
}

impl Agent {
    /// Starts `dnscribe run` with these arguments, JSON on its standard output, and waits until
    /// every hook is attached.
    pub fn run(arguments: &[&str]) -> Result<Self> {
        Self::start(Command::new(environment::binary()?).arg("run").args(arguments))
    }

    /// Like [`Agent::run`], on a host of the lab.
    pub fn run_on(lab: &Lab, host: Host, arguments: &[&str]) -> Result<Self> {
        let binary = environment::binary()?;
        let words = [&[binary.to_str().context("a path that is no text")?, "run"], arguments];
        let mut command = lab.command(host, &words.concat());
        Self::start_in(&mut command, Some(lab.namespace_path(host)))
    }

    /// Like [`Agent::run`], from a prepared command; only the listen address is added.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_in(command, None)
    }

    fn start_in(command: &mut Command, namespace: Option<PathBuf>) -> Result<Self> {
        let admin = free_address()?;
        let spool = own_spool(command)?;
        sample_nothing(command);
        command.args(["--output", "json", "--metrics-listen", &admin.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::command_line(command)))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let kept = Arc::clone(&lines);
        let records = thread::spawn(move || read_records(stdout, &kept));
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let words = thread::spawn(move || read_log(stderr, &kept));
        let readers = Some((records, words));
        let mut agent = Self { child, admin, lines, log, readers, namespace, _spool: spool };
        agent.await_ready()?;
        Ok(agent)
    }

    /// Process id of the agent.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Address of `/metrics` and the other administrative pages.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Records written so far.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the records written so far satisfy a condition, then returns them. The condition may depend on
    /// nothing else: it is checked when there are new records.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let mut checked = None;
        shell::wait_for(what, limit, || {
            let records = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = checked.replace(records.len()) != Some(records.len());
            // Copied once only: there can be very many records.
            Ok((is_new && enough(&records)).then(|| records.clone()))
        })
    }

    /// Standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests an administrative page, such as `/metrics`; returns status code and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        http::get(self.admin, self.namespace.as_deref(), path)
    }

    /// Sends SIGTERM and waits until the agent has ended.
    pub fn terminate(self) -> Result<EndedAgent> {
        self.end(Signal::TERM)
    }

    /// Waits until the agent has ended by itself.
    pub fn wait(self) -> Result<EndedAgent> {
        self.finish(false)
    }

    /// Kills the agent with SIGKILL.
    pub fn kill(self) -> Result<EndedAgent> {
        self.end(Signal::KILL)
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        shell::signal(&self.child, signal)
    }

    fn end(self, signal: Signal) -> Result<EndedAgent> {
        shell::signal(&self.child, signal)?;
        self.finish(signal == Signal::KILL)
    }

    fn finish(mut self, is_killed: bool) -> Result<EndedAgent> {
        let status = shell::wait(&mut self.child, END)?;
        let (records, log) = self.readers.take().context("already read")?;
        // Records that came before a failed read are still worth showing.
        let _ = log.join();
        let stderr = self.log();
        match records.join() {
            // A killed agent may end in the middle of a line.
            Ok(_) if is_killed => {}
            Ok(read) => read.with_context(|| stderr.clone())?,
            Err(_) => bail!("the thread that reads the records failed"),
        }
        Ok(EndedAgent { status, records: self.records(), stderr })
    }

    fn await_ready(&mut self) -> Result<()> {
        let (admin, namespace) = (self.admin, self.namespace.as_deref());
        let child = &mut self.child;
        let ready = shell::wait_for("the agent to be ready", READY, || {
            if let Some(status) = child.try_wait()? {
                bail!("the agent ended during start ({status})");
            }
            Ok(http::get(admin, namespace, "/readyz")
                .is_ok_and(|(code, _)| code == 200)
                .then_some(()))
        });
        if ready.is_err() {
            shell::end(&mut self.child);
            let _ = self.readers.take().map(|(_, log)| log.join());
            return ready.with_context(|| self.log());
        }
        ready
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}

impl EndedAgent {
    /// Returns the records of one schema, such as `dns.transaction/1`.
    pub fn records_of<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record["schema"] == schema)
    }

    /// Returns the last ledger record. It must be marked as final and balance.
    pub fn final_ledger(&self) -> Result<&Value> {
        let last = self.records_of("dns.ledger/1").last();
        let last = last.with_context(|| format!("no ledger record; {}", self.stderr))?;
        if last["final"] != Value::Bool(true) {
            bail!("the last ledger record is not final: {last}");
        }
        ledger::verify(last)?;
        Ok(last)
    }
}

/// Whether a command sets an environment variable itself.
fn sets(command: &Command, variable: &str) -> bool {
    command.get_envs().any(|(name, _)| name == variable)
}

/// Lets an agent keep every transaction on a machine that is busy, unless the command sets the variable. It beats a file.
fn sample_nothing(command: &mut Command) {
    const VARIABLE: &str = "DNSCRIBE_SAMPLING__MODE";
    if !sets(command, VARIABLE) {
        command.env(VARIABLE, "off");
    }
}

/// Gives each agent a spool directory of its own, so that tests do not read each other's records.
fn own_spool(command: &mut Command) -> Result<Option<tempfile::TempDir>> {
    const VARIABLE: &str = "DNSCRIBE_SPOOL__DIRECTORY";
    if sets(command, VARIABLE) {
        return Ok(None);
    }
    let spool = tempfile::tempdir().context("cannot make a directory for the spool")?;
    command.env(VARIABLE, spool.path());
    Ok(Some(spool))
}

/// Returns a free loopback address.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    listener.local_addr().context("no address")
}

fn read_log(stderr: impl Read, log: &Mutex<String>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while stderr.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
}

fn read_records(stdout: impl Read, lines: &Mutex<Vec<Value>>) -> Result<()> {
    for line in BufReader::new(stdout).lines() {
        let line = line.context("the agent's standard output")?;
        let record = serde_json::from_str(&line)
            .with_context(|| format!("not a record on standard output: {line}"))?;
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
    Ok(())
}
