//! What the agent gives up once it captures.
//!
//! Capture has to begin with privileges; reading packets that anybody may have sent should not have any.
//! So after the programs are attached, and before any other thread exists, the one thread that there is
//! becomes an unprivileged user without capabilities (but those that a [`Need`] asks for), may get none
//! again (`no_new_privs`), opens no file but those of a short list (landlock), and makes no system call but
//! those of another (seccomp). Every thread that starts later inherits all of it, which is why the order
//! matters: on Linux each thread has credentials of its own.
//!
//! Two things go on needing privileges: the executables of other users' processes, and ICMP errors in other
//! network namespaces. They are [the scout's](crate::scout), a process that reads no packet.

#![forbid(unsafe_code)]

mod account;
mod calls;
mod files;
mod need;
pub mod probe;
mod state;

pub use account::Account;
pub use need::Need;

use crate::config::Config;
use caps::{CapSet, Capability, CapsHashSet};
use files::Files;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

/// What is to be given up, and what is not.
#[derive(Debug)]
pub struct Plan {
    account: Option<Account>,
    needs: Vec<Need>,
    files: Files,
    /// What cannot be given up, as is known beforehand.
    obstacles: Vec<String>,
}

/// What was given up.
#[derive(Debug)]
pub struct Dropped {
    /// How the process stands now, read back from the kernel.
    pub state: String,
    /// What could not be done: a sentence each.
    pub failures: Vec<String>,
}

impl Plan {
    /// For a capture with this configuration, read from `config_file`. `needs_bpf`: the kernel lets only
    /// the privileged read the programs' maps.
    #[must_use]
    pub fn new(config: &Config, config_file: Option<&Path>, needs_bpf: bool) -> Self {
        let (account, obstacles) = match Account::choose(config.privileges.user.as_deref()) {
            Ok(account) => (account, Vec::new()),
            Err(why) => (None, vec![why]),
        };
        let files = Files::of(config, config_file);
        let mut needs = need::of(config, needs_bpf);
        needs.extend(need::of_files(&files, account.as_ref()));
        Self { account, needs, files, obstacles }
    }

    /// Gives up all else, for this thread and those that it will start: there must be no others. What
    /// fails does not keep the rest from being given up.
    #[must_use]
    pub fn apply(&self) -> Dropped {
        let mut failures = self.obstacles.clone();
        let mut note = |what: Result<(), String>| failures.extend(what.err());
        note(self.make_spool());
        // While every path can still be looked up.
        let rules = self.files.rules(self.is_bound());
        note(become_user(self.account.as_ref()));
        note(keep_only(&self.needs));
        note(no_new_privileges());
        let landlock = rules.and_then(files::Rules::restrict);
        let calls = calls::allow(calls::AGENT);
        let state = format!(
            "{}{}{}",
            state::of_this_thread(),
            landlock.as_ref().map(|abi| format!(", landlock ABI {abi}")).unwrap_or_default(),
            self.needs.iter().map(|need| format!("; keeps {need}")).collect::<String>(),
        );
        note(landlock.map(drop));
        note(calls);
        Dropped { state, failures }
    }

    /// Whether the ordinary permissions of files hold: for neither root nor one who may pass over them.
    fn is_bound(&self) -> bool {
        let is_root = self.account.is_none() && rustix::process::geteuid().is_root();
        !is_root && !self.needs.iter().any(Need::is_of_files)
    }

    /// A spool that is not there yet is made while it can be, and is the new user's.
    fn make_spool(&self) -> Result<(), String> {
        let Some(spool) = self.files.spool() else { return Ok(()) };
        let missing: Vec<_> = spool.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            // Whatever fails here fails again when the sink opens its spool, which says what it means.
            let made = DirBuilder::new().mode(0o700).create(path);
            if let (Ok(()), Some(account)) = (made, &self.account) {
                let failed =
                    |error| format!("cannot give {} to {account}: {error}", path.display());
                chown(path, Some(account.uid()), Some(account.gid())).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// What the scout keeps. Neither the ring nor any network's octets reach it.
const SCOUTS: [Capability; 3] =
    [Capability::CAP_SYS_PTRACE, Capability::CAP_SYS_ADMIN, Capability::CAP_NET_RAW];

/// Whether this process may do any of what a scout is for.
#[must_use]
pub fn has_use_for_scout() -> bool {
    permitted().is_ok_and(|held| SCOUTS.iter().any(|wanted| held.contains(wanted)))
}

/// Gives up what the scout does not need, for this thread and those that it will start. Landlock is not
/// for it: whom it restricts, it keeps from looking at processes outside of the restriction.
#[must_use]
pub fn apply_to_scout(user: Option<&str>) -> Dropped {
    let mut failures = Vec::new();
    let held = permitted().unwrap_or_default();
    let needs: Vec<_> = SCOUTS.into_iter().filter(|wanted| held.contains(wanted)).collect();
    // Without it, root still sees root's processes, and another user would see none.
    if needs.contains(&Capability::CAP_SYS_PTRACE) {
        match Account::choose(user) {
            Ok(account) => failures.extend(become_user(account.as_ref()).err()),
            Err(why) => failures.push(why),
        }
    }
    let needs: Vec<_> = needs.into_iter().map(|one| Need::new(one, "its work")).collect();
    failures.extend(keep_only(&needs).err());
    failures.extend(no_new_privileges().err());
    failures.extend(calls::allow(calls::SCOUT).err());
    Dropped { state: state::of_this_thread(), failures }
}

fn permitted() -> Result<CapsHashSet, String> {
    caps::read(None, CapSet::Permitted)
        .map_err(|error| format!("cannot read capabilities: {error}"))
}

fn become_user(account: Option<&Account>) -> Result<(), String> {
    let Some(account) = account else { return Ok(()) };
    let failed = |error: String| format!("cannot become user {account}: {error}");
    // Else all capabilities would go at once, and with them those that are needed.
    caps::securebits::set_keepcaps(true).map_err(|error| failed(error.to_string()))?;
    account.enter().map_err(|error| failed(error.to_string()))?;
    caps::securebits::set_keepcaps(false).map_err(|error| failed(error.to_string()))
}

/// Leaves this thread these capabilities alone, and no way to others by `execve`.
fn keep_only(needs: &[Need]) -> Result<(), String> {
    let failed = |error: caps::errors::CapsError| format!("cannot drop capabilities: {error}");
    let held = permitted()?;
    let keep: CapsHashSet =
        needs.iter().map(|need| need.capability).filter(|one| held.contains(one)).collect();
    // Where this is not allowed, `no_new_privs` does as well.
    if held.contains(&Capability::CAP_SETPCAP) {
        caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)?;
        for capability in caps::runtime::thread_all_supported() {
            if !keep.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
            }
        }
    }
    // Ambient before inheritable and effective before permitted: none may be without the other.
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
