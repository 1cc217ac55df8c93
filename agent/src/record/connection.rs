//! Builds `dns.connection/1` from a connection report.

use super::RecordBuilder;
use dnscribe_record::number::milliseconds;
use dnscribe_record::{ConnectionRecord, RecordTail, Stream};
use dnscribe_transaction::encrypted::{ConnectionReport, Handshake};
use std::borrow::Cow;

impl RecordBuilder {
    /// Builds `dns.connection/1`. `resolver` is the server's [`Self::resolver`].
    #[must_use]
    pub fn connection<'a>(
        &'a self,
        report: &ConnectionReport<'a>,
        resolver: &'a str,
        tail: RecordTail<'a>,
    ) -> ConnectionRecord<'a> {
        let connection = report.connection;
        let Handshake { client, server, .. } = &connection.handshake;
        ConnectionRecord {
            schema: Stream::Connections.schema(),
            event_id: self.namespace.message(report.id()),
            connection_id: self.namespace.message(connection.id),
            ts: self.clock.apply(connection.first),
            node: &self.node,
            region: self.region.as_deref(),
            labels: self.labels.as_ref(),
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
            connect_ms: connection.connect_time().map(milliseconds),
            handshake_ms: connection.handshake.duration().map(milliseconds),
            duration_ms: milliseconds(connection.duration()),
            client_bytes: connection.octets[0],
            server_bytes: connection.octets[1],
            tail,
        }
    }
}

/// Returns the name of a TLS version as OpenSSL spells it.
fn tls_version(number: u16) -> Cow<'static, str> {
    match number {
        0x0301 => "TLSv1".into(),
        0x0302 => "TLSv1.1".into(),
        0x0303 => "TLSv1.2".into(),
        0x0304 => "TLSv1.3".into(),
        other => format!("0x{other:04x}").into(),
    }
}
