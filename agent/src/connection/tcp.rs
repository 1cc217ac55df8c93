//! One direction of a TCP connection: how much it carried, by its sequence numbers (RFC 9293, 3.4).

use crate::net::TcpFlags;
use crate::time::Timestamp;

/// The largest step of the sequence numbers that is believed: a whole window of the largest scale
/// (RFC 7323, 2.3) may have been missed.
const MOST_STEP: u32 = 1 << 30;

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// When its first SYN passed, and the number of it.
    syn: Option<(Timestamp, u32)>,
    /// The number that comes next, once anything was seen.
    next: Option<u32>,
    octets: u64,
    ended: bool,
}

impl Stream {
    /// Takes a segment; gives where in the stream its payload begins, unless that lies before what
    /// was seen first.
    pub(super) fn take(
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
            // Its number is the other side's word, and its payload a text (RFC 9293, 3.5.3).
            return None;
        }
        let start = if flags.syn { seq.wrapping_add(1) } else { seq };
        self.ended |= flags.fin;
        let Some(next) = self.next else {
            self.next = Some(start.wrapping_add(payload));
            self.octets = u64::from(payload);
            return Some(0);
        };
        let end = start.wrapping_add(payload);
        let step = end.wrapping_sub(next);
        let before = self.octets;
        if step <= MOST_STEP {
            self.octets += u64::from(step);
            self.next = Some(end);
        } else if next.wrapping_sub(end) > MOST_STEP {
            // Neither old nor near: numbers that belong to nothing seen so far.
            self.octets += u64::from(payload);
            self.next = Some(end);
            return None;
        }
        // Where the payload began, counted from what was next before it.
        let behind = next.wrapping_sub(start);
        if behind <= MOST_STEP {
            before.checked_sub(u64::from(behind))
        } else {
            Some(before + u64::from(start.wrapping_sub(next)))
        }
    }

    /// Octets of payload.
    pub(super) const fn octets(&self) -> u64 {
        self.octets
    }

    /// When its first SYN passed.
    pub(super) fn began(&self) -> Option<Timestamp> {
        self.syn.map(|(since, _)| since)
    }

    /// The number of its SYN.
    pub(super) fn first_number(&self) -> Option<u32> {
        self.syn.map(|(_, number)| number)
    }

    /// Whether its FIN was seen.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: TcpFlags = TcpFlags { syn: false, fin: false, rst: false };
    const SYN: TcpFlags = TcpFlags { syn: true, ..NONE };

    fn take(stream: &mut Stream, seq: u32, flags: TcpFlags, payload: u32) -> Option<u64> {
        stream.take(seq, flags, payload, Timestamp::from_nanos(1))
    }

    #[test]
    fn counts_what_is_sent_again_once() {
        let mut stream = Stream::default();
        take(&mut stream, 99, SYN, 0);
        assert_eq!(take(&mut stream, 100, NONE, 10), Some(0));
        assert_eq!(take(&mut stream, 120, NONE, 10), Some(20));
        assert_eq!(take(&mut stream, 110, NONE, 10), Some(10));
        assert_eq!(take(&mut stream, 100, NONE, 10), Some(0));
        // A keep-alive (RFC 9293, 3.8.4) repeats the last octet.
        assert_eq!(take(&mut stream, 129, NONE, 1), Some(29));
        assert_eq!((stream.octets(), stream.has_ended()), (30, false));
        take(&mut stream, 130, TcpFlags { fin: true, ..NONE }, 5);
        assert_eq!((stream.octets(), stream.has_ended()), (35, true));
    }

    #[test]
    fn a_reset_counts_nothing() {
        let mut stream = Stream::default();
        take(&mut stream, 100, NONE, 10);
        assert_eq!(take(&mut stream, 5000, TcpFlags { rst: true, ..NONE }, 7), None);
        assert_eq!(stream.octets(), 10);
    }

    #[test]
    fn strange_numbers_count_their_payload() {
        let mut stream = Stream::default();
        take(&mut stream, 100, NONE, 10);
        assert_eq!(take(&mut stream, 0x8000_0000, NONE, 7), None);
        assert_eq!(stream.octets(), 17);
    }

    proptest! {
        #[test]
        fn any_order_and_any_beginning_give_the_same(
            isn: u32,
            lengths in proptest::collection::vec(1_u32..1500, 1..30),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            let mut stream = Stream::default();
            take(&mut stream, isn, SYN, 0);
            let mut at = 0;
            let pieces: Vec<(u32, u32)> = lengths.iter().map(|length| {
                at += length;
                (at - length, *length)
            }).collect();
            for index in &order {
                let (offset, length) = pieces[index.index(pieces.len())];
                let seq = isn.wrapping_add(1).wrapping_add(offset);
                prop_assert_eq!(take(&mut stream, seq, NONE, length), Some(u64::from(offset)));
            }
            for (offset, length) in pieces {
                take(&mut stream, isn.wrapping_add(1).wrapping_add(offset), NONE, length);
            }
            prop_assert_eq!(stream.octets(), u64::from(at));
        }
    }
}
