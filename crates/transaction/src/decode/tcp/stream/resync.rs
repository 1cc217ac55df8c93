//! Resynchronizes a stream after missing bytes: skips gaps, finds the next message.

use super::super::framing::{self, FrameCheck, StepBudget};
use super::{Framing, MAX_CONSECUTIVE_ERRORS, MAX_HELD_BYTES, MAX_MEMORY_BYTES, Stream};
use crate::decode::Malformed;
use crate::decode::emitter::{Emitter, MessageBytes};
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// How long a gap may stay open, by capture time. A sender retransmits after about one second (RFC
/// 6298), and again within three.
pub(super) const GAP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the beginning of a message may wait for its rest.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes examined in one search.
const SEARCH_BYTES: u64 = 128 * 1024;

impl Stream {
    /// Searches the contiguous data for a message. Returns whether the state changed.
    pub(super) fn search(&mut self, reason: Malformed, out: &mut Emitter<'_>) -> bool {
        if self.contiguous_end == self.next {
            return false;
        }
        let mut bytes = std::mem::take(out.scratch);
        let to = self.contiguous_end.min(self.next + SEARCH_BYTES);
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
        out: &mut Emitter<'_>,
    ) -> bool {
        let cut = super::len(bytes) < to - self.next;
        match framing::check_frame(bytes, cut, &mut StepBudget::for_bytes(bytes.len())) {
            FrameCheck::Message => {
                self.framing = Framing::Framed;
                return true;
            }
            FrameCheck::NeedMore if !cut => return false,
            FrameCheck::NeedMore | FrameCheck::NotMessage => {}
        }
        // Writers begin messages at segment boundaries. The length of this segment's message may
        // have been alone in the previous segment.
        let chunk = self.buffer.chunk_length(self.next).and_then(|len| usize::try_from(len).ok());
        if let Some(message) = chunk.and_then(|length| bytes.get(..length))
            && framing::is_unframed_message(message)
        {
            let end = self.next + super::len(message);
            let wire_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
            self.emit(end, MessageBytes { captured: message, wire_bytes }, out);
            self.consume(end, None, out);
            if self.framing == Framing::Searching(reason) {
                self.framing = Framing::Framed;
            }
            return true;
        }
        let mut budget = StepBudget::for_bytes(bytes.len());
        let begins = |at: &usize| {
            bytes.get(*at..).is_some_and(|rest| {
                framing::check_frame(rest, false, &mut budget) == FrameCheck::Message
            })
        };
        match (1..bytes.len()).find(begins).and_then(|at| u64::try_from(at).ok()) {
            Some(at) => {
                self.discard(self.next + at, reason, out);
                self.framing = Framing::Framed;
            }
            None => self.discard(to, reason, out),
        }
        true
    }

    /// Discards the data of a stream that is not DNS, unless it begins with a whole message.
    pub(super) fn reject(&mut self, reason: Malformed, out: &mut Emitter<'_>) -> bool {
        let Some(end) = self.buffer.end() else { return false };
        let to = self.contiguous_end.min(self.next + SEARCH_BYTES);
        self.buffer.copy(self.next, to, out.scratch);
        if framing::begins_with_message(out.scratch) {
            self.framing = Framing::Framed;
            self.consecutive_errors = MAX_CONSECUTIVE_ERRORS - 1;
        } else {
            self.discard(end, reason, out);
        }
        true
    }

    /// Returns whether bytes are missing before pending data.
    pub(super) fn has_gap(&self) -> bool {
        self.buffer.end().is_some_and(|end| end > self.contiguous_end)
    }

    /// Skips the first gap. If the current message ends behind the gap, the next message begins at
    /// its end; else it is searched for.
    fn skip_gap(&mut self, out: &mut Emitter<'_>) {
        let Some((behind, _)) = self.buffer.first_from(self.contiguous_end) else { return };
        self.skipped_gap = (self.contiguous_end, behind);
        let known = match self.framing {
            Framing::Framed if self.contiguous_end >= self.next + super::PREFIX => {
                self.message_end(out)
            }
            _ => None,
        };
        if let Some(end) = known.filter(|end| *end >= behind)
            && self.may_begin(end, out)
        {
            self.skipped_gap.1 = end;
            self.discard(end, Malformed::TcpGap, out);
        } else {
            let reason = match self.framing {
                Framing::Framed => Malformed::TcpGap,
                Framing::Searching(reason) | Framing::Rejected(reason) => reason,
            };
            self.discard(behind, reason, out);
            if !matches!(self.framing, Framing::Rejected(_)) {
                self.framing = Framing::Searching(Malformed::TcpGap);
            }
        }
        self.advance(out);
    }

    /// Returns whether a message may begin at `offset`.
    fn may_begin(&self, offset: u64, out: &mut Emitter<'_>) -> bool {
        let mut bytes = std::mem::take(out.scratch);
        self.buffer.copy_within(offset, SEARCH_BYTES, &mut bytes);
        let check = framing::check_frame(&bytes, false, &mut StepBudget::for_bytes(bytes.len()));
        *out.scratch = bytes;
        check != FrameCheck::NotMessage
    }

    /// Enforces the limits of one stream.
    pub(super) fn enforce_limits(&mut self, out: &mut Emitter<'_>) {
        let over = |stream: &Self| {
            stream.buffer.end().is_some_and(|end| end - stream.next > MAX_HELD_BYTES)
                || stream.buffer.memory_bytes() > MAX_MEMORY_BYTES
        };
        while over(self) && self.has_gap() {
            self.skip_gap(out);
        }
        if over(self) {
            self.abandon(Malformed::TcpIncomplete, out);
        }
    }

    /// Processes an acknowledgement: the peer has all bytes before `ack`, so gaps before it were
    /// missed by the capture and will not be retransmitted.
    pub(in crate::decode::tcp) fn acknowledged(&mut self, ack: u32, out: &mut Emitter<'_>) {
        let offset = self.offset_of(ack);
        let near = self.distance(ack).is_some();
        while near && self.contiguous_end < offset && self.has_gap() {
            self.skip_gap(out);
        }
    }

    /// Emits the messages behind gaps, which will not be filled.
    pub(in crate::decode::tcp) fn finish(&mut self, out: &mut Emitter<'_>) {
        while self.has_gap() {
            self.skip_gap(out);
        }
    }

    /// Emits the messages behind gaps and discards the rest.
    pub(in crate::decode::tcp) fn abandon(&mut self, reason: Malformed, out: &mut Emitter<'_>) {
        self.finish(out);
        let Some(end) = self.buffer.end() else { return };
        match self.framing {
            Framing::Framed => {
                self.discard(end, reason, out);
                self.framing = Framing::Searching(Malformed::TcpMidstream);
            }
            Framing::Searching(reason) | Framing::Rejected(reason) => {
                self.discard(end, reason, out);
            }
        }
    }

    /// Discards pending data whose timeout has passed.
    pub(in crate::decode::tcp) fn expire(&mut self, now: Timestamp, out: &mut Emitter<'_>) {
        while let Some((_, packet)) =
            self.buffer.first_from(self.contiguous_end).filter(|_| self.has_gap())
        {
            let since = self.held.get(&packet).map(|held| held.context.steady_ts);
            if since.is_some_and(|since| now.since(since) < GAP_TIMEOUT) {
                return;
            }
            self.skip_gap(out);
        }
        let waits = now.since(self.last_seen) < MESSAGE_TIMEOUT;
        if !waits || self.is_complete() {
            self.abandon(Malformed::TcpIncomplete, out);
        }
    }
}
