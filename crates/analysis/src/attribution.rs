//! Who is behind a message: the process, its container and its pod.

mod container;
mod pod;

pub use container::{Container, Runtime};
pub use pod::{MAX_CONTAINERS, Pod, PodContainer, PodRef, Workload};

use dnscribe_transaction::packet::Task;
use std::borrow::Cow;
use std::sync::Arc;

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
    /// Start time in nanoseconds of `CLOCK_BOOTTIME`; 0 where unknown.
    pub start_ns: u64,
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
        Self { pid: task.pid, uid: task.uid, start_ns: task.start_ns, comm: task.comm, exe }
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
