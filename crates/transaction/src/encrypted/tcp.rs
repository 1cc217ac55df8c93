//! One direction of a TCP connection: counts its bytes by sequence numbers (RFC 9293, 3.4).

use crate::packet::net::TcpFlags;
use dnscribe_record::time::Timestamp;

/// Largest plausible step of the sequence number. Up to a whole window of the largest scale may
/// have been missed (RFC 7323, 2.3).
const MAX_STEP: u32 = 1 << 30;

/// One direction of a TCP connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpDirection {
    /// Time and sequence number of its first SYN.
    pub(super) syn: Option<(Timestamp, u32)>,
    /// Next sequence number, once a segment was seen.
    next: Option<u32>,
    /// Number of payload bytes.
    pub(super) bytes: u64,
    /// Whether a FIN was seen.
    pub(super) ended: bool,
}

impl TcpDirection {
    /// Processes a segment. Returns its payload's offset; `None` before the first byte seen.
    pub(super) fn observe(
        &mut self,
        seq: u32,
        flags: TcpFlags,
        payload: u32,
        now: Timestamp,
    ) -> Option<u64> {
        if flags.syn {
            self.syn.get_or_insert((now, seq));
        }
        if flags.rst {
            // A reset's sequence number is chosen by its receiver, and its payload is text (RFC
            // 9293, 3.5.3).
            return None;
        }
        let start = if flags.syn { seq.wrapping_add(1) } else { seq };
        self.ended |= flags.fin;
        let Some(next) = self.next else {
            self.next = Some(start.wrapping_add(payload));
            self.bytes = u64::from(payload);
            return Some(0);
        };
        let end = start.wrapping_add(payload);
        let step = end.wrapping_sub(next);
        let before = self.bytes;
        if step <= MAX_STEP {
            self.bytes += u64::from(step);
            self.next = Some(end);
        } else if next.wrapping_sub(end) > MAX_STEP {
            // Neither a retransmission nor close ahead: not related to any data seen.
            self.bytes += u64::from(payload);
            self.next = Some(end);
            return None;
        }
        // The payload's offset relative to the previous `next`.
        let behind = next.wrapping_sub(start);
        if behind <= MAX_STEP {
            before.checked_sub(u64::from(behind))
        } else {
            Some(before + u64::from(start.wrapping_sub(next)))
        }
    }

    /// Returns the time of its first SYN.
    pub(super) fn began(&self) -> Option<Timestamp> {
        self.syn.map(|(since, _)| since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: TcpFlags = TcpFlags { syn: false, fin: false, rst: false };
    const SYN: TcpFlags = TcpFlags { syn: true, ..NONE };

    fn take(direction: &mut TcpDirection, seq: u32, flags: TcpFlags, payload: u32) -> Option<u64> {
        direction.observe(seq, flags, payload, Timestamp::from_nanos(1))
    }

    #[test]
    fn counts_retransmissions_once() {
        let mut direction = TcpDirection::default();
        take(&mut direction, 99, SYN, 0);
        assert_eq!(take(&mut direction, 100, NONE, 10), Some(0));
        assert_eq!(take(&mut direction, 120, NONE, 10), Some(20));
        assert_eq!(take(&mut direction, 110, NONE, 10), Some(10));
        assert_eq!(take(&mut direction, 100, NONE, 10), Some(0));
        // A keep-alive (RFC 9293, 3.8.4) repeats the last byte.
        assert_eq!(take(&mut direction, 129, NONE, 1), Some(29));
        assert_eq!((direction.bytes, direction.ended), (30, false));
        take(&mut direction, 130, TcpFlags { fin: true, ..NONE }, 5);
        assert_eq!((direction.bytes, direction.ended), (35, true));
    }

    #[test]
    fn ignores_reset_payload() {
        let mut direction = TcpDirection::default();
        take(&mut direction, 100, NONE, 10);
        assert_eq!(take(&mut direction, 5000, TcpFlags { rst: true, ..NONE }, 7), None);
        assert_eq!(direction.bytes, 10);
    }

    #[test]
    fn counts_payload_of_unrelated_segments() {
        let mut direction = TcpDirection::default();
        take(&mut direction, 100, NONE, 10);
        assert_eq!(take(&mut direction, 0x8000_0000, NONE, 7), None);
        assert_eq!(direction.bytes, 17);
    }

    proptest! {
        #[test]
        fn order_and_start_do_not_matter(
            isn: u32,
            lengths in proptest::collection::vec(1_u32..1500, 1..30),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            let mut direction = TcpDirection::default();
            take(&mut direction, isn, SYN, 0);
            let mut at = 0;
            let pieces: Vec<(u32, u32)> = lengths.iter().map(|length| {
                at += length;
                (at - length, *length)
            }).collect();
            for index in &order {
                let (offset, length) = pieces[index.index(pieces.len())];
                let seq = isn.wrapping_add(1).wrapping_add(offset);
                prop_assert_eq!(take(&mut direction, seq, NONE, length), Some(u64::from(offset)));
            }
            for (offset, length) in pieces {
                take(&mut direction, isn.wrapping_add(1).wrapping_add(offset), NONE, length);
            }
            prop_assert_eq!(direction.bytes, u64::from(at));
        }
    }
}
