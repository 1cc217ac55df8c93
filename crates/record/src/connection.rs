//! `dns.connection/1`.

use super::{EventId, Labels, RecordTail};
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.connection/1`: one connection of encrypted DNS. All numbers are totals since its beginning,
/// in each of its records.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.connection/1")]
pub struct ConnectionRecord<'a> {
    /// `dns.connection/1`.
    pub schema: &'static str,
    /// Identifies the record within its stream, for all time.
    #[schemars(extend("x-ecs" = ["event.id"]))]
    pub event_id: EventId,
    /// Identifies the connection: the `event_id` of its first record, the same in all of its
    /// records.
    pub connection_id: EventId,
    /// Capture time of the first packet.
    #[schemars(extend("x-ecs" = ["@timestamp"]))]
    pub ts: Timestamp,
    /// Name of the node that made the record.
    #[schemars(extend("x-ecs" = ["host.name"]))]
    pub node: &'a str,
    /// Region of the node, if configured.
    #[schemars(extend("x-ecs" = ["host.geo.name"]))]
    pub region: Option<&'a str>,
    /// Labels that the operator gave the node, if any.
    #[schemars(extend("x-ecs" = ["labels"]))]
    pub labels: Option<&'a Labels>,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: &'static str,
    /// `dot` (TLS), `doq` (QUIC), `doh` (HTTPS) or `doh3` (HTTP/3), by port and transport.
    #[schemars(extend("enum" = ["dot", "doq", "doh", "doh3"]))]
    pub protocol: &'static str,
    /// `udp` or `tcp`.
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    #[schemars(extend("x-ecs" = ["network.transport"]))]
    pub transport: &'static str,
    /// Address of the client.
    #[schemars(extend("x-ecs" = ["client.ip", "source.ip"]))]
    pub client_ip: IpAddr,
    /// Port of the client.
    #[schemars(extend("x-ecs" = ["client.port", "source.port"]))]
    pub client_port: u16,
    /// Address of the server.
    #[schemars(extend("x-ecs" = ["server.ip", "destination.ip"]))]
    pub server_ip: IpAddr,
    /// Port of the server.
    #[schemars(extend("x-ecs" = ["server.port", "destination.port"]))]
    pub server_port: u16,
    /// Configured name of the server, else its address.
    #[schemars(extend("x-ecs" = ["server.address", "destination.address"]))]
    pub resolver: &'a str,
    /// `closed`, `reset`, `refused`, `timeout`, `handshake_failed`, `idle`, `evicted`, or `open`
    /// while it continues.
    #[schemars(extend("enum" = [
        "closed", "reset", "refused", "timeout", "handshake_failed", "idle", "evicted", "open"
    ]))]
    pub status: &'static str,
    /// True in the last record of the connection in this capture.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Server name that the client requested, in lower case; with ECH the name of the outer hello.
    #[schemars(extend("x-ecs" = ["tls.client.server_name"]))]
    pub sni: Option<&'a str>,
    /// Application protocols that the client offered, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub alpn: Vec<&'a str>,
    /// Application protocol that the server chose; TLS 1.3 and QUIC encrypt it.
    #[schemars(extend("x-ecs" = ["tls.next_protocol"]))]
    pub alpn_selected: Option<&'a str>,
    /// TLS version that the server chose: `TLSv1.3`, `TLSv1.2`, ...
    pub tls_version: Option<Cow<'static, str>>,
    /// True if the client sent the Encrypted Client Hello extension, which may be grease.
    pub ech: Option<bool>,
    /// True if the server resumed an earlier session.
    #[schemars(extend("x-ecs" = ["tls.resumed"]))]
    pub resumed: Option<bool>,
    /// TCP only: time from the client's first SYN to the server's, in milliseconds.
    pub connect_ms: Option<f64>,
    /// Time from the client's first bytes until both sides send encrypted data, in milliseconds:
    /// over TCP until both have sent encrypted records, over QUIC until the client's first packet
    /// with a short header. Absent if the handshake was not seen completely.
    pub handshake_ms: Option<f64>,
    /// Time from the first packet to the last, in milliseconds. TCP acknowledgements alone do not
    /// count.
    #[schemars(extend("x-ecs" = ["event.duration"]))]
    pub duration_ms: f64,
    /// Bytes of TCP or UDP payload from the client; TCP retransmissions count once.
    #[schemars(extend("x-ecs" = ["client.bytes", "source.bytes"]))]
    pub client_bytes: u64,
    /// Bytes of TCP or UDP payload from the server; TCP retransmissions count once.
    #[schemars(extend("x-ecs" = ["server.bytes", "destination.bytes"]))]
    pub server_bytes: u64,
    /// Fields that end the record.
    #[serde(flatten)]
    pub tail: RecordTail<'a>,
}
