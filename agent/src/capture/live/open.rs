//! Opens a live capture: loads the programs of a hook, attaches them, and creates the [`Live`] that reads them.

use super::clock::Clock;
use super::drops::DropNames;
use super::kernel_log::KernelLog;
use super::programs::{self, Loaded};
use super::{
    Attached, CannotCapture, Live, LiveOptions, Reader, backfill, cgroup, icmp, internal, ring,
    sampler, settings, tap,
};
use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::programs::Program;
use dnscribe_common::counter::Hook;
use dnscribe_common::{CONFIG_OWNERS, owner};
use nix::sys::socket::{setsockopt, sockopt};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
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
        let group = cgroup::open(&directory).map_err(|error| {
            CannotCapture::new(
                format!("cannot open cgroup {}: {error}", directory.display()),
                &format!("name a directory below {}", mount.display()),
            )
        })?;
        let mut loaded = programs::load(options, &programs::of_cgroup(options))?;
        programs::attach_cgroup(&mut loaded, &group)?;
        let mut description = format!(
            "hook cgroup{why}, attached at {}; {}",
            directory.display(),
            loaded.settings.describe()
        );
        describe_refused(&loaded, &mut description);
        let listeners = listeners(&mount, &directory, &options.icmp).inspect_err(|reason| {
            let _ = write!(description, "; ICMP errors of connected sockets only ({reason})");
        });
        fill_owners(&mut loaded);
        let mut live = Self::new(loaded, options, Vec::new(), Hook::Cgroup, &description)?;
        live.listeners = listeners.ok();
        for reader in &mut live.readers {
            reader.coverage = live.listeners.as_ref().map(icmp::Listeners::coverage);
        }
        Ok(live)
    }

    /// Opens a capture at hook `socket`; `why` explains the choice of the hook.
    pub(super) fn open_socket(options: &LiveOptions, why: &str) -> Result<Self, CannotCapture> {
        if options.connects {
            return Err(CannotCapture::new(
                "hook socket sees no connections".into(),
                "leave out capture.connections, or use --hook cgroup",
            ));
        }
        if options.path {
            return Err(CannotCapture::new(
                "hook socket sees packets after the kernel may have discarded them".into(),
                "leave out capture.path, or use --hook cgroup",
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
        Self::new(loaded, options, taps, Hook::Socket, &description)
    }

    /// Creates the capture from loaded programs.
    pub(super) fn new(
        mut loaded: Loaded,
        options: &LiveOptions,
        taps: Vec<OwnedFd>,
        hook: Hook,
        description: &str,
    ) -> Result<Self, CannotCapture> {
        let log = KernelLog::open(&mut loaded.ebpf);
        let take = |name: &str| {
            loaded.ebpf.take_map(name).ok_or_else(|| internal(&format!("no map {name}")))
        };
        let mut live = Self::without_readers(take, options, hook, description)?;
        live.reasons.clone_from(&loaded.reasons);
        live.sees_reads = options.path && loaded.sees_reads();
        for records in std::mem::take(&mut loaded.rings) {
            live.add_reader(records, loaded.ring_bytes, options.nice)?;
        }
        live.attached = Some(Attached { _taps: taps, programs: loaded, log });
        Ok(live)
    }

    /// Creates a capture without readers from its maps, by name.
    pub(super) fn without_readers(
        mut take: impl FnMut(&str) -> Result<Map, CannotCapture>,
        options: &LiveOptions,
        hook: Hook,
        description: &str,
    ) -> Result<Self, CannotCapture> {
        let address_errors = Arc::default();
        let locals = (hook == Hook::Socket).then(|| tap::LocalAddresses::new(&address_errors));
        let totals = (take("TOTALS")?.try_into()?, take("TOTALS_OTHER")?.try_into()?);
        Ok(Self {
            attached: None,
            hook,
            description: description.to_owned(),
            readers: Vec::new(),
            gauges: Vec::new(),
            counters: take("COUNTERS")?.try_into()?,
            clock: Arc::new(Clock::new()),
            config: Arc::new(Mutex::new(take("CONFIG")?.try_into()?)),
            sampler: sampler::Sampler::new(totals, options, locals),
            address_errors,
            ports: take(settings::PORTS_MAP)?.try_into()?,
            encrypted: options.encrypted.clone(),
            listeners: None,
            connects: options.connects,
            path: options.path,
            reasons: None,
            sees_reads: false,
            _timestamps: options.path.then(timestamps).flatten(),
        })
    }

    /// Adds the reader of the next ring.
    pub(super) fn add_reader(
        &mut self,
        records: RingBuf<MapData>,
        ring_bytes: u32,
        nice: u8,
    ) -> Result<(), CannotCapture> {
        let (number, config) = (self.readers.len(), Arc::clone(&self.config));
        let ring = ring::Ring::new(number, records, ring_bytes, config, nice);
        let ring = ring.map_err(|error| internal(&error.to_string()))?;
        self.gauges.push(Arc::clone(&ring.gauge));
        self.readers.push(Reader {
            ring,
            received: Vec::new(),
            clock: Arc::clone(&self.clock),
            locals: (self.hook == Hook::Socket)
                .then(|| tap::LocalAddresses::new(&self.address_errors)),
            coverage: self.listeners.as_ref().map(icmp::Listeners::coverage),
            drops: self.reasons.clone().map(DropNames::new),
        });
        Ok(())
    }
}

/// Returns a socket that lets the kernel note when each packet arrives, on every device.
fn timestamps() -> Option<OwnedFd> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| error.to_string())
        .and_then(|socket| {
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).map_err(|e| e.to_string())?;
            Ok(socket.into())
        });
    socket.inspect_err(|error| tracing::warn!(%error, "cannot ask for times of arrival")).ok()
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
    place: &icmp::ListenerPlace,
) -> Result<icmp::Listeners, String> {
    let own = cgroup::own_path().map(|path| mount.join(path.trim_start_matches('/')));
    if directory != mount && !own.is_some_and(|own| own.starts_with(directory)) {
        return Err("this process is not in the cgroup".to_owned());
    }
    icmp::Listeners::start(place).map_err(|error| error.to_string())
}
