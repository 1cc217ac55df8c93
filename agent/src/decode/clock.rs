//! The clock by which what waits is given up.

#![forbid(unsafe_code)]

use crate::time::Timestamp;
use std::time::Duration;

/// Packets of several CPUs, or of several captures made one, may come in another order than that of
/// their times; a clock further behind has been set back.
const DISORDER: Duration = Duration::from_secs(2);
/// More than anything waits: a longer step tells no more.
const MAX_STEP: Duration = Duration::from_secs(3600);

/// A clock that never steps back, fed with times that may: else one packet from the future would
/// keep all others waiting until then. It begins at 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SteadyClock {
    /// What the other clock showed last, small steps back left out.
    fed: Option<Timestamp>,
    now: Timestamp,
}

impl SteadyClock {
    /// What this clock shows when the other one shows `time`.
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
    fn goes_on_where_the_other_clock_was_set_back() {
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
