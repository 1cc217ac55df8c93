//! What /proc tells of a process.

mod ask;

pub use ask::answer;

use super::Container;
use crate::capture::Task;
use crate::capture::live::process::{is_same_start, start_ns};
use ask::Scout;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Processes remembered at most; then all are forgotten and read anew.
const MAX_PROCESSES: usize = 1 << 14;

/// What is remembered of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) exe: Option<Arc<str>>,
    /// By the paths in /proc/PID/cgroup: of use where containers live in cgroup v1.
    pub(super) container: Option<Arc<Container>>,
}

/// By task: pid and start name a process for ever, and a change of name (`exec`) is a reason to look
/// again.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<Task, Process>,
    /// Who looks, where that is not this process.
    scout: Option<Scout>,
}

impl Processes {
    /// At the other end of the socket [`answer`] runs; this process looks itself where there is none.
    pub(super) fn new(scout: Option<OwnedFd>) -> Self {
        Self { known: HashMap::new(), scout: scout.map(Scout::new) }
    }

    pub(super) fn get(&mut self, task: &Task) -> Process {
        if let Some(process) = self.known.get(task) {
            return process.clone();
        }
        if self.known.len() >= MAX_PROCESSES {
            self.known.clear();
        }
        let told = self.scout.as_mut().and_then(|scout| scout.ask(task.pid));
        let process = told.unwrap_or_else(|| Facts::read(task.pid)).of(task);
        self.known.insert(*task, process.clone());
        process
    }
}

/// What /proc tells of a pid.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Facts {
    pid: u32,
    exe: Option<String>,
    cgroups: String,
    /// The text of /proc/PID/comm.
    comm: Vec<u8>,
    /// By the clock of [`start_ns`].
    start_ns: Option<u64>,
}

impl Facts {
    fn read(pid: u32) -> Self {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
        Self {
            pid,
            exe: exe.map(|path| path.to_string_lossy().into_owned()),
            cgroups: fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(),
            comm: fs::read(format!("/proc/{pid}/comm")).unwrap_or_default(),
            // Last: a process that is still there was there before.
            start_ns: start_ns(pid),
        }
    }

    /// What of it is the task's, unless the pid is another process's by now.
    fn of(self, task: &Task) -> Process {
        if task.start_ns != 0 && !self.start_ns.is_some_and(|ns| is_same_start(ns, task.start_ns)) {
            return Process::default();
        }
        Process {
            // Another name tells of another program (`exec`), or of a process that is gone.
            exe: self.exe.filter(|_| is_name(&self.comm, &task.comm)).map(Into::into),
            container: self.cgroups.lines().find_map(Container::of_cgroup_path).map(Arc::new),
        }
    }
}

/// Whether the text of /proc/PID/comm is this name.
fn is_name(text: &[u8], name: &[u8; 16]) -> bool {
    let length = name.iter().position(|octet| *octet == 0).unwrap_or(name.len());
    text.strip_suffix(b"\n").is_some_and(|text| Some(text) == name.get(..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &[u8]) -> Task {
        let pid = std::process::id();
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name);
        Task { pid, uid: 0, start_ns: start_ns(pid).unwrap(), comm }
    }

    fn name() -> Vec<u8> {
        let mut name = fs::read(format!("/proc/{}/comm", std::process::id())).unwrap();
        name.pop();
        name
    }

    #[test]
    fn reads_the_executable_of_a_process_that_lives() {
        let exe = Processes::default().get(&own(&name())).exe.unwrap();
        assert_eq!(&*exe, std::env::current_exe().unwrap().to_str().unwrap());
    }

    #[test]
    fn a_later_process_with_the_pid_is_not_taken_for_it() {
        let mut processes = Processes::default();
        let own = own(&name());
        assert!(processes.get(&own).exe.is_some());
        let earlier = Task { start_ns: own.start_ns - 1_000_000_000, ..own };
        assert!(processes.get(&earlier).exe.is_none());
    }

    #[test]
    fn another_program_of_the_process_is_not_taken_for_it() {
        assert!(Processes::default().get(&own(b"before-exec")).exe.is_none());
    }
}
