//! Real containers, run by crun, with the cgroups that a kubelet creates and a root file system
//! assembled from files of this host.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// crun supports cgroup version 1 or 2, but not a host with both: in a mount namespace of its own
/// it sees only version 2.
const UNIFIED: &str = "mount -t cgroup2 none /sys/fs/cgroup && exec crun \"$@\"";

/// An OCI bundle: the files and the configuration of a container.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    /// Runtime configuration (OCI runtime specification 1.0.2).
    pub config: Value,
}

/// A running container. Dropping it ends the container and removes its cgroups.
#[derive(Debug)]
pub struct Container {
    id: String,
    folder: PathBuf,
    cgroup: PathBuf,
    child: Child,
}

impl Bundle {
    /// A container with nothing but busybox: no capabilities, a read-only root, its own namespaces.
    /// `cgroup` is the path that the cgroupfs driver would use.
    pub fn busybox(folder: &Path, cgroup: &str, words: &[&str]) -> Result<Self> {
        let busybox = shell::which("busybox").context("busybox is missing (busybox-static)")?;
        let bin = folder.join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        for folder_of_root in ["proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(folder.join("rootfs").join(folder_of_root))?;
        }
        fs::copy(busybox, bin.join("busybox"))?;
        for name in ["sh", "nslookup", "sleep", "cat", "ls"] {
            symlink("busybox", bin.join(name))?;
        }
        Ok(Self::new(folder, cgroup, words))
    }

    /// A container whose root file system is `rootfs` below `folder`.
    #[must_use]
    pub fn new(folder: &Path, cgroup: &str, words: &[&str]) -> Self {
        let spaces = ["pid", "mount", "ipc", "uts", "cgroup", "network"];
        let spaces: Vec<Value> = spaces.iter().map(|kind| json!({ "type": kind })).collect();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": words,
                "env": ["PATH=/usr/bin:/bin"],
                "cwd": "/",
                "capabilities": { "bounding": [], "effective": [], "permitted": [] },
                "noNewPrivileges": true,
            },
            "root": { "path": "rootfs", "readonly": true },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "mode=755"] },
                { "destination": "/sys", "type": "sysfs", "source": "sysfs",
                  "options": ["ro", "nosuid", "noexec", "nodev"] },
            ],
            "linux": { "cgroupsPath": cgroup, "namespaces": spaces },
        });
        Self { folder: folder.to_owned(), config }
    }

    /// Joins an existing network namespace.
    pub fn join_network(&mut self, namespace: &Path) {
        self.use_host_namespace("network");
        self.set_namespace(json!({ "type": "network", "path": namespace }));
    }

    /// Uses the host's namespace of this kind.
    pub fn use_host_namespace(&mut self, kind: &str) {
        if let Some(spaces) = self.config["linux"]["namespaces"].as_array_mut() {
            spaces.retain(|set_namespace| set_namespace["type"] != kind);
        }
    }

    fn set_namespace(&mut self, set_namespace: Value) {
        if let Some(spaces) = self.config["linux"]["namespaces"].as_array_mut() {
            spaces.push(set_namespace);
        }
    }

    /// Bind-mounts a path of the host.
    pub fn bind(&mut self, source: &Path, destination: &str, read_only: bool) {
        let mode = if read_only { "ro" } else { "rw" };
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": destination, "type": "bind", "source": source,
                "options": ["rbind", mode],
            }));
        }
    }

    /// Returns the command that runs the container in the foreground. `id` is the container's id.
    pub fn command(&self, id: &str) -> Result<Command> {
        if shell::which("crun").is_none() {
            bail!("crun is missing; `cargo xtask setup --test` installs it");
        }
        fs::write(self.folder.join("config.json"), self.config.to_string())?;
        let state = self.folder.join("state");
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-ec",
            UNIFIED,
            "crun",
            "--cgroup-manager=cgroupfs",
            "--root",
        ]);
        command.arg(state).args(["run", "--bundle"]).arg(&self.folder).arg(id);
        Ok(command)
    }

    /// Starts the container.
    pub fn start(&self, id: &str, mount: &Path) -> Result<Container> {
        let mut command = self.command(id)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().context("cannot start crun")?;
        let path = self.config["linux"]["cgroupsPath"].as_str().unwrap_or_default();
        let cgroup = mount.join(path.trim_start_matches('/'));
        Ok(Container { id: id.to_owned(), folder: self.folder.clone(), cgroup, child })
    }
}

impl Container {
    /// Waits until the container has ended; returns its output, errors included.
    pub fn finish(mut self, limit: Duration) -> Result<String> {
        let status = shell::wait(&mut self.child, limit)?;
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut said)?;
        }
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said)?;
        }
        anyhow::ensure!(status.success(), "the container ended with {status}: {said}");
        Ok(said)
    }

    /// Path of its cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        remove(&self.folder, &self.id);
        shell::end(&mut self.child);
        clean(&self.cgroup);
    }
}

/// Ends a container and removes its files.
pub fn remove(folder: &Path, id: &str) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", UNIFIED, "crun", "--cgroup-manager=cgroupfs", "--root"]);
    command.arg(folder.join("state")).args(["delete", "--force", id]);
    // A container that has ended by itself is already gone.
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Removes a cgroup and its empty parents, as a kubelet does with those of a pod.
pub fn clean(cgroup: &Path) {
    let mut folder = Some(cgroup);
    while let Some(path) = folder {
        // The kernel refuses for a cgroup that is in use and for the root.
        if path.is_dir() && fs::remove_dir(path).is_err() {
            return;
        }
        folder = path.parent();
    }
}
