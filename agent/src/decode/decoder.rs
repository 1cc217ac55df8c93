//! Packets in, messages out: the second room's door.

#![forbid(unsafe_code)]

use super::clock::SteadyClock;
use super::fragment::Fragments;
use super::outlet::{Carrier, Flow, Octets, Outlet, Tally};
use super::tcp::Streams;
use super::{Decoded, Malformed, MessageId, Unreachable, sealed};
use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use crate::capture::{Body, Packet, Transport};
use crate::ledger;
use crate::net::{self, BadHeader, Cause, Ip, Within, protocol};
use crate::time::Timestamp;
use dnscribe_common::layers::LEVELS;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a direction of a TCP connection takes while none of its octets wait, in octets.
pub const TCP_STREAM_BYTES: usize = super::tcp::STREAM_BYTES;

/// What the decoder is told.
#[derive(Clone, Debug)]
pub struct DecoderOptions {
    /// The ports on which DNS is looked for.
    pub ports: PortSet,
    /// Where encrypted DNS is looked for, if it is.
    pub encrypted: Option<Encrypted>,
    /// Most memory for TCP octets that wait, in octets.
    pub tcp_memory_bytes: usize,
    /// Most directions of TCP connections remembered; each takes [`TCP_STREAM_BYTES`].
    pub tcp_streams: usize,
    /// Most memory for IP fragments that wait, in octets.
    pub fragment_memory_bytes: usize,
    /// Most datagrams in fragments remembered.
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

/// The outlet of a decoder, which borrows some of its fields and leaves the others alone.
macro_rules! outlet {
    ($decoder:ident, $each:ident) => {
        Outlet { tally: &mut $decoder.tally, scratch: &mut $decoder.scratch, each: $each }
    };
}

/// Turns packets into DNS messages. A pure state machine: time comes with the packets and with
/// [`Self::expire`]. After every call, each packet taken is either decoded, malformed or held.
#[derive(Debug)]
pub struct Decoder {
    ports: PortSet,
    encrypted: Option<Encrypted>,
    tally: Tally,
    clock: SteadyClock,
    scratch: Vec<u8>,
    fragments: Fragments,
    streams: Streams,
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new(options: DecoderOptions) -> Self {
        Self {
            ports: options.ports,
            encrypted: options.encrypted,
            tally: Tally::default(),
            clock: SteadyClock::default(),
            scratch: Vec::new(),
            fragments: Fragments::new(options.fragment_datagrams, options.fragment_memory_bytes),
            streams: Streams::new(options.tcp_streams, options.tcp_memory_bytes),
        }
    }

    /// The ports on which DNS is looked for.
    pub(crate) const fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// Looks for DNS on other ports from here on.
    pub(crate) fn watch(&mut self, ports: PortSet) {
        self.ports = ports;
    }

    /// Takes a packet and gives what it completes.
    pub fn observe(&mut self, packet: &Packet<'_>, each: &mut dyn FnMut(Decoded<'_>)) {
        self.tally.received += 1;
        let carrier = Carrier::new(packet, self.clock.read(packet.ts));
        let mut out = outlet!(self, each);
        let (bytes, wire_bytes) = match packet.body {
            Body::Ip { bytes, wire_bytes } => (bytes, wire_bytes),
            Body::SocketError { transport, local, remote, errno, seen } => {
                let is_ours =
                    self.ports.contains(remote.port()) || offers(self.encrypted.as_ref(), remote);
                if !seen && is_ours {
                    let flow = Flow { transport, src: local, dst: remote };
                    let cause = Cause::of_errno(remote.is_ipv6(), errno);
                    unreachable(&carrier, flow, None, cause, &mut out);
                }
                out.tally.settle(1, None);
                return;
            }
        };
        let Self { ports, encrypted, fragments, streams, .. } = self;
        let mut room = Room { ports, encrypted: encrypted.as_ref(), fragments, streams };
        room.octets(bytes, wire_bytes, &carrier, (1, 0), &mut out);
    }

    /// Gives up fragments and segments that have waited too long at `now`, a time of the
    /// capture's clock. To be called about once a second of it.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(Decoded<'_>)) {
        let now = self.clock.read(now);
        let mut out = outlet!(self, each);
        self.fragments.expire(now, &mut out);
        self.streams.expire(now, &mut out);
    }

    /// The capture has ended: messages behind TCP octets that never came are given. Segments and
    /// fragments without their rest stay held.
    pub fn finish(&mut self, each: &mut dyn FnMut(Decoded<'_>)) {
        let mut out = outlet!(self, each);
        self.streams.finish(&mut out);
    }

    /// The counters as they are when what is held is given up.
    #[must_use]
    pub fn counters_given_up(&self) -> ledger::Decode {
        let mut counters = ledger::Decode { held: 0, ..self.counters() };
        for (reason, held) in [
            (Malformed::FragmentIncomplete, self.fragments.held()),
            (Malformed::TcpIncomplete, self.streams.held()),
        ] {
            *counters.malformed.entry(reason.name().to_owned()).or_default() += held;
        }
        counters
    }

    /// Memory used for packets that wait for others, in octets, roughly; never more than the
    /// options allow.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.fragments.cost() + self.streams.cost()
    }

    /// The counters; identity 3 holds: `received = decoded_packets + Σ malformed + held`.
    #[must_use]
    pub fn counters(&self) -> ledger::Decode {
        let counts = Malformed::ALL.iter().zip(self.tally.malformed);
        ledger::Decode {
            received: self.tally.received,
            decoded_packets: self.tally.decoded,
            malformed: counts.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
            held: self.fragments.held() + self.streams.held(),
            messages: self.tally.queries + self.tally.responses,
            queries: self.tally.queries,
            responses: self.tally.responses,
            evicted_streams: self.streams.evicted(),
            icmp_about_queries: self.tally.icmp_about_queries,
            icmp_about_responses: self.tally.icmp_about_responses,
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

/// What packets meet.
struct Room<'a> {
    ports: &'a PortSet,
    encrypted: Option<&'a Encrypted>,
    fragments: &'a mut Fragments,
    streams: &'a mut Streams,
}

/// In how many packets something came, and in how many other packets it is.
type Course = (u64, usize);

impl Room<'_> {
    /// Decodes an IP packet, from the wire or from a tunnel.
    fn octets(
        &mut self,
        bytes: &[u8],
        wire_bytes: u32,
        carrier: &Carrier,
        (packets, level): Course,
        out: &mut Outlet<'_>,
    ) {
        let ip = match net::ip(bytes, wire_bytes) {
            Ok(ip) => ip,
            Err(bad) => {
                let nobody = IpAddr::from(Ipv4Addr::UNSPECIFIED);
                refuse(carrier, (nobody, nobody), bad.into(), bytes, packets, out);
                return;
            }
        };
        let Some(fragment) = ip.fragment else {
            return self.packet(&ip, carrier, (packets, level), out);
        };
        let whole = self.fragments.take(&ip, fragment, *carrier, packets, out);
        let Some(whole) = whole else { return };
        let payload = whole.payload.as_slice();
        match reassembled(&ip, whole.protocol, payload, whole.payload_wire) {
            Ok(ip) => self.packet(&ip, carrier, (whole.packets, level), out),
            Err(bad) => {
                let addresses = (ip.src, ip.dst);
                refuse(carrier, addresses, bad.into(), payload, whole.packets, out);
            }
        }
    }

    /// Decodes a whole IP packet.
    fn packet(&mut self, ip: &Ip<'_>, carrier: &Carrier, course: Course, out: &mut Outlet<'_>) {
        let (packets, level) = course;
        let ours = net::ports(ip).is_some_and(|(src, dst)| self.is_dns(src, dst));
        let is_sealed = !ours && self.is_sealed(ip);
        let bad = match ip.protocol {
            protocol::UDP if ours => datagram(ip, carrier, packets, out).err(),
            protocol::TCP if ours => self.segment(ip, carrier, packets, out).err(),
            protocol::UDP | protocol::TCP if is_sealed => {
                sealed::packet(ip, carrier, packets, out).err()
            }
            protocol::UDP | protocol::TCP if net::ports(ip).is_none() => {
                Some(if ip.protocol == protocol::UDP { BadHeader::Udp } else { BadHeader::Tcp })
            }
            protocol::ICMP | protocol::ICMPV6 => {
                self.icmp(ip, carrier, out);
                out.tally.settle(packets, None);
                None
            }
            _ => {
                match net::within(ip) {
                    Within::Packet { bytes, wire_bytes } if level + 1 < LEVELS => {
                        self.octets(bytes, wire_bytes, carrier, (packets, level + 1), out);
                    }
                    // Nothing for us.
                    _ => out.tally.settle(packets, None),
                }
                None
            }
        };
        if let Some(bad) = bad {
            let bytes = if is_sealed { header(ip.payload) } else { ip.payload };
            refuse(carrier, (ip.src, ip.dst), bad.into(), bytes, packets, out);
        }
    }

    /// Tells of a query that did not arrive. Where a response did not, no query failed.
    fn icmp(&self, ip: &Ip<'_>, carrier: &Carrier, out: &mut Outlet<'_>) {
        let Some(quote) = net::quoted(ip) else { return };
        if !self.is_dns(quote.src.port(), quote.dst.port()) {
            if offers(self.encrypted, quote.dst) && quote.cause.is_final() {
                let transport = if quote.tcp { Transport::Tcp } else { Transport::Udp };
                let flow = Flow { transport, src: quote.src, dst: quote.dst };
                unreachable(carrier, flow, None, quote.cause, out);
            }
            return;
        }
        let (to_server, from_server) =
            (self.ports.contains(quote.dst.port()), self.ports.contains(quote.src.port()));
        // Between two servers only the message itself tells.
        if !to_server || (from_server && quote.is_response == Some(true)) {
            out.tally.icmp_about_responses += 1;
            return;
        }
        out.tally.icmp_about_queries += 1;
        // Of some errors, such as that a packet is too long for a link, the sender thinks of a remedy.
        if !quote.cause.is_final() {
            return;
        }
        let transport = if quote.tcp { Transport::Tcp } else { Transport::Udp };
        let flow = Flow { transport, src: quote.src, dst: quote.dst };
        unreachable(carrier, flow, quote.first_two, quote.cause, out);
    }

    fn segment(
        &mut self,
        ip: &Ip<'_>,
        carrier: &Carrier,
        packets: u64,
        out: &mut Outlet<'_>,
    ) -> Result<(), BadHeader> {
        let segment = net::tcp(ip.payload, ip.payload_wire)?;
        self.streams.segment((ip.src, ip.dst), &segment, *carrier, packets, out);
        Ok(())
    }

    fn is_dns(&self, src: u16, dst: u16) -> bool {
        self.ports.contains(dst) || self.ports.contains(src)
    }

    /// Whether the packet, which is not of plain DNS, is of encrypted DNS.
    fn is_sealed(&self, ip: &Ip<'_>) -> bool {
        let (Some(encrypted), Some((src, dst))) = (self.encrypted, net::ports(ip)) else {
            return false;
        };
        encrypted.is_between(SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst))
    }
}

/// Whether the server offers encrypted DNS.
fn offers(encrypted: Option<&Encrypted>, server: SocketAddr) -> bool {
    encrypted.is_some_and(|encrypted| encrypted.service(server).is_some())
}

/// The first octets of a transport header, and of what follows nothing.
fn header(payload: &[u8]) -> &[u8] {
    payload.get(..8).unwrap_or(payload)
}

/// Decodes what a UDP packet on our ports carries.
fn datagram(
    ip: &Ip<'_>,
    carrier: &Carrier,
    packets: u64,
    out: &mut Outlet<'_>,
) -> Result<(), BadHeader> {
    let udp = net::udp(ip)?;
    let flow = Flow {
        transport: Transport::Udp,
        src: SocketAddr::new(ip.src, udp.src_port),
        dst: SocketAddr::new(ip.dst, udp.dst_port),
    };
    let verdict = datagrams(&udp, u32::from(carrier.datagram_bytes), |octets, index| {
        out.message(carrier, &flow, octets, index).err()
    });
    out.tally.settle(packets, verdict);
    Ok(())
}

/// Hands over each datagram of a packet: one, or as many as were bundled (`each` octets and a rest),
/// with the index of its message. Gives the first verdict against one.
fn datagrams<'a>(
    udp: &net::UdpDatagram<'a>,
    each: u32,
    mut hand: impl FnMut(Octets<'a>, &mut u32) -> Option<Malformed>,
) -> Option<Malformed> {
    let each = if each == 0 { udp.payload_wire } else { each };
    let (mut rest, mut wire, mut index) = (udp.payload, udp.payload_wire, 0);
    let mut verdict = None;
    loop {
        let wire_bytes = wire.min(each);
        let here = usize::try_from(wire_bytes).unwrap_or(usize::MAX).min(rest.len());
        let (captured, behind) = rest.split_at(here);
        let bad = hand(Octets { captured, wire_bytes }, &mut index);
        verdict = verdict.or(bad);
        (rest, wire) = (behind, wire - wire_bytes);
        if wire == 0 {
            return verdict;
        }
    }
}

/// The IP packet that fragments made, behind what extension headers its first one went on with.
fn reassembled<'a>(
    fragment: &Ip<'_>,
    protocol: u8,
    payload: &'a [u8],
    payload_wire: u32,
) -> Result<Ip<'a>, BadHeader> {
    let (src, dst) = (fragment.src, fragment.dst);
    let whole = Ip { src, dst, protocol, payload, payload_wire, fragment: None };
    if src.is_ipv4() {
        return Ok(whole);
    }
    let inner = net::extensions(protocol, payload, payload_wire)?;
    if inner.fragment.is_some() {
        return Err(BadHeader::Ip);
    }
    let net::Inner { protocol, payload, payload_wire, fragment: _ } = inner;
    Ok(Ip { protocol, payload, payload_wire, ..whole })
}

/// Ends the way of packets whose headers cannot be read. `bytes` are those of the transport where
/// that is in doubt, and may begin with the ports.
fn refuse(
    carrier: &Carrier,
    (src, dst): (IpAddr, IpAddr),
    reason: Malformed,
    bytes: &[u8],
    packets: u64,
    out: &mut Outlet<'_>,
) {
    let transport = if reason == Malformed::TcpHeader { Transport::Tcp } else { Transport::Udp };
    let ports = match (reason, bytes) {
        (Malformed::UdpHeader | Malformed::TcpHeader, [a, b, c, d, ..]) => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        _ => (0, 0),
    };
    let (src, dst) = (SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1));
    out.tally.settle(packets, Some(reason));
    out.letter(carrier, &Flow { transport, src, dst }, reason, bytes, &mut 0);
}

/// Tells that what `flow` asks for cannot arrive.
fn unreachable(
    carrier: &Carrier,
    flow: Flow,
    query_id: Option<u16>,
    cause: Cause,
    out: &mut Outlet<'_>,
) {
    (out.each)(Decoded::Unreachable(Unreachable {
        id: MessageId { origin: carrier.origin, index: 0 },
        ts: carrier.ts,
        scope: carrier.scope,
        transport: flow.transport,
        client: flow.src,
        server: flow.dst,
        query_id,
        cause,
    }));
}

#[cfg(test)]
mod tests;
