//! Attribution: executable, container and pod of the process behind a message.
//!
//! Input: the task and cgroup id that the eBPF programs report. /proc and the cgroup tree are read
//! once per process and cgroup, while the process lives, into bounded tables. Pods come from the
//! Kubernetes API.

mod container;
pub mod kubernetes;
mod process;
mod scope;

use container::ContainerCache;
use dnscribe_analysis::attribution::{Attribution, Process};
use dnscribe_transaction::packet::Task;
use kubernetes::Pods;
use process::ProcessCache;
pub use process::{await_process_server, serve_process_requests};
pub use scope::{CgroupScope, Scope, ScopeMembers, ScopeTarget};
use std::os::fd::OwnedFd;
use std::path::Path;

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

    /// Returns the pid of the process that forked a task's process; 0 if unknown. Where the kernel did not say, the first
    /// call for a task reads /proc, which knows the process that has adopted it if the parent has ended meanwhile.
    pub fn parent(&mut self, task: &Task) -> u32 {
        match task.parent_pid {
            0 => self.processes.get(task).parent,
            parent => parent,
        }
    }

    /// Returns when the process began that has a pid now, in nanoseconds of `CLOCK_BOOTTIME` rounded down to ticks; none
    /// if there is none, or it cannot be read.
    pub fn start_ns(&mut self, pid: u32) -> Option<u64> {
        self.processes.start_ns(pid)
    }

    /// Returns the attribution of a task and of its socket's cgroup (0 if unknown). The first call for
    /// a task reads /proc and should come while the task lives.
    pub fn attribute(&mut self, task: Option<&Task>, cgroup_id: u64) -> Attribution {
        if let (Some(scope), Some(task)) = (&mut self.scope, task) {
            // First, since the process may end while the rest is read. Only its pod is known later.
            scope.observe(task, cgroup_id, None);
        }
        let info = task.map(|task| self.processes.get(task));
        let by_cgroup = self.containers.get(cgroup_id, task.map(|task| task.pid));
        let exe = info.as_ref().and_then(|info| info.exe.clone());
        let container = by_cgroup.or_else(|| info.and_then(|info| info.container));
        let pods = self.pods.as_mut().zip(container.as_ref());
        let pod = pods.and_then(|(pods, container)| pods.find(container));
        let attribution =
            Attribution { process: task.map(|task| Process::new(task, exe)), container, pod };
        if let (Some(scope), Some(task)) = (&mut self.scope, task) {
            scope.observe(task, cgroup_id, attribution.pod.as_ref());
        }
        attribution
    }
}
