//! The cgroup of a traced command.

use dnscribe_agent::capture::live::own_cgroup;
use dnscribe_cli::exit::Exit;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Time that ending processes may keep the cgroup in use.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

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
        let directory = parent.join(format!("dnscribe-trace-{}", std::process::id()));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let problem = format!("cannot create cgroup {}: {error}", directory.display());
                Err(Exit::cannot_capture(problem).with_remedy(
                    "run as root with a writable cgroup2 mount, or in a delegated cgroup (systemd-run --user \
                     --scope -p Delegate=yes dnscribe trace ...)",
                ))
            }
            _ => Ok(Self { directory, parent }),
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
