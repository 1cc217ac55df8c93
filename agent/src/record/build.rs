//! Messages, transactions and dead letters become records.

mod window;

use super::{
    AnswerFields, ContainerFields, DlqRecord, EdeFields, EdnsFields, EventId, MessageRecord,
    Namespace, ProcessFields, TransactionRecord, registrable,
};
use crate::capture::Sight;
use crate::decode::dns::{Answer, Dns, Edns, class_name, opcode_name, rcode_name, type_name};
use crate::decode::{DeadLetter, Message};
use crate::pair::{Transaction, Vantage};
use crate::sink::Stream;
use crate::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Who writes the records.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node's name.
    pub node: String,
    /// The node's region, if configured.
    pub region: Option<String>,
    /// When the capture began.
    pub epoch: Timestamp,
    /// Names of resolvers by address.
    pub resolvers: HashMap<IpAddr, String>,
    namespace: Namespace,
}

/// What other rooms know of an event.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// The process behind it.
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    pub container: Option<ContainerFields<'a>>,
    /// The truncated UDP transaction that this one follows.
    pub tcp_fallback_of: Option<EventId>,
}

impl Identity {
    /// The writer of the records of one capture.
    #[must_use]
    pub fn new(
        node: String,
        region: Option<String>,
        epoch: Timestamp,
        resolvers: HashMap<IpAddr, String>,
    ) -> Self {
        let namespace = Namespace::new(&node, epoch);
        Self { node, region, epoch, resolvers, namespace }
    }

    /// The names of this capture's events.
    #[must_use]
    pub const fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// The server's configured name, else its address.
    #[must_use]
    pub fn resolver(&self, server: IpAddr) -> Cow<'_, str> {
        let server = server.to_canonical();
        self.resolvers.get(&server).map_or_else(|| server.to_string().into(), Into::into)
    }

    /// `dns.message/1`.
    #[must_use]
    pub fn message<'a>(&'a self, message: &'a Message, context: Context<'a>) -> MessageRecord<'a> {
        let envelope = &message.envelope;
        let dns = &message.dns;
        let response = dns.flags.response();
        MessageRecord {
            schema: Stream::Messages.schema(),
            event_id: self.namespace.message(envelope.id),
            ts: envelope.ts,
            node: &self.node,
            region: self.region.as_deref(),
            seq: envelope.id.origin.seq,
            cpu: envelope.id.origin.cpu,
            vantage: Vantage::of(envelope.sight, response).name(),
            direction: direction(envelope.sight, Some(response)),
            transport: envelope.transport.name(),
            src_ip: envelope.src.ip(),
            src_port: envelope.src.port(),
            dst_ip: envelope.dst.ip(),
            dst_port: envelope.dst.port(),
            id: dns.id,
            qr: if response { "response" } else { "query" },
            opcode: opcode_name(dns.flags.opcode()),
            rcode: response.then(|| rcode_name(dns.rcode())),
            flags: dns.flags.names().collect(),
            qname: dns.question.as_ref().map(|question| &*question.qname),
            qtype: dns.question.as_ref().map(|question| type_name(question.qtype)),
            qclass: dns.question.as_ref().map(|question| class_name(question.qclass)),
            question_count: dns.counts.question,
            answer_count: dns.counts.answer,
            authority_count: dns.counts.authority,
            additional_count: dns.counts.additional,
            answers: dns.answers.iter().map(answer).collect(),
            edns: dns.edns.as_ref().map(edns),
            wire_bytes: message.wire_bytes,
            captured_bytes: message.captured_bytes,
            clipped: message.clipped,
            wire: message.wire.as_ref().map(|octets| BASE64.encode(octets)),
            process: context.process,
            container: context.container,
        }
    }

    /// `dns.transaction/1`; none for a transaction without a message. `resolver` is what
    /// [`Self::resolver`] says of its server.
    #[must_use]
    pub fn transaction<'a>(
        &'a self,
        transaction: &Transaction<'a>,
        resolver: &'a str,
        context: Context<'a>,
    ) -> Option<TransactionRecord<'a>> {
        let subject = transaction.subject()?;
        let (query, response) = (transaction.query, transaction.response);
        let first = query.or(response)?;
        let (client, server) = first.ends();
        let asked = transaction.question();
        let answered = response.map(|response| &response.dns);
        let last = answered.unwrap_or(&first.dns);
        let query_edns = query.and_then(|query| query.dns.edns.as_ref());
        let edns_shown = answered.and_then(|dns| dns.edns.as_ref()).or(query_edns);
        Some(TransactionRecord {
            schema: Stream::Transactions.schema(),
            event_id: self.namespace.message(subject.envelope.id),
            ts: first.envelope.ts,
            node: &self.node,
            region: self.region.as_deref(),
            vantage: transaction.vantage.name(),
            transport: first.envelope.transport.name(),
            client_ip: client.ip(),
            client_port: client.port(),
            server_ip: server.ip(),
            server_port: server.port(),
            resolver,
            id: first.dns.id,
            opcode: opcode_name(first.dns.flags.opcode()),
            qname: asked.map(|question| &*question.qname),
            qtype: asked.map(|question| type_name(question.qtype)),
            qclass: asked.map(|question| class_name(question.qclass)),
            qname_case: query
                .and_then(|query| query.dns.question.as_ref())
                .and_then(|question| question.qname_case.as_deref()),
            zone: asked.and_then(|question| registrable(&question.qname)),
            status: transaction.status.name(),
            rcode: answered.map(|dns| rcode_name(dns.rcode())),
            latency_ms: transaction.latency().map(milliseconds),
            retries: transaction.retries,
            conflict: transaction.conflict.then_some(true),
            flags: last.flags.names().collect(),
            answers: last.answers.iter().map(answer).collect(),
            answer_count: answered.map(|dns| dns.counts.answer),
            authority_count: answered.map(|dns| dns.counts.authority),
            additional_count: answered.map(|dns| dns.counts.additional),
            min_ttl_seconds: answered.and_then(|dns| dns.min_ttl_seconds),
            edns: edns_shown.map(edns),
            query_ecs: differing(query_edns, edns_shown, |edns| edns.ecs.as_deref()),
            query_cookie: differing(query_edns, edns_shown, |edns| edns.cookie.as_deref()),
            query_bytes: query.map(|query| query.wire_bytes),
            response_bytes: response.map(|response| response.wire_bytes),
            tcp_fallback_of: context.tcp_fallback_of,
            process: context.process,
            container: context.container,
        })
    }

    /// `dns.dlq/1`.
    #[must_use]
    pub fn dead_letter<'a>(&'a self, letter: &DeadLetter, context: Context<'a>) -> DlqRecord<'a> {
        let envelope = &letter.envelope;
        DlqRecord {
            event_id: self.namespace.message(envelope.id),
            ts: envelope.ts,
            stage: "decode",
            reason: letter.reason.name(),
            seq: Some(envelope.id.origin.seq),
            cpu: Some(envelope.id.origin.cpu),
            direction: direction(envelope.sight, None),
            transport: Some(envelope.transport.name()),
            src_ip: Some(envelope.src.ip()),
            src_port: Some(envelope.src.port()),
            dst_ip: Some(envelope.dst.ip()),
            dst_port: Some(envelope.dst.port()),
            bytes: BASE64.encode(&letter.bytes),
            captured_bytes: u32::try_from(letter.bytes.len()).unwrap_or(u32::MAX),
            process: context.process,
            container: context.container,
            ..DlqRecord::new(&self.node, self.region.as_deref())
        }
    }
}

/// The nearest number to the exact value: dividing once rounds once.
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days, and far finer than a clock")]
fn milliseconds(latency: Duration) -> f64 {
    latency.as_nanos() as f64 / 1e6
}

/// Which way a packet went; on loopback, which is folded into the client's view, as the client
/// saw it, where it is known whether it held a response.
fn direction(sight: Sight, response: Option<bool>) -> Option<&'static str> {
    match (sight, response) {
        (Sight::Egress, _) | (Sight::Loopback, Some(false)) => Some("egress"),
        (Sight::Ingress, _) | (Sight::Loopback, Some(true)) => Some("ingress"),
        (Sight::Loopback, None) | (Sight::Passive, _) => None,
    }
}

fn answer(answer: &Answer) -> AnswerFields<'_> {
    AnswerFields {
        name: &answer.name,
        rtype: type_name(answer.rtype),
        ttl: answer.ttl_seconds,
        data: &answer.data,
    }
}

fn edns(edns: &Edns) -> EdnsFields<'_> {
    EdnsFields {
        udp_size: edns.udp_size,
        dnssec_ok: edns.dnssec_ok,
        version: edns.version,
        ecs: edns.ecs.as_deref(),
        ede: edns.ede.as_ref().map(|ede| EdeFields { code: ede.code, text: &ede.text }),
        nsid: edns.nsid.as_deref(),
        cookie: edns.cookie.as_deref(),
    }
}

/// The query's value, where the EDNS shown has another or none.
fn differing<'a>(
    query: Option<&'a Edns>,
    shown: Option<&'a Edns>,
    field: impl Fn(&'a Edns) -> Option<&'a str>,
) -> Option<&'a str> {
    query.and_then(&field).filter(|value| shown.and_then(&field) != Some(*value))
}

/// The answers' data in one line, for readers: the first few, each cut to what a line can bear.
pub(super) fn summary(dns: &Dns) -> String {
    const SHOWN: usize = 3;
    const WIDTH: usize = 60;
    let mut text = String::new();
    for answer in dns.answers.iter().take(SHOWN) {
        // Presentation form is ASCII but for what hickory-proto renders of its own.
        let cut = answer.data.char_indices().nth(WIDTH).map(|(at, _)| at);
        text.extend([answer.data.get(..cut.unwrap_or(answer.data.len())).unwrap_or_default()]);
        text.push_str(if cut.is_some() { "… " } else { " " });
    }
    let more = dns.answers.len().saturating_sub(SHOWN);
    if more > 0 {
        text.extend(["+".to_owned(), more.to_string()]);
    }
    text.trim_end().to_owned()
}
