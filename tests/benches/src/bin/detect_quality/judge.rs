//! Who found what, and when.

use crate::benign::{DAY, Node, Profile};
use crate::event::{Chance, Event, seconds};
use crate::incidents::Incident;
use dnscribe::analysis::detect::{
    self, Alert, DetectOptions, Detection, Entity, Level, Meant, Rule, State,
};
use dnscribe::analysis::view::Observation;
use dnscribe::analysis::window::Windows;
use dnscribe::encrypted::Report;
use dnscribe_record::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often time passes for the rooms, as in the pipeline.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// How long after their end windows wait: as long as a query, and a second.
const LATENESS: Duration = Duration::from_secs(6);
/// Seconds that an incident may take to be told after its end.
const GRACE: f64 = 90.0;
/// Seconds of a node's traffic that are made at a time.
const PIECE: f64 = 60.0;

/// An alert, from when it was told first.
#[derive(Clone, Debug)]
pub struct Found {
    pub rule: Rule,
    pub entity: Entity,
    pub level: Level,
    pub first: Timestamp,
    pub summary: String,
}

/// The rooms of windows and detection, and what they told.
pub struct Watch {
    windows: Windows,
    detection: Detection,
    next: Timestamp,
    newest: Timestamp,
    taken: u64,
    told: Vec<Found>,
    open: BTreeMap<(Rule, Entity), usize>,
}

impl Watch {
    /// On a node whose resolvers are as given.
    pub fn new(meant: &Meant) -> Self {
        let options = DetectOptions::default();
        let others = detect::all(&options, meant);
        Self {
            windows: Windows::new(Timestamp::default(), LATENESS),
            detection: Detection::new(options, others),
            next: Timestamp::default(),
            newest: Timestamp::default(),
            taken: 0,
            told: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    /// Takes a transaction that is over.
    pub fn take(&mut self, event: &Event) {
        let number = self.taken;
        self.expire(event.over());
        event.observed(number, |observation| self.observe(observation));
    }

    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.taken += 1;
        self.detection.observe(observation);
        self.windows.observe(observation);
    }

    pub fn connection(&mut self, report: &Report<'_>) {
        let resolver = report.connection.server.ip().to_string();
        self.detection.connection(report, &resolver);
    }

    /// Lets time pass.
    pub fn expire(&mut self, now: Timestamp) {
        self.newest = self.newest.max(now);
        if now < self.next {
            return;
        }
        self.next = now.plus(EXPIRE_EVERY);
        let Self { windows, detection, told, open, .. } = self;
        windows.expire(now, &mut |span, groups| detection.window(span, groups));
        detection.expire(now, &mut |alert| hear(alert, told, open));
    }

    /// All that was told, and how many transactions were looked at.
    pub fn end(mut self) -> (Vec<Found>, u64) {
        let Self { windows, detection, told, open, newest, .. } = &mut self;
        windows.finish(*newest, &mut |span, groups| detection.window(span, groups));
        detection.finish(*newest, &mut |alert| hear(alert, told, open));
        (self.told, self.taken)
    }
}

fn hear(alert: &Alert, told: &mut Vec<Found>, open: &mut BTreeMap<(Rule, Entity), usize>) {
    let key = (alert.rule, alert.entity.clone());
    if alert.state == State::Resolved {
        open.remove(&key);
        return;
    }
    if let Some(place) = open.get(&key) {
        let known = &mut told[*place];
        if alert.level > known.level {
            (known.level, known.summary) = (alert.level, alert.summary.clone());
        }
        return;
    }
    open.insert(key, told.len());
    let Alert { rule, level, ts, .. } = *alert;
    let (entity, summary) = (alert.entity.clone(), alert.summary.clone());
    told.push(Found { rule, entity, level, first: ts, summary });
}

/// A node's traffic as it ends: what waits for its outcome comes later.
struct Traffic {
    node: Node,
    waiting: Vec<Event>,
}

impl Traffic {
    /// Makes a piece, adds what else happens in it, and shows what ends before the piece does.
    fn pass(&mut self, at: f64, change: impl FnOnce(&mut Vec<Event>), watch: &mut Watch) {
        let begun = self.waiting.len();
        self.node.fill(at, at + PIECE, &mut self.waiting);
        let mut new = self.waiting.split_off(begun);
        change(&mut new);
        self.waiting.append(&mut new);
        self.waiting.sort_by_key(Event::over);
        let end = seconds(at + PIECE);
        let ended = self.waiting.partition_point(|event| event.over() < end);
        self.waiting.drain(..ended).for_each(|event| watch.take(&event));
        watch.expire(end);
    }
}

/// Some days of a node on which nothing happens.
pub fn quiet(profile: Profile, seed: u64, days: f64, meant: &Meant) -> (Vec<Found>, u64) {
    let mut traffic = Traffic { node: Node::new(profile, seed), waiting: Vec::new() };
    let mut watch = Watch::new(meant);
    let mut at = DAY;
    while at < DAY * (1.0 + days) {
        traffic.pass(at, |_| (), &mut watch);
        at += PIECE;
    }
    watch.end()
}

/// An incident amid a node's traffic: when it was told first, and what else was told.
pub struct Verdict {
    /// Seconds from its beginning, and how bad it was said to be at worst.
    pub found: Option<(f64, Level)>,
    /// What was told that is not so.
    pub false_ones: Vec<Found>,
    pub transactions: u64,
}

/// Has an incident happen to a node of some profile.
pub fn troubled(incident: &Incident, seed: u64, meant: &Meant) -> Verdict {
    let mut chance = Chance::new(seed);
    let profile = incident.profile.unwrap_or_else(|| *chance.pick(&Profile::ALL));
    // At any hour of a week; what breaks what others do, while they are awake.
    let hour = match incident.alter {
        Some(_) => chance.below(5) * 24 + 10 + chance.below(7),
        None => chance.below(168),
    };
    let base = DAY * 7.0 + 3600.0 * f64::from(u32::try_from(hour).unwrap_or(0));
    let mut traffic = Traffic { node: Node::new(profile, seed ^ 0xBEEF), waiting: Vec::new() };
    let mut watch = Watch::new(meant);
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
                    alter(event, event.at.since(lasts.start).as_secs_f64(), &mut chance);
                }
            }
            events.extend(std::iter::from_fn(|| own.next_if(|event| event.at < end)));
        };
        traffic.pass(at, happen, &mut watch);
        at += PIECE;
    }
    let (all, transactions) = watch.end();
    let mut verdict = Verdict { found: None, false_ones: Vec::new(), transactions };
    for found in all {
        if found.rule == incident.rule && concerns(&incident.entity, &found.entity) {
            if found.first < lasts.start {
                continue;
            }
            let took = found.first.since(lasts.start).as_secs_f64();
            let (soonest, worst) = verdict.found.unwrap_or((took, found.level));
            verdict.found = Some((soonest.min(took), worst.max(found.level)));
        } else if !incident.explains(found.rule) {
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
