//! Where in a stream a segment lies, and whether it lies in this stream at all.
//!
//! A bystander cannot tell a forged segment from a real one, but can see to it that a forged one costs
//! little: what lies too far from what is expected is not this stream's, and only an exact reset
//! counts (RFC 5961, 3.2).

use super::{Ending, MAX_OCTETS, Stream, Sync};
use crate::decode::Malformed;
use crate::decode::outlet::Outlet;

/// Octets that may be sent once more long after they were read: more than any window.
const MAX_BEHIND: u64 = 16 * 1024 * 1024;

impl Stream {
    fn seq_at(&self, place: u64) -> u32 {
        self.zero_seq.wrapping_add(u32::try_from(place & 0xffff_ffff).unwrap_or(0))
    }

    /// The place of a sequence number: the nearest of all that it can stand for.
    pub(super) fn place(&self, seq: u32) -> u64 {
        let distance = i64::from(seq.wrapping_sub(self.seq_at(self.next)).cast_signed());
        self.next.saturating_add_signed(distance)
    }

    /// How far a segment that begins with `seq` is from what this stream expects; nothing where it
    /// is too far to be of this connection, or lies in a hole that was given up: what still comes
    /// there is read by itself.
    pub(in crate::decode::tcp) fn distance(&self, seq: u32) -> Option<u64> {
        let place = self.place(seq);
        let near = if place < self.next {
            self.next - place <= MAX_BEHIND && !(self.lost.0 <= place && place < self.lost.1)
        } else {
            place - self.next <= MAX_OCTETS
        };
        near.then(|| place.abs_diff(self.covered))
    }

    /// Whether a SYN whose first octet is `seq` opened this connection. A stream joined before its
    /// SYN came takes it as its beginning.
    pub(in crate::decode::tcp) fn is_opened_by(&mut self, seq: u32) -> bool {
        let place = self.place(seq);
        if place == self.first {
            self.anchor(place);
            return true;
        }
        let reordered = !self.anchored && place < self.first && self.next == self.first;
        if reordered && self.first - place <= MAX_OCTETS {
            (self.first, self.next) = (place, place);
            self.covered = self.buffer.covered(place);
            self.anchor(place);
            return true;
        }
        false
    }

    fn anchor(&mut self, place: u64) {
        if !self.anchored && self.next == place {
            self.sync = Sync::Framed;
        }
        self.anchored = true;
        self.joined = false;
    }

    /// Takes note of where the stream ends, unless octets behind that place were seen.
    pub(super) fn take_fin(&mut self, fin: u64) {
        let seen = self.buffer.end().unwrap_or(self.next).max(self.next);
        if fin >= seen && !self.is_sealed() {
            self.ending = Ending::Fin(fin);
        }
    }

    /// Whether octets lie behind the stream's end. An end that not all octets before it have shown
    /// to be one gives way.
    pub(super) fn is_behind_end(&mut self, at: u64, end: u64) -> bool {
        let Some(fin) = self.fin().filter(|fin| end > *fin) else { return false };
        if self.covered < fin {
            self.ending = Ending::Unknown;
            return false;
        }
        at.max(self.next) >= fin
    }

    /// Takes a reset; whether it counts: only the next octet expected, or the one behind all that
    /// were seen, is where a host that resets can be.
    pub(super) fn take_reset(&mut self, at: u64, out: &mut Outlet<'_>) -> bool {
        // A FIN takes a sequence number of its own.
        let behind_fin = self.is_sealed() && at == self.covered + 1;
        let exact = at == self.covered || Some(at) == self.buffer.end() || behind_fin;
        if exact {
            self.abandon(Malformed::TcpIncomplete, out);
            self.ending = Ending::Reset;
        }
        exact
    }
}
