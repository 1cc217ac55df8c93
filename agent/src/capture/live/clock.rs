//! Converts `CLOCK_MONOTONIC`, which the programs use, to the time of day.

use dnscribe_record::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest error of the offset in nanoseconds. Less is measuring noise and slewing; more is a step of the
/// clock, or accumulated drift.
const TOLERANCE_NS: u64 = 1_000_000;

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, the same for all readers.
pub struct Clock {
    /// In nanoseconds.
    pub offset_ns: AtomicU64,
}

impl Clock {
    /// Creates a clock with a measured offset.
    pub fn new() -> Self {
        Self { offset_ns: AtomicU64::new(measure()) }
    }

    /// Measures the offset again, and takes it if it differs by more than [`TOLERANCE_NS`].
    pub fn check(&self) {
        let now = measure();
        if now.abs_diff(self.offset_ns.load(Ordering::Relaxed)) > TOLERANCE_NS {
            self.offset_ns.store(now, Ordering::Relaxed);
        }
    }

    /// Returns the time of day, with the offset that packets get.
    pub fn now(&self) -> Timestamp {
        self.wall(now(ClockId::Monotonic))
    }

    /// Returns the time of day at which the monotonic clock showed `ktime_ns`.
    pub fn wall(&self, ktime_ns: u64) -> Timestamp {
        Timestamp::from_nanos(ktime_ns.saturating_add(self.offset_ns.load(Ordering::Relaxed)))
    }
}

/// Returns the best of five measurements: the one with the least time between its monotonic readings.
fn measure() -> u64 {
    (0..5)
        .map(|_| {
            let before = now(ClockId::Monotonic);
            let wall = now(ClockId::Realtime);
            let after = now(ClockId::Monotonic);
            let duration = after.saturating_sub(before);
            (duration, wall.saturating_sub(before + duration / 2))
        })
        .min()
        .map_or(0, |(_, offset)| offset)
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds.
pub fn ktime_ns() -> u64 {
    now(ClockId::Monotonic)
}

fn now(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn agrees_with_the_system_clock() {
        let clock = Clock::new();
        let wall = clock.wall(now(ClockId::Monotonic));
        assert!(Timestamp::now().since(wall) < Duration::from_millis(100));
        clock.offset_ns.store(5, Ordering::Relaxed);
        clock.check();
        assert!(clock.offset_ns.load(Ordering::Relaxed) > 5);
    }
}
