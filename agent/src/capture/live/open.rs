//! Opens a live capture: loads the programs of a hook, attaches them, and creates the [`Live`] that reads them.

use super::clock::Clock;
use super::kernel_log::KernelLog;
use super::programs::{self, Loaded};
use super::{
    Attached, CannotCapture, CaptureHandles, Live, LiveOptions, Reader, backfill, cgroup, icmp,
    internal, internal_error, ports, ring, sampler, tap,
};
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::Program;
use dnscribe_common::CONFIG_OWNERS;
use dnscribe_common::counter::Hook;
use dnscribe_common::owner;
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

impl Live {
    /// Opens a capture at hook `cgroup`; `why` explains the choice of the hook.
    pub(super) fn open_cgroup(options: &LiveOptions, why: &str) -> Result<Self, CannotCapture> {
        let mount = cgroup::mount().ok_or_else(|| {
            CannotCapture::new(
                "no cgroup2 file system is mounted".into(),
                "mount one (mount -t cgroup2 none /sys/fs/cgroup), or use --hook socket",
            )
        })?;
        let directory = cgroup::directory(&mount, options.cgroup.as_deref());
        let group = File::open(&directory).map_err(|error| {
            CannotCapture::new(
                format!("cannot open cgroup {}: {error}", directory.display()),
                &format!("name a directory below {}", mount.display()),
            )
        })?;
        let mut loaded = programs::load(options, &programs::CGROUP)?;
        programs::attach_cgroup(&mut loaded, &group)?;
        let mut description = format!(
            "hook cgroup{why}, attached at {}; {}",
            directory.display(),
            loaded.settings.describe()
        );
        describe_refused(&loaded, &mut description);
        let scout = options.scout.as_ref();
        let listeners = listeners(&mount, &directory, scout).inspect_err(|reason| {
            let _ = write!(description, "; ICMP errors of connected sockets only ({reason})");
        });
        fill_owners(&mut loaded);
        let attached = (Vec::new(), Some(directory));
        let mut live = Self::new(loaded, options, attached, Hook::Cgroup, description)?;
        live.listeners = listeners.ok();
        for reader in &mut live.readers {
            live.listeners.iter().for_each(|listeners| reader.set_coverage(listeners.coverage()));
        }
        Ok(live)
    }

    /// Opens a capture at hook `socket`; `why` explains the choice of the hook.
    pub(super) fn open_socket(options: &LiveOptions, why: &str) -> Result<Self, CannotCapture> {
        if options.cgroup.is_some() {
            return Err(CannotCapture::new(
                "hook socket knows no cgroups".into(),
                "leave out --cgroup, or use --hook cgroup",
            ));
        }
        let loaded = programs::load(options, &programs::SOCKET)?;
        let Some(Program::SocketFilter(filter)) = loaded.ebpf.program("tap") else {
            return Err(internal("no program tap"));
        };
        let taps = tap::open(filter, &options.interfaces)?;
        let on = if options.interfaces.is_empty() {
            "every interface".to_owned()
        } else {
            format!("interface {}", options.interfaces.join(", "))
        };
        let mut description = format!("hook socket{why}, attached to {on}");
        describe_refused(&loaded, &mut description);
        Self::new(loaded, options, (taps, None), Hook::Socket, description)
    }

    /// Creates the capture from loaded programs.
    pub(super) fn new(
        mut loaded: Loaded,
        options: &LiveOptions,
        (taps, cgroup): (Vec<OwnedFd>, Option<PathBuf>),
        hook: Hook,
        description: String,
    ) -> Result<Self, CannotCapture> {
        let log = KernelLog::start(&mut loaded.ebpf);
        let shared = || CaptureHandles::of(&loaded, &taps, (hook, &description), cgroup);
        let shared = options.shared.then(shared).transpose().map_err(internal_error)?;
        let locals = || (hook == Hook::Socket).then(tap::LocalAddresses::new);
        let sampler = sampler::Sampler::new(&mut loaded.ebpf, options, locals());
        let ports = ports::PortTable::new(&mut loaded.ebpf, options.encrypted.clone());
        let mut take = |name: &str| {
            loaded.ebpf.take_map(name).ok_or_else(|| internal(&format!("no map {name}")))
        };
        let config = Array::try_from(take("CONFIG")?).map_err(internal_error)?;
        let config = Arc::new(Mutex::new(config));
        let counters = PerCpuArray::try_from(take("COUNTERS")?).map_err(internal_error)?;
        let clock = Arc::new(Clock::new());
        let mut readers = Vec::new();
        for (number, records) in (0..).zip(std::mem::take(&mut loaded.rings)) {
            let config = Arc::clone(&config);
            let ring = ring::Ring::new(number, records, loaded.ring_bytes, config, options.nice);
            let ring = ring.map_err(internal_error)?;
            readers.push(Reader::new(ring, Arc::clone(&clock), locals()));
        }
        Ok(Self {
            gauges: readers.iter().map(Reader::gauge).collect(),
            readers,
            config,
            counters,
            sampler: sampler.map_err(internal_error)?,
            ports: ports.map_err(internal_error)?,
            attached: Some(Attached { _taps: taps, programs: loaded, _log: log }),
            hook,
            description,
            clock,
            listeners: None,
            unread: Vec::new(),
            parts: shared,
        })
    }
}

/// Adds the programs that the kernel refused to the description.
fn describe_refused(loaded: &Loaded, description: &mut String) {
    for (entry, reason) in &loaded.refused {
        // Writing to a string cannot fail.
        let _ = write!(description, "; without {} ({reason}; needs {})", entry.loses, entry.needs);
    }
}

/// Fills the map `OWNERS` with the owners of existing sockets, which the programs' hooks never saw.
pub(super) fn fill_owners(loaded: &mut Loaded) {
    let Some(map) = loaded.ebpf.map_mut("OWNERS") else { return };
    let Ok(mut map) = HashMap::<_, u64, [u64; owner::OWNER_BYTES / 8]>::try_from(map) else {
        return;
    };
    for (cookie, owner) in backfill::owners() {
        // Fails without memory; the owner then stays unknown until it sends.
        let _ = map.insert(cookie, owner.to_words(), 0);
    }
    let config = loaded.ebpf.map_mut("CONFIG").and_then(|map| Array::<_, u64>::try_from(map).ok());
    // Never fails; the programs would look up the map for each packet.
    let _ = config.map(|mut config| config.set(CONFIG_OWNERS, 1, 0));
}

/// Starts the listeners for ICMP errors. Returns the reason if this process is not in the cgroup, or they fail.
pub(super) fn listeners(
    mount: &Path,
    directory: &Path,
    scout: Option<&Arc<OwnedFd>>,
) -> Result<icmp::Listeners, String> {
    let own = cgroup::own_path().map(|path| mount.join(path.trim_start_matches('/')));
    if directory != mount && !own.is_some_and(|own| own.starts_with(directory)) {
        return Err("this process is not in the cgroup".to_owned());
    }
    icmp::Listeners::start(scout).map_err(|error| error.to_string())
}
