//! Errors of loading programs and creating maps, with a remedy.

use super::CannotCapture;
use super::programs::ProgramSpec;
use aya::programs::ProgramError;
use caps::{CapSet, Capability};
use rustix::io::Errno;
use std::error::Error;
use std::{io, iter};

/// Requirement of most programs.
pub const OLDEST: &str = "Linux 5.12 or later, for atomic operations with a result";

/// Remedy for missing privileges.
pub const PRIVILEGE: &str = "run as root, or give the binary CAP_BPF and CAP_PERFMON, with \
                             CAP_NET_ADMIN for hook cgroup or CAP_NET_RAW for hook socket";

/// Returns the error of a refused program.
pub(super) fn cannot_load(entry: ProgramSpec, error: &ProgramError, reason: &str) -> CannotCapture {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let is_trusted = [Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN]
        .iter()
        .any(|capability| held.contains(capability));
    CannotCapture::new(
        format!("the kernel refuses program {}: {reason}", entry.name),
        &remedy(entry.needs, error, is_trusted),
    )
}

/// Returns the error of a refused map.
pub(super) fn map_error(error: &(dyn Error + 'static)) -> CannotCapture {
    let problem = format!("the kernel refuses the maps: {}", chain(error));
    CannotCapture::new(problem, &remedy(OLDEST, error, false))
}

/// Returns the remedy where the kernel refuses a program or map with these needs. `is_trusted`: EACCES does not mean that
/// a capability is missing, but is what the verifier thinks of a program.
fn remedy(needs: &str, error: &(dyn Error + 'static), is_trusted: bool) -> String {
    match source_of(error).and_then(Errno::from_io_error) {
        Some(Errno::PERM) => PRIVILEGE.to_owned(),
        Some(Errno::ACCESS) if !is_trusted => PRIVILEGE.to_owned(),
        Some(Errno::NOMEM) => "reduce capture.ring_bytes, or give the agent more memory".to_owned(),
        Some(Errno::MFILE) => {
            "raise the limit of open files: ulimit -n 1024, or LimitNOFILE=".to_owned()
        }
        Some(Errno::NFILE) => "raise the host's limit of open files: fs.file-max".to_owned(),
        _ => format!("it needs {needs}; if this is one, please report it with this message"),
    }
}

/// Returns the line of the verifier log with the error, and the reason in one line. The whole log must not be
/// searched, because it names every checked instruction, including calls of available helpers.
pub(super) fn reason_of(error: &ProgramError) -> (String, String) {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            tracing::debug!(%error, "the verifier refuses a program");
            let verifier_error = verifier_error(&log);
            let mut reason = io_error.to_string();
            if !verifier_error.is_empty() {
                reason = format!("{reason} ({verifier_error})");
            }
            (verifier_error.to_owned(), reason)
        }
        other => (String::new(), chain(other)),
    }
}

/// Returns the error in a verifier log: the line about a missing helper, else the last line before the statistics.
fn verifier_error(log: &str) -> &str {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let helper = |line: &&str| line.contains("unknown func") || line.contains("cannot use helper");
    let telling =
        |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    log.lines().find(helper).or_else(|| log.lines().rev().find(telling)).unwrap_or_default().trim()
}

/// Returns the text of an error with all its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = iter::successors(error.source(), |&error| error.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |text, cause| {
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Returns the kernel's error among the causes.
pub(super) fn source_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_fits_the_error() {
        let remedy = |error: Errno, is_trusted| remedy(OLDEST, &io::Error::from(error), is_trusted);
        assert_eq!(remedy(Errno::PERM, true), PRIVILEGE);
        assert_eq!(remedy(Errno::ACCESS, false), PRIVILEGE, "pointers are for the trusted");
        for verifier in [Errno::ACCESS, Errno::INVAL] {
            assert!(remedy(verifier, true).contains("Linux 5.12"), "{verifier}");
        }
        let map = |error: Errno| map_error(&io::Error::from(error)).remedy;
        assert_eq!([Errno::PERM, Errno::ACCESS].map(map), [PRIVILEGE; 2]);
        assert!(map(Errno::MFILE).contains("ulimit -n"));
        assert!(map(Errno::NOMEM).contains("capture.ring_bytes"));
        assert!(map(Errno::INVAL).contains("Linux 5.12"));
    }

    #[test]
    fn finds_error_in_verifier_log() {
        let log = "\
12: (85) call bpf_get_current_comm#16\n\
14: (85) call bpf_get_netns_cookie#122\n\
program of this type cannot use helper bpf_get_netns_cookie#122\n\
processed 14 insns (limit 1000000)\n\n";
        assert!(verifier_error(log).ends_with("bpf_get_netns_cookie#122"));
        let log =
            "1: (bf) r1 = r2\nR3 min value is outside\nverification time 5 usec\nstack depth 8\n";
        assert_eq!(verifier_error(log), "R3 min value is outside");
        assert_eq!(verifier_error(""), "");
    }
}
