//! Decodes packets: finds the transport, unpacks tunnels, passes fragments and segments to
//! reassembly.

use super::emitter::{Emitter, Flow, MessageBytes, PacketContext, PacketCounters};
use super::fragment::Fragments;
use super::steady_clock::SteadyClock;
use super::tcp::Streams;
use super::{
    Connect, Decoded, Dropped, Envelope, Malformed, Message, MessageId, MessageKey, MessageStep,
    PathStep, Unreachable, encrypted_packet,
};
use crate::packet::encrypted::Encrypted;
use crate::packet::net::{self, BadHeader, IpPacket, TunnelContent, UnreachableReason, protocol};
use crate::packet::ports::PortSet;
use crate::packet::{Body, Packet, Transport};
use dnscribe_common::layers::LEVELS;
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Addresses of what cannot be read.
const NOWHERE: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// Memory of one direction of a TCP connection without pending data, in bytes.
pub const TCP_STREAM_BYTES: usize = super::tcp::STREAM_BYTES;

/// Options of the decoder.
#[derive(Clone, Debug)]
pub struct DecoderOptions {
    /// Ports of plain DNS.
    pub ports: PortSet,
    /// Servers of encrypted DNS; `None` does not follow encrypted DNS.
    pub encrypted: Option<Encrypted>,
    /// Most memory for pending TCP data, in bytes.
    pub tcp_memory_bytes: usize,
    /// Most directions of TCP connections tracked, each with [`TCP_STREAM_BYTES`].
    pub tcp_streams: usize,
    /// Most memory for pending IP fragments, in bytes.
    pub fragment_memory_bytes: usize,
    /// Most fragmented datagrams tracked.
    pub fragment_datagrams: usize,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self {
            ports: PortSet::default(),
            encrypted: None,
            tcp_memory_bytes: 64 * 1024 * 1024,
            tcp_streams: 65_536,
            fragment_memory_bytes: 16 * 1024 * 1024,
            fragment_datagrams: 8192,
        }
    }
}

/// Creates an [`Emitter`] that borrows only some fields of the decoder.
macro_rules! emitter {
    ($decoder:ident, $each:ident) => {
        Emitter { counters: &mut $decoder.counters, scratch: &mut $decoder.scratch, each: $each }
    };
}

/// Turns packets into DNS messages. A pure state machine: time comes with the packets and with
/// [`Self::expire`]. After every call each packet is counted as decoded, malformed or held.
#[derive(Debug)]
pub struct Decoder {
    /// Ports of plain DNS.
    pub ports: PortSet,
    encrypted: Option<Encrypted>,
    counters: PacketCounters,
    clock: SteadyClock,
    scratch: Vec<u8>,
    fragments: Fragments,
    streams: Streams,
}

impl Decoder {
    /// Creates a decoder without state.
    #[must_use]
    pub fn new(options: DecoderOptions) -> Self {
        Self {
            ports: options.ports,
            encrypted: options.encrypted,
            counters: PacketCounters::default(),
            clock: SteadyClock::default(),
            scratch: Vec::new(),
            fragments: Fragments::new(options.fragment_datagrams, options.fragment_memory_bytes),
            streams: Streams::new(options.tcp_streams, options.tcp_memory_bytes),
        }
    }

    /// Replaces the ports of plain DNS.
    pub fn set_ports(&mut self, ports: PortSet) {
        self.ports = ports;
    }

    /// Decodes a packet and passes the events that it completes to `each`.
    pub fn observe(&mut self, packet: &Packet<'_>, each: &mut dyn FnMut(Decoded<'_>)) {
        let Body::Message { report: Some(report), .. } = packet.body else {
            return self.decode(packet, each);
        };
        self.decode(packet, &mut |decoded| match decoded {
            Decoded::Message(message) => {
                let report = Some(Arc::clone(report));
                let envelope = &Envelope { report, ..message.envelope.clone() };
                each(Decoded::Message(Message { envelope, ..message }));
            }
            other => each(other),
        });
    }

    fn decode(&mut self, packet: &Packet<'_>, each: &mut dyn FnMut(Decoded<'_>)) {
        self.counters.totals.received += 1;
        let context = PacketContext::new(packet, self.clock.read(packet.ts));
        let Self { ports, encrypted, fragments, streams, counters, scratch, .. } = self;
        let (encrypted, out) = (encrypted.as_ref(), Emitter { counters, scratch, each });
        let mut decoder = PacketDecoder { ports, encrypted, fragments, streams, context, out };
        match packet.body {
            Body::Ip { bytes, wire_bytes } => decoder.decode_ip(bytes, wire_bytes, 0),
            Body::Message { transport, src, dst, mut index, bytes, report: _ } => {
                let wire_bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let bytes = MessageBytes { captured: bytes, wire_bytes };
                let flow = Flow { transport, src, dst };
                let result = decoder.out.emit_message(&context, &flow, bytes, &mut index);
                decoder.account(result.err());
            }
            Body::Unreadable { bytes } => decoder.reject(NOWHERE, Malformed::DnstapFrame, bytes),
            Body::SocketError { transport, local, remote, errno, seen } => {
                if !seen && (ports.contains(remote.port()) || decoder.offers_encrypted(remote)) {
                    let flow = Flow { transport, src: local, dst: remote };
                    let cause = UnreachableReason::from_errno(remote.is_ipv6(), errno);
                    decoder.emit_unreachable(flow, None, cause);
                }
                decoder.account(None);
            }
            Body::Dropped { bytes, wire_bytes, loss, is_unseen } => {
                if let Some(loss) = loss
                    && let Some(message) = decoder.reported(bytes, wire_bytes)
                {
                    let (ts, loss) = (packet.ts, Arc::clone(loss));
                    (decoder.out.each)(Decoded::Dropped(Dropped { ts, message, loss }));
                }
                if is_unseen && loss.is_some() {
                    decoder.decode_ip(bytes, wire_bytes, 0);
                } else {
                    decoder.account(None);
                }
            }
            Body::Sent { bytes, wire_bytes, device } => {
                let message = decoder.reported(bytes, wire_bytes);
                // Nothing is said of a response that leaves, whose transaction has ended.
                if let Some(message) = message.filter(|message| !message.is_response) {
                    let (ts, scope, step) = (packet.ts, packet.scope, PathStep::Sent { device });
                    (decoder.out.each)(Decoded::Step(MessageStep { ts, scope, message, step }));
                }
                decoder.account(None);
            }
            // Which message it was is known to those who saw it arrive.
            Body::Read { .. } => decoder.account(None),
            Body::Connect { cookie, step } => {
                (decoder.out.each)(Decoded::Connect(Connect {
                    id: packet.id,
                    ts: packet.ts,
                    scope: packet.scope,
                    task: packet.task,
                    cgroup_id: packet.cgroup_id,
                    cookie,
                    step,
                }));
                decoder.account(None);
            }
        }
    }

    /// Discards fragments and segments whose timeout has passed at `now`, a time of the capture
    /// clock. To be called about once per second of capture time.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(Decoded<'_>)) {
        let now = self.clock.read(now);
        let mut out = emitter!(self, each);
        self.fragments.expire(now, &mut out);
        self.streams.expire(now, &mut out);
    }

    /// Emits the messages behind gaps in TCP streams at the end of the capture. Incomplete messages
    /// and fragments stay held.
    pub fn finish(&mut self, each: &mut dyn FnMut(Decoded<'_>)) {
        let mut out = emitter!(self, each);
        self.streams.finish(&mut out);
    }

    /// Returns the approximate memory of pending data in bytes; within the limits of the options.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.fragments.memory_bytes + self.streams.memory_bytes
    }

    /// Returns the number of malformed packets.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.counters.malformed.iter().sum()
    }

    /// Returns the counters. Identity 3 of the ledger holds: `received = decoded_packets + Σ
    /// malformed + held`.
    #[must_use]
    pub fn counters(&self) -> ledger::Decode {
        let PacketCounters { totals, malformed } = &self.counters;
        let counts = Malformed::ALL.iter().zip(malformed);
        ledger::Decode {
            malformed: counts.map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
            held: self.fragments.held + self.streams.held,
            messages: totals.queries + totals.responses,
            evicted_streams: self.streams.evicted,
            ..totals.clone()
        }
    }
}

impl From<BadHeader> for Malformed {
    fn from(bad: BadHeader) -> Self {
        match bad {
            BadHeader::Ip => Self::IpHeader,
            BadHeader::Udp => Self::UdpHeader,
            BadHeader::Tcp => Self::TcpHeader,
        }
    }
}

/// Decodes one packet.
struct PacketDecoder<'a> {
    ports: &'a PortSet,
    encrypted: Option<&'a Encrypted>,
    fragments: &'a mut Fragments,
    streams: &'a mut Streams,
    context: PacketContext,
    out: Emitter<'a>,
}

impl PacketDecoder<'_> {
    /// Decodes an IP packet, which is inside `depth` tunnels.
    fn decode_ip(&mut self, bytes: &[u8], wire_bytes: u32, depth: usize) {
        let ip = match net::parse_ip(bytes, wire_bytes) {
            Ok(ip) => ip,
            Err(bad) => return self.reject(NOWHERE, bad.into(), bytes),
        };
        let Some(fragment) = ip.fragment else { return self.decode_packet(&ip, depth) };
        let datagram = self.fragments.add(&ip, fragment, self.context, &mut self.out);
        let Some(datagram) = datagram else { return };
        self.context.packets = datagram.packets;
        let payload = datagram.payload.as_slice();
        match reassembled_packet(&ip, datagram.protocol, payload, datagram.payload_wire) {
            Ok(ip) => self.decode_packet(&ip, depth),
            Err(bad) => self.reject((ip.src, ip.dst), bad.into(), payload),
        }
    }

    /// Decodes a complete IP packet.
    fn decode_packet(&mut self, ip: &IpPacket<'_>, depth: usize) {
        let ports = net::ports(ip);
        let ours = ports.is_some_and(|(src, dst)| self.is_dns(src, dst));
        let is_encrypted = !ours && self.is_encrypted(ip, ports);
        let result = match ip.protocol {
            protocol::UDP if ours => self.decode_datagram(ip),
            protocol::TCP if ours => net::parse_tcp(ip.payload, ip.payload_wire).map(|segment| {
                let addresses = (ip.src, ip.dst);
                self.streams.segment(addresses, &segment, self.context, &mut self.out);
            }),
            protocol::UDP | protocol::TCP if is_encrypted => {
                encrypted_packet::emit(ip, &self.context, &mut self.out)
            }
            protocol::UDP if ports.is_none() => Err(BadHeader::Udp),
            protocol::TCP if ports.is_none() => Err(BadHeader::Tcp),
            protocol::ICMP | protocol::ICMPV6 => {
                self.decode_icmp(ip);
                self.account(None);
                Ok(())
            }
            _ => {
                match net::tunnel_content(ip) {
                    TunnelContent::Packet { bytes, wire_bytes } if depth + 1 < LEVELS => {
                        self.decode_ip(bytes, wire_bytes, depth + 1);
                    }
                    // Not DNS.
                    _ => self.account(None),
                }
                Ok(())
            }
        };
        if let Err(bad) = result {
            // The first eight bytes of a transport header are never encrypted data.
            let most = if is_encrypted { 8 } else { usize::MAX };
            let bytes = ip.payload.get(..most).unwrap_or(ip.payload);
            self.reject((ip.src, ip.dst), bad.into(), bytes);
        }
    }

    /// Reports a query that was not delivered. An undelivered response fails no query.
    fn decode_icmp(&mut self, ip: &IpPacket<'_>) {
        let Some(quote) = net::parse_icmp_quote(ip) else { return };
        let transport = if quote.tcp { Transport::Tcp } else { Transport::Udp };
        let flow = Flow { transport, src: quote.src, dst: quote.dst };
        if !self.is_dns(quote.src.port(), quote.dst.port()) {
            if self.offers_encrypted(quote.dst) && quote.cause.is_final() {
                self.emit_unreachable(flow, None, quote.cause);
            }
            return;
        }
        let [to_server, from_server] =
            [quote.dst, quote.src].map(|end| self.ports.contains(end.port()));
        let totals = &mut self.out.counters.totals;
        // Between two servers only the message tells queries from responses.
        if !to_server || (from_server && quote.is_response == Some(true)) {
            totals.icmp_about_responses += 1;
            return;
        }
        totals.icmp_about_queries += 1;
        // Some errors, such as "packet too big", only make the sender try differently.
        if quote.cause.is_final() {
            self.emit_unreachable(flow, quote.first_two, quote.cause);
        }
    }

    /// Reads which message a reported packet has; `None` if it is not DNS.
    fn reported(&self, bytes: &[u8], wire_bytes: u32) -> Option<MessageKey> {
        MessageKey::read(bytes, wire_bytes)
            .filter(|message| self.is_dns(message.client.port(), message.server.port()))
    }

    fn is_dns(&self, src: u16, dst: u16) -> bool {
        self.ports.contains(dst) || self.ports.contains(src)
    }

    /// Returns whether a packet, which is not plain DNS, is encrypted DNS.
    fn is_encrypted(&self, ip: &IpPacket<'_>, ports: Option<(u16, u16)>) -> bool {
        let (Some(encrypted), Some((src, dst))) = (self.encrypted, ports) else { return false };
        encrypted.matches(SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst))
    }

    /// Returns whether a server offers encrypted DNS.
    fn offers_encrypted(&self, server: SocketAddr) -> bool {
        self.encrypted.is_some_and(|encrypted| encrypted.rule_of(server).is_some())
    }

    /// Decodes the payload of a UDP packet on a DNS port. The kernel may have merged several
    /// datagrams of one size, the last one shorter (GRO).
    fn decode_datagram(&mut self, ip: &IpPacket<'_>) -> Result<(), BadHeader> {
        let udp = net::parse_udp(ip)?;
        let flow = Flow {
            transport: Transport::Udp,
            src: SocketAddr::new(ip.src, udp.src_port),
            dst: SocketAddr::new(ip.dst, udp.dst_port),
        };
        let size = match self.context.datagram_bytes {
            0 => udp.payload_wire,
            size => u32::from(size),
        };
        let (mut rest, mut wire, mut index) = (udp.payload, udp.payload_wire, 0);
        let mut error = None;
        loop {
            let wire_bytes = wire.min(size);
            let here = usize::try_from(wire_bytes).unwrap_or(usize::MAX).min(rest.len());
            let (captured, behind) = rest.split_at(here);
            let bytes = MessageBytes { captured, wire_bytes };
            let result = self.out.emit_message(&self.context, &flow, bytes, &mut index);
            error = error.or(result.err());
            (rest, wire) = (behind, wire - wire_bytes);
            if wire == 0 {
                self.account(error);
                return Ok(());
            }
        }
    }

    fn account(&mut self, error: Option<Malformed>) {
        self.out.counters.account(self.context.packets, error);
    }

    /// Counts packets whose headers cannot be read, and emits a dead letter. `bytes` begins with
    /// the transport header if that is malformed.
    fn reject(&mut self, (src, dst): (IpAddr, IpAddr), reason: Malformed, bytes: &[u8]) {
        let is_tcp = reason == Malformed::TcpHeader;
        let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
        let ports = match (reason, bytes) {
            (Malformed::UdpHeader | Malformed::TcpHeader, [a, b, c, d, ..]) => {
                (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
            }
            _ => (0, 0),
        };
        let (src, dst) = (SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1));
        self.account(Some(reason));
        let flow = Flow { transport, src, dst };
        self.out.emit_dead_letter(&self.context, &flow, reason, bytes, &mut 0);
    }

    /// Emits an undelivered query or connection attempt of `flow`.
    fn emit_unreachable(&mut self, flow: Flow, query_id: Option<u16>, cause: UnreachableReason) {
        let PacketContext { id: packet, ts, scope, .. } = self.context;
        let Flow { transport, src: client, dst: server } = flow;
        let id = MessageId { packet, index: 0 };
        let error = Unreachable { id, ts, scope, transport, client, server, query_id, cause };
        (self.out.each)(Decoded::Unreachable(error));
    }
}

/// Returns the IP packet of a reassembled datagram, after the extension headers of its first
/// fragment.
fn reassembled_packet<'a>(
    fragment: &IpPacket<'_>,
    protocol: u8,
    payload: &'a [u8],
    payload_wire: u32,
) -> Result<IpPacket<'a>, BadHeader> {
    let (src, dst) = (fragment.src, fragment.dst);
    let datagram = IpPacket { src, dst, protocol, payload, payload_wire, fragment: None };
    if src.is_ipv4() {
        return Ok(datagram);
    }
    let inner = net::skip_extensions(protocol, payload, payload_wire)?;
    if inner.fragment.is_some() {
        return Err(BadHeader::Ip);
    }
    let net::UpperLayer { protocol, payload, payload_wire, fragment: _ } = inner;
    Ok(IpPacket { protocol, payload, payload_wire, ..datagram })
}

#[cfg(test)]
mod tests;
