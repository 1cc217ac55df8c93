//! Sections `privacy` and `filters`, as files and variables have them.

use crate::config::layer::Layer;
use crate::config::{Config, Purpose, Sources};
use crate::pipeline::filter::{FilterQuestion, FilterSubject};
use dnscribe_config::ConfigError;
use dnscribe_record::Stream;
use dnscribe_record::privacy::MaskingMethod;
use std::fs;
use std::time::Duration;

fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dnscribe.yaml");
    fs::write(&path, format!("version: 1\n{yaml}")).unwrap();
    let environment =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let flags = Layer::default();
    Config::load(&Sources { purpose: Purpose::Live, file: Some(path), environment, flags })
}

fn complaint(yaml: &str) -> String {
    load(yaml, &[]).unwrap_err().to_string()
}

#[test]
fn nothing_is_masked_or_filtered_unless_that_is_said() {
    let config = load("", &[]).unwrap();
    assert!(Stream::ALL.iter().all(|stream| !config.privacy.mask(*stream).is_on()));
    assert!(Stream::ALL.iter().all(|stream| config.filters.get(*stream).is_none()));
}

#[test]
fn a_stream_of_its_own_rules_follows_the_general_ones_elsewhere() {
    let yaml = "privacy:\n  qname: hash\n  client: truncate\n  rotate: 1h\n  streams:\n    lookups: {client: keep, answers: drop}\n    alerts:\n";
    let variables = [("DNSCRIBE_PRIVACY__STREAMS__LOOKUPS__PROCESS", "hash")];
    let privacy = load(yaml, &variables).unwrap().privacy;
    let (general, lookups) = (privacy.mask(Stream::Transactions), privacy.mask(Stream::Lookups));
    assert_eq!(general, privacy.general);
    assert_eq!((general.qname, general.client), (MaskingMethod::Hash, MaskingMethod::Truncate));
    assert_eq!(
        (general.answers, general.ecs),
        (MaskingMethod::Hash, MaskingMethod::Truncate),
        "they follow"
    );
    assert_eq!((lookups.qname, lookups.client), (MaskingMethod::Hash, MaskingMethod::Keep));
    assert_eq!((lookups.answers, lookups.ecs), (MaskingMethod::Drop, MaskingMethod::Keep));
    assert_eq!((lookups.process, general.process), (MaskingMethod::Hash, MaskingMethod::Keep));
    assert_eq!(privacy.mask(Stream::Alerts), general);
    assert_eq!(privacy.mask(Stream::Ledger), general, "for the names of its senders");
    assert_eq!(privacy.keys.period, Duration::from_hours(1));
}

#[test]
fn a_key_comes_from_a_file_or_a_variable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "0123456789abcdef\n").unwrap();
    let from_file =
        load(&format!("privacy: {{key_file: {}}}", file.path().display()), &[]).unwrap();
    let variable = [("DNSCRIBE_PRIVACY__KEY", "0123456789abcdef")];
    assert_eq!(load("", &variable).unwrap().privacy.keys, from_file.privacy.keys);
    fs::write(file.path(), "short\n").unwrap();
    let why = complaint(&format!("privacy: {{key_file: {}}}", file.path().display()));
    assert!(why.contains("openssl rand") && !why.contains("short"), "{why}");
    assert!(complaint("privacy: {key_file: /nowhere}").contains("key_file /nowhere"));
    assert!(complaint("privacy: {key_file: /nowhere, key: x}").contains("keep one of them"));
}

#[test]
fn what_cannot_be_masked_is_refused() {
    let why = complaint("messages: {wire: true}\nprivacy: {client: hash}");
    assert!(why.contains("messages.wire"), "{why}");
    let fine =
        "messages: {wire: true}\nprivacy: {client: hash, streams: {messages: {client: keep}}}";
    assert!(load(fine, &[]).is_ok());
    let why = complaint("privacy:\n  process: truncate\n");
    assert!(why.contains("line 3") && why.contains("keep hash drop"), "{why}");
    assert!(complaint("privacy: {qnames: hash}").contains("unknown key"));
    assert!(complaint("privacy: {streams: {nowhere: {qname: hash}}}").contains("not a stream"));
}

#[test]
fn filters_are_read() {
    let yaml = "filters:\n  include:\n    client: 192.0.2.0/24, 2001:db8::1\n    qtype: [aaaa, TYPE65280]\n  exclude: {qname: [noise.example]}\n  streams:\n    lookups: {exclude: {process: [healthd]}}\n";
    let filters = load(yaml, &[]).unwrap().filters;
    let subject = |qname, qtypes, comm| FilterSubject {
        question: Some(FilterQuestion { qname: Some(qname), qtypes }),
        client: Some([192, 0, 2, 9].into()),
        comm: Some(comm),
        ..FilterSubject::default()
    };
    let admits = |stream, subject: &FilterSubject<'_>| filters.get(stream).unwrap().admits(subject);
    assert!(admits(Stream::Transactions, &subject("a.example", &[28], "healthd")));
    assert!(!admits(Stream::Lookups, &subject("a.example", &[28], "healthd")));
    assert!(!admits(Stream::Lookups, &subject("a.noise.example", &[28], "dig")), "as in general");
    assert!(!admits(Stream::Messages, &subject("a.example", &[1], "dig")));
    for stream in [Stream::Metrics, Stream::Alerts, Stream::Dlq, Stream::Ledger] {
        assert!(filters.get(stream).is_none());
    }
}

#[test]
fn wrong_filters_are_refused_with_their_place() {
    let why = complaint("filters:\n  include:\n    qtype: [A, BOGUS]\n");
    assert!(why.contains("line 4") && why.contains("AAAA"), "{why}");
    assert!(complaint("filters: {include: {client: [192.0.2.0/33]}}").contains("prefix"));
    assert!(complaint("filters: {include: {qname: [a..b]}}").contains("example.com"));
    assert!(complaint("filters: {include: {container: [pod-1]}}").contains("hex digits"));
    assert!(
        complaint("filters: {streams: {metrics: {include: {qtype: [A]}}}}")
            .contains("are exported")
    );
    assert!(complaint("filters: {include: {names: [a]}}").contains("unknown key"));
}
