//! Who found what, and when.

use crate::benign::{DAY, Node, Profile};
use crate::event::{Chance, Event, seconds};
use crate::incidents::Incident;
use dnscribe::detect::{Detector, Entity, Finding, Level, Rule};
use dnscribe::observation::Observation;
use dnscribe::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Detectors are asked this often.
const EVERY: Duration = Duration::from_secs(10);
/// A finding that was away for so long is another one.
const AWAY: Duration = Duration::from_secs(600);
/// Seconds that an incident may take to be found after its end.
const GRACE: f64 = 60.0;
/// Seconds of a node's traffic that are made at a time.
const PIECE: f64 = 60.0;

/// Something that was found, from its first time to its last.
#[derive(Clone, Debug)]
pub struct Found {
    pub rule: Rule,
    pub entity: Entity,
    pub level: Level,
    pub first: Timestamp,
    pub last: Timestamp,
    pub summary: String,
}

/// All detectors, and what they found.
pub struct Watch {
    detectors: Vec<Box<dyn Detector>>,
    next: Option<Timestamp>,
    newest: Timestamp,
    taken: u64,
    open: BTreeMap<(Rule, Entity), Found>,
    over: Vec<Found>,
}

impl Watch {
    pub fn new(detectors: Vec<Box<dyn Detector>>) -> Self {
        Self {
            detectors,
            next: None,
            newest: Timestamp::default(),
            taken: 0,
            open: BTreeMap::new(),
            over: Vec::new(),
        }
    }

    pub fn take(&mut self, event: &Event) {
        self.taken += 1;
        let number = self.taken;
        event.observed(number, |observation| self.observe(observation));
    }

    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.turn(observation.ts);
        self.detectors.iter_mut().for_each(|detector| detector.observe(observation));
    }

    pub fn connection(&mut self, report: &dnscribe::connection::Report<'_>) {
        let resolver = report.connection.server.ip().to_string();
        self.turn(report.connection.last);
        self.detectors.iter_mut().for_each(|detector| detector.connection(report, &resolver));
    }

    /// All that was found, and how many transactions were looked at.
    pub fn end(mut self) -> (Vec<Found>, u64) {
        self.ask(self.newest.plus(EVERY));
        self.over.extend(self.open.into_values());
        (self.over, self.taken)
    }

    fn turn(&mut self, now: Timestamp) {
        self.newest = self.newest.max(now);
        let next = *self.next.get_or_insert(now.plus(EVERY));
        if self.newest >= next {
            self.ask(next);
            // A silence tells nothing new.
            self.next =
                Some(if now.since(next) > AWAY { now.plus(EVERY) } else { next.plus(EVERY) });
        }
    }

    fn ask(&mut self, now: Timestamp) {
        let Self { detectors, open, over, .. } = self;
        let mut each = |finding: Finding| {
            let Finding { rule, entity, level, summary, .. } = finding;
            let key = (rule, entity.clone());
            if let Some(known) = open.get_mut(&key) {
                if now.since(known.last) <= AWAY {
                    known.last = now;
                    if level > known.level {
                        (known.level, known.summary) = (level, summary);
                    }
                    return;
                }
                over.extend(open.remove(&key));
            }
            open.insert(key, Found { rule, entity, level, first: now, last: now, summary });
        };
        detectors.iter_mut().for_each(|detector| detector.evaluate(now, &mut each));
    }
}

/// Some days of a node on which nothing happens.
pub fn quiet(
    profile: Profile,
    seed: u64,
    days: f64,
    detectors: Vec<Box<dyn Detector>>,
) -> (Vec<Found>, u64) {
    let mut node = Node::new(profile, seed);
    let mut watch = Watch::new(detectors);
    let mut events = Vec::new();
    let mut at = DAY;
    while at < DAY * (1.0 + days) {
        node.fill(at, at + PIECE, &mut events);
        events.sort_by_key(|event| event.at);
        events.drain(..).for_each(|event| watch.take(&event));
        at += PIECE;
    }
    watch.end()
}

/// An incident amid a node's traffic: when it was found first, and what else was found.
pub struct Verdict {
    /// Seconds from its beginning, and how bad it was said to be at worst.
    pub found: Option<(f64, Level)>,
    /// What was found that is not so.
    pub false_ones: Vec<Found>,
    pub transactions: u64,
}

/// Has an incident happen to a node of some profile.
pub fn troubled(incident: &Incident, seed: u64, detectors: Vec<Box<dyn Detector>>) -> Verdict {
    let mut chance = Chance::new(seed);
    let profile = *chance.pick(&Profile::ALL);
    let mut node = Node::new(profile, seed ^ 0xBEEF);
    // At any hour of a week.
    let base = DAY * 3.0 + 3600.0 * f64::from(u32::try_from(chance.below(168)).unwrap_or(0));
    let mut watch = Watch::new(detectors);
    let shift = seconds(base);
    let shifted = |event: &Event| {
        let at = shift.plus(event.at.since(Timestamp::default()));
        Event { at, ..event.clone() }
    };
    let mut own: Vec<Event> = incident.events.iter().map(shifted).collect();
    own.sort_by_key(|event| event.at);
    let mut own = own.into_iter().peekable();
    let mut events = Vec::new();
    let mut at = base;
    while at < base + incident.to + GRACE {
        node.fill(at, at + PIECE, &mut events);
        let end = seconds(at + PIECE);
        events.extend(std::iter::from_fn(|| own.next_if(|event| event.at < end)));
        events.sort_by_key(|event| event.at);
        events.drain(..).for_each(|event| watch.take(&event));
        at += PIECE;
    }
    let (all, transactions) = watch.end();
    let mut verdict = Verdict { found: None, false_ones: Vec::new(), transactions };
    for found in all {
        if found.rule == incident.rule && concerns(&incident.entity, &found.entity) {
            let took = found.first.since(seconds(base + incident.from)).as_secs_f64();
            let (soonest, worst) = verdict.found.unwrap_or((took, found.level));
            verdict.found = Some((soonest.min(took), worst.max(found.level)));
        } else if !incident.also.contains(&found.rule) && found.rule != incident.rule {
            verdict.false_ones.push(found);
        }
    }
    verdict
}

/// Whether a finding says all that it should.
fn concerns(expected: &Entity, found: &Entity) -> bool {
    let same = |expected: &Option<Box<str>>, found: &Option<Box<str>>| {
        expected.is_none() || expected == found
    };
    same(&expected.process, &found.process)
        && same(&expected.client, &found.client)
        && same(&expected.zone, &found.zone)
        && same(&expected.resolver, &found.resolver)
}
