//! What readers of packets know of the listeners for ICMP errors.

use super::{LOOK, LOOK_EVERY, Told};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Namespaces remembered as seen; then all are forgotten.
const MAX_SEEN: usize = 4_096;

/// How long a namespace must have been listened in for an error to have been shown for certain. What
/// is told twice meanwhile does no harm: the query waits no more when it is told again.
const CERTAIN_NS: u64 = 1_000_000;

/// How often it is looked whether the listeners have told anything.
const HEAR_EVERY: Duration = Duration::from_millis(2);

/// What the looks for namespaces have found.
pub(super) struct Covered {
    /// The namespaces that are listened in by their cookies, and since when, by the programs' clock in
    /// nanoseconds.
    since: Mutex<HashMap<u64, u64>>,
    /// How often that was written.
    looks: AtomicU64,
    /// Where the listeners tell it.
    socket: Arc<OwnedFd>,
    /// Room for what they tell; whoever has it hears.
    heard: Mutex<Vec<u8>>,
    is_over: AtomicBool,
}

impl Covered {
    /// Nothing yet; `room` is for one message.
    pub(super) fn new(socket: Arc<OwnedFd>, room: Vec<u8>) -> Self {
        Self {
            since: Mutex::default(),
            looks: AtomicU64::new(0),
            socket,
            heard: Mutex::new(room),
            is_over: AtomicBool::new(false),
        }
    }

    /// Has the listeners end. What was covered stays known.
    pub(super) fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Fails where the other end is gone already.
        let _ = shutdown(&*self.socket, Shutdown::Both);
    }

    /// Since when a namespace is listened in.
    fn since(&self, netns_cookie: u64) -> Option<u64> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get(&netns_cookie).copied()
    }

    pub(super) fn set(&self, since: Vec<(u64, u64)>) {
        let since = since.into_iter().collect();
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        self.looks.fetch_add(1, Ordering::Release);
    }

    /// Takes what the listeners have told since the last time.
    fn hear(&self) {
        // Whoever else hears at this moment hears for all.
        let Ok(mut room) = self.heard.try_lock() else { return };
        while !self.is_over.load(Ordering::Relaxed) {
            let told = match recv(&*self.socket, &mut room[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => Told::read(room.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(error) => Err(error.into()),
            };
            match told {
                Ok(Told::Covered(since)) => self.set(since),
                Ok(Told::Failed(why)) => self.end(&why),
                Err(error) => self.end(&error.to_string()),
            }
        }
    }

    /// From here on nothing is shown, and the tracepoint's word counts.
    fn end(&self, why: &str) {
        tracing::warn!("from here on ICMP errors of connected sockets only: {why}");
        self.is_over.store(true, Ordering::Relaxed);
        self.set(Vec::new());
    }

    /// Asks for a look. A queue that is full has them look anyway.
    fn wake(&self) {
        let _ = send(&*self.socket, LOOK, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
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
    next_hearing: Instant,
}

impl Witness {
    pub(super) fn new(covered: Arc<Covered>) -> Self {
        Self {
            covered,
            seen: HashSet::new(),
            settled: HashSet::new(),
            last: None,
            looks: 0,
            next_wake: Instant::now(),
            next_hearing: Instant::now(),
        }
    }

    /// Hears what the listeners have told; to be called before packets are taken.
    pub fn hear(&mut self) {
        let now = Instant::now();
        if now >= self.next_hearing {
            self.next_hearing = now + HEAR_EVERY;
            self.covered.hear();
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
            self.covered.wake();
        }
    }

    /// Whether an ICMP error of that moment, by the programs' clock, was seen as a packet.
    #[must_use]
    pub fn saw(&self, netns_cookie: u64, ktime_ns: u64) -> bool {
        let since = self.covered.since(netns_cookie);
        since.is_some_and(|since| since.saturating_add(CERTAIN_NS) <= ktime_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair;
    use super::*;

    #[test]
    fn looks_again_for_what_was_not_found_and_not_for_each_packet() {
        let (ours, listeners) = pair().unwrap();
        let covered = Arc::new(Covered::new(Arc::new(ours), vec![0; 64]));
        let mut witness = Witness::new(Arc::clone(&covered));
        let wakes = |witness: &mut Witness, cookies: &[u64]| {
            for cookie in cookies {
                witness.note(*cookie);
            }
            let asked = || recv(&listeners, &mut [0; 8], RecvFlags::DONTWAIT);
            std::iter::from_fn(|| asked().ok()).count()
        };
        covered.set(vec![(1, 5)]);
        assert_eq!(wakes(&mut witness, &[1, 1]), 0, "listened in");
        assert_eq!(wakes(&mut witness, &[2]), 1, "new");
        witness.next_wake = Instant::now();
        assert_eq!(wakes(&mut witness, &[2, 1, 2]), 0, "nothing has been looked for since");
        covered.set(vec![(1, 5)]);
        assert_eq!(wakes(&mut witness, &[2, 1, 2]), 1, "looked for in vain");
        covered.set(vec![(1, 5)]);
        assert_eq!(wakes(&mut witness, &[2]), 0, "a short time ago");
        covered.set(vec![(1, 5), (2, 9)]);
        witness.next_wake = Instant::now();
        assert_eq!(wakes(&mut witness, &[2, 1, 2]), 0, "found");
        assert!(witness.saw(2, 9 + CERTAIN_NS) && !witness.saw(2, 9) && !witness.saw(3, u64::MAX));
    }
}
