//! Rule `cache_poisoning`: many responses that guess id and port of a pending query (Kaminsky's
//! attack, RFC 5452).
//!
//! Counted by the client or resolver that receives the responses. Responses that resemble no
//! pending query do not count; see [`super::Amplification`].

use super::attribution::{EvidenceSample, hash, hash_address, is_multicast};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::rolling::{BloomFilter, Rolling};
use super::table::AssociativeTable;
use crate::analysis::view::TransactionView;
use crate::pair::{OrphanReason, Status};
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

/// Maximum memory of [`CachePoisoning`] in bytes.
pub const CACHE_POISONING_MEMORY_BYTES: usize = 6 << 20;

/// Maximum number of clients tracked.
const MAX_CLIENTS: usize = 1024;
/// Half of the look-back.
const SPAN: Duration = Duration::from_secs(60);

/// Wrong responses to one client within one to two minutes: warning and critical.
const WRONG_RESPONSES: (u64, u64) = (10, 50);

/// Finds responses with guessed ids and ports.
#[derive(Debug, Default)]
pub struct CachePoisoning {
    clients: AssociativeTable<Client, MAX_CLIENTS>,
}

#[derive(Debug)]
struct Client {
    address: IpAddr,
    counts: Rolling<Counts>,
    evidence: EvidenceSample,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    wrong_id: u64,
    wrong_port: u64,
    wrong_source: u64,
    wrong_question: u64,
    /// Queries that were answered despite such responses.
    answered: u64,
    names: u64,
    seen: BloomFilter<8>,
}

impl Counts {
    const fn wrong(&self) -> u64 {
        self.wrong_id + self.wrong_port + self.wrong_source + self.wrong_question
    }
}

impl CachePoisoning {
    /// Memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.clients.bytes(|client| client.evidence.heap_bytes())
    }
}

impl Detector for CachePoisoning {
    fn observe(&mut self, observation: &TransactionView<'_>) {
        let is_wrong = observation.status == Status::Orphan && observation.resembles.is_some();
        if !(is_wrong || observation.rejected > 0) || is_multicast(observation) {
            return;
        }
        let address = observation.client.ip();
        let key = hash_address(address);
        let ts = observation.response_ts.unwrap_or(observation.ts);
        let new =
            || Client { address, counts: Rolling::default(), evidence: EvidenceSample::default() };
        let client = self.clients.entry(key, ts, new);
        client.counts.roll(ts, SPAN);
        client.record(observation, is_wrong);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        let find = |client: &mut Client| {
            client.counts.roll(now, SPAN);
            client.finding()
        };
        self.clients.evaluate(now, SPAN * 10, find, each);
    }
}

impl Client {
    fn record(&mut self, observation: &TransactionView<'_>, is_wrong: bool) {
        let Rolling { current, previous, .. } = &mut self.counts;
        if !is_wrong {
            current.answered += u64::from(observation.status == Status::Answered);
            return;
        }
        match observation.orphan_reason {
            Some(OrphanReason::WrongId) => current.wrong_id += 1,
            Some(OrphanReason::WrongPort) => current.wrong_port += 1,
            Some(OrphanReason::WrongSource) => current.wrong_source += 1,
            Some(OrphanReason::WrongQuestion) => current.wrong_question += 1,
            _ => return,
        }
        let name = hash(observation.qname.unwrap_or_default().as_bytes());
        current.names += u64::from(current.seen.insert_new(&previous.seen, name));
        self.evidence.record(observation);
    }

    fn finding(&self) -> Option<Finding> {
        let sum = |count: fn(&Counts) -> u64| self.counts.sum(count);
        let wrong = sum(Counts::wrong);
        let (threshold, critical) = WRONG_RESPONSES;
        if wrong < threshold {
            return None;
        }
        let level = Severity::at_least_warning(wrong >= critical);
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
            Figure::new("wrong_responses", to_f64(wrong), Some(to_f64(threshold))),
            Figure::new("wrong_ids", to_f64(ids), None),
            Figure::new("wrong_ports", to_f64(ports), None),
            Figure::new("wrong_sources", to_f64(sources), None),
            Figure::new("wrong_questions", to_f64(sum(|counts| counts.wrong_question)), None),
            Figure::new("names", to_f64(names), None),
            Figure::new("answered_among_them", to_f64(answered), None),
        ];
        let client = Some(self.address.to_string().into());
        Some(Finding {
            rule: Rule::CachePoisoning,
            entity: Entity { client, ..Entity::default() },
            level,
            summary,
            evidence: self.evidence.evidence(figures),
        })
    }
}

#[cfg(test)]
mod tests;
