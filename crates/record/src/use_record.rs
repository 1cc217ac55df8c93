//! `dns.use/1`.

use super::{EventId, RecordHead, RecordTail};
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;
use std::net::IpAddr;

/// `dns.use/1`: connections that a process of this host opened, and the name whose lookup gave their address. Written
/// for the first use of an address by a process, and then at most once a minute for all further uses alike:
/// same process, address, port, protocol, name, outcome, and freshness.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.use/1")]
pub struct UseRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// `tcp`, or `udp`: the first datagram of a socket to the address, such as QUIC.
    #[schemars(extend("enum" = ["tcp", "udp"]))]
    #[schemars(extend("x-ecs" = ["network.transport"]))]
    pub protocol: &'static str,
    /// Address that the program connected to, before any translation (NAT).
    #[schemars(extend("x-ecs" = ["destination.ip", "server.ip"]))]
    pub address: IpAddr,
    /// Port.
    #[schemars(extend("x-ecs" = ["destination.port", "server.port"]))]
    pub port: u16,
    /// How the name was found: `sole` (the only one that the process got this address for), `newest` (one of several,
    /// but the only one that was looked up within the second before, and not used since), `ambiguous` (one of
    /// `candidates`, or answers were missed), `none` (no lookup gave the address: a literal address, /etc/hosts, encrypted
    /// DNS, or a lookup before the capture).
    #[serde(rename = "match")]
    #[schemars(extend("enum" = ["sole", "newest", "ambiguous", "none"]))]
    pub matched: &'static str,
    /// Name that was looked up, before any CNAME.
    #[schemars(extend("x-ecs" = ["destination.domain", "server.domain"]))]
    pub name: Option<&'a str>,
    /// If `ambiguous`: the names whose lookups gave the address, the newest first, at most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub candidates: Vec<&'a str>,
    /// `event_id` of the lookup in `dns.lookup/1`, whose answer was the last to give the address.
    pub lookup_event_id: Option<EventId>,
    /// Whose lookup it was: of the same `process`, or of its `parent`, as with a server that looks up names and forks.
    #[schemars(extend("enum" = ["process", "parent"]))]
    pub lookup_scope: Option<&'static str>,
    /// Time from the answer to the connection, in milliseconds; of the last use.
    pub answer_age_ms: Option<f64>,
    /// Time that the address might still be used when the program connected, in milliseconds: the smallest TTL on
    /// the way from the name to the address, less its age. Negative: the answer was stale. Of the last use.
    pub ttl_left_ms: Option<f64>,
    /// Time that the lookup took, in milliseconds: to its last answer, or to the connection if a query still waited.
    pub lookup_ms: Option<f64>,
    /// TCP: time from the beginning until the connection was established or had failed, or the program gave up, in
    /// milliseconds; of the last use.
    pub connect_ms: Option<f64>,
    /// TCP: the kernel's estimate of the round-trip time when the connection was established, in milliseconds; of the last use.
    pub rtt_ms: Option<f64>,
    /// TCP: time from when the connection was established until the first byte of the peer's data arrived, in milliseconds:
    /// the handshake of TLS, and the server. Of the last use; absent if none came within five seconds.
    pub first_byte_ms: Option<f64>,
    /// `established`, `refused` (a reset or an ICMP error came, or this host's firewall discarded the first datagram), `timeout` (nothing came until the kernel, or after at
    /// least a second the program, gave up), `reset` (within a second after it was established), `unknown`: UDP, or the
    /// program gave up earlier, or the connection was not tried, as without a route.
    #[schemars(extend("enum" = ["established", "refused", "timeout", "reset", "unknown"]))]
    pub outcome: &'static str,
    /// Number of connections.
    pub count: u64,
    /// Time of the first.
    pub first: Timestamp,
    /// Time of the last.
    pub last: Timestamp,
    /// Fields that end the record.
    #[serde(flatten)]
    pub tail: RecordTail<'a>,
}
