use super::*;
use crate::capture::live::HookChoice;
use dnscribe_analysis::detect::{MaintenancePeriod, Rule};
use dnscribe_config::value::{LogFormat, LogLevel};
use dnscribe_delivery::{Format, Login, Password, Rotation, Stream};
use std::fs;

mod alertmanager;
mod masking;
mod otlp;

/// A configuration from a file's text, variables and flags.
fn load(
    yaml: Option<&str>,
    variables: &[(&str, &str)],
    flags: Layer,
    purpose: Purpose,
) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = yaml.map(|yaml| {
        let path = dir.path().join("dnscribe.yaml");
        fs::write(&path, yaml).unwrap();
        path
    });
    let environment =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::load(&Sources { purpose, file, environment, flags })
}

fn from_file(yaml: &str) -> Result<Config, ConfigError> {
    load(Some(yaml), &[], Layer::default(), Purpose::Live)
}

fn complaint(yaml: &str) -> String {
    let error = from_file(yaml).unwrap_err().to_string();
    error.split_once("dnscribe.yaml: ").map_or(error.clone(), |(_, rest)| rest.to_owned())
}

const FULL: &str = r#"
version: 1
node: edge-1
region: eu
capture:
  hook: socket
  interfaces: [eth0, eth1]
  ports: [53, 5353]
  nice: 5
  ring_bytes: 32MiB
  snap_bytes: 4096
pairing:
  query_timeout: 1m30s
  max_transactions: 1_000
detect:
  enabled: true
  repeat: 10m
  runbook_url: https://wiki.example.com/runbooks/
  rules:
    resolver_down: {min_queries: 20, for: 10s, clear_for: 1m}
    success_ratio: {warning: 0.95, critical: 0.8, for: 2m}
    latency: {warning: 4}
    tunnel: {enabled: false}
  maintenance:
    - {start: 2026-11-21T22:00:00Z, end: 2026-11-22T02:00:00Z, rules: [resolver_*], resolver: 192.0.2.*}
    - days: [sat, sun]
      from: 22:30
      to: 04:00
streams: [transactions, ledger]
file:
  streams: [transactions, dlq]
  rotate_bytes: 100MiB
  rotate_every: 24h
  keep: 10
  compress: zstd
sinks:
  - kafka
  - file:/var/log/dns.ndjson
output: json
kafka:
  brokers:
    - kafka-1:9092
    - kafka-2:9092
  topics:
    transactions: my.dns
  streams: messages
  options:
    linger.ms: 5
    sasl.password: hunter2
    enable.ssl.certificate.verification: true
  partitions: { transactions: 24 }
  retention:
    ledger: 3d
  replication_factor: 3
  format: avro
  formats:
    dlq: json
  registry:
    url: https://registry:8081/
    username: me
    password: hunter2
    ca_file: /etc/ca.pem
    timeout: 1s
resolvers:
  office: [192.0.2.53, "2001:db8::53"]
  home: ::ffff:192.0.2.1
metrics:
  listen: 0.0.0.0:9000
messages:
  wire: true
records:
  idn: true
log:
  format: json
  level: debug
drain_timeout: 2s
duration: 100ms
"#;

#[test]
fn the_null_sink_needs_no_quotes() {
    let config = from_file("version: 1\nsinks: [null, stdout]\n").unwrap();
    assert_eq!(config.sinks, [SinkSpec::Null, SinkSpec::Stdout]);
    let error = complaint("version: 1\ncapture: {ports: [53, null]}\n");
    assert!(error.starts_with("line 2, column 18: capture"), "{error}");
}

#[test]
fn hooks_refuse_what_they_would_ignore() {
    let refused = |capture: &str| complaint(&format!("version: 1\ncapture: {{{capture}}}\n"));
    for capture in ["hook: socket, cgroup: x", "cgroup: x, interfaces: [eth0]"] {
        let error = refused(capture);
        assert!(error.contains("knows no cgroups"), "{error}");
    }
    let error = refused("hook: cgroup, interfaces: [eth0]");
    assert!(error.contains("sees every socket"), "{error}");
    for interfaces in ["[\"\"]", "[a/b]", "[eth0-is-too-long]"] {
        let error = refused(&format!("interfaces: {interfaces}"));
        assert!(error.contains("is not the name of an interface"), "{error}");
    }
    let error = complaint("version: 1\nspool: {directory: \"a\\0\"}\n");
    assert_eq!(error, "line 2, column 20: spool.directory: a text with a NUL character");
    let auto = from_file("version: 1\ncapture: {interfaces: [eth0]}\n").unwrap();
    assert_eq!(auto.capture.interfaces, ["eth0"]);
}

#[test]
fn reads_every_key() {
    let config = from_file(FULL).unwrap();
    assert_eq!((config.node.as_str(), config.region.as_deref()), ("edge-1", Some("eu")));
    assert_eq!(config.capture.hook, HookChoice::Socket);
    assert_eq!(config.capture.interfaces, ["eth0", "eth1"]);
    assert_eq!(config.capture.ports.to_string(), "53,5353");
    assert_eq!((config.capture.ring_bytes, config.capture.snap_bytes), (32 << 20, 4096));
    assert_eq!(config.capture.nice, 5);
    assert_eq!(config.pairing.query_timeout, Duration::from_secs(90));
    assert_eq!(config.pairing.max_transactions, 1000);
    let streams = |sink: &str| config.streams.for_sink(&sink.parse().unwrap());
    assert_eq!(format!("{:?}", streams("kafka")), "{\"messages\"}");
    assert_eq!(format!("{:?}", streams("file:x")), "{\"transactions\", \"dlq\"}");
    assert_eq!(format!("{:?}", streams("stdout")), "{\"transactions\", \"ledger\"}");
    let every = Some(Duration::from_hours(24));
    let rotation = Rotation { bytes: Some(100 << 20), every, keep: Some(10), compress: true };
    assert_eq!(config.rotation, rotation);
    assert_eq!(config.sinks, [SinkSpec::Kafka, SinkSpec::File("/var/log/dns.ndjson".into())]);
    assert_eq!(config.kafka.brokers, ["kafka-1:9092", "kafka-2:9092"]);
    assert_eq!(config.kafka.topic(Stream::Transactions), "my.dns");
    assert_eq!(config.kafka.topic(Stream::Ledger), "dns.ledger");
    assert_eq!(config.kafka.options["linger.ms"], "5");
    assert_eq!(config.kafka.options["enable.ssl.certificate.verification"], "true");
    let creation = &config.kafka.creation;
    assert_eq!(creation.partitions, [(Stream::Transactions, 24)].into());
    assert_eq!(creation.retention, [(Stream::Ledger, Duration::from_hours(72))].into());
    assert_eq!(creation.replication_factor, Some(3));
    assert_eq!(config.kafka.format(Stream::Transactions), Format::Avro);
    assert_eq!(config.kafka.format(Stream::Dlq), Format::Json);
    let registry = config.kafka.registry.as_ref().unwrap();
    assert_eq!(registry.url, "https://registry:8081");
    let password = Password("hunter2".into());
    assert_eq!(registry.login, Some(Login { username: "me".into(), password }));
    assert_eq!(registry.ca_file.as_deref(), Some("/etc/ca.pem".as_ref()));
    assert_eq!(registry.timeout, Duration::from_secs(1));
    let home: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!((config.resolvers.len(), config.resolvers[&home].as_str()), (3, "home"));
    let detect = config.detect.as_ref().unwrap();
    assert_eq!(detect.repeat, Duration::from_mins(10));
    assert_eq!(detect.runbook_url, "https://wiki.example.com/runbooks");
    assert_eq!((detect.down.min_queries, detect.down.span.as_secs()), (20, 10));
    assert_eq!(detect.rule(Rule::ResolverDown).clear_for, Duration::from_mins(1));
    assert!(!detect.rule(Rule::Tunnel).enabled && detect.rule(Rule::Dga).enabled);
    assert!((detect.success.critical - 0.8).abs() < 1e-9 && detect.latency.critical == Some(5.0));
    let whens: Vec<MaintenancePeriod> =
        detect.maintenance.iter().map(|maintenance| maintenance.period).collect();
    let once = ["2026-11-21T22:00:00Z", "2026-11-22T02:00:00Z"].map(|at| at.parse().unwrap());
    let weekly = MaintenancePeriod::Weekly { days: 0b110_0000, from: 81_000, to: 14_400 };
    assert_eq!(whens, [MaintenancePeriod::Once(once[0], once[1]), weekly]);
    assert_eq!(config.metrics_listen, Some("0.0.0.0:9000".parse().unwrap()));
    assert!(config.messages_wire && config.records_idn && config.output == RecordOutput::Json);
    assert_eq!(config.log, LogConfig { format: LogFormat::Json, level: LogLevel::Debug });
    assert_eq!(config.drain_timeout, Duration::from_secs(2));
    assert_eq!(config.duration, Some(Duration::from_millis(100)));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn labels_name_topics() {
    let yaml = "version: 1\nregion: eu\nlabels: {environment: prod}\nkafka:\n  topic_prefix: sandbox.\n  \
        topics: {transactions: \"dns.normalized.{environment}-{region}\"}\n";
    let config = from_file(yaml).unwrap();
    assert_eq!(config.labels["environment"], "prod");
    let topics = [Stream::Transactions, Stream::Dlq].map(|stream| config.kafka.topic(stream));
    assert_eq!(topics, ["sandbox.dns.normalized.prod-eu", "sandbox.dns.dlq"]);
    let unknown = complaint("version: 1\nkafka: {topics: {dlq: \"dns.{unit}\"}}\n");
    assert!(unknown.contains("nothing is called \"unit\""), "{unknown}");
    let open = complaint("version: 1\nkafka: {topics: {dlq: \"dns.{unit\"}}\n");
    assert!(open.contains("without \"}\""), "{open}");
    let many = (0..17).map(|n| format!("a{n}: b")).collect::<Vec<_>>().join(", ");
    let many = complaint(&format!("version: 1\nlabels: {{{many}}}\n"));
    assert!(many.contains("at most 16"), "{many}");
    let name = complaint("version: 1\nlabels: {Env: prod}\n");
    assert!(name.contains("is not the name of a label"), "{name}");
}

#[test]
fn says_where_and_what_is_wrong() {
    let cases = [
        (
            "version: 1\nkafka:\n  broker: [a]\n",
            "line 3, column 3: kafka.broker: unknown key `broker`, expected one of brokers, streams, topics, topic_prefix, options, option_files, partitions, retention, replication_factor, format, formats, registry",
        ),
        (
            "version: 1\nprivileges:\n  keep: [CAP_SYS_NICE, CAP_NICE]\n",
            "line 3, column 24: privileges.keep: \"CAP_NICE\" is not a capability: give one of Linux, such as CAP_SYS_NICE",
        ),
        (
            "version: 1\npairing:\n\n  query_timeout: soon\n",
            "line 4, column 18: pairing.query_timeout: \"soon\" is not a duration: give a number with its unit, such as 5s or 1m30s, at most 36500d",
        ),
        (
            "version: 1\nwindows: {spans: [10s, 2m]}\n",
            "line 2, column 18: windows.spans: \"2m\" is not a window: choose from 10s, 1m, 5m, 1m/10s",
        ),
        (
            "version: 1\ndetect:\n  rules:\n    resolver_down: {z_score: 3}\n",
            "line 4, column 21: detect.rules.resolver_down.z_score: unknown key `z_score`, expected one of enabled, clear_for, min_queries, for",
        ),
        (
            "version: 1\ndetect:\n  rules:\n    success_ratio:\n      warning: 98\n",
            "line 5, column 16: detect.rules.success_ratio.warning: \"98\" is not a share: give a number between 0 and 1, such as 0.98",
        ),
        (
            "version: 1\ndetect: {rules: {success_ratio: {warning: 0.8}}}\n",
            "line 2, column 18: detect.rules.success_ratio: critical 0.9 is above warning 0.8: what is critical must be worse",
        ),
        (
            "version: 1\ndetect: {maintenance: [{from: 22:00, to: 23:00}, {days: mon}]}\n",
            "line 2, column 10: detect.maintenance: number 2 has no time: give start and a later end, or from and another to, with days if not every day",
        ),
        (
            "version: 1\ndetect:\n  maintenance:\n    - {from: 24:00, to: 1:00}\n",
            "line 4, column 14: detect.maintenance.from: \"24:00\" is not a time of day: give hours and minutes, such as 22:30",
        ),
        (
            "version: 1\nsinks:\n  - stdout\n  - kafak\n",
            "line 4, column 5: sinks: \"kafak\" is not a sink: choose from stdout, file:PATH, kafka, otlp:URL, parquet:DIR, dnstap:unix:PATH, pcapng:PATH, evidence:DIR, alertmanager, null",
        ),
        (
            "version: 2\n",
            "line 1, column 10: version: \"2\" is not a version that this dnscribe reads: give 1",
        ),
        ("node: x\n", "line 1, column 1: version is missing: write \"version: 1\""),
        ("", "line 1, column 1: version is missing: write \"version: 1\""),
        ("version: 1\nnode: [a]\n", "line 2, column 7: node: expected a single value"),
        (
            "version: 1\nresolvers:\n  a: [192.0.2.1, 192.0.2.256]\n",
            "line 3, column 18: resolvers.a: \"192.0.2.256\" is not an IP address: give one such as 192.0.2.53 or 2001:db8::53",
        ),
        (
            "version: 1\nkafka:\n  topics:\n    raw: x\n",
            "line 4, column 5: kafka.topics.raw: \"raw\" is not a stream: choose from messages, transactions, lookups, metrics, alerts, dlq, ledger, connections, uses, probes",
        ),
        (
            "version: 1\nresolvers:\n  a: 192.0.2.1\n  b: 192.0.2.1\n",
            "line 2, column 1: resolvers: 192.0.2.1 is both \"a\" and \"b\": keep one of them",
        ),
        (
            "version: 1\nfile: {keep: 3}\n",
            "line 2, column 8: file.keep is for rotated files: give file.rotate_bytes or file.rotate_every too",
        ),
        (
            "version: 1\nfile: {compress: zstd}\n",
            "line 2, column 8: file.compress is for rotated files: give file.rotate_bytes or file.rotate_every too",
        ),
        (
            "version: 1\nfile:\n  rotate_bytes: 100\n",
            "line 3, column 17: file.rotate_bytes: \"100\" is not a file size: give 64KiB to 1000000GiB, such as 100MiB",
        ),
        (
            "version: 1\nkafka:\n  streams: [alerts, probes]\n",
            "line 3, column 3: kafka.streams: probes is a stream of dnscribe-probe: leave it out",
        ),
        (
            "version: 1\nsinks: [kafka]\n",
            "line 2, column 1: sinks: kafka needs brokers: give --brokers HOST:PORT or kafka.brokers",
        ),
    ];
    for (yaml, expected) in cases {
        assert_eq!(complaint(yaml), expected, "{yaml}");
    }
    let twice = complaint("version: 1\nnode: x\nnode: y\n");
    assert_eq!(twice, "line 3, column 1: node: duplicate mapping key: node");
    let section = complaint("version: 1\nkafka: here\n");
    assert_eq!(section, "line 2, column 8: kafka: expected a section of keys");
    // Ports are judged together, so the place is that of the list.
    let nice = complaint("version: 1\ncapture: {nice: -5}\n");
    assert!(nice.contains("0 to 19"), "{nice}");
    let ports = complaint("version: 1\ncapture:\n  ports: [53, 70000]\n");
    assert!(ports.contains("line 3") && ports.contains("\"70000\" is not a port"), "{ports}");
    let top = complaint("version: 1\nnod: x\n");
    assert!(top.starts_with("line 2, column 1: nod: unknown key `nod`"), "{top}");
    assert!(top.contains("version, node, region, labels, capture, pairing"), "{top}");
}

#[test]
fn errors_never_tell_secrets() {
    let lines =
        ["sasl.password: [hunter2]", "sasl.password: {hunter2: 1}", "sasl.password: \"hunter2"];
    for line in lines {
        let yaml = format!("version: 1\nkafka:\n  options:\n    {line}\n  brokers: 5\n");
        let error = from_file(&yaml).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn detection_is_there_where_alerts_are_wanted() {
    let is_there = |yaml: &str| from_file(&format!("version: 1\n{yaml}")).unwrap().detect.is_some();
    assert!(!is_there("sinks: [stdout]\n"));
    assert!(is_there("sinks: [stdout]\nstreams: [alerts]\n"));
    assert!(is_there("sinks: [stdout]\ndetect: {enabled: true}\n"));
    assert!(
        !is_there("sinks: [file:/x]\ndetect: {enabled: false}\n") && is_there("sinks: [file:/x]\n")
    );
}

#[test]
fn empty_sections_say_nothing() {
    let config =
        from_file("version: 1\nkafka:\n  # brokers: [a]\ncapture: {}\nsinks:\nresolvers:\nnode:\n")
            .unwrap();
    assert_eq!(config.sinks, [SinkSpec::Stdout]);
    assert_eq!(config.capture.ports.to_string(), "53");
    assert_eq!(config.metrics_listen, Listen::DEFAULT.0);
    assert!(!config.node.is_empty() && config.node != "replay");
}

#[test]
fn higher_layers_win() {
    let yaml = "version: 1\nnode: file\nregion: file\npairing:\n  query_timeout: 1s\nkafka:\n  brokers: [f:1]\n  options:\n    client.id: file\n    client.rack: file\n";
    let variables = [
        ("DNSCRIBE_NODE", "env"),
        ("DNSCRIBE_PAIRING__QUERY_TIMEOUT", "2s"),
        ("DNSCRIBE_KAFKA__BROKERS", "e:1, e:2"),
        ("DNSCRIBE_KAFKA__OPTIONS__SASL_PASSWORD", "p\"s: w"),
        ("DNSCRIBE_KAFKA__OPTIONS__CLIENT_RACK", "env"),
        ("DNSCRIBE_CAPTURE__PORTS", "5353"),
        ("DNSCRIBE_METRICS__LISTEN", "off"),
        ("DNSCRIBE_LOG", "debug"),
        ("DNSCRIBE_CONFIG", "elsewhere"),
        ("DNSCRIBE_REGION", ""),
        ("HOME", "/"),
    ];
    let flags = Layer {
        pairing: capture::PairingLayer {
            query_timeout: Some("3s".parse().unwrap()),
            ..Default::default()
        },
        ..Layer::default()
    };
    let config = load(Some(yaml), &variables, flags, Purpose::Live).unwrap();
    assert_eq!((config.node.as_str(), config.region.as_deref()), ("env", Some("file")));
    assert_eq!(config.pairing.query_timeout, Duration::from_secs(3));
    assert_eq!(config.kafka.brokers, ["e:1", "e:2"]);
    assert_eq!(config.sinks, [SinkSpec::Kafka]);
    let options: Vec<_> = config.kafka.options.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        options,
        [("client.id", "file"), ("client.rack", "env"), ("sasl.password", "p\"s: w")]
    );
    assert_eq!((config.capture.ports.to_string(), config.metrics_listen), ("5353".into(), None));
}

#[test]
fn says_what_does_not_fit_together() {
    for (yaml, expected) in [
        (
            "version: 1\ndetect: {rules: {timeout: {warning: 0.5, critical: 0.1}}}\n",
            "line 2, column 18: detect.rules.timeout: critical 0.1 is below warning 0.5: what is critical must be worse",
        ),
        (
            "version: 1\ncapture:\n  dnstap: [\"tls:127.0.0.1:6000\"]\n",
            "line 3, column 3: capture.dnstap: tls: needs a certificate: give cert_file and key_file in capture.dnstap_tls",
        ),
        (
            "version: 1\nwindows:\n  spans: []\n",
            "line 3, column 10: windows.spans: a window is missing: name at least one, or leave the stream metrics out",
        ),
    ] {
        assert_eq!(complaint(yaml), expected);
    }
}

#[test]
fn filters_that_no_record_can_match_are_refused() {
    let known = "version: 1\nresolvers: { corp-dns: [192.0.2.53] }\n";
    for (filters, why) in [
        ("{include: {qname: []}}", "filters.include.qname: no record matches an empty list"),
        (
            "{streams: {lookups: {include: {pod: []}}}}",
            "filters.streams.lookups.include.pod: no record matches an empty list",
        ),
        ("{include: {pod: [cart-1]}}", "filters.include.pod (--pod): needs the names of pods"),
        (
            "{streams: {uses: {include: {namespace: [shop]}}}}",
            "filters.streams.uses.include.namespace (--namespace): needs the names of pods",
        ),
        (
            "{include: {resolver: [corp]}}",
            "\"corp\" is neither in section resolvers nor an address",
        ),
        ("{exclude: {resolver: [corp]}}", "filters.exclude.resolver (--resolver): \"corp\" is"),
        ("{include: {resolver: [\"::ffff:192.0.2.53\"]}}", "records call 192.0.2.53 \"corp-dns\""),
        ("{include: {qname: [\"http://example.com\"]}}", "is not a domain name"),
        (
            "{streams: {metrics: {include: {qtype: [A]}}}}",
            "filter one of transactions, messages, lookups, connections, uses",
        ),
    ] {
        let found = complaint(&format!("{known}filters: {filters}\n"));
        assert!(found.contains(why), "{found}");
        assert!(found.starts_with("line 3, column "), "{found}");
    }
    let found =
        load(None, &[("DNSCRIBE_FILTERS__INCLUDE__QTYPE", ",")], Layer::default(), Purpose::Live);
    let found = found.unwrap_err().to_string();
    assert!(found.contains("no record matches an empty list"), "{found}");
    for good in [
        // Takes back what is above, for one stream.
        "{exclude: {qname: [a.example]}, streams: {lookups: {exclude: {qname: []}}}}",
        // The same file may be for hosts without pods.
        "{exclude: {namespace: [shop]}}",
        "{include: {resolver: [corp-dns, 192.0.2.54]}}",
    ] {
        from_file(&format!("{known}filters: {good}\n")).unwrap();
    }
    let pods = "version: 1\nfilters: {include: {pod: [cart-1]}}\n";
    load(Some(pods), &[], Layer::default(), Purpose::Replay).unwrap();
    from_file(&format!("{pods}kubernetes: {{kubeconfig: /etc/kube}}\n")).unwrap();
}

/// The kernel keeps 15 bytes of a name.
#[test]
fn names_of_processes_are_cut_as_the_kernel_does() {
    let yaml = "version: 1\nfilters: {include: {process: [systemd-resolved, curl, äääääääää, /usr/bin/systemd-resolved]}}\n";
    let config = from_file(yaml).unwrap();
    let names = config.filters.get(Stream::Transactions).unwrap().include.process.clone();
    let expected = ["systemd-resolve", "curl", "äääääää", "/usr/bin/systemd-resolved"];
    assert_eq!(names, Some(expected.map(str::to_owned).into()));
}

#[test]
fn the_flag_for_streams_beats_what_is_said_of_one_kind() {
    let yaml = "version: 1\nstreams: dlq\nfile: {streams: messages}\n";
    let variables = [("DNSCRIBE_KAFKA__STREAMS", "ledger"), ("DNSCRIBE_STREAMS", "alerts")];
    let [kafka, file, null] = ["kafka", "file:x", "null"].map(|sink| sink.parse().unwrap());
    let config = load(Some(yaml), &variables, Layer::default(), Purpose::Live).unwrap();
    let shown = [&kafka, &file, &null].map(|sink| format!("{:?}", config.streams.for_sink(sink)));
    assert_eq!(shown, ["{\"ledger\"}", "{\"messages\"}", "{\"alerts\"}"]);
    let flags = Layer { streams: Some("transactions".parse().unwrap()), ..Layer::default() };
    let config = load(Some(yaml), &variables, flags, Purpose::Live).unwrap();
    for sink in [&kafka, &file, &null] {
        assert_eq!(format!("{:?}", config.streams.for_sink(sink)), "{\"transactions\"}");
    }
}

#[test]
fn rotation_is_off_unless_asked_for_and_by_age_only_live() {
    assert_eq!(from_file("version: 1\n").unwrap().rotation, Rotation::default());
    let yaml = "version: 1\nfile: {rotate_every: 1h, rotate_bytes: 1MiB, compress: none}\n";
    let live = from_file(yaml).unwrap().rotation;
    assert_eq!(live.every, Some(Duration::from_hours(1)));
    let replay = load(Some(yaml), &[], Layer::default(), Purpose::Replay).unwrap().rotation;
    assert_eq!(replay, Rotation { every: None, ..live });
    let variables = [("DNSCRIBE_FILE__ROTATE_BYTES", "1MiB"), ("DNSCRIBE_FILE__KEEP", "2")];
    let config = load(None, &variables, Layer::default(), Purpose::Live).unwrap();
    assert_eq!((config.rotation.bytes, config.rotation.keep), (Some(1 << 20), Some(2)));
}

#[test]
fn two_sinks_on_one_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
    let load = |one: &str, other: &str| {
        from_file(&format!("version: 1\nsinks: [\"file:{}\", \"file:{}\"]\n", at(one), at(other)))
    };
    for other in ["a", "./a", "link"] {
        let error = load("a", other).unwrap_err().to_string();
        assert!(error.contains("are the same file") && error.contains("keep one"), "{error}");
    }
    assert_eq!(load("a", "b").unwrap().sinks.len(), 2);
    let path = at("a");
    let mixed =
        from_file(&format!("version: 1\nsinks: [\"pcapng:{path}\", \"dnstap:file:{path}\"]\n"));
    let error = mixed.unwrap_err().to_string();
    assert!(error.contains(&format!("pcapng:{path} and dnstap:file:{path} are")), "{error}");
}

#[test]
fn wrong_variables_are_named() {
    let error = |name, value| {
        let loaded = load(None, &[(name, value)], Layer::default(), Purpose::Live);
        loaded.unwrap_err().to_string()
    };
    let unknown = error("DNSCRIBE_BROKERS", "a:1");
    assert!(
        unknown.starts_with("environment variable DNSCRIBE_BROKERS: unknown key `brokers`"),
        "{unknown}"
    );
    let nested = error("DNSCRIBE_KAFKA__BROKER", "a:1");
    assert!(nested.contains("DNSCRIBE_KAFKA__BROKER: unknown key `broker`"), "{nested}");
    assert!(error("DNSCRIBE_DURATION", "x").contains("DNSCRIBE_DURATION: \"x\" is not a duration"));
    assert!(error("DNSCRIBE_KAFKA", "x").contains("DNSCRIBE_KAFKA: "));
}

#[test]
fn replay_serves_metrics_only_when_asked() {
    let yaml = Some("version: 1\nmetrics:\n  listen: 0.0.0.0:9000\n");
    let config = load(yaml, &[], Layer::default(), Purpose::Replay).unwrap();
    assert_eq!((config.metrics_listen, config.node.as_str()), (None, "replay"));
    let asked = [("DNSCRIBE_METRICS__LISTEN", "127.0.0.1:1")];
    let config = load(yaml, &asked, Layer::default(), Purpose::Replay).unwrap();
    assert_eq!(config.metrics_listen, Some("127.0.0.1:1".parse().unwrap()));
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources {
        purpose: Purpose::Live,
        file: Some("/nowhere/dnscribe.yaml".into()),
        environment: Vec::new(),
        flags: Layer::default(),
    };
    let error = Config::load(&sources).unwrap_err().to_string();
    assert!(error.contains("/nowhere/dnscribe.yaml") && error.contains("No such file"), "{error}");
}

#[test]
fn files_that_are_not_utf8_have_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dnscribe.yaml");
    for (bytes, place) in [
        (&b"version: 1\nnode: caf\xe9\n"[..], "line 2, column 10: "),
        (b"\xff", "line 1, column 1: "),
        (b"version: 1\n\xff", "line 2, column 1: "),
        ("node: \u{e9}\u{e9}".as_bytes(), ""),
    ] {
        fs::write(&path, bytes).unwrap();
        let file = Some(path.clone());
        let flags = Layer::default();
        let sources = Sources { purpose: Purpose::Live, file, environment: Vec::new(), flags };
        let error = Config::load(&sources).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
        assert_eq!(error.contains("not UTF-8"), !place.is_empty(), "{error}");
    }
}

#[test]
fn places_are_those_of_the_file_alone() {
    let yaml = "version: 1\nfile: {keep: 3}\n";
    let in_file = load(Some(yaml), &[], Layer::default(), Purpose::Live).unwrap_err();
    assert!(in_file.to_string().contains("line 2, column 8: file.keep"), "{in_file}");
    let variables = [("DNSCRIBE_CAPTURE__HOOK", "socket")];
    let file = "version: 1\ncapture: {cgroup: x}\n";
    let of_both = load(Some(file), &variables, Layer::default(), Purpose::Live).unwrap_err();
    assert!(of_both.to_string().starts_with("capture.cgroup: "), "{of_both}");
}

#[test]
fn options_must_be_known_to_librdkafka() {
    let error = complaint("version: 1\nkafka:\n  options:\n    linger: 5\n");
    assert!(error.starts_with("line 4, column 5: kafka.options.linger: "), "{error}");
    let error = complaint("version: 1\nkafka:\n  options:\n    acks: hunter2\n");
    assert!(error.starts_with("line 4, column 5: kafka.options.acks: "), "{error}");
}

#[test]
fn options_may_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "hunter2\n").unwrap();
    let path = path.display().to_string();
    let config =
        from_file(&format!("version: 1\nkafka:\n  option_files: {{sasl.password: {path}}}\n"));
    let config = config.unwrap();
    assert_eq!(config.kafka.options["sasl.password"], "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));

    // Any setting, by the environment too; hidden whatever it is.
    let variables = [("DNSCRIBE_KAFKA__OPTION_FILES__CLIENT_RACK", path.as_str())];
    let config = load(None, &variables, Layer::default(), Purpose::Live).unwrap();
    assert_eq!(config.kafka.options["client.rack"], "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));

    let error = complaint("version: 1\nkafka: {option_files: {sasl.password: /nowhere/x}}\n");
    let place = "line 2, column 24: kafka.option_files.sasl.password: ";
    assert!(error.starts_with(place), "{error}");
    assert!(error.contains("/nowhere/x: No such file"), "{error}");
    let twice = format!(
        "version: 1\nkafka: {{options: {{sasl.password: a}}, option_files: {{sasl.password: {path}}}}}"
    );
    let error = complaint(&twice);
    assert_eq!(
        error,
        "line 2, column 53: kafka.option_files.sasl.password: kafka.options has it, too: keep one of them"
    );
    for (option, words) in [("acks", "the value is not valid"), ("sasl.pasword", "No such")] {
        let error =
            complaint(&format!("version: 1\nkafka: {{option_files: {{{option}: {path}}}}}"));
        let place = format!("line 2, column 24: kafka.option_files.{option}: ");
        assert!(error.starts_with(&place), "{error}");
        assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn formats_and_their_registry_fit_together() {
    let cases = [
        (
            "kafka: {format: xml}",
            "line 2, column 17: kafka.format: \"xml\" is not a format: choose from json, avro, ecs",
        ),
        (
            "kafka: {format: avro}",
            "line 2, column 1: kafka: records in Avro need a schema registry: give kafka.registry.url, such as http://registry:8081",
        ),
        (
            "kafka: {formats: {ledger: avro}}",
            "line 2, column 1: kafka: records in Avro need a schema registry: give kafka.registry.url, such as http://registry:8081",
        ),
        (
            "kafka: {registry: {username: me}}",
            "line 2, column 9: kafka.registry: username without its password: give password_file too",
        ),
        (
            "kafka: {registry: {url: 'http://a', password: hunter2}}",
            "line 2, column 9: kafka.registry: a password without its username: give username too",
        ),
        (
            "kafka: {registry: {password: hunter2, password_file: /x}}",
            "line 2, column 9: kafka.registry: both password and password_file: keep one of them",
        ),
        (
            "kafka: {registry: {username: me, password_file: /nowhere/x}}",
            "line 2, column 9: kafka.registry: password_file /nowhere/x: No such file or directory (os error 2)",
        ),
        (
            "kafka: {registry: {timeout: 1s}}",
            "line 2, column 9: kafka.registry: url is missing: give one such as http://registry:8081",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(complaint(&format!("version: 1\n{line}\n")), expected, "{line}");
    }
    let error = complaint("version: 1\nkafka: {registry: {url: 'http://me:hunter2@a'}}\n");
    assert!(error.starts_with("line 2, column 25: ") && !error.contains("hunter2"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "hunter2\n").unwrap();
    let variables = [
        ("DNSCRIBE_KAFKA__FORMATS__LEDGER", "avro"),
        ("DNSCRIBE_KAFKA__REGISTRY__URL", "http://registry"),
        ("DNSCRIBE_KAFKA__REGISTRY__USERNAME", "me"),
        ("DNSCRIBE_KAFKA__REGISTRY__PASSWORD_FILE", file.path().to_str().unwrap()),
    ];
    let config = load(None, &variables, Layer::default(), Purpose::Live).unwrap();
    assert_eq!(config.kafka.format(Stream::Ledger), Format::Avro);
    let login = config.kafka.registry.unwrap().login.unwrap();
    assert_eq!(login.password, Password("hunter2".into()));
}

#[test]
fn sources_keep_secrets() {
    let environment = vec![("DNSCRIBE_KAFKA__OPTIONS__SASL_PASSWORD".into(), "hunter2".into())];
    let flags = Layer::default();
    let sources = Sources { purpose: Purpose::Live, file: None, environment, flags };
    assert!(!format!("{sources:?}").contains("hunter2"));
}

#[test]
fn encrypted_dns_is_looked_for_where_a_sink_wants_it() {
    let yaml =
        "version: 1\nencrypted:\n  resolvers: [192.0.2.53, 2001:db8::/32]\n  idle_timeout: 10s\n";
    let quiet = from_file(yaml).unwrap();
    assert_eq!(quiet.capture.encrypted, None);
    assert_eq!(quiet.connecting.idle_timeout, Duration::from_secs(10));
    let wanted = from_file(&format!("{yaml}streams: [connections]\n")).unwrap();
    let encrypted = wanted.capture.encrypted.unwrap();
    assert_eq!((&encrypted.ports[..], &encrypted.https_ports[..]), (&[853][..], &[443][..]));
    assert_eq!(encrypted.resolvers().count(), 2);
    let plain =
        from_file("version: 1\nstreams: [connections]\ncapture:\n  ports: [53, 853]\n").unwrap();
    assert_eq!(plain.capture.encrypted.unwrap().ports, [0_u16; 0]);
    let alerts = "version: 1\nstreams: alerts\n";
    assert_eq!(from_file(alerts).unwrap().capture.encrypted, None);
    let with_ports = from_file(&format!("{alerts}encrypted: {{ports: [853]}}\n")).unwrap();
    assert_eq!(with_ports.capture.encrypted.unwrap().ports, [853]);
    let wrong = complaint("version: 1\nencrypted:\n  resolvers: [dns.example]\n");
    assert!(
        wrong.starts_with("line 3, column 15: encrypted.resolvers: \"dns.example\" is not"),
        "{wrong}"
    );
    let many: Vec<String> = (0..1025).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let many =
        format!("version: 1\nstreams: connections\nencrypted:\n  resolvers: {}\n", many.join(","));
    assert!(complaint(&many).contains("1024 at most"), "{}", complaint(&many));
}
