//! Whether all is well: what `/healthz` says.
//!
//! A pure state machine: it is shown the agent's vital signs now and then, remembers when something
//! was last lost, and says for how long that still counts.

#![forbid(unsafe_code)]

use crate::ledger::{Counters, Reasons};
use crate::sink::Failure;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long a loss counts unless told otherwise.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Share of the spool's octets from which it counts as full: it is emptied by whole segments, of a
/// sixteenth at most.
const FULL_PERCENT: u64 = 90;

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// Packets for which the ring had no room.
    pub lost: u64,
    /// Packets that were left out by sampling.
    pub sampled: u64,
    /// Records dropped by the sinks, by reason.
    pub dropped: Reasons,
    /// Octets in the spool that has the most.
    pub spool_bytes: u64,
    /// The sinks that have failed for good.
    pub failures: Vec<(String, Failure)>,
    /// How many sinks there are.
    pub sinks: usize,
}

impl Vitals {
    /// Those of these counters; of the sinks that have failed, and how many there are in all.
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

    /// Records that a spool gave up, then those that were dropped for other reasons.
    fn dropped(&self) -> (u64, u64) {
        let of_spool = |reason: &str| reason.starts_with("spool_");
        let sum = |wanted: bool| {
            let counts = self.dropped.iter().filter(|(reason, _)| of_spool(reason) == wanted);
            counts.map(|(_, count)| count).sum()
        };
        (sum(true), sum(false))
    }
}

/// A count that should not rise.
#[derive(Clone, Copy, Debug, Default)]
struct Rise {
    total: u64,
    /// When it was seen to rise last.
    last: Option<Instant>,
}

impl Rise {
    fn observe(&mut self, now: Instant, total: u64) {
        if total > self.total {
            self.last = Some(now);
        }
        self.total = total;
    }

    /// How the check goes, and what to say of so many of something.
    fn judge(&self, now: Instant, window: Duration, bad: State, what: &str) -> (State, String) {
        let Some(last) = self.last else { return (State::Ok, format!("no {what}")) };
        let ago = now.saturating_duration_since(last);
        let state = if ago < window { bad } else { State::Ok };
        (state, format!("{} {what}, the last {} s ago", self.total, ago.as_secs()))
    }
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Somebody should look, and the agent does what it can.
    Warn,
    /// The agent does not do what it is there for.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What, in a word.
    pub name: &'static str,
    /// How it went.
    pub state: State,
    /// What was found, with the remedy where it is not as it should be.
    pub detail: String,
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<Check>);

impl Report {
    /// A report of the pipeline alone.
    #[must_use]
    pub fn of_pipeline(state: State, detail: &str) -> Self {
        Self(vec![Check { name: "pipeline", state, detail: detail.to_owned() }])
    }

    /// Whether no check failed.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.iter().all(|check| check.state != State::Fail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", if self.is_healthy() { "ok" } else { "unhealthy" })?;
        for Check { name, state, detail } in &self.0 {
            let state = match state {
                State::Ok => "ok",
                State::Warn => "warn",
                State::Fail => "fail",
            };
            writeln!(f, "{state:<4}  {name:<8}  {detail}")?;
        }
        Ok(())
    }
}

/// Remembers what went wrong, and when.
#[derive(Debug)]
pub struct Health {
    window: Duration,
    spool_max: Option<u64>,
    lost: Rise,
    sampled: Rise,
    spool: Rise,
    delivery: Rise,
    vitals: Vitals,
}

impl Health {
    /// Nothing has gone wrong yet. A loss counts for `window`; `spool_max` are the octets that a
    /// spool may have, where there is one.
    #[must_use]
    pub fn new(window: Duration, spool_max: Option<u64>) -> Self {
        let (lost, sampled, spool, delivery) = Default::default();
        Self { window, spool_max, lost, sampled, spool, delivery, vitals: Vitals::default() }
    }

    /// Takes the vital signs of a moment.
    pub fn observe(&mut self, now: Instant, vitals: Vitals) {
        let (by_spool, otherwise) = vitals.dropped();
        self.lost.observe(now, vitals.lost);
        self.sampled.observe(now, vitals.sampled);
        self.spool.observe(now, by_spool);
        self.delivery.observe(now, otherwise);
        self.vitals = vitals;
    }

    /// How it stands at `now`.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let pipeline = (State::Ok, "answers".to_owned());
        let delivery =
            self.delivery.judge(now, self.window, State::Warn, "records dropped by the sinks");
        let sampling =
            self.sampled.judge(now, self.window, State::Warn, "packets left out by sampling");
        let all = [
            ("pipeline", pipeline, ""),
            ("ring", self.ring(now), "more CPU for the agent, or a larger capture.ring_bytes"),
            ("sampling", sampling, "more CPU for the agent; totals are exact all the same"),
            ("spool", self.spool(now), "see why Kafka is away; or a larger spool.max_bytes"),
            ("sinks", self.sinks(), "see the log, then start the agent anew"),
            ("delivery", delivery, "see dnscribe_dropped_total{stage=\"delivery\"} for the reason"),
        ];
        let checks = all.into_iter().map(|(name, (state, detail), remedy)| {
            let remedy =
                if state == State::Ok { String::new() } else { format!("; remedy: {remedy}") };
            Check { name, state, detail: format!("{detail}{remedy}") }
        });
        Report(checks.collect())
    }

    fn ring(&self, now: Instant) -> (State, String) {
        self.lost.judge(now, self.window, State::Fail, "packets lost by the ring")
    }

    fn spool(&self, now: Instant) -> (State, String) {
        let Some(most) = self.spool_max else { return (State::Ok, "there is none".to_owned()) };
        let (state, dropped) =
            self.spool.judge(now, self.window, State::Fail, "records dropped by the spool");
        let bytes = self.vitals.spool_bytes;
        let full = bytes >= most / 100 * FULL_PERCENT;
        let state = if full { State::Fail } else { state };
        let full = if full { ", full" } else { "" };
        (state, format!("{bytes} of {most} octets{full}; {dropped}"))
    }

    fn sinks(&self) -> (State, String) {
        let Vitals { failures, sinks, .. } = &self.vitals;
        let state = match failures.len() {
            0 => return (State::Ok, "none has failed".to_owned()),
            failed if failed < *sinks => State::Warn,
            _ => State::Fail,
        };
        let why = failures.iter().map(|(name, failure)| match failure {
            Failure::PipeClosed => format!("{name} (its reader has gone)"),
            Failure::Broken(why) => format!("{name} ({why})"),
        });
        let why = why.collect::<Vec<_>>().join(", ");
        (state, format!("{} of {sinks} failed: {why}", failures.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Delivery, Kernel};

    const SPOOL_MAX: u64 = 1 << 20;

    fn health() -> (Health, Instant) {
        (Health::new(WINDOW, Some(SPOOL_MAX)), Instant::now())
    }

    fn state(health: &Health, now: Instant, name: &str) -> State {
        let report = health.report(now);
        report.0.iter().find(|check| check.name == name).unwrap().state
    }

    #[test]
    fn a_loss_counts_for_a_while() {
        let (mut health, start) = health();
        let at = |seconds| start + Duration::from_secs(seconds);
        health.observe(start, Vitals { sinks: 1, ..Vitals::default() });
        assert!(health.report(start).is_healthy());
        health.observe(at(10), Vitals { lost: 7, sinks: 1, ..Vitals::default() });
        let report = health.report(at(12));
        assert!(!report.is_healthy());
        let text = report.to_string();
        assert!(text.starts_with("unhealthy\nok    pipeline  answers\n"), "{text}");
        let line = "fail  ring      7 packets lost by the ring, the last 2 s ago; remedy: more CPU";
        assert!(text.contains(line), "{text}");
        health.observe(at(70), Vitals { lost: 7, sinks: 1, ..Vitals::default() });
        let report = health.report(at(70));
        assert!(report.is_healthy());
        assert!(report.to_string().contains("ok    ring      7 packets lost"), "{report}");
    }

    #[test]
    fn a_spool_is_bad_when_full_and_when_it_drops() {
        let (mut health, now) = health();
        let spooled = |spool_bytes, dropped| Vitals {
            spool_bytes,
            dropped: [("spool_full".to_owned(), dropped)].into(),
            sinks: 1,
            ..Vitals::default()
        };
        health.observe(now, spooled(SPOOL_MAX / 2, 0));
        assert_eq!(state(&health, now, "spool"), State::Ok);
        health.observe(now, spooled(SPOOL_MAX / 16 * 15, 0));
        assert_eq!(state(&health, now, "spool"), State::Fail);
        health.observe(now, spooled(SPOOL_MAX / 2, 1));
        assert_eq!(state(&health, now, "spool"), State::Fail);
        assert_eq!(state(&health, now + WINDOW, "spool"), State::Ok);
        assert_eq!(state(&health, now, "delivery"), State::Ok, "told once");
    }

    #[test]
    fn one_sink_less_is_a_warning_and_none_a_failure() {
        let (mut health, now) = health();
        let failed = |count: usize| Vitals {
            failures: (0..count)
                .map(|number| (format!("file_{number}"), Failure::Broken("disk full".into())))
                .collect(),
            sinks: 2,
            ..Vitals::default()
        };
        health.observe(now, failed(1));
        assert_eq!(state(&health, now, "sinks"), State::Warn);
        assert!(health.report(now).is_healthy());
        health.observe(now, failed(2));
        let report = health.report(now);
        assert!(!report.is_healthy());
        assert!(report.to_string().contains("2 of 2 failed: file_0 (disk full)"), "{report}");
    }

    #[test]
    fn a_full_queue_is_a_warning() {
        let (mut health, now) = health();
        let mut counters = Counters::default();
        let lost = Kernel { lost_ring_full: 3, ..Kernel::default() };
        counters.kernel.insert("cgroup".into(), lost);
        let delivery =
            Delivery { dropped: [("queue_full".to_owned(), 5)].into(), ..Delivery::default() };
        let streams = [("transactions".to_owned(), delivery)].into();
        counters.delivery.insert("file".into(), streams);
        health.observe(now, Vitals::new(&counters, 0, (Vec::new(), 1)));
        assert_eq!(state(&health, now, "ring"), State::Fail);
        assert_eq!(state(&health, now, "delivery"), State::Warn);
        assert_eq!(state(&health, now, "spool"), State::Ok);
    }
}
