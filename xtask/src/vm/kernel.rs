//! Kernels from Debian's archive, unpacked below the target folder.

use crate::architecture::Architecture;
use crate::debian::{Apt, files, has_extension};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use dnscribe_tests::{cache, environment, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prefix of the package that depends on the newest kernel for virtual machines; the architecture follows.
const PACKAGE: &str = "linux-image-cloud-";
/// Prefixes of the packages of a kernel: one package, or several in later releases.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// Module for pairs of interfaces, which the guest needs.
const VETH: &str = "veth";
/// Modules for the guest, each after its dependencies: the network, and socket diagnostics, which other hosts
/// load on demand.
const MODULES: [&str; 4] = [VETH, "inet_diag", "udp_diag", "tcp_diag"];

/// A kernel that Debian maintains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Debian 11, too old
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13
    #[value(name = "6.12")]
    V6_12,
    /// Newest kernel for Debian 13 (backports)
    #[value(name = "newest")]
    Newest,
}

/// Files of a kernel.
#[derive(Clone, Debug)]
pub struct KernelFiles {
    /// Release as printed by `uname -r`, such as `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// Kernel image.
    pub image: PathBuf,
    /// Modules that the guest loads, in this order.
    pub modules: Vec<PathBuf>,
}

impl Kernel {
    /// Whether the agent can capture on it.
    pub const fn can_capture(self) -> bool {
        !matches!(self, Self::V5_10)
    }

    /// Whether Debian's archive has it. The oldest one for arm64 is listed there, but its file is missing.
    pub fn is_available(self, architecture: Architecture) -> bool {
        self != Self::V5_10 || architecture == Architecture::Amd64
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Part of the archive, and suite. The lists of security suites are small.
    const fn suite(self) -> (&'static str, &'static str) {
        match self {
            Self::V5_10 => ("debian-security", "bullseye-security"),
            Self::V6_1 => ("debian-security", "bookworm-security"),
            Self::V6_12 => ("debian-security", "trixie-security"),
            Self::Newest => ("debian", "trixie-backports"),
        }
    }

    /// Returns the files of the kernel; downloads them if they are not cached or if `refresh` is set.
    pub fn fetch(self, architecture: Architecture, refresh: bool) -> Result<KernelFiles> {
        const CACHE: &str = "vm/kernels";
        let name = format!("{}-{}", self.name(), architecture.debian());
        let there = environment::target().join(CACHE).join(&name);
        if refresh && there.exists() {
            fs::remove_dir_all(&there).with_context(|| there.display().to_string())?;
        }
        let what = || format!("cannot get Linux {name} from Debian's archive");
        let folder = cache::folder(CACHE, &name, |scratch| self.download(scratch, architecture))
            .with_context(what)?;
        let release = fs::read_to_string(folder.join("release"))?;
        let modules = MODULES.map(|name| folder.join(format!("{name}.ko"))).into_iter();
        let modules = modules.filter(|file| file.exists()).collect();
        Ok(KernelFiles { release, image: folder.join("vmlinuz"), modules })
    }

    fn download(self, scratch: &Path, architecture: Architecture) -> Result<()> {
        let apt = Apt::new(scratch, &[self.suite()], architecture)?;
        shell::output(apt.command("apt-get").args(["update", "-q"]))?;
        let packages = kernel_packages(&apt, &format!("{PACKAGE}{}", architecture.debian()))?;
        shell::output(apt.command("apt-get").args(["download", "-q"]).args(&packages))?;
        let unpacked = scratch.join("unpacked");
        for file in files(scratch)?.iter().filter(|file| has_extension(file, "deb")) {
            shell::output(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unpacked))?;
        }
        let ready = scratch.join("ready");
        fs::create_dir(&ready)?;
        // In the modules' folder, or in /boot with the release in its name.
        let image = find(&unpacked, &|name| name.starts_with("vmlinuz"))?;
        let image = image.context("no kernel in the packages")?;
        fs::copy(&image, ready.join("vmlinuz"))?;
        for name in MODULES {
            let file = format!("{name}.ko");
            let Some(module) = find(&unpacked, &|name| name.starts_with(&file))? else {
                // The others may be built in.
                ensure!(name != VETH, "no module {VETH} in the packages");
                continue;
            };
            let release = release(&module).context("a module outside of lib/modules")?;
            fs::write(ready.join("release"), release)?;
            if has_extension(&module, "xz") {
                shell::output(Command::new("xz").arg("--decompress").arg(&module))?;
            }
            fs::copy(module.with_file_name(&file), ready.join(&file))?;
        }
        Ok(())
    }
}

/// Returns the packages of a kernel, found by the dependencies of `package`.
fn kernel_packages(apt: &Apt, package: &str) -> Result<Vec<String>> {
    let mut parts = vec![package.to_owned()];
    let mut next = 0;
    while let Some(package) = parts.get(next).cloned() {
        next += 1;
        let shown = shell::output(apt.command("apt-cache").args(["show", "-q", &package]))?;
        for part in kernel_dependencies(&String::from_utf8_lossy(&shown.stdout)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    // The first package has no files.
    Ok(parts.split_off(1))
}

/// Returns the kernel packages that the first package in the output of `apt-cache show` depends on.
fn kernel_dependencies(shown: &str) -> Vec<String> {
    let line = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or("");
    line.split(", ")
        .filter_map(|package| package.split(' ').next())
        .filter(|name| PARTS.iter().any(|part| name.starts_with(part)))
        .map(ToOwned::to_owned)
        .collect()
}

/// Returns the kernel release of a module.
fn release(module: &Path) -> Option<&str> {
    let mut parts = module.iter().skip_while(|part| *part != "modules");
    parts.nth(1)?.to_str()
}

/// Returns a file below a folder whose name fulfils a condition.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in files(&folder)? {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.file_name().and_then(|name| name.to_str()).is_some_and(wanted) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_release_from_path_of_module() {
        let file = Path::new("/a/usr/lib/modules/7.2-cloud/kernel/drivers/net/veth.ko.xz");
        assert_eq!(release(file), Some("7.2-cloud"));
        assert_eq!(release(Path::new("/a/veth.ko")), None);
    }

    #[test]
    fn finds_kernel_packages_in_dependencies() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 7.2.12-1\n\
                     Depends: linux-base-cloud-amd64 (= 7.2.12-1), linux-image-7.2.12-amd64 (= 7.2.12-1)\n\n\
                     Package: linux-image-cloud-amd64\nDepends: linux-image-7.1-amd64\n";
        assert_eq!(kernel_dependencies(shown), ["linux-image-7.2.12-amd64"]);
        let shown = "Depends: linux-binary-7.2-amd64 (= 7), linux-modules-7.2-amd64 (= 7), kmod\n";
        assert_eq!(
            kernel_dependencies(shown),
            ["linux-binary-7.2-amd64", "linux-modules-7.2-amd64"]
        );
        assert_eq!(kernel_dependencies("Package: linux-modules-7.2\n"), [""; 0]);
    }
}
