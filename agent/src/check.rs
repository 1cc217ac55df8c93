//! `dnscribe check`: would `run` work on this host?

#![forbid(unsafe_code)]

use crate::config::value::Output;
use crate::config::{Config, ConfigError};
use crate::metrics::BindError;
use crate::sink::kafka::topics::{Mode, Outcome, create_topics};
use crate::sink::spool::SpoolConfig;
use crate::sink::{SinkSpec, kafka, probe_alertmanager, probe_file};
use serde::Serialize;
use std::fmt::Write;
use std::net::TcpListener;
use std::time::Duration;

/// How long to wait for Kafka.
const KAFKA_PATIENCE: Duration = Duration::from_secs(5);

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What was looked at, in a word.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// Whether `run` cannot work without it.
    pub required: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Probe {
    /// A required thing as it was found, with the remedy if it is not as it must be.
    fn required(name: &'static str, found: Result<String, (String, String)>) -> Self {
        Self::of(name, true, found)
    }

    /// A thing as it was found, with the remedy if it is not as it should be.
    #[must_use]
    pub fn of(name: &'static str, required: bool, found: Result<String, (String, String)>) -> Self {
        match found {
            Ok(detail) => Self { name, ok: true, required, detail, remedy: None },
            Err((detail, remedy)) => {
                Self { name, ok: false, required, detail, remedy: Some(remedy) }
            }
        }
    }

    fn status(&self) -> &'static str {
        match (self.ok, self.required) {
            (true, _) => "ok",
            (false, false) => "warn",
            (false, true) => "fail",
        }
    }

    fn stands_in_the_way(&self) -> bool {
        self.required && !self.ok
    }
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    config: Probe,
    host: Vec<Probe>,
    around: Vec<Probe>,
}

/// Looks at the configuration, then with `host` at what capturing needs, then at what is around:
/// Kafka, files, the metrics port. Without a configuration nothing else is looked at. Topics are
/// made only where asked for.
pub fn check(
    loaded: Result<&Config, &ConfigError>,
    create_topics: bool,
    host: impl FnOnce(&Config) -> Vec<Probe>,
) -> Report {
    match loaded {
        Ok(config) => {
            let detail = format!("node {}, sinks {}", config.node, names(&config.sinks));
            Report {
                config: Probe::required("config", Ok(detail)),
                host: host(config),
                around: around(config, create_topics),
            }
        }
        Err(error) => {
            let remedy = "correct the configuration".to_owned();
            let config = Probe::required("config", Err((error.to_string(), remedy)));
            Report { config, host: Vec::new(), around: Vec::new() }
        }
    }
}

fn names(sinks: &[SinkSpec]) -> String {
    sinks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn around(config: &Config, create_topics: bool) -> Vec<Probe> {
    let mut probes = Vec::new();
    if create_topics {
        let found = if config.sinks.contains(&SinkSpec::Kafka) {
            topics(config)
        } else {
            let remedy = "give --brokers, or leave --create-topics out";
            Err(("there is no Kafka sink to make topics for".to_owned(), remedy.to_owned()))
        };
        probes.push(Probe::required("topics", found));
    }
    if config.sinks.contains(&SinkSpec::Kafka) {
        let streams = config.streams.of(&SinkSpec::Kafka);
        let found = kafka::probe_brokers(&config.kafka, streams, KAFKA_PATIENCE)
            .map_err(|why| (why.problem, why.remedy));
        probes.push(Probe::required("kafka", found));
        if let Some(found) = kafka::probe_registry(&config.kafka, streams) {
            let remedy = "see that the registry runs and lets this client in, and what it has under \
                          these subjects; then kafka.registry and kafka.formats";
            probes.push(Probe::required("registry", found.map_err(|why| (why, remedy.to_owned()))));
        }
        probes.extend(config.spool.as_ref().map(spool));
    }
    if let Some(alertmanager) = &config.alertmanager {
        let remedy = "see that every Alertmanager of alertmanager.urls runs and lets this client in; \
                      or leave the section out";
        let found = probe_alertmanager(alertmanager).map_err(|why| (why, remedy.to_owned()));
        probes.push(Probe::required("alertmanager", found));
    }
    for sink in &config.sinks {
        if let SinkSpec::File(path) = sink {
            let remedy = if config.rotation.is_on() {
                "make its directory, and let this user write there; or leave out \
                 file.rotate_bytes and file.rotate_every"
            } else {
                "make its directory, and let this user write there"
            };
            let rotated = if config.rotation.is_on() { " and rotated" } else { "" };
            let found = probe_file(path, config.rotation)
                .map(|()| format!("{} can be written{rotated}", path.display()))
                .map_err(|error| (error.to_string(), remedy.to_owned()));
            probes.push(Probe::required("file", found));
        }
    }
    if let Some(address) = config.metrics_listen {
        let found = TcpListener::bind(address)
            .map(|_| format!("{address} is free"))
            .map_err(|error| BindError { address, error })
            .map_err(|error| (error.to_string(), BindError::REMEDY.to_owned()));
        probes.push(Probe::required("metrics", found));
    }
    probes
}

/// Without a spool `run` works too, as long as Kafka does.
fn spool(config: &SpoolConfig) -> Probe {
    let remedy = "name a directory that this user can write with spool.directory, with room for \
                  spool.max_bytes; else records wait for Kafka in memory only";
    let found = config.probe().map_err(|why| (why, remedy.to_owned()));
    Probe { required: false, ..Probe::required("spool", found) }
}

/// Makes the missing topics: how many, or why not.
fn topics(config: &Config) -> Result<String, (String, String)> {
    let topics =
        create_topics(&config.kafka, Mode::default()).map_err(|why| (why.problem, why.remedy))?;
    for topic in &topics {
        if let (Some(problem), Some(remedy)) = (&topic.problem, &topic.remedy) {
            return Err((problem.clone(), remedy.clone()));
        }
    }
    let count = |outcome| topics.iter().filter(|topic| topic.outcome == outcome).count();
    let (created, differ) = (count(Outcome::Created), count(Outcome::Differs));
    Ok(match differ {
        0 => format!("{} topics, {created} created", topics.len()),
        _ => format!(
            "{} topics, {created} created, {differ} other than wanted (`dnscribe kafka init` says \
             how)",
            topics.len()
        ),
    })
}

impl Report {
    fn probes(&self) -> impl Iterator<Item = &Probe> {
        std::iter::once(&self.config).chain(&self.host).chain(&self.around)
    }

    /// 0 if `run` would work; 2 for a bad configuration, 3 if this host cannot capture, 1 for all
    /// else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.config.stands_in_the_way() {
            2
        } else if self.host.iter().any(Probe::stands_in_the_way) {
            3
        } else {
            u8::from(self.around.iter().any(Probe::stands_in_the_way))
        }
    }

    /// For stdout, with the last newline: one aligned line each, or one JSON object.
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
            let (status, name, detail) = (probe.status(), probe.name, &probe.detail);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::Layer;
    use crate::config::{Purpose, Sources};

    fn config(sinks: &[&str]) -> Config {
        let sinks = sinks.iter().map(|sink| sink.parse().unwrap()).collect();
        let mut flags = Layer { sinks: Some(sinks), ..Layer::default() };
        flags.kafka.brokers = Some(vec!["127.0.0.1:1".parse().unwrap()]);
        flags.metrics.listen = Some("127.0.0.1:0".parse().unwrap());
        let sources =
            Sources { purpose: Purpose::Live, file: None, environment: Vec::new(), flags };
        Config::load(&sources).unwrap()
    }

    fn probe(ok: bool, required: bool) -> Probe {
        let remedy = Some("use Linux 5.8".into());
        Probe { name: "kernel", ok, required, detail: "5.4".into(), remedy }
    }

    #[test]
    fn all_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let config = config(&[&format!("file:{}", path.display())]);
        let report = check(Ok(&config), false, |_| vec![probe(true, true), probe(false, false)]);
        assert_eq!(report.exit_code(), 0);
        assert!(!path.exists(), "check leaves nothing behind");
        let text = report.render(Output::Auto);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[1], "ok    kernel   5.4");
        assert_eq!(lines[2], "warn  kernel   5.4; remedy: use Linux 5.8");
        assert!(lines[4].starts_with("ok    metrics  "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.render(Output::Json)).unwrap();
        assert_eq!((&json["ok"], &json["exit_code"]), (&true.into(), &0.into()));
        assert_eq!(json["probes"][2]["remedy"], "use Linux 5.8");
    }

    #[test]
    fn the_exit_code_tells_what_is_wrong() {
        let bad = ConfigError::NoBrokers;
        let report = check(Err(&bad), false, |_| panic!("not without a configuration"));
        assert_eq!(report.exit_code(), 2);
        let config = config(&["file:/no/such/place"]);
        assert_eq!(check(Ok(&config), false, |_| vec![probe(false, true)]).exit_code(), 3);
        let report = check(Ok(&config), false, |_| Vec::new());
        assert_eq!(report.exit_code(), 1);
        assert!(report.render(Output::Text).contains("fail  file"), "{report:?}");
    }

    #[test]
    fn a_registry_that_is_not_there_fails() {
        let mut config = config(&["kafka"]);
        config.kafka.format = crate::sink::Format::Avro;
        config.kafka.registry = Some(crate::sink::RegistryConfig {
            url: "http://127.0.0.1:1".into(),
            login: None,
            ca_file: None,
            timeout: Duration::from_secs(1),
        });
        let text = check(Ok(&config), false, |_| Vec::new()).render(Output::Text);
        let line = text.lines().find(|line| line.starts_with("fail  registry")).unwrap();
        assert!(line.contains("http://127.0.0.1:1: ") && line.contains("remedy: see"), "{line}");
        assert!(line.contains("refused"), "{line}");
    }

    #[test]
    fn an_alertmanager_that_is_not_there_fails() {
        let config = config(&["null"]);
        let alertmanager = crate::sink::AlertmanagerConfig {
            urls: vec!["http://127.0.0.1:1".into()],
            authorization: None,
            ca_file: None,
            timeout: Duration::from_secs(1),
            resend: Duration::from_secs(60),
            labels: std::collections::BTreeMap::new(),
            generator_url: None,
        };
        let config = Config { alertmanager: Some(alertmanager), ..config };
        let text = check(Ok(&config), false, |_| Vec::new()).render(Output::Text);
        let line = text.lines().find(|line| line.starts_with("fail  alertmanager")).unwrap();
        assert!(line.contains("http://127.0.0.1:1: ") && line.contains("remedy: see"), "{line}");
        assert!(line.contains("refused"), "{line}");
    }

    #[test]
    fn kafka_that_is_not_there_fails() {
        let config = config(&["kafka"]);
        let report = check(Ok(&config), false, |_| Vec::new());
        assert_eq!(report.exit_code(), 1);
        let text = report.render(Output::Text);
        assert!(text.contains("127.0.0.1:1") && text.contains("refused"), "{text}");
    }
}
