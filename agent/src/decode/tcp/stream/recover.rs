//! What a stream does where octets are missing: finds the next message, gives up the rest.

use super::super::framing::{self, Judgement, Steps};
use super::{MAX_BAD, MAX_COST, MAX_OCTETS, Stream, Sync};
use crate::decode::Malformed;
use crate::decode::outlet::{Octets, Outlet};
use crate::time::Timestamp;
use std::time::Duration;

/// How long a hole may wait for its octets, by capture time; a sender resends within about one
/// second (RFC 6298), and again within three.
pub(super) const HOLE_WAIT: Duration = Duration::from_secs(5);
/// How long the beginning of a message may wait for its rest.
pub(super) const REST_WAIT: Duration = Duration::from_secs(30);
/// Octets in which one search looks for a message's beginning.
const SEARCH_BYTES: u64 = 128 * 1024;

impl Stream {
    /// Looks for a message that begins among the octets at hand. Whether anything changed.
    pub(super) fn search(&mut self, reason: Malformed, out: &mut Outlet<'_>) -> bool {
        if self.covered == self.next {
            return false;
        }
        let mut bytes = std::mem::take(out.scratch);
        let to = self.covered.min(self.next + SEARCH_BYTES);
        self.buffer.copy(self.next, to, &mut bytes);
        let changed = self.search_in(&bytes, to, reason, out);
        *out.scratch = bytes;
        changed
    }

    fn search_in(
        &mut self,
        bytes: &[u8],
        to: u64,
        reason: Malformed,
        out: &mut Outlet<'_>,
    ) -> bool {
        let cut = super::len(bytes) < to - self.next;
        match framing::judge(bytes, cut, &mut Steps::for_octets(bytes.len())) {
            Judgement::Yes => {
                self.sync = Sync::Framed;
                return true;
            }
            Judgement::More if !cut => return false,
            Judgement::More | Judgement::No => {}
        }
        // Segments are where writers begin: the length of this one's message may have been alone
        // in the segment before.
        let chunk = self.buffer.chunk_length(self.next).and_then(|len| usize::try_from(len).ok());
        if let Some(message) = chunk.and_then(|length| bytes.get(..length))
            && framing::is_bare(message)
        {
            let end = self.next + super::len(message);
            let wire_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
            self.emit(end, Octets { captured: message, wire_bytes }, out);
            self.consume(end, None, out);
            if self.sync == Sync::Searching(reason) {
                self.sync = Sync::Framed;
            }
            return true;
        }
        let mut steps = Steps::for_octets(bytes.len());
        let begins = |at: &usize| {
            bytes
                .get(*at..)
                .is_some_and(|rest| framing::judge(rest, false, &mut steps) == Judgement::Yes)
        };
        match (1..bytes.len()).find(begins).and_then(|at| u64::try_from(at).ok()) {
            Some(at) => {
                self.give_up(self.next + at, reason, out);
                self.sync = Sync::Framed;
            }
            None => self.give_up(to, reason, out),
        }
        true
    }

    /// Gives up what waits, for this is no DNS; unless it begins with a whole message after all.
    pub(super) fn refuse(&mut self, reason: Malformed, out: &mut Outlet<'_>) -> bool {
        let Some(end) = self.buffer.end() else { return false };
        let to = self.covered.min(self.next + SEARCH_BYTES);
        self.buffer.copy(self.next, to, out.scratch);
        if framing::is_framed(out.scratch) {
            self.sync = Sync::Framed;
            self.bad = MAX_BAD - 1;
        } else {
            self.give_up(end, reason, out);
        }
        true
    }

    /// Whether octets are missing before others that are here.
    pub(super) fn has_hole(&self) -> bool {
        self.buffer.end().is_some_and(|end| end > self.covered)
    }

    /// Gives up the first hole. Where a message's length tells that it ends behind the hole, the
    /// next one's place is known; else it is looked for.
    fn skip_hole(&mut self, out: &mut Outlet<'_>) {
        let Some((behind, _)) = self.buffer.first_from(self.covered) else { return };
        self.lost = (self.covered, behind);
        let known = match self.sync {
            Sync::Framed if self.covered >= self.next + super::PREFIX => self.message_end(out),
            _ => None,
        };
        if let Some(end) = known.filter(|end| *end >= behind)
            && self.may_begin(end, out)
        {
            self.lost.1 = end;
            self.give_up(end, Malformed::TcpGap, out);
        } else {
            let reason = match self.sync {
                Sync::Framed => Malformed::TcpGap,
                Sync::Searching(reason) | Sync::Refused(reason) => reason,
            };
            self.give_up(behind, reason, out);
            if !matches!(self.sync, Sync::Refused(_)) {
                self.sync = Sync::Searching(Malformed::TcpGap);
            }
        }
        self.advance(out);
    }

    /// Whether nothing speaks against a message's beginning at `place`.
    fn may_begin(&self, place: u64, out: &mut Outlet<'_>) -> bool {
        let mut bytes = std::mem::take(out.scratch);
        self.buffer.copy_within(place, SEARCH_BYTES, &mut bytes);
        let judgement = framing::judge(&bytes, false, &mut Steps::for_octets(bytes.len()));
        *out.scratch = bytes;
        judgement != Judgement::No
    }

    /// Keeps the memory used within its bounds.
    pub(super) fn bound(&mut self, out: &mut Outlet<'_>) {
        let over = |stream: &Self| {
            stream.buffer.end().is_some_and(|end| end - stream.next > MAX_OCTETS)
                || stream.buffer.cost() > MAX_COST
        };
        while over(self) && self.has_hole() {
            self.skip_hole(out);
        }
        if over(self) {
            self.abandon(Malformed::TcpIncomplete, out);
        }
    }

    /// The other side has had all octets before the sequence number `ack`: holes among them were
    /// lost to the capture alone, and nobody will send them again.
    pub(in crate::decode::tcp) fn acknowledged(&mut self, ack: u32, out: &mut Outlet<'_>) {
        let place = self.place(ack);
        let near = self.distance(ack).is_some();
        while near && self.covered < place && self.has_hole() {
            self.skip_hole(out);
        }
    }

    /// Gives what lies behind holes: nothing more will come.
    pub(in crate::decode::tcp) fn finish(&mut self, out: &mut Outlet<'_>) {
        while self.has_hole() {
            self.skip_hole(out);
        }
    }

    /// Gives what lies behind holes, then gives up the rest.
    pub(in crate::decode::tcp) fn abandon(&mut self, reason: Malformed, out: &mut Outlet<'_>) {
        self.finish(out);
        let Some(end) = self.buffer.end() else { return };
        match self.sync {
            Sync::Framed => {
                self.give_up(end, reason, out);
                self.sync = Sync::Searching(Malformed::TcpMidstream);
            }
            Sync::Searching(reason) | Sync::Refused(reason) => self.give_up(end, reason, out),
        }
    }

    /// Gives up what has waited too long.
    pub(in crate::decode::tcp) fn expire(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        while let Some((_, packet)) =
            self.buffer.first_from(self.covered).filter(|_| self.has_hole())
        {
            let since = self.held.get(&packet).map(|held| held.carrier.steady);
            if since.is_some_and(|since| now.since(since) < HOLE_WAIT) {
                return;
            }
            self.skip_hole(out);
        }
        let waits = now.since(self.last_seen) < REST_WAIT;
        if !waits || self.is_sealed() {
            self.abandon(Malformed::TcpIncomplete, out);
        }
    }
}
