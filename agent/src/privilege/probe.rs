//! Probes of `dnscribe check`: the privileges that `run` would drop.

use super::helper::{self, PrivilegedHelper};
use super::loss::{Loss, NO_MAPS, keeps_maps, losses};
use super::{Account, Files, files};
use crate::capture::live::probe::maps_need_privileges;
use crate::config::{Config, Drop};
use dnscribe_cli::check::Probe;
use std::path::Path;

/// Returns the user that the agent would become, what it would keep and do without, and whether this
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
        privileges(config, config_file),
        Probe::from_result("landlock", is_required, landlock),
        Probe::from_result("seccomp", is_required, seccomp),
    ]
}

/// Returns what the drop leaves. It fails as `run` would: if the maps cannot be used then, or if the user cannot be changed
/// and the drop is strict. Anything else is a warning of `run`, too.
fn privileges(config: &Config, config_file: Option<&Path>) -> Probe {
    const NAME: &str = "privileges";
    if maps_need_privileges() && !keeps_maps(&config.privileges.keep) {
        let [problem, remedy] = NO_MAPS.map(str::to_owned);
        return Probe::from_result(NAME, true, Err((problem, remedy)));
    }
    match Account::choose(config.privileges.user.as_deref()) {
        Ok(account) => {
            Probe::from_result(NAME, false, found(config, config_file, account.as_ref()))
        }
        Err(why) => {
            let remedy = "see privileges.user, or set privileges.drop to off".to_owned();
            let is_required = config.privileges.drop == Drop::Strict;
            Probe::from_result(NAME, is_required, Err((why, remedy)))
        }
    }
}

fn found(
    config: &Config,
    config_file: Option<&Path>,
    account: Option<&Account>,
) -> Result<String, (String, String)> {
    let files = Files::new(config, config_file);
    let who = match account {
        Some(account) => format!("run becomes user {account} once its programs are attached"),
        None => "run keeps its user".to_owned(),
    };
    if let Some(directory) = files.denied_directory(account) {
        let (directory, user) =
            (directory.display(), account.map_or("USER".to_owned(), ToString::to_string));
        let problem = format!("{who}, and may not write {directory}, which a sink fills");
        return Err((problem, format!("chown -R {user} {directory}")));
    }
    let helper = match PrivilegedHelper::probe(config) {
        Ok(true) => {
            "; a helper process keeps the capabilities to inspect other processes and network namespaces"
        }
        Ok(false) => "",
        Err(why) => {
            let problem = format!(
                "{who}, and its privileged helper cannot start: {why}; records lack executables of other users, and \
                 ICMP errors other than those of connected sockets"
            );
            return Err((problem, helper::START_REMEDY.to_owned()));
        }
    };
    for Loss { problem, remedy, is_wanted } in losses(config, &files, account) {
        if is_wanted {
            return Err((format!("{who}; {problem}"), remedy));
        }
    }
    let denied = helper::denied_files(config, config_file);
    let mut opens = String::new();
    if !denied.is_empty() {
        let names = helper::names(&denied);
        if let Err(why) = helper::probe_file_helper(config, &denied) {
            let problem = format!(
                "{who}, which may not open {names}, and the process that would cannot start: {why}"
            );
            return Err((problem, helper::FILES_REMEDY.to_owned()));
        }
        opens = format!("; another process keeps those to open {names}");
    }
    Ok(format!("{who}, {}{helper}{opens}", kept(config)))
}

fn kept(config: &Config) -> String {
    let mut names: Vec<_> = config.privileges.keep.iter().map(ToString::to_string).collect();
    names.sort();
    if names.is_empty() {
        return "without capabilities".to_owned();
    }
    format!("and keeps {}, which privileges.keep names", names.join(", "))
}
