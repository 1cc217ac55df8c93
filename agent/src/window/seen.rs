//! Cache of values that were recently added to the sketches of distinct values: adding them again
//! would change nothing.

use super::sketch::Hashed;

/// Number of slots; a newer value replaces an older one.
const SLOTS: usize = 1 << 12;

/// Key of an empty slot.
const EMPTY: u32 = u32::MAX;

/// Property whose distinct values a sketch counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facet {
    /// Names.
    Qname,
    /// Clients.
    Client,
    /// Resolvers.
    Resolver,
}

/// Direct-mapped cache of values that are in a sketch, by group and facet.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Key of group and facet, and value; empty until the first value.
    slots: Vec<(u32, Hashed)>,
}

impl Seen {
    /// Maximum heap memory in bytes.
    pub(super) const MAX_HEAP_BYTES: usize = SLOTS * size_of::<(u32, Hashed)>();

    /// Adds a value of a group. Returns whether it was in the cache.
    pub(super) fn knows(&mut self, group: usize, facet: Facet, value: Hashed, hash: u64) -> bool {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, (EMPTY, value));
        }
        // There are some hundred groups.
        let number = u32::try_from(group).unwrap_or(0) << 2 | facet as u32;
        let slot = (hash ^ u64::from(number).wrapping_mul(HASH_MULTIPLIER) >> 32) % SLOTS as u64;
        let slot = usize::try_from(slot).unwrap_or(0);
        let known = &mut self.slots[slot];
        std::mem::replace(known, (number, value)) == (number, value)
    }

    /// Returns the heap memory in bytes.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u32, Hashed)>()
    }
}

/// Spreads group numbers over all bits.
const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_true_for_known_value_of_group() {
        let mut seen = Seen::default();
        let (one, other) = (Hashed::of(b"one"), Hashed::of(b"other"));
        assert!(!seen.knows(0, Facet::Qname, one, 1));
        assert!(seen.knows(0, Facet::Qname, one, 1));
        assert!(!seen.knows(1, Facet::Qname, one, 1) && !seen.knows(0, Facet::Client, one, 1));
        assert!(!seen.knows(0, Facet::Qname, other, 1), "another value in the same slot");
        assert!(!seen.knows(0, Facet::Qname, one, 1), "its slot was taken");
        assert!(seen.heap_bytes() <= Seen::MAX_HEAP_BYTES);
    }
}
