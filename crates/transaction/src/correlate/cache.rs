//! Infers whether an answer came from the cache; resolvers do not report it.

use super::pending_queries::{PendingQueries, PendingQuery};
use super::query::Resolver;
use super::upstream::UpstreamQueries;
use super::{AnswerSource, ParentMatch};
use crate::decode::Message;
use crate::pair::{Status, Transaction};
use dnscribe_dns::rcode::{NOERROR, NXDOMAIN, SERVFAIL, YXDOMAIN};
use std::time::Duration;

/// Time without captured upstream queries after which they may have become invisible (encrypted).
const PROOF_LIFETIME: Duration = Duration::from_hours(1);

/// Class IN, the only one that resolvers cache.
const INTERNET: u16 = 1;

/// Extended errors of stale answers (RFC 8914, 4.4 and 4.20).
const STALE: [u16; 2] = [3, 19];

/// RA and AA (RFC 1035, 4.1.1).
const RECURSION_AVAILABLE: u16 = 0x80;
const AUTHORITATIVE: u16 = 0x400;

/// Returns the source of the answer to `ask`, or `None` if it is not known.
pub(super) fn verdict(
    query: &PendingQuery,
    transaction: &Transaction<'_>,
    upstream: &UpstreamQueries,
    pending: &PendingQueries,
) -> Option<AnswerSource> {
    let response = transaction.response.filter(|_| transaction.status == Status::Answered)?;
    let cacheable = response.dns.flags.opcode() == 0
        && query.question.qclass == INTERNET
        && !matches!(query.question.qtype, 251 | 252);
    if !cacheable || !same_process(query, &response) {
        return None;
    }
    let rcode = response.dns.rcode();
    let flags = response.dns.flags.0;
    let error = response.dns.edns().and_then(|edns| edns.ede());
    if error.is_some_and(|error| STALE.contains(&error.code)) {
        return Some(AnswerSource::Stale);
    }
    if query.answered_by.is_some()
        || upstream.answered_since(&query.question, response.dns.answers(), query.since)
    {
        return Some(AnswerSource::Miss);
    }
    if rcode == SERVFAIL {
        return query.sent.then_some(AnswerSource::Miss);
    }
    if !matches!(rcode, NOERROR | NXDOMAIN | YXDOMAIN) {
        return None;
    }
    if flags & AUTHORITATIVE != 0 {
        return Some(AnswerSource::Local).filter(|_| !query.sent);
    }
    let proven = pending.proven(query.question.resolver)?;
    let visible = response.envelope.ts.since(proven) <= PROOF_LIFETIME;
    (visible && flags & RECURSION_AVAILABLE != 0).then_some(AnswerSource::Hit)
}

/// Returns whether a cache miss proves that the resolver's upstream queries are captured.
pub(super) fn is_proof(query: &PendingQuery) -> bool {
    query.answered_by.is_some_and(|by| by < ParentMatch::Only)
}

/// Returns whether the response was sent by the process that received the query. A worker that
/// shares the socket of another process sends upstream queries under its own pid.
fn same_process(query: &PendingQuery, response: &Message<'_>) -> bool {
    match (query.question.resolver, &response.envelope.task) {
        (Resolver::Process(pid), Some(task)) => pid == task.pid,
        _ => true,
    }
}
