//! Reassembles the beginning of a byte stream from pieces in any order.

/// Most bytes buffered. A `ClientHello` with post-quantum key shares has 1,800.
const MAX_BYTES: usize = 32 << 10;
/// Most pieces behind a gap. Browsers split their first QUIC message into a dozen.
const MAX_PIECES: usize = 64;

/// A position in a stream and the data from there on.
#[derive(Clone, Debug, Default)]
pub(super) struct Reassembler {
    /// Bytes of the stream before the position.
    at: u64,
    /// The contiguous bytes from the position on.
    pub(super) contiguous: Vec<u8>,
    /// Pieces behind a gap, with their offsets.
    out_of_order: Vec<(u64, Box<[u8]>)>,
}

impl Reassembler {
    /// Adds bytes at `offset` of the stream. Known bytes, and bytes beyond the limits, are ignored.
    pub(super) fn insert(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if offset > self.end() {
            if self.out_of_order.len() < MAX_PIECES
                && self.memory_bytes() + bytes.len() <= MAX_BYTES
            {
                self.out_of_order.push((offset, bytes.into()));
            }
            return;
        }
        self.append(offset, bytes);
        self.fill_gaps();
    }

    /// Advances the position by `count` bytes, received or not.
    pub(super) fn skip(&mut self, count: usize) {
        self.at += count as u64;
        self.contiguous.drain(..count.min(self.contiguous.len()));
        self.fill_gaps();
    }

    /// Returns the memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.contiguous.len()
            + self.out_of_order.iter().map(|(_, piece)| piece.len()).sum::<usize>()
    }

    fn end(&self) -> u64 {
        self.at + self.contiguous.len() as u64
    }

    /// Appends the bytes after the end; `offset` is not after the end.
    fn append(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.end() - offset).unwrap_or(usize::MAX);
        let new = bytes.get(known..).unwrap_or_default();
        let capacity = MAX_BYTES.saturating_sub(self.memory_bytes());
        self.contiguous.extend_from_slice(new.get(..capacity).unwrap_or(new));
    }

    fn fill_gaps(&mut self) {
        while let Some(place) =
            self.out_of_order.iter().position(|(offset, _)| *offset <= self.end())
        {
            let (offset, piece) = self.out_of_order.swap_remove(place);
            self.append(offset, &piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn skips_missing_bytes() {
        let mut reassembler = Reassembler::default();
        reassembler.insert(0, b"abc");
        reassembler.insert(10, b"klm");
        reassembler.skip(9);
        assert_eq!(&*reassembler.contiguous, b"");
        reassembler.insert(7, b"hijk");
        assert_eq!(&*reassembler.contiguous, b"jklm");
        reassembler.skip(4);
        assert_eq!((&*reassembler.contiguous, reassembler.memory_bytes()), (&b""[..], 0));
    }

    #[test]
    fn enforces_limits() {
        let mut reassembler = Reassembler::default();
        for place in 0..10_000 {
            reassembler.insert(1 + place * 100, &[0; 90]);
        }
        assert!(reassembler.out_of_order.len() <= MAX_PIECES);
        for place in 0..100 {
            reassembler.insert(place * 1000, &[0; 1000]);
        }
        assert!(reassembler.memory_bytes() <= MAX_BYTES);
    }

    proptest! {
        #[test]
        fn order_does_not_matter(
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
            let mut reassembler = Reassembler::default();
            for (from, to) in pieces {
                reassembler.insert(from as u64, &stream[from.saturating_sub(3)..to][from.min(3)..]);
            }
            prop_assert_eq!(&*reassembler.contiguous, &stream[..]);
        }
    }
}
