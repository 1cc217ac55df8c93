//! A transaction with all that the rooms to the left know of it, as windows, lookups and detection
//! see it: one flat view, so that none of them needs to know where a fact comes from.

#![forbid(unsafe_code)]

use crate::capture::Transport;
use crate::decode::MessageId;
use crate::decode::dns::{Answers, Flags};
use crate::enrich::Place;
use crate::join::{Cache, Parent};
use crate::pair::{OrphanReason, Status, Vantage};
use crate::time::Timestamp;
use std::net::SocketAddr;

/// A transaction. Fields are named as in `dns.transaction/1`.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What names it: the record's `event_id` is made of this.
    pub id: MessageId,
    /// Its query, where one was seen: the same, but on `late` and `duplicate`.
    pub query: Option<MessageId>,
    /// The record's `ts`: of the query, else of the response.
    pub ts: Timestamp,
    /// When the response passed, if one did.
    pub response_ts: Option<Timestamp>,
    /// The side that it was seen from.
    pub vantage: Vantage,
    /// UDP or TCP.
    pub transport: Transport,
    /// Who asked.
    pub client: SocketAddr,
    /// Who was asked.
    pub server: SocketAddr,
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// The header's opcode; 0 is QUERY.
    pub opcode: u8,
    /// What was asked, as records write it: lower case, no trailing dot, the root `.`.
    pub qname: Option<&'a str>,
    /// The registrable domain.
    pub zone: Option<&'a str>,
    /// The number of the type asked for.
    pub qtype: Option<u16>,
    /// The number of the class asked for.
    pub qclass: Option<u16>,
    /// How it ended.
    pub status: Status,
    /// The response's extended code.
    pub rcode: Option<u16>,
    /// The response's extended DNS error (RFC 8914), the first.
    pub ede: Option<u16>,
    /// The flags of the response, else of the query.
    pub flags: Flags,
    /// From query to response, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Times the query was sent again.
    pub retries: u32,
    /// Whether the query asks for DNSSEC records (DO).
    pub dnssec_ok: bool,
    /// Whether the query tells a client subnet (RFC 7871).
    pub client_subnet: bool,
    /// The answer section.
    pub answers: &'a Answers,
    /// ANCOUNT of the response: more than `answers` has where it was clipped.
    pub answer_count: Option<u16>,
    /// Smallest TTL of the response, in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// Octets of the query.
    pub query_bytes: Option<u32>,
    /// Octets of the response; of a zone transfer, of all its messages.
    pub response_bytes: Option<u64>,
    /// Whether it is a duplicate that answers differently.
    pub conflict: bool,
    /// The share of transactions like it that were told when it passed: 1 but for sampling.
    pub sample_ratio: f64,
    /// Orphans that resembled the response that was waited for, while it was.
    pub rejected: u32,
    /// On an orphan: why it answers nothing.
    pub orphan_reason: Option<OrphanReason>,
    /// On an orphan: the query that it would answer but for that.
    pub resembles: Option<MessageId>,
    /// Over TCP: the truncated UDP transaction that it follows.
    pub tcp_fallback_of: Option<MessageId>,
    /// The transaction that caused it.
    pub parent: Option<Parent>,
    /// Where a resolver had the answer from.
    pub cache: Option<Cache>,
    /// Who sent the query; at the server, the response.
    pub process: Option<Process<'a>>,
    /// The container of that process.
    pub container: Option<Container<'a>>,
    /// `namespace/pod`, else the container's id.
    pub pod: Option<&'a str>,
}

/// A container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Container<'a> {
    /// 64 hex digits.
    pub id: &'a str,
    /// What runs it.
    pub runtime: Option<&'static str>,
    /// The uid of its pod.
    pub pod_uid: Option<&'a str>,
    /// Its pod.
    pub place: Option<&'a Place>,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Its name.
    pub comm: &'a str,
    /// The executable's path.
    pub exe: Option<&'a str>,
}

impl Observation<'_> {
    /// Whether the response, if any, has the TC bit.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.rcode.is_some() && self.flags.truncated()
    }

    /// Whether it began with a query that was seen; others are `late`, `duplicate` and `orphan`.
    #[must_use]
    pub const fn is_query(&self) -> bool {
        !matches!(self.status, Status::Late | Status::Duplicate | Status::Orphan)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An address asked for and given, in 12 ms, at the client; what tests vary.
    pub(crate) fn example(ts: Timestamp) -> Observation<'static> {
        Observation {
            id: MessageId::default(),
            query: Some(MessageId::default()),
            ts,
            response_ts: Some(ts.plus(std::time::Duration::from_millis(12))),
            vantage: Vantage::Client,
            transport: Transport::Udp,
            client: SocketAddr::from(([192, 0, 2, 1], 40_000)),
            server: SocketAddr::from(([192, 0, 2, 53], 53)),
            resolver: "192.0.2.53",
            opcode: 0,
            qname: Some("www.example.com"),
            zone: Some("example.com"),
            qtype: Some(1),
            qclass: Some(1),
            status: Status::Answered,
            rcode: Some(0),
            ede: None,
            flags: Flags(0x8180),
            latency_ms: Some(12.0),
            retries: 0,
            dnssec_ok: false,
            client_subnet: false,
            answer_count: Some(1),
            answers: Answers::NONE,
            min_ttl_seconds: Some(300),
            query_bytes: Some(33),
            response_bytes: Some(49),
            conflict: false,
            sample_ratio: 1.0,
            rejected: 0,
            orphan_reason: None,
            resembles: None,
            tcp_fallback_of: None,
            parent: None,
            cache: None,
            process: Some(Process {
                pid: 4242,
                uid: 1000,
                comm: "curl",
                exe: Some("/usr/bin/curl"),
            }),
            container: None,
            pod: None,
        }
    }
}
