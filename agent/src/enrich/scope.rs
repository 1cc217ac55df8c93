//! The part of a host's processes that is of interest: one command, one process with its children, or one pod.

use crate::capture::live::cgroup_of_id;
use dnscribe_analysis::attribution::PodRef;
use dnscribe_transaction::packet::Task;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of cached decisions; at the limit, the cache is cleared.
const MAX_DECISIONS: usize = 1 << 14;

/// Longest chain of ancestors that is followed. A chain that is longer, which takes a fork bomb, ends outside.
const MAX_ANCESTORS: usize = 256;

/// Which processes belong to a scope.
#[derive(Debug)]
pub enum ScopeTarget {
    /// All processes of a cgroup and of those below it.
    Cgroup(CgroupScope),
    /// A process and its descendants.
    Process(u32),
    /// All processes of a Kubernetes pod.
    Pod {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        name: String,
    },
}

/// A cgroup2 directory.
#[derive(Debug)]
pub struct CgroupScope {
    mount: PathBuf,
    mount_dir: File,
    directory: PathBuf,
    /// Inode number of the directory.
    id: u64,
}

impl CgroupScope {
    /// Opens a directory below the cgroup2 mount.
    ///
    /// # Errors
    /// One of the two cannot be opened.
    pub fn open(mount: &Path, directory: &Path) -> io::Result<Self> {
        Ok(Self {
            mount: mount.to_path_buf(),
            mount_dir: File::open(mount)?,
            directory: directory.to_path_buf(),
            id: fs::metadata(directory)?.ino(),
        })
    }

    fn contains(&self, task: &Task, cgroup_id: u64) -> bool {
        if cgroup_id == self.id {
            return true;
        }
        let by_id = || cgroup_of_id(&self.mount_dir, cgroup_id).filter(|_| cgroup_id != 0);
        let directory = by_id().or_else(|| self.directory_of(task.pid));
        directory.is_some_and(|directory| directory.starts_with(&self.directory))
    }

    /// Returns the cgroup directory of a process, while that is alive.
    fn directory_of(&self, pid: u32) -> Option<PathBuf> {
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = lines.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Some(self.mount.join(path))
    }
}

/// Processes in a scope that have sent or received DNS. Clones share the set.
#[derive(Clone, Debug, Default)]
pub struct ScopeMembers(Arc<Mutex<HashSet<u32>>>);

impl ScopeMembers {
    /// Returns whether a message of this process was seen, and the process was in the scope.
    #[must_use]
    pub fn contains(&self, pid: u32) -> bool {
        self.lock().contains(&pid)
    }

    /// Returns the number of these processes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides for each task, while it is alive, whether it belongs to the target.
#[derive(Debug)]
pub struct Scope {
    target: ScopeTarget,
    members: ScopeMembers,
    decided: HashMap<(u32, u64, u64), bool>,
}

impl Scope {
    /// Creates a scope that adds its processes to `members`.
    #[must_use]
    pub fn new(target: ScopeTarget, members: ScopeMembers) -> Self {
        Self { target, members, decided: HashMap::new() }
    }

    /// Notes the task of a message, and the cgroup of its socket (0 if unknown).
    pub fn observe(&mut self, task: &Task, cgroup_id: u64, pod: Option<&PodRef>) {
        let key = (task.pid, task.start_ns, cgroup_id);
        if self.decided.contains_key(&key) {
            return;
        }
        let is_member = self.includes(task, cgroup_id, pod);
        // The name of a pod may become known later.
        if is_member || !matches!(self.target, ScopeTarget::Pod { .. }) {
            if self.decided.len() >= MAX_DECISIONS {
                self.decided.clear();
            }
            self.decided.insert(key, is_member);
        }
        if is_member {
            self.members.lock().insert(task.pid);
        }
    }

    fn includes(&self, task: &Task, cgroup_id: u64, pod: Option<&PodRef>) -> bool {
        match &self.target {
            ScopeTarget::Cgroup(cgroup) => cgroup.contains(task, cgroup_id),
            ScopeTarget::Process(pid) => {
                ancestors(task).any(|one| one == *pid || self.members.contains(one))
            }
            ScopeTarget::Pod { namespace, name } => pod.is_some_and(|found| {
                *found.pod.namespace == **namespace && *found.pod.name == **name
            }),
        }
    }
}

/// Returns the process of a task and its ancestors, as far as they are alive.
fn ancestors(task: &Task) -> impl Iterator<Item = u32> {
    let forked_by = task.parent_pid;
    let first = task.pid;
    let next = move |pid: &u32| {
        let known = (*pid == first && forked_by != 0).then_some(forked_by);
        parent_of(*pid).or(known).filter(|parent| *parent != 0)
    };
    std::iter::successors(Some(first), next).take(MAX_ANCESTORS)
}

/// Returns the parent of a process: the fourth field of `proc_pid_stat(5)`, after the name in parentheses, which may
/// contain any character.
fn parent_of(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn task(pid: u32) -> Task {
        Task { pid, uid: 0, start_ns: 0, comm: [0; 16], parent_pid: 0 }
    }

    #[test]
    fn includes_descendants_of_a_process() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let members = ScopeMembers::default();
        let mut scope = Scope::new(ScopeTarget::Process(std::process::id()), members.clone());
        for pid in [child.id(), std::process::id(), 1] {
            scope.observe(&task(pid), 0, None);
        }
        assert!(members.contains(child.id()) && members.contains(std::process::id()));
        assert!(!members.contains(1), "an ancestor is no descendant");
        assert_eq!(members.count(), 2);
        // A forked child that has ended is known by the parent that the kernel reported.
        let ended = Task { parent_pid: child.id(), ..task(u32::MAX) };
        scope.observe(&ended, 0, None);
        assert!(members.contains(u32::MAX));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn includes_a_cgroup_and_those_below() {
        let mount = tempfile::tempdir().unwrap();
        let directory = mount.path().join("command");
        fs::create_dir(&directory).unwrap();
        let scope = CgroupScope::open(mount.path(), &directory).unwrap();
        let id = fs::metadata(&directory).unwrap().ino();
        let own = task(std::process::id());
        assert!(scope.contains(&own, id));
        assert!(!scope.contains(&own, id + 1) && !scope.contains(&own, 0));
        assert!(CgroupScope::open(mount.path(), &directory.join("gone")).is_err());
    }
}
