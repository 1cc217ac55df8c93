//! Health checks, as `/healthz` reports them, and those that every program has which delivers records.
//!
//! A pure state machine: it is given numbers from time to time, remembers when something was last lost, and
//! keeps reporting a loss for a configured time.

use dnscribe_delivery::Failure;
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Percentage of the spool's capacity from which it counts as full: it is emptied in segments of up
/// to a sixteenth.
const FULL_PERCENT: u64 = 90;

/// A count that should not increase.
#[derive(Clone, Copy, Debug, Default)]
pub struct LossCounter {
    total: u64,
    /// Time of the last increase.
    last: Option<Instant>,
}

impl LossCounter {
    /// Adds the count of a moment.
    pub fn observe(&mut self, now: Instant, total: u64) {
        if total > self.total {
            self.last = Some(now);
        }
        self.total = total;
    }

    /// Returns the result of a check of `what`, which is `bad` for `window` after an increase.
    #[must_use]
    pub fn check(&self, now: Instant, window: Duration, bad: CheckState, what: &str) -> Finding {
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
    /// Needs attention; the program still works.
    Warn,
    /// The program does not work as intended.
    Fail,
}

/// Result of a check, with its details.
pub type Finding = (CheckState, String);

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

impl Check {
    /// Creates a check from what it found. `remedy` is added to the details unless all is fine.
    #[must_use]
    pub fn new(name: &'static str, (state, mut detail): Finding, remedy: &str) -> Self {
        if state != CheckState::Ok {
            detail.extend(["; remedy: ", remedy]);
        }
        Self { name, state, detail }
    }
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

/// Numbers of the sinks that the checks are based on.
#[derive(Clone, Debug, Default)]
pub struct DeliveryVitals {
    /// Records dropped by spools.
    pub dropped_by_spool: u64,
    /// Records dropped by the sinks for other reasons.
    pub dropped: u64,
    /// Bytes in the fullest spool.
    pub spool_bytes: u64,
    /// Sinks that failed permanently.
    pub failures: Vec<(String, Failure)>,
    /// Number of sinks.
    pub sinks: usize,
}

impl DeliveryVitals {
    /// Collects the numbers from the counters of all sinks. `failures` are the failed sinks, `sinks` the
    /// number of all sinks.
    #[must_use]
    pub fn new(
        delivery: &BTreeMap<String, BTreeMap<String, Delivery>>,
        spool_bytes: u64,
        (failures, sinks): (Vec<(String, Failure)>, usize),
    ) -> Self {
        let mut vitals = Self { spool_bytes, failures, sinks, ..Self::default() };
        let streams = delivery.values().flat_map(BTreeMap::values);
        for (reason, count) in streams.flat_map(|stream| &stream.dropped) {
            if reason.starts_with("spool_") {
                vitals.dropped_by_spool += count;
            } else {
                vitals.dropped += count;
            }
        }
        vitals
    }
}

/// State of the checks of sinks and spools: remembers losses and their times.
#[derive(Debug)]
pub struct DeliveryHealth {
    program: &'static str,
    window: Duration,
    spool_max: Option<u64>,
    spool: LossCounter,
    delivery: LossCounter,
    vitals: DeliveryVitals,
}

impl DeliveryHealth {
    /// Creates a state without losses. `program` is what an operator would restart, such as `agent`. A loss
    /// counts for `window`; `spool_max` is the capacity of a spool in bytes, if there is one.
    #[must_use]
    pub fn new(program: &'static str, window: Duration, spool_max: Option<u64>) -> Self {
        let (spool, delivery, vitals) = Default::default();
        Self { program, window, spool_max, spool, delivery, vitals }
    }

    /// Adds the numbers of a moment.
    pub fn observe(&mut self, now: Instant, vitals: DeliveryVitals) {
        self.spool.observe(now, vitals.dropped_by_spool);
        self.delivery.observe(now, vitals.dropped);
        self.vitals = vitals;
    }

    /// Returns the results of the checks `spool`, `sinks` and `delivery` at `now`.
    #[must_use]
    pub fn checks(&self, now: Instant) -> [Check; 3] {
        let dropped =
            self.delivery.check(now, self.window, CheckState::Warn, "records dropped by the sinks");
        let restart = format!("see the log, then restart the {}", self.program);
        let reason = "see dnscribe_dropped_records_total for the reason";
        [
            Check::new(
                "spool",
                self.spool(now),
                "make Kafka reachable, or increase spool.max_bytes",
            ),
            Check::new("sinks", self.sinks(), &restart),
            Check::new("delivery", dropped, reason),
        ]
    }

    fn spool(&self, now: Instant) -> Finding {
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

    fn sinks(&self) -> Finding {
        let DeliveryVitals { failures, sinks, .. } = &self.vitals;
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

    const SPOOL_MAX: u64 = 1 << 20;
    const WINDOW: Duration = Duration::from_mins(1);

    fn health() -> (DeliveryHealth, Instant) {
        (DeliveryHealth::new("agent", WINDOW, Some(SPOOL_MAX)), Instant::now())
    }

    fn report(health: &DeliveryHealth, now: Instant) -> HealthReport {
        HealthReport(health.checks(now).into())
    }

    fn state(health: &DeliveryHealth, now: Instant, name: &str) -> CheckState {
        let report = report(health, now);
        report.0.iter().find(|check| check.name == name).unwrap().state
    }

    #[test]
    fn fails_if_spool_is_full_or_drops() {
        let (mut health, now) = health();
        let spooled = |spool_bytes, dropped| {
            let dropped = [("spool_full".to_owned(), dropped)].into();
            let streams = [("dlq".to_owned(), Delivery { dropped, ..Delivery::default() })].into();
            DeliveryVitals::new(
                &[("kafka".to_owned(), streams)].into(),
                spool_bytes,
                (Vec::new(), 1),
            )
        };
        health.observe(now, spooled(SPOOL_MAX / 2, 0));
        assert_eq!(state(&health, now, "spool"), CheckState::Ok);
        health.observe(now, spooled(SPOOL_MAX / 16 * 15, 0));
        assert_eq!(state(&health, now, "spool"), CheckState::Fail);
        health.observe(now, spooled(SPOOL_MAX / 2, 1));
        assert_eq!(state(&health, now, "spool"), CheckState::Fail);
        assert_eq!(state(&health, now + WINDOW, "spool"), CheckState::Ok);
        assert_eq!(state(&health, now, "delivery"), CheckState::Ok, "reported once");
    }

    #[test]
    fn warns_of_failed_sink_and_fails_without_sinks() {
        let (mut health, now) = health();
        let failed = |count: usize| DeliveryVitals {
            failures: (0..count)
                .map(|number| (format!("file_{number}"), Failure::Broken("disk full".into())))
                .collect(),
            sinks: 2,
            ..DeliveryVitals::default()
        };
        health.observe(now, failed(1));
        assert_eq!(state(&health, now, "sinks"), CheckState::Warn);
        assert!(report(&health, now).is_healthy());
        health.observe(now, failed(2));
        let report = report(&health, now);
        assert!(!report.is_healthy());
        assert!(report.to_string().contains("2 of 2 failed: file_0 (disk full)"), "{report}");
    }
}
