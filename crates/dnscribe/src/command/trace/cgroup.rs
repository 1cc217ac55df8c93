//! The cgroup of a traced command.

use dnscribe_agent::capture::live::own_cgroup;
use dnscribe_cli::exit::Exit;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Time that ending processes may keep the cgroup in use.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

/// Name of a traced command's cgroup, before the id of the process that traces it.
const PREFIX: &str = "dnscribe-trace-";

/// File of a cgroup with the ids of its processes.
const PROCESSES: &str = "cgroup.procs";

/// A cgroup below that of this process, so that its limits apply to the command. Dropping it removes it.
#[derive(Debug)]
pub(super) struct CommandCgroup {
    pub(super) directory: PathBuf,
    parent: PathBuf,
}

impl CommandCgroup {
    /// Creates a cgroup below that of this process, or at the mount if that is not visible here.
    ///
    /// # Errors
    /// Exit code 3, with the remedy.
    pub(super) fn create(mount: &Path) -> Result<Self, Exit> {
        let own = own_cgroup().map(|path| mount.join(path.trim_start_matches('/')));
        let is_visible = |own: &PathBuf| own.starts_with(mount) && own.join(PROCESSES).exists();
        let parent = own.filter(is_visible).unwrap_or_else(|| mount.to_path_buf());
        remove_abandoned(&parent);
        let directory = parent.join(format!("{PREFIX}{}", std::process::id()));
        match fs::create_dir(&directory) {
            Err(error) => {
                let problem = format!("cannot create cgroup {}: {error}", directory.display());
                Err(Exit::cannot_capture(problem).with_remedy(
                    "run as root with a writable cgroup2 mount, or in a delegated cgroup (systemd-run --user \
                     --scope -p Delegate=yes dnscribe trace ...)",
                ))
            }
            Ok(()) => Ok(Self { directory, parent }),
        }
    }

    /// Calls `start` while this process is in the cgroup: a process that it starts is born there, so that no query
    /// can be missed.
    ///
    /// # Errors
    /// This process cannot be moved.
    pub(super) fn inside<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        move_process(&self.directory, 0)?;
        let started = start();
        move_process(&self.parent, 0)?;
        Ok(started)
    }

    /// Moves the processes that remain to the cgroup of this process; returns how many.
    pub(super) fn release(&self) -> usize {
        let left = processes(&self.directory);
        // One that has ended meanwhile cannot be moved.
        left.iter().filter(|pid| move_process(&self.parent, **pid).is_ok()).count()
    }
}

impl Drop for CommandCgroup {
    fn drop(&mut self) {
        let end = Instant::now() + REMOVE_LIMIT;
        while let Err(error) = remove(&self.directory) {
            if Instant::now() >= end {
                tracing::warn!("cannot remove cgroup {}: {error}", self.directory.display());
                return;
            }
            self.release();
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Moves a process with all its threads; 0 is this process.
fn move_process(cgroup: &Path, pid: u32) -> io::Result<()> {
    fs::write(cgroup.join(PROCESSES), pid.to_string())
}

/// Removes the cgroups of traces that were killed, unless what they traced still runs.
fn remove_abandoned(parent: &Path) {
    for directory in below(parent) {
        let name = directory.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        // A former process had this one's id.
        let is_abandoned = |pid: u32| {
            pid == std::process::id() || !Path::new("/proc").join(pid.to_string()).exists()
        };
        if pid.is_some_and(is_abandoned)
            && processes(&directory).is_empty()
            && let Err(error) = remove(&directory)
        {
            tracing::debug!("cannot remove cgroup {}: {error}", directory.display());
        }
    }
}

/// Returns the processes of a cgroup and of those below it.
fn processes(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join(PROCESSES)).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.parse().ok());
    own.chain(below(directory).iter().flat_map(|child| processes(child))).collect()
}

/// Removes a cgroup and those below it, innermost first.
fn remove(directory: &Path) -> io::Result<()> {
    below(directory).iter().try_for_each(|child| remove(child))?;
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(directory).into_iter().flatten().flatten();
    listed.map(|child| child.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_killed_traces_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let own = std::process::id();
        // No process has so large an id.
        let dead = 1 << 30;
        let names = [format!("{PREFIX}{own}"), format!("{PREFIX}{dead}"), format!("{PREFIX}1")];
        for name in names.iter().map(String::as_str).chain(["dnscribe-trace-x", "other"]) {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let busy = parent.path().join(format!("{PREFIX}{}", dead + 1));
        fs::create_dir(&busy).unwrap();
        fs::write(busy.join(PROCESSES), "7\n").unwrap();
        remove_abandoned(parent.path());
        let mut left: Vec<String> = below(parent.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let busy = format!("{PREFIX}{}", dead + 1);
        assert_eq!(left, ["dnscribe-trace-1", &*busy, "dnscribe-trace-x", "other"]);
    }
}
