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
    let helm = |words: &[&str], chart: &Path| {
        let mut helm = Command::new(manifests::helm()?);
        anyhow::Ok(shell::output(helm.args(words).arg(chart))?.stdout)
    };
    helm(&["lint", "--strict"], &file)?;
    let render = ["template", "dnscribe", "--kube-version", "1.34", "--set", "probe.enabled=true"];
    ensure!(
        helm(&render, &file)? == helm(&render, &chart)?,
        "the archive renders otherwise than the folder"
    );
    Ok(())
}
