//! Decodes packets: finds the transport, unpacks tunnels, passes fragments and segments to
//! reassembly.

#![forbid(unsafe_code)]

use super::emitter::{Emitter, Flow, MessageBytes, PacketContext, PacketCounters};
use super::fragment::Fragments;
use super::steady_clock::SteadyClock;
use super::tcp::Streams;
use super::{Decoded, Malformed, MessageId, Unreachable, encrypted_packet};
use crate::capture::encrypted::Encrypted;
use crate::capture::net::{self, BadHeader, IpPacket, TunnelContent, UnreachableReason, protocol};
use crate::capture::ports::PortSet;
use crate::capture::{Body, Packet, Transport};
use dnscribe_common::layers::LEVELS;
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    ports: PortSet,
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

    /// Returns the ports of plain DNS.
    pub(crate) const fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// Replaces the ports of plain DNS.
    pub(crate) fn set_ports(&mut self, ports: PortSet) {
        self.ports = ports;
    }

    /// Decodes a packet and passes the events that it completes to `each`.
    pub fn observe(&mut self, packet: &Packet<'_>, each: &mut dyn FnMut(Decoded<'_>)) {
        self.counters.received += 1;
        let context = PacketContext::new(packet, self.clock.read(packet.ts));
        let mut out = emitter!(self, each);
        let (bytes, wire_bytes) = match packet.body {
            Body::Ip { bytes, wire_bytes } => (bytes, wire_bytes),
            Body::SocketError { transport, local, remote, errno, seen } => {
                let is_ours = self.ports.contains(remote.port())
                    || offers_encrypted_dns(self.encrypted.as_ref(), remote);
                if !seen && is_ours {
                    let flow = Flow { transport, src: local, dst: remote };
                    let cause = UnreachableReason::from_errno(remote.is_ipv6(), errno);
                    emit_unreachable(&context, flow, None, cause, &mut out);
                }
                out.counters.account(1, None);
                return;
            }
        };
        let Self { ports, encrypted, fragments, streams, .. } = self;
        let mut decoder =
            PacketDecoder { ports, encrypted: encrypted.as_ref(), fragments, streams };
        decoder.decode_ip(bytes, wire_bytes, &context, 1, 0, &mut out);
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

    /// Returns the counters as if everything held had been discarded.
    #[must_use]
    pub fn counters_with_held_discarded(&self) -> ledger::Decode {
        let mut counters = ledger::Decode { held: 0, ..self.counters() };
        for (reason, held) in [
            (Malformed::FragmentIncomplete, self.fragments.held()),
            (Malformed::TcpIncomplete, self.streams.held()),
        ] {
            *counters.malformed.entry(reason.name().to_owned()).or_default() += held;
        }
        counters
    }

    /// Returns the approximate memory of pending data in bytes; within the limits of the options.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.fragments.memory_bytes() + self.streams.memory_bytes()
    }

    /// Returns the counters. Identity 3 of the ledger holds: `received = decoded_packets + Σ
    /// malformed + held`.
    #[must_use]
    pub fn counters(&self) -> ledger::Decode {
        let counts = Malformed::ALL.iter().zip(self.counters.malformed);
        ledger::Decode {
            received: self.counters.received,
            decoded_packets: self.counters.decoded,
            malformed: counts.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
            held: self.fragments.held() + self.streams.held(),
            messages: self.counters.queries + self.counters.responses,
            queries: self.counters.queries,
            responses: self.counters.responses,
            evicted_streams: self.streams.evicted(),
            icmp_about_queries: self.counters.icmp_about_queries,
            icmp_about_responses: self.counters.icmp_about_responses,
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

/// The decoder's state, without its counters.
struct PacketDecoder<'a> {
    ports: &'a PortSet,
    encrypted: Option<&'a Encrypted>,
    fragments: &'a mut Fragments,
    streams: &'a mut Streams,
}

impl PacketDecoder<'_> {
    /// Decodes an IP packet, which came in `packets` captured packets and is inside `depth`
    /// tunnels.
    fn decode_ip(
        &mut self,
        bytes: &[u8],
        wire_bytes: u32,
        context: &PacketContext,
        packets: u64,
        depth: usize,
        out: &mut Emitter<'_>,
    ) {
        let ip = match net::parse_ip(bytes, wire_bytes) {
            Ok(ip) => ip,
            Err(bad) => {
                let unspecified = IpAddr::from(Ipv4Addr::UNSPECIFIED);
                reject(context, (unspecified, unspecified), bad.into(), bytes, packets, out);
                return;
            }
        };
        let Some(fragment) = ip.fragment else {
            return self.decode_packet(&ip, context, packets, depth, out);
        };
        let datagram = self.fragments.add(&ip, fragment, *context, packets, out);
        let Some(datagram) = datagram else { return };
        let payload = datagram.payload.as_slice();
        match reassembled_packet(&ip, datagram.protocol, payload, datagram.payload_wire) {
            Ok(ip) => self.decode_packet(&ip, context, datagram.packets, depth, out),
            Err(bad) => {
                let addresses = (ip.src, ip.dst);
                reject(context, addresses, bad.into(), payload, datagram.packets, out);
            }
        }
    }

    /// Decodes a complete IP packet.
    fn decode_packet(
        &mut self,
        ip: &IpPacket<'_>,
        context: &PacketContext,
        packets: u64,
        depth: usize,
        out: &mut Emitter<'_>,
    ) {
        let ours = net::ports(ip).is_some_and(|(src, dst)| self.is_dns(src, dst));
        let is_encrypted = !ours && self.is_encrypted(ip);
        let bad = match ip.protocol {
            protocol::UDP if ours => decode_datagram(ip, context, packets, out).err(),
            protocol::TCP if ours => self.decode_segment(ip, context, packets, out).err(),
            protocol::UDP | protocol::TCP if is_encrypted => {
                encrypted_packet::emit(ip, context, packets, out).err()
            }
            protocol::UDP | protocol::TCP if net::ports(ip).is_none() => {
                Some(if ip.protocol == protocol::UDP { BadHeader::Udp } else { BadHeader::Tcp })
            }
            protocol::ICMP | protocol::ICMPV6 => {
                self.decode_icmp(ip, context, out);
                out.counters.account(packets, None);
                None
            }
            _ => {
                match net::tunnel_content(ip) {
                    TunnelContent::Packet { bytes, wire_bytes } if depth + 1 < LEVELS => {
                        self.decode_ip(bytes, wire_bytes, context, packets, depth + 1, out);
                    }
                    // Not DNS.
                    _ => out.counters.account(packets, None),
                }
                None
            }
        };
        if let Some(bad) = bad {
            let bytes = if is_encrypted { transport_header(ip.payload) } else { ip.payload };
            reject(context, (ip.src, ip.dst), bad.into(), bytes, packets, out);
        }
    }

    /// Reports a query that was not delivered. An undelivered response fails no query.
    fn decode_icmp(&self, ip: &IpPacket<'_>, context: &PacketContext, out: &mut Emitter<'_>) {
        let Some(quote) = net::parse_icmp_quote(ip) else { return };
        let transport = if quote.tcp { Transport::Tcp } else { Transport::Udp };
        let flow = Flow { transport, src: quote.src, dst: quote.dst };
        if !self.is_dns(quote.src.port(), quote.dst.port()) {
            if offers_encrypted_dns(self.encrypted, quote.dst) && quote.cause.is_final() {
                emit_unreachable(context, flow, None, quote.cause, out);
            }
            return;
        }
        let (to_server, from_server) =
            (self.ports.contains(quote.dst.port()), self.ports.contains(quote.src.port()));
        // Between two servers only the message tells queries from responses.
        if !to_server || (from_server && quote.is_response == Some(true)) {
            out.counters.icmp_about_responses += 1;
            return;
        }
        out.counters.icmp_about_queries += 1;
        // Some errors, such as "packet too big", only make the sender try differently.
        if quote.cause.is_final() {
            emit_unreachable(context, flow, quote.first_two, quote.cause, out);
        }
    }

    fn decode_segment(
        &mut self,
        ip: &IpPacket<'_>,
        context: &PacketContext,
        packets: u64,
        out: &mut Emitter<'_>,
    ) -> Result<(), BadHeader> {
        let segment = net::parse_tcp(ip.payload, ip.payload_wire)?;
        self.streams.segment((ip.src, ip.dst), &segment, *context, packets, out);
        Ok(())
    }

    fn is_dns(&self, src: u16, dst: u16) -> bool {
        self.ports.contains(dst) || self.ports.contains(src)
    }

    /// Returns whether a packet, which is not plain DNS, is encrypted DNS.
    fn is_encrypted(&self, ip: &IpPacket<'_>) -> bool {
        let (Some(encrypted), Some((src, dst))) = (self.encrypted, net::ports(ip)) else {
            return false;
        };
        encrypted.matches(SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst))
    }
}

/// Returns whether the server offers encrypted DNS.
fn offers_encrypted_dns(encrypted: Option<&Encrypted>, server: SocketAddr) -> bool {
    encrypted.is_some_and(|encrypted| encrypted.rule_of(server).is_some())
}

/// Returns the first eight bytes of a transport header: never encrypted data.
fn transport_header(payload: &[u8]) -> &[u8] {
    payload.get(..8).unwrap_or(payload)
}

/// Decodes the payload of a UDP packet on a DNS port.
fn decode_datagram(
    ip: &IpPacket<'_>,
    context: &PacketContext,
    packets: u64,
    out: &mut Emitter<'_>,
) -> Result<(), BadHeader> {
    let udp = net::parse_udp(ip)?;
    let flow = Flow {
        transport: Transport::Udp,
        src: SocketAddr::new(ip.src, udp.src_port),
        dst: SocketAddr::new(ip.dst, udp.dst_port),
    };
    let error = for_each_datagram(&udp, u32::from(context.datagram_bytes), |bytes, index| {
        out.emit_message(context, &flow, bytes, index).err()
    });
    out.counters.account(packets, error);
    Ok(())
}

/// Passes each datagram of a packet to `decode` with the index of its message. The kernel may have
/// merged datagrams of `size` bytes, the last one shorter (GRO). Returns the first error.
fn for_each_datagram<'a>(
    udp: &net::UdpDatagram<'a>,
    size: u32,
    mut decode: impl FnMut(MessageBytes<'a>, &mut u32) -> Option<Malformed>,
) -> Option<Malformed> {
    let size = if size == 0 { udp.payload_wire } else { size };
    let (mut rest, mut wire, mut index) = (udp.payload, udp.payload_wire, 0);
    let mut error = None;
    loop {
        let wire_bytes = wire.min(size);
        let here = usize::try_from(wire_bytes).unwrap_or(usize::MAX).min(rest.len());
        let (captured, behind) = rest.split_at(here);
        let bad = decode(MessageBytes { captured, wire_bytes }, &mut index);
        error = error.or(bad);
        (rest, wire) = (behind, wire - wire_bytes);
        if wire == 0 {
            return error;
        }
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

/// Counts packets whose headers cannot be read, and emits a dead letter. `bytes` begins with the
/// transport header if that is malformed.
fn reject(
    context: &PacketContext,
    (src, dst): (IpAddr, IpAddr),
    reason: Malformed,
    bytes: &[u8],
    packets: u64,
    out: &mut Emitter<'_>,
) {
    let transport = if reason == Malformed::TcpHeader { Transport::Tcp } else { Transport::Udp };
    let ports = match (reason, bytes) {
        (Malformed::UdpHeader | Malformed::TcpHeader, [a, b, c, d, ..]) => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        _ => (0, 0),
    };
    let (src, dst) = (SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1));
    out.counters.account(packets, Some(reason));
    out.emit_dead_letter(context, &Flow { transport, src, dst }, reason, bytes, &mut 0);
}

/// Emits an undelivered query or connection attempt of `flow`.
fn emit_unreachable(
    context: &PacketContext,
    flow: Flow,
    query_id: Option<u16>,
    cause: UnreachableReason,
    out: &mut Emitter<'_>,
) {
    (out.each)(Decoded::Unreachable(Unreachable {
        id: MessageId { packet: context.origin, index: 0 },
        ts: context.ts,
        scope: context.scope,
        transport: flow.transport,
        client: flow.src,
        server: flow.dst,
        query_id,
        cause,
    }));
}

#[cfg(test)]
mod tests;
