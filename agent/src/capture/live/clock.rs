//! The clock of a live capture: the host's `CLOCK_MONOTONIC`, which the programs use, as a time of day that nobody sets.
//!
//! It starts as the host's clock and does not follow when that one is set, so that no deadline is delayed and none
//! comes early. How far the host's clock was set since is a [`ClockShift`], with which records get the time of day.

use dnscribe_record::time::{ClockShift, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Smallest step of the host's clock that is noticed, in nanoseconds. Less is measuring noise. Slewing (adjtime(3),
/// NTP) changes the speed of both clocks alike, and is no step.
const TOLERANCE_NS: u64 = 1_000_000;

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, measured once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Time between the readings before and after, in nanoseconds: the offset is no more wrong than this.
    pub error_ns: u64,
    /// The offset in nanoseconds.
    pub offset_ns: i64,
}

/// A step of the host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// Nanoseconds by which it was set; negative if it was set back.
    pub by_ns: i64,
    /// How far it was set since the capture began.
    pub shift: ClockShift,
}

/// The clock, the same for all readers.
pub struct Clock {
    /// The offset when capture began, in nanoseconds.
    offset_ns: AtomicI64,
    /// How far the host's clock was set since, in nanoseconds.
    shift_ns: AtomicI64,
    /// Steps of the host's clock since.
    steps: AtomicU64,
}

impl Clock {
    /// Creates a clock that shows the host's time of day.
    pub fn new() -> Self {
        Self::from_offset(best_measurement().offset_ns)
    }

    /// Creates a clock with this offset in nanoseconds.
    pub fn from_offset(offset_ns: i64) -> Self {
        let (shift_ns, steps) = (AtomicI64::new(0), AtomicU64::new(0));
        Self { offset_ns: AtomicI64::new(offset_ns), shift_ns, steps }
    }

    /// Returns how far the host's clock was set since the capture began.
    pub fn shift(&self) -> ClockShift {
        ClockShift::from_nanos(self.shift_ns.load(Ordering::Relaxed))
    }

    /// Returns the number of steps of the host's clock since the capture began.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Compares with the host's clock. Returns its step, if it was set since the last call.
    pub fn check(&self) -> Option<ClockStep> {
        self.difference(measure())?;
        self.step(best_measurement())
    }

    /// Returns the difference between a measured offset and the known one in nanoseconds, if it is a step.
    fn difference(&self, measured: Measurement) -> Option<i64> {
        let known_ns =
            self.offset_ns.load(Ordering::Relaxed).saturating_add(self.shift().as_nanos());
        let by_ns = measured.offset_ns.saturating_sub(known_ns);
        (by_ns.unsigned_abs() > TOLERANCE_NS.max(measured.error_ns * 2)).then_some(by_ns)
    }

    /// Takes a measured offset, if it shows a step.
    pub fn step(&self, measured: Measurement) -> Option<ClockStep> {
        let by_ns = self.difference(measured)?;
        self.shift_ns.fetch_add(by_ns, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
        Some(ClockStep { by_ns, shift: self.shift() })
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.at(ktime_ns())
    }

    /// Returns the time up to `before` at which the lower half of the host's clock was `wall_ns`, in nanoseconds: at most
    /// 2.1 s earlier. None if that was later, as after the clock was set.
    pub fn before(&self, before: Timestamp, wall_ns: u32) -> Option<Timestamp> {
        let shift_ns = self.shift_ns.load(Ordering::Relaxed);
        let wall = before.as_nanos().saturating_add_signed(shift_ns);
        #[expect(clippy::cast_possible_truncation, reason = "only the lower half is compared")]
        let age_ns = (wall as u32).wrapping_sub(wall_ns);
        (age_ns <= u32::MAX / 2).then(|| before.minus(Duration::from_nanos(age_ns.into())))
    }

    /// Returns the time at which the monotonic clock showed `ktime_ns`.
    pub fn at(&self, ktime_ns: u64) -> Timestamp {
        let offset_ns = self.offset_ns.load(Ordering::Relaxed);
        Timestamp::from_nanos(ktime_ns.saturating_add_signed(offset_ns))
    }
}

/// Returns the best of five measurements: the one with the least time between its monotonic readings.
fn best_measurement() -> Measurement {
    let mut best = measure();
    for _ in 0..4 {
        let measured = measure();
        if measured.error_ns < best.error_ns {
            best = measured;
        }
    }
    best
}

fn measure() -> Measurement {
    let before = ktime_ns();
    let wall = now(ClockId::Realtime);
    let error_ns = ktime_ns().saturating_sub(before);
    let offset_ns = wall.cast_signed().wrapping_sub((before + error_ns / 2).cast_signed());
    Measurement { error_ns, offset_ns }
}

/// How far the clocks of this process's time namespace are ahead of the host's, in nanoseconds
/// (manual page `time_namespaces`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceOffsets {
    monotonic_ns: i64,
    /// Offset of `CLOCK_BOOTTIME`.
    pub boottime_ns: i64,
}

/// Offsets of this process, which cannot enter another namespace once it has threads.
pub static OFFSETS: LazyLock<NamespaceOffsets> = LazyLock::new(NamespaceOffsets::read);

impl NamespaceOffsets {
    /// Reads them. Kernels without time namespaces have no offsets.
    fn read() -> Self {
        let namespace = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        // The file has the offsets of children, which may be in another namespace.
        if namespace("time") != namespace("time_for_children") {
            return Self::default();
        }
        fs::read_to_string("/proc/self/timens_offsets")
            .map(|text| Self::parse(&text))
            .unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let offset = |clock: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(clock))?;
            let mut numbers = line.split_whitespace().map(str::parse::<i64>);
            let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
        };
        Self {
            monotonic_ns: offset("monotonic").unwrap_or(0),
            boottime_ns: offset("boottime").unwrap_or(0),
        }
    }
}

/// Returns the host's `CLOCK_MONOTONIC` in nanoseconds, as the programs read it.
pub fn ktime_ns() -> u64 {
    now(ClockId::Monotonic).saturating_add_signed(-OFFSETS.monotonic_ns)
}

/// Returns the host's `CLOCK_BOOTTIME` in nanoseconds, which the start times of processes have.
#[must_use]
pub fn boottime_ns() -> u64 {
    now(ClockId::Boottime).saturating_add_signed(-OFFSETS.boottime_ns)
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

    const SECOND_NS: i64 = 1_000_000_000;

    fn exact(offset_ns: i64) -> Measurement {
        Measurement { error_ns: 100, offset_ns }
    }

    #[test]
    fn begins_as_the_clock_of_the_host() {
        let clock = Clock::new();
        let (before, now, after) = (Timestamp::now(), clock.now(), Timestamp::now());
        let tolerance = Duration::from_millis(100);
        assert!(now.plus(tolerance) >= before && now <= after.plus(tolerance));
        assert_eq!((clock.check(), clock.steps()), (None, 0));
    }

    #[test]
    fn reads_offsets_of_a_time_namespace() {
        let text = "monotonic      100000         7\nboottime           -3 500000000\n";
        let offsets = NamespaceOffsets::parse(text);
        let expected =
            NamespaceOffsets { monotonic_ns: 100_000 * SECOND_NS + 7, boottime_ns: -2_500_000_000 };
        assert_eq!(offsets, expected);
        assert_eq!(NamespaceOffsets::parse("monotonic 1"), NamespaceOffsets::default());
    }

    #[test]
    fn notices_a_clock_that_was_set() {
        let clock = Clock::from_offset(best_measurement().offset_ns + 3600 * SECOND_NS);
        let time = clock.at(7);
        let step = clock.check().unwrap();
        assert!((step.by_ns + 3600 * SECOND_NS).abs() < SECOND_NS, "{step:?}");
        assert_eq!(step.shift.as_nanos(), step.by_ns);
        assert_eq!((clock.check(), clock.steps()), (None, 1), "once");
        assert_eq!(clock.at(7), time, "its own time stays");
        let day = clock.shift().apply(clock.now());
        assert!(Timestamp::now().since(day) < Duration::from_millis(100));
    }

    #[test]
    fn counts_each_step_with_its_size() {
        let clock = Clock::from_offset(50 * SECOND_NS);
        let mut shift = 0;
        for (number, by_ns) in
            (1..).zip([-3600 * SECOND_NS, 3600 * SECOND_NS, -2_000_000, 1_500_000])
        {
            shift += by_ns;
            let step = clock.step(exact(50 * SECOND_NS + shift)).unwrap();
            assert_eq!((step.by_ns, step.shift.as_nanos(), clock.steps()), (by_ns, shift, number));
        }
        for noise in [900_000, -900_000] {
            assert_eq!(clock.step(exact(50 * SECOND_NS + shift + noise)), None);
        }
        // The thread was interrupted between the readings.
        let unsure =
            Measurement { error_ns: 4_000_000, offset_ns: 50 * SECOND_NS + shift + 3_000_000 };
        assert_eq!((clock.step(unsure), clock.steps()), (None, 4));
    }

    /// A host without a clock of its own starts in 1970, perhaps with less than its uptime.
    #[test]
    fn works_before_the_clock_was_set() {
        let clock = Clock::from_offset(-90 * SECOND_NS);
        assert_eq!(clock.at(100_000_000_000), Timestamp::from_nanos(10_000_000_000));
        let step = clock.step(exact(1_800_000_000 * SECOND_NS)).unwrap();
        assert_eq!(
            step.shift.apply(clock.at(100_000_000_000)),
            Timestamp::from_nanos(1_800_000_100_000_000_000)
        );
    }
}
