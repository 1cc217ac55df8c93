//! Filter of replayed packets, equivalent to the eBPF programs: decides which packets count as seen, and which are
//! passed on.

mod fragments;

use dnscribe_common::layers::LEVELS;
use dnscribe_record::ledger;
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::net::{self, IpPacket, TunnelContent, protocol};
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::{Body, Packet};
use fragments::{DatagramKey, Fragments};
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// Filter with its counters. Identity 1 of the ledger always holds: `seen = submitted + skipped`.
#[derive(Debug, Default)]
pub(super) struct Filter {
    ports: PortSet,
    pub(super) encrypted: Option<Encrypted>,
    fragments: Fragments,
    /// Packets by [`Outcome`]; ignored ones are not counted.
    outcomes: [u64; 5],
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
        Self { ports, ..Self::default() }
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
        for datagram in firsts {
            let is_captured = outcome == Outcome::Submitted;
            for pending in self.fragments.decide(datagram, is_captured, packet.ts) {
                self.offer(&pending.packet(), each)?;
            }
        }
        self.account(outcome, packet, each)
    }

    /// Counts what is no packet and is always passed on, and calls `each` with it.
    pub(super) fn pass(
        &mut self,
        packet: &Packet<'_>,
        each: &mut dyn FnMut(&Packet<'_>, &Self) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.account(Outcome::Submitted, packet, each)
    }

    /// Counts a frame with too many headers.
    pub(super) fn skip_too_deep(&mut self) {
        self.outcomes[Outcome::TooDeep as usize] += 1;
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
                    return match self.fragments.is_captured(&datagram, packet.ts) {
                        Some(true) => Classification::Decided(Outcome::Submitted),
                        Some(false) => Classification::Decided(Outcome::Ignored),
                        None => Classification::Pending(datagram),
                    };
                }
                firsts.push(datagram);
            }
            if ip.has_too_many_extensions() {
                break;
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
        if outcome != Outcome::Ignored {
            self.outcomes[outcome as usize] += 1;
        }
        if outcome != Outcome::Submitted {
            return ControlFlow::Continue(());
        }
        if let Body::Ip { bytes, wire_bytes } = packet.body
            && u32::try_from(bytes.len()).is_ok_and(|captured| captured < wire_bytes)
        {
            self.clipped += 1;
        }
        each(packet, self)
    }

    pub(super) fn counters(&self) -> ledger::Kernel {
        let [_, no_payload, encrypted_fragment, too_deep, submitted] = self.outcomes;
        let mut skipped = ledger::Reasons::from([
            ("tcp_no_payload".to_owned(), no_payload),
            ("tunnel_depth".to_owned(), too_deep),
        ]);
        if self.encrypted.is_some() {
            skipped.insert("encrypted_fragment".to_owned(), encrypted_fragment);
        }
        let (seen, clipped) = (self.outcomes.iter().sum(), self.clipped);
        ledger::Kernel { seen, submitted, skipped, clipped, ..ledger::Kernel::default() }
    }
}

#[cfg(test)]
mod tests;
