//! The view of a transaction that lookups, windows and detection take: its messages, links and attribution as
//! flat fields, named as in `dns.transaction/1`.

use crate::attribution::Attribution;
use crate::losses::Lost;
use dnscribe_dns::{Answers, Flags};
use dnscribe_record::number::milliseconds;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{IntelMatchFields, RecordTail};
use dnscribe_transaction::correlate::{AnswerSource, Parent, TransactionLinks};
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::packet::{LossStage, Transport};
use dnscribe_transaction::pair::{MessageTexts, OrphanReason, Status, Transaction, Vantage};
use std::net::SocketAddr;

/// A transaction with what other stages know about it.
#[derive(Clone, Copy, Debug)]
pub struct TransactionView<'a> {
    /// Id of the message that the record's `event_id` is made of.
    pub id: MessageId,
    /// Id of the query, if it was seen. Differs from `id` on `late` and `duplicate`.
    pub query: Option<MessageId>,
    /// Time of the query, else of the response.
    pub ts: Timestamp,
    /// Time of the response, if there was one.
    pub response_ts: Option<Timestamp>,
    /// Where it was seen.
    pub vantage: Vantage,
    /// UDP or TCP.
    pub transport: Transport,
    /// The client.
    pub client: SocketAddr,
    /// The server.
    pub server: SocketAddr,
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// The header's opcode; 0 is QUERY.
    pub opcode: u8,
    /// Query name in lower case, without trailing dot; the root is `.`.
    pub qname: Option<&'a str>,
    /// The registrable domain.
    pub zone: Option<&'a str>,
    /// Query type.
    pub qtype: Option<u16>,
    /// How it ended.
    pub status: Status,
    /// RCODE of the response, with the extended bits (RFC 6891).
    pub rcode: Option<u16>,
    /// The flags of the response, else of the query.
    pub flags: Flags,
    /// Time from query to response, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Number of retransmissions of the query.
    pub retries: u32,
    /// Whether the query asks for DNSSEC records (DO).
    pub dnssec_ok: bool,
    /// Whether the query has a client subnet option (RFC 7871).
    pub client_subnet: bool,
    /// The answer section.
    pub answers: &'a Answers,
    /// ANCOUNT of the response. Larger than the length of `answers` if the response was clipped.
    pub answer_count: Option<u16>,
    /// Smallest TTL of the response, in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// Size of the query in bytes.
    pub query_bytes: Option<u32>,
    /// Size of the response in bytes; of a zone transfer, of all its messages.
    pub response_bytes: Option<u64>,
    /// Whether it is a duplicate with another answer.
    pub conflict: bool,
    /// Share of transactions like this one that were exported when it was seen: 1 without sampling.
    pub sample_ratio: f64,
    /// Number of orphans that resembled the response while the query waited.
    pub rejected: u32,
    /// On an orphan: why it matches no query.
    pub orphan_reason: Option<OrphanReason>,
    /// On an orphan: the query that it would match but for that reason.
    pub resembles: Option<MessageId>,
    /// On TCP: the truncated UDP transaction that it follows.
    pub tcp_fallback_of: Option<MessageId>,
    /// The transaction that caused it.
    pub parent: Option<Parent>,
    /// Whether the resolver answered from its cache.
    pub cache: Option<AnswerSource>,
    /// Process that sent the query; at the server, the response.
    pub process: Option<ProcessView<'a>>,
    /// `namespace/pod`, else the id of the container.
    pub pod: Option<&'a str>,
    /// All that is known of the process, its container and its pod.
    pub attribution: Option<&'a Attribution>,
    /// What the kernel of this host discarded of it.
    pub lost: Option<&'a Lost>,
    /// Indicators of threats that match its names and addresses.
    pub indicators: &'a [IntelMatchFields],
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessView<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of the task.
    pub comm: &'a str,
}

/// What other stages know of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// Its links to other transactions.
    pub links: &'a TransactionLinks,
    /// Share of transactions like this one that were exported: 1 without sampling.
    pub sample_ratio: f64,
    /// Process, container and pod.
    pub attribution: &'a Attribution,
    /// Process, container and pod as records have them.
    pub tail: &'a RecordTail<'a>,
    /// What the kernel of this host discarded of it.
    pub lost: Option<&'a Lost>,
    /// Indicators of threats that match its names and addresses.
    pub indicators: &'a [IntelMatchFields],
}

impl<'a> TransactionView<'a> {
    /// Creates the view of a transaction; none if it has no message.
    #[must_use]
    pub fn new(
        transaction: &Transaction<'a>,
        texts: &'a MessageTexts,
        facts: &Facts<'a>,
    ) -> Option<Self> {
        let Facts { resolver, links, sample_ratio, attribution, tail, lost, indicators } = *facts;
        let (query, response) = (transaction.query, transaction.response);
        let subject = transaction.identifying_message()?;
        let first = query.or(response)?;
        let (client, server) = first.client_and_server();
        let question = transaction.question();
        let answered = response.map(|response| response.dns);
        let query_edns = query.and_then(|query| query.dns.edns());
        let transfer = transaction.transfer.as_ref();
        let whole_response = response.map(|response| response.wire_bytes.into());
        Some(Self {
            id: subject.envelope.id,
            query: query.map(|query| query.envelope.id),
            ts: first.envelope.ts,
            response_ts: response.map(|response| response.envelope.ts),
            vantage: transaction.vantage,
            transport: first.envelope.transport,
            client,
            server,
            resolver,
            opcode: first.dns.flags.opcode(),
            qname: texts.qname(),
            zone: texts.zone(),
            qtype: question.map(|question| question.qtype),
            status: transaction.status,
            rcode: answered.map(|dns| dns.rcode()),
            flags: answered.unwrap_or(first.dns).flags,
            latency_ms: transaction.latency().map(milliseconds),
            retries: transaction.retries,
            dnssec_ok: query_edns.is_some_and(|edns| edns.dnssec_ok()),
            client_subnet: query_edns.is_some_and(|edns| edns.has_client_subnet()),
            answer_count: answered.map(|dns| dns.counts.answer),
            answers: answered.map_or(Answers::NONE, |_| &texts.answers),
            min_ttl_seconds: answered.and_then(|dns| dns.min_ttl_seconds),
            query_bytes: query.map(|query| query.wire_bytes),
            response_bytes: transfer.map(|transfer| transfer.bytes).or(whole_response),
            conflict: transaction.conflict,
            sample_ratio,
            rejected: transaction.rejected,
            orphan_reason: transaction.orphan.map(|stray| stray.reason),
            resembles: transaction.orphan.and_then(|stray| stray.resembles),
            tcp_fallback_of: links.tcp_fallback_of,
            parent: links.parent,
            cache: links.cache,
            process: tail
                .process
                .as_ref()
                .map(|process| ProcessView { pid: process.pid, comm: &process.comm }),
            pod: attribution.pod_path(),
            attribution: Some(attribution),
            lost,
            indicators,
        })
    }

    /// Returns whether the response, if any, has the TC bit.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.rcode.is_some() && self.flags.is_truncated()
    }

    /// Returns whether it began with a query that was seen. Not so on `late`, `duplicate` and `orphan`.
    #[must_use]
    pub const fn is_query(&self) -> bool {
        !matches!(self.status, Status::Late | Status::Duplicate | Status::Orphan)
    }

    /// Returns when the server answered, also where this host discarded the response: it came too late, or a server that
    /// was asked at the same time was faster, and the client has closed its socket.
    #[must_use]
    pub fn answered_at(&self) -> Option<Timestamp> {
        let lost = self.lost.filter(|lost| lost.is_response).map(|lost| lost.ts);
        self.response_ts.or(lost)
    }

    /// Returns whether the client has no answer because the kernel of this host discarded a response, or each query. That
    /// says nothing about resolver and zone; rule `local_loss` reports it. A neighbour that is not found may be the resolver.
    #[must_use]
    pub fn is_lost_here(&self) -> bool {
        let is_lost = |lost: &Lost| {
            let is_before_network = matches!(
                lost.loss.stage,
                LossStage::Netfilter
                    | LossStage::Policy
                    | LossStage::Routing
                    | LossStage::Queue
                    | LossStage::Device
            );
            lost.is_response || is_before_network && lost.count > self.retries
        };
        self.vantage == Vantage::Client
            && matches!(self.status, Status::Timeout | Status::IcmpError)
            && self.lost.is_some_and(is_lost)
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{example, lost};
    use super::*;
    use crate::losses::NO_SOCKET;
    use dnscribe_transaction::packet::Loss;
    use std::sync::Arc;

    #[test]
    fn answer_to_a_closed_socket_is_lost_here_and_an_answer() {
        let view = TransactionView {
            status: Status::Timeout,
            response_ts: None,
            ..example(Timestamp::default())
        };
        for (is_response, expected) in [(true, Some(Timestamp::default())), (false, None)] {
            let mut lost = lost(is_response, LossStage::Socket, 1);
            let loss = Loss { reason: NO_SOCKET.into(), ..(*lost.loss).clone() };
            lost.loss = Arc::new(loss);
            let view = TransactionView { lost: Some(&lost), ..view };
            assert_eq!((view.is_lost_here(), view.answered_at()), (is_response, expected));
        }
    }

    #[test]
    fn what_dies_on_this_host_is_lost_here() {
        let view = TransactionView { status: Status::Timeout, ..example(Timestamp::default()) };
        for (is_response, stage, count, retries, expected) in [
            (false, LossStage::Netfilter, 1, 0, true),
            (false, LossStage::Policy, 3, 2, true),
            (false, LossStage::Routing, 1, 0, true),
            (false, LossStage::Queue, 1, 0, true),
            (false, LossStage::Device, 1, 0, true),
            (true, LossStage::Socket, 1, 2, true),
            (true, LossStage::Netfilter, 1, 0, true),
            // Some of its queries left.
            (false, LossStage::Netfilter, 2, 2, false),
            // The server is on this host, or nobody has its address.
            (false, LossStage::Socket, 1, 0, false),
            (false, LossStage::Neighbour, 1, 0, false),
            (false, LossStage::Other, 1, 0, false),
        ] {
            let lost = &lost(is_response, stage, count);
            let view = TransactionView { retries, lost: Some(lost), ..view };
            assert_eq!(view.is_lost_here(), expected, "{lost:?}");
            let rejected = TransactionView { status: Status::IcmpError, ..view };
            assert_eq!(rejected.is_lost_here(), expected, "{lost:?}");
            for other in [
                TransactionView { vantage: Vantage::Server, ..view },
                TransactionView { status: Status::Answered, ..view },
                TransactionView { lost: None, ..view },
            ] {
                assert!(!other.is_lost_here(), "{other:?}");
            }
        }
    }
}
