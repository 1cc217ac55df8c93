//! Coverage of network namespaces by ICMP listeners, as the packet readers know it.

use super::{SCAN_INTERVAL, SCAN_REQUEST, ScanResult};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Largest number of namespaces remembered as seen. When it is reached, all are forgotten.
const MAX_SEEN: usize = 4_096;

/// Time after opening from which a listener certainly sees every error. Before that an error may be reported twice,
/// which is harmless: its query is no longer pending the second time.
const SETTLE_NS: u64 = 1_000_000;

/// Interval between reads of the listeners' messages.
const READ_INTERVAL: Duration = Duration::from_millis(2);

/// Results of the scans, shared by all readers.
pub(super) struct SharedCoverage {
    /// Cookies of the namespaces with listeners, with the time of opening in nanoseconds of the programs' clock.
    since: Mutex<HashMap<u64, u64>>,
    /// Number of updates of `since`.
    scans: AtomicU64,
    /// Socket on which the scan results arrive.
    socket: Arc<OwnedFd>,
    /// Buffer for a message. The thread that holds it reads the socket.
    buffer: Mutex<Vec<u8>>,
    is_closed: AtomicBool,
}

impl SharedCoverage {
    /// Creates an empty coverage. `buffer` is for one message.
    pub(super) fn new(socket: Arc<OwnedFd>, buffer: Vec<u8>) -> Self {
        Self {
            since: Mutex::default(),
            scans: AtomicU64::new(0),
            socket,
            buffer: Mutex::new(buffer),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Closes the listeners. The coverage stays known.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // Fails if the other end is already closed.
        let _ = shutdown(&*self.socket, Shutdown::Both);
    }

    /// Returns since when a namespace has listeners.
    fn since(&self, netns_cookie: u64) -> Option<u64> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get(&netns_cookie).copied()
    }

    pub(super) fn set(&self, since: Vec<(u64, u64)>) {
        let since = since.into_iter().collect();
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        self.scans.fetch_add(1, Ordering::Release);
    }

    /// Reads all pending scan results.
    fn read_results(&self) {
        // Another reader that holds the lock reads for all.
        let Ok(mut buffer) = self.buffer.try_lock() else { return };
        while !self.is_closed.load(Ordering::Relaxed) {
            let result = match recv(&*self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => ScanResult::read(buffer.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(ScanResult::Covered(since)) => self.set(since),
                Ok(ScanResult::Failed(reason)) => self.give_up(&reason),
                Err(error) => self.give_up(&error.to_string()),
            }
        }
    }

    /// Ends the coverage: from now on, ICMP errors come from the tracepoint only.
    fn give_up(&self, reason: &str) {
        tracing::warn!("capturing ICMP errors of connected sockets only from now on: {reason}");
        self.is_closed.store(true, Ordering::Relaxed);
        self.set(Vec::new());
    }

    /// Requests a scan. If the queue is full, a request is already pending.
    fn request_scan(&self) {
        let _ = send(&*self.socket, SCAN_REQUEST, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// View of the listeners for one packet reader, which also requests scans for new namespaces.
pub struct IcmpCoverage {
    shared: Arc<SharedCoverage>,
    /// Namespaces that packets came from.
    seen: HashSet<u64>,
    /// Namespaces of `seen` that need no action before the next scan result.
    settled: HashSet<u64>,
    /// Namespace of the last packet.
    last: Option<u64>,
    /// Number of scan results at that time.
    scans: u64,
    next_request: Instant,
    next_read: Instant,
}

impl IcmpCoverage {
    pub(super) fn new(shared: Arc<SharedCoverage>) -> Self {
        Self {
            shared,
            seen: HashSet::new(),
            settled: HashSet::new(),
            last: None,
            scans: 0,
            next_request: Instant::now(),
            next_read: Instant::now(),
        }
    }

    /// Reads scan results if that is due. Must be called before packets are drained.
    pub fn read_results(&mut self) {
        let now = Instant::now();
        if now >= self.next_read {
            self.next_read = now + READ_INTERVAL;
            self.shared.read_results();
        }
    }

    /// Notes the namespace of a packet. Requests a scan for a new namespace at once, and repeatedly for one that was
    /// not found.
    #[inline]
    pub fn note(&mut self, netns_cookie: u64) {
        let scans = self.shared.scans.load(Ordering::Acquire);
        if self.last != Some(netns_cookie) || self.scans != scans {
            self.note_changed(netns_cookie, scans);
        }
    }

    fn note_changed(&mut self, netns_cookie: u64, scans: u64) {
        if self.scans != scans || self.settled.len() >= MAX_SEEN {
            self.scans = scans;
            self.settled.clear();
        }
        self.last = Some(netns_cookie);
        if !self.settled.insert(netns_cookie) || self.shared.since(netns_cookie).is_some() {
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        let now = Instant::now();
        if self.seen.insert(netns_cookie) || now >= self.next_request {
            self.next_request = now + SCAN_INTERVAL;
            self.shared.request_scan();
        }
    }

    /// Returns whether an ICMP error at `ktime_ns`, by the programs' clock, was captured as a packet.
    pub fn was_captured(&self, netns_cookie: u64, ktime_ns: u64) -> bool {
        let since = self.shared.since(netns_cookie);
        since.is_some_and(|since| since.saturating_add(SETTLE_NS) <= ktime_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair;
    use super::*;

    #[test]
    fn requests_scans_repeatedly_but_not_for_each_packet() {
        let (own, listeners) = pair().unwrap();
        let shared = Arc::new(SharedCoverage::new(Arc::new(own), vec![0; 64]));
        let mut coverage = IcmpCoverage::new(Arc::clone(&shared));
        let requests = |coverage: &mut IcmpCoverage, cookies: &[u64]| {
            for cookie in cookies {
                coverage.note(*cookie);
            }
            let requested = || recv(&listeners, &mut [0; 8], RecvFlags::DONTWAIT);
            std::iter::from_fn(|| requested().ok()).count()
        };
        shared.set(vec![(1, 5)]);
        assert_eq!(requests(&mut coverage, &[1, 1]), 0, "covered");
        assert_eq!(requests(&mut coverage, &[2]), 1, "new");
        coverage.next_request = Instant::now();
        assert_eq!(requests(&mut coverage, &[2, 1, 2]), 0, "no scan since");
        shared.set(vec![(1, 5)]);
        assert_eq!(requests(&mut coverage, &[2, 1, 2]), 1, "not found");
        shared.set(vec![(1, 5)]);
        assert_eq!(requests(&mut coverage, &[2]), 0, "requested recently");
        shared.set(vec![(1, 5), (2, 9)]);
        coverage.next_request = Instant::now();
        assert_eq!(requests(&mut coverage, &[2, 1, 2]), 0, "found");
        assert!(
            coverage.was_captured(2, 9 + SETTLE_NS)
                && !coverage.was_captured(2, 9)
                && !coverage.was_captured(3, u64::MAX)
        );
    }
}
