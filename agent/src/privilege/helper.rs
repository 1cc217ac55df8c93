//! The helper processes: processes beside the agent that keep privileges which the agent drops.
//!
//! One (`dnscribe-helper`) looks up processes in /proc by their pid, and receives ICMP errors in every network
//! namespace. Another (`dnscribe-files`) is started only where the configuration names files that the agent's user may
//! not open, and [opens those](super::broker). Both are the same program, started before the agent attaches anything.
//! They read no packets and no configuration. Both talk over sockets that the kernel closes, so they end with the
//! agent, however that ends.

use super::broker::{self, BrokerClient, FileList};
use super::files::{Files, restrict, rules_of_list};
use super::{
    Account, become_user, calls, keep_only, no_new_privileges, permitted, state_of_this_thread,
};
use crate::capture::live::{ListenerPlace, message_sockets, serve_icmp};
use crate::config::{Config, Drop as DropPrivileges, Privileges};
use crate::enrich::{await_process_server, serve_process_requests};
use caps::{Capability, CapsHashSet};
use dnscribe_cli::exit::Exit;
use dnscribe_config::log::{self, LogConfig};
use dnscribe_delivery::files;
use dnscribe_record::named_enum;
use rustix::net::{Shutdown, shutdown};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Time that the agent waits for the helper's first answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Time that the agent waits for the helper's end.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Capabilities of the process that looks up processes. Neither the rings nor any packets reach it.
const OF_PROCESSES: [Capability; 3] =
    [Capability::CAP_SYS_PTRACE, Capability::CAP_SYS_ADMIN, Capability::CAP_NET_RAW];

/// Capabilities of the process that opens files, if it only reads them.
const OF_READING: [Capability; 1] = [Capability::CAP_DAC_READ_SEARCH];

/// Capabilities of the process that opens files, if it also writes some: open and create them, rename them in
/// directories with the sticky bit, and give a new one the owner of the one before.
const OF_WRITING: [Capability; 3] =
    [Capability::CAP_DAC_OVERRIDE, Capability::CAP_FOWNER, Capability::CAP_CHOWN];

named_enum! {
    /// Task of a helper process.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum HelperTask: "a task", "give one of" {
        /// Reads `/proc` and receives ICMP errors.
        Processes = "processes",
        /// Opens files of the configuration.
        Files = "files",
    }
}

/// The helper, as the agent sees it. Dropping it ends the helper.
#[derive(Debug)]
pub struct PrivilegedHelper {
    child: Child,
    processes: OwnedFd,
    icmp: Arc<OwnedFd>,
}

/// Remedy where the helper cannot start.
pub(super) const START_REMEDY: &str =
    "allow the program to execute itself (/proc/self/exe) once more, then start it again";

/// Returns where the listeners for ICMP errors run: in the helper, and in this process only if it keeps its
/// privileges.
#[must_use]
pub fn listener_place(config: &Config, helper: Option<&PrivilegedHelper>) -> ListenerPlace {
    match helper {
        Some(helper) => ListenerPlace::Process(Arc::clone(&helper.icmp)),
        None if config.privileges.drop == DropPrivileges::Off => ListenerPlace::Thread,
        None => ListenerPlace::Nowhere,
    }
}

/// Returns whether this process has a capability that a helper would keep.
fn is_useful() -> bool {
    permitted().is_ok_and(|held| OF_PROCESSES.iter().any(|wanted| held.contains(wanted)))
}

impl PrivilegedHelper {
    /// Starts the helper, where privileges are dropped and it would keep any. A failure is logged.
    #[must_use]
    pub fn start(config: &Config) -> Option<Self> {
        if config.privileges.drop == DropPrivileges::Off || !is_useful() {
            return None;
        }
        Self::spawn(config)
            .inspect_err(|error| {
                tracing::warn!(
                    "cannot start the privileged helper: {error}; without it, records lack executables of other \
                     users, and ICMP errors other than those of connected sockets: {START_REMEDY}"
                );
            })
            .ok()
    }

    fn spawn(config: &Config) -> io::Result<Self> {
        let (processes, their_processes) = message_sockets()?;
        let (icmp, their_icmp) = message_sockets()?;
        let (input, output) = (their_processes.into(), their_icmp.into());
        let mut child = spawn(HelperTask::Processes, config, input, output)?;
        match await_process_server(&processes, START_LIMIT) {
            Ok(()) => Ok(Self { child, processes, icmp: Arc::new(icmp) }),
            Err(error) => Err(end(&mut child, &error)),
        }
    }

    /// Starts the helper for a moment, where it is useful. Returns whether it is, or why it cannot start.
    pub(super) fn probe(config: &Config) -> Result<bool, String> {
        if !is_useful() {
            return Ok(false);
        }
        Self::spawn(config).map(|_| true).map_err(|error| error.to_string())
    }

    /// Returns the socket for questions about processes.
    ///
    /// # Errors
    /// The system has no further descriptor.
    pub fn processes(&self) -> io::Result<OwnedFd> {
        self.processes.try_clone()
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

/// Starts a helper process.
fn spawn(task: HelperTask, config: &Config, input: Stdio, output: Stdio) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0(process_name(task))
        .args(words(task, config.privileges.user.as_deref(), config.log))
        // It may contain secrets.
        .env_clear()
        .stdin(input)
        .stdout(output)
        // The terminal's interrupt is for the agent alone.
        .process_group(0)
        .spawn()
}

/// Returns the words of the command line by which a helper is started: those of `dnscribe helper`.
#[must_use]
pub fn words(task: HelperTask, user: Option<&str>, log: LogConfig) -> Vec<String> {
    let (format, level) = (log.format.to_string(), log.level.to_string());
    let task = task.to_string();
    let mut words = vec!["helper", &task, "--log-format", &format, "--log-level", &level];
    words.extend(user.into_iter().flat_map(|user| ["--user", user]));
    words.into_iter().map(str::to_owned).collect()
}

const fn process_name(task: HelperTask) -> &'static str {
    match task {
        HelperTask::Processes => "dnscribe-helper",
        HelperTask::Files => "dnscribe-files",
    }
}

/// Ends a process that did not answer. Returns the reason.
fn end(child: &mut Child, error: &io::Error) -> io::Error {
    // Fails if it has ended by itself.
    let _ = child.kill();
    match child.wait() {
        Ok(status) if status.code().is_some() => io::Error::other(format!("it ended: {status}")),
        _ => io::Error::other(format!("it does not answer: {error}")),
    }
}

/// Starts the process that opens files which the agent's user may not open, if the configuration names any, and lets the
/// agent use it from now on. A failure is logged. The process ends with the agent.
pub fn start_file_helper(config: &Config, config_file: Option<&Path>) {
    let list = denied_files(config, config_file);
    if list.is_empty() {
        return;
    }
    let names = names(&list);
    match spawn_file_helper(config, &list) {
        Ok(client) => {
            tracing::info!("a process with the privileges to do so opens for the agent: {names}");
            files::install(Box::new(client));
        }
        Err(error) => tracing::warn!(
            "the agent's user may not open {names}, and the process that would cannot start: {error}: {}",
            FILES_REMEDY
        ),
    }
}

/// Remedy where files cannot be opened.
pub(super) const FILES_REMEDY: &str = "give these files to that user, or let its group read them, or start the agent with the capabilities for files";

fn spawn_file_helper(config: &Config, list: &FileList) -> io::Result<BrokerClient> {
    let held = permitted().map_err(io::Error::other)?;
    if !of_files(list, &held).iter().any(|one| held.contains(one)) {
        return Err(io::Error::other("the agent has no capability for files itself"));
    }
    let (socket, theirs) = message_sockets()?;
    let mut child = spawn(HelperTask::Files, config, theirs.into(), Stdio::null())?;
    BrokerClient::start(socket, list).map_err(|error| end(&mut child, &error))
}

/// Starts the process that opens files for a moment.
///
/// # Errors
/// A sentence: it cannot start.
pub(super) fn probe_file_helper(config: &Config, list: &FileList) -> Result<(), String> {
    spawn_file_helper(config, list).map(drop).map_err(|error| error.to_string())
}

/// Returns the files of the configuration that the agent may not open after the drop.
pub(super) fn denied_files(config: &Config, config_file: Option<&Path>) -> FileList {
    let Privileges { drop, user, keep } = &config.privileges;
    // The drop reports that there is no such user.
    let account = Account::choose(user.as_deref()).ok().flatten();
    if *drop == DropPrivileges::Off {
        return FileList::default();
    }
    Files::new(config, config_file).denied(account.as_ref(), keep)
}

/// Returns the paths, for a message.
pub(super) fn names(list: &FileList) -> String {
    let all = list.read.iter().chain(&list.sinks).map(|path| path.display().to_string());
    all.collect::<Vec<_>>().join(", ")
}

/// Returns the capabilities for these files. A process that may not write others' files may still read some.
fn of_files(list: &FileList, held: &CapsHashSet) -> &'static [Capability] {
    let writes = !list.sinks.is_empty() && held.contains(&Capability::CAP_DAC_OVERRIDE);
    if writes { &OF_WRITING } else { &OF_READING }
}

/// Runs a helper process (`dnscribe helper`): drops what it does not need, and serves the agent on its standard input
/// and output until that has ended.
///
/// # Errors
/// Exit code 1: standard input and output are no sockets of an agent, or there is no thread.
pub fn serve(task: HelperTask, user: Option<&str>, log: LogConfig) -> Result<(), Exit> {
    log::start(log);
    let name = process_name(task);
    // Without it, the thread has the name of the link that it was started by.
    let _ = rustix::thread::set_name(&CString::new(name).unwrap_or_default());
    let failed = |error| Exit::failed(format!("the process {name} failed: {error}"));
    // A service manager sends its signals to all processes; the helper ends with the agent, not before.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    match task {
        HelperTask::Processes => {
            log_state(name, drop_for_processes(user));
            answer().map_err(failed)
        }
        HelperTask::Files => {
            let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
            broker::serve(&socket, |list| log_state(name, drop_for_files(user, list)))
                .map_err(failed)
        }
    }
}

fn log_state(name: &str, failures: Vec<String>) {
    for failure in failures {
        tracing::warn!("the process {name} keeps more than it needs: {failure}");
    }
    tracing::debug!("{name}: {}", state_of_this_thread());
}

fn answer() -> io::Result<()> {
    let processes = io::stdin().as_fd().try_clone_to_owned()?;
    let icmp = io::stdout().as_fd().try_clone_to_owned()?;
    thread::Builder::new().name("icmp".into()).spawn(move || serve_icmp(&icmp))?;
    serve_process_requests(&processes)
}

/// Drops what the process that looks up processes does not need, for this thread and those that it will start. Returns
/// what failed. Landlock is not used: a restricted process cannot inspect processes outside of the restriction.
fn drop_for_processes(user: Option<&str>) -> Vec<String> {
    let held = permitted().unwrap_or_default();
    // Without CAP_SYS_PTRACE, root still sees root's processes, and another user would see none.
    let changes_user = held.contains(&Capability::CAP_SYS_PTRACE);
    let mut failures = drop_the_rest(user, changes_user, &OF_PROCESSES);
    failures.extend(calls::allow(calls::HELPER).err());
    failures
}

/// Drops what the process that opens these files does not need. Returns what failed.
fn drop_for_files(user: Option<&str>, list: &FileList) -> Vec<String> {
    // As long as every path can be looked up.
    let rules = rules_of_list(list);
    let held = permitted().unwrap_or_default();
    let mut failures = drop_the_rest(user, true, of_files(list, &held));
    failures.extend(rules.and_then(restrict).err());
    failures.extend(calls::allow(calls::FILE_HELPER).err());
    failures
}

/// Drops all capabilities but these, and the way to get others. Returns what failed.
fn drop_the_rest(user: Option<&str>, changes_user: bool, keep: &[Capability]) -> Vec<String> {
    let mut failures = Vec::new();
    if changes_user {
        match Account::choose(user) {
            Ok(account) => failures.extend(become_user(account.as_ref()).err()),
            Err(why) => failures.push(why),
        }
    }
    let keep: CapsHashSet = keep.iter().copied().collect();
    failures.extend(keep_only(&keep).err());
    failures.extend(no_new_privileges().err());
    failures
}
