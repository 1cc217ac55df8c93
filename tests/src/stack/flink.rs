//! Apache Flink: a session cluster of one job manager and one task manager, from Maven Central, with
//! the high availability of a production cluster: `ZooKeeper` knows the jobs and their checkpoints, so
//! a job manager that is started again goes on with them.

use super::service::{Service, free_address};
use crate::{cache, http, shell};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

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
pub const REST_PORT: u16 = 8081;
/// Port of `ZooKeeper`.
const ZOOKEEPER_PORT: u16 = 2181;
/// Port of the job manager's Prometheus reporter.
const METRICS_PORT: u16 = 9249;
/// Time limit for a task manager's registration, on a busy machine.
const REGISTRATION: Duration = Duration::from_mins(1);
/// Time limit for a savepoint.
const SAVEPOINT: Duration = Duration::from_mins(2);
/// Cause of a refused savepoint while tasks start (`CheckpointFailureReason.NOT_ALL_REQUIRED_TASKS_RUNNING`).
const TASKS_START: &str = "Not all required tasks are currently running";
/// Settings by which jobs survive the processes of a cluster.
pub const DURABILITY: [&str; 6] = [
    "high-availability.type",
    "high-availability.zookeeper.quorum",
    "high-availability.storageDir",
    "execution.checkpointing.dir",
    "execution.checkpointing.savepoint-dir",
    "execution.checkpointing.externalized-checkpoint-retention",
];
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

/// Option of Java for a cluster that runs for minutes. A sixth of its time of the processor would be for the better of two
/// compilers, which has to begin anew with each job.
const SHORT_LIVED: [&str; 1] = ["-XX:TieredStopAtLevel=1"];

/// A cluster that runs in the background.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flink {
    zookeeper: Service,
    job_manager: Service,
    task_manager: Service,
    /// Addresses of the Prometheus reporters of the job manager and the task manager.
    metrics: [SocketAddr; 2],
}

/// What a jar runs.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Submission<'a> {
    /// Arguments of the main class.
    pub program_args_list: Vec<&'a str>,
    /// Savepoint or checkpoint that the job goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub savepoint_path: Option<&'a str>,
    /// Subtasks of each operator, where the job does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
}

/// A job of a cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// Id.
    #[serde(rename = "jid")]
    pub id: String,
    /// Name.
    pub name: String,
    /// State, such as `RUNNING`.
    pub state: String,
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
    /// Starts a cluster, or the processes of a `previous` one that have ended. Checkpoints, logs and
    /// the configuration are in `folder`.
    pub fn start(folder: &Path, previous: Option<&Self>, is_short_lived: bool) -> Result<Self> {
        let options = if is_short_lived { &SHORT_LIVED[..] } else { &[] };
        fs::create_dir_all(folder)?;
        let (zookeeper, rest, metrics) = if let Some(flink) = previous {
            (flink.zookeeper.address, flink.address(), flink.metrics)
        } else {
            let zookeeper = free_address(ZOOKEEPER_PORT)?;
            let rest = free_address(REST_PORT)?;
            // A range for both is not enough: clusters that start at once have ranges that overlap.
            let metrics = [free_address(METRICS_PORT)?, free_address(METRICS_PORT)?];
            fs::write(folder.join("config.yaml"), configuration(folder, zookeeper, rest)?)?;
            fs::write(folder.join("log4j2.properties"), LOGGING)?;
            (zookeeper, rest, metrics)
        };
        let running = |service: fn(&Self) -> &Service| {
            previous.map(service).filter(|service| service.runs()).cloned().map(Ok)
        };
        let mut started = Vec::new();
        let mut start = |running: Option<Result<Service>>, start: &dyn Fn() -> Result<Service>| {
            running.unwrap_or_else(|| start().inspect(|service| started.push(service.clone())))
        };
        let processes = (|| {
            Ok(Self {
                zookeeper: start(running(|flink| &flink.zookeeper), &|| {
                    start_zookeeper(folder, zookeeper)
                })?,
                job_manager: start(running(|flink| &flink.job_manager), &|| {
                    start_job_manager(folder, rest, metrics[0], options)
                })?,
                // A task manager that starts first waits ten seconds before its second attempt.
                task_manager: start(running(|flink| &flink.task_manager), &|| {
                    start_task_manager(folder, rest, metrics[1], options)
                })?,
                metrics,
            })
        })();
        if processes.is_err() {
            for service in started {
                service.kill()?;
            }
        }
        processes
    }

    /// Address of the REST interface.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.job_manager.address
    }

    /// Addresses of the Prometheus reporters of the job manager and the task manager.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        self.metrics.iter().map(ToString::to_string).collect()
    }

    /// Returns whether all processes run.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.zookeeper.runs() && self.job_manager.runs() && self.task_manager.runs()
    }

    /// The job manager's process.
    #[must_use]
    pub const fn job_manager(&self) -> &Service {
        &self.job_manager
    }

    /// The task manager's process.
    #[must_use]
    pub const fn task_manager(&self) -> &Service {
        &self.task_manager
    }

    /// Ends all processes. Started again, they go on with the jobs from the last checkpoint.
    pub fn stop(&self) -> Result<()> {
        self.task_manager.stop(Signal::TERM)?;
        self.job_manager.stop(Signal::TERM)?;
        self.zookeeper.stop(Signal::TERM)
    }

    /// Runs a jar's main class; returns the id of the job that it starts.
    pub fn submit(&self, jar: &Path, run: &Submission) -> Result<String> {
        let id = self.upload(jar)?;
        let run = serde_json::to_string(run)?;
        let kind = "Content-Type: application/json\r\n";
        let path = format!("/jars/{id}/run");
        let job = self.request("POST", &path, kind, run.as_bytes())?;
        let job = job["jobid"].as_str().with_context(|| format!("no job in {job}"))?;
        Ok(job.to_owned())
    }

    /// Uploads a jar, unless the job manager has this version of it; returns its id there.
    pub fn upload(&self, jar: &Path) -> Result<String> {
        let boundary = "dnscribe-boundary";
        let name = jar.file_name().context("no file name")?.to_string_lossy();
        let built = jar.metadata()?.modified()?.duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let list = self.request("GET", "/jars", "", b"")?;
        let is_new = |one: &&Value| {
            one["name"] == *name && one["uploaded"].as_u64().map(u128::from) > Some(built)
        };
        if let Some(one) = list["files"].as_array().into_iter().flatten().find(is_new) {
            return one["id"].as_str().map(str::to_owned).context("no id of a jar");
        }
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
        id.map(str::to_owned).with_context(|| format!("no name in {uploaded}"))
    }

    /// Jobs that have not ended.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        let overview = self.request("GET", "/jobs/overview", "", b"")?;
        let mut jobs: Vec<Job> = serde_json::from_value(overview["jobs"].clone())?;
        jobs.retain(|job| !matches!(job.state.as_str(), "FINISHED" | "CANCELED" | "FAILED"));
        Ok(jobs)
    }

    /// State of a job, such as `RUNNING`.
    pub fn state(&self, job: &str) -> Result<String> {
        let found = self.request("GET", &format!("/jobs/{job}"), "", b"")?;
        let state = found["state"].as_str().with_context(|| format!("no state in {found}"))?;
        Ok(state.to_owned())
    }

    /// Stops a job with a savepoint; returns the savepoint's path. Waits until all tasks of the job run: before, as after its
    /// submission or a failure, Flink can take none.
    pub fn stop_with_savepoint(&self, job: &str) -> Result<String> {
        let mut request = self.request_savepoint(job)?;
        shell::wait_for("a savepoint", SAVEPOINT, || {
            let answer = self.request("GET", &request, "", b"")?;
            if answer["status"]["id"] != "COMPLETED" {
                return Ok(None);
            }
            if let Some(location) = answer["operation"]["location"].as_str() {
                return Ok(Some(location.to_owned()));
            }
            let cause = answer["operation"]["failure-cause"]["stack-trace"].as_str();
            let cause = cause.with_context(|| format!("no cause in {answer}"))?;
            if !cause.contains(TASKS_START) {
                bail!("no savepoint of job {job}: {cause}");
            }
            request = self.request_savepoint(job)?;
            Ok(None)
        })
    }

    /// Asks for a savepoint at which the job ends; returns the path of the answer.
    fn request_savepoint(&self, job: &str) -> Result<String> {
        let kind = "Content-Type: application/json\r\n";
        let path = format!("/jobs/{job}/stop");
        let trigger = self.request("POST", &path, kind, b"{\"drain\":false}")?;
        let id = trigger["request-id"].as_str().with_context(|| format!("no id in {trigger}"))?;
        Ok(format!("/jobs/{job}/savepoints/{id}"))
    }

    /// Ends a job without a savepoint.
    pub fn cancel(&self, job: &str) -> Result<()> {
        self.request("PATCH", &format!("/jobs/{job}?mode=cancel"), "", b"").map(drop)
    }

    /// Statistics of a job's checkpoints, as Flink gives them.
    pub fn checkpoints(&self, job: &str) -> Result<Value> {
        self.request("GET", &format!("/jobs/{job}/checkpoints"), "", b"")
    }

    /// Returns the names of the threads of all task managers.
    pub fn threads(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let managers = self.request("GET", "/taskmanagers", "", b"")?;
        for manager in managers["taskmanagers"].as_array().context("no list of task managers")? {
            let id = manager["id"].as_str().context("a task manager without id")?;
            let path = format!("/taskmanagers/{id}/thread-dump");
            let dump = self.request("GET", &path, "", b"")?;
            let threads = dump["threadInfos"].as_array().context("no list of threads")?;
            let name = |thread: &Value| thread["threadName"].as_str().map(str::to_owned);
            names.extend(threads.iter().filter_map(name));
        }
        Ok(names)
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Value> {
        let answer = http::send(self.address(), method, path, headers, body)?;
        if answer.status >= 300 {
            bail!("Flink refuses {method} {path} ({}): {}", answer.status, answer.body);
        }
        Ok(serde_json::from_str(&answer.body)?)
    }
}

fn start_zookeeper(folder: &Path, address: SocketAddr) -> Result<Service> {
    let data = folder.join("zookeeper");
    fs::create_dir_all(&data)?;
    let config = format!(
        "tickTime=1000\ndataDir={}\nclientPortAddress={}\nclientPort={}\nadmin.enableServer=false\n",
        data.display(),
        address.ip(),
        address.port()
    );
    let file = folder.join("zoo.cfg");
    fs::write(&file, config)?;
    let main = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain";
    let mut command = java(folder, "zookeeper", &["-Xmx48m", "-XX:TieredStopAtLevel=1"], main)?;
    command.arg(file);
    Service::start(&command, address, &folder.join("zookeeper.out"), || {
        TcpStream::connect(address).is_ok()
    })
}

fn start_job_manager(
    folder: &Path,
    rest: SocketAddr,
    metrics: SocketAddr,
    options: &[&str],
) -> Result<Service> {
    let main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint";
    let mut command = java(folder, "jobmanager", &[&["-Xmx320m"], options].concat(), main)?;
    command.arg("--configDir").arg(folder).arg(reporter(metrics));
    Service::start(&command, rest, &folder.join("jobmanager.out"), || {
        http::get(rest, None, "/overview").is_ok_and(|(status, _)| status == 200)
    })
}

fn start_task_manager(
    folder: &Path,
    rest: SocketAddr,
    metrics: SocketAddr,
    options: &[&str],
) -> Result<Service> {
    // A killed one stays registered until its heartbeats are missed.
    let registered = || -> Option<Vec<String>> {
        let (_, body) = http::get(rest, None, "/taskmanagers").ok()?;
        let list: Value = serde_json::from_str(&body).ok()?;
        let id = |one: &Value| one["id"].as_str().map(str::to_owned);
        list["taskmanagers"].as_array()?.iter().map(id).collect()
    };
    let before = registered().unwrap_or_default();
    let main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner";
    let heap = ["-Xmx768m", "-XX:MaxDirectMemorySize=288m", "-XX:MaxMetaspaceSize=512m"];
    let mut command = java(folder, "taskmanager", &[&heap, options].concat(), main)?;
    command.arg("--configDir").arg(folder).arg(reporter(metrics));
    let service = Service::start(&command, rest, &folder.join("taskmanager.out"), || true)?;
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
    Ok(command)
}

/// Word that gives a process the port of its Prometheus reporter.
fn reporter(metrics: SocketAddr) -> String {
    format!("-Dmetrics.reporter.prom.port={}", metrics.port())
}

/// Configuration of both processes. The sizes of a task manager's memory are those that Flink's
/// start script would compute.
fn configuration(folder: &Path, zookeeper: SocketAddr, rest: SocketAddr) -> Result<String> {
    let host = rest.ip().to_string();
    let path = |name: &str| folder.join(name).display().to_string();
    let configuration = json!({
        "jobmanager.rpc.address": host,
        "jobmanager.bind-host": host,
        "rest.address": host,
        "rest.bind-address": host,
        "rest.port": rest.port(),
        "web.upload.dir": path("jars"),
        "taskmanager.host": host,
        "taskmanager.bind-host": host,
        "taskmanager.numberOfTaskSlots": 24,
        "taskmanager.cpu.cores": 2,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.task.heap.size": "640m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.off-heap.size": "0",
        "taskmanager.memory.network.min": "128m",
        "taskmanager.memory.network.max": "128m",
        "taskmanager.memory.managed.size": "64m",
        "taskmanager.memory.jvm-metaspace.size": "512m",
        "taskmanager.memory.jvm-overhead.min": "128m",
        "taskmanager.memory.jvm-overhead.max": "128m",
        "io.tmp.dirs": path("tmp"),
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": zookeeper.to_string(),
        "high-availability.storageDir": format!("file://{}", path("ha")),
        // A killed job manager stays the leader so long.
        "high-availability.zookeeper.client.session-timeout": 8000,
        "high-availability.zookeeper.client.tolerate-suspended-connections": true,
        // Development machines are busy: a process that does not answer is given up late. One that has
        // ended is noticed at once, because connections to it are refused.
        "pekko.ask.timeout": "120 s",
        "web.timeout": 120_000,
        "heartbeat.interval": 2000,
        "heartbeat.timeout": 60000,
        "heartbeat.rpc-failure-threshold": 1,
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": i32::MAX,
        "restart-strategy.fixed-delay.delay": "1 s",
        "execution.checkpointing.dir": format!("file://{}", path("checkpoints")),
        "execution.checkpointing.savepoint-dir": format!("file://{}", path("savepoints")),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "metrics.reporters": "prom",
        "metrics.reporter.prom.factory.class":
            "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
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
