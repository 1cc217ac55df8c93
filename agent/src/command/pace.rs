//! Packets of files at a chosen speed.

use super::signals::Signals;
use crate::time::Timestamp;
use std::thread;
use std::time::{Duration, Instant};

/// Longest sleep before looking at signals.
const SLICE: Duration = Duration::from_millis(50);

/// A silence is cut to this: nobody watches a file to see nothing.
const LONGEST: Duration = Duration::from_secs(3);

/// Waits for packets to be due.
#[derive(Debug)]
pub(super) struct Pace {
    times: f64,
    /// A packet, and when it was due.
    last: Option<(Timestamp, Instant)>,
}

impl Pace {
    /// So many times as fast as packets were captured.
    pub(super) const fn new(times: f64) -> Self {
        Self { times, last: None }
    }

    /// When a packet is due. Packets that come too late do not make others come early.
    fn due(&mut self, ts: Timestamp, now: Instant) -> Instant {
        let due = self
            .last
            .map_or(now, |(last, due)| due + ts.since(last).div_f64(self.times).min(LONGEST));
        let newest = self.last.map_or(ts, |(last, _)| last.max(ts));
        self.last = Some((newest, due));
        due
    }

    /// Waits until a packet is due, or a signal comes; `before` is done first where it has to wait.
    pub(super) fn wait(&mut self, ts: Timestamp, signals: &Signals, before: impl FnOnce()) {
        let due = self.due(ts, Instant::now());
        let left = || due.saturating_duration_since(Instant::now());
        if left().is_zero() {
            return;
        }
        before();
        while !left().is_zero() && !signals.stop() {
            thread::sleep(left().min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_as_they_were_captured() {
        let mut pace = Pace::new(10.0);
        let start = Instant::now();
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        assert_eq!(pace.due(at(100), start), start);
        assert_eq!(pace.due(at(105), start), start + Duration::from_millis(500));
        assert_eq!(pace.due(at(103), start), start + Duration::from_millis(500), "out of order");
        assert_eq!(pace.due(at(110), start), start + Duration::from_secs(1));
        assert_eq!(pace.due(at(9999), start), start + Duration::from_secs(1) + LONGEST);
    }
}
