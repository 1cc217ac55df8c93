//! Caches the search domains that clients use.

use super::query::Network;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Cached domains. A newer one replaces an older one in the same slot.
const SLOTS: usize = 1 << 12;

/// Search domains known for certain because the application's name itself was queried too. They
/// help when it is not.
#[derive(Debug, Default)]
pub(super) struct Suffixes {
    /// Hashes of client and suffix; empty before first use.
    places: Vec<u64>,
}

impl Suffixes {
    pub(super) fn learn(&mut self, network: Network, suffix: &str) {
        if self.places.is_empty() {
            self.places.resize(SLOTS, 0);
        }
        let hash = hash(network, suffix);
        if let Some(place) = self.places.get_mut(place(hash)) {
            *place = hash;
        }
    }

    pub(super) fn knows(&self, network: Network, suffix: &str) -> bool {
        let hash = hash(network, suffix);
        self.places.get(place(hash)) == Some(&hash)
    }
}

/// Returns a hash without a random seed, for reproducible replay.
fn hash(network: Network, suffix: &str) -> u64 {
    FixedState::default().hash_one((network, suffix))
}

#[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
const fn place(hash: u64) -> usize {
    hash as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_learned_suffixes_of_client() {
        let [one, other] = [1, 2].map(|last| Network(7, [192, 0, 2, last].into()));
        let mut suffixes = Suffixes::default();
        assert!(!suffixes.knows(one, "a.test"));
        suffixes.learn(one, "a.test");
        assert!(suffixes.knows(one, "a.test"));
        assert!(!suffixes.knows(one, "b.test") && !suffixes.knows(other, "a.test"));
    }
}
