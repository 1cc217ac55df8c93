use super::*;
use crate::config::{Config, Purpose, Sources};
use dnscribe_config::reference::{Key, Value};
use dnscribe_config::source;
use std::path::Path;

const PAGE_HEAD: &str = "\
# Configuration

The configuration file is YAML. Every key is optional but `version`; unknown keys are refused with line and
column. The environment wins over the file, and flags win over both. In the name of a variable two underscores
separate section and key: `DNSCRIBE_KAFKA__BROKERS` is `kafka.brokers`. Sizes are in bytes (`65536`, `64KiB`,
`16MiB`, `1GiB`); times have units (`100ms`, `5s`, `1m30s`).

`dnscribe config` prints this reference as a file to start from, `dnscribe check --config FILE` checks a file,
and on SIGHUP a running agent reads its file again. This page is generated from the code.

| key | default | description |
|---|---|---|
";

/// Returns the reference as a page in Markdown.
fn page() -> String {
    reference::page(PAGE_HEAD, &Layer::keys())
}

/// Returns every key with its full name, such as `kafka.registry.url`.
fn values() -> Vec<(String, Key)> {
    fn gather(found: &mut Vec<(String, Key)>, key: Key, above: &str) {
        let name = format!("{above}{}", key.name);
        for inside in key.inside.clone() {
            gather(found, inside, &format!("{name}."));
        }
        found.push((name, key));
    }
    let mut found = Vec::new();
    for key in Layer::keys() {
        gather(&mut found, key, "");
    }
    found
}

/// Returns the file with those keys uncommented that `choose` accepts by their full name.
fn uncommented(choose: impl Fn(&str) -> bool) -> String {
    let mut above: Vec<String> = Vec::new();
    let mut out = String::new();
    for line in yaml().lines() {
        let bare = line.trim_start();
        let depth = (line.len() - bare.len()) / 2;
        let plain =
            bare.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '));
        if let Some((key, _)) =
            plain.unwrap_or(bare).split_once(':').filter(|_| !bare.starts_with("# "))
        {
            above.truncate(depth);
            above.push(key.to_owned());
        }
        let chosen = plain.filter(|_| choose(&above.join(".")));
        out.push_str(
            &chosen.map_or_else(|| line.to_owned(), |rest| format!("{}{rest}", "  ".repeat(depth))),
        );
        out.push('\n');
    }
    out
}

fn load(yaml: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dnscribe.yaml");
    std::fs::write(&file, yaml).unwrap();
    let flags = Layer::default();
    let sources =
        Sources { purpose: Purpose::Live, file: Some(file), environment: Vec::new(), flags };
    Config::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn every_key_is_explained_and_has_a_value() {
    for (name, key) in values() {
        assert!(key.about.ends_with('.') && !key.about.contains("[`"), "{name}: {}", key.about);
        if matches!(key.value, Value::None | Value::Defaults(_)) {
            let hint = "write default(...) or example(...) behind its type";
            assert!(!key.inside.is_empty(), "{name} shows no value: {hint}");
        }
        if let Value::Defaults(defaults) = &key.value {
            for (default, _) in defaults {
                assert!(
                    key.inside.iter().any(|inside| inside.name == *default),
                    "{name}.{default}"
                );
            }
        }
    }
}

#[test]
fn the_reference_as_it_is_changes_nothing() {
    assert_eq!(load(&yaml()).unwrap(), load("version: 1\n").unwrap());
}

/// With streams that need every section, so that each is configured.
#[test]
fn the_defaults_are_those_in_force() {
    const WHOLE: [&str; 5] =
        ["streams", "sinks", "kafka.brokers", "kafka.registry.url", "alertmanager.urls"];
    let defaults: Vec<String> = values()
        .into_iter()
        .filter(|(_, key)| matches!(key.value, Value::Default(_)))
        .map(|(name, _)| name)
        .collect();
    let all = |yaml: String| {
        yaml.replace("[transactions, dlq, ledger]", "[transactions, metrics, alerts, connections]")
    };
    let plain = load(&all(uncommented(|name| WHOLE.contains(&name)))).unwrap();
    assert!(plain.detect.is_some() && plain.capture.encrypted.is_some());
    let given = uncommented(|name| WHOLE.contains(&name) || defaults.iter().any(|one| one == name));
    assert_eq!(load(&all(given)).unwrap(), Config { nice_is_set: true, ..plain });
}

#[test]
fn every_value_is_one_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dnscribe.yaml");
    let whole = uncommented(|_| true);
    std::fs::write(&path, &whole).unwrap();
    source::file::<Layer>(&path, |_| true).unwrap();
    for (name, key) in values() {
        let inside_a_list = name.starts_with("detect.maintenance.");
        if let Some(value) = key.shown().filter(|_| !inside_a_list) {
            let line = format!("{}: {value}", key.name);
            assert!(whole.lines().any(|found| found.trim_start().starts_with(&line)), "{name}");
        }
    }
}

/// Covers the keys of items in a list, which the file shows in one line.
#[test]
fn every_value_in_a_list_is_one_of_its_key() {
    let items = values().into_iter().filter_map(|(name, key)| {
        let value = key.shown()?;
        name.starts_with("detect.maintenance.").then(|| format!("{}: {value}", key.name))
    });
    let items: Vec<String> = items.collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dnscribe.yaml");
    let yaml = format!("version: 1\ndetect:\n  maintenance:\n  - {}\n", items.join("\n    "));
    std::fs::write(&path, yaml).unwrap();
    source::file::<Layer>(&path, |_| true).unwrap();
    assert!(items.len() > 10, "{items:?}");
}

fn golden(path: &str, made: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        std::fs::write(&file, made).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == made, "{path} is not what the code gives: `cargo xtask bless`");
}

#[test]
fn golden_file() {
    golden("deploy/dnscribe.yaml", &yaml());
}

#[test]
fn golden_page() {
    golden("docs/config.md", &page());
}
