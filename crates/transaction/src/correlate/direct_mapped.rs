//! Direct-mapped cache: a hash table of fixed size whose newer entries replace older ones.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hash};

/// Cache in which the hash of a key selects its only slot: a newer entry replaces an older one, and
/// nothing has to be removed.
///
/// The hash seed is fixed, so that replays are reproducible.
#[derive(Debug)]
pub(super) struct DirectMappedCache<K, V, const SLOTS: usize> {
    /// Empty until the first entry.
    places: Vec<Option<(K, V)>>,
    /// Number of used slots; if it is 0, lookups need no hash.
    taken: usize,
}

impl<K, V, const SLOTS: usize> Default for DirectMappedCache<K, V, SLOTS> {
    fn default() -> Self {
        Self { places: Vec::new(), taken: 0 }
    }
}

impl<K: Hash + Eq, V, const SLOTS: usize> DirectMappedCache<K, V, SLOTS> {
    /// Returns whether there was never an entry.
    pub(super) const fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.places.is_empty() {
            self.places.resize_with(SLOTS, || None);
        }
        let at = Self::place(&key);
        if let Some(place) = self.places.get_mut(at) {
            self.taken += usize::from(place.is_none());
            *place = Some((key, value));
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        if self.taken == 0 {
            return None;
        }
        let (held, value) = self.places.get(Self::place(key))?.as_ref()?;
        (held == key).then_some(value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        let at = Self::place(key);
        let (_, value) = self.places.get_mut(at)?.take()?;
        self.taken -= 1;
        Some(value)
    }

    /// Removes all values that fit.
    pub(super) fn take_if(&mut self, fits: impl Fn(&V) -> bool) -> Vec<V> {
        let fitting = self
            .places
            .iter_mut()
            .filter_map(|place| place.take_if(|(_, value)| fits(value)).map(|(_, value)| value));
        let fitting: Vec<V> = fitting.collect();
        self.taken -= fitting.len();
        fitting
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
    fn place(key: &K) -> usize {
        FixedState::default().hash_one(key) as usize % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_newest_within_size() {
        let mut recent = DirectMappedCache::<_, _, 16>::default();
        assert_eq!(recent.get(&1), None);
        for key in 0..1000 {
            recent.insert(key, key);
            assert_eq!(recent.get(&key), Some(&key));
        }
        assert_eq!(recent.remove(&999), Some(999));
        assert_eq!(recent.remove(&999), None);
        assert!(recent.take_if(|value| *value >= 0).len() < 16);
        assert!(recent.take_if(|_| true).is_empty());
    }
}
