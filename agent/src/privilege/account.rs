//! The user that the agent becomes.

use super::permitted;
use caps::Capability;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::ffi::CString;
use std::fmt;
use std::io;

/// Users that are tried where none is configured; the first that exists is used.
const DEFAULTS: [&str; 2] = ["dnscribe", "nobody"];

/// A user account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    pub(super) uid: u32,
    /// The user's own group.
    pub(super) gid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// Returns the user that this process becomes: the one of this name or number, else one of the defaults.
    /// Returns none where the process is an unprivileged user already, or where that user is root.
    ///
    /// # Errors
    /// A sentence: there is no such user, or this process may not change its user.
    pub fn choose(wanted: Option<&str>) -> Result<Option<Self>, String> {
        let own = rustix::process::geteuid();
        if !own.is_root() {
            let is_own = |wanted| Self::named(wanted).is_ok_and(|one| one.uid == own.as_raw());
            return match wanted.filter(|wanted| !is_own(wanted)) {
                Some(wanted) => Err(format!(
                    "cannot become user {wanted}: only root can; start as root, or as {wanted}"
                )),
                None => Ok(None),
            };
        }
        let account = match wanted {
            Some(wanted) => Self::named(wanted)?,
            None => DEFAULTS.iter().find_map(|name| Self::named(name).ok()).ok_or_else(|| {
                format!("stays root: there is no user {}; make one", DEFAULTS.join(" or "))
            })?,
        };
        if account.uid == 0 {
            return Ok(None);
        }
        let held = permitted()?;
        let needed = [Capability::CAP_SETUID, Capability::CAP_SETGID];
        let missing: Vec<_> =
            needed.iter().filter(|one| !held.contains(one)).map(ToString::to_string).collect();
        if missing.is_empty() {
            return Ok(Some(account));
        }
        Err(format!(
            "stays root: {} is missing to become user {account}; add it, or start as that user",
            missing.join(" and ")
        ))
    }

    /// Returns the user of a name or a number. A number need not have a name.
    fn named(wanted: &str) -> Result<Self, String> {
        let failed = |error| format!("cannot look up user {wanted}: {error}");
        let user = match wanted.parse::<u32>() {
            Ok(number) => {
                let Some(user) = User::from_uid(Uid::from_raw(number)).map_err(failed)? else {
                    let name = number.to_string();
                    return Ok(Self { name, uid: number, gid: number, groups: Vec::new() });
                };
                user
            }
            Err(_) => User::from_name(wanted).map_err(failed)?.ok_or_else(|| {
                format!("there is no user {wanted}: make it, or name another (privileges.user, or --user of trace)")
            })?,
        };
        let name = CString::new(user.name.as_str()).unwrap_or_default();
        let groups = getgrouplist(&name, user.gid).map_err(failed)?;
        Ok(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }

    /// Changes the user of this thread, and of the processes and threads that it starts.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn enter(&self) -> io::Result<()> {
        use rustix::thread::{Gid, Uid};
        let groups: Vec<_> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups)?;
        let (gid, uid) = (Gid::from_raw(self.gid), Uid::from_raw(self.uid));
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        let root = Account::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Account::named("0").unwrap().name, "root");
        assert_eq!(Account::named("4000000001").unwrap().uid, 4_000_000_001);
        let error = Account::named("no such user").unwrap_err();
        assert!(error.contains("privileges.user"), "{error}");
    }

    #[test]
    fn keeps_an_unprivileged_user() {
        let chosen = Account::choose(None);
        if rustix::process::geteuid().is_root() {
            assert!(chosen.is_err() || chosen.is_ok_and(|one| one.is_some_and(|one| one.uid != 0)));
            assert_eq!(Account::choose(Some("root")), Ok(None));
        } else {
            assert_eq!(chosen, Ok(None));
            assert!(Account::choose(Some("root")).unwrap_err().contains("only root can"));
        }
    }
}
