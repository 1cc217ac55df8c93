//! Runs the detectors on the traffic of a node, with and without an incident, and compares alerts with the
//! incident.

use crate::benign::{DAY, Node, Profile};
use crate::event::{Event, Rng, seconds};
use crate::incidents::Incident;
use dnscribe_analysis::detect::{
    self, Alert, AlertState, DetectOptions, Detection, Entity, HostFacts, Rule, Severity,
};
use dnscribe_analysis::view::TransactionView;
use dnscribe_analysis::window::Windows;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::encrypted::ConnectionReport;
use std::collections::BTreeMap;
use std::time::Duration;

/// Interval between two calls of `expire`, as in the pipeline.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// Time for which windows accept late transactions: query timeout and a second.
const LATENESS: Duration = Duration::from_secs(6);
/// Seconds after the end of an incident in which an alert still counts.
const GRACE: f64 = 90.0;
/// Seconds of traffic that are generated at a time.
const PIECE: f64 = 60.0;

/// An alert, with the time when it was raised and its highest level.
#[derive(Clone, Debug)]
pub struct DetectedAlert {
    pub rule: Rule,
    pub entity: Entity,
    pub level: Severity,
    pub first: Timestamp,
    pub summary: String,
}

/// Windows and detection, and the alerts that they raised.
pub struct DetectorRun {
    windows: Windows,
    detection: Detection,
    next: Timestamp,
    newest: Timestamp,
    transactions: u64,
    alerts: Vec<DetectedAlert>,
    open: BTreeMap<(Rule, Entity), usize>,
}

impl DetectorRun {
    /// Creates the stages for a node with these resolvers.
    pub fn new(meant: &HostFacts) -> Self {
        let options = DetectOptions::default();
        let others = detect::create_detectors(&options, meant);
        Self {
            windows: Windows::new(Timestamp::default(), LATENESS),
            detection: Detection::new(options, others),
            next: Timestamp::default(),
            newest: Timestamp::default(),
            transactions: 0,
            alerts: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    /// Passes on a transaction that has ended.
    pub fn observe_event(&mut self, event: &Event) {
        let number = self.transactions;
        self.expire(event.ends_at());
        event.with_view(number, |observation| self.observe(observation));
    }

    pub fn observe(&mut self, observation: &TransactionView<'_>) {
        self.transactions += 1;
        self.detection.observe(observation);
        self.windows.observe(observation);
    }

    pub fn connection(&mut self, report: &ConnectionReport<'_>) {
        let resolver = report.connection.server.ip().to_string();
        self.detection.connection(report, &resolver);
    }

    /// Advances the time.
    pub fn expire(&mut self, now: Timestamp) {
        self.newest = self.newest.max(now);
        if now < self.next {
            return;
        }
        self.next = now.plus(EXPIRE_EVERY);
        let Self { windows, detection, alerts, open, .. } = self;
        windows.expire(now, &mut |span, groups| detection.window(span, groups));
        detection.expire(now, &mut |alert| record_alert(alert, alerts, open));
    }

    /// Ends the run. Returns the alerts and the number of transactions.
    pub fn end(mut self) -> (Vec<DetectedAlert>, u64) {
        let Self { windows, detection, alerts, open, newest, .. } = &mut self;
        windows.finish(*newest, &mut |span, groups| detection.window(span, groups));
        detection.finish(*newest, &mut |alert| record_alert(alert, alerts, open));
        (self.alerts, self.transactions)
    }
}

fn record_alert(
    alert: &Alert,
    alerts: &mut Vec<DetectedAlert>,
    open: &mut BTreeMap<(Rule, Entity), usize>,
) {
    let key = (alert.rule, alert.entity.clone());
    if alert.state == AlertState::Resolved {
        open.remove(&key);
        return;
    }
    if let Some(place) = open.get(&key) {
        let known = &mut alerts[*place];
        if alert.level > known.level {
            (known.level, known.summary) = (alert.level, alert.summary.clone());
        }
        return;
    }
    open.insert(key, alerts.len());
    let Alert { rule, level, ts, .. } = *alert;
    let (entity, summary) = (alert.entity.clone(), alert.summary.clone());
    alerts.push(DetectedAlert { rule, entity, level, first: ts, summary });
}

/// A node's traffic in the order in which transactions end.
struct Traffic {
    node: Node,
    waiting: Vec<Event>,
}

impl Traffic {
    /// Generates a piece of traffic, changes it, and passes on the transactions that end before the piece does.
    fn advance(&mut self, at: f64, change: impl FnOnce(&mut Vec<Event>), watch: &mut DetectorRun) {
        let begun = self.waiting.len();
        self.node.generate(at, at + PIECE, &mut self.waiting);
        let mut new = self.waiting.split_off(begun);
        change(&mut new);
        self.waiting.append(&mut new);
        self.waiting.sort_by_key(Event::ends_at);
        let end = seconds(at + PIECE);
        let ended = self.waiting.partition_point(|event| event.ends_at() < end);
        self.waiting.drain(..ended).for_each(|event| watch.observe_event(&event));
        watch.expire(end);
    }
}

/// Runs some days of a node without incident. Returns alerts and number of transactions.
pub fn run_quiet_node(
    profile: Profile,
    seed: u64,
    days: f64,
    meant: &HostFacts,
) -> (Vec<DetectedAlert>, u64) {
    let mut traffic = Traffic { node: Node::new(profile, seed), waiting: Vec::new() };
    let mut watch = DetectorRun::new(meant);
    let mut at = DAY;
    while at < DAY * (1.0 + days) {
        traffic.advance(at, |_| (), &mut watch);
        at += PIECE;
    }
    watch.end()
}

/// Result of an incident in a node's traffic.
pub struct IncidentResult {
    /// Seconds until the first alert, and the highest level; `None` if it was missed.
    pub found: Option<(f64, Severity)>,
    /// Alerts that the incident does not explain.
    pub false_alerts: Vec<DetectedAlert>,
    pub transactions: u64,
}

/// Runs an incident on a node.
pub fn run_incident(incident: &Incident, seed: u64, meant: &HostFacts) -> IncidentResult {
    let mut rng = Rng::new(seed);
    let profile = incident.profile.unwrap_or_else(|| *rng.pick(&Profile::ALL));
    // At any hour of a week; incidents that alter other traffic, in working hours.
    let hour = match incident.alter {
        Some(_) => rng.below(5) * 24 + 10 + rng.below(7),
        None => rng.below(168),
    };
    let base = DAY * 7.0 + 3600.0 * f64::from(u32::try_from(hour).unwrap_or(0));
    let mut traffic = Traffic { node: Node::new(profile, seed ^ 0xBEEF), waiting: Vec::new() };
    let mut watch = DetectorRun::new(meant);
    let shift = seconds(base);
    let shifted = |event: &Event| {
        let at = shift.plus(event.at.since(Timestamp::default()));
        Event { at, ..event.clone() }
    };
    let mut own: Vec<Event> = incident.events.iter().map(shifted).collect();
    own.sort_by_key(|event| event.at);
    let mut own = own.into_iter().peekable();
    let lasts = seconds(base + incident.from)..seconds(base + incident.to);
    let mut at = base;
    while at < base + incident.to + GRACE {
        let end = seconds(at + PIECE);
        let happen = |events: &mut Vec<Event>| {
            if let Some(alter) = &incident.alter {
                for event in events.iter_mut().filter(|event| lasts.contains(&event.at)) {
                    alter(event, event.at.since(lasts.start).as_secs_f64(), &mut rng);
                }
            }
            events.extend(std::iter::from_fn(|| own.next_if(|event| event.at < end)));
        };
        traffic.advance(at, happen, &mut watch);
        at += PIECE;
    }
    let (all, transactions) = watch.end();
    let mut result = IncidentResult { found: None, false_alerts: Vec::new(), transactions };
    for found in all {
        if found.rule == incident.rule && concerns(&incident.entity, &found.entity) {
            if found.first < lasts.start {
                continue;
            }
            let took = found.first.since(lasts.start).as_secs_f64();
            let (soonest, worst) = result.found.unwrap_or((took, found.level));
            result.found = Some((soonest.min(took), worst.max(found.level)));
        } else if !incident.explains(found.rule) {
            result.false_alerts.push(found);
        }
    }
    result
}

/// Whether an alert names every part of the expected entity.
fn concerns(expected: &Entity, found: &Entity) -> bool {
    let same = |expected: &Option<Box<str>>, found: &Option<Box<str>>| {
        expected.is_none() || expected == found
    };
    same(&expected.process, &found.process)
        && same(&expected.client, &found.client)
        && same(&expected.zone, &found.zone)
        && same(&expected.resolver, &found.resolver)
}
