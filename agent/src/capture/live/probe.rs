//! Checks of the host for `dnscribe check`: everything that capture needs, with remedies.

use super::btf::KERNEL_BTF;
use super::load_error::{OLDEST, PRIVILEGE};
use super::programs::{self, ProgramSpec};
use super::{CannotCapture, HookChoice, LiveOptions, cgroup, ring};
use caps::{CapSet, Capability};
use std::path::Path;

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the check.
    pub name: &'static str,
    /// Whether it is fine.
    pub ok: bool,
    /// Whether capture is impossible without it.
    pub required: bool,
    /// Finding.
    pub detail: String,
    /// The remedy, if it is not fine.
    pub remedy: Option<String>,
}

impl Probe {
    fn new(name: &'static str, required: bool, ok: bool, detail: String, remedy: &str) -> Self {
        let remedy = (!ok).then(|| remedy.to_owned());
        Self { name, ok, required, detail, remedy }
    }
}

/// Checks everything that capture with these options needs. Loads the programs and unloads them again;
/// attaches nothing. With [`HookChoice::Auto`], a hook is required only if the other does not work.
#[must_use]
pub fn probe(options: &LiveOptions) -> Vec<Probe> {
    let may_cgroup = match options.hook {
        HookChoice::Auto => options.interfaces.is_empty(),
        HookChoice::Cgroup => true,
        HookChoice::Socket => false,
    };
    let may_socket = options.hook != HookChoice::Cgroup && options.cgroup.is_none();
    let mut probes = vec![kernel(), btf(), capabilities(may_socket && !may_cgroup), memlock()];
    let mut hooks = Vec::new();
    if may_cgroup {
        let mut found = vec![extras(), cgroup_mount(options)];
        found.extend(load(options, &programs::CGROUP));
        hooks.push(found);
    }
    if may_socket {
        hooks.push(load(options, &programs::SOCKET));
    }
    let works = |hook: &[Probe]| hook.iter().all(|probe| probe.ok || !probe.required);
    let some_works = hooks.iter().any(|hook| works(hook));
    for hook in &mut hooks {
        if some_works && !works(hook) {
            for probe in hook.iter_mut() {
                probe.required = false;
            }
        }
        probes.append(hook);
    }
    probes
}

fn kernel() -> Probe {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let ok = version(&release).is_none_or(|version| version >= (5, 12));
    let remedy = format!("use {OLDEST}");
    Probe::new("kernel", true, ok, format!("Linux {release}"), &remedy)
}

/// Returns the first two numbers of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Probe {
    let ok = Path::new(KERNEL_BTF).exists();
    let detail = if ok {
        format!("{KERNEL_BTF} exists")
    } else {
        format!("no {KERNEL_BTF}: ICMP errors by raw sockets only; senders are known less exactly")
    };
    Probe::new("btf", false, ok, detail, "use a kernel with CONFIG_DEBUG_INFO_BTF=y")
}

fn capabilities(packet_socket: bool) -> Probe {
    let mut needed = vec![Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];
    if packet_socket {
        needed.push(Capability::CAP_NET_RAW);
    }
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    // CAP_SYS_ADMIN includes the first two, as before Linux 5.8.
    let admin = held.contains(&Capability::CAP_SYS_ADMIN);
    let replaced = |wanted: &Capability| {
        admin && matches!(wanted, Capability::CAP_BPF | Capability::CAP_PERFMON)
    };
    let missing: Vec<String> = needed
        .iter()
        .filter(|wanted| !held.contains(wanted) && !replaced(wanted))
        .map(ToString::to_string)
        .collect();
    let detail = if missing.is_empty() {
        "all required capabilities".to_owned()
    } else {
        format!("missing {}", missing.join(", "))
    };
    Probe::new("capabilities", true, missing.is_empty(), detail, PRIVILEGE)
}

/// Optional capabilities of hook `cgroup`, with the data that they provide.
const EXTRAS: [(Capability, &str); 4] = [
    (Capability::CAP_NET_RAW, "ICMP errors of unconnected sockets"),
    (Capability::CAP_SYS_ADMIN, "ICMP errors of other network namespaces"),
    (Capability::CAP_SYS_PTRACE, "other users' executables"),
    (Capability::CAP_DAC_READ_SEARCH, "containers of processes that are gone"),
];

fn extras() -> Probe {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let missing: Vec<String> = EXTRAS
        .iter()
        .filter(|(wanted, _)| !held.contains(wanted))
        .map(|(wanted, loses)| format!("without {wanted}: not {loses}"))
        .collect();
    let detail = if missing.is_empty() {
        "all optional capabilities".to_owned()
    } else {
        missing.join("; ")
    };
    let remedy = "run as root, or give the binary the capabilities that you need";
    Probe::new("extras", false, missing.is_empty(), detail, remedy)
}

/// Checks the limit of locked memory, against which maps count before Linux 5.11.
fn memlock() -> Probe {
    use rustix::process::{Resource, getrlimit};
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let matters = version(&release).is_some_and(|version| version < (5, 11));
    let limit = getrlimit(Resource::Memlock).current;
    let shown = limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
    let detail = if matters { shown } else { format!("{shown}; not used since Linux 5.11") };
    let ok = !matters || limit.is_none();
    Probe::new("memlock", false, ok, detail, "raise it: ulimit -l unlimited, or LimitMEMLOCK=")
}

fn cgroup_mount(options: &LiveOptions) -> Probe {
    let name = "cgroup2";
    let Some(mount) = cgroup::mount() else {
        let remedy = "mount one (mount -t cgroup2 none /sys/fs/cgroup), or use --hook socket";
        return Probe::new(name, true, false, "not mounted".into(), remedy);
    };
    let directory = cgroup::directory(&mount, options.cgroup.as_deref());
    let detail = format!("{}, capture at {}", mount.display(), directory.display());
    Probe::new(name, true, directory.is_dir(), detail, "name an existing directory below the mount")
}

/// Loads the programs of one hook. Returns a result for the maps, and one for each program.
fn load(options: &LiveOptions, entries: &[ProgramSpec]) -> Vec<Probe> {
    match programs::load(options, entries) {
        Ok(loaded) => {
            let detail = match options.rings {
                1 => format!("{} bytes", options.ring_bytes),
                rings => format!("{rings} rings with {} bytes in total", options.ring_bytes),
            };
            let page = ring::page_bytes();
            let detail = format!("{detail}, pages of {page}; {}", loaded.settings.describe());
            let mut probes = vec![Probe::new("ring buffer", true, true, detail, "")];
            probes.extend(
                loaded
                    .entries
                    .iter()
                    .map(|entry| Probe::new(entry.name, entry.required, true, "loads".into(), "")),
            );
            probes.extend(loaded.refused.iter().map(|(entry, reason)| {
                let detail = format!("{reason}; capture works without {}", entry.loses);
                let remedy = format!("use a kernel that meets its requirements: {}", entry.needs);
                Probe::new(entry.name, false, false, detail, &remedy)
            }));
            probes
        }
        Err(CannotCapture { problem, remedy }) => {
            let name = entries
                .iter()
                .find(|entry| problem.contains(&format!("program {}:", entry.name)))
                .map_or("ring buffer", |entry| entry.name);
            vec![Probe::new(name, true, false, problem, &remedy)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.4-rc1"), Some((5, 4)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn every_failure_has_a_remedy() {
        let options = LiveOptions {
            cgroup: Some("no/such/cgroup".into()),
            ring_bytes: 4097,
            ..LiveOptions::default()
        };
        let probes = probe(&options);
        assert!(probes.iter().any(|probe| !probe.ok && probe.required));
        for probe in probes {
            assert_eq!(probe.ok, probe.remedy.is_none(), "{probe:?}");
        }
    }
}
