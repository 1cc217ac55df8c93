//! What a run without privileges cannot do, and the remedy.

use super::files::Files;
use super::{Account, permitted};
use crate::config::Config;
use caps::{Capability, CapsHashSet};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Something that the run does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) problem: String,
    pub(super) remedy: String,
    /// Whether the configuration asks for it, so that it is worth a warning.
    pub(super) is_wanted: bool,
}

impl Loss {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into(), is_wanted: true }
    }
}

/// Problem and remedy where the kernel lets no unprivileged process use the maps of the programs.
pub(super) const NO_MAPS: [&str; 2] = [
    "this kernel, before Linux 5.19 with kernel.unprivileged_bpf_disabled not 0, lets no process without capabilities \
     read the counters of the programs",
    "use a later kernel, or set that to 0, or name CAP_BPF in privileges.keep",
];

/// Whether the capabilities are enough to use the maps there.
pub(super) fn keeps_maps(keep: &CapsHashSet) -> bool {
    [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN].iter().any(|one| keep.contains(one))
}

/// Returns what the configuration asks for and a run as `account` will not do.
pub(super) fn losses(config: &Config, files: &Files, account: Option<&Account>) -> Vec<Loss> {
    let keep = &config.privileges.keep;
    let mut losses: Vec<_> = not_held(keep).into_iter().collect();
    if config.capture.nice > 0
        && !keep.contains(&Capability::CAP_SYS_NICE)
        && !may_return_from_nice()
    {
        losses.push(Loss {
            is_wanted: config.nice_is_set,
            ..Loss::new(
                "threads that read packets keep their scheduling priority, and capture.nice has no effect: RLIMIT_NICE \
                 cannot be raised to 20",
                "set LimitNICE=20 in the unit, or name CAP_SYS_NICE in privileges.keep",
            )
        });
    }
    if let Some(path) = files.denied_credentials(account, keep) {
        losses.push(Loss::new(
            format!("the credentials of Kubernetes, {}, cannot be read again", path.display()),
            "let the user of the agent read them, or name CAP_DAC_READ_SEARCH in privileges.keep",
        ));
    }
    losses
}

/// Returns the capabilities to keep that this process does not have.
fn not_held(keep: &CapsHashSet) -> Option<Loss> {
    let held = permitted().unwrap_or_default();
    let mut missing: Vec<_> = keep.difference(&held).map(Capability::to_string).collect();
    missing.sort();
    let missing = missing.join(", ");
    (!missing.is_empty()).then(|| {
        let problem = format!("privileges.keep names {missing}, which the agent does not have");
        Loss::new(problem, "start it as root or with these capabilities, or leave them out")
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::Layer;
    use crate::config::{Purpose, Sources};
    use std::fs;

    fn problems(yaml: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dnscribe.yaml");
        fs::write(&path, format!("version: 1\ncapture: {{ nice: 0 }}\n{yaml}")).unwrap();
        let (environment, flags) = (Vec::new(), Layer::default());
        let sources = Sources { purpose: Purpose::Live, file: Some(path), environment, flags };
        let config = Config::load(&sources).unwrap();
        let losses = losses(&config, &Files::default(), None);
        let lines = losses.iter().map(|loss| format!("{}: {}", loss.problem, loss.remedy));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_what_needs_a_capability() {
        let metrics = "metrics: { listen: 127.0.0.1:353 }\n";
        assert_eq!(problems(metrics), "", "it is bound before the drop");
        let keep = "privileges: { keep: [CAP_NET_BIND_SERVICE] }\n";
        let holds = permitted().unwrap().contains(&Capability::CAP_NET_BIND_SERVICE);
        assert_eq!(problems(keep).contains("the agent does not have"), !holds);
    }

    #[test]
    fn maps_need_one_of_two_capabilities() {
        assert!(!keeps_maps(&[Capability::CAP_NET_ADMIN].into()));
        assert!(keeps_maps(&[Capability::CAP_BPF].into()));
        assert!(keeps_maps(&[Capability::CAP_SYS_ADMIN].into()));
    }
}
