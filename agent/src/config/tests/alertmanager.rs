//! Section `alertmanager`, as files have it.

use crate::config::layer::Layer;
use crate::config::{Config, Purpose, Sources};
use dnscribe_delivery::{Authorization, Password, SinkSpec};
use std::fs;
use std::time::Duration;

fn load(yaml: &str, purpose: Purpose) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dnscribe.yaml");
    fs::write(&file, format!("version: 1\n{yaml}")).unwrap();
    let flags = Layer::default();
    let sources = Sources { purpose, file: Some(file), environment: Vec::new(), flags };
    Config::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn the_section_makes_the_sink_of_live_alerts() {
    let yaml = "alertmanager:\n  urls: [\"http://a:9093/\", \"https://b/am\"]\n  labels: { team: dns }\n  generator_url: https://d.example/x?y=1#z\n";
    let config = load(yaml, Purpose::Live).unwrap();
    assert_eq!(config.sinks, [SinkSpec::Stdout, SinkSpec::Alertmanager]);
    let alertmanager = config.alertmanager.unwrap();
    assert_eq!(alertmanager.urls, ["http://a:9093", "https://b/am"]);
    assert_eq!(alertmanager.labels["team"], "dns");
    assert_eq!(alertmanager.generator_url.as_deref(), Some("https://d.example/x?y=1#z"));
    assert_eq!(
        (alertmanager.timeout, alertmanager.resend),
        (Duration::from_secs(5), Duration::from_mins(1))
    );
    // A replay of an old incident sends no alerts.
    assert_eq!(load(yaml, Purpose::Replay).unwrap().sinks, [SinkSpec::Stdout]);
    let asked = format!("sinks: [alertmanager]\n{yaml}");
    assert_eq!(load(&asked, Purpose::Replay).unwrap().sinks, [SinkSpec::Alertmanager]);
    assert_eq!(load(&asked, Purpose::Live).unwrap().sinks, [SinkSpec::Alertmanager]);
}

#[test]
fn says_what_does_not_fit() {
    let with = |more: &str| {
        load(&format!("alertmanager:\n  urls: [\"http://a\"]\n{more}"), Purpose::Live).unwrap_err()
    };
    for (more, why) in [
        ("  username: me\n", "password_file"),
        ("  password: hunter2\n", "username"),
        ("  bearer_token_file: /nowhere\n", "bearer_token_file /nowhere"),
        ("  labels: { severity: x }\n", "own"),
        ("  labels: { \"a-b\": x }\n", "label"),
        ("sinks: [alertmanager, alertmanager]\n", "twice"),
    ] {
        let error = with(more);
        assert!(error.contains("alertmanager") && error.contains(why), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for (yaml, why) in [
        ("sinks: [alertmanager]\n", "urls is missing"),
        ("alertmanager: { timeout: 1s }\n", "urls is missing"),
        ("alertmanager: { urls: [\"http://me:hunter2@a\"] }\n", "username"),
        ("alertmanager: { urls: [\"a:9093\"] }\n", "not the URL of a server"),
    ] {
        let error = load(yaml, Purpose::Live).unwrap_err();
        assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn secrets_stay_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "hunter2\n").unwrap();
    let yaml = format!(
        "alertmanager: {{ urls: [\"http://a\"], bearer_token_file: {} }}\n",
        file.display()
    );
    let config = load(&yaml, Purpose::Live).unwrap();
    let token = Authorization::Bearer(Password("hunter2".into()));
    assert_eq!(config.alertmanager.as_ref().unwrap().authorization, Some(token));
    assert!(!format!("{config:?}").contains("hunter2"));
}
