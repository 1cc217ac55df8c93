//! `dnscribe check`: whether `run` would work on this host.

mod memory;

use crate::cli::CheckArgs;
use dnscribe_agent::capture::dnstap::Receiver;
use dnscribe_agent::capture::live::{ListenerPlace, probe};
use dnscribe_agent::config::Config;
use dnscribe_agent::enrich::kubernetes;
use dnscribe_agent::privilege;
use dnscribe_agent::session::live_options;
use dnscribe_cli::check::{self, Probe, Report, required};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::ConfigError;
use dnscribe_config::value::Output;
use dnscribe_delivery::SinkSpec;
use dnscribe_delivery::kafka::topics::{TopicOutcome, create_topics};
use std::process::exit;

/// Prints the results, and ends with the exit code that `run` would end with.
pub(super) fn check(args: &CheckArgs) -> Result<(), Exit> {
    let sources = args.sources();
    let loaded = Config::load(&sources);
    let report = probe_all(loaded.as_ref(), args.create_topics, |config| {
        let mut probes = if config.has_hook() {
            probe::run_probes(&live_options(config, ListenerPlace::Thread))
        } else {
            Vec::new()
        };
        if !config.dnstap.is_empty() {
            let bound = Receiver::bind(&config.dnstap, config.dnstap_tls.as_ref())
                .map(|receiver| receiver.description.clone());
            probes.push(required("dnstap", bound.map_err(|why| (why.problem, why.remedy))));
        }
        probes.push(memory::probe(config));
        probes.extend(privilege::probe::probe(config, sources.file.as_deref()));
        probes
    });
    print(&report.render(args.output.unwrap_or(Output::Text)))?;
    match report.exit_code() {
        0 => Ok(()),
        // The report says everything.
        code => exit(i32::from(code)),
    }
}

/// Probes the configuration, then with `host` what capture needs, then the outputs: Kafka, files, the
/// metrics port. Without a valid configuration nothing else is probed.
fn probe_all(
    loaded: Result<&Config, &ConfigError>,
    create_topics: bool,
    host: impl FnOnce(&Config) -> Vec<Probe>,
) -> Report {
    match loaded {
        Ok(config) => {
            // Where it is on, it has a line of its own.
            let pods = if config.kubernetes.is_none() { ", Kubernetes off" } else { "" };
            let detail = format!("node {}, sinks {}{pods}", config.node, names(&config.sinks));
            Report {
                config: required("config", Ok(detail)),
                host: host(config),
                outputs: outputs(config, create_topics),
            }
        }
        Err(error) => {
            let remedy = "correct the configuration".to_owned();
            let config = required("config", Err((error.to_string(), remedy)));
            Report { config, host: Vec::new(), outputs: Vec::new() }
        }
    }
}

fn names(sinks: &[SinkSpec]) -> String {
    sinks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn outputs(config: &Config, create_topics: bool) -> Vec<Probe> {
    let mut probes = Vec::new();
    if create_topics {
        let found = if config.sinks.contains(&SinkSpec::Kafka) {
            topics(config)
        } else {
            let remedy = "give --brokers, or leave out --create-topics";
            Err(("there is no Kafka sink to create topics for".to_owned(), remedy.to_owned()))
        };
        probes.push(required("topics", found));
    }
    probes.extend(check::outputs(&config.sinks, &config.open_with(), config.metrics_listen));
    if let Some(kubernetes) = &config.kubernetes {
        // `run` also works without it, and names pods once the API is available.
        let found = kubernetes::probe(kubernetes);
        probes.push(Probe { required: false, ..required("kubernetes", found) });
    }
    probes
}

/// Creates the missing topics. Returns how many, or the problem and its remedy.
fn topics(config: &Config) -> Result<String, (String, String)> {
    let topics = create_topics(&config.kafka).map_err(|why| (why.problem, why.remedy))?;
    for topic in &topics {
        if let (Some(problem), Some(remedy)) = (&topic.problem, &topic.remedy) {
            return Err((problem.clone(), remedy.clone()));
        }
    }
    let count = |outcome| topics.iter().filter(|topic| topic.outcome == outcome).count();
    let (created, differ) = (count(TopicOutcome::Created), count(TopicOutcome::Differs));
    Ok(match differ {
        0 => format!("{} topics, {created} created", topics.len()),
        _ => format!(
            "{} topics, {created} created, {differ} with other settings (see \
             `dnscribe kafka init`)",
            topics.len()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_agent::config::layer::Layer;
    use dnscribe_agent::config::{Purpose, Sources};
    use std::time::Duration;

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
    fn reports_success() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let config = config(&[&format!("file:{}", path.display())]);
        let report =
            probe_all(Ok(&config), false, |_| vec![probe(true, true), probe(false, false)]);
        assert_eq!(report.exit_code(), 0);
        assert!(!path.exists(), "check leaves nothing behind");
        let text = report.render(Output::Auto);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].ends_with(", Kubernetes off"), "{text}");
        assert_eq!(lines[1], "ok    kernel   5.4");
        assert_eq!(lines[2], "warn  kernel   5.4; remedy: use Linux 5.8");
        assert!(lines[4].starts_with("ok    metrics  "), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.render(Output::Json)).unwrap();
        assert_eq!((&json["ok"], &json["exit_code"]), (&true.into(), &0.into()));
        assert_eq!(json["probes"][2]["remedy"], "use Linux 5.8");
    }

    #[test]
    fn exit_code_depends_on_what_fails() {
        let bad = ConfigError::Invalid("wrong".into());
        let report = probe_all(Err(&bad), false, |_| panic!("not without a configuration"));
        assert_eq!(report.exit_code(), 2);
        let config = config(&["file:/no/such/place"]);
        assert_eq!(probe_all(Ok(&config), false, |_| vec![probe(false, true)]).exit_code(), 3);
        let report = probe_all(Ok(&config), false, |_| Vec::new());
        assert_eq!(report.exit_code(), 1);
        assert!(report.render(Output::Text).contains("fail  file"), "{report:?}");
    }

    #[test]
    fn fails_without_registry() {
        let mut config = config(&["kafka"]);
        config.kafka.format = dnscribe_delivery::Format::Avro;
        config.kafka.registry = Some(dnscribe_delivery::RegistryConfig {
            url: "http://127.0.0.1:1".into(),
            login: None,
            ca_file: None,
            timeout: Duration::from_secs(1),
        });
        let text = probe_all(Ok(&config), false, |_| Vec::new()).render(Output::Text);
        let line = text.lines().find(|line| line.starts_with("fail  registry")).unwrap();
        assert!(line.contains("http://127.0.0.1:1: ") && line.contains("remedy: check"), "{line}");
        assert!(line.contains("refused"), "{line}");
    }

    #[test]
    fn fails_without_alertmanager() {
        let config = config(&["null"]);
        let alertmanager = dnscribe_delivery::AlertmanagerConfig {
            urls: vec!["http://127.0.0.1:1".into()],
            authorization: None,
            ca_file: None,
            timeout: Duration::from_secs(1),
            resend: Duration::from_mins(1),
            labels: std::collections::BTreeMap::new(),
            generator_url: None,
        };
        let config = Config { alertmanager: Some(alertmanager), ..config };
        let text = probe_all(Ok(&config), false, |_| Vec::new()).render(Output::Text);
        let line = text.lines().find(|line| line.starts_with("fail  alertmanager")).unwrap();
        assert!(line.contains("http://127.0.0.1:1: ") && line.contains("remedy: check"), "{line}");
        assert!(line.contains("refused"), "{line}");
    }

    #[test]
    fn fails_without_kafka() {
        let config = config(&["kafka"]);
        let report = probe_all(Ok(&config), false, |_| Vec::new());
        assert_eq!(report.exit_code(), 1);
        let text = report.render(Output::Text);
        assert!(text.contains("127.0.0.1:1") && text.contains("refused"), "{text}");
    }
}
