//! Niceness of a reader thread: the observed server runs first where CPUs are scarce, as long as no record is
//! at risk.
//!
//! A reader wakes up with milliseconds of work, and may take the CPU from a busy server, which costs the server
//! more than the reader's own time. So a reader is nice (`setpriority(2)`) while its ring has space, and
//! returns to its first priority when the ring fills. A thread that may not return (no `CAP_SYS_NICE`, default
//! `RLIMIT_NICE`) never becomes nice.

use rustix::process::{getpriority_process, setpriority_process};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// A reader is not nice while its ring is filled to more than 1 / 8. Sampling begins at a fill of 35 %.
const SCARCE: u64 = 8;
/// How long the ring must have had space until its reader is nice again.
const CALM: Duration = Duration::from_secs(5);

/// Niceness of the thread that reads a ring. On Linux each thread has its own.
pub struct NicePolicy {
    /// Niceness while the ring has space; none where it never changes.
    nice: Option<i32>,
    /// Niceness of the thread at its start.
    normal: i32,
    is_nice: bool,
    last_scarce: Option<Instant>,
}

impl NicePolicy {
    /// Creates the policy for niceness `nice` while the ring has space; 0 never changes it.
    pub fn new(nice: u8) -> Self {
        let normal = getpriority_process(None).unwrap_or(0);
        let nice = Some(i32::from(nice)).filter(|nice| *nice > normal);
        let nice = nice.filter(|nice| can_restore(normal, *nice));
        Self { nice, normal, is_nice: false, last_scarce: None }
    }

    /// Adjusts the niceness to the bytes `used` of `size`. Must be called by the thread that reads the ring.
    pub fn adjust(&mut self, used: u64, size: u32) {
        let Some(nice) = self.nice else { return };
        if used * SCARCE > u64::from(size) {
            self.last_scarce = Some(Instant::now());
            if self.is_nice {
                self.set_priority(self.normal, false);
            }
        } else if !self.is_nice && self.last_scarce.is_none_or(|since| since.elapsed() >= CALM) {
            self.set_priority(nice, true);
        }
    }

    /// Yields the CPU while the thread is nice.
    pub fn yield_if_nice(&self) {
        if self.is_nice {
            thread::yield_now();
        }
    }

    fn set_priority(&mut self, priority: i32, is_nice: bool) {
        match setpriority_process(None, priority) {
            Ok(()) => self.is_nice = is_nice,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the scheduling priority of a thread that reads packets cannot be changed; \
                     it stays as it is"
                );
                self.nice = None;
            }
        }
    }
}

/// Returns whether a thread may return from niceness `nice` to `normal`. A short-lived thread tries it.
fn can_restore(normal: i32, nice: i32) -> bool {
    let try_both = move || -> io::Result<()> {
        setpriority_process(None, nice)?;
        Ok(setpriority_process(None, normal)?)
    };
    let thread = thread::Builder::new().name("nice".to_owned()).spawn(try_both);
    thread.is_ok_and(|thread| matches!(thread.join(), Ok(Ok(()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_tests::environment;

    const SIZE: u32 = 1 << 20;

    #[test]
    fn thread_is_nice_while_ring_has_space() {
        // Of this test's own thread, which ends.
        let normal = getpriority_process(None).unwrap();
        let mut nice_policy = NicePolicy::new(19);
        if nice_policy.nice.is_none() {
            assert!(!can_restore(normal, 19), "it could be nice and is not");
            return environment::skip("this thread may not return from niceness 19 (CAP_SYS_NICE)");
        }
        nice_policy.adjust(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), 19);
        nice_policy.adjust(u64::from(SIZE / 4), SIZE);
        assert_eq!(getpriority_process(None).unwrap(), normal);
        nice_policy.adjust(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), normal, "not calm for long enough");
        nice_policy.last_scarce = Instant::now().checked_sub(CALM);
        nice_policy.adjust(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), 19);
    }

    #[test]
    fn keeps_priority_without_niceness() {
        let normal = getpriority_process(None).unwrap();
        NicePolicy::new(0).adjust(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), normal);
    }
}
