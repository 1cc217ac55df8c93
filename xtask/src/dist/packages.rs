//! The .deb, the .rpm and the tarball. What is in the packages stands in `agent/Cargo.toml`.

use super::archive::Archive;
use super::stage::compressed;
use super::{Release, architecture, tool};
use crate::process::cargo;
use anyhow::Result;
use dnscribe_tests::shell;
use std::fs;

/// The cargo-deb that packages are made with.
const DEB_VERSION: &str = "3.8.0";
/// The cargo-generate-rpm that packages are made with.
const RPM_VERSION: &str = "0.21.1";

/// For Debian and its kin.
pub fn debian(release: &Release) -> Result<()> {
    tool("cargo-deb", DEB_VERSION, &["deb", "--version"])?;
    let mut make = cargo();
    make.args(["deb", "--no-build", "--no-strip", "--package", "dnscribe", "--output"]);
    make.arg(&release.dist).env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    shell::pass_through(make.stdout(std::io::stderr()))
}

/// For Fedora and its kin.
pub fn rpm(release: &Release) -> Result<()> {
    tool("cargo-generate-rpm", RPM_VERSION, &["generate-rpm", "--version"])?;
    let mut make = cargo();
    make.args(["generate-rpm", "--package", "agent", "--auto-req", "builtin", "--source-date"]);
    make.arg(release.epoch.to_string()).arg("--output").arg(&release.dist);
    shell::pass_through(make.stdout(std::io::stderr()))
}

/// For everybody else: unpacked at `/` it is an installation.
pub fn tarball(release: &Release) -> Result<()> {
    let (_, machine) = architecture()?;
    let name = format!("dnscribe-{}-linux-{machine}", release.version);
    let mut archive = Archive::new(release.epoch);
    archive.tree(&release.stage, &name)?;
    let path = release.dist.join(format!("{name}.tar.gz"));
    fs::write(path, compressed(&archive.finish()?)?)?;
    Ok(())
}
