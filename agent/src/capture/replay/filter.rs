//! Filter of replayed packets, equivalent to the eBPF programs: decides which packets count as seen, and which are
//! passed on.

mod fragments;

use crate::capture::encrypted::Encrypted;
use crate::capture::net::{self, IpPacket, TunnelContent, protocol};
use crate::capture::ports::PortSet;
use crate::capture::{Body, Packet};
use dnscribe_common::layers::LEVELS;
use dnscribe_record::ledger;
use fragments::{DatagramKey, Fragments, Verdict};
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// Reason for skipped TCP segments without payload.
const TCP_NO_PAYLOAD: &str = "tcp_no_payload";
/// Reason for skipped fragments of encrypted DNS.
const ENCRYPTED_FRAGMENT: &str = "encrypted_fragment";
/// Reason for packets with more nested tunnels or headers than are parsed.
const TUNNEL_DEPTH: &str = "tunnel_depth";

/// Filter with its counters. Identity 1 of the ledger always holds: `seen = submitted + skipped`.
#[derive(Debug)]
pub(super) struct Filter {
    ports: PortSet,
    encrypted: Option<Encrypted>,
    fragments: Fragments,
    seen: u64,
    submitted: u64,
    tcp_no_payload: u64,
    encrypted_fragment: u64,
    tunnel_depth: u64,
    clipped: u64,
}

/// Outcome for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Not captured.
    Ignored,
    /// TCP segment without payload.
    NoPayload,
    /// Fragment of encrypted DNS.
    EncryptedFragment,
    /// Nested too deeply.
    TooDeep,
    /// Captured.
    Submitted,
}

/// Classification of a packet.
enum Classification {
    Decided(Outcome),
    /// Depends on the first fragment of this datagram, which has not come yet.
    Pending(DatagramKey),
}

impl Filter {
    pub(super) fn new(ports: PortSet) -> Self {
        Self {
            ports,
            encrypted: None,
            fragments: Fragments::default(),
            seen: 0,
            submitted: 0,
            tcp_no_payload: 0,
            encrypted_fragment: 0,
            tunnel_depth: 0,
            clipped: 0,
        }
    }

    /// Sets the rules for encrypted DNS.
    pub(super) fn set_encrypted(&mut self, encrypted: Option<Encrypted>) {
        self.encrypted = encrypted;
    }

    /// Calls `each` with the packet if it is captured, after pending fragments of its datagram.
    pub(super) fn offer(
        &mut self,
        packet: &Packet<'_>,
        each: &mut dyn FnMut(&Packet<'_>, &Self) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Body::Ip { bytes, wire_bytes } = packet.body else { return ControlFlow::Continue(()) };
        // First fragments: the packet itself, and packets nested in it.
        let mut firsts = Vec::new();
        let outcome = match self.classify(bytes, wire_bytes, packet, &mut firsts) {
            Classification::Decided(outcome) => outcome,
            Classification::Pending(datagram) => {
                self.fragments.store(datagram, packet, bytes, wire_bytes);
                return ControlFlow::Continue(());
            }
        };
        // The payload of a first fragment may be in other fragments.
        let outcome = if outcome == Outcome::NoPayload && !firsts.is_empty() {
            Outcome::Submitted
        } else {
            outcome
        };
        let verdict = if outcome == Outcome::Submitted { Verdict::Submit } else { Verdict::Ignore };
        for datagram in firsts {
            for pending in self.fragments.decide(datagram, verdict, packet.ts) {
                self.offer(&pending.packet(), each)?;
            }
        }
        self.account(outcome, packet, each)
    }

    /// Counts a frame with too many headers.
    pub(super) fn skip_too_deep(&mut self) {
        self.seen += 1;
        self.tunnel_depth += 1;
    }

    fn classify(
        &mut self,
        bytes: &[u8],
        wire_bytes: u32,
        packet: &Packet<'_>,
        firsts: &mut Vec<DatagramKey>,
    ) -> Classification {
        let (mut bytes, mut wire_bytes) = (bytes, wire_bytes);
        for _ in 0..LEVELS {
            let Ok(ip) = net::parse_ip(bytes, wire_bytes) else {
                return Classification::Decided(Outcome::Ignored);
            };
            if let Some(fragment) = ip.fragment {
                let datagram = DatagramKey::new(&ip, fragment);
                if fragment.offset != 0 {
                    return match self.fragments.verdict(&datagram, packet.ts) {
                        Some(Verdict::Submit) => Classification::Decided(Outcome::Submitted),
                        Some(Verdict::Ignore) => Classification::Decided(Outcome::Ignored),
                        None => Classification::Pending(datagram),
                    };
                }
                firsts.push(datagram);
            }
            let outcome = self.outcome_by_ports(&ip);
            if outcome != Outcome::Ignored {
                // The other fragments of a fragmented tunnel packet could not be identified.
                let is_fragment = !firsts.is_empty() && self.is_encrypted_dns(&ip);
                return Classification::Decided(if is_fragment {
                    Outcome::EncryptedFragment
                } else {
                    outcome
                });
            }
            match net::tunnel_content(&ip) {
                TunnelContent::Packet { bytes: inner, wire_bytes: length } => {
                    (bytes, wire_bytes) = (inner, length);
                }
                TunnelContent::Nothing => return Classification::Decided(Outcome::Ignored),
                TunnelContent::TooDeep => break,
            }
        }
        Classification::Decided(Outcome::TooDeep)
    }

    /// Returns the outcome by the packet's own ports, without nested packets.
    fn outcome_by_ports(&self, ip: &IpPacket<'_>) -> Outcome {
        if matches!(ip.protocol, protocol::ICMP | protocol::ICMPV6) {
            return match net::parse_icmp_quote(ip) {
                Some(quote)
                    if self.is_dns(quote.src.port(), quote.dst.port())
                        || self.is_encrypted(quote.src, quote.dst) =>
                {
                    Outcome::Submitted
                }
                _ => Outcome::Ignored,
            };
        }
        let Some((src, dst)) = net::ports(ip) else { return Outcome::Ignored };
        if !self.is_dns(src, dst) && !self.is_encrypted_dns(ip) {
            return Outcome::Ignored;
        }
        if ip.protocol != protocol::TCP || ip.fragment.is_some() {
            return Outcome::Submitted;
        }
        match net::parse_tcp(ip.payload, ip.payload_wire) {
            Ok(segment) if segment.payload_wire == 0 => {
                let flags = segment.flags;
                if flags.syn || flags.fin || flags.rst {
                    Outcome::Submitted
                } else {
                    Outcome::NoPayload
                }
            }
            _ => Outcome::Submitted,
        }
    }

    fn is_dns(&self, src: u16, dst: u16) -> bool {
        self.ports.contains(src) || self.ports.contains(dst)
    }

    /// Returns whether the packet is encrypted DNS.
    fn is_encrypted_dns(&self, ip: &IpPacket<'_>) -> bool {
        net::ports(ip).is_some_and(|(src, dst)| {
            !self.is_dns(src, dst)
                && self.is_encrypted(SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst))
        })
    }

    fn is_encrypted(&self, src: SocketAddr, dst: SocketAddr) -> bool {
        self.encrypted.as_ref().is_some_and(|encrypted| encrypted.matches(src, dst))
    }

    fn account(
        &mut self,
        outcome: Outcome,
        packet: &Packet<'_>,
        each: &mut dyn FnMut(&Packet<'_>, &Self) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match outcome {
            Outcome::Ignored => return ControlFlow::Continue(()),
            Outcome::NoPayload => {
                self.seen += 1;
                self.tcp_no_payload += 1;
                return ControlFlow::Continue(());
            }
            Outcome::EncryptedFragment => {
                self.seen += 1;
                self.encrypted_fragment += 1;
                return ControlFlow::Continue(());
            }
            Outcome::TooDeep => {
                self.skip_too_deep();
                return ControlFlow::Continue(());
            }
            Outcome::Submitted => {}
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
            (TCP_NO_PAYLOAD.to_owned(), self.tcp_no_payload),
            (TUNNEL_DEPTH.to_owned(), self.tunnel_depth),
        ]);
        if self.encrypted.is_some() {
            skipped.insert(ENCRYPTED_FRAGMENT.to_owned(), self.encrypted_fragment);
        }
        skipped
    }
}

#[cfg(test)]
mod tests;
