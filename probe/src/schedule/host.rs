//! Limits of rounds, in all and against one host.

use super::BreakerOptions;
use std::collections::VecDeque;
use std::time::Duration;

/// Limits of what runs at the same time and how often. A host is a resolver's or server's host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Rounds that run at the same time.
    pub rounds: usize,
    /// Rounds that run at the same time against one host.
    pub rounds_per_host: usize,
    /// Rounds against one host that begin in a second, on average.
    pub rate_per_host: f64,
    /// Rounds against one host that may begin at once.
    pub burst_per_host: f64,
    /// When an endpoint counts as unreachable.
    pub breaker: BreakerOptions,
}

impl Limits {
    /// Time in which a host's bucket gets a token.
    fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate_per_host)
    }
}

/// Rounds against one host, and those that wait for it.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) running: usize,
    /// Token bucket as a time: that from which the bucket is full again (GCRA, the theoretical arrival time).
    full_at: Duration,
    pub(super) blocked: VecDeque<u32>,
    /// Whether a wake is set for the blocked rounds.
    pub(super) has_wake: bool,
}

impl Host {
    /// Time from which the bucket has a token.
    pub(super) fn token_at(&self, limits: &Limits) -> Duration {
        let others = limits.period().mul_f64((limits.burst_per_host - 1.0).max(0.0));
        self.full_at.saturating_sub(others)
    }

    pub(super) fn is_free(&self, now: Duration, limits: &Limits) -> bool {
        self.running < limits.rounds_per_host && self.token_at(limits) <= now
    }

    pub(super) fn begin(&mut self, now: Duration, limits: &Limits) {
        self.running += 1;
        self.full_at = self.full_at.max(now) + limits.period();
    }
}
