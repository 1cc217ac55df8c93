//! Resolvers that answer nothing, and such as come and go.
//!
//! What counts is what was sent after the last answer came: a query that gets none is known for it
//! only after the query timeout, and by then others may have been answered. So a resolver that loses
//! every other packet is never down, and one that falls silent is as soon as enough was sent to it.

use super::finding::{Detector, Entity, Evidence, Figure, Finding, Level, Rule};
use super::options::{DownOptions, FlappingOptions};
use super::samples::{Outcome, Sample};
use crate::number::float;
use crate::observation::Observation;
use crate::pair::{Status, Vantage};
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use hashbrown::hash_map::EntryRef;
use hashbrown::{Equivalent, HashMap};
use std::collections::VecDeque;
use std::time::Duration;

/// Resolvers known at a time.
const RESOLVERS: usize = 4096;
/// A resolver that nobody has asked for so long is nobody's trouble.
const STALE: Duration = Duration::from_secs(300);
/// Samples of the first failures.
const SAMPLES: usize = 3;
/// Times that a resolver came back, remembered.
const RETURNS: usize = 32;
/// So many more failures are asked for of a server that is asked without recursion: a resolver meets
/// servers that are broken every day.
const DISTANT: u64 = 10;
/// So many resolvers, and at least half of those that were asked in the last minute, are down together.
const TOGETHER: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    vantage: Vantage,
    resolver: Box<str>,
}

#[derive(Clone, Copy, Hash)]
struct KeyRef<'a> {
    vantage: Vantage,
    resolver: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.vantage == key.vantage && *self.resolver == *key.resolver
    }
}

/// What is known of a resolver.
#[derive(Debug, Default)]
struct Server {
    /// When it last answered.
    alive: Option<Timestamp>,
    /// Whether it is asked to recurse.
    recursive: bool,
    /// The last query.
    asked: Timestamp,
    /// Failures among the queries sent since it last answered.
    failures: u64,
    /// How many of them an ICMP error ended.
    unreachable: u64,
    /// When the first and the last of them were sent.
    failing: (Timestamp, Timestamp),
    samples: Vec<Sample>,
    /// When it came back, after it had been down.
    returns: VecDeque<Timestamp>,
}

/// Watches every resolver.
#[derive(Debug)]
pub(super) struct Outcomes {
    down: DownOptions,
    flapping: FlappingOptions,
    servers: HashMap<Key, Server, RandomState>,
}

impl Outcomes {
    pub(super) fn new(down: DownOptions, flapping: FlappingOptions) -> Self {
        Self { down, flapping, servers: HashMap::default() }
    }

    pub(super) const fn reconfigure(&mut self, down: DownOptions, flapping: FlappingOptions) {
        self.down = down;
        self.flapping = flapping;
    }

    /// Whether this host asks a server to recurse; believed where nothing is known.
    pub(super) fn is_recursive(&self, resolver: &str) -> bool {
        let key = KeyRef { vantage: Vantage::Client, resolver };
        self.servers.get(&key).is_none_or(|server| server.recursive)
    }

    /// How many resolvers are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.servers.len()
    }

    fn server(&mut self, observation: &Observation<'_>) -> Option<&mut Server> {
        let key = KeyRef { vantage: observation.vantage, resolver: observation.resolver };
        let is_full = self.servers.len() >= RESOLVERS;
        match self.servers.entry_ref(&key) {
            EntryRef::Occupied(known) => Some(known.into_mut()),
            EntryRef::Vacant(_) if is_full => None,
            EntryRef::Vacant(new) => {
                let resolver = key.resolver.into();
                let key = Key { vantage: key.vantage, resolver };
                Some(new.insert_with_key(key, Server::default()))
            }
        }
    }
}

impl Server {
    fn answer(&mut self, at: Timestamp, down: DownOptions) {
        if self.is_down(down) {
            if self.returns.len() == RETURNS {
                self.returns.pop_front();
            }
            self.returns.push_back(at);
        }
        self.alive = self.alive.max(Some(at));
        self.failures = 0;
        self.unreachable = 0;
        self.samples.clear();
    }

    fn fail(&mut self, observation: &Observation<'_>) {
        let sent = observation.ts;
        if self.alive.is_some_and(|alive| sent <= alive) {
            return;
        }
        let (first, last) = self.failing;
        self.failing =
            if self.failures == 0 { (sent, sent) } else { (first.min(sent), last.max(sent)) };
        self.failures += 1;
        self.unreachable += u64::from(observation.status == Status::IcmpError);
        if self.samples.len() < SAMPLES {
            self.samples.push(Sample::of(observation, Outcome::Unanswered));
        }
    }

    fn is_down(&self, options: DownOptions) -> bool {
        let (first, last) = self.failing;
        let needed =
            if self.recursive { options.min_queries } else { options.min_queries * DISTANT };
        self.failures >= needed && last.since(first) >= options.span
    }

    /// What is not asked for is not there: most addresses are no server, whatever scanners send them.
    fn may_be_down(&self, vantage: Vantage) -> bool {
        vantage != Vantage::Server || self.alive.is_some()
    }

    fn finding(&self, key: &Key, now: Timestamp, options: DownOptions) -> Finding {
        let (first, last) = self.failing;
        let mut evidence = Evidence {
            figures: vec![
                figure(
                    "unanswered_queries",
                    float(self.failures),
                    Some(float(options.min_queries)),
                ),
                figure(
                    "failing_seconds",
                    last.since(first).as_secs_f64(),
                    Some(options.span.as_secs_f64()),
                ),
                figure("icmp_error_ratio", float(self.unreachable) / float(self.failures), None),
            ],
            ..Evidence::default()
        };
        let since = self.alive.map(|alive| now.since(alive).as_secs_f64());
        evidence.figures.extend(since.map(|since| figure("last_answer_seconds", since, None)));
        self.samples.iter().for_each(|sample| sample.add_to(&mut evidence));
        let how = match self.unreachable {
            0 => "nothing came back",
            some if some == self.failures => "each was refused by an ICMP error",
            _ => "ICMP errors or nothing came back",
        };
        let answer = match self.alive {
            Some(alive) => format!("its last answer came at {alive}"),
            None => "no answer of it was ever seen".to_owned(),
        };
        Finding {
            rule: Rule::ResolverDown,
            entity: key.entity(),
            level: if self.recursive { Level::Critical } else { Level::Warning },
            summary: format!(
                "{} is down: {} queries in {:.0} s and no answer, {how}; {answer}.",
                key.resolver,
                self.failures,
                last.since(first).as_secs_f64(),
            ),
            evidence,
        }
    }

    fn flapping(&self, key: &Key, options: FlappingOptions) -> Finding {
        let times = float(self.returns.len() as u64);
        Finding {
            rule: Rule::ResolverFlapping,
            entity: key.entity(),
            level: Level::Warning,
            summary: format!(
                "{} was down and came back {} times in {} minutes.",
                key.resolver,
                self.returns.len(),
                options.span.as_secs() / 60,
            ),
            evidence: Evidence {
                figures: vec![figure("returns", times, Some(float(options.times)))],
                resolvers: vec![key.resolver.clone()],
                ..Evidence::default()
            },
        }
    }
}

impl Key {
    fn entity(&self) -> Entity {
        let (vantage, resolver) = (Some(self.vantage), Some(self.resolver.clone()));
        Entity { vantage, resolver, ..Entity::default() }
    }
}

impl Detector for Outcomes {
    fn observe(&mut self, observation: &Observation<'_>) {
        // Of a group nobody need answer (mDNS, LLMNR).
        if observation.opcode != 0 || observation.server.ip().is_multicast() {
            return;
        }
        let down = self.down;
        let Some(server) = self.server(observation) else { return };
        match observation.status {
            Status::Answered | Status::Late | Status::Duplicate => {
                server.answer(observation.response_ts.unwrap_or(observation.ts), down);
            }
            Status::Timeout | Status::IcmpError => server.fail(observation),
            // Of these nothing is known, or anybody could have sent them.
            Status::Orphan | Status::Evicted | Status::Open => return,
        }
        server.recursive |= observation.flags.recursion_desired();
        server.asked = server.asked.max(observation.ts);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        let Self { down, flapping, servers } = self;
        let mut known: Vec<(&Key, &mut Server)> = servers.iter_mut().collect();
        known.sort_unstable_by_key(|(key, _)| *key);
        for vantage in Vantage::ALL {
            let mut asked = 0;
            let mut lost = Vec::new();
            for (key, server) in known.iter_mut().filter(|(key, _)| key.vantage == vantage) {
                asked += usize::from(now.since(server.asked) < Duration::from_secs(60));
                server.returns.retain(|then| now.since(*then) < flapping.span);
                if server.returns.len() as u64 >= flapping.times {
                    each(server.flapping(key, *flapping));
                }
                if server.is_down(*down)
                    && server.may_be_down(vantage)
                    && now.since(server.asked) < STALE
                {
                    lost.push((&*key.resolver, server.failures));
                    each(server.finding(key, now, *down));
                }
            }
            if lost.len() >= TOGETHER && lost.len() * 2 >= asked {
                each(together(vantage, &lost, asked));
            }
        }
        // What is asked often enough to matter is there again with its next query.
        let keeps = if servers.len() < RESOLVERS { STALE * 2 } else { Duration::from_secs(30) };
        servers.retain(|_, server| now.since(server.asked) < keeps);
    }
}

/// Many at once have one cause.
fn together(vantage: Vantage, lost: &[(&str, u64)], asked: usize) -> Finding {
    let (down, failures) = (lost.len(), lost.iter().map(|(_, failures)| failures).sum());
    Finding {
        rule: Rule::ResolverDown,
        entity: Entity { vantage: Some(vantage), ..Entity::default() },
        level: Level::Critical,
        summary: format!("{down} of {asked} resolvers are down together."),
        evidence: Evidence {
            figures: vec![
                figure("resolvers_down", float(down as u64), Some(float(TOGETHER as u64))),
                figure("unanswered_queries", float(failures), None),
            ],
            resolvers: lost.iter().take(TOGETHER).map(|(resolver, _)| (*resolver).into()).collect(),
            ..Evidence::default()
        },
    }
}

const fn figure(name: &'static str, value: f64, threshold: Option<f64>) -> Figure {
    Figure { name, value, threshold, baseline: None }
}

#[cfg(test)]
mod tests;
