//! Kafka's program files, from Maven Central.

use super::VERSION;
use crate::{environment, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with Kafka's jars, filled where it is not there yet.
pub fn libraries() -> Result<PathBuf> {
    let cache = environment::target().join("kafka");
    let libraries = cache.join(VERSION);
    if libraries.is_dir() {
        return Ok(libraries);
    }
    fs::create_dir_all(&cache)?;
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the Kafka cache")?;
    // Another process may have filled it meanwhile.
    if !libraries.is_dir() {
        fetch(&cache, &libraries)?;
    }
    Ok(libraries)
}

fn fetch(cache: &Path, libraries: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(cache)?;
    fs::write(scratch.path().join("pom.xml"), pom())?;
    let output = format!("-DoutputDirectory={}", scratch.path().join("jars").display());
    let words = ["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", &output];
    shell::output(Command::new("mvn").args(words).current_dir(scratch.path()))
        .context("cannot get Kafka from Maven Central")?;
    // Into its place in one step, so that a half-filled folder never counts.
    fs::rename(scratch.path().join("jars"), libraries).context("cannot store Kafka")
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>dnscribe</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{}{}{}</dependencies></project>\n",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.apache.kafka", "kafka-tools", VERSION),
        dependency("org.slf4j", "slf4j-simple", "1.7.36"),
    )
}
