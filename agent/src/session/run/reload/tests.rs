//! After a reload, every stage has the settings that it would have after a start.

use super::super::super::{flow_options, pipeline_options};
use super::super::Capture;
use super::super::runner::Runner;
use super::*;
use crate::capture::live::testing::Bench;
use crate::config::layer::Layer;
use crate::config::{Purpose, Sources};
use crate::pipeline::{FlowStage, Pipeline};
use dnscribe_config::reader::Field as _;
use dnscribe_config::reference::{Key, Value};
use dnscribe_delivery::null::NullSink;
use dnscribe_delivery::{SinkReplacement, Stream};
use dnscribe_record::time::Timestamp;
use dnscribe_tests::{environment, shell};
use std::fmt::Write as _;
use std::time::Duration;

/// Variables of a configuration in which every stage has something to do.
const BASE: [(&str, &str); 5] = [
    ("streams", "messages,transactions,lookups,metrics,alerts,dlq,ledger,connections"),
    ("sinks", "stdout,file:/var/log/dns.ndjson,kafka,otlp:http://c:4318,alertmanager"),
    ("kafka.brokers", "kafka-1:9092"),
    ("alertmanager.urls", "http://alertmanager-1:9093"),
    ("encrypted.resolvers", "192.0.2.53"),
];

/// Other values of keys for which [`other_value`] finds none.
const OTHER_VALUES: [(&str, &str); 41] = [
    ("filters.include.resolver", "[192.0.2.53]"),
    ("filters.exclude.resolver", "[192.0.2.53]"),
    ("file.format", "ecs"),
    ("otlp.temporality", "delta"),
    ("capture.hook", "socket"),
    ("capture.ports", "[53, 5353]"),
    ("capture.ring_bytes", "64MiB"),
    ("sampling.mode", "off"),
    ("encrypted.ports", "[8853]"),
    ("encrypted.https_ports", "[8443]"),
    ("join", "off"),
    ("windows.spans", "[1m]"),
    ("windows.groupings", "[node, resolver+zone]"),
    ("detect.enabled", "false"),
    ("detect.runbook_url", "https://wiki.example/"),
    ("output", "text"),
    ("kafka.brokers", "[kafka-9:9092]"),
    ("spool.enabled", "false"),
    ("spool.directory", "/var/lib/other"),
    ("spool.max_bytes", "2GiB"),
    ("records.max_bytes", "1MiB"),
    ("spool.when_full", "drop_newest"),
    ("alertmanager.urls", "[\"http://alertmanager-9:9093\"]"),
    ("encrypted.resolvers", "[192.0.2.9]"),
    ("streams", "[transactions, alerts, ledger]"),
    ("sinks", "[kafka, \"file:/var/log/other.ndjson\"]"),
    ("metrics.listen", "off"),
    ("privacy.qname", "hash"),
    ("privacy.client", "hash"),
    ("privacy.server", "hash"),
    ("privacy.process", "hash"),
    ("privacy.container", "hash"),
    ("privacy.rotate", "48h"),
    ("privacy.streams", "{ alerts: { qname: hash } }"),
    ("privileges.drop", "off"),
    ("log.format", "json"),
    ("log.level", "debug"),
    ("health.window", "7s"),
    ("capture.nice", "5"),
    ("capture.snap_bytes", "4096"),
    ("capture.dnstap", "[\"tcp:127.0.0.1:6000\"]"),
];

/// Keys that are valid only with others, or with files that exist. They are part of the sinks or need a restart.
const NOT_ALONE: [&str; 41] = [
    "filters.include.namespace",
    "filters.include.pod",
    "capture.connections",
    "capture.dnstap_tls.cert_file",
    "capture.dnstap_tls.key_file",
    "capture.dnstap_tls.client_ca_file",
    "first_seen.directory",
    "first_seen.max_zones",
    "indicators.files",
    "kafka.option_files",
    "kafka.format",
    "kafka.formats",
    "kafka.registry.username",
    "kafka.registry.password",
    "kafka.registry.password_file",
    "kafka.registry.ca_file",
    "kafka.registry.timeout",
    "kafka.topics",
    "alertmanager.username",
    "alertmanager.password",
    "alertmanager.password_file",
    "alertmanager.bearer_token_file",
    "alertmanager.ca_file",
    "otlp.username",
    "otlp.password",
    "otlp.password_file",
    "otlp.bearer_token_file",
    "otlp.header_files",
    "file.keep",
    "file.compress",
    // The sink excludes masking and the end of detection, which are other keys.
    "evidence.memory",
    "evidence.before",
    "evidence.max_files",
    "kubernetes.enabled",
    "kubernetes.node_name",
    "kubernetes.kubeconfig",
    "kubernetes.labels",
    "kubernetes.timeout",
    "privacy.key_file",
    "privileges.user",
    "version",
];

/// Keys that are applied elsewhere than in the stages: the drain timeout when the agent stops, ports in three steps, and
/// sinks by their own change. The options of masking other than the rules are checked where masking is.
const ELSEWHERE: [&str; 4] = ["drain_timeout", "capture.ports", "privacy.key", "privacy.rotate"];

/// Settings of topics that only `dnscribe kafka init` uses, and of rules without a sink.
const NO_EFFECT_ON_RUN: [&str; 3] =
    ["kafka.partitions", "kafka.retention", "kafka.replication_factor"];

/// Names of all keys with a value, and the value that the reference shows.
fn leaves(prefix: &str, keys: Vec<Key>) -> Vec<(String, String)> {
    keys.into_iter()
        .flat_map(|key| {
            let name = format!("{prefix}{}", key.name);
            match (key.value.clone(), key.inside) {
                (Value::Default(shown), _) => vec![(name, shown)],
                (Value::Example(shown) | Value::Each(_, shown), _) => {
                    vec![(name, shown.to_owned())]
                }
                (_, inside) => leaves(&format!("{name}."), inside),
            }
        })
        .collect()
}

/// A value other than the default `shown`; examples are other values already.
fn other_value(key: &str, shown: &str) -> String {
    if let Some((_, other)) = OTHER_VALUES.iter().find(|(name, _)| *name == key) {
        return (*other).to_owned();
    }
    match (shown, shown.parse::<u64>(), shown.parse::<f64>()) {
        ("true", ..) => "false".to_owned(),
        ("false", ..) => "true".to_owned(),
        (_, Ok(number), _) => (number + 1).to_string(),
        (_, _, Ok(number)) => (number * 0.99).to_string(),
        _ if shown.parse::<dnscribe_config::value::Span>().is_ok() => "7m7s".to_owned(),
        _ => shown.to_owned(),
    }
}

/// The configuration in which one key has this value.
fn with(key: &str, value: &str) -> Result<Config, String> {
    let mut yaml = "version: 1\n".to_owned();
    for (depth, name) in key.split('.').enumerate() {
        writeln!(yaml, "{}{name}:", "  ".repeat(depth)).unwrap();
    }
    yaml.pop();
    writeln!(yaml, " {value}").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dnscribe.yaml");
    std::fs::write(&file, if key == "version" { "version: 1\n" } else { &*yaml }).unwrap();
    let variable = |name: &str| format!("DNSCRIBE_{}", name.to_uppercase().replace('.', "__"));
    let base = BASE.iter().filter(|(name, _)| *name != key);
    let environment = base.map(|(name, value)| (variable(name).into(), (*value).into())).collect();
    let sources =
        Sources { purpose: Purpose::Live, file: Some(file), environment, flags: Layer::default() };
    Config::load(&sources).map_err(|error| format!("{yaml}{error}"))
}

/// The stages behind the capture, as they start with a configuration.
fn start(config: &Config) -> (Pipeline, FlowStage) {
    let options = pipeline_options(config, Timestamp::default(), true).unwrap();
    let sink = NullSink::new("null".to_owned(), Stream::ALL.into_iter().collect());
    let mut pipeline = Pipeline::new(options, vec![Box::new(sink)]);
    let flow = pipeline.flow_stage(flow_options(config));
    (pipeline, flow)
}

fn in_force((pipeline, flow): &(Pipeline, FlowStage)) -> String {
    format!("{}\n{}", pipeline.settings_in_force(), flow.settings_in_force())
}

#[test]
fn every_stage_has_the_new_value_of_every_key() {
    let base = with("version", "1").unwrap();
    let at_start = in_force(&start(&base));
    let (mut applied, mut problems) = (0, Vec::new());
    for (key, shown) in leaves("", Layer::keys()) {
        let value = other_value(&key, &shown);
        if NOT_ALONE.contains(&&*key) {
            continue;
        }
        let new = match with(&key, &value) {
            Ok(new) if new != base => new,
            Ok(_) => {
                problems.push(format!("{key}: {value} is the default"));
                continue;
            }
            Err(why) => {
                problems.push(format!("{key}: {why}"));
                continue;
            }
        };
        let mut stages = start(&base);
        let control = Control::Reconfigure(Arc::new(settings(&new)));
        stages.0.apply(&control).unwrap();
        stages.1.apply(&control);
        let sinks = vec![SinkReplacement::Keep(0)];
        let (flush_timeout, detection) = (Duration::ZERO, detection_change(&base, &new));
        let wire = new.messages_wire;
        let change = SinkChange { sinks, flush_timeout, detection, wire };
        let options = stages.0.replace_sinks(change);
        stages.1.apply(&Control::Render(options));
        let mut config = base.clone();
        take_settings(&mut config, &new);
        config.privacy = new.privacy.clone();
        config = config.with_sinks_of(&new);
        config.capture.ports = new.capture.ports.clone();
        let left = needs_restart(&config, &new);
        let (after, fresh) = (in_force(&stages), in_force(&start(&new)));
        if left.is_empty() && after != fresh {
            problems.push(format!("{key}: a stage keeps the old value"));
        }
        if !left.is_empty() && after != at_start {
            problems
                .push(format!("{key} needs a restart ({left:?}), and a stage takes the new value"));
        }
        let is_seen = fresh != at_start || base.sink_plans() != new.sink_plans();
        let is_elsewhere = ELSEWHERE.contains(&&*key) || NO_EFFECT_ON_RUN.contains(&&*key);
        if !is_seen && !is_elsewhere && left.is_empty() {
            problems.push(format!("{key}: nothing shows that it is applied"));
        }
        applied += usize::from(left.is_empty());
    }
    assert_eq!(problems, [""; 0]);
    assert!(applied > 100, "{applied}");
}

/// Sources with this text as their file.
fn sources(file: PathBuf, text: &str) -> Sources {
    std::fs::write(&file, text).unwrap();
    let (environment, flags) = (Vec::new(), Layer::default());
    Sources { purpose: Purpose::Live, file: Some(file), environment, flags }
}

/// Settings without their sinks could send to the present ones what these must not get.
#[test]
fn sink_that_does_not_open_keeps_all_settings() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = |sink: &str, rest: &str| {
        format!("version: 1\nsinks: [\"file:{}\"]\n{rest}", at(sink).display())
    };
    let masked = text("records", "privacy: { qname: hash }\n");
    let config = Config::load(&sources(at("dnscribe.yaml"), &masked)).unwrap();
    let read = |sink: &str| {
        let new = sources(at("dnscribe.yaml"), &text(sink, ""));
        Reloaded::read(&new, config.clone(), &["file".to_owned()])
    };
    let why = read("missing/records").err().unwrap().to_string();
    assert!(why.contains("missing/records"), "{why}");
    assert!(read("other").unwrap().sinks.is_some());
    assert!(read("records").unwrap().sinks.is_none(), "the sink is the same");
}

#[test]
fn ports_of_encrypted_dns_wait_for_a_restart_by_their_name() {
    let base = with("version", "1").unwrap();
    let left = needs_restart(&base, &with("encrypted.ports", "[8853]").unwrap());
    assert_eq!(left, ["capture of encrypted DNS (its ports and resolvers)"]);
    let left = needs_restart(&base, &with("capture.snap_bytes", "4096").unwrap());
    assert_eq!(left, ["capture (but for ports)"]);
}

#[test]
fn reload_reads_no_pipe_and_says_if_it_is_late() {
    let directory = tempfile::tempdir().unwrap();
    let sources = sources(directory.path().join("dnscribe.yaml"), "version: 1\n");
    let config = Config::load(&sources).unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let piped = Sources { file: Some(pipe), ..sources };
    let why = Reloaded::read(&piped, config, &[]).err().unwrap().to_string();
    assert!(why.contains("pipe is not a regular file"), "{why}");

    let (_sender, done) = bounded(1);
    let now = Instant::now();
    let mut reload = Reload { done, late_at: Some(now + PATIENCE) };
    assert!(reload.poll().is_none() && !reload.is_late(now));
    assert!(reload.is_late(now + PATIENCE));
    assert!(!reload.is_late(now + PATIENCE), "said once");
}

/// The capture is a stage as well: its programs sample a late response like its query.
#[test]
fn capture_has_the_new_query_timeout() {
    if !environment::privileged() {
        return;
    }
    let options = LiveOptions { ring_bytes: 1 << 20, ..LiveOptions::default() };
    let live = Bench::load(&options, false).unwrap().live;
    let mut capture = Capture::Hook(Box::new(live));
    let (mut pipeline, flow) = start(&with("version", "1").unwrap());
    let mut runner = Runner::inline(flow);
    for timeout in ["5s", "1m"] {
        let config = with("pairing.query_timeout", timeout).unwrap();
        let control = Control::Reconfigure(Arc::new(settings(&config)));
        runner.apply(&control, &mut capture, &mut pipeline).unwrap();
        let Capture::Hook(live) = &capture else { panic!() };
        assert!(live.sampling_memory() > config.pairing.query_timeout, "{timeout}");
        assert!(live.sampling_memory() < config.pairing.query_timeout * 2, "{timeout}");
    }
}

/// Lets a watch check its files, and returns what it has read.
fn check(watch: &mut IndicatorWatch) -> Option<IndicatorConfig> {
    let waker = Waker::new().unwrap();
    watch.next = Instant::now();
    assert_eq!(watch.poll(&waker), None, "the check has only begun");
    let mut found = None;
    shell::wait_for("a check", Duration::from_secs(30), || {
        found = watch.poll(&waker);
        Ok(watch.checking.is_none().then_some(()))
    })
    .unwrap();
    found
}

/// Only the lists are read, and a list that could not be read is tried again.
#[test]
fn changed_lists_are_read_until_that_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let lists = ["one", "two"].map(|name| folder.path().join(name));
    for list in &lists {
        std::fs::write(list, "bad.example\n").unwrap();
    }
    let mut watch = IndicatorWatch::new(read_indicators(lists.clone()).unwrap().files);
    assert_eq!(check(&mut watch), None);
    std::fs::write(&lists[0], "worse.example\nworst.example\n").unwrap();
    std::fs::rename(&lists[1], folder.path().join("away")).unwrap();
    for _ in 0..2 {
        assert_eq!(check(&mut watch), None);
        let problem = watch.problem.clone().unwrap();
        assert!(problem.contains(lists[1].to_str().unwrap()), "{problem}");
    }
    // Back as it was: the other list has changed before.
    std::fs::rename(folder.path().join("away"), &lists[1]).unwrap();
    let read = check(&mut watch).unwrap();
    assert_eq!((read.table.len(), &watch.problem), (3, &None));
    assert_eq!(check(&mut watch), None);
}
