//! Containers, recognized by the names of their cgroups.

use dnscribe_record::named_enum;

/// Number of hex digits of a container id.
const ID_DIGITS: usize = 64;

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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const POD: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";
    const POD_: &str = "0a1b2c3d_0000_4000_8000_0123456789ab";
    const HASH: &str = "00112233445566778899aabbccddeeff";

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
}
