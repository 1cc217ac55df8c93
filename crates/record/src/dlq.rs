//! `dns.dlq/1`.

use super::{EventId, RecordHead, RecordTail, Transport};
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;
use std::net::IpAddr;

/// `dns.dlq/1`: a dead letter: a packet that was not DNS, or a record that could not be encoded,
/// that the broker refused, or that does not fit its schema.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename = "dns.dlq/1")]
pub struct DlqRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// Stage that failed: `decode`, `encode` or `deliver` in the agent, `stream` in a stream job, `store`
    /// in one that writes a store, `import` in dnscribe-kpi.
    #[schemars(extend("enum" = ["decode", "encode", "deliver", "stream", "store", "import"]))]
    pub stage: &'static str,
    /// Why it failed; the name of the ledger's counter.
    #[schemars(extend("x-ecs" = ["error.type"]))]
    pub reason: &'static str,
    /// Stream of the refused record.
    pub stream: Option<&'static str>,
    /// `event_id` of the refused record.
    pub record_event_id: Option<EventId>,
    /// Stage `decode`: capture sequence number on its CPU, as in `dns.message/1`.
    pub seq: Option<u64>,
    /// CPU that captured the packet, as in `dns.message/1`.
    pub cpu: Option<u32>,
    /// `ingress` or `egress`; absent for packets that only passed by.
    #[schemars(extend("x-ecs" = ["network.direction"]))]
    pub direction: Option<&'static str>,
    /// `udp` or `tcp`; from dnstap also `dot`, `doh`, `doq` or `dnscrypt`.
    #[schemars(extend("enum" = Transport::ALL.map(Transport::name)))]
    pub transport: Option<&'static str>,
    /// Address of the sender.
    #[schemars(extend("x-ecs" = ["source.ip"]))]
    pub src_ip: Option<IpAddr>,
    /// Port of the sender.
    #[schemars(extend("x-ecs" = ["source.port"]))]
    pub src_port: Option<u16>,
    /// Address of the receiver.
    #[schemars(extend("x-ecs" = ["destination.ip"]))]
    pub dst_ip: Option<IpAddr>,
    /// Port of the receiver.
    #[schemars(extend("x-ecs" = ["destination.port"]))]
    pub dst_port: Option<u16>,
    /// The unreadable bytes, or the beginning of the refused record, in base64.
    pub bytes: String,
    /// Number of bytes in `bytes`, before base64.
    pub captured_bytes: u32,
    /// Size of the refused record in bytes.
    pub record_bytes: Option<u32>,
    /// Stages `stream` and `import`: what does not fit, in words.
    #[schemars(extend("x-ecs" = ["error.message"]))]
    pub detail: Option<&'a str>,
    /// Stage `stream`: topic of the refused record.
    pub topic: Option<&'a str>,
    /// Stage `stream`: partition of the refused record.
    pub partition: Option<u32>,
    /// Stage `stream`: offset of the refused record.
    pub offset: Option<u64>,
    /// Stage `import`: name of the source.
    pub source: Option<&'a str>,
    /// Stage `import`: line of the source's file, or message of the topic's import, from 1.
    pub line: Option<u64>,
    /// Fields that end the record.
    #[serde(flatten)]
    pub tail: RecordTail<'a>,
}
