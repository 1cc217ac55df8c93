//! The reader's end of one ring buffer. Reads records, and decides whether the programs wake the reader for
//! each record or leave it to poll.

#![expect(unsafe_code, reason = "shares the memory of the ring with the kernel")]

use super::nice::NicePolicy;
use aya::maps::{Array, MapData, RingBuf};
use dnscribe_common::CONFIG_QUIET;
use dnscribe_common::record::is_packet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::param::page_size;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records per second above which the reader polls. A wakeup of another CPU costs the sender some
/// microseconds between the time stamp and the wire, which the latencies would include. Wakeups pay off
/// on hosts with little DNS only.
const BUSY_RATE: u128 = 100;
/// Interval between two measurements of the rate.
const RATE_WINDOW: Duration = Duration::from_millis(100);
/// Shortest sleep of a polling reader.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Longest sleep of a polling reader. Longer sleeps make larger batches, which cost less per record: at
/// 80 thousand records per second a fifth less than with the shortest.
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// More bytes than the programs of a host can submit in a millisecond. The ring must hold what comes
/// during one sleep.
const FLOOD_BYTES_PER_MS: u64 = 800 << 10;
/// Records after which other threads may run first: some dozens of microseconds of work.
const BATCH_RECORDS: usize = 64;
/// How long the reader still polls after it asked for wakeups: a program may have read the old setting.
const GRACE_PERIOD: Duration = Duration::from_millis(100);

/// Settings that programs read while they run.
pub type Config = Array<MapData, u64>;

/// The reader's end of a ring.
pub struct Ring {
    records: RingBuf<MapData>,
    /// Settings of all rings. Written when the rate changes, not for each record.
    config: Arc<Mutex<Config>>,
    /// Index of this ring's word in `config`.
    quiet_word: u32,
    /// The ring's gauge, also for other threads.
    pub gauge: Arc<Gauge>,
    nice: u8,
    /// Created by the thread that waits here.
    nice_policy: Option<NicePolicy>,
    poll_interval: Duration,
    quiet: bool,
    more: bool,
    poll_until: Instant,
    window_start: Instant,
    window_records: u128,
}

impl Ring {
    /// Creates the reader of ring `number`, with the niceness of its thread (see [`NicePolicy`]).
    pub fn new(
        number: usize,
        records: RingBuf<MapData>,
        ring_bytes: u32,
        config: Arc<Mutex<Config>>,
        nice: u8,
    ) -> io::Result<Self> {
        let gauge = Arc::new(Gauge::map(&records, ring_bytes)?);
        let now = Instant::now();
        Ok(Self {
            records,
            config,
            quiet_word: CONFIG_QUIET + u32::try_from(number).map_err(io::Error::other)?,
            gauge,
            nice,
            nice_policy: None,
            poll_interval: poll_interval(ring_bytes),
            quiet: false,
            more: false,
            poll_until: now,
            window_start: now,
            window_records: 0,
        })
    }

    /// Calls `each` with up to `max` records, oldest first. Returns their number.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> usize {
        self.gauge.note_fill();
        let Self { records, nice_policy, .. } = self;
        let (mut taken, mut packets) = (0, 0);
        while taken < max
            && let Some(record) = records.next()
        {
            // Steps on their way do not make more traffic of the packets.
            packets += u128::from(is_packet(&record));
            each(&record);
            taken += 1;
            if taken.is_multiple_of(BATCH_RECORDS)
                && let Some(nice_policy) = nice_policy
            {
                nice_policy.yield_if_nice();
            }
        }
        self.more = taken == max;
        self.window_records += packets;
        taken
    }

    /// Waits until the ring may hold records, `bell` can be read, or `limit` is over. Returns whether
    /// `bell` can be read.
    pub fn wait(&mut self, limit: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.choose_mode();
        let Self { nice_policy, nice, gauge, .. } = self;
        nice_policy.get_or_insert_with(|| NicePolicy::new(*nice)).adjust(gauge.used(), gauge.size);
        if self.more || (self.gauge.used() > 0 && !self.quiet) {
            return Ok(false);
        }
        if self.quiet || Instant::now() < self.poll_until {
            // A thread that gets too little CPU time wakes late; that time does not count as idle.
            let interval = self.poll_interval.min(limit);
            self.gauge.note_wait(interval);
            std::thread::sleep(interval);
            return Ok(false);
        }
        let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
        let ring = self.records.as_fd();
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
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

    /// Switches wakeups off above the rate where they cost more than they save.
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
            self.poll_until = now + GRACE_PERIOD;
        }
    }
}

/// Returns how long a polling reader of a ring of this size sleeps.
fn poll_interval(ring_bytes: u32) -> Duration {
    Duration::from_millis(u64::from(ring_bytes) / FLOOD_BYTES_PER_MS)
        .clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)
}

/// Fill of a ring and idle time of its reader, readable from any thread.
pub struct Gauge {
    /// Two pages that the kernel shares: with the position of the reader, and with that of the writers.
    pages: NonNull<u8>,
    size: u32,
    /// Largest number of bytes that the reader found since the last call of [`Self::take_fill`].
    max_used: AtomicU64,
    waited_ns: AtomicU64,
}

// SAFETY: the pages are this value's own mapping, and are only read, atomically.
unsafe impl Send for Gauge {}
// SAFETY: as above.
unsafe impl Sync for Gauge {}

impl Gauge {
    /// Maps the positions of a ring of `size` bytes.
    fn map(ring: &RingBuf<MapData>, size: u32) -> io::Result<Self> {
        // SAFETY: a new mapping, which touches nothing that exists.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page_size() * 2,
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
        let (max_used, waited_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { pages, size, max_used, waited_ns })
    }

    /// Returns the bytes in the ring, headers and padding included.
    pub fn used(&self) -> u64 {
        let at = |offset: usize| {
            // SAFETY: both positions are aligned words at the beginning of their mapped pages, which stay mapped as
            // long as `self`, and the kernel writes them atomically. The pages are mapped read-only: on such memory
            // `std::sync::atomic` allows relaxed loads of words, and nothing else is done with this reference.
            let position = unsafe { AtomicU64::from_ptr(self.pages.as_ptr().add(offset).cast()) }
                .load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            position
        };
        let consumer = at(0);
        at(page_size()).saturating_sub(consumer)
    }

    /// Returns the largest fill of the ring that its reader saw since the last call: 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ring is far below 2^53 bytes")]
    pub fn take_fill(&self) -> f64 {
        let max_used = self.max_used.swap(0, Ordering::Relaxed).max(self.used());
        max_used as f64 / f64::from(self.size)
    }

    /// Returns how long the reader has waited for records since it started.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }

    fn note_fill(&self) {
        self.max_used.fetch_max(self.used(), Ordering::Relaxed);
    }

    fn note_wait(&self, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.waited_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        // SAFETY: the mapping of `map`, to which no reference is left.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), page_size() * 2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_in_proportion_to_the_ring() {
        assert_eq!(poll_interval(32 << 20), MAX_POLL_INTERVAL);
        assert_eq!(poll_interval(8 << 20), Duration::from_millis(10));
        assert_eq!(poll_interval(4096), MIN_POLL_INTERVAL, "a small ring is polled often");
    }
}
