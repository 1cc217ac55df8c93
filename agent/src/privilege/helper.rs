//! The privileged helper: a process beside the agent that keeps the privileges which the agent drops, for
//! two tasks.
//!
//! It looks up processes in /proc by their pid, and it receives ICMP errors in every network namespace. It is
//! the same program, started before the agent attaches anything. It reads no packets and no configuration,
//! and gets only numbers from the agent. Both talk over sockets that the kernel closes, so the helper ends
//! with the agent, however that ends.

use super::{
    Account, Need, become_user, calls, keep_only, no_new_privileges, permitted,
    state_of_this_thread,
};
use crate::capture::live::{message_sockets, serve_icmp};
use crate::cli::HelperArgs;
use crate::config::{Config, Drop as DropPrivileges};
use crate::enrich::serve_process_requests;
use caps::Capability;
use dnscribe_cli::exit::Exit;
use dnscribe_config::log;
use rustix::net::{Shutdown, shutdown};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Time that the agent waits for the helper's end.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Capabilities of the helper. Neither the rings nor any packets reach it.
const KEPT: [Capability; 3] =
    [Capability::CAP_SYS_PTRACE, Capability::CAP_SYS_ADMIN, Capability::CAP_NET_RAW];

/// The helper, as the agent sees it. Dropping it ends the helper.
#[derive(Debug)]
pub struct PrivilegedHelper {
    child: Child,
    processes: OwnedFd,
    icmp: Arc<OwnedFd>,
}

/// Returns whether this process has a capability that a helper would keep.
#[must_use]
pub fn is_useful() -> bool {
    permitted().is_ok_and(|held| KEPT.iter().any(|wanted| held.contains(wanted)))
}

impl PrivilegedHelper {
    /// Starts the helper, where privileges are dropped and it would keep any. A failure is logged.
    #[must_use]
    pub fn start(config: &Config) -> Option<Self> {
        if config.privileges.drop == DropPrivileges::Off || !is_useful() {
            return None;
        }
        let arguments = HelperArgs::words(config.privileges.user.as_deref(), config.log);
        Self::spawn(&arguments)
            .inspect_err(|error| {
                tracing::warn!(
                    "cannot start the privileged helper: {error}; without it, executables of other users and \
                     ICMP errors in other network namespaces are missing in records"
                );
            })
            .ok()
    }

    fn spawn(arguments: &[String]) -> io::Result<Self> {
        let (processes, their_processes) = message_sockets()?;
        let (icmp, their_icmp) = message_sockets()?;
        let child = Command::new("/proc/self/exe")
            .arg0("dnscribe-helper")
            .args(arguments)
            // It may contain secrets.
            .env_clear()
            .stdin(Stdio::from(their_processes))
            .stdout(Stdio::from(their_icmp))
            // The terminal's interrupt is for the agent alone.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, processes, icmp: Arc::new(icmp) })
    }

    /// Returns the socket for questions about processes.
    ///
    /// # Errors
    /// The system has no further descriptor.
    pub fn processes(&self) -> io::Result<OwnedFd> {
        self.processes.try_clone()
    }

    /// Returns the socket from which ICMP errors are read.
    #[must_use]
    pub fn icmp(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.icmp)
    }
}

impl Drop for PrivilegedHelper {
    fn drop(&mut self) {
        // Fails where the helper has ended already.
        let _ = shutdown(&self.processes, Shutdown::Both);
        let end = Instant::now() + END_PATIENCE;
        // The agent has no privilege to kill it.
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs the helper (`dnscribe helper`): drops what it does not need, and serves the agent on its standard
/// input and output until that has ended.
///
/// # Errors
/// Exit code 1: standard input and output are no sockets of an agent, or there is no thread.
pub fn serve(args: &HelperArgs) -> Result<(), Exit> {
    log::start(args.log());
    // Without it, the thread has the name of the link that it was started by.
    let _ = rustix::thread::set_name(c"dnscribe-helper");
    let failed = |error| Exit::failed(format!("the privileged helper failed: {error}"));
    // A service manager sends its signals to all processes; the helper ends with the agent, not before.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    for failure in drop_the_rest(args.user.as_deref()) {
        tracing::warn!("the privileged helper keeps more than it needs: {failure}");
    }
    tracing::debug!("privileged helper: {}", state_of_this_thread());
    answer().map_err(failed)
}

fn answer() -> io::Result<()> {
    let processes = io::stdin().as_fd().try_clone_to_owned()?;
    let icmp = io::stdout().as_fd().try_clone_to_owned()?;
    thread::Builder::new().name("icmp".into()).spawn(move || serve_icmp(&icmp))?;
    serve_process_requests(&processes)
}

/// Drops what the helper does not need, for this thread and those that it will start. Returns what failed.
/// Landlock is not used: a restricted process cannot inspect processes outside of the restriction.
fn drop_the_rest(user: Option<&str>) -> Vec<String> {
    let mut failures = Vec::new();
    let held = permitted().unwrap_or_default();
    let kept: Vec<_> = KEPT.into_iter().filter(|wanted| held.contains(wanted)).collect();
    // Without CAP_SYS_PTRACE, root still sees root's processes, and another user would see none.
    if kept.contains(&Capability::CAP_SYS_PTRACE) {
        match Account::choose(user) {
            Ok(account) => failures.extend(become_user(account.as_ref()).err()),
            Err(why) => failures.push(why),
        }
    }
    let needs: Vec<_> = kept.into_iter().map(|one| Need::new(one, "its tasks")).collect();
    failures.extend(keep_only(&needs).err());
    failures.extend(no_new_privileges().err());
    failures.extend(calls::allow(calls::HELPER).err());
    failures
}
