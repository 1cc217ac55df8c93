//! Who was it: executable and container of the task behind a message.
//!
//! What /proc and the cgroup tree tell is read once per process and per cgroup, while the process
//! still lives, and kept in bounded tables.

mod container;
mod process;

pub use container::{Container, Runtime};

use crate::capture::Task;
use container::Containers;
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
}

/// Looks tasks up.
#[derive(Debug, Default)]
pub struct Enricher {
    processes: Processes,
    containers: Containers,
}

impl Enricher {
    /// For a live capture; `cgroup_mount` is where cgroup2 is mounted, if anywhere. `scout` is the
    /// socket at whose other end [`answer_about_processes`] runs, if anybody does that for this process.
    #[must_use]
    pub fn new(cgroup_mount: Option<&Path>, scout: Option<OwnedFd>) -> Self {
        Self { processes: Processes::new(scout), containers: Containers::new(cgroup_mount) }
    }

    /// What is known of a task and its socket's cgroup (0 where unknown). The first call for a
    /// task reads /proc, so it should come while the task lives.
    pub fn known(&mut self, task: Option<&Task>, cgroup_id: u64) -> Known {
        let process = task.map(|task| self.processes.get(task));
        let by_cgroup = self.containers.get(cgroup_id, task.map(|task| task.pid));
        Known {
            exe: process.as_ref().and_then(|process| process.exe.clone()),
            container: by_cgroup.or_else(|| process.and_then(|process| process.container)),
        }
    }
}
