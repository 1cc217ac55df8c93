//! Who goes first where CPUs are scarce: the server whose traffic is watched, as long as nothing is lost by it.
//!
//! A reader wakes up with milliseconds of work. Where the server is busy, that takes its CPU at some bad
//! moment, and costs it more than the reader's own time. So a reader is nice (`setpriority(2)`) while its
//! ring has room, and as it was before when the ring fills. Who may not go back (no `CAP_SYS_NICE`, and
//! `RLIMIT_NICE` as it usually is) does not become nice in the first place.

use rustix::process::{getpriority_process, setpriority_process};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// A ring that is fuller than 1 / 8 has no time for courtesies. Sampling begins at a fill of 35 %.
const SCARCE: u64 = 8;
/// How long a ring must have had room until its reader is nice again.
const CALM: Duration = Duration::from_secs(5);

/// How nice the thread is that reads a ring. On Linux each thread has a niceness of its own.
pub struct Courtesy {
    /// While there is room; none where the thread stays as it is.
    nice: Option<i32>,
    /// The niceness that the thread began with.
    usual: i32,
    is_nice: bool,
    last_scarce: Option<Instant>,
}

impl Courtesy {
    /// Of a thread that shall be so nice while there is room; 0 leaves it as it is.
    pub fn new(nice: u8) -> Self {
        let usual = getpriority_process(None).unwrap_or(0);
        let nice = Some(i32::from(nice)).filter(|nice| *nice > usual);
        let nice = nice.filter(|nice| may_return(usual, *nice));
        Self { nice, usual, is_nice: false, last_scarce: None }
    }

    /// Looks at how full the ring is, in octets: to be called by the thread that reads it.
    pub fn look(&mut self, used: u64, size: u32) {
        let Some(nice) = self.nice else { return };
        if used * SCARCE > u64::from(size) {
            self.last_scarce = Some(Instant::now());
            if self.is_nice {
                self.become_as(self.usual, false);
            }
        } else if !self.is_nice && self.last_scarce.is_none_or(|since| since.elapsed() >= CALM) {
            self.become_as(nice, true);
        }
    }

    /// Lets whoever waits for this CPU go first, as long as there is room.
    pub fn give_way(&self) {
        if self.is_nice {
            thread::yield_now();
        }
    }

    fn become_as(&mut self, priority: i32, is_nice: bool) {
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

/// Whether a thread that has become so nice may go back: tried by one that ends then.
fn may_return(usual: i32, nice: i32) -> bool {
    let there_and_back = move || -> io::Result<()> {
        setpriority_process(None, nice)?;
        Ok(setpriority_process(None, usual)?)
    };
    let thread = thread::Builder::new().name("nice".to_owned()).spawn(there_and_back);
    thread.is_ok_and(|thread| matches!(thread.join(), Ok(Ok(()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 1 << 20;

    #[test]
    fn a_thread_is_nice_while_its_ring_has_room() {
        // Of this test's own thread, which ends.
        let usual = getpriority_process(None).unwrap();
        let mut courtesy = Courtesy::new(19);
        if courtesy.nice.is_none() {
            return assert!(!may_return(usual, 19), "it could be nice and is not");
        }
        courtesy.look(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), 19);
        courtesy.look(u64::from(SIZE / 4), SIZE);
        assert_eq!(getpriority_process(None).unwrap(), usual);
        courtesy.look(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), usual, "not calm for long enough");
        courtesy.last_scarce = Instant::now().checked_sub(CALM);
        courtesy.look(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), 19);
    }

    #[test]
    fn who_shall_not_be_nice_stays_as_it_is() {
        let usual = getpriority_process(None).unwrap();
        Courtesy::new(0).look(0, SIZE);
        assert_eq!(getpriority_process(None).unwrap(), usual);
    }
}
