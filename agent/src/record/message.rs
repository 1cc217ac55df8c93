//! `dns.message/1`.

use super::{
    AnswerFields, AnswerList, ContainerFields, DsoFields, EdnsFields, EventId, FlagNames,
    ProcessFields, QuestionFields,
};
use crate::privacy::MaskingFields;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.message/1`: one DNS message as seen.
#[derive(JsonSchema)]
#[serde(rename = "dns.message/1")]
pub struct MessageRecord<'a> {
    /// What comes first.
    #[serde(flatten)]
    pub body: MessageBody<'a>,
    /// What comes last.
    #[serde(flatten)]
    pub context: MessageContext<'a>,
}

/// What it says by itself, and who writes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessageBody<'a> {
    /// `dns.message/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When the packet that completed the message passed.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// Capture sequence on its CPU; in replay the number of the frame that completed the message.
    pub seq: u64,
    /// The CPU that captured it; in replay the number of the file, from 0.
    pub cpu: u32,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: &'static str,
    /// `ingress` or `egress`; absent where the packet passed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// `udp` or `tcp`.
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: &'static str,
    /// Sender.
    pub src_ip: IpAddr,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver.
    pub dst_ip: IpAddr,
    /// Receiver's port.
    pub dst_port: u16,
    /// The header's id.
    pub id: u16,
    /// `query` or `response`.
    #[schemars(extend("enum" = ["query", "response"]))]
    pub qr: &'static str,
    /// Mnemonic.
    pub opcode: &'static str,
    /// Mnemonic, extended; responses only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcode: Option<Cow<'static, str>>,
    /// Those of aa tc rd ra ad cd that are set.
    #[schemars(with = "Vec<&'static str>")]
    pub flags: FlagNames,
    /// Name asked for: lower case, no trailing dot, root `.`; escaped as `\DDD`, `\.` and `\\`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname: Option<&'a str>,
    /// The name in Unicode, with `records.idn: true`, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname_unicode: Option<String>,
    /// The name as it was written, where that is not all lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname_case: Option<&'a str>,
    /// Type asked for: mnemonic; `TYPE65280` for a type without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtype: Option<Cow<'static, str>>,
    /// Class asked for: mnemonic; `CLASS32` for a class without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qclass: Option<Cow<'static, str>>,
    /// The questions behind the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub further_questions: Vec<QuestionFields>,
    /// QDCOUNT.
    pub question_count: u16,
    /// ANCOUNT.
    pub answer_count: u16,
    /// NSCOUNT.
    pub authority_count: u16,
    /// ARCOUNT, OPT included.
    pub additional_count: u16,
    /// The records of the answer section.
    #[serde(skip_serializing_if = "AnswerList::is_empty")]
    #[schemars(default, with = "Vec<AnswerFields<'a>>")]
    pub answers: AnswerList<'a>,
    /// The OPT record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edns: Option<EdnsFields<'a>>,
    /// The TLVs of a message with opcode DSO.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub dso: Vec<DsoFields>,
    /// Octets behind the last record, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailing_bytes: Option<usize>,
    /// Octets of the message on the wire, without TCP's length prefix.
    pub wire_bytes: u32,
    /// Octets of it that were captured.
    pub captured_bytes: u32,
    /// Whether fewer were captured than stood on the wire.
    pub clipped: bool,
    /// The message in base64, with `messages.wire: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
}

/// What takes the host to know.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessageContext<'a> {
    /// The process that sent it, or whose socket received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
    /// What of the record is not told as it was, where the configuration asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}
