//! `dns.message/1`.

use super::{
    AnswerFields, AnswerList, DnstapFields, EdnsFields, FlagNames, QuestionFields, RecordHead,
    RecordTail,
};
use crate::{named_enum, record_struct};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use std::borrow::Cow;
use std::net::IpAddr;

named_enum! {
    /// Transport protocol of a DNS message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum Transport {
        /// UDP datagrams.
        Udp = "udp",
        /// A TCP stream, each message after a length of two bytes (RFC 1035, 4.2.2).
        Tcp = "tcp",
        /// TLS (RFC 7858), where the server itself reports its messages, as for those below.
        Dot = "dot",
        /// HTTPS (RFC 8484).
        Doh = "doh",
        /// QUIC (RFC 9250).
        Doq = "doq",
        /// `DNSCrypt` over UDP or TCP.
        DnsCrypt = "dnscrypt",
    }
}

/// `dns.message/1`: one DNS message as captured.
#[derive(JsonSchema)]
#[serde(rename = "dns.message/1")]
pub struct MessageRecord<'a> {
    /// Fields that the message itself determines.
    #[serde(flatten)]
    pub body: MessageBody<'a>,
    /// Fields that depend on the host.
    #[serde(flatten)]
    pub tail: RecordTail<'a>,
}

record_struct! {
    /// First part of `dns.message/1`: the fields that the message itself determines.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct MessageBody<'a> {
        /// Fields that begin every record.
        #[serde(flatten)]
        pub head: RecordHead<'a>,
        /// Capture sequence number on its CPU; in replay the number of the frame that completed the
        /// message.
        pub seq: u64,
        /// CPU that captured the message; in replay the number of the file, from 0.
        pub cpu: u32,
        /// `client`, `server` or `passive`.
        #[schemars(extend("enum" = ["client", "server", "passive"]))]
        pub vantage: &'static str,
        /// `ingress` or `egress`; absent for packets that only passed by.
        #[schemars(extend("x-ecs" = ["network.direction"]))]
        pub direction: Option<&'static str>,
        /// `udp` or `tcp`; from dnstap also `dot`, `doh`, `doq` or `dnscrypt`.
        #[schemars(extend("enum" = Transport::ALL.map(Transport::name)))]
        pub transport: &'static str,
        /// Address of the sender.
        #[schemars(extend("x-ecs" = ["source.ip"]))]
        pub src_ip: IpAddr,
        /// Port of the sender.
        #[schemars(extend("x-ecs" = ["source.port"]))]
        pub src_port: u16,
        /// Address of the receiver.
        #[schemars(extend("x-ecs" = ["destination.ip"]))]
        pub dst_ip: IpAddr,
        /// Port of the receiver.
        #[schemars(extend("x-ecs" = ["destination.port"]))]
        pub dst_port: u16,
        /// Id in the header.
        #[schemars(extend("x-ecs" = ["dns.id"]))]
        pub id: u16,
        /// `query` or `response`.
        #[schemars(extend("enum" = ["query", "response"]))]
        pub qr: &'static str,
        /// Mnemonic of the opcode.
        #[schemars(extend("x-ecs" = ["dns.op_code"]))]
        pub opcode: &'static str,
        /// Mnemonic of the extended response code; responses only.
        #[schemars(extend("x-ecs" = ["dns.response_code"]))]
        pub rcode: Option<Cow<'static, str>>,
        /// Flags that are set, of aa tc rd ra ad cd.
        #[schemars(with = "Vec<&'static str>")]
        #[schemars(extend("x-ecs" = ["dns.header_flags"]))]
        pub flags: FlagNames,
        /// Query name: lower case, no trailing dot, root `.`; escaped as `\DDD`, `\.` and `\\`.
        #[schemars(extend("x-ecs" = ["dns.question.name"]))]
        pub qname: Option<&'a str>,
        /// Query name in Unicode, with `records.idn: true`, if it differs from `qname`.
        pub qname_unicode: Option<String>,
        /// Query name as written in the message, if it is not all lower case.
        pub qname_case: Option<&'a str>,
        /// Query type: mnemonic; `TYPE65280` for a type without one.
        #[schemars(extend("x-ecs" = ["dns.question.type"]))]
        pub qtype: Option<Cow<'static, str>>,
        /// Query class: mnemonic; `CLASS32` for a class without one.
        #[schemars(extend("x-ecs" = ["dns.question.class"]))]
        pub qclass: Option<Cow<'static, str>>,
        /// Questions after the first one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        #[schemars(default)]
        pub further_questions: Vec<QuestionFields>,
        /// Number of questions that are left out, behind those in `further_questions`, because the record
        /// would exceed `records.max_answers` or `records.max_bytes`.
        pub questions_omitted: Option<u16>,
        /// QDCOUNT.
        pub question_count: u16,
        /// ANCOUNT.
        pub answer_count: u16,
        /// NSCOUNT.
        pub authority_count: u16,
        /// ARCOUNT, OPT included.
        pub additional_count: u16,
        /// Records of the answer section.
        #[serde(skip_serializing_if = "AnswerList::is_empty")]
        #[schemars(default, with = "Vec<AnswerFields<'a>>")]
        #[schemars(extend("x-ecs" = ["dns.answers"]))]
        pub answers: AnswerList<'a>,
        /// Number of records of the answer section that are left out, behind those in `answers`, because
        /// the record would exceed `records.max_answers` or `records.max_bytes`.
        pub answers_omitted: Option<u16>,
        /// The OPT record (EDNS).
        pub edns: Option<EdnsFields<'a>>,
        /// Bytes after the last record, if any.
        pub trailing_bytes: Option<usize>,
        /// Size of the message on the wire in bytes, without TCP's length prefix.
        #[schemars(extend("x-ecs" = ["network.bytes"]))]
        pub wire_bytes: u32,
        /// Bytes of the message that were captured.
        pub captured_bytes: u32,
        /// True if fewer bytes were captured than were on the wire.
        pub clipped: bool,
        /// Who saw it, where a hook and dnstap are captured together: `socket`, `dnstap`, or both.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        #[schemars(default, with = "Vec<&'static str>")]
        pub seen_by: &'static [&'static str],
        /// What the server that reports it says, from dnstap.
        pub dnstap: Option<DnstapFields<'a>>,
        /// The captured message in base64, with `messages.wire: true`.
        pub wire: Option<String>,
    }
}

impl MessageBody<'_> {
    /// Returns whether parts of the message are left out, because the record would be too large.
    #[must_use]
    pub fn is_shortened(&self) -> bool {
        let edns = self.edns.as_ref().and_then(|edns| edns.options_omitted);
        self.answers_omitted.or(self.questions_omitted).or(edns).is_some()
    }
}
