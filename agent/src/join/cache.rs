//! Whether an answer came out of the cache: by inference, for no resolver says.

use super::asks::{Ask, Asks};
use super::note::Resolver;
use super::upstream::Upstream;
use super::{Cache, Match};
use crate::decode::Message;
use crate::pair::{Status, Transaction};
use std::time::Duration;

/// A resolver that was not seen to ask for so long may have come to ask where nobody sees it.
const PROOF: Duration = Duration::from_secs(3600);

/// The class IN: what resolvers cache.
const INTERNET: u16 = 1;

/// Rcodes (RFC 1035, RFC 2136).
const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const YXDOMAIN: u16 = 6;

/// Extended errors of answers past their time (RFC 8914, 4.4 and 4.20).
const STALE: [u16; 2] = [3, 19];

/// RA and AA (RFC 1035, 4.1.1).
const RECURSION_AVAILABLE: u16 = 0x80;
const AUTHORITATIVE: u16 = 0x400;

/// How a query at a resolver was answered; `None` where that cannot be known.
pub(super) fn verdict(
    ask: &Ask,
    transaction: &Transaction<'_>,
    upstream: &Upstream,
    asks: &Asks,
) -> Option<Cache> {
    let response = transaction.response.filter(|_| transaction.status == Status::Answered)?;
    let cacheable = response.dns.flags.opcode() == 0
        && ask.question.qclass == INTERNET
        && !matches!(ask.question.qtype, 251 | 252);
    if !cacheable || !same_process(ask, &response) {
        return None;
    }
    let rcode = response.dns.rcode();
    let flags = response.dns.flags.0;
    let error = response.dns.edns().and_then(|edns| edns.ede());
    if error.is_some_and(|error| STALE.contains(&error.code)) {
        return Some(Cache::Stale);
    }
    if ask.fed.is_some()
        || upstream.answered_since(&ask.question, response.dns.answers(), ask.since)
    {
        return Some(Cache::Miss);
    }
    if rcode == SERVFAIL {
        return ask.sent.then_some(Cache::Miss);
    }
    if !matches!(rcode, NOERROR | NXDOMAIN | YXDOMAIN) {
        return None;
    }
    if flags & AUTHORITATIVE != 0 {
        return Some(Cache::Local).filter(|_| !ask.sent);
    }
    let proven = asks.proven(ask.question.who)?;
    let visible = response.envelope.ts.since(proven) <= PROOF;
    (visible && flags & RECURSION_AVAILABLE != 0).then_some(Cache::Hit)
}

/// Whether a miss shows that its resolver's upstream queries can be seen.
pub(super) fn is_proof(ask: &Ask) -> bool {
    ask.fed.is_some_and(|by| by < Match::Only)
}

/// A worker that answers on a socket that another process opened asks under another number.
fn same_process(ask: &Ask, response: &Message<'_>) -> bool {
    match (ask.question.who, &response.envelope.task) {
        (Resolver::Process(pid), Some(task)) => pid == task.pid,
        _ => true,
    }
}
