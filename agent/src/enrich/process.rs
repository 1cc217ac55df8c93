//! What /proc tells of a process.

use super::Container;
use crate::capture::Task;
use std::collections::HashMap;
use std::fs;
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

/// By pid and name: where a pid is used again the name mostly differs, and a change of name
/// (`exec`) is a reason to look again.
#[derive(Debug, Default)]
pub(super) struct Processes(HashMap<(u32, [u8; 16]), Process>);

impl Processes {
    pub(super) fn get(&mut self, task: &Task) -> Process {
        let key = (task.pid, task.comm);
        if let Some(process) = self.0.get(&key) {
            return process.clone();
        }
        if self.0.len() >= MAX_PROCESSES {
            self.0.clear();
        }
        let process = read(task.pid);
        self.0.insert(key, process.clone());
        process
    }
}

fn read(pid: u32) -> Process {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Process {
        exe: exe.map(|path| path.to_string_lossy().into()),
        container: cgroups.lines().find_map(Container::of_cgroup_path).map(Arc::new),
    }
}
