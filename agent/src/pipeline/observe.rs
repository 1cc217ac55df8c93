//! The flat view of a transaction.

use crate::decode::dns::Answers;
use crate::enrich::Place;
use crate::join::Links;
use crate::number::milliseconds;
use crate::observation::{Container, Observation, Process};
use crate::pair::Transaction;
use crate::record::{ContainerFields, ProcessFields, Texts};

/// What is known of a transaction beside its messages.
pub struct Facts<'a> {
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// What of it is text.
    pub texts: &'a Texts,
    /// Who sent the query; at the server, the response.
    pub process: Option<&'a ProcessFields<'a>>,
    /// The container of that process.
    pub container: Option<&'a ContainerFields<'a>>,
    /// The pod of that container.
    pub place: Option<&'a Place>,
    /// The share of transactions like it that were told.
    pub sample_ratio: f64,
}

/// The flat view; none for a transaction without a message.
#[must_use]
pub fn observation<'a>(
    transaction: &Transaction<'a>,
    links: &Links,
    facts: &Facts<'a>,
) -> Option<Observation<'a>> {
    let (query, response) = (transaction.query, transaction.response);
    let subject = transaction.subject()?;
    let first = query.or(response)?;
    let (client, server) = first.ends();
    let question = transaction.question();
    let answered = response.map(|response| response.dns);
    let query_edns = query.and_then(|query| query.dns.edns());
    let transfer = transaction.transfer.as_ref();
    let whole_response = response.map(|response| response.wire_bytes.into());
    Some(Observation {
        id: subject.envelope.id,
        query: query.map(|query| query.envelope.id),
        ts: first.envelope.ts,
        response_ts: response.map(|response| response.envelope.ts),
        vantage: transaction.vantage,
        transport: first.envelope.transport,
        client,
        server,
        resolver: facts.resolver,
        opcode: first.dns.flags.opcode(),
        qname: facts.texts.qname(),
        zone: facts.texts.zone(),
        qtype: question.map(|question| question.qtype),
        qclass: question.map(|question| first.class_of(&question)),
        status: transaction.status,
        rcode: answered.map(|dns| dns.rcode()),
        ede: answered.and_then(|dns| dns.edns()).and_then(|edns| edns.ede_code()),
        flags: answered.unwrap_or(first.dns).flags,
        latency_ms: transaction.latency().map(milliseconds),
        retries: transaction.retries,
        dnssec_ok: query_edns.is_some_and(|edns| edns.dnssec_ok()),
        client_subnet: query_edns.is_some_and(|edns| edns.has_client_subnet()),
        answer_count: answered.map(|dns| dns.counts.answer),
        answers: answered.map_or(Answers::NONE, |_| facts.texts.answers()),
        min_ttl_seconds: answered.and_then(|dns| dns.min_ttl_seconds),
        query_bytes: query.map(|query| query.wire_bytes),
        response_bytes: transfer.map(|transfer| transfer.bytes).or(whole_response),
        conflict: transaction.conflict,
        sample_ratio: facts.sample_ratio,
        rejected: transaction.rejected,
        orphan_reason: transaction.stray.map(|stray| stray.reason),
        resembles: transaction.stray.and_then(|stray| stray.resembles),
        tcp_fallback_of: links.tcp_fallback_of,
        parent: links.parent,
        cache: links.cache,
        process: facts.process.map(|process| Process {
            pid: process.pid,
            uid: process.uid,
            comm: &process.comm,
            exe: process.exe,
        }),
        container: facts.container.map(|container| Container {
            id: container.id,
            runtime: container.runtime,
            pod_uid: container.pod_uid,
            place: facts.place,
        }),
        pod: match (facts.place, facts.container) {
            (Some(place), _) => Some(&*place.pod.path),
            (None, container) => container.map(|container| container.id),
        },
    })
}
