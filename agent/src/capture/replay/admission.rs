//! The filter that a hook would have been: which packets count as seen, and which of them are
//! handed on.

mod fragments;

use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use crate::capture::{Body, Packet};
use crate::net::{self, Ip, Within, protocol};
use dnscribe_common::layers::LEVELS;
use dnscribe_record::ledger;
use fragments::{Datagram, Fragments, Verdict};
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// The reason under which TCP segments without payload are skipped.
const TCP_NO_PAYLOAD: &str = "tcp_no_payload";
/// The reason under which fragments of encrypted DNS are skipped.
const ENCRYPTED_FRAGMENT: &str = "encrypted_fragment";
/// The reason for packets in more tunnels, or behind more headers, than are looked through.
const TUNNEL_DEPTH: &str = "tunnel_depth";

/// Identity 1 holds at every moment: `seen = submitted + skipped`.
#[derive(Debug)]
pub(super) struct Admission {
    ports: PortSet,
    encrypted: Option<Encrypted>,
    fragments: Fragments,
    seen: u64,
    submitted: u64,
    no_payload: u64,
    encrypted_fragment: u64,
    too_deep: u64,
    clipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Not for us.
    Pass,
    /// For us, but nothing in it.
    Skip,
    /// Encrypted, and but a part of a packet.
    SkipFragment,
    /// Perhaps for us, but too deep in other packets.
    TooDeep,
    Submit,
}

/// What came of a packet.
enum Judgement {
    Decided(Fate),
    /// The first fragment of this datagram decides.
    Waits(Datagram),
}

impl Admission {
    pub(super) fn new(ports: PortSet) -> Self {
        Self {
            ports,
            encrypted: None,
            fragments: Fragments::default(),
            seen: 0,
            submitted: 0,
            no_payload: 0,
            encrypted_fragment: 0,
            too_deep: 0,
            clipped: 0,
        }
    }

    /// Lets encrypted DNS in.
    pub(super) fn watch(&mut self, encrypted: Option<Encrypted>) {
        self.encrypted = encrypted;
    }

    /// Hands the packet to `each` if a hook would have, together with fragments that waited for it.
    pub(super) fn offer(
        &mut self,
        packet: &Packet<'_>,
        each: &mut dyn FnMut(&Packet<'_>, &Self) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Body::Ip { bytes, wire_bytes } = packet.body else { return ControlFlow::Continue(()) };
        // First fragments, this packet's own and those of the packets in it.
        let mut firsts = Vec::new();
        let fate = match self.judge(bytes, wire_bytes, packet, &mut firsts) {
            Judgement::Decided(fate) => fate,
            Judgement::Waits(datagram) => {
                self.fragments.keep(datagram, packet, bytes, wire_bytes);
                return ControlFlow::Continue(());
            }
        };
        // The payload of a fragment is elsewhere.
        let fate = if fate == Fate::Skip && !firsts.is_empty() { Fate::Submit } else { fate };
        let verdict = if fate == Fate::Submit { Verdict::Submit } else { Verdict::Pass };
        for datagram in firsts {
            for kept in self.fragments.decide(datagram, verdict, packet.ts) {
                self.offer(&kept.packet(), each)?;
            }
        }
        self.settle(fate, packet, each)
    }

    /// Counts a frame whose IP packet, if there is one, stands behind too many headers.
    pub(super) fn skip_too_deep(&mut self) {
        self.seen += 1;
        self.too_deep += 1;
    }

    fn judge(
        &mut self,
        bytes: &[u8],
        wire_bytes: u32,
        packet: &Packet<'_>,
        firsts: &mut Vec<Datagram>,
    ) -> Judgement {
        let (mut bytes, mut wire_bytes) = (bytes, wire_bytes);
        for _ in 0..LEVELS {
            let Ok(ip) = net::ip(bytes, wire_bytes) else { return Judgement::Decided(Fate::Pass) };
            if let Some(fragment) = ip.fragment {
                let datagram = Datagram::of(&ip, fragment);
                if fragment.offset != 0 {
                    return match self.fragments.verdict(&datagram, packet.ts) {
                        Some(Verdict::Submit) => Judgement::Decided(Fate::Submit),
                        Some(Verdict::Pass) => Judgement::Decided(Fate::Pass),
                        None => Judgement::Waits(datagram),
                    };
                }
                firsts.push(datagram);
            }
            let fate = self.fate(&ip);
            if fate != Fate::Pass {
                // Of a tunnel in fragments the others could not be told from it.
                let parts = !firsts.is_empty() && self.is_sealed(&ip);
                return Judgement::Decided(if parts { Fate::SkipFragment } else { fate });
            }
            match net::within(&ip) {
                Within::Packet { bytes: inner, wire_bytes: length } => {
                    (bytes, wire_bytes) = (inner, length);
                }
                Within::Nothing => return Judgement::Decided(Fate::Pass),
                Within::TooDeep => break,
            }
        }
        Judgement::Decided(Fate::TooDeep)
    }

    /// What the packet's own ports decide, whatever may be in it.
    fn fate(&self, ip: &Ip<'_>) -> Fate {
        if matches!(ip.protocol, protocol::ICMP | protocol::ICMPV6) {
            return match net::quoted(ip) {
                Some(quote)
                    if self.is_dns(quote.src.port(), quote.dst.port())
                        || self.is_encrypted(quote.src, quote.dst) =>
                {
                    Fate::Submit
                }
                _ => Fate::Pass,
            };
        }
        let Some((src, dst)) = net::ports(ip) else { return Fate::Pass };
        if !self.is_dns(src, dst) && !self.is_sealed(ip) {
            return Fate::Pass;
        }
        if ip.protocol != protocol::TCP || ip.fragment.is_some() {
            return Fate::Submit;
        }
        match net::tcp(ip.payload, ip.payload_wire) {
            Ok(segment) if segment.payload_wire == 0 => {
                let flags = segment.flags;
                if flags.syn || flags.fin || flags.rst { Fate::Submit } else { Fate::Skip }
            }
            _ => Fate::Submit,
        }
    }

    fn is_dns(&self, src: u16, dst: u16) -> bool {
        self.ports.contains(src) || self.ports.contains(dst)
    }

    /// Whether the packet is of encrypted DNS.
    fn is_sealed(&self, ip: &Ip<'_>) -> bool {
        net::ports(ip).is_some_and(|(src, dst)| {
            !self.is_dns(src, dst)
                && self.is_encrypted(SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst))
        })
    }

    fn is_encrypted(&self, src: SocketAddr, dst: SocketAddr) -> bool {
        self.encrypted.as_ref().is_some_and(|encrypted| encrypted.is_between(src, dst))
    }

    fn settle(
        &mut self,
        fate: Fate,
        packet: &Packet<'_>,
        each: &mut dyn FnMut(&Packet<'_>, &Self) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match fate {
            Fate::Pass => return ControlFlow::Continue(()),
            Fate::Skip => {
                self.seen += 1;
                self.no_payload += 1;
                return ControlFlow::Continue(());
            }
            Fate::SkipFragment => {
                self.seen += 1;
                self.encrypted_fragment += 1;
                return ControlFlow::Continue(());
            }
            Fate::TooDeep => {
                self.skip_too_deep();
                return ControlFlow::Continue(());
            }
            Fate::Submit => {}
        }
        self.seen += 1;
        self.submitted += 1;
        if let Body::Ip { bytes, wire_bytes } = packet.body
            && u32::try_from(bytes.len()).is_ok_and(|captured| captured < wire_bytes)
        {
            self.clipped += 1;
        }
        each(packet, self)
    }

    pub(super) fn counters(&self) -> ledger::Kernel {
        ledger::Kernel {
            seen: self.seen,
            submitted: self.submitted,
            skipped: self.skipped(),
            clipped: self.clipped,
            ..ledger::Kernel::default()
        }
    }

    fn skipped(&self) -> ledger::Reasons {
        let mut skipped = ledger::Reasons::from([
            (TCP_NO_PAYLOAD.to_owned(), self.no_payload),
            (TUNNEL_DEPTH.to_owned(), self.too_deep),
        ]);
        if self.encrypted.is_some() {
            skipped.insert(ENCRYPTED_FRAGMENT.to_owned(), self.encrypted_fragment);
        }
        skipped
    }
}

#[cfg(test)]
mod tests;
