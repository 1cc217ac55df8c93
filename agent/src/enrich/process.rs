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
        let (facts, is_complete) = self.facts(task.pid);
        let mut process = facts.of(task);
        if process.exe.is_none() && task.parent_pid != 0 {
            process.exe = self.facts(task.parent_pid).0.exe_of_child(task).map(Into::into);
        }
        if is_complete {
            self.known.insert(*task, process.clone());
        }
        process
    }

    /// Returns what /proc says of a pid, and whether that is worth remembering: not where the helper should
    /// be asked again.
    fn facts(&mut self, pid: u32) -> (Facts, bool) {
        match self.scout.as_mut().map(|scout| scout.ask(pid)) {
            Some(Some(facts)) => (facts, true),
            None => (Facts::read(pid), true),
            Some(None) => (Facts::read(pid), false),
        }
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

    /// Returns the executable of the task, a child of this process, which is gone from /proc. The kernel saw
    /// both run the same file when the packet passed; this checks that the pid was not reused since, and that
    /// the parent has not called `exec` since, which would change its name.
    fn exe_of_child(self, task: &Task) -> Option<String> {
        let is_older = self.start_ns.is_some_and(|ns| ns <= task.start_ns);
        self.exe.filter(|_| is_older && is_name(&self.comm, &task.comm))
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
        Task { pid, uid: 0, start_ns: start_ns(pid).unwrap(), comm, parent_pid: 0 }
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
    fn child_that_is_gone_has_the_executable_of_its_parent() {
        let own = own(&name());
        // No process has this pid.
        let child = Task { pid: u32::MAX >> 1, parent_pid: own.pid, ..own };
        let exe = |task: Task| Processes::default().get(&task).exe;
        assert_eq!(exe(child), exe(own));
        assert!(exe(own).is_some());
        assert_eq!(exe(Task { parent_pid: 0, ..child }), None, "no parent");
        let orphan = Task { start_ns: own.start_ns - 1_000_000_000, ..child };
        assert_eq!(exe(orphan), None, "the parent's pid is of a later process");
        let renamed = Task { comm: *b"after-exec\0\0\0\0\0\0", ..child };
        assert_eq!(exe(renamed), None, "parent and child have different names");
    }

    #[test]
    fn another_program_of_the_process_is_not_taken_for_it() {
        assert!(Processes::default().get(&own(b"before-exec")).exe.is_none());
    }
}
