//! A second build that must give the same bytes.

use super::{Args, artifacts, chart};
use crate::{console, dist};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Folders of the target folder with what is downloaded, not built.
const DOWNLOADS: [&str; 1] = ["sysroot"];

/// Builds all artifacts again from nothing, in another target folder, time zone and language, and compares them.
pub fn build_again(args: &Args) -> Result<()> {
    let target = environment::target();
    let again = target.join("again");
    if again.exists() {
        fs::remove_dir_all(&again)?;
    }
    fs::create_dir_all(&again)?;
    for name in DOWNLOADS {
        symlink(target.join(name), again.join(name))?;
    }
    let mut build = Command::new(std::env::current_exe().context("cannot find this program")?);
    build.arg("dist").args(["--profile", &args.profile]);
    let dist = args.dist();
    build.args(
        dist.architectures().iter().flat_map(|architecture| ["--arch", architecture.debian()]),
    );
    build.env("CARGO_TARGET_DIR", &again).env("TZ", "Asia/Kathmandu").env("LC_ALL", "C");
    build.env("SOURCE_DATE_EPOCH", dist::epoch()?.to_string());
    shell::pass_through(&mut build)?;
    let folder = again.join("dist");
    chart::write(&folder)?;
    compare(&dist::folder(), &folder)
}

/// Compares the artifacts of two folders.
fn compare(first: &std::path::Path, second: &std::path::Path) -> Result<()> {
    // What the build itself makes.
    let is_built = |name: &str| !name.starts_with("SHA256SUMS") && !name.ends_with(".intoto.json");
    let (first, second) = (artifacts(first, is_built)?, artifacts(second, is_built)?);
    let names =
        |list: &[(String, Vec<u8>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(&first) != names(&second) {
        bail!("other artifacts: {:?} and {:?}", names(&first), names(&second));
    }
    let pairs = first.iter().zip(&second);
    let different: Vec<&str> =
        pairs.filter(|(one, other)| one.1 != other.1).map(|(one, _)| one.0.as_str()).collect();
    if !different.is_empty() {
        bail!("not the same bytes: {}", different.join(", "));
    }
    console::result(&format!("release: {} artifacts are the same, bit for bit", first.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_a_difference() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, sums) in [(&one, "a"), (&other, "b")] {
            fs::write(folder.path().join("SHA256SUMS"), sums).unwrap();
            fs::write(folder.path().join("dnscribe.deb"), "package").unwrap();
        }
        compare(one.path(), other.path()).unwrap();
        fs::write(other.path().join("dnscribe.deb"), "packagf").unwrap();
        let error = compare(one.path(), other.path()).unwrap_err().to_string();
        assert!(error.contains("dnscribe.deb"), "{error}");
        fs::remove_file(other.path().join("dnscribe.deb")).unwrap();
        fs::write(other.path().join("dnscribe.rpm"), "package").unwrap();
        assert!(compare(one.path(), other.path()).is_err());
    }
}
