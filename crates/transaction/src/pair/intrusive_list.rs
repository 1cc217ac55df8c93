//! Intrusive doubly linked lists of slot indices: O(1) to append and to remove anywhere.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Null link.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// First and last index of a list; its links are in [`ListLinks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IntrusiveList {
    pub(super) first: Option<u32>,
    last: Option<u32>,
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
        let last = list.last.replace(index);
        self.0[index as usize] = Link { prev: last.unwrap_or(NONE), next: NONE };
        match last {
            Some(last) => self.0[last as usize].next = index,
            None => list.first = Some(index),
        }
    }

    /// Removes an index from the list that it is in.
    pub(super) fn remove(&mut self, list: &mut IntrusiveList, index: u32) {
        let Link { prev, next } = self.0[index as usize];
        if prev == NONE {
            list.first = (next != NONE).then_some(next);
        } else {
            self.0[prev as usize].next = next;
        }
        if next == NONE {
            list.last = (prev != NONE).then_some(prev);
        } else {
            self.0[next as usize].prev = prev;
        }
    }
}

/// Hash multimap with intrusive chains: the indices with one hash, in order of insertion. Callers
/// compare the keys themselves, which costs less than a comparison on each insertion and removal.
///
/// The hash table holds one number for each chain, to keep it small: its cache misses dominate the
/// cost of an operation.
#[derive(Debug, Default)]
pub(super) struct HashChains {
    /// The oldest index of each chain.
    firsts: HashTable<u32>,
    nodes: Vec<Node>,
}

/// Links of an index in its chain.
#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    /// The previous index; for the oldest, the newest.
    prev: u32,
    next: u32,
}

impl HashChains {
    /// Appends an index to the chain of its hash.
    pub(super) fn push(&mut self, hash: u64, index: u32) {
        let Self { firsts, nodes } = self;
        let needed = index as usize + 1;
        if nodes.len() < needed {
            nodes.resize(needed, Node { hash, prev: NONE, next: NONE });
        }
        let hash_of = |first: &u32| nodes[*first as usize].hash;
        let prev = match firsts.entry(hash, |first| hash_of(first) == hash, hash_of) {
            Entry::Occupied(chain) => {
                let first = *chain.get();
                let last = std::mem::replace(&mut nodes[first as usize].prev, index);
                nodes[last as usize].next = index;
                last
            }
            Entry::Vacant(vacant) => {
                vacant.insert(index);
                index
            }
        };
        nodes[index as usize] = Node { hash, prev, next: NONE };
    }

    /// Removes an index from its chain.
    pub(super) fn remove(&mut self, index: u32) {
        let Self { firsts, nodes } = self;
        let Node { hash, prev, next } = nodes[index as usize];
        let is_first = nodes[prev as usize].next != index;
        if !is_first {
            nodes[prev as usize].next = next;
            let after = if next == NONE { find(firsts, nodes, hash) } else { Some(next) };
            if let Some(after) = after {
                nodes[after as usize].prev = prev;
            }
        } else if let Ok(mut chain) = firsts.find_entry(hash, |first| *first == index) {
            if next == NONE {
                chain.remove();
            } else {
                *chain.get_mut() = next;
                nodes[next as usize].prev = prev;
            }
        }
    }

    /// Iterates over the chain of a hash, oldest first.
    pub(super) fn oldest_first(&self, hash: u64) -> impl Iterator<Item = u32> {
        let next =
            |index: &u32| Some(self.nodes[*index as usize].next).filter(|next| *next != NONE);
        std::iter::successors(find(&self.firsts, &self.nodes, hash), next)
    }

    /// Iterates over the chain of a hash, newest first.
    pub(super) fn newest_first(&self, hash: u64) -> impl Iterator<Item = u32> {
        let first = find(&self.firsts, &self.nodes, hash);
        let prev = |index: u32| self.nodes[index as usize].prev;
        std::iter::successors(first.map(prev), move |index| {
            (Some(*index) != first).then(|| prev(*index))
        })
    }
}

/// Returns the oldest index in the chain of a hash.
fn find(firsts: &HashTable<u32>, nodes: &[Node], hash: u64) -> Option<u32> {
    firsts.find(hash, |first| nodes[*first as usize].hash == hash).copied()
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
