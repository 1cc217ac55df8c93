//! Direct-mapped cache of what was recently computed: a value lives in the one slot that its hash
//! selects, and a newer one evicts an older one.
//!
//! Most names, clients and resolvers recur within seconds. The cache saves their features and hashes
//! (`measured.rs`), and updates of the distinct-count sketches that change nothing (`groups.rs`). An
//! update of a sketch costs about a hundred times as much as a hit; measure with
//! `cargo xtask bench windows`.

/// Values by key, in `SLOTS` slots. A key must determine its hash and its value.
#[derive(Clone, Debug)]
pub(super) struct DirectMappedCache<K, V, const SLOTS: usize> {
    /// Empty until the first use, then filled with copies of the first entry.
    slots: Vec<(K, V)>,
}

impl<K, V, const SLOTS: usize> Default for DirectMappedCache<K, V, SLOTS> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<K: Copy + PartialEq, V: Copy, const SLOTS: usize> DirectMappedCache<K, V, SLOTS> {
    /// Maximum heap memory in bytes.
    pub(super) const MAX_HEAP_BYTES: usize = SLOTS * size_of::<(K, V)>();

    /// Returns the value of `key`, which has this `hash`, computed with `compute` if it is not cached.
    pub(super) fn get(&mut self, hash: u64, key: K, compute: impl FnOnce() -> V) -> V {
        if self.slots.is_empty() {
            let value = compute();
            self.slots.resize(SLOTS, (key, value));
            return value;
        }
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash select a slot")]
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.0 != key {
            *slot = (key, compute());
        }
        slot.1
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(K, V)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_value_once_while_cached() {
        let mut cache = DirectMappedCache::<u64, u8, 4>::default();
        let mut get = |key, value| cache.get(key, key, || value);
        assert_eq!((get(1, 7), get(1, 8)), (7, 7));
        assert_eq!((get(2, 5), get(2, 6)), (5, 5));
        assert_eq!(get(5, 9), 9, "in the same slot");
        assert_eq!(get(1, 8), 8);
        assert!(cache.heap_bytes() <= DirectMappedCache::<u64, u8, 4>::MAX_HEAP_BYTES);
    }
}
