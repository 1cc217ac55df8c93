//! Builds records of messages, transactions and dead letters from the agent's own types.

mod alert;
mod connection;
mod limits;
mod lookup;
mod use_record;
mod window;

pub use limits::RecordLimits;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_analysis::attribution::{Attribution, PodRef, Runtime};
use dnscribe_analysis::losses::Lost;
use dnscribe_analysis::path::PathTimes;
use dnscribe_dns::{Edns, Question, class_name, opcode_name, rcode_name, to_unicode, type_name};
use dnscribe_record::number::milliseconds;
use dnscribe_record::time::{ClockShift, Timestamp};
use dnscribe_record::{
    AnswerList, ContainerFields, DlqRecord, DnstapFields, EdnsFields, EventId, FlagNames,
    IcmpFields, K8sFields, Labels, LostAtFields, MessageBody, Namespace, PathFields, PolicyFields,
    ProcessFields, QuestionFields, RecordHead, RecordTail, Stream, TransactionBody,
    TransactionContext,
};
use dnscribe_transaction::correlate::{AnswerSource, TransactionLinks};
use dnscribe_transaction::decode::{DeadLetter, Message, View};
use dnscribe_transaction::packet::net::UnreachableReason;
use dnscribe_transaction::packet::{Direction, NetfilterHook, ServerReport};
use dnscribe_transaction::pair::{MessageTexts, Transaction, Vantage};
use limits::ListLimits;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

/// Builds the records of one capture on one node.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    /// Name of the node.
    pub node: String,
    /// Region of the node, if configured.
    pub region: Option<String>,
    /// Labels of the node; none if it has no labels.
    pub labels: Option<Labels>,
    /// Start of the capture, by the host's clock at that time.
    pub epoch: Timestamp,
    /// How far the host's clock was set since. The only place where it is added to times: all stages use the clock of
    /// the capture, which nobody sets.
    pub clock: ClockShift,
    /// Configured names of resolvers by address.
    pub resolvers: HashMap<IpAddr, String>,
    /// Namespace of this capture's event ids.
    pub namespace: Namespace,
    /// Whether records include `qname_unicode`.
    pub unicode: bool,
    /// Whether message records include the message itself (`wire`).
    pub wire: bool,
    /// Limits of records of messages and transactions.
    pub limits: RecordLimits,
}

impl RecordBuilder {
    /// Creates a builder for one capture.
    #[must_use]
    pub fn new(
        node: String,
        region: Option<String>,
        epoch: Timestamp,
        resolvers: HashMap<IpAddr, String>,
    ) -> Self {
        let namespace = Namespace::new(&node, epoch);
        Self {
            node,
            region,
            labels: None,
            epoch,
            clock: ClockShift::default(),
            resolvers,
            namespace,
            unicode: false,
            wire: false,
            limits: RecordLimits::default(),
        }
    }

    fn head(&self, stream: Stream, event_id: EventId, ts: Timestamp) -> RecordHead<'_> {
        let region = self.region.as_deref();
        RecordHead {
            schema: stream.schema(),
            event_id,
            ts: self.clock.apply(ts),
            node: &self.node,
            region,
            labels: self.labels.as_ref(),
        }
    }

    fn unicode(&self, qname: Option<&str>) -> Option<String> {
        qname.filter(|_| self.unicode).and_then(to_unicode)
    }

    /// Returns the configured name of a server, else its address.
    #[must_use]
    pub fn resolver(&self, server: IpAddr) -> Cow<'_, str> {
        let server = server.to_canonical();
        self.resolvers.get(&server).map_or_else(|| server.to_string().into(), Into::into)
    }

    fn message_limits(&self, message: &Message<'_>) -> ListLimits {
        self.limits.lists(if self.wire { message.dns.bytes().len() } else { 0 })
    }

    /// Reads the texts of a message for its record.
    pub fn read_message(&self, message: &Message<'_>, texts: &mut MessageTexts) {
        texts.read_message(message, self.message_limits(message).answers);
    }

    /// Reads the texts of a transaction for its record and the analyses.
    pub fn read_transaction(&self, transaction: &Transaction<'_>, texts: &mut MessageTexts) {
        texts.read_transaction(transaction, self.limits.lists(0).answers);
    }

    /// Builds the first part of `dns.message/1`. `texts` are the message's.
    #[must_use]
    pub fn message<'a>(
        &'a self,
        message: &Message<'a>,
        texts: &'a MessageTexts,
    ) -> MessageBody<'a> {
        let envelope = message.envelope;
        let dns = &message.dns;
        let asked = dns.question();
        let response = dns.flags.is_response();
        let limits = self.message_limits(message);
        let (further_questions, questions_omitted) =
            self.limits.take(dns.further_questions(), question, limits.question_bytes);
        MessageBody {
            head: self.head(Stream::Messages, self.namespace.message(envelope.id), envelope.ts),
            seq: envelope.id.packet.seq,
            cpu: envelope.id.packet.cpu,
            vantage: Vantage::from_direction(envelope.direction, response).name(),
            direction: direction(envelope.direction, Some(response)),
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
            qclass: asked.map(|question| class_name(message.question_class(&question))),
            further_questions,
            questions_omitted,
            question_count: dns.counts.question,
            answer_count: dns.counts.answer,
            authority_count: dns.counts.authority,
            additional_count: dns.counts.additional,
            answers: AnswerList(&texts.answers),
            answers_omitted: omitted(texts),
            edns: dns.edns().map(|edns| EdnsFields::of(edns, limits.edns_bytes)),
            trailing_bytes: (dns.trailing_bytes > 0).then_some(dns.trailing_bytes),
            wire_bytes: message.wire_bytes,
            captured_bytes: message.captured_bytes(),
            clipped: message.is_clipped(),
            seen_by: envelope.seen_by.map_or(&[], View::names),
            dnstap: envelope.report.as_deref().map(dnstap),
            wire: self.wire.then(|| BASE64.encode(dns.bytes())),
        }
    }

    /// Builds the first part of `dns.transaction/1`, or none for a transaction without a message.
    /// `texts` are the transaction's.
    #[must_use]
    pub fn transaction<'a>(
        &'a self,
        transaction: &Transaction<'a>,
        texts: &'a MessageTexts,
    ) -> Option<TransactionBody<'a>> {
        let subject = transaction.identifying_message()?;
        let (query, response) = (transaction.query, transaction.response);
        let first = query.or(response)?;
        let (client, server) = first.client_and_server();
        let asked = transaction.question();
        let answered = response.map(|response| response.dns);
        let last = answered.unwrap_or(first.dns);
        let transfer = transaction.transfer.as_ref();
        let query_edns = query.and_then(|query| query.dns.edns());
        let response_edns = answered.and_then(|dns| dns.edns());
        let edns_bytes = self.limits.lists(0).edns_bytes;
        let limited_edns = query_edns.map(|mut edns| {
            edns.limit_options(edns_bytes);
            edns
        });
        Some(TransactionBody {
            head: self.head(
                Stream::Transactions,
                self.namespace.message(subject.envelope.id),
                first.envelope.ts,
            ),
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
            qclass: asked.map(|question| class_name(first.question_class(&question))),
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
            answers: AnswerList(&texts.answers),
            answers_omitted: omitted(texts),
            answer_count: answered.map(|dns| dns.counts.answer),
            authority_count: answered.map(|dns| dns.counts.authority),
            additional_count: answered.map(|dns| dns.counts.additional),
            min_ttl_seconds: answered.and_then(|dns| dns.min_ttl_seconds),
            edns: response_edns.or(query_edns).map(|edns| EdnsFields::of(edns, edns_bytes)),
            query_ecs: differing(limited_edns, response_edns, Edns::ecs),
            query_cookie: differing(limited_edns, response_edns, Edns::cookie),
            traceparent: query_edns.and_then(|edns| edns.traceparent()),
            query_bytes: query.map(|query| query.wire_bytes),
            response_bytes: transfer
                .map(|transfer| transfer.bytes)
                .or_else(|| response.map(|response| response.wire_bytes.into())),
            transfer_messages: transfer.map(|transfer| transfer.messages),
            transfer_records: transfer.map(|transfer| transfer.records),
            transfer_ms: transfer.map(|transfer| milliseconds(transfer.duration)),
            transfer_complete: transfer.map(|transfer| transfer.complete),
            responder_ip: response
                .map(|response| response.client_and_server().1.ip())
                .filter(|responder| *responder != server.ip()),
            orphan_reason: transaction.orphan.map(|stray| stray.reason.name()),
            resembles: transaction
                .orphan
                .and_then(|stray| stray.resembles)
                .map(|query| self.namespace.message(query)),
            seen_by: subject.envelope.seen_by.map_or(&[], View::names),
            dnstap: response
                .and_then(|response| response.envelope.report.as_deref())
                .or_else(|| query?.envelope.report.as_deref())
                .map(dnstap),
            rejected_responses: Some(transaction.rejected).filter(|rejected| *rejected > 0),
        })
    }

    /// Builds the second part of `dns.transaction/1`. `resolver` is the server's
    /// [`Self::resolver`].
    #[must_use]
    pub fn transaction_context<'a>(
        &self,
        resolver: &'a str,
        tail: RecordTail<'a>,
        links: &TransactionLinks,
        sample_ratio: Option<f64>,
        lost: Option<&'a Lost>,
        times: Option<PathTimes>,
    ) -> TransactionContext<'a> {
        let named = |id| self.namespace.message(id);
        TransactionContext {
            resolver,
            sample_ratio,
            tcp_fallback_of: links.tcp_fallback_of.map(named),
            parent_event_id: links.parent.map(|parent| named(parent.id)),
            parent_match: links.parent.map(|parent| parent.by.name()),
            cache: links.cache.map(AnswerSource::name),
            lost_at: lost.map(lost_at),
            path: times.map(path),
            indicators: &[],
            first_seen: None,
            tail,
        }
    }

    /// Builds `dns.dlq/1` from a packet that could not be decoded.
    #[must_use]
    pub fn dead_letter<'a>(
        &'a self,
        letter: &DeadLetter<'_>,
        tail: RecordTail<'a>,
    ) -> DlqRecord<'a> {
        let envelope = &letter.envelope;
        DlqRecord {
            head: self.head(Stream::Dlq, self.namespace.message(envelope.id), envelope.ts),
            stage: "decode",
            reason: letter.reason.name(),
            seq: Some(envelope.id.packet.seq),
            cpu: Some(envelope.id.packet.cpu),
            direction: direction(envelope.direction, None),
            transport: Some(envelope.transport.name()),
            src_ip: Some(envelope.src.ip()),
            src_port: Some(envelope.src.port()),
            dst_ip: Some(envelope.dst.ip()),
            dst_port: Some(envelope.dst.port()),
            bytes: BASE64.encode(letter.bytes),
            captured_bytes: u32::try_from(letter.bytes.len()).unwrap_or(u32::MAX),
            tail,
            ..DlqRecord::default()
        }
    }
}

/// Returns the direction of a packet. Loopback, which is folded into the client's view, has the
/// client's direction, if it is known whether the packet held a response.
fn direction(seen: Direction, response: Option<bool>) -> Option<&'static str> {
    match (seen, response) {
        (Direction::Egress, _) | (Direction::Loopback, Some(false)) => Some("egress"),
        (Direction::Ingress, _) | (Direction::Loopback, Some(true)) => Some("ingress"),
        (Direction::Loopback, None) | (Direction::Passive, _) => None,
    }
}

fn dnstap(report: &ServerReport) -> DnstapFields<'_> {
    let ServerReport { identity, version, zone, policy } = report;
    DnstapFields {
        identity: identity.as_deref(),
        version: version.as_deref(),
        zone: zone.as_deref(),
        policy: policy.as_ref().map(|policy| PolicyFields {
            kind: policy.kind.as_deref(),
            rule: policy.rule.as_deref(),
            action: policy.action,
            matched: policy.matched,
            value: policy.value.as_deref(),
        }),
    }
}

fn path(times: PathTimes) -> PathFields {
    let PathTimes { send, arrive, read } = times;
    PathFields {
        send_ms: send.map(milliseconds),
        arrive_ms: arrive.map(milliseconds),
        read_ms: read.map(milliseconds),
    }
}

fn lost_at(lost: &Lost) -> LostAtFields<'_> {
    let loss = &*lost.loss;
    LostAtFields {
        message: if lost.is_response { "response" } else { "query" },
        stage: loss.stage.name(),
        reason: &loss.reason,
        hook: loss.hook.map(NetfilterHook::name),
        function: loss.function.as_deref(),
        count: (lost.count > 1).then_some(lost.count),
    }
}

fn icmp(cause: UnreachableReason) -> IcmpFields {
    let (kind, code) = cause.code.unzip();
    IcmpFields { kind, code, name: cause.name }
}

/// Returns the number of answers that are left out, if there are any.
fn omitted(texts: &MessageTexts) -> Option<u16> {
    Some(texts.answers.omitted()).filter(|omitted| *omitted > 0)
}

fn question(question: &Question<'_>) -> QuestionFields {
    QuestionFields {
        name: question.qname(),
        qtype: type_name(question.qtype),
        class: class_name(question.qclass),
    }
}

/// Returns the query's value if both messages have EDNS and the response has another value or none.
/// Without EDNS in the response, the query's is recorded as it is.
fn differing<'a, T: PartialEq>(
    query: Option<Edns<'a>>,
    response: Option<Edns<'a>>,
    field: impl Fn(&Edns<'a>) -> Option<T>,
) -> Option<T> {
    let (query, response) = (query?, response?);
    field(&query).filter(|value| field(&response).as_ref() != Some(value))
}

/// Returns process, container and pod as records have them.
#[must_use]
pub fn record_tail(attribution: &Attribution) -> RecordTail<'_> {
    RecordTail {
        process: attribution.process.as_ref().map(|process| ProcessFields {
            pid: process.pid,
            uid: process.uid,
            comm: process.name(),
            exe: process.exe.as_deref(),
        }),
        container: attribution.container.as_deref().map(|container| ContainerFields {
            id: &container.id,
            runtime: attribution.runtime().map(Runtime::name),
            pod_uid: container.pod_uid.as_deref(),
        }),
        k8s: attribution.pod.as_ref().map(k8s_fields),
        masking: None,
    }
}

fn k8s_fields(place: &PodRef) -> K8sFields<'_> {
    let pod = &*place.pod;
    let workload = pod.workload.as_ref();
    K8sFields {
        namespace: &pod.namespace,
        pod: &pod.name,
        container: place.container.as_deref(),
        workload_kind: workload.map(|workload| &*workload.kind),
        workload: workload.map(|workload| &*workload.name),
        labels: Some(&pod.labels).filter(|labels| !labels.is_empty()),
    }
}
