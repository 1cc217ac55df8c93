//! Finds the lookups that a query may belong to.

use super::labels;
use super::query::Client;
use super::slots::LookupId;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_64;

/// Newest lookups of one client and name that a query is compared with.
pub(super) const CANDIDATES: usize = 8;

/// Lookups by the hash of a client and a name, or a name's first label. The caller must check for
/// collisions.
#[derive(Debug, Default)]
pub(super) struct Index {
    lookups: HashTable<IndexEntry>,
    /// Number of insertions.
    turns: u64,
    hasher: RandomState,
}

/// An index entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexEntry {
    turn: u64,
    pub(super) id: LookupId,
    /// Whether the lookup takes no more queries by this key.
    pub(super) is_closed: bool,
    key: u64,
}

/// The newest lookups of a key, the oldest of them first.
pub(super) type Newest = ([IndexEntry; CANDIDATES], usize);

impl Index {
    /// Returns the newest lookups of a key.
    pub(super) fn newest(&self, key: u64) -> Newest {
        let (mut newest, mut count) = ([IndexEntry::default(); CANDIDATES], 0);
        let same = self.lookups.iter_hash(self.hasher.hash_one(key));
        // Insertion keeps the entries of a key within the array.
        for (place, entry) in newest.iter_mut().zip(same.filter(|entry| entry.key == key)) {
            *place = *entry;
            count += 1;
        }
        newest[..count].sort_unstable();
        (newest, count)
    }

    /// Adds a lookup; the newest lookups of the key come from [`Self::newest`].
    pub(super) fn insert(&mut self, key: u64, id: LookupId, (newest, count): &Newest) {
        let newest = &newest[..*count];
        if newest.iter().any(|entry| entry.id == id) {
            return;
        }
        if let [oldest, ..] = newest
            && newest.len() == CANDIDATES
        {
            self.remove(key, oldest.id);
        }
        self.turns += 1;
        let Self { lookups, turns, hasher } = self;
        let entry = IndexEntry { turn: *turns, id, is_closed: false, key };
        lookups.insert_unique(hasher.hash_one(key), entry, |entry| hasher.hash_one(entry.key));
    }

    /// Marks that a lookup takes no more queries by this key. It stays in the index, so that the
    /// set of candidates does not change.
    pub(super) fn close_key(&mut self, key: u64, id: LookupId) {
        let is = |entry: &IndexEntry| (entry.key, entry.id) == (key, id);
        if let Some(entry) = self.lookups.find_mut(self.hasher.hash_one(key), is) {
            entry.is_closed = true;
        }
    }

    pub(super) fn remove(&mut self, key: u64, id: LookupId) {
        let is = |entry: &IndexEntry| (entry.key, entry.id) == (key, id);
        if let Ok(entry) = self.lookups.find_entry(self.hasher.hash_one(key), is) {
            entry.remove();
        }
    }
}

/// Returns the hash of a client.
pub(super) fn hash_client(client: Client) -> u64 {
    FixedState::default().hash_one(client)
}

/// Returns the hash of a client and a text.
pub(super) fn hash_client_text(client: u64, text: &str) -> u64 {
    client.rotate_left(29) ^ xxh3_64(text.as_bytes())
}

/// Returns the hash of a client and the first label of a name.
pub(super) fn hash_client_label(client: u64, name: &str) -> u64 {
    hash_client_text(client, labels::first(name))
}
