//! A cgroup for one test: what else goes on on this host is none of its agent's business.

use dnscribe::capture::live::cgroup2_mount;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::shell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// This process, and what it starts, in a cgroup of its own. Dropping it leads back.
pub struct Apart {
    mount: PathBuf,
    name: String,
    /// The cgroup that this process was in.
    before: PathBuf,
}

impl Apart {
    /// Enters a cgroup named after the lab. Only tests that run alone may.
    pub fn enter(lab: &Lab) -> Self {
        let mount = cgroup2_mount().unwrap();
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let before = mount.join(own);
        let apart = Self { mount, name: lab.namespace(Host::Client), before };
        fs::create_dir_all(apart.directory()).unwrap();
        move_to(&apart.directory()).unwrap();
        apart
    }

    /// Options that have an agent capture what happens there.
    pub fn options(&self) -> [&str; 4] {
        ["--hook", "cgroup", "--cgroup", &self.name]
    }

    pub fn directory(&self) -> PathBuf {
        self.mount.join(&self.name)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if move_to(&self.before).is_err() {
            return;
        }
        let directory = self.directory();
        // Heirs of servers may still be there. Before Linux 5.14 they end with the lab.
        let _ = fs::write(directory.join("cgroup.kill"), "1");
        // What cannot be removed costs nothing but its name.
        let _ = shell::wait_for("a cgroup to empty", Duration::from_secs(2), || {
            remove(&directory);
            Ok((!directory.exists()).then_some(()))
        });
    }
}

/// Moves this process, all its threads with it.
fn move_to(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Removes cgroups, the innermost first.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    // Fails while a process in it ends; then it is tried again.
    let _ = fs::remove_dir(directory);
}
