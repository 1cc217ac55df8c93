//! Has the kernel show ICMP errors to the programs of hook `cgroup`.
//!
//! An ICMP error is for the host, not for a socket, so that `cgroup_skb` does not run for it, and the
//! tracepoint `sock:inet_sk_error_report` tells of those that a socket gets to know, without their
//! code: neither unconnected sockets nor, of most, a host or a network that is out of reach. A raw
//! socket however is given every ICMP packet of its network namespace, and then the program runs,
//! since this process is in the cgroup. Each namespace with a process in it gets two, that let nothing
//! but "unreachable" pass and keep nothing of that.

mod census;

use super::clock::ktime_ns;
use super::option::set;
use census::{Census, Found, Namespaces};
use dnscribe_common::ICMP_MARK;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often namespaces are looked for without a reason, and for the sake of one that packets come
/// from and that was not found.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long between two looks at least.
const PAUSE: Duration = Duration::from_millis(100);
/// Network namespaces listened in at most.
const MAX_NAMESPACES: usize = 1_024;
/// Namespaces remembered as seen; then all are forgotten.
const MAX_SEEN: usize = 4_096;

/// Of `linux/icmp.h`, for `SOL_RAW`: a bit for each type that is not wanted.
const ICMP_FILTER: libc::c_int = 1;
const ALL_BUT_UNREACHABLE: u32 = !(1 << 3);
/// Of `linux/icmpv6.h`, for `IPPROTO_ICMPV6`: the same in 256 bits.
const ICMPV6_FILTER: libc::c_int = 1;
const ALL_BUT_UNREACHABLE_6: [u32; 8] =
    [!(1 << 1), u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX];

/// What the looks for namespaces have found.
#[derive(Default)]
struct Covered {
    /// The namespaces that are listened in by their cookies, and since when, by the programs' clock in
    /// nanoseconds.
    since: Mutex<HashMap<u64, u64>>,
    /// How often that was written.
    looks: AtomicU64,
}

impl Covered {
    /// Since when a namespace is listened in.
    fn since(&self, netns_cookie: u64) -> Option<u64> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get(&netns_cookie).copied()
    }

    fn set(&self, since: HashMap<u64, u64>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        self.looks.fetch_add(1, Ordering::Release);
    }
}

/// How long a namespace must have been listened in for an error to have been shown for certain. What
/// is told twice meanwhile does no harm: the query waits no more when it is told again.
const CERTAIN_NS: u64 = 1_000_000;

/// The raw sockets of all network namespaces. Dropping it closes them.
pub struct Listeners {
    covered: Arc<Covered>,
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

/// What a reader of packets knows of the listeners, and tells them. There may be several.
pub struct Witness {
    covered: Arc<Covered>,
    /// Namespaces that packets came from.
    seen: HashSet<u64>,
    /// Those of them about which nothing is to be done before the next look.
    settled: HashSet<u64>,
    /// The last of these.
    last: Option<u64>,
    /// How many looks there had been then.
    looks: u64,
    next_wake: Instant,
    wake: SyncSender<()>,
}

impl Listeners {
    /// Listens in every network namespace that has a process; comes back when it does.
    ///
    /// # Errors
    /// Where it cannot in any: this needs `CAP_NET_RAW`, and for others than its own namespace
    /// `CAP_SYS_ADMIN`.
    pub fn start() -> io::Result<Self> {
        let covered = Arc::<Covered>::default();
        let (wake, woken) = sync_channel(1);
        let (ready, begun) = sync_channel(1);
        let shared = Arc::clone(&covered);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("icmp".into()).spawn(move || {
            let (mut census, mut sockets) = (Census::new(), HashMap::new());
            let all = Found::All(census.all(Instant::now()));
            let failed = listen(all, &mut sockets, &shared).filter(|_| sockets.is_empty());
            let works = failed.is_none();
            // Fails where nobody waits any more.
            let _ = ready.send(failed);
            if works {
                watch(&woken, &stopped, &mut census, &mut sockets, &shared);
            }
        })?;
        if let Some(error) = begun.recv().map_err(io::Error::other)? {
            return Err(error);
        }
        Ok(Self { covered, stop, wake, thread: Some(thread) })
    }

    /// One for a reader.
    #[must_use]
    pub fn witness(&self) -> Witness {
        Witness::new(Arc::clone(&self.covered), self.wake.clone())
    }
}

impl Witness {
    fn new(covered: Arc<Covered>, wake: SyncSender<()>) -> Self {
        Self {
            covered,
            seen: HashSet::new(),
            settled: HashSet::new(),
            last: None,
            looks: 0,
            next_wake: Instant::now(),
            wake,
        }
    }

    /// Notes the namespace of a packet: one that is new is looked for at once, and one that was not
    /// found again and again.
    #[inline]
    pub fn note(&mut self, netns_cookie: u64) {
        let looks = self.covered.looks.load(Ordering::Acquire);
        if self.last != Some(netns_cookie) || self.looks != looks {
            self.note_other(netns_cookie, looks);
        }
    }

    fn note_other(&mut self, netns_cookie: u64, looks: u64) {
        if self.looks != looks || self.settled.len() >= MAX_SEEN {
            self.looks = looks;
            self.settled.clear();
        }
        self.last = Some(netns_cookie);
        if !self.settled.insert(netns_cookie) || self.covered.since(netns_cookie).is_some() {
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        let now = Instant::now();
        if self.seen.insert(netns_cookie) || now >= self.next_wake {
            self.next_wake = now + LOOK_EVERY;
            // Full where it is to wake up already; nobody is there any more once capture has ended.
            let _ = self.wake.try_send(());
        }
    }

    /// Whether an ICMP error of that moment, by the programs' clock, was seen as a packet.
    #[must_use]
    pub fn saw(&self, netns_cookie: u64, ktime_ns: u64) -> bool {
        let since = self.covered.since(netns_cookie);
        since.is_some_and(|since| since.saturating_add(CERTAIN_NS) <= ktime_ns)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Full where it is to wake up already.
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            // Fails where the thread has panicked; its sockets are closed all the same.
            let _ = thread.join();
        }
    }
}

/// The two sockets of a namespace, and its cookie.
struct Pair {
    _four: OwnedFd,
    _six: Option<OwnedFd>,
    cookie: Option<u64>,
    since_ns: u64,
}

fn watch(
    woken: &Receiver<()>,
    stopped: &AtomicBool,
    census: &mut Census,
    sockets: &mut HashMap<u64, Pair>,
    covered: &Covered,
) {
    loop {
        let woken_up = woken.recv_timeout(LOOK_EVERY);
        if stopped.load(Ordering::Acquire) {
            return;
        }
        let found = match woken_up {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) => Found::All(census.all(Instant::now())),
            Err(RecvTimeoutError::Timeout) => census.look(Instant::now()),
        };
        // Of what fails, most are processes that have just ended; the rest is tried again.
        let _ = listen(found, sockets, covered);
        thread::sleep(PAUSE);
    }
}

/// Opens sockets in new namespaces and closes those in namespaces that no process is in any more: an
/// open socket would keep them for ever. Gives the last error, if there was one.
fn listen(found: Found, sockets: &mut HashMap<u64, Pair>, covered: &Covered) -> Option<io::Error> {
    let there = match found {
        Found::All(there) => {
            sockets.retain(|inode, _| there.contains_key(inode));
            there
        }
        Found::Some(there) => there,
    };
    let failed = listen_in(there, sockets);
    let cookies = sockets.values().filter_map(|pair| Some((pair.cookie?, pair.since_ns))).collect();
    covered.set(cookies);
    failed
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
    // A host may be without IPv6.
    let six = raw(libc::AF_INET6, libc::IPPROTO_ICMPV6).and_then(|six| {
        set(&six, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &ALL_BUT_UNREACHABLE_6).map(|()| six)
    });
    Ok(Pair { cookie: cookie(&four), _four: four, _six: six.ok(), since_ns: ktime_ns() })
}

/// A raw socket that keeps nothing.
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

/// The cookie of a socket's network namespace (Linux 5.14).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_again_for_what_was_not_found_and_not_for_each_packet() {
        let covered = Arc::<Covered>::default();
        let (wake, woken) = sync_channel(1);
        let mut witness = Witness::new(Arc::clone(&covered), wake);
        let wakes = |witness: &mut Witness, cookies: &[u64]| {
            for cookie in cookies {
                witness.note(*cookie);
            }
            woken.try_iter().count()
        };
        covered.set(HashMap::from([(1, 5)]));
        assert_eq!(wakes(&mut witness, &[1, 1]), 0, "listened in");
        assert_eq!(wakes(&mut witness, &[2]), 1, "new");
        witness.next_wake = Instant::now();
        assert_eq!(wakes(&mut witness, &[2, 1, 2]), 0, "nothing has been looked for since");
        covered.set(HashMap::from([(1, 5)]));
        assert_eq!(wakes(&mut witness, &[2, 1, 2]), 1, "looked for in vain");
        covered.set(HashMap::from([(1, 5)]));
        assert_eq!(wakes(&mut witness, &[2]), 0, "a short time ago");
        covered.set(HashMap::from([(1, 5), (2, 9)]));
        witness.next_wake = Instant::now();
        assert_eq!(wakes(&mut witness, &[2, 1, 2]), 0, "found");
        assert!(witness.saw(2, 9 + CERTAIN_NS) && !witness.saw(2, 9) && !witness.saw(3, u64::MAX));
    }
}
