//! Messages, transactions and dead letters become records.

mod alert;
mod lookup;
mod window;

use super::{
    AnswerList, ContainerFields, DlqRecord, DsoFields, EdnsFields, FlagNames, IcmpFields,
    MessageBody, Namespace, ProcessFields, QuestionFields, Texts, TransactionBody,
    TransactionContext, unicode,
};
use crate::capture::Sight;
use crate::decode::dns::{
    Edns, Question, TypedOctets, class_name, dso_name, dso_text, opcode_name, rcode_name, type_name,
};
use crate::decode::{DeadLetter, Message};
use crate::join::{Cache, Links};
use crate::net::Cause;
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
    /// Whether names in other scripts are shown in Unicode, too.
    unicode: bool,
    /// Whether records of messages have their octets, too.
    wire: bool,
}

/// What other rooms know of an event.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// The process behind it.
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    pub container: Option<ContainerFields<'a>>,
    /// The transactions that this one belongs to.
    pub links: Links,
    /// The share of transactions like it that were told, where that is not all.
    pub sample_ratio: Option<f64>,
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
        Self { node, region, epoch, resolvers, namespace, unicode: false, wire: false }
    }

    /// Shows names in other scripts in Unicode, too, or does not.
    #[must_use]
    pub fn with_unicode(self, unicode: bool) -> Self {
        Self { unicode, ..self }
    }

    /// The same with the octets of each message in its record, or without.
    #[must_use]
    pub fn with_wire(self, wire: bool) -> Self {
        Self { wire, ..self }
    }

    fn unicode(&self, qname: Option<&str>) -> Option<String> {
        qname.filter(|_| self.unicode).and_then(unicode)
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

    /// `dns.message/1`, as far as the message itself says it; `texts` are the message's.
    #[must_use]
    pub fn message<'a>(&'a self, message: &Message<'a>, texts: &'a Texts) -> MessageBody<'a> {
        let envelope = message.envelope;
        let dns = &message.dns;
        let asked = dns.question();
        let response = dns.flags.response();
        MessageBody {
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
            flags: FlagNames(dns.flags),
            qname: texts.qname(),
            qname_unicode: self.unicode(texts.qname()),
            qname_case: texts.qname_case(),
            qtype: asked.map(|question| type_name(question.qtype)),
            qclass: asked.map(|question| class_name(message.class_of(&question))),
            further_questions: dns.further_questions().map(|asked| question(&asked)).collect(),
            question_count: dns.counts.question,
            answer_count: dns.counts.answer,
            authority_count: dns.counts.authority,
            additional_count: dns.counts.additional,
            answers: AnswerList(texts.answers()),
            edns: dns.edns().as_ref().map(EdnsFields::of),
            dso: dns.dso().map(|tlv| dso(&tlv)).collect(),
            trailing_bytes: (dns.trailing_bytes > 0).then_some(dns.trailing_bytes),
            wire_bytes: message.wire_bytes,
            captured_bytes: message.captured_bytes(),
            clipped: message.clipped(),
            wire: self.wire.then(|| BASE64.encode(dns.octets())),
        }
    }

    /// `dns.transaction/1`, as far as its messages say it; none for a transaction without a message. `texts`
    /// are the transaction's.
    #[must_use]
    pub fn transaction<'a>(
        &'a self,
        transaction: &Transaction<'a>,
        texts: &'a Texts,
    ) -> Option<TransactionBody<'a>> {
        let subject = transaction.subject()?;
        let (query, response) = (transaction.query, transaction.response);
        let first = query.or(response)?;
        let (client, server) = first.ends();
        let asked = transaction.question();
        let answered = response.map(|response| response.dns);
        let last = answered.unwrap_or(first.dns);
        let transfer = transaction.transfer.as_ref();
        let query_edns = query.and_then(|query| query.dns.edns());
        let response_edns = answered.and_then(|dns| dns.edns());
        Some(TransactionBody {
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
            id: first.dns.id,
            opcode: opcode_name(first.dns.flags.opcode()),
            qname: texts.qname(),
            qtype: asked.map(|question| type_name(question.qtype)),
            qclass: asked.map(|question| class_name(first.class_of(&question))),
            qname_unicode: self.unicode(texts.qname()),
            qname_case: texts.qname_case(),
            zone: texts.zone(),
            status: transaction.status.name(),
            rcode: answered.map(|dns| rcode_name(dns.rcode())),
            latency_ms: transaction.latency().map(milliseconds),
            retries: transaction.retries,
            conflict: transaction.conflict.then_some(true),
            icmp: transaction.icmp.map(icmp),
            flags: FlagNames(last.flags),
            answers: AnswerList(texts.answers()),
            answer_count: answered.map(|dns| dns.counts.answer),
            authority_count: answered.map(|dns| dns.counts.authority),
            additional_count: answered.map(|dns| dns.counts.additional),
            min_ttl_seconds: answered.and_then(|dns| dns.min_ttl_seconds),
            edns: response_edns.or(query_edns).as_ref().map(EdnsFields::of),
            query_ecs: differing(query_edns, response_edns, Edns::ecs),
            query_cookie: differing(query_edns, response_edns, Edns::cookie),
            query_bytes: query.map(|query| query.wire_bytes),
            response_bytes: transfer
                .map(|transfer| transfer.bytes)
                .or_else(|| response.map(|response| response.wire_bytes.into())),
            transfer_messages: transfer.map(|transfer| transfer.messages),
            transfer_records: transfer.map(|transfer| transfer.records),
            transfer_ms: transfer.map(|transfer| milliseconds(transfer.duration)),
            transfer_complete: transfer.map(|transfer| transfer.complete),
            responder_ip: response
                .map(|response| response.ends().1.ip())
                .filter(|responder| *responder != server.ip()),
            orphan_reason: transaction.stray.map(|stray| stray.reason.name()),
            resembles: transaction
                .stray
                .and_then(|stray| stray.resembles)
                .map(|query| self.namespace.message(query)),
            rejected_responses: Some(transaction.rejected).filter(|rejected| *rejected > 0),
        })
    }

    /// The rest of `dns.transaction/1`. `resolver` is what [`Self::resolver`] says of its server.
    #[must_use]
    pub fn transaction_context<'a>(
        &self,
        resolver: &'a str,
        context: Context<'a>,
    ) -> TransactionContext<'a> {
        let Context { process, container, links, sample_ratio } = context;
        let named = |id| self.namespace.message(id);
        TransactionContext {
            resolver,
            sample_ratio,
            tcp_fallback_of: links.tcp_fallback_of.map(named),
            parent_event_id: links.parent.map(|parent| named(parent.id)),
            parent_match: links.parent.map(|parent| parent.by.name()),
            cache: links.cache.map(Cache::name),
            process,
            container,
            masking: None,
        }
    }

    /// `dns.dlq/1`.
    #[must_use]
    pub fn dead_letter<'a>(
        &'a self,
        letter: &DeadLetter<'_>,
        context: Context<'a>,
    ) -> DlqRecord<'a> {
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
            bytes: BASE64.encode(letter.bytes),
            captured_bytes: u32::try_from(letter.bytes.len()).unwrap_or(u32::MAX),
            process: context.process,
            container: context.container,
            ..DlqRecord::new(&self.node, self.region.as_deref())
        }
    }
}

/// The nearest number to the exact value: dividing once rounds once.
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days, and far finer than a clock")]
pub(crate) fn milliseconds(latency: Duration) -> f64 {
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

fn icmp(cause: Cause) -> IcmpFields {
    let (kind, code) = cause.code.unzip();
    IcmpFields { kind, code, name: cause.name }
}

fn question(question: &Question<'_>) -> QuestionFields {
    QuestionFields {
        name: question.qname(),
        qtype: type_name(question.qtype),
        class: class_name(question.qclass),
    }
}

fn dso(tlv: &TypedOctets<'_>) -> DsoFields {
    DsoFields { code: tlv.code, name: dso_name(tlv.code), length: tlv.length, data: dso_text(tlv) }
}

/// The query's value, where the response has another or none. Where the response has no EDNS, the
/// query's is shown as it is.
fn differing<'a, T: PartialEq>(
    query: Option<Edns<'a>>,
    response: Option<Edns<'a>>,
    field: impl Fn(&Edns<'a>) -> Option<T>,
) -> Option<T> {
    let (query, response) = (query?, response?);
    field(&query).filter(|value| field(&response).as_ref() != Some(value))
}
