//! Consumes a stream's data, as messages or discarded, and accounts for its packets.

use super::Stream;
use crate::decode::Malformed;
use crate::decode::emitter::{Emitter, MAX_DEAD_LETTER_BYTES, MessageBytes};
use std::collections::BTreeMap;

impl Stream {
    /// Emits the message that ends at `end`. Its packet is the current one, or the last one with
    /// bytes of the message.
    pub(super) fn emit(&mut self, end: u64, bytes: MessageBytes<'_>, out: &mut Emitter<'_>) {
        let last = self.buffer.packets(self.next, end).max();
        let Some(serial) = self.current.or(last) else { return };
        let Some(mut held) = self.held.get(&serial).copied() else { return };
        let mut context = held.context;
        for packet in self.buffer.packets(self.next, end) {
            if context.task.is_some() && context.cgroup_id != 0 {
                break;
            }
            if let Some(earlier) = self.held.get(&packet).map(|held| held.context) {
                context.task = context.task.or(earlier.task);
                if context.cgroup_id == 0 {
                    context.cgroup_id = earlier.cgroup_id;
                }
            }
        }
        let result = out.emit_message(&context, &self.flow, bytes, &mut held.emitted);
        self.start_known = true;
        self.note_result(result, &mut held);
        self.held.insert(serial, held);
    }

    /// Advances to `to` and accounts for the packets that end before it.
    pub(super) fn consume(&mut self, to: u64, error: Option<Malformed>, out: &mut Emitter<'_>) {
        while let Some(part) = self.buffer.take(to, None) {
            self.release_bytes(part.packet, part.bytes, error, out);
        }
        self.move_to(to);
    }

    pub(super) fn move_to(&mut self, to: u64) {
        self.next = to;
        self.message_end = None;
        self.contiguous_end = self.buffer.contiguous_end(self.contiguous_end.max(to));
    }

    pub(super) fn release_bytes(
        &mut self,
        serial: u64,
        bytes: u64,
        error: Option<Malformed>,
        out: &mut Emitter<'_>,
    ) {
        if let Some(held) = self.held.get_mut(&serial) {
            held.bytes = held.bytes.saturating_sub(bytes);
            held.error = held.error.or(error);
        }
        if self.current != Some(serial) {
            self.account_if_done(serial, out);
        }
    }

    pub(super) fn account_if_done(&mut self, serial: u64, out: &mut Emitter<'_>) {
        if self.held.get(&serial).is_some_and(|held| held.bytes == 0)
            && let Some(held) = self.held.remove(&serial)
        {
            self.packets -= held.context.packets;
            out.counters.account(held.context.packets, held.error);
            if self.held.is_empty() {
                // An empty map keeps a node.
                self.held = BTreeMap::new();
            }
        }
    }

    /// Discards the bytes before `to`; if there are any, as a dead letter.
    pub(super) fn discard(&mut self, to: u64, reason: Malformed, out: &mut Emitter<'_>) {
        let mut bytes = Vec::new();
        let mut first = None;
        loop {
            let into = (bytes.len() < MAX_DEAD_LETTER_BYTES).then_some(&mut bytes);
            let Some(part) = self.buffer.take(to, into) else { break };
            if first.is_none() {
                // The dead letter's packet is the one with its first byte, if still held.
                first = self.held.get(&part.packet).map(|held| (held.context, held.emitted));
                if let Some(held) = self.held.get_mut(&part.packet) {
                    held.emitted += 1;
                }
            }
            self.release_bytes(part.packet, part.bytes, Some(reason), out);
        }
        if let Some((context, mut emitted)) = first {
            out.emit_dead_letter(&context, &self.flow, reason, &bytes, &mut emitted);
        }
        self.move_to(to);
    }
}
