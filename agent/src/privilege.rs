//! Dropping of privileges once capture has begun.
//!
//! Capture needs privileges to start; reading packets that anybody may have sent should not have any. So after
//! the programs are attached, and before any other thread exists, the one thread becomes an unprivileged user
//! without capabilities (except those that a [`Need`] keeps) and cannot get any again (`no_new_privs`). It
//! can open only files of a short list (landlock) and make only system calls of another (seccomp). Every
//! thread that starts later inherits all of it; on Linux each thread has credentials of its own, so the order
//! matters.
//!
//! Two tasks need privileges during capture: the executables of other users' processes, and ICMP errors in
//! other network namespaces. They are done by the [helper], a process that reads no packets.

#![forbid(unsafe_code)]

mod account;
mod calls;
mod files;
pub mod helper;
mod need;
pub mod probe;
mod state;

pub use account::Account;
pub use need::Need;

use crate::cli::exit::Exit;
use crate::config::{Config, Drop};
use caps::{CapSet, Capability, CapsHashSet};
use files::Files;
use std::path::Path;

/// Drops privileges as the configuration asks for, while no other thread has been started. Logs what was
/// dropped and what was not.
///
/// # Errors
/// Exit code 3: a privilege cannot be dropped and `privileges.drop` is strict.
pub fn drop_privileges(
    config: &Config,
    config_file: Option<&Path>,
    needs_bpf: bool,
) -> Result<(), Exit> {
    if config.privileges.drop == Drop::Off {
        tracing::warn!("privileges are kept, since privileges.drop is off");
        return Ok(());
    }
    let dropped = Plan::new(config, config_file, needs_bpf).apply();
    if config.privileges.drop == Drop::Strict && !dropped.failures.is_empty() {
        let failures = dropped.failures.join("; ");
        return Err(Exit::cannot_capture(format!("cannot drop privileges: {failures}"))
            .with_remedy("see `dnscribe check`, or set privileges.drop to auto to run with them"));
    }
    for failure in &dropped.failures {
        tracing::warn!("not all privileges are dropped: {failure}");
    }
    tracing::info!("privileges dropped: {}", dropped.state);
    Ok(())
}

/// Privileges that are dropped, and that are kept.
#[derive(Debug)]
struct Plan {
    account: Option<Account>,
    needs: Vec<Need>,
    files: Files,
    /// Reasons known beforehand why a privilege cannot be dropped.
    obstacles: Vec<String>,
}

/// Result of a drop.
#[derive(Debug)]
struct Dropped {
    /// Privileges of the process afterwards, read back from the kernel.
    state: String,
    /// Privileges that could not be dropped: a sentence each.
    failures: Vec<String>,
}

impl Plan {
    /// Plans the drop for a capture with this configuration, read from `config_file`, and prepares the
    /// spool for the new user. `needs_bpf`: the kernel lets only privileged processes read the programs'
    /// maps.
    fn new(config: &Config, config_file: Option<&Path>, needs_bpf: bool) -> Self {
        let (account, mut obstacles) = match Account::choose(config.privileges.user.as_deref()) {
            Ok(account) => (account, Vec::new()),
            Err(why) => (None, vec![why]),
        };
        let files = Files::new(config, config_file);
        obstacles.extend(files.prepare_spool(account.as_ref()).err());
        let mut needs = need::of_config(config, needs_bpf);
        needs.extend(need::of_files(&files, account.as_ref()));
        Self { account, needs, files, obstacles }
    }

    /// Drops the rest, for this thread and those that it will start; there must be no others. A failure does
    /// not stop the drop of other privileges.
    fn apply(&self) -> Dropped {
        let mut failures = self.obstacles.clone();
        let mut note = |result: Result<(), String>| failures.extend(result.err());
        // As long as every path can be looked up.
        let rules = self.files.rules(self.is_bound());
        note(become_user(self.account.as_ref()));
        note(keep_only(&self.needs));
        note(no_new_privileges());
        let landlock = rules.and_then(files::Rules::restrict);
        let calls = calls::allow(calls::AGENT);
        let kept: Vec<_> = self.needs.iter().map(|need| format!("; keeps {need}")).collect();
        let state = format!(
            "{}{}{}",
            state::of_this_thread(),
            landlock.as_ref().map(|abi| format!(", landlock ABI {abi}")).unwrap_or_default(),
            kept.concat(),
        );
        note(landlock.map(drop));
        note(calls);
        Dropped { state, failures }
    }

    /// Whether file permissions apply: neither for root nor with a capability that overrides them.
    fn is_bound(&self) -> bool {
        let is_root = self.account.is_none() && rustix::process::geteuid().is_root();
        !is_root && !self.needs.iter().any(Need::is_of_files)
    }
}

fn permitted() -> Result<CapsHashSet, String> {
    caps::read(None, CapSet::Permitted)
        .map_err(|error| format!("cannot read capabilities: {error}"))
}

fn become_user(account: Option<&Account>) -> Result<(), String> {
    let Some(account) = account else { return Ok(()) };
    let failed = |error: String| format!("cannot become user {account}: {error}");
    // Without it, the change of user would clear all capabilities, also those that are kept.
    caps::securebits::set_keepcaps(true).map_err(|error| failed(error.to_string()))?;
    account.enter().map_err(|error| failed(error.to_string()))?;
    caps::securebits::set_keepcaps(false).map_err(|error| failed(error.to_string()))
}

/// Drops all other capabilities of this thread, and the way to get any by `execve`.
fn keep_only(needs: &[Need]) -> Result<(), String> {
    let failed = |error: caps::errors::CapsError| format!("cannot drop capabilities: {error}");
    let held = permitted()?;
    let keep: CapsHashSet =
        needs.iter().map(|need| need.capability).filter(|one| held.contains(one)).collect();
    // Where this is not allowed, `no_new_privs` is enough.
    if held.contains(&Capability::CAP_SETPCAP) {
        caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)?;
        for capability in caps::runtime::thread_all_supported() {
            if !keep.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
            }
        }
    }
    // Ambient requires inheritable, and effective requires permitted: clear in this order.
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient).map_err(failed)?;
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &keep).map_err(failed)?;
    }
    caps::clear(None, CapSet::Inheritable).map_err(failed)
}

fn no_new_privileges() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| format!("cannot set no_new_privs: {error}"))
}
