//! Raw sockets that make ICMP errors visible to the programs of hook `cgroup`.
//!
//! An ICMP error goes to the host, not to a socket, so `cgroup_skb` does not run for it. The tracepoint
//! `sock:inet_sk_error_report` shows only errors that a socket reports, without their code: not those of
//! unconnected sockets, and most "host unreachable" not either. A raw socket however receives every ICMP packet
//! of its network namespace, and the program runs for it, since this process is in the cgroup. Each namespace
//! with a process gets two raw sockets, which pass "unreachable" only, and queue nothing.
//!
//! Opening these sockets needs the privilege to enter any network namespace, which `run` drops. So [`serve`] does
//! it at the other end of a socket: in the privileged helper process or, in commands that keep their privileges, in
//! a thread.

#![expect(unsafe_code, reason = "sets options of raw sockets, for which no safe wrapper exists")]

mod coverage;
mod scanner;

pub use coverage::IcmpCoverage;

use super::clock::ktime_ns;
use coverage::SharedCoverage;
use dnscribe_common::ICMP_MARK;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, send,
    socket_with, socketpair,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use scanner::{NamespaceScanner, Scan};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Interval between scans for namespaces, and between those for a namespace that packets come from and that
/// was not found yet.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// Shortest time between two scans.
const MIN_SCAN_PAUSE: Duration = Duration::from_millis(100);
/// Largest number of network namespaces with listeners.
const MAX_NAMESPACES: usize = 1_024;
/// Largest message: some 30 bytes for each namespace.
const MESSAGE_BYTES: usize = 64 << 10;
/// Request for a scan of all namespaces.
const SCAN_REQUEST: &[u8] = b"look";

/// Socket option of `linux/icmp.h` at level `SOL_RAW`. Its value has a bit per ignored type.
const ICMP_FILTER: libc::c_int = 1;
const ALL_BUT_UNREACHABLE: u32 = !(1 << 3);
/// Socket option of `linux/icmpv6.h` at level `IPPROTO_ICMPV6`. Its value has 256 bits.
const ICMPV6_FILTER: libc::c_int = 1;
const ALL_BUT_UNREACHABLE_6: [u32; 8] =
    [!(1 << 1), u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX];

/// Message with the result of a scan.
#[derive(Debug, Serialize, Deserialize)]
enum ScanResult {
    /// Cookies of the namespaces with listeners, with the time of opening in nanoseconds of the programs' clock.
    Covered(Vec<(u64, u64)>),
    /// Reason why no listener can be opened.
    Failed(String),
}

impl ScanResult {
    fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        send(socket, &serde_json::to_vec(self)?, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn read(message: &[u8]) -> io::Result<Self> {
        if message.is_empty() {
            return Err(io::Error::other(
                "the process or thread that opens ICMP sockets has ended",
            ));
        }
        Ok(serde_json::from_slice(message)?)
    }
}

/// Where the listeners for ICMP errors run.
#[derive(Clone, Debug, Default)]
pub enum ListenerPlace {
    /// In a thread of this process, which keeps its privileges.
    #[default]
    Thread,
    /// In the process at the other end of this socket, which runs [`serve`].
    Process(Arc<OwnedFd>),
    /// Nowhere: this process drops its privileges, and has no other that keeps them.
    Nowhere,
}

/// The raw sockets of all network namespaces, in this process or the helper. Dropping it closes them.
pub struct Listeners {
    covered: Arc<SharedCoverage>,
    /// The thread that runs [`serve`], if it is in this process.
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Opens listeners in every network namespace that has a process, and returns when they are open.
    /// Needs `CAP_NET_RAW`, and `CAP_SYS_ADMIN` for namespaces other than its own.
    pub fn start(place: &ListenerPlace) -> io::Result<Self> {
        let (socket, thread) = match place {
            ListenerPlace::Process(helper) => (Arc::clone(helper), None),
            ListenerPlace::Thread => {
                let (own, other) = pair()?;
                let thread = thread::Builder::new().name("icmp".into());
                (Arc::new(own), Some(thread.spawn(move || serve(&other))?))
            }
            ListenerPlace::Nowhere => {
                return Err(io::Error::other("the privileged helper is missing"));
            }
        };
        send(&*socket, SCAN_REQUEST, SendFlags::NOSIGNAL)?;
        let mut buffer = vec![0; MESSAGE_BYTES];
        let (length, _) = recv(&*socket, &mut buffer[..], RecvFlags::empty())?;
        match ScanResult::read(buffer.get(..length).unwrap_or_default())? {
            ScanResult::Failed(why) => Err(io::Error::other(why)),
            ScanResult::Covered(since) => {
                let covered = Arc::new(SharedCoverage::new(socket, buffer));
                covered.set(since);
                Ok(Self { covered, thread })
            }
        }
    }

    /// Returns a view of the listeners for a reader.
    pub fn coverage(&self) -> IcmpCoverage {
        IcmpCoverage::new(Arc::clone(&self.covered))
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.covered.close();
        if let Some(thread) = self.thread.take() {
            // Fails if the thread panicked; its sockets are closed anyway.
            let _ = thread.join();
        }
    }
}

/// Returns a socket pair that keeps message boundaries.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Opens listeners in every network namespace that has a process, from the first request on, and reports the
/// namespaces after each scan, until the other end is closed.
pub fn serve(socket: &OwnedFd) {
    let (mut scanner, mut sockets) = (NamespaceScanner::new(), HashMap::new());
    let mut has_started = false;
    while let Some(is_requested) = wait(socket, has_started) {
        let now = Instant::now();
        let found =
            if is_requested { Scan::Full(scanner.scan_all(now)) } else { scanner.scan(now) };
        // Most failures are processes that have just ended; others are retried.
        let failed = update(found, &mut sockets);
        let fatal = failed.filter(|_| !has_started && sockets.is_empty());
        let since = |sockets: &RawSockets| Some((sockets.cookie?, sockets.since_ns));
        let message = match &fatal {
            Some(error) => ScanResult::Failed(error.to_string()),
            None => ScanResult::Covered(sockets.values().filter_map(since).collect()),
        };
        if message.send(socket).is_err() || fatal.is_some() {
            return;
        }
        has_started = true;
        thread::sleep(MIN_SCAN_PAUSE);
    }
}

/// Waits until a scan is due. Returns whether it was requested; none once the other end is closed.
fn wait(socket: &OwnedFd, has_started: bool) -> Option<bool> {
    let limit = Timespec { tv_sec: SCAN_INTERVAL.as_secs().try_into().ok()?, tv_nsec: 0 };
    // A signal may interrupt it; the scan then comes a little sooner.
    let ready = poll(&mut [PollFd::new(socket, PollFlags::IN)], has_started.then_some(&limit));
    if ready != Ok(1) {
        return Some(false);
    }
    let mut buffer = [0; SCAN_REQUEST.len()];
    // One scan answers all requests.
    let mut flags = RecvFlags::empty();
    while let Ok((length, _)) = recv(socket, &mut buffer, flags) {
        if length == 0 {
            return None;
        }
        flags = RecvFlags::DONTWAIT;
    }
    Some(true)
}

/// Raw sockets of a namespace, and its cookie.
struct RawSockets {
    _four: OwnedFd,
    _six: Option<OwnedFd>,
    cookie: Option<u64>,
    since_ns: u64,
}

/// Opens sockets in new namespaces, and closes those in namespaces without processes: an open socket would keep
/// them alive. Returns the last error, if any.
fn update(found: Scan, sockets: &mut HashMap<u64, RawSockets>) -> Option<io::Error> {
    let namespaces = match found {
        Scan::Full(namespaces) => {
            sockets.retain(|inode, _| namespaces.contains_key(inode));
            namespaces
        }
        Scan::Partial(namespaces) => namespaces,
    };
    let mut failed = None;
    for (inode, path) in namespaces {
        if sockets.len() < MAX_NAMESPACES && !sockets.contains_key(&inode) {
            match open(&path) {
                Ok(opened) => {
                    sockets.insert(inode, opened);
                }
                Err(error) => failed = Some(error),
            }
        }
    }
    failed
}

/// Opens the raw sockets in the namespace at `path`. The thread stays in that namespace.
fn open(path: &Path) -> io::Result<RawSockets> {
    let namespace = File::open(path)?;
    let is_current = fs::metadata("/proc/thread-self/ns/net")?.ino() == namespace.metadata()?.ino();
    if !is_current {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    let four = raw(AddressFamily::INET, ipproto::ICMP)?;
    set(&four, libc::SOL_RAW, ICMP_FILTER, &ALL_BUT_UNREACHABLE)?;
    // The host may have no IPv6.
    let six = raw(AddressFamily::INET6, ipproto::ICMPV6).and_then(|six| {
        set(&six, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &ALL_BUT_UNREACHABLE_6).map(|()| six)
    });
    Ok(RawSockets { cookie: cookie(&four), _four: four, _six: six.ok(), since_ns: ktime_ns() })
}

/// Opens a raw socket that queues nothing.
fn raw(family: AddressFamily, protocol: Protocol) -> io::Result<OwnedFd> {
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    // The filter `return 0` runs after the program, and drops the packet for this socket only.
    let mut nothing = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_MARK, &ICMP_MARK)?;
    Ok(socket)
}

/// Calls `setsockopt(2)` with a value in the kernel's layout, for options that rustix does not have.
pub(super) fn set<T>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: value and length belong together, and outlive the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the cookie of a socket's network namespace.
///
/// # Minimum kernel version
///
/// Linux 5.14.
fn cookie(socket: &OwnedFd) -> Option<u64> {
    let (mut cookie, mut length) = (0_u64, 8);
    // SAFETY: value and length belong together, and outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(cookie)
}
