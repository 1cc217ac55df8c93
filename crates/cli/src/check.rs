//! The report of a command `check`: whether `run` would work on this host, one line for each thing probed, with
//! remedies; and probes of what every program needs that delivers records.

use dnscribe_admin::BindError;
use dnscribe_config::value::Output;
use dnscribe_delivery::spool::SpoolConfig;
use dnscribe_delivery::{
    OpenWith, Rotation, SinkSpec, kafka, probe_alertmanager, probe_directory, probe_file,
    probe_otlp,
};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

/// Time limit of the connection to Kafka.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(5);

/// Result of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Name of what was probed.
    pub name: &'static str,
    /// Whether it is fine.
    pub ok: bool,
    /// Whether `run` cannot work without it.
    pub required: bool,
    /// What was found, and what follows from it.
    pub detail: String,
    /// What to do about it, if it is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Probe {
    /// Creates the result of a probe.
    #[must_use]
    pub fn new(name: &'static str, required: bool, ok: bool, detail: String, remedy: &str) -> Self {
        let remedy = (!ok).then(|| remedy.to_owned());
        Self { name, ok, required, detail, remedy }
    }

    /// Creates the result of a probe: what was found, or the problem and its remedy.
    #[must_use]
    pub fn from_result(
        name: &'static str,
        required: bool,
        found: Result<String, (String, String)>,
    ) -> Self {
        match found {
            Ok(detail) => Self::new(name, required, true, detail, ""),
            Err((problem, remedy)) => Self::new(name, required, false, problem, &remedy),
        }
    }
}

/// Creates the result of a probe of something that `run` needs: what was found, or the problem and its remedy.
#[must_use]
pub fn required(name: &'static str, found: Result<String, (String, String)>) -> Probe {
    Probe::from_result(name, true, found)
}

/// Creates the result of a probe of something that `run` needs, and that has one remedy.
pub fn with_remedy(
    name: &'static str,
    found: Result<String, impl ToString>,
    remedy: &str,
) -> Probe {
    required(name, found.map_err(|why| (why.to_string(), remedy.to_owned())))
}

const fn status(probe: &Probe) -> &'static str {
    match (probe.ok, probe.required) {
        (true, _) => "ok",
        (false, false) => "warn",
        (false, true) => "fail",
    }
}

const fn is_failure(probe: &Probe) -> bool {
    probe.required && !probe.ok
}

/// Results of all probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The configuration.
    pub config: Probe,
    /// What `run` needs of this host.
    pub host: Vec<Probe>,
    /// Destinations of records and the metrics port.
    pub outputs: Vec<Probe>,
}

/// Probes the destinations of records, Kafka and its spool, Alertmanager and files, and then the address of
/// `/metrics`.
#[must_use]
pub fn outputs(
    sinks: &[SinkSpec],
    with: &OpenWith<'_>,
    metrics_listen: Option<SocketAddr>,
) -> Vec<Probe> {
    let mut probes = Vec::new();
    if sinks.contains(&SinkSpec::Kafka) {
        let streams = with.streams.for_sink(&SinkSpec::Kafka);
        probes.push(match kafka::probe_brokers(with.kafka, streams, KAFKA_TIMEOUT) {
            Ok(found) => required("kafka", Ok(found)),
            Err(why) => Probe::new("kafka", !why.is_doubtful, false, why.problem, &why.remedy),
        });
        if let Some(found) = kafka::probe_registry(with.kafka, streams) {
            let remedy = "check that the registry runs, accepts this client and has compatible schemas; then \
                          kafka.registry and kafka.formats";
            probes.push(with_remedy("registry", found, remedy));
        }
    }
    if sinks.iter().any(SinkSpec::has_spool) {
        probes.extend(with.spool.map(spool));
    }
    let otlp = with.otlp.cloned().unwrap_or_default();
    for sink in sinks {
        if let SinkSpec::Otlp(target) = sink {
            let remedy = "check that the server runs, accepts this client and takes these signals; name others \
                          behind its URL, such as #metrics";
            probes.push(server("otlp", probe_otlp(target, &otlp), remedy));
        }
    }
    if let Some(alertmanager) = with.alertmanager {
        let remedy = "check that every Alertmanager of alertmanager.urls runs and accepts this client; \
                      or remove the section";
        probes.push(server("alertmanager", probe_alertmanager(alertmanager), remedy));
    }
    for sink in sinks {
        let mut remedy = "create its directory, and let this user write there".to_owned();
        let can = |path: &Path| format!("{} can be written", path.display());
        if let Some(path) = sink.file() {
            let is_rotated = matches!(sink, SinkSpec::File(_)) && with.rotation.is_on();
            let rotation = if is_rotated { with.rotation } else { Rotation::default() };
            let mut can = can(path);
            if is_rotated {
                remedy += "; or remove file.rotate_bytes and file.rotate_every";
                can += " and rotated";
            }
            if path.is_dir() {
                "name a file, such as one in this directory".clone_into(&mut remedy);
            }
            let found = probe_file(path, rotation).map(|()| can);
            probes.push(with_remedy(sink.kind(), found, &remedy));
        } else if let Some(directory) = sink.directory() {
            let found = probe_directory(directory).map(|()| can(directory));
            probes.push(with_remedy(sink.kind(), found, &remedy));
        }
    }
    if let Some(address) = metrics_listen {
        let found = TcpListener::bind(address)
            .map(|_| format!("{address} is free for /metrics, /healthz, /livez and /readyz"))
            .map_err(|error| BindError { address, error });
        probes.push(with_remedy("metrics", found, BindError::REMEDY));
    }
    probes
}

/// Creates the result of a probe of a server, with this remedy if the cause of a problem is not clear.
fn server(
    name: &'static str,
    found: Result<String, (String, Option<String>)>,
    remedy: &str,
) -> Probe {
    let or_general = |own: Option<String>| own.unwrap_or_else(|| remedy.to_owned());
    required(name, found.map_err(|(why, own)| (why, or_general(own))))
}

/// Probes the spool. `run` also works without one, as long as Kafka does.
fn spool(config: &SpoolConfig) -> Probe {
    let remedy = "set spool.directory to a directory that this user can write, with space for \
                  spool.max_bytes, or lower that; without a spool, records wait in memory only";
    Probe { required: false, ..with_remedy("spool", config.probe(), remedy) }
}

impl Report {
    fn probes(&self) -> impl Iterator<Item = &Probe> {
        std::iter::once(&self.config).chain(&self.host).chain(&self.outputs)
    }

    /// Returns 0 if `run` would work, 2 for a bad configuration, 3 if this host lacks
    /// something, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if is_failure(&self.config) {
            2
        } else if self.host.iter().any(is_failure) {
            3
        } else {
            u8::from(self.outputs.iter().any(is_failure))
        }
    }

    /// Returns the text for stdout, with the last newline: a line for each probe, or one JSON object.
    #[must_use]
    pub fn render(&self, output: Output) -> String {
        match output {
            Output::Json => self.json(),
            Output::Auto | Output::Text => self.text(),
        }
    }

    fn text(&self) -> String {
        let width = self.probes().map(|probe| probe.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for probe in self.probes() {
            let (status, name, detail) = (status(probe), probe.name, &probe.detail);
            let remedy = probe.remedy.as_ref().filter(|_| !probe.ok);
            let remedy = remedy.map(|remedy| format!("; remedy: {remedy}")).unwrap_or_default();
            // Writing to a string does not fail.
            let _ = writeln!(text, "{status:<4}  {name:<width$}  {detail}{remedy}");
        }
        text
    }

    fn json(&self) -> String {
        let probes: Vec<&Probe> = self.probes().collect();
        let code = self.exit_code();
        let report = serde_json::json!({ "ok": code == 0, "exit_code": code, "probes": probes });
        format!("{report}\n")
    }
}
