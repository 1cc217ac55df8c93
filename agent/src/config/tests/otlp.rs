//! Section `otlp`, as files have it.

use crate::config::Config;
use dnscribe_delivery::{Password, Stream, Temporality};
use std::fs;

fn load(yaml: &str) -> Result<Config, String> {
    super::from_file(&format!("version: 1\n{yaml}")).map_err(|error| error.to_string())
}

#[test]
fn the_section_is_for_all_servers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "hunter2\n").unwrap();
    let yaml = format!(
        "sinks: [\"otlp:grpc://c:4317\", \"otlp:http://p:9090/api/v1/otlp#metrics\"]\nwindows: {{ spans: [1m, 1m/10s] }}\n\
         otlp: {{ temporality: delta, header_files: {{ api-key: \"{}\" }} }}\n",
        file.display()
    );
    let config = load(&yaml).unwrap();
    assert_eq!(config.otlp.temporality, Temporality::Delta);
    assert_eq!(config.otlp.headers["api-key"], Password("hunter2".into()));
    assert_eq!(config.otlp.window, (60, 60));
    assert!(config.secret_files.contains(&file));
    assert!(!format!("{config:?}").contains("hunter2"));
    let [all, metrics] = [0, 1].map(|number| config.streams.for_sink(&config.sinks[number]));
    assert!(all.contains(Stream::Transactions) && all.contains(Stream::Metrics));
    assert!(!metrics.contains(Stream::Transactions) && metrics.contains(Stream::Lookups));
    let sliding = load("windows: { spans: [1m/10s] }\n").unwrap();
    assert_eq!(sliding.otlp.window, (60, 10));
}

#[test]
fn says_what_does_not_fit() {
    for (yaml, why) in [
        ("sinks: [\"otlp:collector:4318\"]\n", "http://HOST:4318"),
        ("otlp: { username: me }\n", "password_file"),
        ("otlp: { header_files: { api-key: /nowhere } }\n", "header_files.api-key /nowhere"),
        ("sinks: [\"dnstap:/tmp/x\"]\n", "dnstap:unix:PATH"),
        (
            "sinks: [\"otlp:http://c:4318\"]\nwindows: { spans: [1m/10s] }\n",
            "do not overlap: add 1m",
        ),
    ] {
        let error = load(yaml).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    // No windows become metrics.
    for sink in [
        "sinks: [\"otlp:http://c:4318#logs\"]",
        "otlp: { streams: [lookups] }\nsinks: [\"otlp:http://c\"]",
    ] {
        assert!(load(&format!("{sink}\nwindows: {{ spans: [1m/10s] }}\n")).is_ok(), "{sink}");
    }
}

#[test]
fn dnstap_has_the_bytes_of_messages() {
    assert!(!load("").unwrap().messages_wire);
    assert!(load("sinks: [\"dnstap:file:/tmp/x\"]\n").unwrap().messages_wire);
}
