//! The .deb, the .rpm and the tarball. What is in the packages stands in `agent/Cargo.toml`.

use super::archive::Archive;
use super::stage::compressed;
use super::{Release, tool};
use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::process::cargo;
use anyhow::{Context as _, Result};
use dnscribe_tests::shell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The cargo-deb that packages are made with.
const DEB_VERSION: &str = "3.8.0";
/// The cargo-generate-rpm that packages are made with.
const RPM_VERSION: &str = "0.21.1";

/// For Debian and its kin.
pub fn debian(release: &Release) -> Result<()> {
    tool("cargo-deb", DEB_VERSION, &["deb", "--version"])?;
    let mut make = cargo();
    make.args(["deb", "--no-build", "--no-strip", "--package", "dnscribe"]);
    make.args(["--target", release.architecture.triple()]);
    make.env("SOURCE_DATE_EPOCH", release.epoch.to_string()).stdout(std::io::stderr());
    let Some(sysroot) = &release.sysroot else {
        return shell::pass_through(make.arg("--output").arg(&release.dist));
    };
    // Which packages its libraries are in, cargo-deb would ask this host, which has none of them.
    let folder = tempfile::tempdir()?;
    let begun = folder.path().join("begun");
    shell::pass_through(make.args(["--variant", "foreign", "--output"]).arg(&begun))?;
    let package =
        super::files(&begun)?.into_iter().find(|file| file.to_string_lossy().ends_with("deb"));
    let package = package.context("cargo-deb made no package")?;
    let needed = needed(release, sysroot)?;
    let tree = folder.path().join("tree");
    shell::output(Command::new("dpkg-deb").arg("--raw-extract").arg(&package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(&control, depend(&text, &needed).context("a package without dependencies")?)?;
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree);
    pack.arg(release.dist.join(package.file_name().unwrap_or_default()));
    shell::output(pack.env("SOURCE_DATE_EPOCH", release.epoch.to_string()))?;
    Ok(())
}

/// The packages whose libraries the agent loads, with the versions that it needs: what dpkg-shlibdeps
/// finds where all of them are laid out as if they were being made.
fn needed(release: &Release, sysroot: &Sysroot) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let debian = folder.path().join("debian");
    fs::create_dir(&debian)?;
    fs::write(debian.join("control"), "")?;
    symlink(&sysroot.root, debian.join("sysroot"))?;
    let mut ask = Command::new("dpkg-shlibdeps");
    ask.current_dir(folder.path()).env("DEB_HOST_ARCH", release.architecture.debian());
    let told = shell::output(ask.arg("-O").arg(release.stage.join("usr/bin/dnscribe")))?;
    let told = String::from_utf8(told.stdout)?;
    let needed = told.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(needed.context("dpkg-shlibdeps finds that nothing is needed")?.to_owned())
}

/// A package's control file with more that it depends on.
fn depend(control: &str, more: &str) -> Option<String> {
    let (before, after) = control.split_once("\nDepends: ")?;
    Some(format!("{before}\nDepends: {more}, {after}"))
}

/// For Fedora and its kin.
pub fn rpm(release: &Release) -> Result<()> {
    let revision = "1";
    rpm_of(release.architecture, release.epoch, revision, &release.dist)
}

/// The .rpm of what is laid out, into a folder; `revision`: the version of the package.
pub fn rpm_of(architecture: Architecture, epoch: u64, revision: &str, folder: &Path) -> Result<()> {
    tool("cargo-generate-rpm", RPM_VERSION, &["generate-rpm", "--version"])?;
    let mut make = cargo();
    make.args(["generate-rpm", "--package", "agent", "--auto-req", "builtin", "--source-date"]);
    make.arg(epoch.to_string()).args(["--arch", architecture.machine()]);
    make.args(["--set-metadata", &format!("release = \"{revision}\"")]);
    make.arg("--output").arg(folder);
    shell::pass_through(make.stdout(std::io::stderr()))
}

/// For everybody else: unpacked at `/` it is an installation.
pub fn tarball(release: &Release) -> Result<()> {
    let name = release.name();
    let mut archive = Archive::new(release.epoch);
    archive.tree(&release.stage, &name)?;
    let path = release.dist.join(format!("{name}.tar.gz"));
    fs::write(path, compressed(&archive.finish()?)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_added() {
        let control = "Package: dnscribe\nDepends: passwd\nSection: net\n";
        let expected = "Package: dnscribe\nDepends: libc6 (>= 2.34), passwd\nSection: net\n";
        assert_eq!(depend(control, "libc6 (>= 2.34)").as_deref(), Some(expected));
        assert_eq!(depend("Package: dnscribe\n", "libc6"), None);
    }
}
