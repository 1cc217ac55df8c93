//! What was computed of values a short while ago.

/// Things by the hash of what they follow from; a newer one takes the place of an older one.
#[derive(Debug)]
pub(super) struct Memory<T, const PLACES: usize> {
    /// No places until the first.
    places: Vec<Option<(u64, T)>>,
}

impl<T, const PLACES: usize> Default for Memory<T, PLACES> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<T: Copy, const PLACES: usize> Memory<T, PLACES> {
    /// The most octets that it takes on the heap.
    pub(super) const MAX_HEAP_BYTES: usize = PLACES * size_of::<Option<(u64, T)>>();

    /// What follows from something with this hash, computed where it is not remembered.
    pub(super) fn get(&mut self, hash: u64, compute: impl FnOnce() -> T) -> T {
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let place = &mut self.places[hash as usize % PLACES];
        match place {
            Some((known, thing)) if *known == hash => *thing,
            _ => place.insert((hash, compute())).1,
        }
    }

    /// Octets on the heap.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<(u64, T)>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_once_what_is_remembered() {
        let mut memory = Memory::<u8, 4>::default();
        assert_eq!(memory.get(1, || 7), 7);
        assert_eq!(memory.get(1, || 8), 7);
        assert_eq!(memory.get(5, || 9), 9, "in the same place");
        assert_eq!(memory.get(1, || 8), 8);
        assert!(memory.heap_bytes() <= Memory::<u8, 4>::MAX_HEAP_BYTES);
    }
}
