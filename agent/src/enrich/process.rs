//! Executables and cgroups of processes, from /proc.

mod helper;

pub use helper::{await_process_server, serve_process_requests};

use crate::capture::live::process::{ProcStatus, if_there, is_same_start};
use dnscribe_analysis::attribution::Container;
use dnscribe_transaction::packet::Task;
use helper::HelperClient;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

/// Maximum number of cached processes; at the limit, the cache is cleared.
const MAX_PROCESSES: usize = 1 << 14;

/// Time for which the start of a pid's process is cached: hardly any pid is used again so soon.
const START_CACHED: Duration = Duration::from_secs(1);

/// Cached properties of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessInfo {
    /// Pid of the parent; 0 where unknown.
    pub(super) parent: u32,
    pub(super) exe: Option<Arc<str>>,
    /// From the paths in /proc/PID/cgroup; needed where containers are in cgroup v1.
    pub(super) container: Option<Arc<Container>>,
}

/// Cache of processes by task. Pid and start time identify a process, and a changed name (`exec`)
/// causes a new lookup.
#[derive(Debug, Default)]
pub(super) struct ProcessCache {
    cache: HashMap<Task, ProcessInfo>,
    /// When processes began, by pid, and when that was read.
    starts: HashMap<u32, (Instant, Option<u64>)>,
    /// The privileged helper that reads /proc, if it is not this process.
    helper: Option<HelperClient>,
}

impl ProcessCache {
    /// `helper` is a socket to a process that runs [`helper::serve_process_requests`]. Without it, this process reads /proc.
    pub(super) fn new(helper: Option<OwnedFd>) -> Self {
        Self { helper: helper.map(HelperClient::new), ..Self::default() }
    }

    pub(super) fn get(&mut self, task: &Task) -> ProcessInfo {
        if let Some(process) = self.cache.get(task) {
            return process.clone();
        }
        if self.cache.len() >= MAX_PROCESSES {
            self.cache.clear();
        }
        let (files, mut is_complete) = self.files(task.pid);
        let mut process = files.for_task(task);
        if process.exe.is_none() && task.parent_pid != 0 {
            let (parent, is_known) = self.files(task.parent_pid);
            is_complete &= is_known;
            process.exe = parent.exe_of_child(task).map(Into::into);
        }
        if is_complete {
            self.cache.insert(*task, process.clone());
        }
        process
    }

    /// Returns when the process began that has a pid now, or had it within [`START_CACHED`]: each connection of a forked
    /// worker asks for its parent.
    pub(super) fn start_ns(&mut self, pid: u32) -> Option<u64> {
        let now = Instant::now();
        if let Some((read, start_ns)) = self.starts.get(&pid)
            && now.duration_since(*read) < START_CACHED
        {
            return *start_ns;
        }
        if self.starts.len() >= MAX_PROCESSES {
            self.starts.clear();
        }
        let (files, is_complete) = self.files(pid);
        if is_complete {
            self.starts.insert(pid, (now, files.start_ns));
        }
        files.start_ns
    }

    /// Returns the contents of /proc for a pid, and whether to cache them. Where the helper did not answer,
    /// or something could not be read now, the next call asks again.
    fn files(&mut self, pid: u32) -> (ProcFiles, bool) {
        let answer = self.helper.as_mut().map(|helper| helper.request(pid));
        let is_answered = !matches!(answer, Some(None));
        let files = answer.flatten().unwrap_or_else(|| ProcFiles::read(pid));
        let is_complete = is_answered && !files.is_incomplete;
        (files, is_complete)
    }
}

/// The contents of /proc for a pid.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ProcFiles {
    pid: u32,
    exe: Option<String>,
    cgroups: String,
    /// Contents of /proc/PID/comm.
    comm: Vec<u8>,
    /// By the clock of [`ProcStatus`].
    start_ns: Option<u64>,
    /// Pid of the parent; 0 where unknown.
    #[serde(default)]
    parent: u32,
    /// Something could not be read now, such as with too many open files, that may be there.
    #[serde(default)]
    is_incomplete: bool,
}

impl ProcFiles {
    fn read(pid: u32) -> Self {
        let mut files = Self { pid, ..Self::default() };
        files.is_incomplete = files.fill().is_err();
        files
    }

    fn fill(&mut self) -> io::Result<()> {
        let file = |name: &str| format!("/proc/{}/{name}", self.pid);
        let exe = if_there(fs::read_link(file("exe")))?;
        let cgroups = if_there(fs::read(file("cgroup")))?.unwrap_or_default();
        let comm = if_there(fs::read(file("comm")))?;
        // Read last: if the process still exists, the other values are its own.
        let status = if_there(ProcStatus::read(self.pid))?;
        self.start_ns = status.map(|status| status.start_ns);
        self.parent = status.map_or(0, |status| status.parent);
        self.exe = exe.map(|path| unmarked(&path));
        self.cgroups = String::from_utf8_lossy(&cgroups).into_owned();
        self.comm = comm.unwrap_or_default();
        Ok(())
    }

    /// Returns the properties of the task, unless the pid now belongs to another process.
    fn for_task(self, task: &Task) -> ProcessInfo {
        if task.start_ns != 0 && !self.start_ns.is_some_and(|ns| is_same_start(ns, task.start_ns)) {
            return ProcessInfo::default();
        }
        ProcessInfo {
            parent: self.parent,
            // Another name means another program (`exec`), or a process that is gone.
            exe: self.exe.filter(|_| is_comm(&self.comm, &task.comm)).map(Into::into),
            container: self.cgroups.lines().find_map(Container::from_cgroup_path).map(Arc::new),
        }
    }

    /// Returns the executable of the task, a child of this process, which is gone from /proc. The kernel saw
    /// both run the same file when the packet passed; this checks that the pid was not reused since, and that
    /// the parent has not called `exec` since, which would change its name.
    fn exe_of_child(self, task: &Task) -> Option<String> {
        let is_older = self.start_ns.is_some_and(|ns| ns <= task.start_ns);
        self.exe.filter(|_| is_older && is_comm(&self.comm, &task.comm))
    }
}

/// Returns the path of an executable without the mark that the kernel adds once the file was removed, or replaced by a
/// newer version.
fn unmarked(path: &Path) -> String {
    let path = path.to_string_lossy();
    let removed = path.strip_suffix(" (deleted)").filter(|_| !Path::new(&*path).exists());
    removed.unwrap_or(&path).to_owned()
}

/// Returns whether the contents of /proc/PID/comm are this name.
fn is_comm(text: &[u8], name: &[u8; 16]) -> bool {
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    text.strip_suffix(b"\n").is_some_and(|text| Some(text) == name.get(..length))
}

#[cfg(test)]
mod tests {
    use super::super::Enricher;
    use super::*;
    use std::process::Command;

    fn own(name: &[u8]) -> Task {
        let pid = std::process::id();
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name);
        Task { pid, uid: 0, start_ns: ProcStatus::read(pid).unwrap().start_ns, comm, parent_pid: 0 }
    }

    fn name() -> Vec<u8> {
        let mut name = fs::read(format!("/proc/{}/comm", std::process::id())).unwrap();
        name.pop();
        name
    }

    #[test]
    fn reads_executable_of_live_process() {
        let exe = ProcessCache::default().get(&own(&name())).exe.unwrap();
        assert_eq!(&*exe, std::env::current_exe().unwrap().to_str().unwrap());
    }

    #[test]
    fn executable_that_was_replaced_keeps_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().canonicalize().unwrap().join("program");
        // Another process writes it: one of our own could be forked meanwhile, and keep it open for writing.
        let copied = Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap();
        assert!(copied.success());
        let mut child = Command::new(&program).arg("60").spawn().unwrap();
        fs::remove_file(&program).unwrap();
        let exe = ProcFiles::read(child.id()).exe;
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(exe.as_deref(), program.to_str());

        let named = folder.path().join("program (deleted)");
        assert_eq!(unmarked(&named), program.to_str().unwrap());
        fs::write(&named, "").unwrap();
        assert_eq!(unmarked(&named), named.to_str().unwrap(), "it is called so");
    }

    #[test]
    fn ignores_later_process_with_same_pid() {
        let mut processes = ProcessCache::default();
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
        let exe = |task: Task| ProcessCache::default().get(&task).exe;
        assert_eq!(exe(child), exe(own));
        assert!(exe(own).is_some());
        assert_eq!(exe(Task { parent_pid: 0, ..child }), None, "no parent");
        let orphan = Task { start_ns: own.start_ns - 1_000_000_000, ..child };
        assert_eq!(exe(orphan), None, "the parent's pid is of a later process");
        let renamed = Task { comm: *b"after-exec\0\0\0\0\0\0", ..child };
        assert_eq!(exe(renamed), None, "parent and child have different names");
    }

    #[test]
    fn a_pid_is_of_the_process_that_has_it_now() {
        let own = own(&name());
        let mut enricher = Enricher::default();
        assert_eq!(enricher.start_ns(own.pid), Some(own.start_ns));
        assert_eq!(enricher.start_ns(u32::MAX >> 1), None, "no process has this pid");
    }

    #[test]
    fn a_start_is_read_again_after_a_while() {
        let own = own(&name());
        let mut processes = ProcessCache::default();
        let mut start_ns = |read: Instant| {
            processes.starts.insert(own.pid, (read, Some(7)));
            processes.start_ns(own.pid)
        };
        let now = Instant::now();
        assert_eq!(start_ns(now), Some(7));
        assert_eq!(start_ns(now.checked_sub(START_CACHED).unwrap()), Some(own.start_ns));
    }

    #[test]
    fn the_kernel_knows_the_parent_better_than_proc() {
        let own = own(&name());
        let parent = |parent_pid| Enricher::default().parent(&Task { parent_pid, ..own });
        assert_eq!(parent(0), std::os::unix::process::parent_id());
        assert_eq!(parent(7), 7, "the parent has ended, and another process has adopted its child");
    }

    /// Names are cut at 15 bytes, also within a character.
    #[test]
    fn a_name_that_is_not_utf8_is_read_like_any_other() {
        let cut = "сканер-трафика".as_bytes()[..14].to_vec();
        assert!(std::str::from_utf8(&cut).is_err());
        let renamed = std::thread::spawn(move || {
            fs::write("/proc/thread-self/comm", &cut).unwrap();
            let thread = fs::read_link("/proc/thread-self").unwrap();
            let id = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (ProcFiles::read(id), cut)
        });
        let (files, cut) = renamed.join().unwrap();
        assert_eq!(files.comm.strip_suffix(b"\n"), Some(cut.as_slice()));
        assert!(files.start_ns.is_some() && !files.is_incomplete);
    }

    #[test]
    fn ignores_program_after_exec() {
        assert!(ProcessCache::default().get(&own(b"before-exec")).exe.is_none());
    }
}
