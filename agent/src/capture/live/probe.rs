//! Probes of `dnscribe check`: what capture needs of this host, with remedies.

use super::btf::KERNEL_BTF;
use super::load_error::{OLDEST, PRIVILEGE};
use super::programs::{self, ProgramSpec};
use super::{CannotCapture, HookChoice, LiveOptions, cgroup, tap};
use caps::{CapSet, Capability, CapsHashSet};
use dnscribe_cli::check::{Probe, required, with_remedy};
use rustix::param::page_size;
use std::path::Path;

/// Probes everything that capture with these options needs. Programs are loaded and unloaded;
/// nothing is attached. With [`HookChoice::Auto`], a hook is required only where the other
/// cannot do.
#[must_use]
pub fn run_probes(options: &LiveOptions) -> Vec<Probe> {
    let may_cgroup = match options.hook {
        HookChoice::Auto => options.interfaces.is_empty(),
        HookChoice::Cgroup => true,
        HookChoice::Socket => false,
    };
    let may_socket = options.hook != HookChoice::Cgroup && options.cgroup.is_none();
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let mut probes = vec![kernel(), btf(), memlock()];
    let mut hooks = Vec::new();
    if may_cgroup {
        let mut found = vec![
            capabilities("cgroup", Capability::CAP_NET_ADMIN, &held),
            optional_capabilities(options.path, &held),
            cgroup_mount(options),
        ];
        found.extend(load("cgroup", options, &programs::of_cgroup(options)));
        hooks.push(found);
    }
    if may_socket {
        let mut found = vec![capabilities("socket", Capability::CAP_NET_RAW, &held)];
        found.extend(load("socket", options, &programs::SOCKET));
        found.extend(interfaces(options));
        hooks.push(found);
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
    let ok = is_since(&release, (5, 12));
    let remedy = format!("what is needed is {OLDEST}");
    Probe::new("kernel", true, ok, format!("Linux {release}; 5.12 or later is needed"), &remedy)
}

/// Returns whether this kernel lets only privileged processes use open maps: before Linux 5.19, unless
/// `kernel.unprivileged_bpf_disabled` is 0.
#[must_use]
pub fn maps_need_privileges() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let disabled = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    !is_since(&release, (5, 19)) && disabled.is_ok_and(|value| value.trim() != "0")
}

/// Returns whether a release is this version or later, or is unknown.
fn is_since(release: &str, wanted: (u32, u32)) -> bool {
    version(release).is_none_or(|version| version >= wanted)
}

/// Returns the first two numbers of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Probe {
    let ok = Path::new(KERNEL_BTF).exists();
    let detail = if ok {
        format!("{KERNEL_BTF} exists: the kernel's types are known")
    } else {
        format!(
            "no {KERNEL_BTF}: ICMP errors come from raw sockets only, and senders are known less exactly"
        )
    };
    Probe::new("btf", false, ok, detail, "use a kernel with CONFIG_DEBUG_INFO_BTF=y")
}

/// Probes the capabilities of a hook, which attaches with `attaches`.
fn capabilities(hook: &str, attaches: Capability, held: &CapsHashSet) -> Probe {
    let needed = [Capability::CAP_BPF, Capability::CAP_PERFMON, attaches];
    // To the BPF system call, CAP_SYS_ADMIN includes all others, as before Linux 5.8.
    let is_admin = held.contains(&Capability::CAP_SYS_ADMIN);
    let is_held = |wanted: &Capability| {
        held.contains(wanted) || is_admin && *wanted != Capability::CAP_NET_RAW
    };
    let names =
        |all: &[Capability]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let missing: Vec<Capability> = needed.into_iter().filter(|wanted| !is_held(wanted)).collect();
    let detail = if missing.is_empty() {
        format!("hook {hook}: run may attach its programs: it has {}", names(&needed))
    } else {
        format!("hook {hook}: run may not attach its programs: {} missing", names(&missing))
    };
    Probe::new("capabilities", true, missing.is_empty(), detail, PRIVILEGE)
}

/// Capabilities that hook `cgroup` can do without, and what is missing in records then.
const OPTIONAL: [(Capability, &str); 5] = [
    (Capability::CAP_NET_RAW, "ICMP errors of unconnected sockets"),
    (Capability::CAP_SYS_ADMIN, "ICMP errors of other network namespaces"),
    (Capability::CAP_SYS_PTRACE, "executables of other users"),
    (Capability::CAP_DAC_READ_SEARCH, "containers of processes that have ended"),
    (
        Capability::CAP_SYSLOG,
        "functions of the kernel in lost_at, and hooks of netfilter on the way in",
    ),
];

/// `path`: packets that the kernel discards are captured.
fn optional_capabilities(path: bool, held: &CapsHashSet) -> Probe {
    let missing: Vec<String> = OPTIONAL
        .iter()
        .filter(|(wanted, _)| path || *wanted != Capability::CAP_SYSLOG)
        .filter(|(wanted, _)| !held.contains(wanted))
        .map(|(wanted, loses)| format!("without {wanted}, records miss {loses}"))
        .collect();
    let detail = if missing.is_empty() {
        "all: records of hook cgroup are complete".to_owned()
    } else {
        missing.join("; ")
    };
    let remedy = "run as root, or add those that matter to you";
    Probe::new("optional capabilities", false, missing.is_empty(), detail, remedy)
}

/// Probes the limit of locked memory. Since Linux 5.11, maps count against the memory cgroup instead.
fn memlock() -> Probe {
    use rustix::process::{Resource, getrlimit};
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let matters = version(&release).is_some_and(|version| version < (5, 11));
    let limit = getrlimit(Resource::Memlock).current;
    let detail = match limit {
        _ if !matters => "not limited: since Linux 5.11, ring buffers and maps count against the \
                          memory cgroup"
            .to_owned(),
        Some(bytes) => format!("ring buffers and maps may take {bytes} bytes (RLIMIT_MEMLOCK)"),
        None => "not limited".to_owned(),
    };
    let ok = !matters || limit.is_none();
    Probe::new("memlock", false, ok, detail, "raise it: ulimit -l unlimited, or LimitMEMLOCK=")
}

fn cgroup_mount(options: &LiveOptions) -> Probe {
    let Some(mount) = cgroup::mount() else {
        let problem = "not mounted, which hook cgroup needs".to_owned();
        let remedy = "mount one (mount -t cgroup2 none /sys/fs/cgroup), or use --hook socket";
        return Probe::new("cgroup2", true, false, problem, remedy);
    };
    let directory = cgroup::directory(&mount, options.cgroup.as_deref());
    let (shown, watched) = (mount.display(), directory.display());
    let found = cgroup::open(&directory)
        .map(|_| format!("mounted at {shown}; hook cgroup watches {watched}"))
        .map_err(|error| {
            format!("mounted at {shown}; hook cgroup cannot watch {watched}: {error}")
        });
    with_remedy("cgroup2", found, "set capture.cgroup to an existing directory below the mount")
}

/// Probes the interfaces that are named.
fn interfaces(options: &LiveOptions) -> Option<Probe> {
    let named = &options.interfaces;
    let detail = format!("hook socket: {} can be watched", named.join(", "));
    let found = tap::check(named).map(|()| detail).map_err(|why| (why.problem, why.remedy));
    (!named.is_empty()).then(|| required("interfaces", found))
}

/// Loads the programs of one hook: a probe for the ring buffers, and one for each program.
fn load(hook: &str, options: &LiveOptions, entries: &[ProgramSpec]) -> Vec<Probe> {
    let ring_buffer = if hook == "cgroup" { "cgroup ring buffer" } else { "socket ring buffer" };
    match programs::load(options, entries) {
        Ok(loaded) => {
            let rings = match options.rings {
                1 => "a ring".to_owned(),
                several => format!("{several} rings"),
            };
            let detail = format!(
                "hook {hook}: {rings} of {} bytes can be created (page size {}); kernel features: {}",
                loaded.ring_bytes,
                page_size(),
                loaded.settings.describe()
            );
            let mut probes = vec![Probe::new(ring_buffer, true, true, detail, "")];
            probes.extend(loaded.entries.iter().map(|entry| {
                let detail = format!("hook {hook}: loads; needed for {}", entry.loses);
                Probe::new(entry.name, entry.required, true, detail, "")
            }));
            probes.extend(loaded.refused.iter().map(|(entry, reason)| {
                let detail = format!("hook {hook}: {reason}; records miss {}", entry.loses);
                let remedy =
                    format!("use a kernel that has what the program needs: {}", entry.needs);
                Probe::new(entry.name, false, false, detail, &remedy)
            }));
            probes
        }
        Err(CannotCapture { problem, remedy }) => {
            let name = entries
                .iter()
                .find(|entry| problem.contains(&format!("program {}:", entry.name)))
                .map_or(ring_buffer, |entry| entry.name);
            vec![Probe::new(name, true, false, format!("hook {hook}: {problem}"), &remedy)]
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
        assert!(is_since("5.19.0", (5, 19)) && is_since("6.1", (5, 19)) && is_since("?", (5, 19)));
        assert!(!is_since("5.15.0-91-generic", (5, 19)));
    }

    #[test]
    fn each_hook_has_capabilities_of_its_own() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON, CAP_SYS_ADMIN};
        let works = |hook, attaches, held: &[Capability]| {
            capabilities(hook, attaches, &held.iter().copied().collect()).ok
        };
        let cgroup = |held: &[Capability]| works("cgroup", CAP_NET_ADMIN, held);
        let socket = |held: &[Capability]| works("socket", CAP_NET_RAW, held);
        assert!(cgroup(&[CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN]) && cgroup(&[CAP_SYS_ADMIN]));
        assert!(!cgroup(&[CAP_BPF, CAP_NET_ADMIN]) && !cgroup(&[CAP_BPF, CAP_PERFMON]));
        assert!(socket(&[CAP_BPF, CAP_PERFMON, CAP_NET_RAW]));
        assert!(socket(&[CAP_SYS_ADMIN, CAP_NET_RAW]) && !socket(&[CAP_SYS_ADMIN]));
    }

    #[test]
    fn every_failure_has_a_remedy() {
        let options = LiveOptions {
            cgroup: Some("no/such/cgroup".into()),
            ring_bytes: 4097,
            ..LiveOptions::default()
        };
        let probes = run_probes(&options);
        assert!(probes.iter().any(|probe| !probe.ok && probe.required));
        for probe in probes {
            assert_eq!(probe.ok, probe.remedy.is_none(), "{probe:?}");
        }
    }
}
