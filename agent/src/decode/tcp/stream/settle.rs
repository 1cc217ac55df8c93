//! What becomes of a stream's octets: given as messages, or given up; and of the packets that
//! they came in.

use super::Stream;
use crate::decode::Malformed;
use crate::decode::outlet::{MAX_LETTER, Octets, Outlet};
use std::collections::BTreeMap;

impl Stream {
    /// Gives the message whose octets lie before `end`, in the name of the packet that completed
    /// it: the one at hand, or else the last of those that it lies in.
    pub(super) fn emit(&mut self, end: u64, octets: Octets<'_>, out: &mut Outlet<'_>) {
        let last = self.buffer.packets(self.next, end).max();
        let Some(serial) = self.current.or(last) else { return };
        let Some(mut held) = self.held.get(&serial).copied() else { return };
        let mut carrier = held.carrier;
        for packet in self.buffer.packets(self.next, end) {
            if carrier.task.is_some() && carrier.cgroup_id != 0 {
                break;
            }
            if let Some(earlier) = self.held.get(&packet).map(|held| held.carrier) {
                carrier.task = carrier.task.or(earlier.task);
                if carrier.cgroup_id == 0 {
                    carrier.cgroup_id = earlier.cgroup_id;
                }
            }
        }
        let result = out.message(&carrier, &self.flow, octets, &mut held.given);
        self.anchored = true;
        self.judge(result, &mut held);
        self.held.insert(serial, held);
    }

    /// Moves on to `to`; packets whose last octet lies before it settle.
    pub(super) fn consume(&mut self, to: u64, verdict: Option<Malformed>, out: &mut Outlet<'_>) {
        while let Some(part) = self.buffer.take(to, None) {
            self.release(part.packet, part.octets, verdict, out);
        }
        self.move_to(to);
    }

    pub(super) fn move_to(&mut self, to: u64) {
        self.next = to;
        self.message_end = None;
        self.covered = self.buffer.covered(self.covered.max(to));
    }

    pub(super) fn release(
        &mut self,
        serial: u64,
        octets: u64,
        verdict: Option<Malformed>,
        out: &mut Outlet<'_>,
    ) {
        if let Some(held) = self.held.get_mut(&serial) {
            held.octets = held.octets.saturating_sub(octets);
            held.verdict = held.verdict.or(verdict);
        }
        if self.current != Some(serial) {
            self.settle(serial, out);
        }
    }

    pub(super) fn settle(&mut self, serial: u64, out: &mut Outlet<'_>) {
        if self.held.get(&serial).is_some_and(|held| held.octets == 0)
            && let Some(held) = self.held.remove(&serial)
        {
            self.packets -= held.packets;
            out.tally.settle(held.packets, held.verdict);
            if self.held.is_empty() {
                // As in the buffer: an emptied map keeps a node.
                self.held = BTreeMap::new();
            }
        }
    }

    /// Gives up the octets before `to`, with a dead letter if there are any.
    pub(super) fn give_up(&mut self, to: u64, reason: Malformed, out: &mut Outlet<'_>) {
        let mut bytes = Vec::new();
        let mut first = None;
        loop {
            let into = (bytes.len() < MAX_LETTER).then_some(&mut bytes);
            let Some(part) = self.buffer.take(to, into) else { break };
            if first.is_none() {
                // In the name of the packet that they begin in, while that is still held.
                first = self.held.get(&part.packet).map(|held| (held.carrier, held.given));
                if let Some(held) = self.held.get_mut(&part.packet) {
                    held.given += 1;
                }
            }
            self.release(part.packet, part.octets, Some(reason), out);
        }
        if let Some((carrier, mut given)) = first {
            out.letter(&carrier, &self.flow, reason, &bytes, &mut given);
        }
        self.move_to(to);
    }
}
