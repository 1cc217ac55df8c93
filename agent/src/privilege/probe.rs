//! Probes of `dnscribe check`: the privileges that `run` would drop.

use super::need::{self, Need};
use super::{Account, Files, files, helper};
use crate::config::{Config, Drop};
use dnscribe_cli::check::Probe;
use std::path::Path;

/// Returns the user that the agent would become and the capabilities that it would keep, and whether this
/// kernel has landlock and seccomp.
#[must_use]
pub fn probe(config: &Config, config_file: Option<&Path>) -> Vec<Probe> {
    if config.privileges.drop == Drop::Off {
        let remedy = "remove privileges.drop, unless something else confines the agent";
        let found = Err(("privileges.drop is off: run keeps all privileges".into(), remedy.into()));
        return vec![Probe::from_result("privileges", false, found)];
    }
    let is_required = config.privileges.drop == Drop::Strict;
    let landlock = files::abi()
        .map(|abi| format!("ABI {}: run can open only the files that it needs", abi as i32))
        .ok_or_else(|| {
            let remedy = "use Linux 5.13 or later with landlock among its security modules (lsm=)";
            ("not available: run can open all files of its user".into(), remedy.into())
        });
    let seccomp = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let seccomp =
        seccomp.map(|_| "available: run can use only the system calls that it needs".to_owned());
    let seccomp = seccomp.map_err(|error| {
        let remedy = "use a kernel with CONFIG_SECCOMP_FILTER";
        (format!("not available, system calls are not filtered: {error}"), remedy.into())
    });
    vec![
        Probe::from_result("privileges", is_required, who(config, config_file)),
        Probe::from_result("landlock", is_required, landlock),
        Probe::from_result("seccomp", is_required, seccomp),
    ]
}

fn who(config: &Config, config_file: Option<&Path>) -> Result<String, (String, String)> {
    let account = Account::choose(config.privileges.user.as_deref())
        .map_err(|why| (why, "see privileges.user, or set privileges.drop to off".to_owned()))?;
    let files = Files::new(config, config_file);
    let mut needs = need::of_config(config, false);
    needs.extend(need::of_files(&files, account.as_ref()));
    let who = match &account {
        Some(account) => format!("run becomes user {account} once its programs are attached"),
        None => "run keeps its user".to_owned(),
    };
    if let Some(spool) = files.denied_spool(account.as_ref()) {
        let (spool, user) =
            (spool.display(), account.as_ref().map_or("USER".to_owned(), ToString::to_string));
        let problem =
            format!("{who}, and may not write the spool {spool}: records wait in memory only");
        return Err((problem, format!("chown -R {user} {spool}")));
    }
    let helper = if helper::is_useful() {
        "; a helper process keeps the capabilities to inspect other processes and network namespaces"
    } else {
        ""
    };
    Ok(format!("{who}, {}{helper}", keeps(&needs)))
}

fn keeps(needs: &[Need]) -> String {
    if needs.is_empty() {
        return "without capabilities".to_owned();
    }
    let needs: Vec<_> = needs.iter().map(ToString::to_string).collect();
    format!("and keeps {}", needs.join("; "))
}
