//! Prometheus, promtool, Alertmanager and blackbox_exporter: the real programs, and where to find them.
//!
//! Programs installed on this host are used. Otherwise, on Debian and derivatives, the packages are
//! downloaded and unpacked below the target folder, because installing them would start their
//! services.

use crate::{agent, cache, http, otel, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Debian packages of the programs that tests need.
const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];
/// Debian package that only a benchmark needs.
const BLACKBOX_PACKAGE: &str = "prometheus-blackbox-exporter";
/// Time limit for the start, on a busy machine.
const START: Duration = Duration::from_mins(1);

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The Prometheus server.
    Prometheus,
    /// Checks metrics and rules.
    Promtool,
    /// Alertmanager.
    Alertmanager,
    /// Checks Alertmanager's configuration.
    Amtool,
    /// blackbox_exporter.
    BlackboxExporter,
}

impl Program {
    /// Programs that tests need.
    const ALL: [Self; 4] = [Self::Prometheus, Self::Promtool, Self::Alertmanager, Self::Amtool];

    /// Names of the program, Debian's first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Prometheus => &["prometheus"],
            Self::Promtool => &["promtool"],
            Self::Alertmanager => &["prometheus-alertmanager", "alertmanager"],
            Self::Amtool => &["amtool"],
            Self::BlackboxExporter => &["prometheus-blackbox-exporter", "blackbox_exporter"],
        }
    }

    fn installed(self) -> Option<PathBuf> {
        self.names().iter().find_map(|name| shell::which(name))
    }

    /// Returns whether the program is installed on this host.
    #[must_use]
    pub fn is_installed(self) -> bool {
        self.installed().is_some()
    }

    /// Path of the program.
    pub fn file(self) -> Result<PathBuf> {
        let folder = match (self.installed(), self) {
            (Some(file), _) => return Ok(file),
            (None, Self::BlackboxExporter) => unpacked("blackbox", &[BLACKBOX_PACKAGE])?,
            (None, _) => unpacked("prometheus", &PACKAGES)?,
        };
        Ok(folder.join("usr/bin").join(self.names()[0]))
    }
}

/// Downloads the programs if they are missing, so that tests need not.
pub fn prepare() -> Result<()> {
    let all = Program::ALL.into_iter().all(Program::is_installed);
    if all { Ok(()) } else { unpacked("prometheus", &PACKAGES).map(drop) }
}

/// Folder of Debian packages, unpacked.
fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    cache::folder(name, codename.unwrap_or("debian"), |scratch| {
        let mut download = Command::new("apt-get");
        download.args(["download", "-q"]).args(packages).current_dir(scratch);
        shell::output(&mut download)
            .context("cannot get the packages of Prometheus; `apt-get update` may help")?;
        for entry in fs::read_dir(scratch)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg-deb");
                shell::output(unpack.arg("-x").arg(file).arg(scratch.join("ready")))?;
            }
        }
        Ok(())
    })
}

/// Returns promtool's complaints about a page of metrics, style included; empty if it has none.
pub fn check_metrics(page: &str) -> Result<String> {
    let mut command = Command::new(Program::Promtool.file()?);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(page.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let complaints = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() && complaints.is_empty() {
        bail!("promtool fails and does not say why ({})", output.status);
    }
    Ok(complaints)
}

/// A Prometheus. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    child: Child,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes one endpoint each second, and waits until it answers; its files are written to `folder`.
    pub fn up(folder: &Path, target: SocketAddr) -> Result<Self> {
        let scrape = json!({ "job_name": "dnscribe", "static_configs": [{ "targets": [target.to_string()] }] });
        Self::up_with(folder, &scrape, &[])
    }

    /// Like [`Prometheus::up`], with an entry of `scrape_configs` and files of rules, which are evaluated each second.
    pub fn up_with(folder: &Path, scrape: &Value, rules: &[PathBuf]) -> Result<Self> {
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": rules, "scrape_configs": [scrape],
        });
        // JSON is YAML.
        Self::start(below(Program::Prometheus)?, folder, &config.to_string())
    }

    /// Starts a Prometheus 3 that discovers its targets by the API of Kubernetes, with this configuration.
    pub fn up_in_cluster(folder: &Path, config: &str) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(otel::prometheus_of_kubernetes()?);
        Self::start(command, folder, config)
    }

    /// Starts a Prometheus 3 that asks its target for native histograms, and keeps the classic ones beside them.
    pub fn up_with_native_histograms(folder: &Path, target: SocketAddr) -> Result<Self> {
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": [{
                "job_name": "dnscribe",
                "always_scrape_classic_histograms": true,
                "static_configs": [{ "targets": [target.to_string()] }],
            }],
        });
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(otel::prometheus()?);
        command.arg("--enable-feature=native-histograms");
        Self::start(command, folder, &config.to_string())
    }

    fn start(mut command: Command, folder: &Path, config: &str) -> Result<Self> {
        let file = folder.join("prometheus.yml");
        fs::write(&file, config)?;
        let address = agent::free_address()?;
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let child = start(&mut command, &folder.join("prometheus.log"), || {
            http::get(address, None, "/-/ready").is_ok_and(|(code, _)| code == 200)
        })?;
        Ok(Self { address, child })
    }

    /// Evaluates an expression with one result; `None` while it has no result.
    pub fn value(&self, expression: &str) -> Result<Option<f64>> {
        let result = self.query(expression)?;
        match result.as_slice() {
            [] => Ok(None),
            [one] => {
                let value = one["value"][1].as_str().context("no value")?;
                Ok(Some(value.parse().with_context(|| format!("{expression} is {value}"))?))
            }
            many => bail!("{expression} gives {} values", many.len()),
        }
    }

    /// Evaluates an expression; each result has its labels in `metric`.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v1/query?query={}", http::quoted(expression));
        let (status, body) = http::get(self.address, None, &path)?;
        let answer: Value = serde_json::from_str(&body)
            .with_context(|| format!("{expression}: {status}: {body}"))?;
        let result = answer["data"]["result"].as_array();
        result.cloned().with_context(|| format!("{expression}: {answer}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}

/// Returns a command that is killed when the thread that starts it ends.
pub(crate) fn below(program: Program) -> Result<Command> {
    command(program, &["setpriv", "--pdeathsig", "KILL"])
}

/// Returns a command that outlives the process that starts it.
pub(crate) fn detached(program: Program) -> Result<Command> {
    command(program, &["env"])
}

/// Returns a command that runs the program by `launcher`. Debian's programs read files below
/// `/usr/share`: an unpacked program gets these by a bind mount in a namespace of its own. This
/// needs root or a user namespace.
fn command(program: Program, launcher: &[&str]) -> Result<Command> {
    const UNPACKED: &str = "mount --bind \"$1\" /usr/share; shift; exec \"$@\"";
    if let Some(file) = program.installed() {
        let mut command = Command::new(launcher[0]);
        command.args(&launcher[1..]).arg(file);
        return Ok(command);
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--mount", "sh", "-ec", UNPACKED, "sh"])
        .arg(unpacked("prometheus", &PACKAGES)?.join("usr/share"));
    command.args(launcher).arg(program.file()?);
    Ok(command)
}

/// Starts a server and waits until it is ready.
pub(crate) fn start(command: &mut Command, log: &Path, ready: impl Fn() -> bool) -> Result<Child> {
    let file = fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::command_line(command)))?;
    let started = shell::wait_for(&format!("`{}`", shell::command_line(command)), START, || {
        if let Some(status) = child.try_wait()? {
            bail!("it ended during start ({status})");
        }
        Ok(ready().then_some(()))
    });
    if started.is_err() {
        shell::end(&mut child);
    }
    started.with_context(|| fs::read_to_string(log).unwrap_or_default())?;
    Ok(child)
}
