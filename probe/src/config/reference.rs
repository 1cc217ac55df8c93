//! The reference of the configuration: `dnscribe-probe config` prints it as a file; docs/probe-config.md is
//! the page.

use super::layer::Layer;
use dnscribe_config::reader::Field as _;
use dnscribe_config::reference;

const PAGE_HEAD: &str = "\
# Configuration of `dnscribe-probe`

The configuration file is YAML. Every key is optional but `version`; unknown keys are refused with line and
column. The environment wins over the file, and flags win over both. In the name of a variable two underscores
separate section and key: `DNSCRIBE_PROBE_KAFKA__BROKERS` is `kafka.brokers`. Sizes are in bytes (`65536`,
`64KiB`, `16MiB`, `1GiB`); times have units (`100ms`, `5s`, `1m30s`).

`dnscribe-probe config` prints this reference as a file to start from, `dnscribe-probe check --config FILE`
checks a file, and on SIGHUP a running probe reads its file again. Examples are in [probe.md](probe.md). This
page is generated from the code.

| key | default | description |
|---|---|---|
";

const FILE_HEAD: &str = "\
# The configuration of dnscribe-probe: every key, with its default or an example. All keys but the version are
# commented out: remove the # before a key to set it. Unknown keys are refused. `dnscribe-probe check` checks
# the file, and SIGHUP (systemctl reload) makes a running probe read it again.
#
# Every key is also an environment variable, and flags win over both: DNSCRIBE_PROBE_KAFKA__BROKERS is
# kafka.brokers. Sizes are in bytes (65536, 64KiB, 16MiB, 1GiB), times have units (100ms, 5s, 1m30s).
";

/// Returns the reference as a page in Markdown.
#[must_use]
pub fn page() -> String {
    reference::page(PAGE_HEAD, &Layer::keys())
}

/// Returns the reference as a configuration file that changes nothing: its keys are commented out.
#[must_use]
pub fn yaml() -> String {
    reference::yaml(FILE_HEAD, &Layer::keys())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_config::source;
    use std::path::Path;

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
        golden("deploy/probes.yaml", &yaml());
    }

    #[test]
    fn golden_page() {
        golden("docs/probe-config.md", &page());
    }

    /// Ping has `count`.
    #[test]
    fn every_kind_but_ping_has_retries() {
        for (kind, expected) in [("dns", true), ("http", true), ("ping", false)] {
            let key = format!("`services[].targets[].{kind}[].retries`");
            assert_eq!(page().contains(&key), expected, "{key}");
        }
    }

    /// Every line that is commented out can be uncommented: defaults and examples are read as they stand.
    #[test]
    fn every_value_is_one_of_its_key() {
        let yaml = yaml();
        let keys = yaml.lines().map(|line| match line.trim_start().strip_prefix('#') {
            // A comment begins with a space, a key that is commented out does not.
            Some(key) if !key.starts_with(' ') && key.contains(':') => {
                let indentation = line.len() - line.trim_start().len();
                format!("{}{key}", " ".repeat(indentation))
            }
            _ => line.to_owned(),
        });
        let whole: Vec<String> = keys.collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probes.yaml");
        std::fs::write(&path, whole.join("\n")).unwrap();
        let layer = source::file::<Layer>(&path, |_| true).unwrap();
        assert!(layer.services.is_some() && layer.drain_timeout.is_some(), "nothing uncommented");
    }
}
