//! A cgroup for one test, so that its agent captures nothing else of this host.

use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::shell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A cgroup with this process and its children. Dropping it moves the process back.
pub struct IsolatedCgroup {
    mount: PathBuf,
    name: String,
    /// The previous cgroup of this process.
    before: PathBuf,
}

impl IsolatedCgroup {
    /// Enters a cgroup named after the lab. Only for tests that do not run in parallel.
    pub fn enter(lab: &Lab) -> Self {
        let mount = cgroup2_mount().unwrap();
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let before = mount.join(own);
        let isolated = Self { mount, name: lab.namespace(Host::Client), before };
        fs::create_dir_all(isolated.directory()).unwrap();
        move_to(&isolated.directory()).unwrap();
        isolated
    }

    /// Options that limit an agent to this cgroup.
    pub fn options(&self) -> [&str; 4] {
        ["--hook", "cgroup", "--cgroup", &self.name]
    }

    pub fn directory(&self) -> PathBuf {
        self.mount.join(&self.name)
    }
}

impl Drop for IsolatedCgroup {
    fn drop(&mut self) {
        if move_to(&self.before).is_err() {
            return;
        }
        let directory = self.directory();
        // Child processes of servers may still be in it. Before Linux 5.14 they end with the lab.
        let _ = fs::write(directory.join("cgroup.kill"), "1");
        // An empty cgroup that stays behind does no harm.
        let _ = shell::wait_for("a cgroup to empty", Duration::from_secs(2), || {
            remove(&directory);
            Ok((!directory.exists()).then_some(()))
        });
    }
}

/// Moves this process with all its threads.
fn move_to(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Removes a cgroup and those below it, innermost first.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // Fails while a process in it is ending; retried later.
    let _ = fs::remove_dir(directory);
}
