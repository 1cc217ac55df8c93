//! Rule `cache_poisoning`: many responses that guess id and port of a pending query (Kaminsky's
//! attack, RFC 5452).
//!
//! Counted by the client or resolver that receives the responses. Responses that resemble no
//! pending query do not count; see [`super::Amplification`].

use super::attribution::{EvidenceSample, hash, hash_address, is_multicast};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::rolling::{Rolling, SpanCounts};
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::pair::{OrphanReason, Status};
use std::net::IpAddr;
use std::time::Duration;

const MAX_CLIENTS: usize = 1024;
/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(1);

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
    counts: Rolling<SpanCounts<Counts, 8>>,
    evidence: EvidenceSample,
}

dnscribe_record::merged_struct! {
    #[derive(Clone, Debug, Default)]
    struct Counts {
        wrong_id: u64,
        wrong_port: u64,
        wrong_source: u64,
        wrong_question: u64,
        /// Queries that were answered despite such responses.
        answered: u64,
        names: u64,
    }
}

impl Detector for CachePoisoning {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::CachePoisoning]
    }

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
        self.clients.evaluate(now, SPAN * 10, |client| client.evaluate(now), each);
    }
}

impl Client {
    fn record(&mut self, observation: &TransactionView<'_>, is_wrong: bool) {
        let counts = &mut self.counts.current.counts;
        if !is_wrong {
            counts.answered += u64::from(observation.status == Status::Answered);
            return;
        }
        match observation.orphan_reason {
            Some(OrphanReason::WrongId) => counts.wrong_id += 1,
            Some(OrphanReason::WrongPort) => counts.wrong_port += 1,
            Some(OrphanReason::WrongSource) => counts.wrong_source += 1,
            Some(OrphanReason::WrongQuestion) => counts.wrong_question += 1,
            _ => return,
        }
        let name = hash(observation.qname.unwrap_or_default().as_bytes());
        let is_new = self.counts.is_new(name);
        self.counts.current.counts.names += u64::from(is_new);
        self.evidence.record(observation);
    }

    fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.counts.roll(now, SPAN);
        let total = self.counts.total();
        let Counts { wrong_id, wrong_port, wrong_source, wrong_question, answered, names } = total;
        let wrong = wrong_id + wrong_port + wrong_source + wrong_question;
        let (threshold, critical) = WRONG_RESPONSES;
        if wrong < threshold {
            return None;
        }
        let level = Severity::at_least_warning(wrong >= critical);
        let summary = format!(
            "{wrong} responses to {} within 2 min resemble ones that it waits for and are not: {wrong_id} \
             with a wrong id, {wrong_port} with a wrong port, {wrong_source} from a wrong source, for {names} names; {answered} \
             of the queries were answered among them",
            self.address
        );
        let figures = vec![
            Figure::new("wrong_responses", to_f64(wrong), Some(to_f64(threshold))),
            Figure::new("wrong_ids", to_f64(wrong_id), None),
            Figure::new("wrong_ports", to_f64(wrong_port), None),
            Figure::new("wrong_sources", to_f64(wrong_source), None),
            Figure::new("wrong_questions", to_f64(wrong_question), None),
            Figure::new("names", to_f64(names), None),
            Figure::new("answered_among_them", to_f64(answered), None),
        ];
        let client = Some(self.address.to_string().into());
        let entity = Entity { client, ..Entity::default() };
        Some(self.evidence.finding(Rule::CachePoisoning, entity, level, (summary, figures)))
    }
}

#[cfg(test)]
mod tests;
