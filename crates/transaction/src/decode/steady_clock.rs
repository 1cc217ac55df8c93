//! The clock of the decoder's timeouts.

use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Tolerated disorder. Packets of several CPUs, or of merged captures, may be out of order in time;
/// a larger step back means that the clock was set.
const DISORDER: Duration = Duration::from_secs(2);
/// Largest step. It is longer than any timeout.
const MAX_STEP: Duration = Duration::from_hours(1);

/// A clock that never steps back, driven by times that may; otherwise one packet from the future
/// would delay all timeouts until then. It starts at 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SteadyClock {
    /// The last input time, without small steps back.
    fed: Option<Timestamp>,
    now: Timestamp,
}

impl SteadyClock {
    /// Advances the clock to the input `time` and returns the clock's time.
    pub(super) fn read(&mut self, time: Timestamp) -> Timestamp {
        let fed = *self.fed.get_or_insert(time);
        self.now = self.now.plus(time.since(fed).min(MAX_STEP));
        if time > fed || fed.since(time) > DISORDER {
            self.fed = Some(time);
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn continues_when_input_clock_steps_back() {
        let mut clock = SteadyClock::default();
        assert_eq!(clock.read(at(1000)), at(0));
        assert_eq!(clock.read(at(1010)), at(10));
        assert_eq!(clock.read(at(1009)), at(10), "packets in disorder");
        assert_eq!(clock.read(at(1011)), at(11));
        assert_eq!(clock.read(at(500)), at(11), "set back");
        assert_eq!(clock.read(at(507)), at(18));
        assert_eq!(clock.read(Timestamp::from_nanos(u64::MAX)), at(18 + 3600), "set forward");
        clock.read(at(500));
        assert_eq!(clock.read(at(501)), at(19 + 3600));
    }
}
