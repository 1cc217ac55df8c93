//! Attribution: executable, container and pod of the process behind a message.
//!
//! Input: the task and cgroup id that the eBPF programs report. /proc and the cgroup tree are read
//! once per process and cgroup, while the process lives, into bounded tables. Pods come from the
//! Kubernetes API.

mod container;
pub mod kubernetes;
mod process;
mod scope;

pub use container::{Container, Runtime};
pub use kubernetes::PodRef;

use crate::capture::Task;
use container::ContainerCache;
use kubernetes::Pods;
use process::ProcessCache;
pub use process::{await_process_server, serve_process_requests};
pub use scope::{CgroupScope, Scope, ScopeMembers, ScopeTarget};
use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Attributes tasks to executables, containers and pods.
#[derive(Debug, Default)]
pub struct Enricher {
    processes: ProcessCache,
    containers: ContainerCache,
    pods: Option<Pods>,
    scope: Option<Scope>,
}

impl Enricher {
    /// Creates an enricher for a live capture. `cgroup_mount` is the mount point of cgroup2, if there
    /// is one. `helper` is a socket to a process that runs [`serve_process_requests`], if there is one.
    #[must_use]
    pub fn new(cgroup_mount: Option<&Path>, helper: Option<OwnedFd>, pods: Option<Pods>) -> Self {
        let containers = ContainerCache::new(cgroup_mount);
        Self { processes: ProcessCache::new(helper), containers, pods, scope: None }
    }

    /// Sets the scope to which each task is reported.
    #[must_use]
    pub fn with_scope(self, scope: Option<Scope>) -> Self {
        Self { scope, ..self }
    }

    /// Returns the status of the pod watch, if there is one.
    #[must_use]
    pub fn kubernetes(&self) -> Option<kubernetes::PodWatchStatus> {
        self.pods.as_ref().map(Pods::status)
    }

    /// Counts a transaction with this attribution.
    pub fn count(&mut self, attribution: &Attribution) {
        if let (Some(pods), Some(container)) = (&mut self.pods, &attribution.container) {
            pods.count(container, attribution.pod.as_ref());
        }
    }

    /// Returns the attribution of a task and of its socket's cgroup (0 if unknown). The first call for
    /// a task reads /proc and should come while the task lives.
    pub fn attribute(&mut self, task: Option<&Task>, cgroup_id: u64) -> Attribution {
        let info = task.map(|task| self.processes.get(task));
        let by_cgroup = self.containers.get(cgroup_id, task.map(|task| task.pid));
        let exe = info.as_ref().and_then(|info| info.exe.clone());
        let container = by_cgroup.or_else(|| info.and_then(|info| info.container));
        let pods = self.pods.as_mut().zip(container.as_ref());
        let pod = pods.and_then(|(pods, container)| pods.find(container));
        let attribution =
            Attribution { process: task.map(|task| Process::new(task, exe)), container, pod };
        if let (Some(scope), Some(task)) = (&mut self.scope, task) {
            scope.observe(task, cgroup_id, &attribution);
        }
        attribution
    }
}

/// The process that sent or received a message, with its container and pod as far as they are known.
/// Clones are cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attribution {
    /// The process.
    pub process: Option<Process>,
    /// The container that it runs in.
    pub container: Option<Arc<Container>>,
    /// The pod that the container belongs to.
    pub pod: Option<PodRef>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Name as in /proc/PID/comm, padded with zero bytes.
    pub comm: [u8; 16],
    /// Path of the executable, if it was read before the process ended.
    pub exe: Option<Arc<str>>,
}

impl Attribution {
    /// Returns the container's runtime, from the cgroup path or else from the Kubernetes API.
    #[must_use]
    pub fn runtime(&self) -> Option<Runtime> {
        let by_path = self.container.as_ref().and_then(|container| container.runtime);
        by_path.or_else(|| self.pod.as_ref()?.runtime)
    }

    /// Returns `namespace/name` of the pod, or the container id if the pod is not known.
    #[must_use]
    pub fn pod_path(&self) -> Option<&str> {
        let pod = self.pod.as_ref().map(|pod| &*pod.pod.path);
        pod.or_else(|| self.container.as_ref().map(|container| &*container.id))
    }
}

impl Process {
    /// Creates the process of a task.
    #[must_use]
    pub const fn new(task: &Task, exe: Option<Arc<str>>) -> Self {
        Self { pid: task.pid, uid: task.uid, comm: task.comm, exe }
    }

    /// Returns the name; invalid UTF-8 is replaced.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.name_bytes())
    }

    /// Returns the name if it is valid UTF-8, as filters compare it.
    #[must_use]
    pub fn utf8_name(&self) -> Option<&str> {
        std::str::from_utf8(self.name_bytes()).ok()
    }

    fn name_bytes(&self) -> &[u8] {
        self.comm.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_ends_at_first_zero_byte() {
        let mut task = Task { pid: 1, uid: 0, start_ns: 0, comm: [0; 16], parent_pid: 0 };
        task.comm[..4].copy_from_slice(b"curl");
        let process = Process::new(&task, None);
        assert_eq!((process.utf8_name(), &*process.name()), (Some("curl"), "curl"));
        task.comm = [0xff; 16];
        assert_eq!(Process::new(&task, None).utf8_name(), None);
    }
}
