//! Doubly linked lists of places: O(1) to add at the end and to take out anywhere.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// No place.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    behind: u32,
}

const ALONE: Link = Link { before: NONE, behind: NONE };

/// The ends of a list; what ties its places is in [`Links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl List {
    pub(super) fn first(self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn last(self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }
}

/// What ties places into lists. A place is in one list of the same links at a time.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

impl Links {
    /// Adds a place, which is in no list, behind all others.
    pub(super) fn push(&mut self, list: &mut List, at: u32) {
        let needed = at as usize + 1;
        if self.0.len() < needed {
            self.0.resize(needed, ALONE);
        }
        self.0[at as usize] = Link { before: list.last, behind: NONE };
        match list.last() {
            Some(tail) => self.0[tail as usize].behind = at,
            None => list.first = at,
        }
        list.last = at;
    }

    /// Takes a place out of the list that it is in.
    pub(super) fn remove(&mut self, list: &mut List, at: u32) {
        let Link { before, behind } = std::mem::replace(&mut self.0[at as usize], ALONE);
        if before == NONE {
            list.first = behind;
        } else {
            self.0[before as usize].behind = behind;
        }
        if behind == NONE {
            list.last = before;
        } else {
            self.0[behind as usize].before = before;
        }
    }

    pub(super) fn behind(&self, at: u32) -> Option<u32> {
        self.0.get(at as usize).map(|link| link.behind).filter(|&at| at != NONE)
    }
}

/// Lists found by the hash of their key: places whose hash is the same, oldest first. Whether their
/// keys are the same too, who walks along a chain has to see; that costs less than to look at
/// every key when a place comes or goes.
///
/// What is hashed into is no more than a number for each chain: it is met in no order, and what of it
/// is not in the processor's cache is what a step costs.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The oldest of each chain.
    firsts: HashTable<u32>,
    nodes: Vec<Node>,
}

/// A place in a chain.
#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    /// Of the oldest: the newest.
    before: u32,
    behind: u32,
}

const NOWHERE: Node = Node { hash: 0, before: NONE, behind: NONE };

impl Chains {
    /// The chain of a hash.
    pub(super) fn find(&self, hash: u64) -> List {
        let first = find(&self.firsts, &self.nodes, hash);
        first.map_or_else(List::default, |first| List { first, last: self.node(first).before })
    }

    /// Adds a place to the chain of its hash.
    pub(super) fn push(&mut self, hash: u64, at: u32) {
        let Self { firsts, nodes } = self;
        let needed = at as usize + 1;
        if nodes.len() < needed {
            nodes.resize(needed, NOWHERE);
        }
        let hash_of = |first: &u32| nodes[*first as usize].hash;
        let before = match firsts.entry(hash, |first| hash_of(first) == hash, hash_of) {
            Entry::Occupied(chain) => {
                let first = *chain.get();
                let last = std::mem::replace(&mut nodes[first as usize].before, at);
                nodes[last as usize].behind = at;
                last
            }
            Entry::Vacant(vacant) => {
                vacant.insert(at);
                at
            }
        };
        nodes[at as usize] = Node { hash, before, behind: NONE };
    }

    /// Takes a place out of its chain.
    pub(super) fn remove(&mut self, at: u32) {
        let Self { firsts, nodes } = self;
        let Node { hash, before, behind } = nodes[at as usize];
        let is_first = nodes[before as usize].behind != at;
        if !is_first {
            nodes[before as usize].behind = behind;
            let next = if behind == NONE { find(firsts, nodes, hash) } else { Some(behind) };
            if let Some(next) = next {
                nodes[next as usize].before = before;
            }
        } else if let Ok(mut chain) = firsts.find_entry(hash, |first| *first == at) {
            if behind == NONE {
                chain.remove();
            } else {
                *chain.get_mut() = behind;
                nodes[behind as usize].before = before;
            }
        }
    }

    /// The places of a chain from its oldest on.
    pub(super) fn oldest_first(&self, chain: List) -> impl Iterator<Item = u32> {
        let behind = |at: &u32| Some(self.node(*at).behind).filter(|at| *at != NONE);
        std::iter::successors(chain.first(), behind)
    }

    /// The places of a chain from its newest back.
    pub(super) fn newest_first(&self, chain: List) -> impl Iterator<Item = u32> {
        let before = move |at: &u32| (*at != chain.first).then(|| self.node(*at).before);
        std::iter::successors(chain.last(), before)
    }

    fn node(&self, at: u32) -> Node {
        self.nodes[at as usize]
    }
}

/// The oldest of a hash's chain.
fn find(firsts: &HashTable<u32>, nodes: &[Node], hash: u64) -> Option<u32> {
    firsts.find(hash, |first| nodes[*first as usize].hash == hash).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against vectors: whatever is added and taken out, each chain keeps its order.
        #[test]
        fn chains_keep_their_order(steps in proptest::collection::vec((any::<bool>(), 0_u32..3, 0_usize..20), 0..200)) {
            // The hash of a place is its number modulo 3.
            let mut chains = Chains::default();
            let mut model: Vec<u32> = Vec::new();
            let mut fresh = 0..;
            for (add, key, victim) in steps {
                if add {
                    let Some(number) = fresh.next() else { break };
                    let at = 3 * number + key;
                    chains.push(key.into(), at);
                    model.push(at);
                } else if !model.is_empty() {
                    let at = model.remove(victim % model.len());
                    chains.remove(at);
                }
                for key in 0..3 {
                    let chain = chains.find(key.into());
                    let mut expected: Vec<u32> = model.iter().copied().filter(|at| at % 3 == key).collect();
                    prop_assert_eq!(chains.oldest_first(chain).collect::<Vec<_>>(), expected.clone());
                    expected.reverse();
                    prop_assert_eq!(chains.newest_first(chain).collect::<Vec<_>>(), expected);
                }
            }
        }
    }
}
