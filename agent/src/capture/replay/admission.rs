//! The filter that a hook would have been: which packets count as seen, and which of them are
//! handed on.

mod fragments;

use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use crate::capture::{Body, Packet};
use crate::ledger;
use crate::net::{self, Ip, protocol};
use fragments::{Datagram, Fragments, Verdict};
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// The reason under which TCP segments without payload are skipped.
const TCP_NO_PAYLOAD: &str = "tcp_no_payload";
/// The reason under which fragments of encrypted DNS are skipped.
const ENCRYPTED_FRAGMENT: &str = "encrypted_fragment";

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
    clipped: u64,
}

enum Fate {
    /// Not for us.
    Pass,
    /// For us, but nothing in it.
    Skip,
    /// Encrypted, and but a part of a packet.
    SkipFragment,
    Submit,
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
        let Ok(ip) = net::ip(bytes, wire_bytes) else { return ControlFlow::Continue(()) };
        let fate = self.fate(&ip);
        let Some(fragment) = ip.fragment else { return self.settle(&fate, packet, each) };
        let datagram = Datagram::of(&ip, fragment);
        if fragment.offset == 0 {
            let verdict = match fate {
                Fate::Pass | Fate::SkipFragment => Verdict::Pass,
                Fate::Skip | Fate::Submit => Verdict::Submit,
            };
            for kept in self.fragments.decide(datagram, verdict, packet.ts) {
                self.settle(&Fate::Submit, &kept.packet(), each)?;
            }
            return self.settle(&fate, packet, each);
        }
        match self.fragments.verdict(&datagram, packet.ts) {
            Some(Verdict::Submit) => self.settle(&Fate::Submit, packet, each),
            Some(Verdict::Pass) => ControlFlow::Continue(()),
            None => {
                self.fragments.keep(datagram, packet, bytes, wire_bytes);
                ControlFlow::Continue(())
            }
        }
    }

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
        if !self.is_dns(src, dst) {
            if !self.is_encrypted(SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst)) {
                return Fate::Pass;
            }
            if ip.fragment.is_some() {
                return Fate::SkipFragment;
            }
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

    fn is_encrypted(&self, src: SocketAddr, dst: SocketAddr) -> bool {
        self.encrypted.as_ref().is_some_and(|encrypted| encrypted.is_between(src, dst))
    }

    fn settle(
        &mut self,
        fate: &Fate,
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
        let mut skipped = ledger::Reasons::from([(TCP_NO_PAYLOAD.to_owned(), self.no_payload)]);
        if self.encrypted.is_some() {
            skipped.insert(ENCRYPTED_FRAGMENT.to_owned(), self.encrypted_fragment);
        }
        skipped
    }
}

#[cfg(test)]
mod tests;
