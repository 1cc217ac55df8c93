//! Health checks, as `/healthz` reports them.
//!
//! A pure state machine: it is given the agent's vital numbers from time to time, remembers when
//! something was last lost, and keeps reporting a loss for a configured time.

#![forbid(unsafe_code)]

use dnscribe_delivery::Failure;
use dnscribe_record::ledger::{Counters, Reasons};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Default time for which a loss counts.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

/// Percentage of the spool's capacity from which it counts as full: it is emptied in segments of up
/// to a sixteenth.
const FULL_PERCENT: u64 = 90;

/// Numbers that the checks are based on.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// Packets lost because the ring was full.
    pub lost: u64,
    /// Packets left out by sampling.
    pub sampled: u64,
    /// Records dropped by the sinks, by reason.
    pub dropped: Reasons,
    /// Bytes in the fullest spool.
    pub spool_bytes: u64,
    /// Sinks that failed permanently.
    pub failures: Vec<(String, Failure)>,
    /// Number of sinks.
    pub sinks: usize,
}

impl Vitals {
    /// Collects the numbers from the ledger's counters. `failures` are the failed sinks, `sinks`
    /// the number of all sinks.
    #[must_use]
    pub fn new(
        counters: &Counters,
        spool_bytes: u64,
        (failures, sinks): (Vec<(String, Failure)>, usize),
    ) -> Self {
        let lost = counters.kernel.values().map(|kernel| kernel.lost_ring_full).sum();
        let sampled = counters.kernel.values().map(|kernel| kernel.sampled_out).sum();
        let mut dropped = BTreeMap::new();
        for delivery in counters.delivery.values().flat_map(BTreeMap::values) {
            for (reason, count) in &delivery.dropped {
                *dropped.entry(reason.clone()).or_default() += count;
            }
        }
        Self { lost, sampled, dropped, spool_bytes, failures, sinks }
    }

    /// Returns the records dropped by a spool, then those dropped for other reasons.
    fn dropped(&self) -> (u64, u64) {
        let of_spool = |reason: &str| reason.starts_with("spool_");
        let sum = |wanted: bool| {
            let counts = self.dropped.iter().filter(|(reason, _)| of_spool(reason) == wanted);
            counts.map(|(_, count)| count).sum()
        };
        (sum(true), sum(false))
    }
}

/// A count that should not increase.
#[derive(Clone, Copy, Debug, Default)]
struct LossCounter {
    total: u64,
    /// Time of the last increase.
    last: Option<Instant>,
}

impl LossCounter {
    fn observe(&mut self, now: Instant, total: u64) {
        if total > self.total {
            self.last = Some(now);
        }
        self.total = total;
    }

    /// Returns the result of a check of `what`, which is `bad` for `window` after an increase.
    fn check(
        &self,
        now: Instant,
        window: Duration,
        bad: CheckState,
        what: &str,
    ) -> (CheckState, String) {
        let Some(last) = self.last else { return (CheckState::Ok, format!("no {what}")) };
        let ago = now.saturating_duration_since(last);
        let state = if ago < window { bad } else { CheckState::Ok };
        (state, format!("{} {what}, the last {} s ago", self.total, ago.as_secs()))
    }
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// Everything is fine.
    Ok,
    /// Needs attention; the agent still works.
    Warn,
    /// The agent does not work as intended.
    Fail,
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Name of the check.
    pub name: &'static str,
    /// Result.
    pub state: CheckState,
    /// Details, with the remedy unless all is fine.
    pub detail: String,
}

/// Results of all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport(pub Vec<Check>);

impl HealthReport {
    /// Returns a report of the check `pipeline` alone.
    #[must_use]
    pub fn of_pipeline(state: CheckState, detail: &str) -> Self {
        Self(vec![Check { name: "pipeline", state, detail: detail.to_owned() }])
    }

    /// Returns whether no check failed.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.iter().all(|check| check.state != CheckState::Fail)
    }
}

impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", if self.is_healthy() { "ok" } else { "unhealthy" })?;
        for Check { name, state, detail } in &self.0 {
            let state = match state {
                CheckState::Ok => "ok",
                CheckState::Warn => "warn",
                CheckState::Fail => "fail",
            };
            writeln!(f, "{state:<4}  {name:<8}  {detail}")?;
        }
        Ok(())
    }
}

/// State of the checks: remembers losses and their times.
#[derive(Debug)]
pub struct Health {
    window: Duration,
    spool_max: Option<u64>,
    lost: LossCounter,
    sampled: LossCounter,
    spool: LossCounter,
    delivery: LossCounter,
    vitals: Vitals,
}

impl Health {
    /// Creates a state without losses. A loss counts for `window`; `spool_max` is the capacity of a
    /// spool in bytes, if there is one.
    #[must_use]
    pub fn new(window: Duration, spool_max: Option<u64>) -> Self {
        let (lost, sampled, spool, delivery) = Default::default();
        Self { window, spool_max, lost, sampled, spool, delivery, vitals: Vitals::default() }
    }

    /// Adds the numbers of a moment.
    pub fn observe(&mut self, now: Instant, vitals: Vitals) {
        let (by_spool, otherwise) = vitals.dropped();
        self.lost.observe(now, vitals.lost);
        self.sampled.observe(now, vitals.sampled);
        self.spool.observe(now, by_spool);
        self.delivery.observe(now, otherwise);
        self.vitals = vitals;
    }

    /// Returns the results at `now`.
    #[must_use]
    pub fn report(&self, now: Instant) -> HealthReport {
        let pipeline = (CheckState::Ok, "answers".to_owned());
        let delivery =
            self.delivery.check(now, self.window, CheckState::Warn, "records dropped by the sinks");
        let sampling =
            self.sampled.check(now, self.window, CheckState::Warn, "packets left out by sampling");
        let all = [
            ("pipeline", pipeline, ""),
            ("ring", self.ring(now), "give the agent more CPU, or increase capture.ring_bytes"),
            ("sampling", sampling, "give the agent more CPU; totals are exact nevertheless"),
            ("spool", self.spool(now), "make Kafka reachable, or increase spool.max_bytes"),
            ("sinks", self.sinks(), "see the log, then restart the agent"),
            ("delivery", delivery, "see dnscribe_dropped_total{stage=\"delivery\"} for the reason"),
        ];
        let checks = all.into_iter().map(|(name, (state, detail), remedy)| {
            let remedy =
                if state == CheckState::Ok { String::new() } else { format!("; remedy: {remedy}") };
            Check { name, state, detail: format!("{detail}{remedy}") }
        });
        HealthReport(checks.collect())
    }

    fn ring(&self, now: Instant) -> (CheckState, String) {
        self.lost.check(now, self.window, CheckState::Fail, "packets lost by the ring")
    }

    fn spool(&self, now: Instant) -> (CheckState, String) {
        let Some(max) = self.spool_max else {
            return (CheckState::Ok, "not configured".to_owned());
        };
        let (state, dropped) =
            self.spool.check(now, self.window, CheckState::Fail, "records dropped by the spool");
        let bytes = self.vitals.spool_bytes;
        let full = bytes >= max / 100 * FULL_PERCENT;
        let state = if full { CheckState::Fail } else { state };
        let full = if full { ", full" } else { "" };
        (state, format!("{bytes} of {max} bytes{full}; {dropped}"))
    }

    fn sinks(&self) -> (CheckState, String) {
        let Vitals { failures, sinks, .. } = &self.vitals;
        let state = match failures.len() {
            0 => return (CheckState::Ok, "none failed".to_owned()),
            failed if failed < *sinks => CheckState::Warn,
            _ => CheckState::Fail,
        };
        let why = failures.iter().map(|(name, failure)| match failure {
            Failure::PipeClosed => format!("{name} (its reader closed the pipe)"),
            Failure::Broken(why) => format!("{name} ({why})"),
        });
        let why = why.collect::<Vec<_>>().join(", ");
        (state, format!("{} of {sinks} failed: {why}", failures.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_record::ledger::{Delivery, Kernel};

    const SPOOL_MAX: u64 = 1 << 20;

    fn health() -> (Health, Instant) {
        (Health::new(DEFAULT_WINDOW, Some(SPOOL_MAX)), Instant::now())
    }

    fn state(health: &Health, now: Instant, name: &str) -> CheckState {
        let report = health.report(now);
        report.0.iter().find(|check| check.name == name).unwrap().state
    }

    #[test]
    fn loss_counts_for_window() {
        let (mut health, start) = health();
        let at = |seconds| start + Duration::from_secs(seconds);
        health.observe(start, Vitals { sinks: 1, ..Vitals::default() });
        assert!(health.report(start).is_healthy());
        health.observe(at(10), Vitals { lost: 7, sinks: 1, ..Vitals::default() });
        let report = health.report(at(12));
        assert!(!report.is_healthy());
        let text = report.to_string();
        assert!(text.starts_with("unhealthy\nok    pipeline  answers\n"), "{text}");
        let line =
            "fail  ring      7 packets lost by the ring, the last 2 s ago; remedy: give the agent";
        assert!(text.contains(line), "{text}");
        health.observe(at(70), Vitals { lost: 7, sinks: 1, ..Vitals::default() });
        let report = health.report(at(70));
        assert!(report.is_healthy());
        assert!(report.to_string().contains("ok    ring      7 packets lost"), "{report}");
    }

    #[test]
    fn fails_if_spool_is_full_or_drops() {
        let (mut health, now) = health();
        let spooled = |spool_bytes, dropped| Vitals {
            spool_bytes,
            dropped: [("spool_full".to_owned(), dropped)].into(),
            sinks: 1,
            ..Vitals::default()
        };
        health.observe(now, spooled(SPOOL_MAX / 2, 0));
        assert_eq!(state(&health, now, "spool"), CheckState::Ok);
        health.observe(now, spooled(SPOOL_MAX / 16 * 15, 0));
        assert_eq!(state(&health, now, "spool"), CheckState::Fail);
        health.observe(now, spooled(SPOOL_MAX / 2, 1));
        assert_eq!(state(&health, now, "spool"), CheckState::Fail);
        assert_eq!(state(&health, now + DEFAULT_WINDOW, "spool"), CheckState::Ok);
        assert_eq!(state(&health, now, "delivery"), CheckState::Ok, "reported once");
    }

    #[test]
    fn warns_of_failed_sink_and_fails_without_sinks() {
        let (mut health, now) = health();
        let failed = |count: usize| Vitals {
            failures: (0..count)
                .map(|number| (format!("file_{number}"), Failure::Broken("disk full".into())))
                .collect(),
            sinks: 2,
            ..Vitals::default()
        };
        health.observe(now, failed(1));
        assert_eq!(state(&health, now, "sinks"), CheckState::Warn);
        assert!(health.report(now).is_healthy());
        health.observe(now, failed(2));
        let report = health.report(now);
        assert!(!report.is_healthy());
        assert!(report.to_string().contains("2 of 2 failed: file_0 (disk full)"), "{report}");
    }

    #[test]
    fn warns_of_full_queue() {
        let (mut health, now) = health();
        let mut counters = Counters::default();
        let lost = Kernel { lost_ring_full: 3, ..Kernel::default() };
        counters.kernel.insert("cgroup".into(), lost);
        let delivery =
            Delivery { dropped: [("queue_full".to_owned(), 5)].into(), ..Delivery::default() };
        let streams = [("transactions".to_owned(), delivery)].into();
        counters.delivery.insert("file".into(), streams);
        health.observe(now, Vitals::new(&counters, 0, (Vec::new(), 1)));
        assert_eq!(state(&health, now, "ring"), CheckState::Fail);
        assert_eq!(state(&health, now, "delivery"), CheckState::Warn);
        assert_eq!(state(&health, now, "spool"), CheckState::Ok);
    }
}
