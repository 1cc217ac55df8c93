//! A schema registry: Apicurio with in-memory storage, by its Confluent-compatible API.
//!
//! The program comes from Maven Central (needs `java` and `mvn`) and is stored under
//! `target/registry`.

use crate::{agent, cache, shell};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Version for tests: later ones need a newer Java than Debian 12 has.
pub const VERSION: &str = "2.6.13.Final";
/// Maven plugin that downloads one file without a project.
const MAVEN_GET: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack";
/// Time limit for the start, on a busy machine.
const START: Duration = Duration::from_secs(90);
/// Line that the registry logs once it accepts requests.
const READY: &str = "Listening on:";

/// A registry without schemas at its start. Dropping it kills it.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
}

impl Registry {
    /// Creates a registry with a free address, not started yet; its log is written to `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        Ok(Self { address: agent::free_address()?, folder: folder.to_path_buf(), child: None })
    }

    /// Starts a registry and waits until it accepts requests.
    pub fn up(folder: &Path) -> Result<Self> {
        let mut registry = Self::new(folder)?;
        registry.start()?;
        Ok(registry)
    }

    /// URL of the registry API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/apis/ccompat/v7", self.address)
    }

    /// Starts the registry and waits until it accepts requests.
    pub fn start(&mut self) -> Result<()> {
        let file = self.folder.join("registry.log");
        let log = fs::File::create(&file)?;
        // The registry is killed when the thread that starts it ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "java", "-Xmx256m", "-XX:+UseSerialGC"]);
        // Java fails to read limits of a cgroup whose namespace is not the host's.
        command.arg("-XX:-UseContainerSupport");
        command.args(["-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1"]);
        command.arg(format!("-Dquarkus.http.port={}", self.address.port()));
        command.arg("-jar").arg(program()?).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = self.child.insert(command.spawn().context("cannot start the registry")?);
        shell::wait_for("the registry's start", START, || {
            let log = fs::read_to_string(&file).unwrap_or_default();
            if let Some(status) = child.try_wait()? {
                bail!("the registry ended during start ({status}): {log}");
            }
            Ok(log.contains(READY).then_some(()))
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            shell::end(child);
        }
    }
}

/// Downloads the registry's program files if they are missing, so that tests need not.
pub fn prepare() -> Result<()> {
    program().map(drop)
}

fn program() -> Result<PathBuf> {
    let folder = cache::folder("registry", VERSION, fetch)?;
    Ok(folder.join(format!("apicurio-registry-app-{VERSION}-runner.jar")))
}

fn fetch(scratch: &Path) -> Result<()> {
    let artifact = format!("-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all");
    let output = format!("-DoutputDirectory={}", scratch.join("ready").display());
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", MAVEN_GET, &artifact, &output]).current_dir(scratch);
    shell::output(&mut maven).context("cannot get the registry from Maven Central").map(drop)
}
