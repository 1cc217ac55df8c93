//! The chart as an archive.

use crate::dist::{Archive, epoch, gzip};
use anyhow::{Result, ensure};
use dnscribe_tests::{environment, manifests, shell};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes `dnscribe-VERSION.tgz`. Helm's own archives have the time at which they are made.
pub fn write(folder: &Path) -> Result<()> {
    let chart = environment::workspace().join("deploy/helm/dnscribe");
    let mut archive = Archive::new(epoch()?);
    archive.tree(&chart, "dnscribe")?;
    let version = env!("CARGO_PKG_VERSION");
    let file = folder.join(format!("dnscribe-{version}.tgz"));
    fs::create_dir_all(folder)?;
    fs::write(&file, gzip(&archive.finish()?)?)?;
    let helm = |words: &[&str]| {
        let mut helm = Command::new(manifests::helm()?);
        let output = shell::output(helm.args(words).arg(&file))?;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    helm(&["lint", "--strict"])?;
    let from_archive =
        helm(&["template", "dnscribe", "--kube-version", "1.34", "--set", "probe.enabled=true"])?;
    let mut from_folder = Command::new(manifests::helm()?);
    from_folder
        .args(["template", "dnscribe", "--kube-version", "1.34", "--set", "probe.enabled=true"])
        .arg(&chart);
    let from_folder = shell::output(&mut from_folder)?.stdout;
    ensure!(
        from_archive.as_bytes() == from_folder,
        "the archive renders otherwise than the folder"
    );
    Ok(())
}
