//! Intrusive doubly linked lists of slot indices: O(1) to append and to remove anywhere.

/// Null link.
const NONE: u32 = u32::MAX;

fn index(link: u32) -> Option<u32> {
    (link != NONE).then_some(link)
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// First and last index of a list; its links are in [`ListLinks`].
#[derive(Clone, Copy, Debug)]
pub(super) struct IntrusiveList {
    first: u32,
    last: u32,
}

impl Default for IntrusiveList {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl IntrusiveList {
    /// Returns the first index.
    pub(super) fn first(self) -> Option<u32> {
        index(self.first)
    }
}

/// Links of disjoint lists: an index is in at most one of them.
#[derive(Debug, Default)]
pub(super) struct ListLinks(Vec<Link>);

impl ListLinks {
    /// Appends an index that is in no list.
    pub(super) fn push(&mut self, list: &mut IntrusiveList, index: u32) {
        let needed = index as usize + 1;
        if self.0.len() < needed {
            self.0.resize(needed, Link { prev: NONE, next: NONE });
        }
        let prev = std::mem::replace(&mut list.last, index);
        self.0[index as usize] = Link { prev, next: NONE };
        if prev == NONE {
            list.first = index;
        } else {
            self.0[prev as usize].next = index;
        }
    }

    /// Removes an index from the list that it is in.
    pub(super) fn remove(&mut self, list: &mut IntrusiveList, index: u32) {
        let Link { prev, next } = self.0[index as usize];
        if prev == NONE {
            list.first = next;
        } else {
            self.0[prev as usize].next = next;
        }
        if next == NONE {
            list.last = prev;
        } else {
            self.0[next as usize].prev = prev;
        }
    }
}

/// Hash multimap: each chain holds the indices whose hashes select it, in order of insertion. Callers compare the hash or the
/// keys themselves.
///
/// An operation takes one access to memory that is probably not in the CPU's cache, and one for each neighbour in the chain.
/// There are at least as many chains as slots, so that most have no more than one index.
#[derive(Debug, Default)]
pub(super) struct HashChains {
    /// Their number is a power of two.
    chains: Vec<IntrusiveList>,
    links: ListLinks,
    /// By index.
    hashes: Vec<u64>,
}

impl HashChains {
    /// Least number of chains.
    const LEAST: usize = 64;

    /// Appends an index to the chain of its hash.
    pub(super) fn push(&mut self, hash: u64, index: u32) {
        let needed = index as usize + 1;
        if self.hashes.len() < needed {
            self.hashes.resize(needed, 0);
        }
        if self.chains.len() < needed {
            self.grow(needed.next_power_of_two().max(Self::LEAST));
        }
        self.hashes[index as usize] = hash;
        let at = self.place(hash);
        self.links.push(&mut self.chains[at], index);
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        let old = std::mem::replace(&mut self.chains, vec![IntrusiveList::default(); count]);
        for list in old {
            let mut next = list.first();
            while let Some(index) = next {
                next = self.after(index);
                let at = self.place(self.hashes[index as usize]);
                self.links.push(&mut self.chains[at], index);
            }
        }
    }

    /// Removes an index from its chain.
    pub(super) fn remove(&mut self, index: u32) {
        let at = self.place(self.hashes[index as usize]);
        self.links.remove(&mut self.chains[at], index);
    }

    /// Iterates over the chain of a hash, oldest first.
    pub(super) fn oldest_first(&self, hash: u64) -> impl Iterator<Item = u32> {
        let first = self.chains.get(self.place(hash)).and_then(|chain| index(chain.first));
        std::iter::successors(first, |index| self.after(*index))
    }

    /// Iterates over the chain of a hash, newest first.
    pub(super) fn newest_first(&self, hash: u64) -> impl Iterator<Item = u32> {
        let last = self.chains.get(self.place(hash)).and_then(|chain| index(chain.last));
        std::iter::successors(last, |at| index(self.links.0[*at as usize].prev))
    }

    /// Returns the hash of an index that is or was in a chain.
    pub(super) fn hash_of(&self, index: u32) -> u64 {
        self.hashes[index as usize]
    }

    fn after(&self, at: u32) -> Option<u32> {
        index(self.links.0[at as usize].next)
    }

    /// Returns the position of the chain of a hash.
    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
    const fn place(&self, hash: u64) -> usize {
        hash as usize & self.chains.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Compares the chains with vectors.
        #[test]
        fn chains_keep_order(steps in proptest::collection::vec((any::<bool>(), 0_u32..3, 0_usize..20), 0..200)) {
            // The hash of an index is its value modulo 3.
            let mut chains = HashChains::default();
            let mut model: Vec<u32> = Vec::new();
            let mut fresh = 0..;
            for (add, key, victim) in steps {
                if add {
                    let Some(number) = fresh.next() else { break };
                    let index = 3 * number + key;
                    chains.push(key.into(), index);
                    model.push(index);
                } else if !model.is_empty() {
                    let index = model.remove(victim % model.len());
                    chains.remove(index);
                }
                for key in 0..3 {
                    let mut expected: Vec<u32> = model.iter().copied().filter(|index| index % 3 == key).collect();
                    prop_assert_eq!(chains.oldest_first(key.into()).collect::<Vec<_>>(), expected.clone());
                    expected.reverse();
                    prop_assert_eq!(chains.newest_first(key.into()).collect::<Vec<_>>(), expected);
                }
            }
        }
    }
}
