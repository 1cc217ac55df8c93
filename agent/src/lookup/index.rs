//! What finds the lookups that a query may belong to.

use super::labels;
use super::query::Client;
use super::slots::Id;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_64;

/// Lookups of one client for one name that a query is compared with: the newest.
pub(super) const CANDIDATES: usize = 8;

/// Lookups by the hash of what a further query of them would have: a client, and a name or its first
/// label. Whether these are the same, too, who looks for them has to see.
#[derive(Debug, Default)]
pub(super) struct Index {
    lookups: HashTable<Listed>,
    /// How many were ever added.
    turns: u64,
    hasher: RandomState,
}

/// A lookup, and when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    turn: u64,
    pub(super) id: Id,
    /// It takes no further query that would find it here.
    pub(super) is_shut: bool,
    key: u64,
}

/// The lookups that came last with a key, the oldest of them first.
pub(super) type Newest = ([Listed; CANDIDATES], usize);

impl Index {
    /// The lookups that came last with a key.
    pub(super) fn newest(&self, key: u64) -> Newest {
        let (mut newest, mut count) = ([Listed::default(); CANDIDATES], 0);
        let same = self.lookups.iter_hash(self.hasher.hash_one(key));
        // There are never more than places.
        for (place, listed) in newest.iter_mut().zip(same.filter(|listed| listed.key == key)) {
            *place = *listed;
            count += 1;
        }
        newest[..count].sort_unstable();
        (newest, count)
    }

    /// Adds a lookup, to those that were found there.
    pub(super) fn insert(&mut self, key: u64, id: Id, (newest, count): &Newest) {
        let newest = &newest[..*count];
        if newest.iter().any(|listed| listed.id == id) {
            return;
        }
        if let [oldest, ..] = newest
            && newest.len() == CANDIDATES
        {
            self.remove(key, oldest.id);
        }
        self.turns += 1;
        let Self { lookups, turns, hasher } = self;
        let listed = Listed { turn: *turns, id, is_shut: false, key };
        lookups.insert_unique(hasher.hash_one(key), listed, |listed| hasher.hash_one(listed.key));
    }

    /// A lookup takes no further query that would find it here. It keeps its place, so that others find
    /// theirs as if it still did.
    pub(super) fn shut(&mut self, key: u64, id: Id) {
        let is = |listed: &Listed| (listed.key, listed.id) == (key, id);
        if let Some(listed) = self.lookups.find_mut(self.hasher.hash_one(key), is) {
            listed.is_shut = true;
        }
    }

    pub(super) fn remove(&mut self, key: u64, id: Id) {
        let is = |listed: &Listed| (listed.key, listed.id) == (key, id);
        if let Ok(entry) = self.lookups.find_entry(self.hasher.hash_one(key), is) {
            entry.remove();
        }
    }
}

/// The hash of a client.
pub(super) fn of_client(client: Client) -> u64 {
    FixedState::default().hash_one(client)
}

/// One hash of a client and a text.
pub(super) fn both(client: u64, text: &str) -> u64 {
    client.rotate_left(29) ^ xxh3_64(text.as_bytes())
}

/// One hash of a client and the first label of a name.
pub(super) fn of_label(client: u64, name: &str) -> u64 {
    both(client, labels::first(name))
}
