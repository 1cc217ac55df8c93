//! `dns.dlq/1`.

use super::{ContainerFields, EventId, ProcessFields};
use crate::privacy::MaskingFields;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::net::IpAddr;

/// `dns.dlq/1`: what could not go on, and why: packets that were not DNS, records that could not
/// be encoded or that the broker refused.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename = "dns.dlq/1")]
pub struct DlqRecord<'a> {
    /// `dns.dlq/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When the packet passed; when the record was refused.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// The stage that could not go on: `decode`, `encode` or `deliver`.
    #[schemars(extend("enum" = ["decode", "encode", "deliver"]))]
    pub stage: &'static str,
    /// Why; the name of the ledger's counter.
    pub reason: &'static str,
    /// The stream of the record that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<&'static str>,
    /// The `event_id` of the record that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_event_id: Option<EventId>,
    /// Stage `decode`: capture sequence on its CPU, as in `dns.message/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The CPU that captured it, as in `dns.message/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// `ingress` or `egress`; absent where the packet passed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// `udp` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: Option<&'static str>,
    /// Sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_ip: Option<IpAddr>,
    /// Sender's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_ip: Option<IpAddr>,
    /// Receiver's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// The octets that could not be read, or the beginning of the record, in base64.
    pub bytes: String,
    /// How many octets those are.
    pub captured_bytes: u32,
    /// How many the refused record had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_bytes: Option<u32>,
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

impl<'a> DlqRecord<'a> {
    /// A dead letter of this node that says nothing else yet.
    #[must_use]
    pub fn new(node: &'a str, region: Option<&'a str>) -> Self {
        Self { schema: "dns.dlq/1", node, region, ..Self::default() }
    }
}
