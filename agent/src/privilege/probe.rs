//! What `dnscribe check` tells of privileges: what `run` would give up.

use super::need::{self, Need};
use super::{Account, Files, files, has_use_for_scout};
use crate::check::Probe;
use crate::config::Config;
use crate::config::value::Drop;
use std::path::Path;

/// Who the agent would become and what it would keep, and whether this kernel has landlock and seccomp.
#[must_use]
pub fn probe(config: &Config, config_file: Option<&Path>) -> Vec<Probe> {
    if config.privileges.drop == Drop::Off {
        let remedy = "leave privileges.drop out, unless something else confines the agent";
        let found = Err(("privileges.drop is off: none are given up".into(), remedy.into()));
        return vec![Probe::of("privileges", false, found)];
    }
    let is_required = config.privileges.drop == Drop::Strict;
    let landlock =
        files::abi().map(|abi| format!("landlock ABI {}", abi as i32)).ok_or_else(|| {
            let remedy = "use Linux 5.13 or later with landlock among its security modules (lsm=)";
            ("there is no landlock: files stay open to the agent".into(), remedy.into())
        });
    let seccomp = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let seccomp = seccomp.map(|actions| format!("actions {}", actions.trim())).map_err(|error| {
        let remedy = "use a kernel with CONFIG_SECCOMP_FILTER";
        (format!("no filter for system calls: {error}"), remedy.into())
    });
    vec![
        Probe::of("privileges", is_required, who(config, config_file)),
        Probe::of("landlock", is_required, landlock),
        Probe::of("seccomp", is_required, seccomp),
    ]
}

fn who(config: &Config, config_file: Option<&Path>) -> Result<String, (String, String)> {
    let account = Account::choose(config.privileges.user.as_deref())
        .map_err(|why| (why, "see privileges.user, or set privileges.drop to off".to_owned()))?;
    let files = Files::of(config, config_file);
    let mut needs = need::of(config, false);
    needs.extend(need::of_files(&files, account.as_ref()));
    let who = match &account {
        Some(account) => format!("once attached, run becomes user {account}"),
        None => "once attached, run stays the user that it is".to_owned(),
    };
    let scout =
        if has_use_for_scout() { "; a scout keeps what looking at others needs" } else { "" };
    Ok(format!("{who}, {}{scout}", keeps(&needs)))
}

fn keeps(needs: &[Need]) -> String {
    if needs.is_empty() {
        return "without capabilities".to_owned();
    }
    let needs: Vec<_> = needs.iter().map(ToString::to_string).collect();
    format!("and keeps {}", needs.join("; "))
}
