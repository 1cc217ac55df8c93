//! Who was it: executable, container and pod of the task behind a message.
//!
//! What /proc and the cgroup tree tell is read once per process and per cgroup, while the process
//! still lives, and kept in bounded tables. Pods are those that the Kubernetes API tells of.

mod container;
pub mod kubernetes;
mod process;

pub use container::{Container, Runtime};
pub use kubernetes::Place;

use crate::capture::Task;
use container::Containers;
use kubernetes::Pods;
use process::Processes;
pub use process::answer as answer_about_processes;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// What is known of the task behind a message.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Path of the executable.
    pub exe: Option<Arc<str>>,
    /// The container that it runs in.
    pub container: Option<Arc<Container>>,
    /// The pod that this is part of.
    pub place: Option<Place>,
}

/// Looks tasks up.
#[derive(Debug, Default)]
pub struct Enricher {
    processes: Processes,
    containers: Containers,
    pods: Option<Pods>,
}

impl Enricher {
    /// For a live capture; `cgroup_mount` is where cgroup2 is mounted, if anywhere. `scout` is the
    /// socket at whose other end [`answer_about_processes`] runs, if anybody does that for this process.
    #[must_use]
    pub fn new(cgroup_mount: Option<&Path>, scout: Option<OwnedFd>) -> Self {
        let containers = Containers::new(cgroup_mount);
        Self { processes: Processes::new(scout), containers, pods: None }
    }

    /// Names pods, too.
    #[must_use]
    pub fn with_pods(self, pods: Option<Pods>) -> Self {
        Self { pods, ..self }
    }

    /// How the watch of pods stands, where there is one.
    #[must_use]
    pub fn kubernetes(&self) -> Option<kubernetes::Status> {
        self.pods.as_ref().map(Pods::status)
    }

    /// Counts a transaction of what is known.
    pub fn count(&mut self, known: &Known) {
        if let (Some(pods), Some(container)) = (&mut self.pods, &known.container) {
            pods.count(container, known.place.as_ref());
        }
    }

    /// What is known of a task and its socket's cgroup (0 where unknown). The first call for a
    /// task reads /proc, so it should come while the task lives.
    pub fn known(&mut self, task: Option<&Task>, cgroup_id: u64) -> Known {
        let process = task.map(|task| self.processes.get(task));
        let by_cgroup = self.containers.get(cgroup_id, task.map(|task| task.pid));
        let exe = process.as_ref().and_then(|process| process.exe.clone());
        let container = by_cgroup.or_else(|| process.and_then(|process| process.container));
        let pods = self.pods.as_mut().zip(container.as_ref());
        let place = pods.and_then(|(pods, container)| pods.find(container));
        Known { exe, container, place }
    }
}
