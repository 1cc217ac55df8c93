//! Outcomes of transactions.

use super::query::{A, AAAA, ANY, CNAME};
use super::state::{AnswerData, OpenLookup, Text};
use super::{MAX_ADDRESSES, MAX_CHAIN, Outcome};
use crate::analysis::view::TransactionView;
use crate::capture::Transport;
use crate::pair::Status;
use dnscribe_dns::Answer;

const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

/// Returns the outcome of a transaction for its question.
pub(super) fn outcome(observation: &TransactionView<'_>) -> Outcome {
    match observation.status {
        Status::Timeout => Outcome::Timeout,
        Status::IcmpError => Outcome::Unreachable,
        Status::Evicted | Status::Open => Outcome::Open,
        Status::Answered | Status::Late | Status::Duplicate | Status::Orphan => {
            let over_udp = observation.transport == Transport::Udp;
            match observation.rcode {
                _ if over_udp && observation.truncated() => Outcome::Truncated,
                Some(NOERROR) if has_records(observation) => Outcome::Answered,
                Some(NOERROR) => Outcome::Nodata,
                Some(NXDOMAIN) => Outcome::Nxdomain,
                Some(SERVFAIL) => Outcome::Servfail,
                Some(REFUSED) => Outcome::Refused,
                _ => Outcome::Error,
            }
        }
    }
}

/// Returns whether the answer has records of the type. For clipped answers the header's count
/// decides.
fn has_records(observation: &TransactionView<'_>) -> bool {
    let TransactionView { answers, qtype, .. } = observation;
    let kept = u16::try_from(answers.len()).unwrap_or(u16::MAX);
    let is_wanted = |answer: Answer<'_>| *qtype == Some(ANY) || *qtype == Some(answer.rtype);
    answers.iter().any(is_wanted) || observation.answer_count.is_some_and(|count| count > kept)
}

impl OpenLookup {
    /// Stores the CNAMEs from the queried name on, and the addresses.
    pub(super) fn find(&mut self, observation: &TransactionView<'_>) -> AnswerData {
        if !matches!(observation.rcode, Some(NOERROR | NXDOMAIN)) {
            return AnswerData::default();
        }
        let start = self.pieces.len();
        let mut owner = observation.qname.unwrap_or_default();
        let cname_of = |owner: &str| {
            let is_next = |answer: &Answer<'_>| {
                answer.rtype == CNAME && answer.name.eq_ignore_ascii_case(owner)
            };
            observation.answers.iter().find(is_next)
        };
        while self.pieces.len() - start < MAX_CHAIN
            && observation.qtype != Some(CNAME)
            && let Some(cname) = cname_of(owner)
        {
            owner = cname.data;
            let text = self.write_lower_case(owner);
            self.pieces.push(text);
        }
        let chain = start..self.pieces.len();
        let mut address_count = 0;
        for answer in observation.answers.iter().filter(|answer| matches!(answer.rtype, A | AAAA)) {
            address_count += 1;
            if self.pieces.len() - chain.end < MAX_ADDRESSES {
                let text = self.write(answer.data);
                self.pieces.push(text);
            }
        }
        self.bytes += (self.pieces.len() - start) * size_of::<Text>();
        AnswerData { addresses: chain.end..self.pieces.len(), chain, address_count }
    }
}
