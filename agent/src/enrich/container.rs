//! Containers, recognized by the names of their cgroups.

use crate::capture::live::cgroup_of_id;
use crate::capture::live::process::if_there;
use dnscribe_analysis::attribution::Container;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of cached cgroups; at the limit, the cache is cleared.
const MAX_CGROUPS: usize = 1 << 14;

/// Maximum time between a scan of the cgroup tree and the next.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Cache of containers by cgroup2 id, which is the inode number of the cgroup's directory.
#[derive(Debug, Default)]
pub(super) struct ContainerCache {
    mount: Option<PathBuf>,
    /// The opened mount point, to look up cgroups by id.
    mount_dir: Option<File>,
    cache: HashMap<u64, Option<Arc<Container>>>,
    next_scan: Option<Instant>,
}

impl ContainerCache {
    pub(super) fn new(mount: Option<&Path>) -> Self {
        let mount_dir = mount.and_then(|mount| File::open(mount).ok());
        Self { mount: mount.map(Into::into), mount_dir, ..Self::default() }
    }

    /// Returns the container of a cgroup. `pid` is a process that may be in the cgroup.
    pub(super) fn get(&mut self, cgroup_id: u64, pid: Option<u32>) -> Option<Arc<Container>> {
        if cgroup_id == 0 {
            return None;
        }
        if let Some(cache) = self.cache.get(&cgroup_id) {
            return cache.clone();
        }
        if self.cache.len() >= MAX_CGROUPS {
            self.cache.clear();
        }
        let mount = self.mount.clone()?;
        let by_id = self.mount_dir.as_ref().and_then(|mount| cgroup_of_id(mount, cgroup_id));
        let by_id = by_id.map(|path| path.to_string_lossy().into_owned());
        if let Some(path) = by_id.or_else(|| cgroup_of(pid?, &mount, cgroup_id)) {
            let container = Container::from_cgroup_path(&path).map(Arc::new);
            self.cache.insert(cgroup_id, container.clone());
            return container;
        }
        let start = Instant::now();
        if self.next_scan.is_none_or(|next_scan| next_scan <= start) {
            match self.scan(&mount) {
                // A cgroup that is not in the tree no longer exists: cache that.
                Ok(()) => drop(self.cache.entry(cgroup_id).or_insert(None)),
                Err(error) => {
                    tracing::warn!(
                        "containers may be missing in records: cannot read cgroups: {error}"
                    );
                }
            }
            self.next_scan = Some(Instant::now() + pause(start.elapsed()));
        }
        self.cache.get(&cgroup_id).cloned().flatten()
    }

    /// Caches the container of every cgroup. A cgroup may be removed during the scan.
    fn scan(&mut self, top: &Path) -> io::Result<()> {
        let mut directories = vec![top.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let Some(metadata) = if_there(fs::metadata(&directory))? else { continue };
            let container = Container::from_cgroup_path(&directory.to_string_lossy());
            self.cache.insert(metadata.ino(), container.map(Arc::new));
            for entry in if_there(fs::read_dir(&directory))?.into_iter().flatten() {
                let Some(entry) = if_there(entry)? else { break };
                if if_there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
                    directories.push(entry.path());
                }
            }
        }
        Ok(())
    }
}

/// Returns the time after a scan of this duration until the next: scans take a twentieth of the time, so that a container is known by
/// the first query of a process that has ended since, soon after another.
fn pause(scan: Duration) -> Duration {
    (20 * scan).min(MAX_PAUSE)
}

/// Returns the cgroup2 path of a process if its cgroup has this id.
fn cgroup_of(pid: u32, mount: &Path, cgroup_id: u64) -> Option<String> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let directory = mount.join(path);
    (fs::metadata(&directory).ok()?.ino() == cgroup_id)
        .then(|| directory.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// What a scan could not read may be there: the next one looks again.
    #[test]
    fn only_a_scan_to_the_end_says_that_a_cgroup_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("no-directory");
        File::create(&file).unwrap();
        for (mount, is_known) in [(file.as_path(), false), (folder.path(), true)] {
            let mut containers = ContainerCache::new(Some(mount));
            assert!(containers.get(u64::MAX, None).is_none());
            assert_eq!(containers.cache.contains_key(&u64::MAX), is_known);
        }
    }

    #[test]
    fn scans_take_a_twentieth_of_the_time() {
        assert_eq!(pause(Duration::from_micros(500)), Duration::from_millis(10));
        assert_eq!(pause(Duration::from_hours(1)), MAX_PAUSE);
    }

    #[test]
    fn finds_container_by_cgroup_id() {
        let tree = tempfile::tempdir().unwrap();
        let scope = tree.path().join(format!("system.slice/docker-{ID}.scope"));
        fs::create_dir_all(&scope).unwrap();
        let id = fs::metadata(&scope).unwrap().ino();
        let mut containers = ContainerCache::new(Some(tree.path()));
        assert_eq!(containers.get(id, None).unwrap().id, ID);
        assert_eq!(containers.get(1, None), None);
    }
}
