//! Somebody guesses ids and ports: many responses that resemble one that is waited for, and are not it
//! (Kaminsky's attack, RFC 5452).
//!
//! Looked at is whom the responses reach: a resolver, or any client. Those that resemble nothing are
//! nobody's attack on a cache: see [`super::Amplification`].

use super::finding::{Detector, Entity, Finding, Level, Rule};
use super::table::{Halves, Seen, Table};
use super::who::{Exhibits, figure, hash, hash_of_address, is_multicast};
use crate::number::float;
use crate::observation::Observation;
use crate::pair::{OrphanReason, Status};
use crate::time::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

/// Octets that [`CachePoisoning`] takes at most.
pub const CACHE_POISONING_MEMORY_BYTES: usize = 6 << 20;

/// Clients at a time that such responses reach.
const CLIENTS: usize = 1024;
/// Half of the look back.
const SPAN: Duration = Duration::from_secs(60);

/// From when on wrong responses are a finding. All within one to two minutes at one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachePoisoningOptions {
    /// Responses that resemble one that is waited for.
    pub wrong: u64,
    /// So many are critical.
    pub wrong_critical: u64,
}

impl Default for CachePoisoningOptions {
    fn default() -> Self {
        Self { wrong: 10, wrong_critical: 50 }
    }
}

/// Finds responses that guess.
#[derive(Debug)]
pub struct CachePoisoning {
    options: CachePoisoningOptions,
    clients: Table<Client>,
}

#[derive(Debug)]
struct Client {
    address: IpAddr,
    halves: Halves<Counts>,
    exhibits: Exhibits,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    wrong_id: u64,
    wrong_port: u64,
    wrong_source: u64,
    wrong_question: u64,
    /// Queries that got their answer in spite of, or among, such responses.
    answered: u64,
    names: u64,
    seen: Seen<8>,
}

impl Counts {
    const fn wrong(&self) -> u64 {
        self.wrong_id + self.wrong_port + self.wrong_source + self.wrong_question
    }
}

impl Default for CachePoisoning {
    fn default() -> Self {
        Self::new(CachePoisoningOptions::default())
    }
}

impl CachePoisoning {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: CachePoisoningOptions) -> Self {
        Self { options, clients: Table::new(CLIENTS) }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.clients.bytes(|client| client.exhibits.heap_bytes())
    }
}

impl Detector for CachePoisoning {
    fn observe(&mut self, observation: &Observation<'_>) {
        let is_wrong = observation.status == Status::Orphan && observation.resembles.is_some();
        if !(is_wrong || observation.rejected > 0) || is_multicast(observation) {
            return;
        }
        let address = observation.client.ip();
        let key = hash_of_address(address);
        let ts = observation.response_ts.unwrap_or(observation.ts);
        let new = || Client { address, halves: Halves::default(), exhibits: Exhibits::default() };
        let client = self.clients.entry(key, ts, new);
        client.halves.roll(ts, SPAN);
        client.take(observation, is_wrong);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for client in self.clients.values_mut() {
            client.halves.roll(now, SPAN);
            if let Some(finding) = client.finding(&self.options) {
                each(finding);
            }
        }
        self.clients.age(now, SPAN * 10);
    }
}

impl Client {
    fn take(&mut self, observation: &Observation<'_>, is_wrong: bool) {
        let Halves { now, before, .. } = &mut self.halves;
        if !is_wrong {
            now.answered += u64::from(observation.status == Status::Answered);
            return;
        }
        match observation.orphan_reason {
            Some(OrphanReason::WrongId) => now.wrong_id += 1,
            Some(OrphanReason::WrongPort) => now.wrong_port += 1,
            Some(OrphanReason::WrongSource) => now.wrong_source += 1,
            Some(OrphanReason::WrongQuestion) => now.wrong_question += 1,
            _ => return,
        }
        let name = hash(observation.qname.unwrap_or_default().as_bytes());
        if !now.seen.has(name) && !before.seen.has(name) {
            now.seen.insert(name);
            now.names += 1;
        }
        self.exhibits.take(observation);
    }

    fn finding(&self, options: &CachePoisoningOptions) -> Option<Finding> {
        let sum = |of: fn(&Counts) -> u64| of(&self.halves.now) + of(&self.halves.before);
        let wrong = sum(Counts::wrong);
        if wrong < options.wrong {
            return None;
        }
        let critical = wrong >= options.wrong_critical;
        let level = if critical { Level::Critical } else { Level::Warning };
        let (ids, ports) = (sum(|counts| counts.wrong_id), sum(|counts| counts.wrong_port));
        let sources = sum(|counts| counts.wrong_source);
        let (names, answered) = (sum(|counts| counts.names), sum(|counts| counts.answered));
        let summary = format!(
            "{wrong} responses to {} within 2 min resemble ones that it waits for and are not: {ids} with a \
             wrong id, {ports} with a wrong port, {sources} from a wrong source, for {names} names; {answered} \
             of the queries were answered among them",
            self.address
        );
        let figures = vec![
            figure("wrong_responses", float(wrong), Some(float(options.wrong))),
            figure("wrong_ids", float(ids), None),
            figure("wrong_ports", float(ports), None),
            figure("wrong_sources", float(sources), None),
            figure("wrong_questions", float(sum(|counts| counts.wrong_question)), None),
            figure("names", float(names), None),
            figure("answered_among_them", float(answered), None),
        ];
        let client = Some(self.address.to_string().into());
        Some(Finding {
            rule: Rule::CachePoisoning,
            entity: Entity { client, ..Entity::default() },
            level,
            summary,
            evidence: self.exhibits.evidence(figures),
        })
    }
}

#[cfg(test)]
mod tests;
