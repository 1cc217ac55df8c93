//! The Flink jobs of the stack: builds their jar, prepares topics and stores, and submits them.

use super::flink::{Job, Submission};
use super::{Component, Stack};
use crate::{archive, environment, geo, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

/// Folders whose files are part of the jar.
const SOURCES: [&str; 3] = ["stream", "stores", "schemas"];
/// File with the configuration of the jobs.
const CONFIG: &str = "stream.yaml";
/// File with the ids of the jobs, one a line.
const IDS: &str = "jobs";
/// Name of the job that enriches transactions, and of its command.
pub const ENRICH: &str = "enrich";
/// Beginning of the names of the jobs that write a store; the store's name follows.
const STORE: &str = "store-";
/// Names of all jobs. The archive has one too where it is configured.
pub const JOBS: [&str; 5] =
    [ENRICH, "fleet", "store-clickhouse", "store-influxdb", "store-timescaledb"];

/// Words of the jar's command line that submit a job.
#[must_use]
pub fn arguments<'a>(job: &'a str, config: &'a str) -> Vec<&'a str> {
    match job.strip_prefix(STORE) {
        Some(store) => vec!["store", "--only", store, "--config", config],
        None => vec![job, "--config", config],
    }
}

/// Submits the jobs that do not run yet. `overrides` has keys of their configuration that replace
/// those of the stack.
pub fn submit(stack: &Stack, overrides: &Value) -> Result<()> {
    let flink = stack.flink()?;
    let running = own(stack)?;
    let config = configuration_of(stack, overrides)?;
    let stores = config["store"]["stores"].as_array().context("no stores")?;
    let stores = stores.iter().filter_map(Value::as_str).map(|store| format!("{STORE}{store}"));
    let wanted = [ENRICH, "fleet"].map(str::to_owned).into_iter().chain(stores);
    let missing: Vec<String> =
        wanted.filter(|name| running.iter().all(|job| job.name != *name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let jar = build()?;
    let file = stack.folder.join(CONFIG);
    // JSON is YAML.
    fs::write(&file, serde_json::to_string_pretty(&config)?)?;
    let config = file.to_str().context("a path that is not UTF-8")?;
    prepare(&file)?;
    flink.upload(&jar)?;
    let submitted = beside(&missing, |job| {
        let program_args_list = arguments(job, config);
        flink.submit(&jar, &Submission { program_args_list, ..Submission::default() })
    })?;
    remember(stack, running.into_iter().map(|job| job.id).chain(submitted))
}

/// Returns the jobs of the stack that have not ended. Tests may have jobs of the same names beside them.
pub fn own(stack: &Stack) -> Result<Vec<Job>> {
    let mut jobs = stack.flink()?.jobs()?;
    if let Ok(ids) = fs::read_to_string(stack.folder.join(IDS)) {
        jobs.retain(|job| ids.lines().any(|id| id == job.id));
    }
    Ok(jobs)
}

fn remember(stack: &Stack, ids: impl Iterator<Item = String>) -> Result<()> {
    let text: String = ids.map(|id| id + "\n").collect();
    fs::write(stack.folder.join(IDS), text).context("cannot store the ids of the jobs")
}

/// Runs something for each of these at the same time.
fn beside<T: Sync, R: Send>(all: &[T], run: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(move || run(one))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// Stops the jobs with a savepoint each and submits them again, from there, with this parallelism:
/// what an operator does for a new version of the jar.
pub fn upgrade(stack: &Stack, parallelism: u32) -> Result<()> {
    let flink = stack.flink()?;
    let jar = build()?;
    let config = stack.folder.join(CONFIG);
    let config = config.to_str().context("a path that is not UTF-8")?;
    flink.upload(&jar)?;
    let submitted = beside(&own(stack)?, |job| {
        let savepoint = flink.stop_with_savepoint(&job.id)?;
        let program_args_list = arguments(&job.name, config);
        let savepoint_path = Some(savepoint.as_str());
        let parallelism = Some(parallelism);
        flink.submit(&jar, &Submission { program_args_list, savepoint_path, parallelism })
    })?;
    remember(stack, submitted.into_iter())
}

/// Time limit of a backfill.
const BACKFILL: Duration = Duration::from_mins(5);

/// Runs the job of a store over the records that Kafka received in a span of RFC 3339 times, and waits for its end.
pub fn backfill(stack: &Stack, job: &str, from: &str, to: &str) -> Result<()> {
    let flink = stack.flink()?;
    let config = stack.folder.join(CONFIG);
    let config = config.to_str().context("a path that is not UTF-8")?;
    let mut program_args_list = arguments(job, config);
    program_args_list.extend(["--from", from, "--to", to]);
    let id = flink.submit(&build()?, &Submission { program_args_list, ..Submission::default() })?;
    shell::wait_for("the end of a backfill", BACKFILL, || {
        Ok(match flink.state(&id)?.as_str() {
            "FINISHED" => Some(()),
            "FAILED" | "CANCELED" => bail!("the backfill has failed"),
            _ => None,
        })
    })
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
    verify.env("DNSCRIBE_VERSITYGW", archive::server()?);
    Ok(verify)
}

fn maven() -> Command {
    let folder = environment::target().join("stream");
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q"]).arg(format!("-Dbuild.folder={}", folder.display()));
    // In other locales Java cannot open files whose path has letters beyond ASCII.
    maven.env("LC_ALL", "C.UTF-8").current_dir(environment::workspace().join("stream"));
    maven
}

/// Creates the topics and tables of a configuration.
pub fn prepare(config: &Path) -> Result<()> {
    thread::scope(|scope| {
        let topics = scope.spawn(|| run("topics", config));
        run("migrate", config)?;
        topics.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Runs a command of the jar that needs no Flink cluster.
pub fn run(command: &str, config: &Path) -> Result<()> {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-jar"]).arg(build()?).args([command, "--config"]);
    shell::output(java.arg(config)).map(drop)
}

/// Returns the configuration of the jobs.
fn configuration_of(stack: &Stack, overrides: &Value) -> Result<Value> {
    let url = |component| stack.address(component).and_then(|url| Some(url.as_str()?.to_owned()));
    let (clickhouse, timescaledb) = (url(Component::ClickHouse), url(Component::TimescaleDb));
    let brokers = stack.kafka().context("Kafka does not run")?;
    let mut config = configuration(&brokers, clickhouse.as_deref(), timescaledb.as_deref());
    let mut stores = config["store"]["stores"].take();
    let mut add = |store: &str| stores.as_array_mut().map(|stores| stores.push(store.into()));
    if let Some(mut influxdb) = stack.address(Component::InfluxDb) {
        // In development the token is no secret.
        add("influxdb");
        config["influxdb"] = influxdb.take();
    }
    if overrides["archive"]["path"].is_string() {
        add("archive");
    }
    config["store"]["stores"] = stores;
    if let Some(url) = url(Component::Alertmanager) {
        config["alertmanager"] = json!({ "urls": [url] });
    }
    merge(&mut config, overrides);
    Ok(config)
}

/// Configuration of the jobs with the stores that have an address.
#[must_use]
pub fn configuration(brokers: &str, clickhouse: Option<&str>, timescaledb: Option<&str>) -> Value {
    let mut stores = Vec::new();
    let mut config = json!({
        "version": 1,
        "kafka": { "brokers": brokers },
        "checkpoints": { "interval": "5s" },
    });
    if let Some(url) = clickhouse {
        config["clickhouse"] = json!({ "url": url });
        stores.push("clickhouse");
    }
    if let Some(url) = timescaledb {
        config["timescaledb"] = json!({ "url": jdbc(url) });
        stores.push("timescaledb");
    }
    config["store"] = json!({ "stores": stores });
    config
}

/// Returns the URL for JDBC of a database whose URL has a user.
#[must_use]
pub fn jdbc(url: &str) -> String {
    let database = url.rsplit_once('@').map_or(url, |(_, database)| database);
    format!("jdbc:postgresql://{database}")
}

/// Replaces keys of `config` by those of `overrides`, in all levels.
fn merge(config: &mut Value, overrides: &Value) {
    match (config, overrides) {
        (Value::Object(config), Value::Object(overrides)) => {
            for (key, value) in overrides {
                merge(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, value) => *config = value.clone(),
    }
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
