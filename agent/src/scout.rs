//! The scout: a process beside the agent that keeps the privileges which the agent gives up, and does
//! two things with them.
//!
//! It says what /proc tells of a process, by its pid, and it listens for ICMP errors in every network
//! namespace. It is this same program, started anew before the agent attaches anything; it reads no packet
//! and no configuration, and all that it is ever told is numbers. It ends when the agent does, however that
//! ends: both talk by sockets that the kernel closes.

#![forbid(unsafe_code)]

use crate::capture::live::serve_icmp;
use crate::enrich::answer_about_processes;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the scout may take to end when the agent does.
const FAREWELL: Duration = Duration::from_secs(1);

/// The scout as the agent has it. Dropping it ends it.
#[derive(Debug)]
pub struct Scout {
    child: Child,
    processes: OwnedFd,
    icmp: Arc<OwnedFd>,
}

impl Scout {
    /// Starts it. `arguments` are those of the command that does [`serve`].
    ///
    /// # Errors
    /// Where the system has no process or no sockets for it.
    pub fn start(arguments: &[&str]) -> io::Result<Self> {
        let (processes, there) = pair()?;
        let (icmp, icmp_there) = pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0("dnscribe-scout")
            .args(arguments)
            // What is in there may be secret, and is not for the scout.
            .env_clear()
            .stdin(Stdio::from(there))
            .stdout(Stdio::from(icmp_there))
            // The terminal's interrupt is for the agent alone.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, processes, icmp: Arc::new(icmp) })
    }

    /// Where it is asked about processes.
    ///
    /// # Errors
    /// Where there is no further descriptor.
    pub fn processes(&self) -> io::Result<OwnedFd> {
        self.processes.try_clone()
    }

    /// Where it tells of ICMP errors.
    #[must_use]
    pub fn icmp(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.icmp)
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        // Fails where it is gone already.
        let _ = shutdown(&self.processes, Shutdown::Both);
        let end = Instant::now() + FAREWELL;
        // What has given up its privileges cannot kill it, and need not.
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// Does the scout's work on its standard input and output, until the agent is gone.
///
/// # Errors
/// Where these are no such sockets, or there is no thread.
pub fn serve() -> io::Result<()> {
    let processes = io::stdin().as_fd().try_clone_to_owned()?;
    let icmp = io::stdout().as_fd().try_clone_to_owned()?;
    thread::Builder::new().name("icmp".into()).spawn(move || serve_icmp(&icmp))?;
    answer_about_processes(&processes)
}
