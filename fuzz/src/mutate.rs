//! Damages packets, reproducibly for each seed.

/// xorshift64* (Vigna): good enough for mutations, and equal on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// Returns the next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `most`; 0 if `most` is 0.
    pub fn below(&mut self, most: usize) -> usize {
        let most = u64::try_from(most).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.draw() >> 8) % most).unwrap_or(0)
    }

    /// Returns one of `items`.
    pub fn one<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Damages bytes from `from` on. A quarter of the packets stays intact; the others lose bits, bytes
/// or their end, or get copies of parts.
pub fn damage(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    for _ in 0..random.below(4) {
        let Some(room) = bytes.len().checked_sub(from).filter(|room| *room > 0) else { return };
        let at = from + random.below(room);
        let [low, high, ..] = random.draw().to_be_bytes();
        match random.below(8) {
            0..=2 => bytes[at] ^= 1 << (low & 7),
            3 => bytes[at] = low,
            4 => bytes[at] = [0, 0xff, 0xc0, 0x3f][usize::from(low & 3)],
            5 => bytes.truncate(at),
            6 => {
                let to = (at + usize::from(high)).min(bytes.len());
                bytes.extend_from_within(at..to);
            }
            _ => {
                let to = (at + usize::from(high & 15)).min(bytes.len());
                bytes.drain(at..to);
            }
        }
    }
}
