//! Live capture: loads and attaches the eBPF programs, and reads packets from their rings. The only module that
//! uses aya.
//!
//! # Minimum kernel version
//!
//! Linux 5.12. Other features are optional; [`Live::description`] names what is missing:
//!
//! | feature | since | fallback |
//! |---|---|---|
//! | ring buffer, `bpf_link` for cgroups, storage of sockets, atomic addition with result | Linux 5.12 | no capture |
//! | sockets cloned with their storage (`BPF_F_CLONE`): accepted sockets have an owner | 5.4 | |
//! | raw sockets in every network namespace, this process in the cgroup | | the next row |
//! | tracepoint `sock:inet_sk_error_report`, and BTF | 5.14 | no ICMP errors at hook `cgroup`; the tracepoint has those of connected sockets, without code |
//! | `bpf_get_current_task_btf` outside tracing, and BTF | 5.15 | the next row, which takes eight times as long |
//! | `bpf_cast_to_kern_ctx` and `bpf_rdonly_cast`, and BTF: hook `socket` reads packets in place | 6.2 | it copies their first bytes |
//! | `sock_ops`: outcomes of connections, if these are captured | 5.12 | no outcomes |
//! | tracepoint `skb:kfree_skb` with a reason, and BTF, if the path of packets is captured | 5.17 | no discarded packets |
//! | `bpf_get_current_uid_gid` and similar helpers in `cgroup_skb` | 6.16 | read from `task_struct`, by BTF |
//! | `bpf_get_netns_cookie` in `cgroup_skb` | 6.15 | read from `struct net`, by BTF |
//!
//! The lists of helpers per program type are in
//! [filter.c](https://github.com/torvalds/linux/blob/v6.18/net/core/filter.c) and
//! [helpers.c](https://github.com/torvalds/linux/blob/v6.18/kernel/bpf/helpers.c). Tested on 6.1, 6.12,
//! 6.18 and 7.2.

mod backfill;
mod btf;
pub mod cgroup;
mod clock;
mod drops;
mod icmp;
mod kernel_log;
mod link;
mod load_error;
mod netlink;
mod nice;
mod open;
mod pressure;
pub mod probe;
pub mod process;
mod programs;
mod reader;
mod ring;
mod sampler;
mod settings;
mod tally;
mod tap;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

use super::Received;
use aya::maps::{Array, MapData, MapError, PerCpuArray};
pub use cgroup::{mount as cgroup2_mount, own_path as own_cgroup, path_of_id as cgroup_of_id};
pub(crate) use clock::Clock;
#[cfg(test)]
pub(crate) use clock::Measurement;
pub use clock::{ClockStep, boottime_ns};
use dnscribe_common::counter::{Hook, PerCpu, WORDS};
use dnscribe_common::flow;
use dnscribe_record::time::{ClockShift, Timestamp};
use dnscribe_record::{ledger, named_enum};
use dnscribe_transaction::packet::Packet;
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::ports::PortSet;
pub use icmp::{ListenerPlace, pair as message_sockets, serve as serve_icmp};
use kernel_log::KernelLog;
use programs::Loaded;
pub use reader::Reader;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

named_enum! {
    /// The hook to capture at.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum HookChoice: "a hook", "give one of" {
        /// `cgroup` if this host supports it and no interface is named; else `socket`.
        #[default]
        Auto = "auto",
        /// Every socket of a cgroup, by `cgroup_skb`.
        ///
        /// # Minimum kernel version
        ///
        /// Linux 5.12.
        Cgroup = "cgroup",
        /// Interfaces, by `AF_PACKET`.
        Socket = "socket",
    }
}

/// Options of a live capture.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The hook.
    pub hook: HookChoice,
    /// The captured cgroup, absolute or relative to the cgroup2 mount; the root if none.
    pub cgroup: Option<PathBuf>,
    /// Interfaces for hook `socket`; all if none.
    pub interfaces: Vec<String>,
    /// The ports of plain DNS.
    pub ports: PortSet,
    /// The rules for encrypted DNS; none if it is not captured.
    pub encrypted: Option<Encrypted>,
    /// Number of rings, each with its share of the flows: 1 to [`MAX_RINGS`].
    pub rings: u32,
    /// Size of all rings together in bytes: a power of two, at least a page for each. 32 MiB is a good choice.
    pub ring_bytes: u32,
    /// Niceness of reader threads while their rings have space: 0 (unchanged) to 19.
    pub nice: u8,
    /// Bytes captured of a packet from its IP header on, clamped to 1 to 131072.
    pub snap_bytes: u32,
    /// The smallest share of transactions that is exported under overload: 0 to 1. Without it, sampling is
    /// off, and the ring may fill.
    pub sampling_floor: Option<f64>,
    /// Whether connections that sockets open are captured as well, at hook `cgroup`.
    pub connects: bool,
    /// Whether packets that the kernel discards are captured as well, at hook `cgroup`.
    pub path: bool,
    /// Where the listeners for ICMP errors run.
    pub icmp: ListenerPlace,
}

impl PartialEq for LiveOptions {
    /// Compares all settings. Where the listeners run is none.
    fn eq(&self, other: &Self) -> bool {
        let Self { hook, cgroup, interfaces, ports, encrypted, rings, ring_bytes, .. } = self;
        let Self { nice, snap_bytes, sampling_floor, connects, path, icmp: _, .. } = self;
        (hook, cgroup, interfaces, ports)
            == (&other.hook, &other.cgroup, &other.interfaces, &other.ports)
            && (encrypted, rings, ring_bytes) == (&other.encrypted, &other.rings, &other.ring_bytes)
            && (nice, snap_bytes) == (&other.nice, &other.snap_bytes)
            && (connects, path) == (&other.connects, &other.path)
            && *sampling_floor == other.sampling_floor
    }
}

impl Default for LiveOptions {
    /// The best hook of this host, port 53, one ring of 32 MiB, whole packets, no sampling.
    fn default() -> Self {
        Self {
            hook: HookChoice::Auto,
            cgroup: None,
            interfaces: Vec::new(),
            ports: PortSet::default(),
            encrypted: None,
            rings: 1,
            ring_bytes: 32 << 20,
            nice: 0,
            snap_bytes: 131_072,
            sampling_floor: None,
            connects: false,
            path: false,
            icmp: ListenerPlace::Thread,
        }
    }
}

/// Largest number of rings.
pub const MAX_RINGS: u32 = flow::MAX_RINGS;

/// Error of a host that cannot capture, with a remedy. Exit code 3.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}: {remedy}")]
pub struct CannotCapture {
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub remedy: String,
}

impl CannotCapture {
    fn new(problem: String, remedy: &str) -> Self {
        Self { problem, remedy: remedy.to_owned() }
    }

    /// Combines the errors of both hooks.
    fn and(self, socket: &Self) -> Self {
        let problem = format!("hook cgroup: {}; hook socket: {}", self.problem, socket.problem);
        let remedy = if self.remedy == socket.remedy {
            self.remedy
        } else {
            format!("for hook cgroup, {}; for hook socket, {}", self.remedy, socket.remedy)
        };
        Self { problem, remedy }
    }
}

/// State of a capture for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureStatus {
    /// Bytes that wait in the rings.
    pub ring_used_bytes: u64,
    /// Failed attempts to read this host's addresses, at hook `socket`.
    pub address_errors: u64,
    /// Steps of the host's clock.
    pub clock_steps: u64,
    /// The longest time that the thread of the pipeline was busy between two looks at its ring or its
    /// workers. That thread measures it.
    pub longest_turn: Duration,
}

/// A running capture. Dropping it detaches everything, and so does any end of the process.
pub struct Live {
    attached: Option<Attached>,
    hook: Hook,
    /// A sentence with the hook, the reason for it, and where it is attached.
    pub description: String,
    readers: Vec<Reader>,
    gauges: Vec<Arc<ring::Gauge>>,
    counters: PerCpuArray<MapData, [u64; WORDS]>,
    clock: Arc<Clock>,
    /// Failed attempts to read this host's addresses.
    address_errors: Arc<AtomicU64>,
    config: Arc<Mutex<ring::Config>>,
    sampler: sampler::Sampler,
    /// Classes of the ports, which programs read while they run.
    ports: Array<MapData, settings::PortClasses>,
    encrypted: Option<Encrypted>,
    listeners: Option<icmp::Listeners>,
    /// Whether connections are captured.
    connects: bool,
    /// Whether the path of packets is captured.
    path: bool,
    /// The kernel's reasons to discard packets, if these are captured.
    reasons: Option<drops::Reasons>,
    /// Whether it is seen that processes read messages over UDP.
    pub sees_reads: bool,
    /// A socket that lets the kernel note when each packet arrives.
    _timestamps: Option<OwnedFd>,
}

/// Objects that keep the programs attached. Fields are dropped in order: packet sockets go before the programs
/// that they call.
struct Attached {
    _taps: Vec<OwnedFd>,
    #[cfg_attr(
        not(feature = "testing"),
        expect(dead_code, reason = "held, and read by tests only")
    )]
    programs: Loaded,
    log: Option<KernelLog>,
}

impl Live {
    /// Loads and attaches the programs, and finds the owners of existing sockets.
    ///
    /// # Errors
    /// Returns an error with a remedy if this host cannot capture as configured.
    pub fn open(options: &LiveOptions) -> Result<Self, CannotCapture> {
        match options.hook {
            HookChoice::Cgroup => Self::open_cgroup(options, ""),
            HookChoice::Socket => Self::open_socket(options, ""),
            HookChoice::Auto if !options.interfaces.is_empty() => {
                Self::open_socket(options, ", since an interface is named")
            }
            HookChoice::Auto => Self::open_cgroup(options, ", the best that this host offers")
                .or_else(|cause| {
                    if options.cgroup.is_some() {
                        return Err(cause);
                    }
                    let why = format!(", since hook cgroup does not work here ({})", cause.problem);
                    Self::open_socket(options, &why).map_err(|other| cause.and(&other))
                }),
        }
    }

    /// Returns `cgroup` or `socket`.
    #[must_use]
    pub fn hook(&self) -> &'static str {
        self.hook.name()
    }

    /// Starts the thread that logs the programs' diagnostics, which are on at log level trace. It has the privileges
    /// of the thread that calls this, so `run` drops them first.
    pub fn start_diagnostics(&mut self) {
        if let Some(log) = self.attached.as_mut().and_then(|attached| attached.log.as_mut()) {
            log.start();
        }
    }

    /// Moves the readers out, one for each ring. Other methods then cover the remaining readers only.
    #[must_use]
    pub fn take_readers(&mut self) -> Vec<Reader> {
        std::mem::take(&mut self.readers)
    }

    /// Waits until the first ring may hold records or `bell` can be read: see [`Reader::wait`].
    ///
    /// # Errors
    /// Returns an error if `poll(2)` fails.
    pub fn wait(&mut self, limit: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.readers.first_mut().map_or(Ok(false), |reader| reader.wait(limit, bell))
    }

    /// Calls `each` with up to `max` packets of each ring, and returns their number: see [`Reader::drain`].
    pub fn drain(&mut self, max: usize, each: &mut dyn FnMut(&Packet<'_>)) -> usize {
        self.readers.iter_mut().map(|reader| reader.drain(max, each)).sum()
    }

    /// Captures these ports of plain DNS and no others from now on; those of encrypted DNS stay. Returns when no
    /// program runs any more with the old ports, so that no more records of other ports enter the rings. A program
    /// that runs meanwhile may see a mix of old and new ports.
    ///
    /// # Errors
    /// Returns an error if the kernel refuses the update.
    pub fn set_ports(&mut self, ports: &PortSet) -> Result<(), MapError> {
        self.ports.set(0, settings::port_classes(ports, self.encrypted.as_ref()), 0)?;
        wait_for_programs();
        Ok(())
    }

    /// Detaches everything, and returns when no program runs any more. No more records enter the rings, which
    /// can still be drained.
    pub fn detach(&mut self) {
        self.listeners = None;
        if self.attached.take().is_some() {
            wait_for_programs();
        }
    }

    /// Returns the programs' counters by hook, and those of the rings whose readers were not moved out. Each
    /// CPU is read until its numbers add up, and nothing is received meanwhile, so that the identities of both
    /// hold exactly.
    #[must_use]
    pub fn counters(&self) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
        self.counters_of(self.received())
    }

    /// Returns what was received by the readers that were not moved out.
    pub fn received(&self) -> impl Iterator<Item = &[Received]> {
        self.readers.iter().map(|reader| &*reader.received)
    }

    /// Returns the counters as [`Self::counters`] does, for readers that were moved out, from what they
    /// reported to have received.
    pub fn counters_of<'a>(
        &self,
        readers: impl Iterator<Item = &'a [Received]>,
    ) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
        let received = tally::sum(readers);
        let cpus = tally::settled(|| self.read_counters()).unwrap_or_else(|error| {
            // Reading an open map fails only without memory.
            tracing::error!(%error, "cannot read the counters");
            Vec::new()
        });
        let mut hooks = match self.hook {
            Hook::Socket => vec![Hook::Socket],
            _ => vec![Hook::Cgroup, Hook::Icmp],
        };
        if self.connects {
            hooks.extend([Hook::Connect, Hook::SockOps]);
        }
        if self.path {
            hooks.extend([Hook::Drop, Hook::Transmit, Hook::Read]);
        }
        (tally::of_hooks(&cpus, &hooks), tally::of_ring(&cpus, &received))
    }

    /// Returns whether the maps can be read without any capability. Tries it in a temporary thread without
    /// capabilities.
    ///
    /// # Errors
    /// Returns an error if they cannot be read for another reason.
    ///
    /// # Minimum kernel version
    ///
    /// Linux 5.19, or older with `kernel.unprivileged_bpf_disabled` set to 0.
    pub fn is_readable_by_anyone(&self) -> Result<bool, CannotCapture> {
        let read = || {
            caps::clear(None, caps::CapSet::Effective).map_err(|error| error.to_string())?;
            self.read_counters().map_or_else(|error| is_only_denied(&error), |_| Ok(true))
        };
        let tried = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, read);
            let thread = thread.map_err(|error| error.to_string())?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        tried.map_err(|why| {
            let problem = format!("cannot read the counters of the programs: {why}");
            CannotCapture::new(problem, "see `dnscribe check`")
        })
    }

    fn read_counters(&self) -> Result<Vec<PerCpu>, MapError> {
        Ok(self.counters.get(&0, 0)?.iter().map(|words| PerCpu(*words)).collect())
    }

    /// Returns the current time by the clock of the packets, which nobody sets. Records add [`Self::clock_shift`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns how far the host's clock was set since capture began, as of the last [`Self::check_clock`].
    #[must_use]
    pub fn clock_shift(&self) -> ClockShift {
        self.clock.shift()
    }

    /// Compares the clock of the packets with the host's. Returns the step of the latter, if it was set since the last
    /// call.
    #[must_use]
    pub fn check_clock(&self) -> Option<ClockStep> {
        self.clock.check()
    }

    /// Returns the state for the metrics.
    #[must_use]
    pub fn status(&self) -> CaptureStatus {
        CaptureStatus {
            ring_used_bytes: self.ring_used_bytes(),
            address_errors: self.address_errors.load(Ordering::Relaxed),
            clock_steps: self.clock.steps(),
            longest_turn: Duration::ZERO,
        }
    }

    /// Returns whether a ring is empty.
    #[must_use]
    pub fn is_empty(&self, ring: usize) -> bool {
        self.gauges.get(ring).is_none_or(|ring| ring.used() == 0)
    }

    /// Returns the bytes that wait in the rings, with the kernel's own headers.
    #[must_use]
    pub fn ring_used_bytes(&self) -> u64 {
        self.gauges.iter().map(|ring| ring.used()).sum()
    }
}

/// Waits for programs that were running on other CPUs when they were detached. They run as RCU readers, and
/// this system call returns after a grace period.
#[expect(unsafe_code, reason = "a system call without a safe wrapper")]
fn wait_for_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        // Not available with nohz_full CPUs; a program takes microseconds.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns `false` for an error that says that privileges are missing, and any other one.
fn is_only_denied(error: &MapError) -> Result<bool, String> {
    let is_denied = load_error::source_of(error)
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if is_denied { Ok(false) } else { Err(load_error::chain(error)) }
}

fn internal(what: &str) -> CannotCapture {
    CannotCapture::new(what.to_owned(), "this is a bug; please report it")
}

impl From<MapError> for CannotCapture {
    /// Maps that the agent has created do not fail.
    fn from(error: MapError) -> Self {
        internal(&load_error::chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combines_errors_of_both_hooks() {
        let cgroup = || CannotCapture::new("no cgroup2".into(), "mount one");
        let both = cgroup().and(&CannotCapture::new("no program".into(), "upgrade"));
        assert_eq!(both.problem, "hook cgroup: no cgroup2; hook socket: no program");
        assert_eq!(both.remedy, "for hook cgroup, mount one; for hook socket, upgrade");
        assert_eq!(cgroup().and(&cgroup()).remedy, "mount one");
    }

    #[test]
    fn only_a_denial_is_one() {
        let call = |error: rustix::io::Errno| {
            MapError::SyscallError(aya::sys::SyscallError {
                call: "bpf_map_lookup_elem",
                io_error: error.into(),
            })
        };
        assert_eq!(is_only_denied(&call(rustix::io::Errno::PERM)), Ok(false));
        let why = is_only_denied(&call(rustix::io::Errno::NOMEM)).unwrap_err();
        assert!(why.contains("bpf_map_lookup_elem"), "{why}");
        let no_file = MapError::IoError(io::ErrorKind::NotFound.into());
        assert!(is_only_denied(&no_file).is_err());
    }

    #[test]
    fn may_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Live>();
    }
}
