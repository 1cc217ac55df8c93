//! The runtime of the broker: Java on this host, or a container engine.

use super::config;
use super::{VERSION, artefacts};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Cluster id; any value works for a cluster of one node.
const CLUSTER: &str = "ZG5zY3JpYmUtdGVzdHMtMQ";

/// File beside the jars with Kafka's classes as Java has parsed them (class data sharing, JEP 350).
const CLASSES: &str = "classes.jsa";

/// How brokers run on this host.
#[derive(Debug)]
pub enum Runtime {
    /// Java.
    Java {
        /// Folder with the jars.
        libraries: PathBuf,
        /// File in which a broker that ends stores its classes, as Java has parsed them.
        archive: Option<PathBuf>,
    },
    /// A container engine, by the name of its command.
    Container(&'static str),
}

/// A broker's process.
#[derive(Debug, Serialize, Deserialize)]
pub enum Process {
    /// A Java process; `child` is set in the process that started it.
    Java {
        /// Process id.
        pid: u32,
        /// Handle of the child process.
        #[serde(skip)]
        child: Option<Child>,
    },
    /// A container, by its engine and name.
    Container {
        /// Command of the engine.
        engine: String,
        /// Name of the container.
        name: String,
    },
}

impl Runtime {
    /// Selects Java if it is installed, else a container engine that responds.
    pub fn find() -> Result<Self> {
        if shell::which("java").is_some() && shell::which("mvn").is_some() {
            return Ok(Self::Java { libraries: artefacts::libraries()?, archive: None });
        }
        ["docker", "podman"]
            .into_iter()
            .find(|engine| shell::run(&[engine, "info"]).is_ok())
            .map(Self::Container)
            .context(
                "Kafka needs java (17 or later) and mvn, or a running docker or podman; on Debian \
                 and Ubuntu: apt-get install default-jre-headless maven",
            )
    }

    /// Stores the classes of a broker that `run` starts and stops, unless they are stored: with them, later ones start with
    /// two thirds of the CPU time.
    pub fn store_classes(self, run: impl FnOnce(Self) -> Result<()>) -> Result<()> {
        let Self::Java { libraries, .. } = self else { return Ok(()) };
        let stored = libraries.join(CLASSES);
        if stored.exists() {
            return Ok(());
        }
        // Moved in one step, so that no other process reads half of it.
        let folder = tempfile::tempdir_in(&libraries)?;
        let archive = folder.path().join(CLASSES);
        run(Self::Java { libraries, archive: Some(archive.clone()) })?;
        fs::rename(archive, stored).context("Java has not stored Kafka's classes")
    }

    /// Prepares an empty data folder.
    pub fn format(&self, folder: &Path, setup: &[(String, String)]) -> Result<()> {
        let Self::Java { libraries, .. } = self else { return Ok(()) };
        let properties = folder.join("server.properties");
        fs::write(&properties, config::file(setup, folder))?;
        let _ = fs::remove_dir_all(folder.join("data"));
        let mut format = java(libraries, "64m");
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(properties);
        shell::output(&mut format).context("cannot format Kafka's data folder").map(drop)
    }

    /// Starts the broker in the background; its log is written to `log`.
    pub fn start(
        &self,
        folder: &Path,
        bootstrap: &str,
        setup: &[(String, String)],
        log: fs::File,
    ) -> Result<Process> {
        match self {
            Self::Java { libraries, archive } => {
                let mut command = java(libraries, "512m");
                if let Some(archive) = archive {
                    command.arg(format!("-XX:ArchiveClassesAtExit={}", archive.display()));
                }
                command.arg("kafka.Kafka").arg(folder.join("server.properties"));
                let mut command = shell::without_descriptors(&command);
                command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
                // Ctrl-C on the terminal must reach the owner, not the broker.
                std::os::unix::process::CommandExt::process_group(&mut command, 0);
                let child = command.spawn().context("cannot start java")?;
                Ok(Process::Java { pid: child.id(), child: Some(child) })
            }
            Self::Container(engine) => container(engine, bootstrap, setup, log),
        }
    }

    /// Runs one of Kafka's command line tools.
    pub fn tool(&self, tool: Tool, bootstrap: &str, words: &[&str]) -> Result<Output> {
        let mut command = match self {
            Self::Java { libraries, .. } => {
                let mut command = java(libraries, "128m");
                command.arg(tool.class());
                command
            }
            Self::Container(engine) => {
                let mut command = Command::new(engine);
                command.args(["exec", &name(bootstrap), tool.script()]);
                command
            }
        };
        shell::output(command.args(["--bootstrap-server", bootstrap]).args(words))
    }

    /// Returns the path by which tools read a file of this host.
    pub fn shared(&self, file: &Path, bootstrap: &str) -> Result<String> {
        let path = file.to_string_lossy().into_owned();
        let Self::Container(engine) = self else { return Ok(path) };
        let there = "/tmp/shared.json".to_owned();
        shell::run(&[engine, "cp", &path, &format!("{}:{there}", name(bootstrap))])?;
        Ok(there)
    }

    /// Returns the command of Kafka's producer benchmark, with the JVM options of its script.
    pub fn producer_performance(&self) -> Result<Command> {
        let Self::Java { libraries, .. } = self else {
            bail!("a program in a container is not measured: install java and mvn");
        };
        let mut command = Command::new("java");
        command.args(["-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
        command.args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]);
        command.args(["-XX:MaxInlineLevel=15", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
        command.arg("-cp").arg(libraries.join("*"));
        command.arg("org.apache.kafka.tools.ProducerPerformance");
        Ok(command)
    }
}

/// A command line tool of Kafka.
#[derive(Clone, Copy, Debug)]
pub enum Tool {
    /// Creates and describes topics.
    Topics,
    /// Changes and describes the configuration of topics and users.
    Configs,
    /// Changes access rules.
    Acls,
    /// Prints the records of a topic.
    Consumer,
    /// Removes the oldest records of topics.
    DeleteRecords,
}

impl Tool {
    const fn class(self) -> &'static str {
        match self {
            Self::Topics => "org.apache.kafka.tools.TopicCommand",
            Self::Configs => "kafka.admin.ConfigCommand",
            Self::Acls => "org.apache.kafka.tools.AclCommand",
            Self::Consumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
            Self::DeleteRecords => "org.apache.kafka.tools.DeleteRecordsCommand",
        }
    }

    const fn script(self) -> &'static str {
        match self {
            Self::Topics => "/opt/kafka/bin/kafka-topics.sh",
            Self::Configs => "/opt/kafka/bin/kafka-configs.sh",
            Self::Acls => "/opt/kafka/bin/kafka-acls.sh",
            Self::Consumer => "/opt/kafka/bin/kafka-console-consumer.sh",
            Self::DeleteRecords => "/opt/kafka/bin/kafka-delete-records.sh",
        }
    }
}

fn java(libraries: &Path, heap: &str) -> Command {
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{heap}"));
    // Options for a fast start of a small, short-lived broker.
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    let classes = libraries.join(CLASSES);
    if classes.exists() {
        // Another Java than the one that stored them does not use them, and would say so on standard output.
        command.arg(format!("-XX:SharedArchiveFile={}", classes.display())).arg("-Xlog:disable");
    }
    // Java fails to read limits of a cgroup whose namespace is not the host's; the heap has its own limit.
    command.arg("-XX:-UseContainerSupport");
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=info");
    command.arg("-cp").arg(libraries.join("*"));
    command
}

fn name(bootstrap: &str) -> String {
    format!("dnscribe-kafka-{}", bootstrap.rsplit(':').next().unwrap_or_default())
}

fn container(
    engine: &str,
    bootstrap: &str,
    setup: &[(String, String)],
    log: fs::File,
) -> Result<Process> {
    let name = name(bootstrap);
    let exists = shell::run(&[engine, "container", "inspect", &name]).is_ok();
    if exists {
        shell::run(&[engine, "start", &name])?;
    } else {
        let mut run = Command::new(engine);
        run.args(["run", "--detach", "--network", "host", "--name", &name]);
        run.args(["--env", &format!("CLUSTER_ID={CLUSTER}")]);
        for (key, value) in setup {
            // The image reads properties from these variables.
            let key = key.replace('-', "___").replace('.', "_").to_uppercase();
            run.args(["--env", &format!("KAFKA_{key}={value}")]);
        }
        shell::output(run.arg(format!("apache/kafka:{VERSION}")))?;
    }
    let mut follow = Command::new(engine);
    follow.args(["logs", "--follow", "--since", "0s", &name]);
    follow.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    follow.spawn().context("cannot follow the container's log")?;
    Ok(Process::Container { engine: engine.to_owned(), name })
}

impl Process {
    /// Returns whether a child of this process still runs.
    pub fn alive(&mut self) -> Result<bool> {
        match self {
            Self::Java { child: Some(child), .. } => Ok(child.try_wait()?.is_none()),
            other => Ok(other.runs()),
        }
    }

    /// Returns whether the broker runs, also if another process has started it.
    pub fn runs(&self) -> bool {
        match self {
            Self::Java { pid, .. } => fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("kafka.Kafka")),
            Self::Container { engine, name } => {
                let format = "--format={{.State.Running}}";
                shell::run(&[engine, "container", "inspect", format, name])
                    .is_ok_and(|output| output.stdout.starts_with(b"true"))
            }
        }
    }

    /// Stops the broker and waits for its end.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.end(Signal::TERM, "stop", limit)
    }

    /// Kills the broker and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL, "kill", Duration::from_secs(10))
    }

    /// Suspends the broker.
    pub fn freeze(&self) -> Result<()> {
        self.interrupt(Signal::STOP, "pause")
    }

    /// Resumes it.
    pub fn thaw(&self) -> Result<()> {
        self.interrupt(Signal::CONT, "unpause")
    }

    fn interrupt(&self, signal: Signal, verb: &str) -> Result<()> {
        match self {
            Self::Java { pid, .. } => shell::signal_pid(*pid, signal),
            Self::Container { engine, name } => shell::run(&[engine, verb, name]).map(drop),
        }
    }

    /// Removes what a stopped broker leaves outside its folder.
    pub fn discard(&self) {
        if let Self::Container { engine, name } = self {
            // It may be gone already.
            let _ = shell::run(&[engine, "rm", "--force", "--volumes", name]);
        }
    }

    fn end(&mut self, signal: Signal, verb: &str, limit: Duration) -> Result<()> {
        match self {
            Self::Java { child: Some(child), .. } => {
                shell::signal(child, signal)?;
                shell::wait(child, limit).map(drop)
            }
            Self::Java { pid, child: None } => {
                let pid = *pid;
                if !self.runs() {
                    bail!("process {pid} is no broker");
                }
                shell::signal_pid(pid, signal)?;
                shell::wait_for("Kafka's end", limit, || Ok((!self.runs()).then_some(())))
            }
            Self::Container { engine, name } => shell::run(&[engine, verb, name]).map(drop),
        }
    }
}
