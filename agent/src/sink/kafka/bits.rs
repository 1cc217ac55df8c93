//! A set of small numbers: which records of a batch are settled.

/// Bits, all unset at first.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Room for `count` numbers from 0.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// Whether the number is in the set.
    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds the number; whether it was not there before.
    pub(super) fn add(&mut self, number: usize) -> bool {
        let Some(word) = self.0.get_mut(number / 64) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_added() {
        let mut bits = Bits::new(65);
        assert!(bits.add(0) && bits.add(64) && !bits.add(64) && !bits.add(200));
        assert_eq!((0..65).filter(|number| bits.has(*number)).collect::<Vec<_>>(), [0, 64]);
        assert!(!bits.has(1000));
    }
}
