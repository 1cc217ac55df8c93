//! A fresh Debian that systemd boots in a container.

use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Packages besides the essential ones: an init, dependencies of the .deb, a small DNS server, and rpm for the
/// .rpm.
const PACKAGES: &str =
    "systemd-sysv,dbus,libssl3,zlib1g,libzstd1,passwd,dnsmasq-base,ca-certificates,rpm";
const SUITE: &str = "bookworm";
const BOOT_TIMEOUT: Duration = Duration::from_mins(1);

/// A booted system; stopped and removed when dropped.
pub struct Machine {
    root: TempDir,
    container: Child,
    /// Process id of its init on this host.
    init: String,
}

impl Machine {
    /// Boots a copy of the base system.
    pub fn boot() -> Result<Self> {
        let base = base_system()?;
        let root = tempfile::Builder::new().prefix("machine-").tempdir_in(environment::target())?;
        let copied = Command::new("cp")
            .args(["--archive", "--no-target-directory"])
            .arg(&base)
            .arg(root.path())
            .status()?;
        if !copied.success() {
            bail!("cannot copy {}", base.display());
        }
        let name = root.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let mut container = Command::new("systemd-nspawn")
            // systemd needs the unified hierarchy; the host may have another layout.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"])
            .args(["--console=pipe", "--capability=all"])
            // By default a container cannot load eBPF programs.
            .arg("--system-call-filter=bpf perf_event_open")
            .arg(format!("--machine={}", name.replace('.', "")))
            .arg("--directory")
            .arg(root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .context("cannot start systemd-nspawn")?;
        let init = shell::wait_for("the container's init", BOOT_TIMEOUT, || {
            if let Some(status) = container.try_wait()? {
                bail!("systemd-nspawn ended ({status})");
            }
            let id = container.id();
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
            let first = children.split_whitespace().next().map(str::to_owned);
            Ok(first.filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm == "systemd\n")
            }))
        })?;
        let machine = Self { root, container, init };
        shell::wait_for("the container to boot", BOOT_TIMEOUT, || {
            Ok(machine.run("systemctl is-system-running").ok())
        })?;
        Ok(machine)
    }

    /// Runs a script in the system and returns its output.
    pub fn run(&self, script: &str) -> Result<String> {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.init, "--mount", "--uts", "--ipc", "--net", "--pid"]);
        enter.args(["--cgroup", "--root", "--wd", "env", "--ignore-environment"]);
        enter.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]);
        let printed = shell::output(enter.args(["bash", "-ec", script]))
            .with_context(|| format!("in the container: {script}"))?;
        Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
    }

    /// Path on this host of a path in the system.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    /// Copies a file to the system's `/root`.
    pub fn copy_in(&self, file: &Path, name: &str) -> Result<()> {
        fs::copy(file, self.path("/root").join(name))?;
        Ok(())
    }

    /// Last lines of the log of units, for error messages.
    pub fn journal(&self, units: &str) -> String {
        self.run(&format!("journalctl --no-pager --unit='{units}' --lines=30"))
            .unwrap_or_else(|error| format!("no journal: {error:#}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Killing init ends every process of the system.
        if let Ok(pid) = self.init.parse() {
            let _ = shell::signal_pid(pid, Signal::KILL);
        }
        if shell::wait(&mut self.container, Duration::from_secs(10)).is_err() {
            shell::end(&mut self.container);
        }
    }
}

/// Returns the folder of the base system; debootstrap creates it once for a list of packages.
fn base_system() -> Result<PathBuf> {
    let folder = environment::target().join(format!("debian-{SUITE}"));
    let list = folder.with_extension("packages");
    if folder.is_dir() && fs::read_to_string(&list).is_ok_and(|made| made == PACKAGES) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let unfinished = folder.with_extension("making");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]).arg(&unfinished);
    shell::output(&mut make).context("cannot create the base system")?;
    fs::rename(&unfinished, &folder)?;
    fs::write(&list, PACKAGES)?;
    Ok(folder)
}
