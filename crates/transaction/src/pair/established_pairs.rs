//! Pairs of hosts with answered queries, to tell established flows from a flood.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// Bits of a generation, as a power of two.
const BITS: u32 = 20;

/// Number of pairs that fill a generation.
const GENERATION_PAIRS: u32 = 1 << 17;

/// Set of (client, server) address pairs with recently answered queries.
///
/// Two generations of a bitmap with one hash function: bounded and O(1). At most one of eight
/// unknown pairs is taken for a known one. A known pair is forgotten after about 130,000 others at
/// the earliest. The hash seed is fixed, so that replays are reproducible.
#[derive(Debug)]
pub(super) struct EstablishedPairs {
    current: Vec<u64>,
    previous: Vec<u64>,
    pairs_added: u32,
}

impl Default for EstablishedPairs {
    fn default() -> Self {
        let empty = || vec![0; 1 << (BITS - 6)];
        Self { current: empty(), previous: empty(), pairs_added: 0 }
    }
}

impl EstablishedPairs {
    /// Memory in bytes.
    pub(super) const BYTES: usize = 2 << (BITS - 3);

    /// Adds the pair of `client` and `server`.
    pub(super) fn insert(&mut self, client: SocketAddr, server: SocketAddr) {
        let (word, bit) = bit_position(client, server);
        if self.current[word] & bit == 0 {
            if self.pairs_added == GENERATION_PAIRS {
                std::mem::swap(&mut self.current, &mut self.previous);
                self.current.fill(0);
                self.pairs_added = 0;
            }
            self.current[word] |= bit;
            self.pairs_added += 1;
        }
    }

    /// Returns whether a query between the two was answered recently. May be wrong, see the type.
    pub(super) fn contains(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let (word, bit) = bit_position(client, server);
        (self.current[word] | self.previous[word]) & bit != 0
    }
}

fn bit_position(client: SocketAddr, server: SocketAddr) -> (usize, u64) {
    let hash = FixedState::with_seed(u64::from(BITS)).hash_one((client.ip(), server.ip()));
    let bit = hash >> (u64::BITS - BITS);
    // 20 bits fit into usize.
    ((bit >> 6) as usize, 1 << (bit & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(number), 4000))
    }

    #[test]
    fn contains_inserted_and_few_other_pairs() {
        let mut pairs = EstablishedPairs::default();
        for number in 0..GENERATION_PAIRS / 2 {
            pairs.insert(host(number), host(1));
        }
        assert!((0..GENERATION_PAIRS / 2).all(|number| pairs.contains(host(number), host(1))));
        let strangers =
            (GENERATION_PAIRS..2 * GENERATION_PAIRS).filter(|n| pairs.contains(host(*n), host(1)));
        assert!(strangers.count() < GENERATION_PAIRS as usize / 10);
    }

    #[test]
    fn forgets_after_two_generations() {
        let mut pairs = EstablishedPairs::default();
        pairs.insert(host(0), host(1));
        pairs.insert(host(0), host(2));
        for number in 1..4 * GENERATION_PAIRS {
            pairs.insert(host(number), host(1));
            if number % GENERATION_PAIRS == 0 {
                pairs.insert(host(0), host(2));
            }
        }
        assert!(pairs.contains(host(0), host(2)));
        assert!(!pairs.contains(host(0), host(1)));
    }
}
