//! Capabilities that are kept during capture, and why. Most configurations need none.

use super::files::{Access, Files};
use super::{Account, permitted};
use crate::config::Config;
use caps::Capability;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::fs;

/// A capability that is kept, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub(super) capability: Capability,
    why: String,
}

impl Need {
    pub(super) fn new(capability: Capability, why: impl Into<String>) -> Self {
        Self { capability, why: why.into() }
    }

    /// Whether it overrides file permissions.
    pub(super) fn is_of_files(&self) -> bool {
        matches!(
            self.capability,
            Capability::CAP_DAC_OVERRIDE | Capability::CAP_DAC_READ_SEARCH | Capability::CAP_FOWNER
        )
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.capability, self.why)
    }
}

/// Returns the needs of the configuration, without those for files.
pub(super) fn of_config(config: &Config, needs_bpf: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    if needs_bpf {
        let held = permitted().unwrap_or_default();
        let bpf = Capability::CAP_BPF;
        let capability = if held.contains(&bpf) { bpf } else { Capability::CAP_SYS_ADMIN };
        let why = "reading counters (not kept with Linux 5.19, or with kernel.unprivileged_bpf_disabled at 0)";
        needs.push(Need::new(capability, why));
    }
    if config.capture.nice > 0 && !may_return_from_nice() {
        // The default is not worth a capability.
        if config.nice_is_set {
            let why = "capture.nice (not kept where RLIMIT_NICE can be raised to 20)";
            needs.push(Need::new(Capability::CAP_SYS_NICE, why));
        } else {
            tracing::info!(
                "threads that read packets keep their scheduling priority: RLIMIT_NICE cannot be raised to 20; \
                 set LimitNICE=20 in the unit, or capture.nice to keep CAP_SYS_NICE"
            );
        }
    }
    let port = config.metrics_listen.map_or(0, |address| address.port());
    if port != 0 && port < first_free_port() {
        let why = format!("metrics at port {port}");
        needs.push(Need::new(Capability::CAP_NET_BIND_SERVICE, why));
    }
    needs
}

/// Value of `RLIMIT_NICE` that stands for niceness 0 (manual page `getrlimit`).
const NICENESS_0: u64 = 20;

/// Raises `RLIMIT_NICE` so that threads may return to niceness 0 without a capability.
fn may_return_from_nice() -> bool {
    let limit = getrlimit(Resource::Nice);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= NICENESS_0);
    is_enough(limit.current) || {
        let maximum = if is_enough(limit.maximum) { limit.maximum } else { Some(NICENESS_0) };
        setrlimit(Resource::Nice, Rlimit { current: Some(NICENESS_0), maximum }).is_ok()
    }
}

/// Returns the first port that needs no capability (manual page `ip`, `ip_unprivileged_port_start`).
fn first_free_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Returns the needs of files that the new user may not access.
pub(super) fn of_files(files: &Files, account: Option<&Account>) -> Vec<Need> {
    let denied = files.denied(account);
    let who = account.map_or_else(|| "this user".to_owned(), |user| format!("user {user}"));
    let why = |verb: &str, wanted: Access| {
        let paths = denied.iter().filter(|(access, _)| *access == wanted);
        let paths: Vec<_> = paths.map(|(_, path)| path.display().to_string()).collect();
        let why = format!("{verb} {} (not kept where {who} may)", paths.join(", "));
        (!paths.is_empty()).then_some(why)
    };
    let mut needs = Vec::new();
    if let Some(why) = why("writing in", Access::Write) {
        needs.push(Need::new(Capability::CAP_DAC_OVERRIDE, why));
        needs.push(Need::new(
            Capability::CAP_FOWNER,
            "renaming there in directories with the sticky bit",
        ));
        needs.push(Need::new(Capability::CAP_CHOWN, "keeping the owners of rotated files there"));
    }
    let why = why("reading", Access::Read);
    needs.extend(why.map(|why| Need::new(Capability::CAP_DAC_READ_SEARCH, why)));
    needs
}
