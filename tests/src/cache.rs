//! Third-party programs that tests use, stored below the target folder.

use crate::{environment, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder `NAME/VERSION` below the target folder. If it is missing, calls `fill` with
/// an empty folder, and moves the subfolder `ready` that `fill` creates to this place.
pub fn folder(
    name: &str,
    version: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = environment::target().join(name);
    let folder = cache.join(version);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock().with_context(|| format!("cannot lock {}", cache.display()))?;
    // Another process may have filled it meanwhile.
    if !folder.is_dir() {
        eprintln!("downloading {name} {version} (once)");
        let scratch = tempfile::tempdir_in(&cache)?;
        fill(scratch.path())?;
        // Moved in one step, so that a half-filled folder is never used.
        fs::rename(scratch.path().join("ready"), &folder)
            .with_context(|| format!("cannot store {}", folder.display()))?;
    }
    Ok(folder)
}

/// Creates a Python environment with the packages of a requirements file.
pub fn python(scratch: &Path, requirements: &Path) -> Result<()> {
    python_with(scratch, requirements, &[])
}

/// Like [`python`], without the packages that the listed ones depend on.
pub fn python_alone(scratch: &Path, requirements: &Path) -> Result<()> {
    python_with(scratch, requirements, &["--no-deps"])
}

fn python_with(scratch: &Path, requirements: &Path, options: &[&str]) -> Result<()> {
    let ready = scratch.join("ready");
    shell::output(Command::new("python3").args(["-m", "venv"]).arg(&ready))
        .context("cannot make a Python environment; on Debian and Ubuntu: python3-venv")?;
    // Binary packages only: compiling would be slow and needs more tools.
    let words = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:"];
    let mut install = Command::new(ready.join("bin/python"));
    install.args(words).args(options).arg("--requirement").arg(requirements);
    let what = || format!("cannot get the packages of {} from PyPI", requirements.display());
    shell::output(&mut install).with_context(what).map(drop)
}

/// Downloads the packages of the `package-lock.json` in a folder, into `node_modules`. Their scripts do not run.
pub fn npm(scratch: &Path, folder: &Path) -> Result<()> {
    let ready = scratch.join("ready");
    fs::create_dir(&ready)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(folder.join(name), ready.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    shell::output(Command::new("npm").args(words).current_dir(&ready))
        .with_context(|| format!("cannot get the packages of {} from npm", folder.display()))
        .map(drop)
}

/// Downloads a Maven artefact (`GROUP:ARTIFACT:VERSION`) without what it depends on.
pub fn maven_alone(scratch: &Path, artefact: &str) -> Result<()> {
    let mut copy = Command::new("mvn");
    copy.args(["-B", "-q", "dependency:copy", &format!("-Dartifact={artefact}")]);
    copy.arg(format!("-DoutputDirectory={}", scratch.join("ready").display()));
    shell::output(copy.current_dir(scratch))
        .with_context(|| format!("cannot get {artefact} from Maven Central"))
        .map(drop)
}

/// Downloads Maven artefacts (`GROUP:ARTIFACT:VERSION`) with all that they depend on.
pub fn maven(scratch: &Path, artefacts: &[String]) -> Result<()> {
    let dependency = |artefact: &String| {
        let mut parts = artefact.split(':');
        let mut next = || parts.next().unwrap_or_default();
        format!(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId>\
             <version>{}</version></dependency>",
            next(),
            next(),
            next()
        )
    };
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>dnscribe</groupId><artifactId>programs</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{}</dependencies></project>\n",
        artefacts.iter().map(dependency).collect::<String>()
    );
    fs::write(scratch.join("pom.xml"), pom)?;
    let output = format!("-DoutputDirectory={}", scratch.join("ready").display());
    let words = ["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", &output];
    shell::output(Command::new("mvn").args(words).current_dir(scratch))
        .with_context(|| format!("cannot get {} from Maven Central", artefacts.join(", ")))
        .map(drop)
}
