//! Health of the agent, as `/healthz` reports it: the pipeline and what the kernel lost, then the sinks.

use dnscribe_admin::health::{
    Check, CheckState, DeliveryHealth, DeliveryVitals, HealthReport, LossCounter,
};
use dnscribe_delivery::Failure;
use dnscribe_record::ledger::Counters;
use std::time::{Duration, Instant};

/// Numbers that the checks are based on.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// Packets lost because the ring was full.
    pub lost: u64,
    /// Whether only servers report packets, so that there is no ring.
    pub is_dnstap_only: bool,
    /// Packets left out by sampling.
    pub sampled: u64,
    /// Numbers of the sinks.
    pub delivery: DeliveryVitals,
}

impl Vitals {
    /// Collects the numbers from the ledger's counters. `failures` are the failed sinks and the number of
    /// all sinks.
    #[must_use]
    pub fn new(
        counters: &Counters,
        spool_bytes: u64,
        failures: (Vec<(String, Failure)>, usize),
    ) -> Self {
        Self {
            lost: counters.kernel.values().map(|kernel| kernel.lost_ring_full).sum(),
            is_dnstap_only: counters.kernel.keys().eq(["dnstap"]),
            sampled: counters.kernel.values().map(|kernel| kernel.sampled_out).sum(),
            delivery: DeliveryVitals::new(&counters.delivery, spool_bytes, failures),
        }
    }
}

/// State of the checks: remembers losses and their times.
#[derive(Debug)]
pub struct Health {
    window: Duration,
    lost: LossCounter,
    is_dnstap_only: bool,
    sampled: LossCounter,
    delivery: DeliveryHealth,
}

impl Health {
    /// Creates a state without losses. A loss counts for `window`; `spool_max` is the capacity of a
    /// spool in bytes, if there is one.
    #[must_use]
    pub fn new(window: Duration, spool_max: Option<u64>) -> Self {
        let (lost, is_dnstap_only, sampled) = Default::default();
        let delivery = DeliveryHealth::new("agent", window, spool_max);
        Self { window, lost, is_dnstap_only, sampled, delivery }
    }

    /// Adds the numbers of a moment.
    pub fn observe(&mut self, now: Instant, vitals: Vitals) {
        self.lost.observe(now, vitals.lost);
        self.is_dnstap_only = vitals.is_dnstap_only;
        self.sampled.observe(now, vitals.sampled);
        self.delivery.observe(now, vitals.delivery);
    }

    /// Returns the results at `now`.
    #[must_use]
    pub fn report(&self, now: Instant) -> HealthReport {
        let (lost, more_cpu) = if self.is_dnstap_only {
            ("frames of dnstap lost", "give the agent more CPU")
        } else {
            let remedy = "give the agent more CPU, or increase capture.ring_bytes";
            ("packets lost by the ring", remedy)
        };
        let ring = self.lost.check(now, self.window, CheckState::Fail, lost);
        let sampling =
            self.sampled.check(now, self.window, CheckState::Warn, "packets left out by sampling");
        let mut report = HealthReport::of_pipeline(CheckState::Ok, "answers");
        report.0.push(Check::new("ring", ring, more_cpu));
        let exact = "give the agent more CPU; totals are exact nevertheless";
        report.0.push(Check::new("sampling", sampling, exact));
        report.0.extend(self.delivery.checks(now));
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_record::ledger::{Delivery, Kernel};

    const SPOOL_MAX: u64 = 1 << 20;

    const WINDOW: Duration = Duration::from_mins(1);

    fn health() -> (Health, Instant) {
        (Health::new(WINDOW, Some(SPOOL_MAX)), Instant::now())
    }

    fn lost(lost: u64) -> Vitals {
        let delivery = DeliveryVitals { sinks: 1, ..DeliveryVitals::default() };
        Vitals { lost, delivery, ..Vitals::default() }
    }

    fn state(health: &Health, now: Instant, name: &str) -> CheckState {
        let report = health.report(now);
        report.0.iter().find(|check| check.name == name).unwrap().state
    }

    #[test]
    fn loss_counts_for_window() {
        let (mut health, start) = health();
        let at = |seconds| start + Duration::from_secs(seconds);
        health.observe(start, lost(0));
        assert!(health.report(start).is_healthy());
        health.observe(at(10), lost(7));
        let report = health.report(at(12));
        assert!(!report.is_healthy());
        let text = report.to_string();
        assert!(text.starts_with("unhealthy\nok    pipeline  answers\n"), "{text}");
        let line =
            "fail  ring      7 packets lost by the ring, the last 2 s ago; remedy: give the agent";
        assert!(text.contains(line), "{text}");
        health.observe(at(70), lost(7));
        let report = health.report(at(70));
        assert!(report.is_healthy());
        assert!(report.to_string().contains("ok    ring      7 packets lost"), "{report}");
    }

    #[test]
    fn without_a_ring_no_larger_one_helps() {
        for (hooks, has_ring) in [(&["dnstap"][..], false), (&["cgroup", "dnstap"], true)] {
            let (mut health, now) = health();
            let mut counters = Counters::default();
            for hook in hooks {
                let lost = Kernel { lost_ring_full: 3, ..Kernel::default() };
                counters.kernel.insert((*hook).to_owned(), lost);
            }
            health.observe(now, Vitals::new(&counters, 0, (Vec::new(), 1)));
            let text = health.report(now).to_string();
            assert_eq!(text.contains("ring_bytes"), has_ring, "{text}");
        }
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
