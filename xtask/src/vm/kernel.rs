//! Kernels from Debian's archive, unpacked below the target folder.

use crate::architecture::Architecture;
use crate::debian::{Apt, files, has_extension};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use dnscribe_tests::{cache, environment, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Depends on the newest kernel of a release of Debian, in the build for virtual machines: this and
/// the architecture.
const PACKAGE: &str = "linux-image-cloud-";
/// What a kernel is packed in: with everything, or, in later releases, apart.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// Pairs of interfaces, without which there is no guest.
const VETH: &str = "veth";
/// The modules that are taken, each behind those that it needs: for the network, and to ask who has a
/// socket, for which other hosts load them when they are asked.
const MODULES: [&str; 4] = [VETH, "inet_diag", "udp_diag", "tcp_diag"];

/// A kernel that Debian maintains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Of Debian 11, too old
    #[value(name = "5.10")]
    V5_10,
    /// Of Debian 12
    #[value(name = "6.1")]
    V6_1,
    /// Of Debian 13
    #[value(name = "6.12")]
    V6_12,
    /// The newest for Debian 13
    #[value(name = "newest")]
    Newest,
}

/// What of a kernel is needed.
#[derive(Clone, Debug)]
pub struct Files {
    /// Such as `6.1.0-56-cloud-amd64`, as `uname -r` has it.
    pub release: String,
    /// The kernel.
    pub image: PathBuf,
    /// Those of its modules that the guest needs, in the order in which they are to be loaded.
    pub modules: Vec<PathBuf>,
}

impl Kernel {
    /// Whether the agent can capture on it.
    pub const fn can_capture(self) -> bool {
        !matches!(self, Self::V5_10)
    }

    /// Whether Debian's archive has it: the oldest for arm64 is listed there and missing.
    pub fn is_to_be_had(self, architecture: Architecture) -> bool {
        self != Self::V5_10 || architecture == Architecture::Amd64
    }

    /// Whether packets tell their sender without the kernel's types: since 6.16.
    pub const fn tells_sender(self) -> bool {
        matches!(self, Self::Newest)
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

    /// The part of the archive and the suite that it comes from. Those of security fixes are small.
    const fn suite(self) -> (&'static str, &'static str) {
        match self {
            Self::V5_10 => ("debian-security", "bullseye-security"),
            Self::V6_1 => ("debian-security", "bookworm-security"),
            Self::V6_12 => ("debian-security", "trixie-security"),
            Self::Newest => ("debian", "trixie-backports"),
        }
    }

    /// Its files, which are downloaded where they are not there yet, or on request.
    pub fn fetch(self, architecture: Architecture, refresh: bool) -> Result<Files> {
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
        Ok(Files { release, image: folder.join("vmlinuz"), modules })
    }

    fn download(self, scratch: &Path, architecture: Architecture) -> Result<()> {
        let apt = Apt::new(scratch, &[self.suite()], architecture)?;
        shell::output(apt.command("apt-get").args(["update", "-q"]))?;
        let packages = parts_of(&apt, &format!("{PACKAGE}{}", architecture.debian()))?;
        shell::output(apt.command("apt-get").args(["download", "-q"]).args(&packages))?;
        let unpacked = scratch.join("unpacked");
        for file in files(scratch)?.iter().filter(|file| has_extension(file, "deb")) {
            shell::output(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unpacked))?;
        }
        let ready = scratch.join("ready");
        fs::create_dir(&ready)?;
        // Beside the modules, or in /boot with the release in its name.
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
            let release = release(&module).context("a module outside of the folder of modules")?;
            fs::write(ready.join("release"), release)?;
            if has_extension(&module, "xz") {
                shell::output(Command::new("xz").arg("--decompress").arg(&module))?;
            }
            fs::copy(module.with_file_name(&file), ready.join(&file))?;
        }
        Ok(())
    }
}

/// The packages that a kernel is in, by one that depends on it.
fn parts_of(apt: &Apt, package: &str) -> Result<Vec<String>> {
    let mut parts = vec![package.to_owned()];
    let mut next = 0;
    while let Some(package) = parts.get(next).cloned() {
        next += 1;
        let shown = shell::output(apt.command("apt-cache").args(["show", "-q", &package]))?;
        for part in depends(&String::from_utf8_lossy(&shown.stdout)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    // There is nothing in what was begun with.
    Ok(parts.split_off(1))
}

/// The parts of a kernel that the first of some packages, as apt-cache shows them, depends on.
fn depends(shown: &str) -> Vec<String> {
    let line = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or("");
    line.split(", ")
        .filter_map(|one| one.split(' ').next())
        .filter(|name| PARTS.iter().any(|part| name.starts_with(part)))
        .map(ToOwned::to_owned)
        .collect()
}

/// The release that a module is for.
fn release(module: &Path) -> Option<&str> {
    let mut parts = module.iter().skip_while(|part| *part != "modules");
    parts.nth(1)?.to_str()
}

/// A file below a folder whose name is as wanted, if there is one.
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
    fn a_release_is_a_folder_of_modules() {
        let file = Path::new("/a/usr/lib/modules/7.2-cloud/kernel/drivers/net/veth.ko.xz");
        assert_eq!(release(file), Some("7.2-cloud"));
        assert_eq!(release(Path::new("/a/veth.ko")), None);
    }

    #[test]
    fn a_kernel_is_followed_to_its_parts() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 7.2.12-1\n\
                     Depends: linux-base-cloud-amd64 (= 7.2.12-1), linux-image-7.2.12-amd64 (= 7.2.12-1)\n\n\
                     Package: linux-image-cloud-amd64\nDepends: linux-image-7.1-amd64\n";
        assert_eq!(depends(shown), ["linux-image-7.2.12-amd64"]);
        let shown = "Depends: linux-binary-7.2-amd64 (= 7), linux-modules-7.2-amd64 (= 7), kmod\n";
        assert_eq!(depends(shown), ["linux-binary-7.2-amd64", "linux-modules-7.2-amd64"]);
        assert_eq!(depends("Package: linux-modules-7.2\n"), [""; 0]);
    }
}
