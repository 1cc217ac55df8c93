//! The filter that a hook would have been: which packets count as seen, and which of them are
//! handed on.

mod fragments;

use crate::capture::ports::PortSet;
use crate::capture::{Body, Packet};
use crate::ledger;
use crate::net::{self, Ip, protocol};
use fragments::{Datagram, Fragments, Verdict};
use std::ops::ControlFlow;

/// The reason under which TCP segments without payload are skipped.
const TCP_NO_PAYLOAD: &str = "tcp_no_payload";

/// Identity 1 holds at every moment: `seen = submitted + skipped`.
#[derive(Debug)]
pub(super) struct Admission {
    ports: PortSet,
    fragments: Fragments,
    seen: u64,
    submitted: u64,
    no_payload: u64,
    clipped: u64,
}

enum Fate {
    /// Not for us.
    Pass,
    /// For us, but nothing in it.
    Skip,
    Submit,
}

impl Admission {
    pub(super) fn new(ports: PortSet) -> Self {
        Self {
            ports,
            fragments: Fragments::default(),
            seen: 0,
            submitted: 0,
            no_payload: 0,
            clipped: 0,
        }
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
            let verdict = if matches!(fate, Fate::Pass) { Verdict::Pass } else { Verdict::Submit };
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
                    if self.ports.contains(quote.src.port())
                        || self.ports.contains(quote.dst.port()) =>
                {
                    Fate::Submit
                }
                _ => Fate::Pass,
            };
        }
        let Some((src, dst)) = net::ports(ip) else { return Fate::Pass };
        if !self.ports.contains(src) && !self.ports.contains(dst) {
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
            skipped: [(TCP_NO_PAYLOAD.to_owned(), self.no_payload)].into(),
            clipped: self.clipped,
            ..ledger::Kernel::default()
        }
    }
}

#[cfg(test)]
mod tests;
