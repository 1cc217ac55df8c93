//! What was added to the sketches of different values a short while ago: once more changes nothing.

use super::sketch::Hashed;

/// Values remembered; a newer one takes the place of an older one.
const PLACES: usize = 1 << 12;

/// No group's number.
const NOBODY: u32 = u32::MAX;

/// What a sketch counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facet {
    /// Names.
    Qname,
    /// Clients.
    Client,
    /// Resolvers.
    Resolver,
}

/// Values that are in a sketch, by the group that it is of.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// By the number of group and facet; no places until the first.
    places: Vec<(u32, Hashed)>,
}

impl Seen {
    /// The most octets that it takes on the heap.
    pub(super) const MAX_HEAP_BYTES: usize = PLACES * size_of::<(u32, Hashed)>();

    /// Remembers that a value is in the sketch of a group; says whether that was known.
    pub(super) fn knows(&mut self, group: usize, facet: Facet, value: Hashed, hash: u64) -> bool {
        if self.places.is_empty() {
            self.places.resize(PLACES, (NOBODY, value));
        }
        // Groups are some hundred.
        let number = u32::try_from(group).unwrap_or(0) << 2 | facet as u32;
        let place = (hash ^ u64::from(number).wrapping_mul(SPREAD) >> 32) % PLACES as u64;
        let place = usize::try_from(place).unwrap_or(0);
        let known = &mut self.places[place];
        std::mem::replace(known, (number, value)) == (number, value)
    }

    /// Octets on the heap.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<(u32, Hashed)>()
    }
}

/// Spreads the numbers of groups over all bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_it_was_told_of_a_group() {
        let mut seen = Seen::default();
        let (one, other) = (Hashed::of(b"one"), Hashed::of(b"other"));
        assert!(!seen.knows(0, Facet::Qname, one, 1));
        assert!(seen.knows(0, Facet::Qname, one, 1));
        assert!(!seen.knows(1, Facet::Qname, one, 1) && !seen.knows(0, Facet::Client, one, 1));
        assert!(!seen.knows(0, Facet::Qname, other, 1), "another value in the same place");
        assert!(!seen.knows(0, Facet::Qname, one, 1), "its place was taken");
        assert!(seen.heap_bytes() <= Seen::MAX_HEAP_BYTES);
    }
}
