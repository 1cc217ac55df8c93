//! Circuit breaker of one endpoint: whether rounds against it are worth their cost.

use super::Reach;
use std::time::Duration;

/// When an endpoint counts as unreachable, and how often it is tried again then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Consecutive rounds in which the endpoint was not reached.
    pub failures: u32,
    /// Consecutive rounds of a target that must fail so that its verdict is known. Rounds of a target that has fewer are
    /// not skipped.
    pub rounds: u32,
    /// Time from the first of these rounds that is too many to the next trial.
    pub backoff: Duration,
    /// Limit of that time, which doubles with each trial that fails.
    pub max_backoff: Duration,
}

/// State of an endpoint. It opens after some consecutive failures to reach the endpoint, lets one round through as a
/// trial after the back-off, and closes once the endpoint was reached.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Consecutive rounds in which the endpoint was not reached.
    failures: u32,
    open: Option<Open>,
}

/// State of an open breaker.
#[derive(Debug)]
struct Open {
    /// Time of the last failure.
    since: Duration,
    backoff: Duration,
    /// Whether a trial is under way.
    is_tried: bool,
}

impl Breaker {
    /// Returns whether a round that is due now is to be skipped. `interval` is the time to the next one: a round is not
    /// skipped if the next would come later than the limit of the back-off.
    pub(super) fn blocks(
        &self,
        now: Duration,
        interval: Duration,
        options: &BreakerOptions,
    ) -> bool {
        let Some(open) = &self.open else { return false };
        open.is_tried
            || now < open.since + open.backoff && now + interval <= open.since + options.max_backoff
    }

    /// Notes that a round begins, which is a trial if the breaker is open and does not block it.
    pub(super) fn begin(&mut self, now: Duration, interval: Duration, options: &BreakerOptions) {
        let is_blocked = self.blocks(now, interval, options);
        if let Some(open) = self.open.as_mut().filter(|_| !is_blocked) {
            open.is_tried = true;
        }
    }

    /// Notes the outcome of a round.
    pub(super) fn observe(&mut self, now: Duration, reach: Reach, options: &BreakerOptions) {
        if reach == Reach::Reached {
            *self = Self::default();
            return;
        }
        let open = self.open.as_mut();
        if reach == Reach::Unknown {
            // The trial has shown nothing; the next round is another one.
            return open.into_iter().for_each(|open| open.is_tried = false);
        }
        self.failures += 1;
        if let Some(open) = open {
            // Other rounds are those of targets that are not known to fail yet.
            if std::mem::take(&mut open.is_tried) {
                open.backoff = (open.backoff * 2).min(options.max_backoff);
                open.since = now;
            }
        } else if self.failures >= options.failures {
            let backoff = options.backoff.min(options.max_backoff);
            self.open = Some(Open { since: now, backoff, is_tried: false });
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions {
        failures: 3,
        rounds: 1,
        backoff: Duration::from_secs(30),
        max_backoff: Duration::from_secs(100),
    };
    const INTERVAL: Duration = Duration::from_secs(1);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn blocks(breaker: &Breaker, seconds: u64) -> bool {
        breaker.blocks(at(seconds), INTERVAL, &OPTIONS)
    }

    #[test]
    fn opens_tries_and_closes() {
        let mut breaker = Breaker::default();
        for second in 0..3 {
            assert!(!blocks(&breaker, second), "closed until the third failure");
            breaker.observe(at(second), Reach::Unreached, &OPTIONS);
        }
        assert!(blocks(&breaker, 31) && !blocks(&breaker, 32), "30 s after the failure");
        breaker.begin(at(32), INTERVAL, &OPTIONS);
        assert!(blocks(&breaker, 33), "one trial at a time");
        breaker.observe(at(40), Reach::Unreached, &OPTIONS);
        assert!(blocks(&breaker, 99) && !blocks(&breaker, 100), "60 s");
        breaker.begin(at(100), INTERVAL, &OPTIONS);
        breaker.observe(at(100), Reach::Unreached, &OPTIONS);
        assert!(blocks(&breaker, 199) && !blocks(&breaker, 200), "not more than 100 s");
        breaker.begin(at(150), INTERVAL, &OPTIONS);
        breaker.observe(at(150), Reach::Unreached, &OPTIONS);
        assert!(!blocks(&breaker, 200), "only trials delay the next one");
        breaker.observe(at(200), Reach::Reached, &OPTIONS);
        breaker.observe(at(201), Reach::Unreached, &OPTIONS);
        assert!(!blocks(&breaker, 201), "closed, and counts again from the start");
    }

    #[test]
    fn answers_reset_the_count() {
        let mut breaker = Breaker::default();
        for second in 0..20 {
            let reach = if second % 3 == 2 { Reach::Reached } else { Reach::Unreached };
            breaker.observe(at(second), reach, &OPTIONS);
            assert!(!blocks(&breaker, second + 1));
        }
    }

    #[test]
    fn hides_no_recovery_for_longer_than_the_limit() {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.observe(at(0), Reach::Unreached, &OPTIONS));
        breaker.begin(at(30), INTERVAL, &OPTIONS);
        breaker.observe(at(30), Reach::Unreached, &OPTIONS);
        // The next round of a target with this interval would come after the limit.
        assert!(!breaker.blocks(at(71), Duration::from_mins(1), &OPTIONS));
        assert!(breaker.blocks(at(69), Duration::from_mins(1), &OPTIONS));
    }
}
