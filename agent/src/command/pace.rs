//! Replays packets of files at a chosen speed.

use super::signals::Signals;
use dnscribe_record::time::Timestamp;
use std::thread;
use std::time::{Duration, Instant};

/// Longest sleep between two checks for signals.
const MAX_SLEEP: Duration = Duration::from_millis(50);

/// Longest wait between two packets; longer gaps in the file are shortened.
const MAX_GAP: Duration = Duration::from_secs(3);

/// Waits for packets to be due.
#[derive(Debug)]
pub(super) struct Pace {
    speed: f64,
    /// Time of a packet in the file, and when it was due.
    last: Option<(Timestamp, Instant)>,
}

impl Pace {
    /// Creates a pace of `speed` times that of the capture.
    pub(super) const fn new(speed: f64) -> Self {
        Self { speed, last: None }
    }

    /// Returns when a packet is due. A late packet does not make later ones early.
    fn due(&mut self, ts: Timestamp, now: Instant) -> Instant {
        let due = self
            .last
            .map_or(now, |(last, due)| due + ts.since(last).div_f64(self.speed).min(MAX_GAP));
        let newest = self.last.map_or(ts, |(last, _)| last.max(ts));
        self.last = Some((newest, due));
        due
    }

    /// Waits until a packet is due, or a signal stops the replay. Calls `before` first if it has to wait.
    pub(super) fn wait(&mut self, ts: Timestamp, signals: &Signals, before: impl FnOnce()) {
        let due = self.due(ts, Instant::now());
        let left = || due.saturating_duration_since(Instant::now());
        if left().is_zero() {
            return;
        }
        before();
        while !left().is_zero() && !signals.stop() {
            thread::sleep(left().min(MAX_SLEEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_in_capture_time() {
        let mut pace = Pace::new(10.0);
        let start = Instant::now();
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        assert_eq!(pace.due(at(100), start), start);
        assert_eq!(pace.due(at(105), start), start + Duration::from_millis(500));
        assert_eq!(pace.due(at(103), start), start + Duration::from_millis(500), "out of order");
        assert_eq!(pace.due(at(110), start), start + Duration::from_secs(1));
        assert_eq!(pace.due(at(9999), start), start + Duration::from_secs(1) + MAX_GAP);
    }
}
