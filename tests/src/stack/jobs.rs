//! The Flink jobs of the stack: builds their jar, prepares topics and stores, and submits them.

use super::{Component, Stack};
use crate::{environment, geo, shell};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Folders whose files are part of the jar.
const SOURCES: [&str; 3] = ["stream", "stores", "schemas"];
/// Name of the job and of its command.
const ENRICH: &str = "enrich";

/// Submits the jobs that do not run yet. `clickhouse` has more settings of that store.
pub fn submit(stack: &Stack, clickhouse: &[(&str, &str)]) -> Result<()> {
    let flink = stack.flink()?;
    if flink.jobs()?.iter().any(|(name, _)| name == ENRICH) {
        return Ok(());
    }
    let jar = build()?;
    let config = configure(stack, clickhouse)?;
    let config = config.to_str().context("a path that is not UTF-8")?;
    for command in ["topics", "migrate"] {
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-jar"])
            .arg(&jar)
            .args([command, "--config", config]);
        shell::output(&mut java)?;
    }
    flink.submit(&jar, &[ENRICH, "--config", config])?;
    Ok(())
}

/// Builds the jar, unless it is newer than its sources. Returns its path.
pub fn build() -> Result<PathBuf> {
    let folder = environment::target().join("stream");
    let jar = folder.join("dnscribe-stream.jar");
    let sources = SOURCES.map(|name| newest(&environment::workspace().join(name)));
    let newest = sources.into_iter().collect::<Result<Vec<_>>>()?.into_iter().max();
    if jar.metadata().and_then(|file| file.modified()).ok() > newest {
        return Ok(jar);
    }
    eprintln!("building dnscribe-stream.jar");
    let mut package = maven();
    shell::output(package.args(["package", "-DskipTests"]))
        .context("cannot build the Flink jobs")?;
    Ok(jar)
}

/// Returns the command that runs the jobs' own tests and checks their format.
pub fn unit_tests() -> Result<Command> {
    let mut verify = maven();
    verify.arg("verify").env("DNSCRIBE_MMDB", geo::prepare()?);
    Ok(verify)
}

fn maven() -> Command {
    let folder = environment::target().join("stream");
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q"]).arg(format!("-Dbuild.folder={}", folder.display()));
    maven.current_dir(environment::workspace().join("stream"));
    maven
}

/// Writes the configuration of the jobs; returns its path.
fn configure(stack: &Stack, clickhouse: &[(&str, &str)]) -> Result<PathBuf> {
    let mut sinks = vec!["enriched"];
    let mut config = json!({
        "version": 1,
        "kafka": { "brokers": stack.kafka().context("Kafka does not run")? },
        "checkpoints": { "interval": "5s" },
    });
    if let Some(url) = stack.address(Component::ClickHouse) {
        config["clickhouse"] = json!({ "url": url });
        for (key, value) in clickhouse {
            config["clickhouse"][key] = json!(value);
        }
        sinks.push("clickhouse");
    }
    if let Some(url) = stack.address(Component::TimescaleDb) {
        let url = url.as_str().unwrap_or_default();
        let database = url.rsplit_once('@').map_or(url, |(_, database)| database);
        config["timescaledb"] = json!({ "url": format!("jdbc:postgresql://{database}") });
        sinks.push("timescaledb");
    }
    config["enrich"] = json!({ "sinks": sinks });
    let file = stack.folder.join("stream.yaml");
    // JSON is YAML.
    fs::write(&file, serde_json::to_string_pretty(&config)?)?;
    Ok(file)
}

/// Time of the last change below a folder.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let time =
            if path.is_dir() { self::newest(&path)? } else { path.metadata()?.modified()? };
        newest = newest.max(time);
    }
    Ok(newest)
}
