//! Raw sockets that make ICMP errors visible to the programs of hook `cgroup`.
//!
//! An ICMP error goes to the host, not to a socket, so `cgroup_skb` does not run for it. The tracepoint
//! `sock:inet_sk_error_report` shows only errors that a socket reports, without their code: not those of
//! unconnected sockets, and most "host unreachable" not either. A raw socket however receives every ICMP packet
//! of its network namespace, and the program runs for it, since this process is in the cgroup. Each namespace
//! with a process gets two raw sockets, which pass "unreachable" only, and queue nothing.
//!
//! Opening these sockets needs the privilege to enter any network namespace, which the agent has dropped. So
//! [`serve`] does it at the other end of a socket: in the privileged helper process, or else in a thread.

mod census;
mod witness;

pub use witness::Witness;

use super::clock::ktime_ns;
use super::option::set;
use census::{Census, Found, Namespaces};
use dnscribe_common::ICMP_MARK;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use witness::Covered;

/// Interval between scans for namespaces, and between those for a namespace that packets come from and that
/// was not found yet.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Shortest time between two scans.
const PAUSE: Duration = Duration::from_millis(100);
/// Largest number of network namespaces with listeners.
const MAX_NAMESPACES: usize = 1_024;
/// Largest message: some 30 bytes for each namespace.
const MESSAGE_BYTES: usize = 64 << 10;
/// Request for a scan of all namespaces.
const LOOK: &[u8] = b"look";

/// Of `linux/icmp.h`, for `SOL_RAW`: a bit for each type that is not wanted.
const ICMP_FILTER: libc::c_int = 1;
const ALL_BUT_UNREACHABLE: u32 = !(1 << 3);
/// Of `linux/icmpv6.h`, for `IPPROTO_ICMPV6`: the same in 256 bits.
const ICMPV6_FILTER: libc::c_int = 1;
const ALL_BUT_UNREACHABLE_6: [u32; 8] =
    [!(1 << 1), u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX];

/// Result of a scan, as it is sent.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// The namespaces that are listened in by their cookies, and since when, by the programs' clock in
    /// nanoseconds.
    Covered(Vec<(u64, u64)>),
    /// Reason why no listener can be opened.
    Failed(String),
}

impl Told {
    fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        send(socket, &serde_json::to_vec(self)?, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn read(message: &[u8]) -> io::Result<Self> {
        if message.is_empty() {
            return Err(io::Error::other("who listens for the others has ended"));
        }
        Ok(serde_json::from_slice(message)?)
    }
}

/// The raw sockets of all network namespaces, in this process or the helper. Dropping it closes them.
pub struct Listeners {
    covered: Arc<Covered>,
    /// The thread that runs [`serve`] if there is no helper.
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Listens in every network namespace that has a process; comes back when it does. `scout` is the
    /// socket at whose other end [`serve`] runs; without one it is a thread of this process.
    ///
    /// # Errors
    /// Returns an error if no listener can be opened. Needs `CAP_NET_RAW`, and `CAP_SYS_ADMIN` for namespaces
    /// other than its own.
    pub fn start(scout: Option<&Arc<OwnedFd>>) -> io::Result<Self> {
        let (socket, thread) = if let Some(scout) = scout {
            (Arc::clone(scout), None)
        } else {
            let (ours, theirs) = pair()?;
            let thread = thread::Builder::new().name("icmp".into());
            (Arc::new(ours), Some(thread.spawn(move || serve(&theirs))?))
        };
        send(&*socket, LOOK, SendFlags::NOSIGNAL)?;
        let mut room = vec![0; MESSAGE_BYTES];
        let (length, _) = recv(&*socket, &mut room[..], RecvFlags::empty())?;
        match Told::read(room.get(..length).unwrap_or_default())? {
            Told::Failed(why) => Err(io::Error::other(why)),
            Told::Covered(since) => {
                let covered = Arc::new(Covered::new(socket, room));
                covered.set(since);
                Ok(Self { covered, thread })
            }
        }
    }

    /// Returns a view of the listeners for a reader.
    #[must_use]
    pub fn witness(&self) -> Witness {
        Witness::new(Arc::clone(&self.covered))
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
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Opens listeners in every network namespace that has a process, from the first request on, and reports the
/// namespaces after each scan, until the other end is closed.
pub fn serve(socket: &OwnedFd) {
    let (mut census, mut sockets) = (Census::new(), HashMap::new());
    let mut has_begun = false;
    while let Some(is_asked) = wait(socket, has_begun) {
        let now = Instant::now();
        let found = if is_asked { Found::All(census.all(now)) } else { census.look(now) };
        // Most failures are processes that have just ended; the rest is tried again.
        let failed = listen(found, &mut sockets);
        let hopeless = failed.filter(|_| !has_begun && sockets.is_empty());
        let tell = match &hopeless {
            Some(error) => Told::Failed(error.to_string()),
            None => Told::Covered(covered(&sockets)),
        };
        if tell.send(socket).is_err() || hopeless.is_some() {
            return;
        }
        has_begun = true;
        thread::sleep(PAUSE);
    }
}

fn covered(sockets: &HashMap<u64, Pair>) -> Vec<(u64, u64)> {
    sockets.values().filter_map(|pair| Some((pair.cookie?, pair.since_ns))).collect()
}

/// Waits until a scan is due. Returns whether it was requested; none once the other end is closed.
fn wait(socket: &OwnedFd, has_begun: bool) -> Option<bool> {
    let limit = Timespec { tv_sec: LOOK_EVERY.as_secs().try_into().ok()?, tv_nsec: 0 };
    // A signal may interrupt it; the scan then comes a little sooner.
    let ready = poll(&mut [PollFd::new(socket, PollFlags::IN)], has_begun.then_some(&limit));
    if ready != Ok(1) {
        return Some(false);
    }
    let mut octets = [0; LOOK.len()];
    // One scan answers all requests.
    let mut flags = RecvFlags::empty();
    while let Ok((length, _)) = recv(socket, &mut octets, flags) {
        if length == 0 {
            return None;
        }
        flags = RecvFlags::DONTWAIT;
    }
    Some(true)
}

/// The two sockets of a namespace, and its cookie.
struct Pair {
    _four: OwnedFd,
    _six: Option<OwnedFd>,
    cookie: Option<u64>,
    since_ns: u64,
}

/// Opens sockets in new namespaces, and closes those in namespaces without processes: an open socket would keep
/// them alive. Returns the last error, if any.
fn listen(found: Found, sockets: &mut HashMap<u64, Pair>) -> Option<io::Error> {
    let there = match found {
        Found::All(there) => {
            sockets.retain(|inode, _| there.contains_key(inode));
            there
        }
        Found::Some(there) => there,
    };
    listen_in(there, sockets)
}

fn listen_in(there: Namespaces, sockets: &mut HashMap<u64, Pair>) -> Option<io::Error> {
    let mut failed = None;
    for (inode, path) in there {
        if sockets.len() < MAX_NAMESPACES && !sockets.contains_key(&inode) {
            match open(&path) {
                Ok(pair) => {
                    sockets.insert(inode, pair);
                }
                Err(error) => failed = Some(error),
            }
        }
    }
    failed
}

fn open(path: &Path) -> io::Result<Pair> {
    let namespace = File::open(path)?;
    let there = fs::metadata("/proc/thread-self/ns/net")?.ino() == namespace.metadata()?.ino();
    if !there {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    let four = raw(libc::AF_INET, libc::IPPROTO_ICMP)?;
    set(&four, libc::SOL_RAW, ICMP_FILTER, &ALL_BUT_UNREACHABLE)?;
    // The host may have no IPv6.
    let six = raw(libc::AF_INET6, libc::IPPROTO_ICMPV6).and_then(|six| {
        set(&six, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &ALL_BUT_UNREACHABLE_6).map(|()| six)
    });
    Ok(Pair { cookie: cookie(&four), _four: four, _six: six.ok(), since_ns: ktime_ns() })
}

/// Opens a raw socket that queues nothing.
fn raw(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // "Return 0": the filter runs after the program, and drops what was for this socket alone.
    let mut nothing = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_MARK, &ICMP_MARK)?;
    Ok(socket)
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
