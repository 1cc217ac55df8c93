//! `dns.connection/1`.

use super::build::milliseconds;
use super::{ContainerFields, Context, EventId, Identity, ProcessFields};
use crate::connection::{Handshake, Report};
use crate::privacy::MaskingFields;
use crate::sink::Stream;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.connection/1`: one connection of encrypted DNS. Numbers are those since its beginning, in
/// each of its records.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.connection/1")]
pub struct ConnectionRecord<'a> {
    /// `dns.connection/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// The same in all records of one connection: the first one's `event_id`.
    pub connection_id: EventId,
    /// When its first packet passed.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: &'static str,
    /// `dot` (TLS), `doq` (QUIC), `doh` (HTTPS) or `doh3` (HTTP/3), by port and transport.
    #[schemars(extend("enum" = ["dot", "doq", "doh", "doh3"]))]
    pub protocol: &'static str,
    /// `udp` or `tcp`.
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: &'static str,
    /// Who connected.
    pub client_ip: IpAddr,
    /// The port connected from.
    pub client_port: u16,
    /// Who was connected to.
    pub server_ip: IpAddr,
    /// The port connected to.
    pub server_port: u16,
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// `closed`, `reset`, `refused`, `timeout`, `handshake_failed`, `idle`, `evicted`, or `open` while
    /// it goes on.
    #[schemars(extend("enum" = [
        "closed", "reset", "refused", "timeout", "handshake_failed", "idle", "evicted", "open"
    ]))]
    pub status: &'static str,
    /// Whether this is the last record of the connection in this capture.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The server's name as the client asked for it, in lower case; with ECH that of the outer hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<&'a str>,
    /// The application protocols that the client offered, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub alpn: Vec<&'a str>,
    /// The one that the server chose; TLS 1.3 and QUIC encrypt it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_selected: Option<&'a str>,
    /// The version that the server chose: `TLSv1.3`, `TLSv1.2`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<Cow<'static, str>>,
    /// True where the client sent the extension for Encrypted Client Hello, which may be grease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ech: Option<bool>,
    /// Whether the server went on with a session of before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// Over TCP: from the client's first SYN to the server's, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    /// From the client's first octets until both sides speak encrypted, in milliseconds: over TCP
    /// until both have sent encrypted records, over QUIC until the client's first packet with a short
    /// header. Absent where the handshake was not seen whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_ms: Option<f64>,
    /// From the first packet to the last, in milliseconds. TCP acknowledgements alone do not count.
    pub duration_ms: f64,
    /// Octets of TCP or UDP payload from the client; over TCP, what is sent again counts once.
    pub client_bytes: u64,
    /// The same from the server.
    pub server_bytes: u64,
    /// The process on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
    /// What of the record is not told as it was, where the configuration asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}

impl Identity {
    /// `dns.connection/1`. `resolver` is what [`Self::resolver`] says of its server.
    #[must_use]
    pub fn connection<'a>(
        &'a self,
        report: &Report<'a>,
        resolver: &'a str,
        context: Context<'a>,
    ) -> ConnectionRecord<'a> {
        let connection = report.connection;
        let Handshake { client, server, .. } = &connection.handshake;
        ConnectionRecord {
            schema: Stream::Connections.schema(),
            event_id: self.namespace().message(report.id()),
            connection_id: self.namespace().message(connection.id),
            ts: connection.first,
            node: &self.node,
            region: self.region.as_deref(),
            vantage: connection.vantage.name(),
            protocol: connection.protocol.name(),
            transport: connection.transport.name(),
            client_ip: connection.client.ip(),
            client_port: connection.client.port(),
            server_ip: connection.server.ip(),
            server_port: connection.server.port(),
            resolver,
            status: report.status.name(),
            is_final: report.is_final,
            sni: client.as_ref().and_then(|client| client.sni.as_deref()),
            alpn: client.iter().flat_map(|client| &client.alpn).map(|name| &**name).collect(),
            alpn_selected: server.as_ref().and_then(|server| server.alpn.as_deref()),
            tls_version: server.as_ref().map(|server| tls_version(server.version)),
            ech: client.as_ref().filter(|client| client.ech).map(|_| true),
            resumed: connection.handshake.resumed(),
            connect_ms: connection.connect().map(milliseconds),
            handshake_ms: connection.handshake.duration().map(milliseconds),
            duration_ms: milliseconds(connection.duration()),
            client_bytes: connection.octets[0],
            server_bytes: connection.octets[1],
            process: context.process,
            container: context.container,
            masking: None,
        }
    }
}

/// A version as OpenSSL spells it.
fn tls_version(number: u16) -> Cow<'static, str> {
    match number {
        0x0301 => "TLSv1".into(),
        0x0302 => "TLSv1.1".into(),
        0x0303 => "TLSv1.2".into(),
        0x0304 => "TLSv1.3".into(),
        other => format!("0x{other:04x}").into(),
    }
}
