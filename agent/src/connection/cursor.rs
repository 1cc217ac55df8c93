//! The beginning of a stream of octets, read in order although its pieces come in any.

/// Octets that wait for others, at most. A `ClientHello` with post-quantum key shares has 1,800.
const MOST_BYTES: usize = 32 << 10;
/// Pieces that wait for others, at most. Browsers cut their first QUIC message into a dozen.
const MOST_PIECES: usize = 64;

/// A place in a stream, and what is known from there on.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// Octets of the stream before this place.
    at: u64,
    /// The octets from there on.
    bytes: Vec<u8>,
    /// Octets further on, behind a hole.
    waiting: Vec<(u64, Box<[u8]>)>,
}

impl Cursor {
    /// Takes octets that stand at `offset` in the stream. What is known already, and what finds no
    /// room, is passed over.
    pub(super) fn take(&mut self, offset: u64, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        if offset > self.end() {
            if self.waiting.len() < MOST_PIECES && self.cost() + octets.len() <= MOST_BYTES {
                self.waiting.push((offset, octets.into()));
            }
            return;
        }
        self.append(offset, octets);
        self.close_holes();
    }

    /// The octets that are known from here on without a hole.
    pub(super) fn known(&self) -> &[u8] {
        &self.bytes
    }

    /// Goes on by `count` octets, whether they are known or not.
    pub(super) fn skip(&mut self, count: usize) {
        self.at += count as u64;
        self.bytes.drain(..count.min(self.bytes.len()));
        self.close_holes();
    }

    /// Octets of memory.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.waiting.iter().map(|(_, piece)| piece.len()).sum::<usize>()
    }

    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// Appends what lies beyond the end; `offset` does not.
    fn append(&mut self, offset: u64, octets: &[u8]) {
        let known = usize::try_from(self.end() - offset).unwrap_or(usize::MAX);
        let new = octets.get(known..).unwrap_or_default();
        let room = MOST_BYTES.saturating_sub(self.cost());
        self.bytes.extend_from_slice(new.get(..room).unwrap_or(new));
    }

    fn close_holes(&mut self) {
        while let Some(place) = self.waiting.iter().position(|(offset, _)| *offset <= self.end()) {
            let (offset, piece) = self.waiting.swap_remove(place);
            self.append(offset, &piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn goes_over_what_was_never_known() {
        let mut cursor = Cursor::default();
        cursor.take(0, b"abc");
        cursor.take(10, b"klm");
        cursor.skip(9);
        assert_eq!(cursor.known(), b"");
        cursor.take(7, b"hijk");
        assert_eq!(cursor.known(), b"jklm");
        cursor.skip(4);
        assert_eq!((cursor.known(), cursor.cost()), (&b""[..], 0));
    }

    #[test]
    fn is_bounded() {
        let mut cursor = Cursor::default();
        for place in 0..10_000 {
            cursor.take(1 + place * 100, &[0; 90]);
        }
        assert!(cursor.waiting.len() <= MOST_PIECES);
        for place in 0..100 {
            cursor.take(place * 1000, &[0; 1000]);
        }
        assert!(cursor.cost() <= MOST_BYTES);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same(
            cuts in proptest::collection::vec(0_usize..2000, 0..40),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let stream: Vec<u8> = (0..2000_u32).map(|n| (n % 251) as u8).collect();
            let mut cuts = [cuts, vec![0, 2000]].concat();
            cuts.sort_unstable();
            let mut pieces: Vec<(usize, usize)> =
                cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
            for (place, index) in order.iter().enumerate() {
                let length = pieces.len();
                pieces.swap(place % length, index.index(length));
            }
            let mut cursor = Cursor::default();
            for (from, to) in pieces {
                cursor.take(from as u64, &stream[from.saturating_sub(3)..to][from.min(3)..]);
            }
            prop_assert_eq!(cursor.known(), &stream[..]);
        }
    }
}
