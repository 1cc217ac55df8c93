//! Containers, recognized by the names of their cgroups.

use crate::capture::live::cgroup_of_id;
use crate::capture::live::process::if_there;
use dnscribe_record::named_enum;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of hex digits of a container id.
const ID_DIGITS: usize = 64;

/// Maximum number of cached cgroups; at the limit, the cache is cleared.
const MAX_CGROUPS: usize = 1 << 14;

/// Minimum time between two scans of the cgroup tree.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

named_enum! {
    /// Container runtime.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Runtime {
        /// Docker.
        Docker = "docker",
        /// containerd.
        Containerd = "containerd",
        /// CRI-O.
        CriO = "cri-o",
        /// Podman.
        Podman = "podman",
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Absent if the path does not show it.
    pub runtime: Option<Runtime>,
    /// Uid of the Kubernetes pod whose cgroup contains the container's, with dashes. For a pod from a
    /// static manifest, the hash of the manifest.
    pub pod_uid: Option<String>,
}

impl Container {
    /// Returns the innermost container in a cgroup path:
    /// `…/docker-ID.scope`, `…/cri-containerd-ID.scope`, `…/crio-ID.scope`, `…/libpod-ID.scope`
    /// (systemd driver), `/docker/ID`, `/kubepods/…/ID` (cgroupfs driver); with the innermost pod around
    /// it: `…-podUID.slice`, `/podUID`.
    #[must_use]
    pub fn from_cgroup_path(path: &str) -> Option<Self> {
        let mut parents = path;
        while let Some((rest, name)) = parents.rsplit_once('/') {
            if let Some((id, runtime)) = Self::of_cgroup_name(name, rest) {
                let pod_uid = path.get(..rest.len() + 1 + name.len()).and_then(pod_uid);
                return Some(Self { id, runtime, pod_uid });
            }
            parents = rest;
        }
        None
    }

    fn of_cgroup_name(name: &str, parents: &str) -> Option<(String, Option<Runtime>)> {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        // Names given by containerd itself are `namespace:prefix:ID`.
        let (prefix, id) = match name.rsplit_once(['-', ':']) {
            Some((prefix, id)) => (prefix, id),
            None => ("", name),
        };
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let runtime = match prefix.rsplit(':').next().unwrap_or(prefix) {
            "docker" => Some(Runtime::Docker),
            "cri-containerd" | "nerdctl" => Some(Runtime::Containerd),
            "crio" => Some(Runtime::CriO),
            "libpod" => Some(Runtime::Podman),
            // Conmon monitors the container from its own cgroup, outside of the container.
            "crio-conmon" | "libpod-conmon" => return None,
            _ if parents.ends_with("/docker") => Some(Runtime::Docker),
            _ if parents.contains("libpod") => Some(Runtime::Podman),
            _ => None,
        };
        is_id.then(|| (id.to_ascii_lowercase(), runtime))
    }
}

/// Returns the uid of the innermost pod in a cgroup path. systemd slices have underscores instead of
/// dashes, because dashes separate slices. Some runtimes append a colon to the slice.
fn pod_uid(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|name| {
        let name = name.split_once(".slice").map_or(name, |(slice, _)| slice);
        let (before, uid) = name.rsplit_once("pod")?;
        let uid = uid.replace('_', "-").to_ascii_lowercase();
        ((before.is_empty() || before.ends_with('-')) && is_uid(&uid)).then_some(uid)
    })
}

/// Returns whether `uid` is a UUID, or the 32-digit hash of a static manifest.
fn is_uid(uid: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups = || uid.split('-').map(str::len);
    uid.split('-').all(is_hex) && (groups().eq([8, 4, 4, 4, 12]) || groups().eq([32]))
}

/// Cache of containers by cgroup2 id, which is the inode number of the cgroup's directory.
#[derive(Debug, Default)]
pub(super) struct ContainerCache {
    mount: Option<PathBuf>,
    /// The opened mount point, to look up cgroups by id.
    mount_dir: Option<File>,
    cache: HashMap<u64, Option<Arc<Container>>>,
    last_scan: Option<Instant>,
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
        if self.last_scan.is_none_or(|last_scan| last_scan.elapsed() >= SCAN_INTERVAL) {
            match self.scan(&mount) {
                // A cgroup that is not in the tree no longer exists: cache that.
                Ok(()) => drop(self.cache.entry(cgroup_id).or_insert(None)),
                Err(error) => {
                    tracing::warn!(
                        "containers may be missing in records: cannot read cgroups: {error}"
                    );
                }
            }
            self.last_scan = Some(Instant::now());
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
    const POD: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";
    const POD_: &str = "0a1b2c3d_0000_4000_8000_0123456789ab";
    const HASH: &str = "00112233445566778899aabbccddeeff";

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
    fn parses_cgroup_names_of_all_runtimes() {
        for (path, runtime) in [
            (format!("0::/system.slice/docker-{ID}.scope"), Some(Runtime::Docker)),
            (format!("4:memory:/docker/{ID}"), Some(Runtime::Docker)),
            (format!("/system.slice/nerdctl-{ID}.scope"), Some(Runtime::Containerd)),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some(Runtime::Podman)),
            (format!("/user.slice/user-0.slice/libpod-{ID}.scope"), Some(Runtime::Podman)),
            (format!("/libpod_parent/libpod-{ID}"), Some(Runtime::Podman)),
            (format!("/system.slice/docker-{ID}.scope/init.scope"), Some(Runtime::Docker)),
        ] {
            let container = Container::from_cgroup_path(&path).unwrap();
            assert_eq!((container.id.as_str(), container.runtime), (ID, runtime), "{path}");
            assert_eq!(container.pod_uid, None, "{path}");
        }
    }

    #[test]
    fn parses_pod_cgroups_of_all_drivers() {
        let outer = ID.replace('0', "f");
        for (path, runtime, pod) in [
            (
                format!("/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{ID}.scope"),
                Some(Runtime::Containerd),
                POD,
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/\
                     crio-{ID}.scope/container"
                ),
                Some(Runtime::CriO),
                POD,
            ),
            (
                format!("/kubepods.slice/kubepods-burstable-pod{HASH}.slice/docker-{ID}.scope"),
                Some(Runtime::Docker),
                HASH,
            ),
            (format!("/kubepods/besteffort/pod{POD}/{ID}"), None, POD),
            (format!("/kubepods/burstable/pod{POD}/crio-{ID}"), Some(Runtime::CriO), POD),
            (
                format!("/system.slice/kubepods-pod{POD_}.slice:cri-containerd:{ID}"),
                Some(Runtime::Containerd),
                POD,
            ),
            // A node that is itself a container (kind).
            (
                format!(
                    "/docker/{outer}/kubelet.slice/kubelet-kubepods.slice/\
                     kubelet-kubepods-pod{POD_}.slice/cri-containerd-{ID}.scope"
                ),
                Some(Runtime::Containerd),
                POD,
            ),
            // A container inside a container.
            (format!("/kubepods/pod{POD}/{outer}/docker/{ID}"), Some(Runtime::Docker), POD),
            // As seen from another cgroup namespace.
            (
                format!("0::/../../kubepods-pod{POD_}.slice/cri-containerd-{ID}.scope"),
                Some(Runtime::Containerd),
                POD,
            ),
        ] {
            let container = Container::from_cgroup_path(&path).unwrap();
            assert_eq!((container.id.as_str(), container.runtime), (ID, runtime), "{path}");
            assert_eq!(container.pod_uid.as_deref(), Some(pod), "{path}");
        }
    }

    #[test]
    fn ignores_similar_pod_names() {
        for name in [format!("libpod-{ID}"), format!("xpod{POD}"), "kubepods-podaa.slice".into()] {
            let container = Container::from_cgroup_path(&format!("/{name}/{ID}")).unwrap();
            assert_eq!(container.pod_uid, None, "{name}");
        }
    }

    #[test]
    fn ignores_similar_container_names() {
        for path in [
            "0::/".to_owned(),
            "0::/user.slice/user-0.slice/session-1.scope".to_owned(),
            format!("0::/system.slice/docker-{}.scope", &ID[1..]),
            format!("0::/system.slice/docker-{}g.scope", &ID[1..]),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
        ] {
            assert_eq!(Container::from_cgroup_path(&path), None, "{path}");
        }
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
