//! Dropping of privileges once capture has begun.
//!
//! Capture needs privileges to start; reading packets that anybody may have sent must not have any. So after the
//! programs are attached, and before any other thread exists, the one thread becomes an unprivileged user without
//! capabilities (except those that `privileges.keep` names) and cannot get any again (`no_new_privs`). It can open only
//! files of a short list (landlock) and make only system calls of another (seccomp). Every thread that starts later
//! inherits all of it. On Linux each thread has credentials of its own, so a thread that existed before would keep
//! them: afterwards every thread of the process is [checked](threads).
//!
//! What needs privileges during capture is done by [processes](helper) that read no packets: one reads the
//! executables of other users' processes and receives ICMP errors in other network namespaces; one opens files of the
//! configuration that the unprivileged user may not open.

mod account;
mod broker;
mod calls;
mod files;
pub mod helper;
mod loss;
pub mod probe;
mod threads;

pub use account::Account;

use crate::config::{Config, Drop, Privileges};
use caps::{CapSet, Capability, CapsHashSet};
use dnscribe_cli::exit::Exit;
use files::Files;
use nix::unistd::{Uid, User};
use std::fs;
use std::path::Path;
use threads::Confinement;

/// Drops privileges as the configuration asks for, while no other thread has been started. Logs what was dropped, what
/// was not, and what the run does without. `needs_bpf`: the kernel lets only privileged processes read the programs'
/// maps.
///
/// # Errors
/// Exit code 3: a privilege cannot be dropped and `privileges.drop` is strict, or the capture needs one that
/// `privileges.keep` does not name.
pub fn drop_privileges(
    config: &Config,
    config_file: Option<&Path>,
    needs_bpf: bool,
) -> Result<(), Exit> {
    let Privileges { drop, keep, .. } = &config.privileges;
    if *drop == Drop::Off {
        tracing::warn!("privileges are kept, since privileges.drop is off");
        return Ok(());
    }
    if needs_bpf && !loss::keeps_maps(keep) {
        let [problem, remedy] = loss::NO_MAPS;
        return Err(Exit::cannot_capture(problem).with_remedy(remedy));
    }
    let (state, failures) = drop_all(config, config_file);
    if *drop == Drop::Strict && !failures.is_empty() {
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

/// Prepares the directories of sinks for the new user, and drops the privileges of this thread and those that it will start. Any other
/// thread keeps its privileges, which counts as a failure. A failure does not stop the drop of other privileges.
/// Returns the privileges afterwards, read back from the kernel, and the failures, a sentence each.
fn drop_all(config: &Config, config_file: Option<&Path>) -> (String, Vec<String>) {
    let (account, mut failures) = match Account::choose(config.privileges.user.as_deref()) {
        Ok(account) => (account, Vec::new()),
        Err(why) => (None, vec![why]),
    };
    let (account, keep) = (account.as_ref(), &config.privileges.keep);
    let files = Files::new(config, config_file);
    failures.extend(files.prepare_directories(account).err());
    for loss in loss::losses(config, &files, account) {
        if loss.is_wanted {
            tracing::warn!("{}: {}", loss.problem, loss.remedy);
        } else {
            tracing::info!("{}: {}", loss.problem, loss.remedy);
        }
    }
    // File permissions apply neither to root nor with a capability that overrides them.
    let is_root = account.is_none() && rustix::process::geteuid().is_root();
    let is_bound = !is_root && files::OVERRIDES.iter().all(|one| !keep.contains(one));
    // As long as every path can be looked up.
    let rules = files.rules(is_bound);
    failures.extend(become_user(account).err());
    let is_bounded = keep_only(keep).unwrap_or_else(|why| {
        failures.push(why);
        false
    });
    let no_new_privileges = no_new_privileges();
    let landlock = rules.and_then(files::restrict);
    let calls = calls::allow(calls::AGENT);
    // What failed for this thread is in `failures` already.
    let confinement = Confinement {
        user: account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid),
        capabilities: keep.clone(),
        is_bounded,
        no_new_privileges: no_new_privileges.is_ok(),
        seccomp: calls.is_ok(),
    };
    match confinement.unconfined_threads() {
        Ok(unconfined) => failures.extend(unconfined),
        Err(why) => failures.push(why),
    }
    let kept = if keep.is_empty() { "" } else { "; capabilities are kept by privileges.keep" };
    let abi = landlock.as_ref().map(|abi| format!(", landlock ABI {abi}")).unwrap_or_default();
    let state = format!("{}{abi}{kept}", state_of_this_thread());
    failures.extend(no_new_privileges.err());
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

/// Drops all other capabilities of this thread, and the way to get any by `execve`. Returns whether the bounding set was
/// cleared, too.
fn keep_only(wanted: &CapsHashSet) -> Result<bool, String> {
    let failed = |error: caps::errors::CapsError| format!("cannot drop capabilities: {error}");
    let held = permitted()?;
    let keep: CapsHashSet = wanted.intersection(&held).copied().collect();
    // Where this is not allowed, `no_new_privs` is enough.
    let may_bound = held.contains(&Capability::CAP_SETPCAP);
    if may_bound {
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
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;
    Ok(may_bound)
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
    let user = user_name(rustix::process::geteuid().as_raw());
    let mut text = format!("user {user}, capabilities: {capabilities}");
    for (field, words) in [("NoNewPrivs", "no_new_privs"), ("Seccomp", "seccomp")] {
        if status_field(&status, field).is_some_and(|value| value != "0") {
            text.push_str(", ");
            text.push_str(words);
        }
    }
    text
}

/// Returns name and number of a user.
fn user_name(uid: u32) -> String {
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
