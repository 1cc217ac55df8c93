//! The reference of the agent's configuration: `dnscribe config` prints it as a file; docs/config.md is the
//! page.

use super::layer::Layer;
use dnscribe_config::reader::Field as _;
use dnscribe_config::reference;

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
#[must_use]
pub fn page() -> String {
    reference::page(PAGE_HEAD, &Layer::keys())
}

const FILE_HEAD: &str = "\
# The configuration of dnscribe: every key, with its default or an example. All keys but the version are
# commented out: remove the # before a key to set it. Unknown keys are refused. `dnscribe check` checks
# the file, and SIGHUP (systemctl reload) makes a running agent read it again.
#
# Every key is also an environment variable, and flags win over both: DNSCRIBE_KAFKA__BROKERS is
# kafka.brokers. Sizes are in bytes (65536, 64KiB, 16MiB, 1GiB), times have units (100ms, 5s, 1m30s).
";

/// Returns the reference as a configuration file that changes nothing: its keys are commented out.
#[must_use]
pub fn yaml() -> String {
    reference::yaml(FILE_HEAD, &Layer::keys())
}

#[cfg(test)]
mod tests;
