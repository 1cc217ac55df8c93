//! Kafka's program files, from Maven Central.

use super::VERSION;
use crate::{cache, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder with Kafka's jars; downloads them if they are missing.
pub fn libraries() -> Result<PathBuf> {
    cache::folder("kafka", VERSION, fetch)
}

fn fetch(scratch: &Path) -> Result<()> {
    fs::write(scratch.join("pom.xml"), pom())?;
    let output = format!("-DoutputDirectory={}", scratch.join("ready").display());
    let words = ["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", &output];
    shell::output(Command::new("mvn").args(words).current_dir(scratch))
        .context("cannot get Kafka from Maven Central")
        .map(drop)
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
