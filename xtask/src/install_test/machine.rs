//! A fresh Debian in a container, booted by systemd.

use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Beside what is essential: an init, what the package needs, a small DNS server to ask, and rpm for the
/// other package.
const PACKAGES: &str =
    "systemd-sysv,dbus,libssl3,zlib1g,libzstd1,passwd,dnsmasq-base,ca-certificates,rpm";
const SUITE: &str = "bookworm";
const BOOT: Duration = Duration::from_secs(60);

/// A booted system; gone when dropped.
pub struct Machine {
    root: TempDir,
    container: Child,
    /// Its init, by the number that this host gives it.
    init: String,
}

impl Machine {
    /// Boots a copy of a fresh system.
    pub fn boot() -> Result<Self> {
        let fresh = fresh()?;
        let root = tempfile::Builder::new().prefix("machine-").tempdir_in(environment::target())?;
        let copied = Command::new("cp")
            .args(["--archive", "--no-target-directory"])
            .arg(&fresh)
            .arg(root.path())
            .status()?;
        if !copied.success() {
            bail!("cannot copy {}", fresh.display());
        }
        let name = root.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let mut container = Command::new("systemd-nspawn")
            // systemd wants all controllers in one hierarchy, or only its own; the host may have either.
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"])
            .args(["--console=pipe", "--capability=all"])
            // By default a container may not load programs.
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
        let init = shell::wait_for("the container's init", BOOT, || {
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
        shell::wait_for("the container to boot", BOOT, || {
            Ok(machine.run("systemctl is-system-running").ok())
        })?;
        Ok(machine)
    }

    /// Runs a script in the system and gives what it prints.
    pub fn run(&self, script: &str) -> Result<String> {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.init, "--mount", "--uts", "--ipc", "--net", "--pid"]);
        enter.args(["--cgroup", "--root", "--wd", "env", "--ignore-environment"]);
        enter.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]);
        let printed = shell::output(enter.args(["bash", "-ec", script]))
            .with_context(|| format!("in the container: {script}"))?;
        Ok(String::from_utf8_lossy(&printed.stdout).into_owned())
    }

    /// Where a path of the system is on this host.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    /// Copies a file to the system's `/root`.
    pub fn bring(&self, file: &Path, name: &str) -> Result<()> {
        fs::copy(file, self.path("/root").join(name))?;
        Ok(())
    }

    /// What the agent logged last, for errors.
    pub fn journal(&self) -> String {
        self.run("journalctl --no-pager --unit=dnscribe --lines=30")
            .unwrap_or_else(|error| format!("no journal: {error:#}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Without its init the whole system is gone.
        if let Ok(pid) = self.init.parse() {
            let _ = shell::signal_pid(pid, Signal::KILL);
        }
        if shell::wait(&mut self.container, Duration::from_secs(10)).is_err() {
            shell::end(&mut self.container);
        }
    }
}

/// A fresh system, made once for a list of packages.
fn fresh() -> Result<PathBuf> {
    let folder = environment::target().join(format!("debian-{SUITE}"));
    let list = folder.with_extension("packages");
    if folder.is_dir() && fs::read_to_string(&list).is_ok_and(|made| made == PACKAGES) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let making = folder.with_extension("making");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]).arg(&making);
    shell::output(&mut make).context("cannot make a fresh Debian")?;
    fs::rename(&making, &folder)?;
    fs::write(&list, PACKAGES)?;
    Ok(folder)
}
