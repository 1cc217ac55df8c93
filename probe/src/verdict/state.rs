//! Last results of the targets of a service, and which of their failures last.

use super::RuleOptions;
use super::rule::Figure;
use crate::failure::SOURCE_ADDRESS;
use crate::measure::Round;
use crate::target::Target;
use dnscribe_baseline::{Baseline, LearnedBaseline};
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, ProbeFields};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most results remembered of a measurement.
const MAX_RESULTS: usize = 64;
/// Least number of results from which a ratio of failures is computed.
const MIN_RESULTS: usize = 3;

/// Smallest deviation of a time that is assumed, in milliseconds.
const MIN_DEVIATION_MS: f64 = 1.0;

/// Time that a good measurement took, by the stage that says most of its kind, with the name of the field.
fn latency(fields: &ProbeFields) -> Option<(&'static str, f64)> {
    let (name, value) = match fields.kind.as_str() {
        "tcp" => ("connect_ms", fields.connect_ms),
        "tls" => ("handshake_ms", fields.handshake_ms),
        "http" => ("ttfb_ms", fields.ttfb_ms),
        "ping" => ("rtt_ms", fields.rtt_ms),
        _ => ("latency_ms", fields.latency_ms),
    };
    value.filter(|_| fields.ok).map(|value| (name, value))
}

/// A measurement of a target: of one resolver, nameserver or address.
#[derive(Clone, Debug)]
pub(super) struct Measurement {
    /// What was measured.
    pub(super) target: Arc<Target>,
    /// The last result; the last failure while it is failing.
    pub(super) fields: ProbeFields,
    /// Id of its record.
    pub(super) event_id: Option<EventId>,
    /// Time at which this result was measured.
    pub(super) at: Timestamp,
    /// Time of the last round.
    pub(super) measured: Timestamp,
    /// Whether failures last.
    pub(super) failing: bool,
    /// Time of the first failure of those that last, else of the last result.
    pub(super) since: Timestamp,
    /// Whether the resolvers have disagreed, in as many rounds as a failure needs.
    pub(super) differing: bool,
    /// Time that it took and what is usual, while it has been far slower for as many rounds as a failure
    /// needs.
    pub(super) slow: Option<Figure>,
    /// Rounds of an `authority` target since the last one that had this measurement.
    missed: usize,
    latency: LearnedBaseline,
    results: VecDeque<MeasuredResult>,
}

#[derive(Clone, Copy, Debug)]
struct MeasuredResult {
    at: Timestamp,
    ok: bool,
    differs: bool,
    slow: bool,
}

impl Measurement {
    fn new(target: &Arc<Target>, at: Timestamp) -> Self {
        Self {
            target: Arc::clone(target),
            fields: ProbeFields::default(),
            event_id: None,
            at,
            measured: at,
            failing: false,
            since: at,
            differing: false,
            slow: None,
            missed: 0,
            latency: LearnedBaseline::default(),
            results: VecDeque::new(),
        }
    }

    /// Adds the result of a round.
    fn add(
        &mut self,
        rules: &RuleOptions,
        at: Timestamp,
        fields: &ProbeFields,
        id: Option<EventId>,
    ) {
        (self.measured, self.missed) = (at, 0);
        let differs = !fields.differs_from.is_empty();
        let slow = latency(fields).and_then(|(name, value)| self.learn(rules, at, name, value));
        let result = MeasuredResult { at, ok: fields.ok, differs, slow: slow.is_some() };
        self.results.push_back(result);
        let is_old = |one: &MeasuredResult, count: usize| {
            at.since(one.at) > rules.window && count > rules.rounds
        };
        while self.results.len() > MAX_RESULTS.max(rules.rounds)
            || self.results.front().is_some_and(|one| is_old(one, self.results.len()))
        {
            self.results.pop_front();
        }
        let lasts = |what: fn(&MeasuredResult) -> bool| {
            let last = self.results.iter().rev().take(rules.rounds);
            last.clone().count() == rules.rounds && last.clone().all(what)
        };
        self.differing = lasts(|one| one.differs);
        self.slow = match slow {
            Some(_) if self.slow.is_some() || lasts(|one| one.slow) => slow,
            Some(_) => None,
            None => self.slow.filter(|_| !lasts(|one| !one.slow)),
        };
        if self.failing {
            self.failing = !lasts(|one| one.ok);
        } else if !fields.ok {
            let many = self.results.len() >= MIN_RESULTS && self.failure_ratio() >= rules.ratio;
            self.failing = many || lasts(|one| !one.ok);
            let first = self.results.iter().rev().take_while(|one| !one.ok).last();
            let of_window = self.results.iter().find(|one| !one.ok);
            self.since = if many { of_window } else { first }.map_or(at, |one| one.at);
        }
        if !self.failing && fields.ok {
            self.since = at;
        }
        if !self.failing || !fields.ok {
            self.fields = fields.clone();
            self.event_id = id;
            self.at = at;
        }
    }

    /// Learns the time that a good result took. Returns it if it is far above what is usual.
    fn learn(
        &mut self,
        rules: &RuleOptions,
        at: Timestamp,
        name: &'static str,
        value: f64,
    ) -> Option<Figure> {
        let mean = self.latency.mean();
        let floor = MIN_DEVIATION_MS.max(mean / 10.0);
        let compared = self.latency.compare(at, value, floor);
        let is_slow = |known: &Baseline| {
            known.z >= rules.latency_z_score && value >= 2.0 * known.mean + MIN_DEVIATION_MS
        };
        let slow = compared.filter(is_slow);
        self.latency.learn(at, value, floor, slow.is_some());
        slow.map(|baseline| Figure { name, value, threshold: None, baseline: Some(baseline) })
    }

    /// Ratio of failures in the window.
    pub(super) fn failure_ratio(&self) -> f64 {
        let failures = self.results.iter().filter(|one| !one.ok).count();
        to_f64(failures as u64) / to_f64(self.results.len().max(1) as u64)
    }

    /// Stage and reason of the failure; empty if the target is as it should be.
    pub(super) fn error(&self) -> (&str, &str) {
        let error = self.fields.error.as_ref();
        error.map_or(("", ""), |error| (error.stage.as_str(), error.reason.as_str()))
    }

    fn is_of(&self, fields: &ProbeFields) -> bool {
        let part = |fields: &ProbeFields| (fields.resolver.clone(), fields.nameserver.clone());
        // The address of other kinds is the one that was connected to, which may change.
        part(&self.fields) == part(fields)
            && (fields.nameserver.is_none() || self.fields.address == fields.address)
    }
}

/// Last results of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceState {
    targets: Vec<(Arc<Target>, Vec<Measurement>)>,
}

impl ServiceState {
    /// Replaces the targets, and keeps the results of those that stay as they are.
    pub(super) fn set_targets(&mut self, targets: &[Arc<Target>]) {
        let mut old = std::mem::take(&mut self.targets);
        self.targets = targets
            .iter()
            .map(|target| {
                let same = old.iter_mut().find(|(other, _)| other == target);
                (
                    Arc::clone(target),
                    same.map(|(_, found)| std::mem::take(found)).unwrap_or_default(),
                )
            })
            .collect();
    }

    /// Adds a round. `ids`: those of its records, in their order. Rounds of other targets, and skipped
    /// ones, are ignored.
    pub(super) fn add(&mut self, rules: &RuleOptions, round: &Round, ids: &[EventId]) {
        let of_round = |(target, _): &&mut (Arc<Target>, _)| *target == round.target;
        let Some((target, known)) = self.targets.iter_mut().find(of_round) else { return };
        if round.found.is_empty() {
            return;
        }
        let mut old = std::mem::take(known);
        for (index, fields) in round.found.iter().enumerate() {
            let same = old.iter().position(|one| one.is_of(fields));
            // What could not be measured from here says nothing.
            if fields.error.as_ref().is_some_and(|error| error.reason == SOURCE_ADDRESS) {
                known.extend(same.map(|position| old.swap_remove(position)));
                continue;
            }
            let mut one = match same {
                Some(position) => old.swap_remove(position),
                None => Measurement::new(target, round.start),
            };
            one.add(rules, round.start, fields, ids.get(index).copied());
            known.push(one);
        }
        // Nameservers and their addresses are found by each round. One that was not asked has not recovered.
        for mut one in old.into_iter().filter(|one| !one.fields.ok) {
            let is_unknown = round.found.iter().any(|fields| {
                let is_own = fields.nameserver == one.fields.nameserver;
                fields.nameserver.is_none() || is_own && fields.address.is_none()
            });
            one.missed += usize::from(!is_unknown);
            let is_kept = is_unknown || one.failing && one.missed < rules.rounds;
            if is_kept && one.fields.kind == "authority" {
                known.push(one);
            }
        }
    }

    /// The measurements, in the order of the targets.
    pub(super) fn measurements(&self) -> Vec<&Measurement> {
        self.targets.iter().flat_map(|(_, found)| found).collect()
    }
}
