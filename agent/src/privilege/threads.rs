//! Check that every thread of this process is confined, from what the kernel says of each in `/proc/self/task`.

use super::{status_field, user_name};
use caps::{Capability, CapsHashSet};
use std::fs;
use std::io;

/// What each thread of this process may have at most.
#[derive(Debug)]
pub(super) struct Confinement {
    /// The only user.
    pub(super) user: u32,
    /// The only capabilities in any set but the bounding set.
    pub(super) capabilities: CapsHashSet,
    /// Whether the bounding set is bound by `capabilities`, too.
    pub(super) is_bounded: bool,
    /// Whether `no_new_privs` must be set.
    pub(super) no_new_privileges: bool,
    /// Whether system calls must be filtered.
    pub(super) seccomp: bool,
}

/// Sets of capabilities, by their fields in `/proc/PID/status` (manual page `proc_pid_status`).
const SETS: [&str; 4] = ["CapEff", "CapPrm", "CapInh", "CapAmb"];

impl Confinement {
    /// Returns a phrase for each thread of this process that is not confined, with its name and what it has.
    ///
    /// # Errors
    /// A sentence: the threads cannot be listed.
    pub(super) fn unconfined_threads(&self) -> Result<Vec<String>, String> {
        let failed =
            |error: io::Error| format!("cannot check the threads in /proc/self/task: {error}");
        let mut unconfined = Vec::new();
        for task in fs::read_dir("/proc/self/task").map_err(failed)? {
            let status = match fs::read_to_string(task.map_err(failed)?.path().join("status")) {
                // The thread has ended meanwhile.
                Err(error) if is_ended(&error) => continue,
                status => status.map_err(failed)?,
            };
            let excess = self.excess(&status);
            if !excess.is_empty() {
                let name = status_field(&status, "Name").unwrap_or("?");
                let number = status_field(&status, "Pid").unwrap_or("?");
                unconfined.push(format!("thread {name} ({number}) has {}", excess.join(", ")));
            }
        }
        Ok(unconfined)
    }

    /// Returns what a thread with this `/proc/PID/status` has beyond the confinement. A field that is missing counts
    /// against the thread.
    fn excess(&self, status: &str) -> Vec<String> {
        let mut excess = Vec::new();
        let users = status_field(status, "Uid").unwrap_or_default();
        // Real, effective, saved, and of the file system.
        let mut users: Vec<_> = users.split_whitespace().map(str::parse).collect();
        users.dedup();
        if users != [Ok(self.user)] {
            let name =
                |user: &Result<u32, _>| user.as_ref().map_or("?".into(), |id| user_name(*id));
            let names: Vec<String> = users.iter().map(name).collect();
            excess.push(format!("user {}", names.join(", ")));
        }
        let (mut held, allowed) = (0, bits_of(&self.capabilities));
        let bounding = self.is_bounded.then_some("CapBnd");
        for set in SETS.into_iter().chain(bounding) {
            match status_field(status, set).and_then(|bits| u64::from_str_radix(bits, 16).ok()) {
                Some(bits) => held |= bits & !allowed,
                // The kernel has no ambient set before Linux 4.3.
                None => excess.push(format!("an unknown set {set}")),
            }
        }
        if held != 0 {
            excess.push(format!("capabilities: {}", names_of(held)));
        }
        if self.no_new_privileges && status_field(status, "NoNewPrivs") != Some("1") {
            excess.push("no no_new_privs".to_owned());
        }
        // Mode 2 is a filter.
        if self.seccomp && status_field(status, "Seccomp") != Some("2") {
            excess.push("no seccomp filter".to_owned());
        }
        excess
    }
}

fn bits_of(capabilities: &CapsHashSet) -> u64 {
    capabilities.iter().map(Capability::bitmask).fold(0, |bits, one| bits | one)
}

/// Returns the names of capabilities, or the number of one that is newer than this program.
fn names_of(bits: u64) -> String {
    let known = caps::all();
    if bits == bits_of(&known) {
        return "all".to_owned();
    }
    let name = |number: u32| {
        let known = known.iter().find(|one| u32::from(one.index()) == number);
        known.map_or_else(|| number.to_string(), Capability::to_string)
    };
    let held = (0..u64::BITS).filter(|number| bits >> number & 1 != 0);
    held.map(name).collect::<Vec<_>>().join(" ")
}

fn is_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    const CONFINED: &str = "Name:\tsink\nPid:\t7\n\
        Uid:\t4000000009\t4000000009\t4000000009\t4000000009\nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    fn nothing() -> Confinement {
        Confinement {
            user: 4_000_000_009,
            capabilities: CapsHashSet::new(),
            is_bounded: true,
            no_new_privileges: true,
            seccomp: true,
        }
    }

    #[test]
    fn names_each_excess() {
        assert_eq!(nothing().excess(CONFINED), Vec::<String>::new());
        for (field, value, wanted) in [
            (
                "4000000009\t4000000009\nCapInh",
                "0\t4000000009\nCapInh",
                "user 4000000009, root (0), 4000000009",
            ),
            ("CapEff:\t0000000000000000", "CapEff:\t0000000000000002", "CAP_DAC_OVERRIDE"),
            ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000200000", "CAP_SYS_ADMIN"),
            ("CapInh:\t0000000000000000", "CapInh:\t0000000000000004", "CAP_DAC_READ_SEARCH"),
            ("CapAmb:\t0000000000000000", "CapAmb:\t0000008000000000", "CAP_BPF"),
            ("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000001", "CAP_CHOWN"),
            ("CapBnd:\t0000000000000000", "CapBnd:\t8000000000000001", "CAP_CHOWN 63"),
            ("CapEff:\t0000000000000000", "CapEff:\t000001ffffffffff", "capabilities: all"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no no_new_privs"),
            ("Seccomp:\t2", "Seccomp:\t1", "no seccomp filter"),
            ("Seccomp:\t2\n", "", "no seccomp filter"),
            ("CapPrm:\t0000000000000000\n", "", "an unknown set CapPrm"),
        ] {
            assert!(CONFINED.contains(field));
            let excess = nothing().excess(&CONFINED.replace(field, value)).join(", ");
            assert!(excess.ends_with(wanted), "{field}: {excess}");
        }
        let kept = [Capability::CAP_DAC_OVERRIDE].into();
        let status = CONFINED.replace("CapEff:\t0000000000000000", "CapEff:\t0000000000000002");
        let confinement = Confinement { capabilities: kept, ..nothing() };
        assert_eq!(confinement.excess(&status), Vec::<String>::new());
    }

    #[test]
    fn finds_a_thread_that_was_started_before() {
        let (end, until_the_end) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let stray = thread::Builder::new().name("stray".into()).spawn(move || {
            begin.send(()).unwrap();
            until_the_end.recv()
        });
        begun.recv().unwrap();
        let user = rustix::process::geteuid().as_raw();
        let capabilities = caps::all();
        let check = move || {
            super::super::no_new_privileges().unwrap();
            let confinement = Confinement {
                user,
                capabilities,
                is_bounded: true,
                no_new_privileges: true,
                seccomp: false,
            };
            confinement.unconfined_threads().unwrap()
        };
        let confined = thread::Builder::new().name("confined".into()).spawn(check).unwrap();
        let found = confined.join().unwrap();
        let has = |name: &str| found.iter().any(|one| one.starts_with(&format!("thread {name} (")));
        assert!(has("stray") && !has("confined"), "{found:?}");
        assert!(found.iter().all(|one| one.ends_with("has no no_new_privs")), "{found:?}");
        drop(end);
        stray.unwrap().join().unwrap().unwrap_err();
    }
}
