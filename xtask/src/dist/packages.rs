//! The .deb, the .rpm and the tarball. The manifest of the program's crate lists the files of the packages.

use super::archive::Archive;
use super::program::Program;
use super::stage::gzip;
use super::{Release, install_cargo_tool};
use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::process::cargo;
use anyhow::{Context as _, Result};
use dnscribe_tests::shell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Version of cargo-deb that builds the .deb.
const DEB_VERSION: &str = "3.8.0";
/// Version of cargo-generate-rpm that builds the .rpm.
const RPM_VERSION: &str = "0.21.1";

/// Builds the .deb.
pub fn debian(release: &Release) -> Result<()> {
    install_cargo_tool("cargo-deb", DEB_VERSION, &["deb", "--version"])?;
    let mut make = cargo();
    make.args(["deb", "--no-build", "--no-strip", "--package", release.program.name]);
    make.args(["--target", release.architecture.triple()]);
    make.env("SOURCE_DATE_EPOCH", release.epoch.to_string()).stdout(std::io::stderr());
    let Some(sysroot) = &release.sysroot else {
        return shell::pass_through(make.arg("--output").arg(&release.dist));
    };
    // cargo-deb looks up the packages of libraries on this host, which does not have those of another architecture.
    let folder = tempfile::tempdir()?;
    let unfinished = folder.path().join("unfinished");
    shell::pass_through(make.args(["--variant", "foreign", "--output"]).arg(&unfinished))?;
    let package =
        super::files(&unfinished)?.into_iter().find(|file| file.to_string_lossy().ends_with("deb"));
    let package = package.context("cargo-deb made no package")?;
    let needed = library_packages(release, sysroot)?;
    let tree = folder.path().join("tree");
    shell::output(Command::new("dpkg-deb").arg("--raw-extract").arg(&package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(
        &control,
        add_dependencies(&text, &needed).context("a package without dependencies")?,
    )?;
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree);
    pack.arg(release.dist.join(package.file_name().unwrap_or_default()));
    shell::output(pack.env("SOURCE_DATE_EPOCH", release.epoch.to_string()))?;
    Ok(())
}

/// Returns the packages of the program's libraries with the versions that it needs. dpkg-shlibdeps finds them in the
/// sysroot, which is presented to it as a package under construction.
fn library_packages(release: &Release, sysroot: &Sysroot) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let debian = folder.path().join("debian");
    fs::create_dir(&debian)?;
    fs::write(debian.join("control"), "")?;
    symlink(&sysroot.root, debian.join("sysroot"))?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.current_dir(folder.path()).env("DEB_HOST_ARCH", release.architecture.debian());
    let output = shell::output(command.arg("-O").arg(release.binary()))?;
    let output = String::from_utf8(output.stdout)?;
    let needed = output.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(needed.context("dpkg-shlibdeps found no dependencies")?.to_owned())
}

/// Adds dependencies to a control file; `None` if it has no line `Depends`.
fn add_dependencies(control: &str, more: &str) -> Option<String> {
    let (before, after) = control.split_once("\nDepends: ")?;
    Some(format!("{before}\nDepends: {more}, {after}"))
}

/// Builds the .rpm.
pub fn rpm(release: &Release) -> Result<()> {
    let revision = "1";
    rpm_of(release.program, release.architecture, release.epoch, revision, &release.dist)
}

/// Builds an .rpm of the stage folder into `folder`. `revision` is the release number of the package.
pub fn rpm_of(
    program: &Program,
    architecture: Architecture,
    epoch: u64,
    revision: &str,
    folder: &Path,
) -> Result<()> {
    install_cargo_tool("cargo-generate-rpm", RPM_VERSION, &["generate-rpm", "--version"])?;
    let mut make = cargo();
    make.args(["generate-rpm", "--package", program.folder, "--auto-req", "builtin"]);
    make.arg("--source-date").arg(epoch.to_string()).args(["--arch", architecture.machine()]);
    make.args(["--set-metadata", &format!("release = \"{revision}\"")]);
    make.arg("--output").arg(folder);
    shell::pass_through(make.stdout(std::io::stderr()))
}

/// Writes the tarball; unpacked at `/` it is an installation.
pub fn tarball(release: &Release) -> Result<()> {
    let name = release.name();
    let mut archive = Archive::new(release.epoch);
    archive.tree(&release.stage, &name)?;
    let path = release.dist.join(format!("{name}.tar.gz"));
    fs::write(path, gzip(&archive.finish()?)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_dependencies_to_control_file() {
        let control = "Package: dnscribe\nDepends: passwd\nSection: net\n";
        let expected = "Package: dnscribe\nDepends: libc6 (>= 2.34), passwd\nSection: net\n";
        assert_eq!(add_dependencies(control, "libc6 (>= 2.34)").as_deref(), Some(expected));
        assert_eq!(add_dependencies("Package: dnscribe\n", "libc6"), None);
    }
}
