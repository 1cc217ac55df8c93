//! Apache Flink: a session cluster of one job manager and one task manager, from Maven Central.

use super::service::{Service, free_address};
use crate::{cache, http, shell};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Version of Flink.
pub const VERSION: &str = "2.3.0";
/// Version of the logging library that Flink's own distribution has.
const LOG4J: &str = "2.24.3";
/// Artefacts of Flink that a cluster needs. There is no artefact of the whole distribution.
const ARTEFACTS: [&str; 12] = [
    "flink-clients",
    "flink-streaming-java",
    "flink-connector-base",
    "flink-runtime-web",
    "flink-table-api-java-bridge",
    "flink-table-planner-loader",
    "flink-table-runtime",
    "flink-json",
    "flink-connector-files",
    "flink-connector-datagen",
    "flink-statebackend-rocksdb",
    "flink-metrics-prometheus",
];
/// Port of the job manager's REST interface.
const REST_PORT: u16 = 8081;
/// Port on which task managers reach the job manager.
const RPC_PORT: u16 = 6123;
/// First port of the Prometheus reporters.
const METRICS_PORT: u16 = 9249;
/// Number of ports for Prometheus reporters: one for each process.
const REPORTERS: u16 = 2;
/// Time limit for a task manager's registration, on a busy machine.
const REGISTRATION: Duration = Duration::from_secs(60);
/// Packages of the JDK that Flink needs access to, as in its own configuration.
const OPENS: [&str; 12] = [
    "java.lang",
    "java.net",
    "java.io",
    "java.nio",
    "sun.nio.ch",
    "java.lang.reflect",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
];

/// A cluster that runs in the background.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flink {
    job_manager: Service,
    task_manager: Service,
    /// Address of the first of the Prometheus reporters.
    metrics: SocketAddr,
}

/// Downloads Flink if it is missing.
pub fn prepare() -> Result<PathBuf> {
    let flink = ARTEFACTS.iter().map(|name| format!("org.apache.flink:{name}:{VERSION}"));
    let log4j = ["log4j-slf4j-impl", "log4j-core"];
    let log4j = log4j.iter().map(|name| format!("org.apache.logging.log4j:{name}:{LOG4J}"));
    let all: Vec<String> = flink.chain(log4j).collect();
    cache::folder("flink", VERSION, |scratch| cache::maven(scratch, &all))
}

impl Flink {
    /// Starts a cluster. Checkpoints, logs and its configuration are written to `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (rest, rpc) = (free_address(REST_PORT)?, free_address(RPC_PORT)?);
        let metrics = free_address(METRICS_PORT)?;
        fs::write(folder.join("config.yaml"), configuration(folder, rest, rpc, metrics)?)?;
        fs::write(folder.join("log4j2.properties"), LOGGING)?;
        let job_manager = start_job_manager(folder, rest)?;
        // A task manager that starts first waits ten seconds before its second attempt.
        match start_task_manager(folder, rest) {
            Ok(task_manager) => Ok(Self { job_manager, task_manager, metrics }),
            Err(error) => {
                job_manager.kill()?;
                Err(error)
            }
        }
    }

    /// Address of the REST interface.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.job_manager.address
    }

    /// Addresses that the Prometheus reporters of both processes may have: each takes the first that
    /// is free.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let (ip, port) = (self.metrics.ip(), self.metrics.port());
        (port..port + REPORTERS).map(|port| format!("{ip}:{port}")).collect()
    }

    /// Returns whether both processes run.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.job_manager.runs() && self.task_manager.runs()
    }

    /// Ends both processes. State since the last checkpoint or savepoint is lost.
    pub fn stop(&self) -> Result<()> {
        self.task_manager.stop(Signal::TERM)?;
        self.job_manager.stop(Signal::TERM)
    }

    /// Kills the task manager. Its jobs restart once [`Flink::start_task_manager`] was called and the
    /// job manager has missed its heartbeats.
    pub fn kill_task_manager(&self) -> Result<()> {
        self.task_manager.kill()
    }

    /// Starts a task manager in place of one that has ended.
    pub fn start_task_manager(&mut self, folder: &Path) -> Result<()> {
        self.task_manager = start_task_manager(folder, self.address())?;
        Ok(())
    }

    /// Runs a jar's main class with these arguments; returns the id of the job that it starts.
    pub fn submit(&self, jar: &Path, arguments: &[&str]) -> Result<String> {
        let boundary = "dnscribe-boundary";
        let name = jar.file_name().context("no file name")?.to_string_lossy();
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"jarfile\"; filename=\"{name}\"\r\n\
             Content-Type: application/x-java-archive\r\n\r\n"
        )
        .into_bytes();
        body.extend(fs::read(jar).with_context(|| jar.display().to_string())?);
        body.extend(format!("\r\n--{boundary}--\r\n").bytes());
        let kind = format!("Content-Type: multipart/form-data; boundary={boundary}\r\n");
        let uploaded = self.request("POST", "/jars/upload", &kind, &body)?;
        let id = uploaded["filename"].as_str().and_then(|file| file.rsplit('/').next());
        let id = id.with_context(|| format!("no name in {uploaded}"))?;
        let run = json!({ "programArgsList": arguments }).to_string();
        let kind = "Content-Type: application/json\r\n";
        let path = format!("/jars/{id}/run");
        let job = self.request("POST", &path, kind, run.as_bytes())?;
        let job = job["jobid"].as_str().with_context(|| format!("no job in {job}"))?;
        Ok(job.to_owned())
    }

    /// Jobs that have not ended: names and states.
    pub fn jobs(&self) -> Result<Vec<(String, String)>> {
        let overview = self.request("GET", "/jobs/overview", "", b"")?;
        let jobs = overview["jobs"].as_array().context("no list of jobs")?;
        let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
        let states = jobs.iter().map(|job| (text(job, "name"), text(job, "state")));
        let ended = |state: &str| matches!(state, "FINISHED" | "CANCELED" | "FAILED");
        Ok(states.filter(|(_, state)| !ended(state)).collect())
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Value> {
        let answer = http::send(self.address(), method, path, headers, body)?;
        if answer.status >= 300 {
            bail!("Flink refuses {method} {path} ({}): {}", answer.status, answer.body);
        }
        Ok(serde_json::from_str(&answer.body)?)
    }
}

fn start_job_manager(folder: &Path, rest: SocketAddr) -> Result<Service> {
    let main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint";
    let command = java(folder, "jobmanager", &["-Xmx320m"], main)?;
    Service::start(command, rest, &folder.join("jobmanager.out"), || {
        http::get(rest, None, "/overview").is_ok_and(|(status, _)| status == 200)
    })
}

fn start_task_manager(folder: &Path, rest: SocketAddr) -> Result<Service> {
    // A killed one stays registered until its heartbeats are missed.
    let registered = || -> Option<Vec<String>> {
        let (_, body) = http::get(rest, None, "/taskmanagers").ok()?;
        let list: Value = serde_json::from_str(&body).ok()?;
        let id = |one: &Value| one["id"].as_str().map(str::to_owned);
        list["taskmanagers"].as_array()?.iter().map(id).collect()
    };
    let before = registered().unwrap_or_default();
    let main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner";
    let heap = ["-Xmx640m", "-XX:MaxDirectMemorySize=256m", "-XX:MaxMetaspaceSize=256m"];
    let command = java(folder, "taskmanager", &heap, main)?;
    let service = Service::start(command, rest, &folder.join("taskmanager.out"), || true)?;
    let wait = shell::wait_for("the task manager's registration", REGISTRATION, || {
        if !service.runs() {
            bail!("it ended; see {}", folder.join("taskmanager.log").display());
        }
        let now = registered().unwrap_or_default();
        Ok(now.iter().any(|id| !before.contains(id)).then_some(()))
    });
    if wait.is_err() {
        service.kill()?;
    }
    wait.map(|()| service)
}

fn java(folder: &Path, name: &str, heap: &[&str], main: &str) -> Result<Command> {
    if shell::which("java").is_none() {
        bail!("Flink needs java 17; on Debian and Ubuntu: apt-get install default-jre-headless");
    }
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-Xshare:auto"]).args(heap);
    for package in OPENS {
        command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    command.arg("--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED");
    command.arg(format!("-Dlog.file={}", folder.join(name).with_extension("log").display()));
    command
        .arg(format!("-Dlog4j.configurationFile={}", folder.join("log4j2.properties").display()));
    command.arg("-cp").arg(prepare()?.join("*")).arg(main);
    command.arg("--configDir").arg(folder);
    Ok(command)
}

/// Configuration of both processes. The sizes of a task manager's memory are those that Flink's
/// start script would compute.
fn configuration(
    folder: &Path,
    rest: SocketAddr,
    rpc: SocketAddr,
    metrics: SocketAddr,
) -> Result<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let configuration = json!({
        "jobmanager.rpc.address": rpc.ip().to_string(),
        "jobmanager.rpc.port": rpc.port(),
        "jobmanager.bind-host": rpc.ip().to_string(),
        "rest.address": rest.ip().to_string(),
        "rest.bind-address": rest.ip().to_string(),
        "rest.port": rest.port(),
        "web.upload.dir": path("jars"),
        "taskmanager.host": rpc.ip().to_string(),
        "taskmanager.bind-host": rpc.ip().to_string(),
        "taskmanager.numberOfTaskSlots": 4,
        "taskmanager.cpu.cores": 2,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.task.heap.size": "512m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.off-heap.size": "0",
        "taskmanager.memory.network.min": "96m",
        "taskmanager.memory.network.max": "96m",
        "taskmanager.memory.managed.size": "256m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "128m",
        "taskmanager.memory.jvm-overhead.max": "128m",
        "io.tmp.dirs": path("tmp"),
        // Twice the defaults and more: development machines are busy.
        "pekko.ask.timeout": "60 s",
        "web.timeout": 60000,
        "heartbeat.interval": 2000,
        "heartbeat.timeout": 20000,
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": i32::MAX,
        "restart-strategy.fixed-delay.delay": "1 s",
        "execution.checkpointing.dir": format!("file://{}", path("checkpoints")),
        "execution.checkpointing.savepoint-dir": format!("file://{}", path("savepoints")),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "metrics.reporters": "prom",
        "metrics.reporter.prom.factory.class":
            "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
        "metrics.reporter.prom.port": format!("{0}-{1}", metrics.port(), metrics.port() + REPORTERS - 1),
    });
    // JSON is YAML.
    Ok(serde_json::to_string_pretty(&configuration)?)
}

const LOGGING: &str = "\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = File
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-40c{1} %m%n
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
";
