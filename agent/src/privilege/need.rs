//! The capabilities that capture goes on needing, and what for: most configurations need none.

use super::files::{Access, Files};
use super::{Account, permitted};
use crate::config::Config;
use caps::Capability;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::fs;
use std::path::PathBuf;

/// A capability that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub(super) capability: Capability,
    why: String,
}

impl Need {
    pub(super) fn new(capability: Capability, why: impl Into<String>) -> Self {
        Self { capability, why: why.into() }
    }

    /// Whether it passes over the permissions of files.
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

/// What the configuration needs, files aside.
pub(super) fn of(config: &Config, needs_bpf: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    if needs_bpf {
        let held = permitted().unwrap_or_default();
        let bpf = Capability::CAP_BPF;
        let capability = if held.contains(&bpf) { bpf } else { Capability::CAP_SYS_ADMIN };
        let why =
            "reading counters (with Linux 5.19, or kernel.unprivileged_bpf_disabled at 0, it goes)";
        needs.push(Need::new(capability, why));
    }
    if config.capture.nice > 0 && !may_return_from_nice() {
        let why = "capture.nice (where RLIMIT_NICE can be 20, it goes)";
        needs.push(Need::new(Capability::CAP_SYS_NICE, why));
    }
    let port = config.metrics_listen.map_or(0, |address| address.port());
    if port != 0 && port < first_free_port() {
        let why = format!("metrics at port {port}");
        needs.push(Need::new(Capability::CAP_NET_BIND_SERVICE, why));
    }
    needs
}

/// The limit up to which anybody may go back from being nice: 20 stands for niceness 0 (manual page
/// `getrlimit`).
const AS_BEFORE: u64 = 20;

/// Has the limit raised so far that threads may go back from being nice without a capability.
fn may_return_from_nice() -> bool {
    let limit = getrlimit(Resource::Nice);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= AS_BEFORE);
    is_enough(limit.current) || {
        let maximum = if is_enough(limit.maximum) { limit.maximum } else { Some(AS_BEFORE) };
        setrlimit(Resource::Nice, Rlimit { current: Some(AS_BEFORE), maximum }).is_ok()
    }
}

/// Ports from this one on are anybody's (manual page `ip`, `ip_unprivileged_port_start`).
fn first_free_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// What the files need that the new user has no access to.
pub(super) fn of_files(files: &Files, account: Option<&Account>) -> Vec<Need> {
    let denied = files.denied(account);
    let of = |wanted: Access| denied.iter().filter(move |(access, _)| *access == wanted);
    let who = account.map_or("this user", |_| "that user");
    let why = |verb: &str, paths: Vec<&PathBuf>| {
        let paths: Vec<_> = paths.into_iter().map(|path| path.display().to_string()).collect();
        format!("{verb} {} (where {who} may, it goes)", paths.join(", "))
    };
    let paths = |wanted| of(wanted).map(|(_, path)| path).collect::<Vec<_>>();
    let mut needs = Vec::new();
    if of(Access::Write).next().is_some() {
        let why = why("writing in", paths(Access::Write));
        needs.push(Need::new(Capability::CAP_DAC_OVERRIDE, why.clone()));
        // Renames in directories with the sticky bit; owners of rotated files.
        needs.push(Need::new(Capability::CAP_FOWNER, "the same"));
        needs.push(Need::new(Capability::CAP_CHOWN, "the same"));
    }
    if of(Access::Read).next().is_some() {
        let why = why("reading", paths(Access::Read));
        needs.push(Need::new(Capability::CAP_DAC_READ_SEARCH, why));
    }
    needs
}
