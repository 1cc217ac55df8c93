//! An Apache Kafka broker: one process in `KRaft` mode, on its own loopback ports.
//!
//! The program comes from Maven Central (needs `java` and `mvn`) and is stored under
//! `target/kafka`. Without those two, a container engine runs the image `apache/kafka`.

mod artefacts;
mod config;
mod orphans;
mod runtime;
pub mod security;

use crate::shell;
use anyhow::{Context as _, Result, bail};
use config::Ports;
pub use runtime::Tool;
use runtime::{Process, Runtime};
use security::{PASSWORD, SecureListener, Security, USER};
use serde::Deserialize;
use serde_json::json;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Kafka version for tests and the development loop.
pub const VERSION: &str = "4.1.1";
/// Time limit for the start, on a busy machine.
const START: Duration = Duration::from_secs(90);
/// Time limit for a regular stop.
const STOP: Duration = Duration::from_mins(1);
/// File in the folder of a broker that was left running, with its address and process.
const STATE_FILE: &str = "up.json";
/// File in the folder of a broker that child processes may use, with its address and process.
const LENT_FILE: &str = "lent.json";
/// Variable with the folder of the broker that the parent process lends.
const LENT: &str = "LENT_BROKER";
/// Line that the broker logs once it accepts requests.
const READY: &str = "Kafka Server started";

/// A broker. Dropping it kills the process and keeps its folder, unless it was [`Broker::detach`]ed or is
/// [`Broker::lent`].
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    ports: Ports,
    properties: Vec<(String, String)>,
    runtime: Runtime,
    process: Option<Process>,
    /// Whether it belongs to the parent process, which ends it.
    is_lent: bool,
}

/// A broker of another process, as stored in its folder.
#[derive(Debug, Deserialize)]
struct StoredBroker {
    ports: Ports,
    properties: Vec<(String, String)>,
    process: Process,
}

impl Broker {
    /// Downloads Kafka if needed, formats a data folder below `folder`, starts a broker, and waits
    /// until it accepts requests.
    pub fn up(folder: &Path) -> Result<Self> {
        Self::with(Runtime::find()?, folder, |ports| Ok(config::listeners(ports, &[])))
    }

    /// Like [`Broker::up`], with these properties in place of the defaults.
    pub fn configured(folder: &Path, properties: &[(&str, &str)]) -> Result<Self> {
        // The last value of a property wins.
        let own = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self::with(Runtime::find()?, folder, |ports| {
            Ok(config::listeners(ports, &[]).into_iter().chain(own).collect())
        })
    }

    /// Like [`Broker::up`], with secured listeners beside the plain one. [`USER`] may log in by
    /// PLAIN.
    pub fn secured(folder: &Path, security: &Security) -> Result<Self> {
        Self::with(Runtime::find()?, folder, |ports| security.properties(ports))
    }

    /// Like [`Broker::up`], with a second listener that says to clients that it is at
    /// [`Broker::proxy_address`]: there the caller runs a proxy to [`Broker::proxied_address`].
    pub fn proxied(folder: &Path) -> Result<Self> {
        Self::with(Runtime::find()?, folder, |ports| Ok(config::proxied_listeners(ports)))
    }

    /// Address of the proxy of a [`Broker::proxied`].
    #[must_use]
    pub fn proxy_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.proxy())
    }

    /// Address of the listener behind the proxy of a [`Broker::proxied`].
    #[must_use]
    pub fn proxied_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.proxied())
    }

    /// Adds SCRAM credentials of [`USER`] to a [`Broker::secured`].
    pub fn add_scram(&self) -> Result<()> {
        // The broker accepts one credential of a user at a time.
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let credential = format!("{mechanism}=[password={PASSWORD}]");
            let user = ["--entity-type", "users", "--entity-name", USER];
            let words = [&["--alter", "--add-config", &credential], &user[..]].concat();
            self.tool(Tool::Configs, &words)?;
        }
        Ok(())
    }

    fn with(
        runtime: Runtime,
        folder: &Path,
        more: impl FnOnce(Ports) -> Result<Vec<(String, String)>>,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        orphans::end();
        orphans::own(&folder)?;
        let ports = Ports::free()?;
        let properties = [config::properties(), more(ports)?].concat();
        let mut broker = Self { folder, ports, properties, runtime, process: None, is_lent: false };
        broker.runtime.format(&broker.folder, &broker.properties)?;
        broker.start()?;
        Ok(broker)
    }

    /// Starts the broker that was left running with this folder and has ended, with its data and
    /// ports; a new one like [`Broker::up`] if there was none.
    pub fn resume(folder: &Path) -> Result<Self> {
        if !folder.join(STATE_FILE).exists() {
            return Self::up(folder);
        }
        let mut broker = Self::attach(folder)?;
        if !broker.process.as_ref().is_some_and(Process::runs) {
            broker.start()?;
        }
        Ok(broker)
    }

    /// Takes over the broker that was left running with this folder.
    pub fn attach(folder: &Path) -> Result<Self> {
        Self::load(folder, STATE_FILE).context("no broker was left running")
    }

    /// Lets the child process that `command` starts use this broker, by [`Broker::lent`].
    pub fn lend(&self, command: &mut Command) -> Result<()> {
        command.env(LENT, &self.folder);
        self.store(LENT_FILE)
    }

    /// Returns the broker that the parent process lends this one, if it does. Dropping it leaves it running.
    #[must_use]
    pub fn lent() -> Option<Result<Self>> {
        let folder = env::var_os(LENT)?;
        Some(Self::load(Path::new(&folder), LENT_FILE).map(|mut broker| {
            broker.is_lent = true;
            broker
        }))
    }

    /// Bootstrap address for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.ports.bootstrap()
    }

    /// Port of a secured listener, for a [`Broker::secured`].
    #[must_use]
    pub const fn secure_port(&self, listener: SecureListener) -> u16 {
        self.ports.secure_port(listener)
    }

    /// The broker's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<()> {
        let words = ["--create", "--topic", name, "--partitions", &partitions.to_string()];
        self.tool(Tool::Topics, &words).map(drop)
    }

    /// Removes the records of a partition before an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let file = self.folder.join("delete-records.json");
        let place = json!({ "topic": topic, "partition": partition, "offset": before });
        fs::write(&file, json!({ "version": 1, "partitions": [place] }).to_string())?;
        let file = self.runtime.shared(&file, &self.bootstrap())?;
        self.tool(Tool::DeleteRecords, &["--offset-json-file", &file]).map(drop)
    }

    /// Grants a user write access to a topic of a [`Broker::secured`].
    pub fn let_write(&self, user: &str, topic: &str) -> Result<()> {
        let user = format!("User:{user}");
        let may = ["--operation", "Write", "--operation", "Describe", "--topic", topic];
        let words = [&["--add", "--allow-principal", &user], &may[..]].concat();
        self.tool(Tool::Acls, &words).map(drop)
    }

    /// Runs one of Kafka's command line tools against this broker; returns its standard output.
    pub fn tool(&self, tool: Tool, words: &[&str]) -> Result<String> {
        let output = self.runtime.tool(tool, &self.bootstrap(), words)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Returns the command of Kafka's producer benchmark on this host, without its arguments.
    pub fn producer_performance(&self) -> Result<Command> {
        self.runtime.producer_performance()
    }

    /// Bytes of all partitions of a topic on the broker's disk, without the index files.
    pub fn stored_bytes(&self, topic: &str) -> Result<u64> {
        let partition = |name: &str| {
            let number = name.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let mut bytes = 0;
        for folder in fs::read_dir(self.folder.join("data")).context("no data of the broker")? {
            let folder = folder?;
            if !folder.file_name().to_str().is_some_and(partition) {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    bytes += path.metadata()?.len();
                }
            }
        }
        Ok(bytes)
    }

    /// Process id of the broker, if it runs on this host without a container.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.process {
            Some(Process::Java { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    /// Stops the broker regularly; its data stays.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop(STOP),
            None => Ok(()),
        }
    }

    /// Kills the broker; its data stays.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Suspends the broker: its connections stay open, but it answers no request.
    pub fn freeze(&self) -> Result<()> {
        self.process.as_ref().context("the broker does not run")?.freeze()
    }

    /// Resumes a suspended broker.
    pub fn thaw(&self) -> Result<()> {
        self.process.as_ref().context("the broker does not run")?.thaw()
    }

    /// Starts the broker again with its data and ports; stops it first if it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Leaves the broker running after this process; [`Broker::down`] ends it.
    pub fn detach(mut self) -> Result<String> {
        self.store(STATE_FILE)?;
        self.process.take().context("the broker does not run")?;
        Ok(self.bootstrap())
    }

    fn store(&self, file: &str) -> Result<()> {
        let process = self.process.as_ref().context("the broker does not run")?;
        let stored =
            json!({ "ports": self.ports, "properties": self.properties, "process": process });
        fs::write(self.folder.join(file), stored.to_string())
            .with_context(|| format!("cannot write to {}", self.folder.display()))
    }

    fn load(folder: &Path, file: &str) -> Result<Self> {
        let folder = folder.canonicalize()?;
        let StoredBroker { ports, properties, process } = StoredBroker::read(&folder, file)?;
        let (runtime, process) = (Runtime::find()?, Some(process));
        Ok(Self { folder, ports, properties, runtime, process, is_lent: false })
    }

    /// Returns the address of the broker that was left running with this folder, if one runs.
    #[must_use]
    pub fn running(folder: &Path) -> Option<String> {
        let detached = StoredBroker::read(folder, STATE_FILE).ok()?;
        detached.process.runs().then(|| detached.ports.bootstrap())
    }

    /// Ends the broker that was left running with this folder and removes its data. Returns whether
    /// there was one.
    pub fn down(folder: &Path) -> Result<bool> {
        if !folder.join(STATE_FILE).exists() {
            return Ok(false);
        }
        let mut detached = StoredBroker::read(folder, STATE_FILE)?;
        let ran = detached.process.runs();
        if ran {
            // A test may have left it suspended.
            detached.process.thaw()?;
            detached.process.stop(STOP)?;
        }
        detached.process.discard();
        fs::remove_dir_all(folder).context("cannot remove the broker's data")?;
        Ok(ran)
    }

    fn start(&mut self) -> Result<()> {
        let log = fs::File::create(self.log_file())?;
        self.process =
            Some(self.runtime.start(&self.folder, &self.bootstrap(), &self.properties, log)?);
        shell::wait_for("Kafka's start", START, || {
            if let Some(process) = &mut self.process
                && !process.alive()?
            {
                bail!("Kafka ended during start");
            }
            let log = fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default();
            Ok(log.contains(READY).then_some(()))
        })
        .with_context(|| last_lines(&self.log()))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("broker.log")
    }
}

impl StoredBroker {
    fn read(folder: &Path, file: &str) -> Result<Self> {
        let file = folder.join(file);
        let text = fs::read(&file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| format!("cannot parse {}", file.display()))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.is_lent {
            return;
        }
        if let Some(mut process) = self.process.take() {
            // Fails only if the broker has ended by itself.
            let _ = process.kill();
            process.discard();
        }
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Reads the committed records of a topic, one text each, from an offset as kcat(1) takes it.
pub fn committed(brokers: &str, topic: &str, offset: &str) -> Result<Vec<String>> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", brokers, "-C", "-t", topic, "-o", offset, "-e", "-q"]);
    // The broker says at once that there are no more; by default it waits half a second for some.
    kcat.args(["-X", "isolation.level=read_committed", "-X", "fetch.wait.max.ms=10"]);
    let text = String::from_utf8(shell::output(&mut kcat)?.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Downloads Kafka's program files if they are missing, and prepares its classes, so that tests need not.
pub fn prepare() -> Result<()> {
    Runtime::find()?.store_classes(|runtime| {
        let folder = tempfile::tempdir()?;
        Broker::with(runtime, folder.path(), |ports| Ok(config::listeners(ports, &[])))?.stop()
    })
}
