//! Maps sequence numbers to stream offsets, and decides whether a segment belongs to a stream.
//!
//! An observer cannot tell forged segments from real ones, but limits their effect: a segment too
//! far from the expected sequence number does not belong to the stream, and only an exact reset
//! counts (RFC 5961, 3.2).

use super::{Ending, Framing, MAX_HELD_BYTES, Stream};
use crate::decode::Malformed;
use crate::decode::emitter::Emitter;

/// How far back retransmitted bytes may be, in bytes; more than any window.
const MAX_RETRANSMIT_BYTES: u64 = 16 * 1024 * 1024;

impl Stream {
    fn seq_at(&self, offset: u64) -> u32 {
        self.base_seq.wrapping_add(u32::try_from(offset & 0xffff_ffff).unwrap_or(0))
    }

    /// Returns the offset of a sequence number: the candidate nearest to `next`.
    pub(super) fn offset_of(&self, seq: u32) -> u64 {
        let distance = i64::from(seq.wrapping_sub(self.seq_at(self.next)).cast_signed());
        self.next.saturating_add_signed(distance)
    }

    /// Returns the distance of a segment at `seq` from the expected byte. `None` if it is too far
    /// to be of this connection, or in a skipped gap; late data of a gap is read as a stream of its
    /// own.
    pub(in crate::decode::tcp) fn distance(&self, seq: u32) -> Option<u64> {
        let offset = self.offset_of(seq);
        let near = if offset < self.next {
            self.next - offset <= MAX_RETRANSMIT_BYTES
                && !(self.skipped_gap.0 <= offset && offset < self.skipped_gap.1)
        } else {
            offset - self.next <= MAX_HELD_BYTES
        };
        near.then(|| offset.abs_diff(self.contiguous_end))
    }

    /// Returns whether a SYN whose first byte is `seq` opened this connection. A stream joined midstream
    /// before its SYN arrived adopts it.
    pub(in crate::decode::tcp) fn is_opened_by(&mut self, seq: u32) -> bool {
        let offset = self.offset_of(seq);
        if offset == self.first {
            self.set_start(offset);
            return true;
        }
        let reordered = !self.start_known && offset < self.first && self.next == self.first;
        if reordered && self.first - offset <= MAX_HELD_BYTES {
            (self.first, self.next) = (offset, offset);
            self.contiguous_end = self.buffer.contiguous_end(offset);
            self.set_start(offset);
            return true;
        }
        false
    }

    fn set_start(&mut self, offset: u64) {
        if !self.start_known && self.next == offset {
            self.framing = Framing::Framed;
        }
        self.start_known = true;
        self.joined_midstream = false;
    }

    /// Notes the end of the stream, unless later bytes were seen.
    pub(super) fn take_fin(&mut self, fin: u64) {
        let seen = self.buffer.end().unwrap_or(self.next).max(self.next);
        if fin >= seen && !self.is_complete() {
            self.ending = Ending::Fin(fin);
        }
    }

    /// Returns whether bytes are after the stream's end. An end before which bytes are missing is
    /// dropped: it may be forged.
    pub(super) fn is_behind_end(&mut self, at: u64, end: u64) -> bool {
        let Some(fin) = self.fin().filter(|fin| end > *fin) else { return false };
        if self.contiguous_end < fin {
            self.ending = Ending::Unknown;
            return false;
        }
        at.max(self.next) >= fin
    }

    /// Processes a reset and returns whether it is valid. A host that resets is at the next
    /// expected byte, or after all bytes seen.
    pub(super) fn take_reset(&mut self, at: u64, out: &mut Emitter<'_>) -> bool {
        // A FIN takes a sequence number.
        let behind_fin = self.is_complete() && at == self.contiguous_end + 1;
        let exact = at == self.contiguous_end || Some(at) == self.buffer.end() || behind_fin;
        if exact {
            self.abandon(Malformed::TcpIncomplete, out);
            self.ending = Ending::Reset;
        }
        exact
    }
}
