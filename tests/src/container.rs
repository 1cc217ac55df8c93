//! Real containers, by crun: with the cgroups that a kubelet gives them, and a root file system made of
//! what this host has.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// crun knows either version of cgroups, not a host that has both: in a mount namespace of its own it
/// sees version 2 alone.
const UNIFIED: &str = "mount -t cgroup2 none /sys/fs/cgroup && exec crun \"$@\"";

/// What a container is made of.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    /// The runtime's configuration (OCI runtime specification 1.0.2).
    pub config: Value,
}

/// A container that runs. It ends when this is dropped, and its cgroups go.
#[derive(Debug)]
pub struct Container {
    id: String,
    folder: PathBuf,
    cgroup: PathBuf,
    child: Child,
}

impl Bundle {
    /// A container with busybox in it, and nothing else: no capability, a read-only root, namespaces of
    /// its own. `cgroup` is its path, as the cgroupfs driver gives it.
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

    /// A container of whatever is in `rootfs` below a folder.
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

    /// Gives it a network namespace that is there.
    pub fn join_network(&mut self, namespace: &Path) {
        self.without("network");
        self.space(json!({ "type": "network", "path": namespace }));
    }

    /// Leaves it in a namespace of the host's.
    pub fn without(&mut self, kind: &str) {
        if let Some(spaces) = self.config["linux"]["namespaces"].as_array_mut() {
            spaces.retain(|space| space["type"] != kind);
        }
    }

    fn space(&mut self, space: Value) {
        if let Some(spaces) = self.config["linux"]["namespaces"].as_array_mut() {
            spaces.push(space);
        }
    }

    /// Mounts something of the host's.
    pub fn bind(&mut self, source: &Path, destination: &str, read_only: bool) {
        let mode = if read_only { "ro" } else { "rw" };
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": destination, "type": "bind", "source": source,
                "options": ["rbind", mode],
            }));
        }
    }

    /// The command that runs it, in the foreground. `id` is the container's.
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

    /// Starts it.
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
    /// Waits until it has ended by itself; what it said, errors included.
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

    /// Its cgroup.
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

/// Ends a container and what is left of it.
pub fn remove(folder: &Path, id: &str) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", UNIFIED, "crun", "--cgroup-manager=cgroupfs", "--root"]);
    command.arg(folder.join("state")).args(["delete", "--force", id]);
    // One that has ended by itself is not there any more.
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Removes a cgroup with those above it that are empty: what a kubelet does with a pod's.
pub fn clean(cgroup: &Path) {
    let mut folder = Some(cgroup);
    while let Some(path) = folder {
        // The kernel refuses where something is in it, and for the root of the tree.
        if path.is_dir() && fs::remove_dir(path).is_err() {
            return;
        }
        folder = path.parent();
    }
}
