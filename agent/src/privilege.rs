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

pub use account::Account;
pub use need::Need;

use crate::config::{Config, Drop};
use caps::{CapSet, Capability, CapsHashSet};
use dnscribe_cli::exit::Exit;
use files::Files;
use nix::unistd::{Uid, User};
use std::fs;
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
    let (state, failures) = drop_all(config, config_file, needs_bpf);
    if config.privileges.drop == Drop::Strict && !failures.is_empty() {
        let failures = failures.join("; ");
        return Err(Exit::cannot_capture(format!("cannot drop privileges: {failures}"))
            .with_remedy("see `dnscribe check`, or set privileges.drop to auto to run with them"));
    }
    for failure in &failures {
        tracing::warn!("not all privileges are dropped: {failure}");
    }
    tracing::info!("privileges dropped: {state}");
    Ok(())
}

/// Prepares the spool for the new user, and drops the privileges of this thread and those that it will start; there
/// must be no others. A failure does not stop the drop of other privileges. `needs_bpf`: the kernel lets only
/// privileged processes read the programs' maps. Returns the privileges afterwards, read back from the kernel, and the
/// failures, a sentence each.
fn drop_all(config: &Config, config_file: Option<&Path>, needs_bpf: bool) -> (String, Vec<String>) {
    let (account, mut failures) = match Account::choose(config.privileges.user.as_deref()) {
        Ok(account) => (account, Vec::new()),
        Err(why) => (None, vec![why]),
    };
    let account = account.as_ref();
    let files = Files::new(config, config_file);
    failures.extend(files.prepare_spool(account).err());
    let mut needs = need::of_config(config, needs_bpf);
    needs.extend(need::of_files(&files, account));
    // File permissions apply neither to root nor with a capability that overrides them.
    let is_root = account.is_none() && rustix::process::geteuid().is_root();
    let is_bound = !is_root && !needs.iter().any(Need::is_of_files);
    // As long as every path can be looked up.
    let rules = files.rules(is_bound);
    failures.extend(become_user(account).err());
    failures.extend(keep_only(&needs).err());
    failures.extend(no_new_privileges().err());
    let landlock = rules.and_then(files::restrict);
    let calls = calls::allow(calls::AGENT);
    let kept: Vec<_> = needs.iter().map(|need| format!("; keeps {need}")).collect();
    let state = format!(
        "{}{}{}",
        state_of_this_thread(),
        landlock.as_ref().map(|abi| format!(", landlock ABI {abi}")).unwrap_or_default(),
        kept.concat(),
    );
    failures.extend(landlock.err());
    failures.extend(calls.err());
    (state, failures)
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

/// Describes user, capabilities and restrictions of this thread, for the log.
fn state_of_this_thread() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let held = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let mut held: Vec<_> = held.iter().map(Capability::to_string).collect();
    held.sort();
    let capabilities = if held.is_empty() { "none".to_owned() } else { held.join(" ") };
    let mut text = format!("user {}, capabilities: {capabilities}", user_of_this_thread());
    for (field, words) in [("NoNewPrivs", "no_new_privs"), ("Seccomp", "seccomp")] {
        if status_field(&status, field).is_some_and(|value| value != "0") {
            text.push_str(", ");
            text.push_str(words);
        }
    }
    text
}

fn user_of_this_thread() -> String {
    let uid = rustix::process::geteuid().as_raw();
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} ({uid})", user.name),
        _ => uid.to_string(),
    }
}

/// Returns a field of /proc/PID/status.
fn status_field<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_by_their_full_names() {
        let status = "Seccomp_filters:\t1\nSeccomp:\t2\nNoNewPrivs:\t0\n";
        assert_eq!(
            (status_field(status, "Seccomp"), status_field(status, "NoNewPrivs")),
            (Some("2"), Some("0"))
        );
        assert_eq!(status_field(status, "Sec"), None);
        assert!(state_of_this_thread().starts_with("user "));
    }
}
