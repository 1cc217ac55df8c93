//! Rule `amplification`: small queries that draw large responses.
//!
//! Seen by the client or the server of the queries, one network repeats the same question far more
//! often than a cache would, and each response is many times larger than its query. The client
//! address is probably forged and belongs to the victim. Seen by the victim, large responses arrive
//! that it did not request.

use super::attribution::{
    EvidenceSample, combine_hashes, hash, hash_address, is_multicast, is_other_end, share,
};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::rolling::{Rolling, SpanCounts};
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{Merge, merged_struct};
use dnscribe_transaction::pair::{OrphanReason, Status, Vantage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const MAX_NETWORKS: usize = 1024;
/// Half of the look-back.
const SPAN: Duration = Duration::from_secs(30);
/// Minimum size of a large response in bytes.
const MIN_LARGE_BYTES: u64 = 400;

// Thresholds for one network (/24, or /48 of IPv6), over half a minute to a minute.

/// Large responses to queries: warning and critical. 2,000 responses of 2,000 bytes within a minute are
/// about half a megabit per second.
const SOLICITED: (u64, u64) = (200, 2000);
/// Large unsolicited responses: warning and critical.
const UNSOLICITED: (u64, u64) = (50, 500);
/// Minimum ratio of response bytes to query bytes.
const MIN_FACTOR: f64 = 8.0;
/// Minimum number of queries per distinct question; a cache sends one.
const MIN_REPEATS: f64 = 10.0;

/// Finds small queries that draw large responses.
#[derive(Debug, Default)]
pub struct Amplification {
    victims: AssociativeTable<Victim, MAX_NETWORKS>,
}

#[derive(Debug)]
struct Victim {
    /// Address seen first; its network, once another address of it was seen.
    entity: Box<str>,
    address: IpAddr,
    /// Whether responses to queries are counted, or unsolicited ones.
    solicited: bool,
    counts: Rolling<SpanCounts<Counts, 8>>,
    evidence: EvidenceSample,
}

merged_struct! {
    #[derive(Clone, Debug, Default)]
    struct Counts {
        responses: u64,
        query_bytes: u64,
        response_bytes: u64,
        questions: u64,
    }
}

impl Detector for Amplification {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::Amplification]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let Some(response_bytes) =
            observation.response_bytes.filter(|bytes| *bytes >= MIN_LARGE_BYTES)
        else {
            return;
        };
        let solicited = match observation.status {
            Status::Answered => true,
            // A response that resembles no pending query is unsolicited. At the server, only half
            // of the exchange may be visible. Sampled queries were sent although they were not
            // captured.
            Status::Orphan
                if observation.resembles.is_none()
                    && observation.orphan_reason != Some(OrphanReason::Sampled) =>
            {
                if observation.vantage == Vantage::Server {
                    return;
                }
                false
            }
            _ => return,
        };
        let query_bytes = u64::from(observation.query_bytes.unwrap_or(0));
        // The client address of a TCP connection cannot be forged.
        let by_udp = observation.transport == dnscribe_transaction::packet::Transport::Udp;
        let is_small = solicited && to_f64(response_bytes) < MIN_FACTOR / 2.0 * to_f64(query_bytes);
        if is_small || !by_udp || is_other_end(observation) || is_multicast(observation) {
            return;
        }
        let address = observation.client.ip();
        let key = combine_hashes(hash_address(network(address)), u64::from(solicited));
        let ts = observation.response_ts.unwrap_or(observation.ts);
        let victim = self.victims.entry(key, ts, || Victim {
            entity: address.to_string().into(),
            address,
            solicited,
            counts: Rolling::default(),
            evidence: EvidenceSample::default(),
        });
        victim.record(observation, ts, query_bytes, response_bytes);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.victims.evaluate(now, SPAN * 20, |victim| victim.evaluate(now), each);
    }
}

impl Victim {
    fn record(
        &mut self,
        observation: &TransactionView<'_>,
        ts: Timestamp,
        query: u64,
        response: u64,
    ) {
        self.counts.roll(ts, SPAN);
        if observation.client.ip() != self.address && !self.entity.contains('/') {
            self.entity = format_network(network(self.address)).into();
        }
        let qtype = u64::from(observation.qtype.unwrap_or(0));
        let question =
            combine_hashes(hash(observation.qname.unwrap_or_default().as_bytes()), qtype);
        let questions = u64::from(self.counts.is_new(question));
        self.counts.current.counts.merge(&Counts {
            responses: 1,
            query_bytes: query,
            response_bytes: response,
            questions,
        });
        self.evidence.record(observation);
    }

    fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.counts.roll(now, SPAN);
        let Counts { responses, query_bytes, response_bytes, questions } = self.counts.total();
        let factor = share(response_bytes, query_bytes);
        let repeats = share(responses, questions);
        let (threshold, critical) = if self.solicited { SOLICITED } else { UNSOLICITED };
        let is_ordinary = self.solicited && (factor < MIN_FACTOR || repeats < MIN_REPEATS);
        if is_ordinary || responses < threshold {
            return None;
        }
        let level = Severity::at_least_warning(responses >= critical);
        let each = share(response_bytes, responses);
        let client = &self.entity;
        let summary = if self.solicited {
            format!(
                "{client} draws large responses by small queries: {responses} of {each:.0} bytes within a \
                 minute, {factor:.0} times the queries, each question {repeats:.0} times; probably its \
                 address is forged and it is the victim"
            )
        } else {
            format!(
                "{client} gets large responses that it did not ask for: {responses} of {each:.0} bytes \
                 within a minute"
            )
        };
        let mut figures = vec![
            Figure::new("large_responses", to_f64(responses), Some(to_f64(threshold))),
            Figure::new("response_bytes", to_f64(response_bytes), None),
        ];
        if self.solicited {
            figures.push(Figure::new("amplification_factor", factor, Some(MIN_FACTOR)));
            figures.push(Figure::new("repeats_per_question", repeats, Some(MIN_REPEATS)));
        }
        let entity = Entity { client: Some(self.entity.clone()), ..Entity::default() };
        Some(self.evidence.finding(Rule::Amplification, entity, level, (summary, figures)))
    }
}

/// Returns the network that an address probably belongs to.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

fn format_network(network: IpAddr) -> String {
    let length = if network.is_ipv4() { 24 } else { 48 };
    format!("{network}/{length}")
}

#[cfg(test)]
mod tests;
