//! The reference of the agent's configuration, as `dnscribe config` prints it; docs/config.md is made of it by a test.

use super::layer::Layer;
use dnscribe_config::reader::Field as _;
use dnscribe_config::reference;

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
