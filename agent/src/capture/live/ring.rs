//! Takes records from a ring, and decides whether the programs shall wake its reader.

use super::courtesy::Courtesy;
use aya::maps::{Array, MapData, RingBuf};
use dnscribe_common::CONFIG_QUIET;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records per second from which on the reader polls. A wakeup costs whoever sends some microseconds
/// where another CPU has to be woken, and they pass between our stamp and the wire, so that
/// latencies would be that much too long. Only hosts with little DNS are better off with wakeups.
const BUSY_RATE: u128 = 100;
/// How often the rate is looked at.
const RATE_WINDOW: Duration = Duration::from_millis(100);
/// How long a polling reader sleeps at least.
const SHORTEST_NAP: Duration = Duration::from_millis(2);
/// And at most. The longer, the more it finds at a time and the less each record costs, for whoever runs
/// meanwhile takes the caches: at 80 thousand a second a fifth less than with the shortest.
const LONGEST_NAP: Duration = Duration::from_millis(20);
/// More than a host's programs can submit in a millisecond; the ring must have room for a nap of it.
const FLOOD_BYTES_PER_MS: u64 = 800 << 10;
/// Records after which others may go first: some dozens of microseconds of work.
const TURN: usize = 64;
/// How long it goes on polling after it asked for wakeups: a program may have read the old wish.
const COOLING: Duration = Duration::from_millis(100);

/// What the programs are told while they run.
pub type Config = Array<MapData, u64>;

/// The reader's end of a ring.
pub struct Ring {
    records: RingBuf<MapData>,
    /// Where the programs look what readers want. Set when the rate changes, and not for each record.
    config: Arc<Mutex<Config>>,
    /// Which of its words is this ring's.
    quiet_word: u32,
    gauge: Arc<Gauge>,
    nice: u8,
    /// Of the thread that waits here; made by itself.
    courtesy: Option<Courtesy>,
    nap: Duration,
    quiet: bool,
    more: bool,
    poll_until: Instant,
    window_start: Instant,
    window_records: u128,
}

impl Ring {
    /// Takes over the ring of this number and size, whose reader shall be so nice.
    pub fn new(
        number: u32,
        records: RingBuf<MapData>,
        ring_bytes: u32,
        config: Arc<Mutex<Config>>,
        nice: u8,
    ) -> io::Result<Self> {
        let gauge = Arc::new(Gauge::new(&records, ring_bytes)?);
        let now = Instant::now();
        Ok(Self {
            records,
            config,
            quiet_word: CONFIG_QUIET + number,
            gauge,
            nice,
            courtesy: None,
            nap: nap(ring_bytes),
            quiet: false,
            more: false,
            poll_until: now,
            window_start: now,
            window_records: 0,
        })
    }

    /// Does not rely on being woken for a while: a program may have read the wish of an earlier reader.
    pub fn poll_for_a_while(&mut self) {
        self.poll_until = Instant::now() + COOLING;
    }

    /// Hands over records, oldest first, `max` at most. Gives their number.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> usize {
        self.gauge.note_fill();
        let Self { records, courtesy, .. } = self;
        let mut taken = 0;
        while taken < max
            && let Some(record) = records.next()
        {
            each(&record);
            taken += 1;
            if taken.is_multiple_of(TURN)
                && let Some(courtesy) = courtesy
            {
                courtesy.give_way();
            }
        }
        self.more = taken == max;
        self.window_records += taken as u128;
        taken
    }

    /// Octets in the ring, headers and padding included.
    pub fn used(&self) -> u64 {
        self.gauge.used()
    }

    /// What others may know of the ring.
    pub fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }

    /// Returns when the ring may hold something, `bell` can be read, or `limit` is over; whether it
    /// was the bell.
    pub fn wait(&mut self, limit: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.choose_mode();
        let Self { courtesy, nice, gauge, .. } = self;
        courtesy.get_or_insert_with(|| Courtesy::new(*nice)).look(gauge.used(), gauge.size);
        if self.more || (self.gauge.used() > 0 && !self.quiet) {
            return Ok(false);
        }
        if self.quiet || Instant::now() < self.poll_until {
            // Whoever is given too little time wakes late, and has not been idle for that.
            let nap = self.nap.min(limit);
            self.gauge.note_wait(nap);
            std::thread::sleep(nap);
            return Ok(false);
        }
        let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
        let ring = self.records.as_fd();
        let watched = [Some(ring), bell];
        let mut watched: Vec<_> = watched.into_iter().flatten().map(readable).collect();
        let since = Instant::now();
        let result = match poll(&mut watched, Some(&timeout)) {
            Ok(_) => Ok(watched.get(1).is_some_and(|bell| !bell.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        };
        self.gauge.note_wait(since.elapsed());
        result
    }

    /// Above the rate where wakeups cost more than they bring, asks the programs to leave them.
    fn choose_mode(&mut self) {
        let now = Instant::now();
        let passed = now.duration_since(self.window_start);
        if passed < RATE_WINDOW {
            return;
        }
        let busy = self.window_records * 1_000 / passed.as_millis().max(1) >= BUSY_RATE;
        self.window_start = now;
        self.window_records = 0;
        if busy == self.quiet {
            return;
        }
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if config.set(self.quiet_word, u64::from(busy), 0).is_ok() {
            self.quiet = busy;
            self.poll_until = now + COOLING;
        }
    }
}

/// How long a polling reader of a ring of this size sleeps.
fn nap(ring_bytes: u32) -> Duration {
    Duration::from_millis(u64::from(ring_bytes) / FLOOD_BYTES_PER_MS)
        .clamp(SHORTEST_NAP, LONGEST_NAP)
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// Octets of a page of memory.
pub fn page_bytes() -> usize {
    // SAFETY: no condition.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// What may be known of a ring in any thread: how full it is, and how idle its reader.
pub struct Gauge {
    positions: Positions,
    size: u32,
    /// The most octets that the reader has found in it since somebody asked.
    most: AtomicU64,
    waited_ns: AtomicU64,
}

impl Gauge {
    fn new(ring: &RingBuf<MapData>, size: u32) -> io::Result<Self> {
        let (most, waited_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { positions: Positions::map(ring)?, size, most, waited_ns })
    }

    /// Octets in the ring, headers and padding included.
    pub fn used(&self) -> u64 {
        self.positions.used()
    }

    /// The greatest share of the ring that was taken since this was asked the last time, as far as its
    /// reader has seen: 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ring is far below 2^53 octets")]
    pub fn take_fill(&self) -> f64 {
        let most = self.most.swap(0, Ordering::Relaxed).max(self.used());
        most as f64 / f64::from(self.size)
    }

    /// How long the reader has waited for something to do, since it began.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }

    fn note_fill(&self) {
        self.most.fetch_max(self.used(), Ordering::Relaxed);
    }

    fn note_wait(&self, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.waited_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// The reader's and the writers' positions, which the kernel shares for reading.
struct Positions {
    pages: NonNull<u8>,
    page: usize,
}

// SAFETY: the pages are this value's own mapping, and are only read, atomically.
unsafe impl Send for Positions {}
// SAFETY: as above.
unsafe impl Sync for Positions {}

impl Positions {
    /// Maps the page with the reader's position and the next one with the writers'.
    fn map(ring: &RingBuf<MapData>) -> io::Result<Self> {
        let page = page_bytes();
        // SAFETY: a new mapping, which touches nothing that exists.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page * 2,
                libc::PROT_READ,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                0,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pages = NonNull::new(pages.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { pages, page })
    }

    /// Octets in the ring, headers and padding included.
    pub fn used(&self) -> u64 {
        let at = |offset: usize| {
            // SAFETY: both positions are aligned words at the beginning of their mapped pages; the
            // kernel writes them atomically.
            unsafe { AtomicU64::from_ptr(self.pages.as_ptr().add(offset).cast()) }
                .load(Ordering::Acquire)
        };
        let consumer = at(0);
        at(self.page).saturating_sub(consumer)
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: the mapping of `map`, to which no reference is left.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), self.page * 2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_as_long_as_the_ring_has_room() {
        assert_eq!(nap(32 << 20), LONGEST_NAP);
        assert_eq!(nap(8 << 20), Duration::from_millis(10));
        assert_eq!(nap(4096), SHORTEST_NAP, "a small ring is looked after often");
    }
}
