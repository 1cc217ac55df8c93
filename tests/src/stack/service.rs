//! Programs that run in the background and outlive the process that started them.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time limit for a start, on a busy machine.
const START: Duration = Duration::from_secs(90);
/// Time limit for a regular stop.
const STOP: Duration = Duration::from_secs(30);

/// Locked files of the ports that this process has reserved.
static RESERVED: Mutex<Vec<fs::File>> = Mutex::new(Vec::new());

/// A process in the background with the address on which it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Address for clients.
    pub address: SocketAddr,
    pid: u32,
    /// Start time as in `/proc/PID/stat`: a process id may be given to another process later.
    started: u64,
}

impl Service {
    /// Starts a command whose output goes to the file `log`, and waits until `ready` returns true.
    pub fn start(
        command: &Command,
        address: SocketAddr,
        log: &Path,
        ready: impl Fn() -> bool,
    ) -> Result<Self> {
        let file = fs::File::create(log).with_context(|| log.display().to_string())?;
        let mut command = shell::without_descriptors(command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // Ctrl-C on the terminal must not reach the service.
        let mut child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
        let pid = child.id();
        let waited = shell::wait_for(&log.display().to_string(), START, || {
            if let Some(status) = child.try_wait()? {
                bail!("ended during start ({status})");
            }
            Ok(ready().then_some(()))
        });
        if waited.is_err() {
            shell::end(&mut child);
        }
        waited.with_context(|| last_lines(log))?;
        let started = start_time(pid).context("ended during start")?;
        Ok(Self { address, pid, started })
    }

    /// Returns whether the process runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Stops the process and waits for its end; kills it if it takes too long.
    pub fn stop(&self, signal: Signal) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        shell::signal_pid(self.pid, signal)?;
        let ended = || Ok((!self.runs()).then_some(()));
        if shell::wait_for("the end of a service", STOP, ended).is_err() {
            self.kill()?;
        }
        self.reap();
        Ok(())
    }

    /// Kills the process with all its descendants and waits for its end.
    pub fn kill(&self) -> Result<()> {
        if self.runs() {
            self.signal_all(Signal::KILL)?;
        }
        shell::wait_for("the end of a killed service", STOP, || Ok((!self.runs()).then_some(())))?;
        self.reap();
        Ok(())
    }

    /// Removes the ended process from the table of processes: `PostgreSQL` does not start while its
    /// former process is there.
    fn reap(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // It fails if another process has started the service; then it is that one's to do.
        let _ = waitpid(pid, WaitOptions::NOHANG);
    }

    /// Suspends the process with all its descendants: its connections stay open, but it answers
    /// nothing.
    pub fn freeze(&self) -> Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// Resumes what [`Service::freeze`] has suspended.
    pub fn thaw(&self) -> Result<()> {
        self.signal_all(Signal::CONT)
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        if !self.runs() {
            bail!("process {} has ended", self.pid);
        }
        // First the parent, so that it starts no other children.
        shell::signal_pid(self.pid, signal)?;
        for child in descendants(self.pid) {
            // It may have ended meanwhile.
            let _ = shell::signal_pid(child, signal);
        }
        Ok(())
    }
}

/// Children of a process, their children, and so on.
fn descendants(pid: u32) -> Vec<u32> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(file).unwrap_or_default();
    let children = text.split_whitespace().filter_map(|word| word.parse().ok());
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// Returns `127.0.0.1` with the first free port at or after `preferred`, one that no other process of these programs gets
/// before a service listens there.
pub fn free_address(preferred: u16) -> Result<SocketAddr> {
    (preferred..preferred.saturating_add(100))
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok() && reserve(address.port()))
        .with_context(|| format!("no free port from {preferred} on"))
}

/// Reserves a port for as long as this process runs; returns whether nobody else has.
pub(crate) fn reserve(port: u16) -> bool {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    // Other users' files, which cannot be opened, are of other stacks.
    let Ok(file) = fs::File::create(env::temp_dir().join(format!("dnscribe-port-{port}"))) else {
        return true;
    };
    let is_free = file.try_lock().is_ok();
    if is_free {
        reserved.push(file);
    }
    is_free
}

/// Returns the address that a service had when it ran before, else a free one as
/// [`free_address`] gives. Clients know a service by its address.
pub fn address(previous: Option<SocketAddr>, preferred: u16) -> Result<SocketAddr> {
    previous.map_or_else(|| free_address(preferred), Ok)
}

/// Start time of a process in clock ticks since boot; `None` if it has ended.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may contain blanks.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18)?.parse().ok())?
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_when_a_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let address = free_address(20_000).unwrap();
        let service =
            Service::start(&command, address, &folder.path().join("log"), || true).unwrap();
        assert!(service.runs());
        service.freeze().unwrap();
        service.thaw().unwrap();
        service.stop(Signal::TERM).unwrap();
        assert!(!service.runs());
    }
}
