//! The open lookups, and how those are found that a query may belong to.

use super::labels;
use super::query::{Client, Query};
use super::state::OpenLookup;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_64;

/// Newest lookups of one client and name that a query is compared with.
pub(super) const CANDIDATES: usize = 8;

/// Identifies a lookup: its number in order of creation, and its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupId {
    number: u64,
    slot: usize,
}

/// The open lookups.
#[derive(Debug, Default)]
pub(super) struct OpenLookups {
    /// Lookups with their numbers.
    slots: Slab<(u64, Box<OpenLookup>)>,
    /// Lookups in order of creation, some of them removed.
    ages: VecDeque<LookupId>,
    /// The last number assigned.
    last: u64,
}

impl OpenLookups {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn begin(&mut self, query: &Query<'_>, asker: u64, label: u64) -> LookupId {
        self.last += 1;
        let slot = self.slots.insert((self.last, Box::new(OpenLookup::new(query, asker, label))));
        let id = LookupId { number: self.last, slot };
        self.ages.push_back(id);
        // Removed lookups leave the queue once they outnumber the open ones: amortized O(1).
        if self.ages.len() > 2 * self.len() + 64 {
            let Self { ages, slots, .. } = self;
            ages.retain(|id| slots.get(id.slot).is_some_and(|(number, _)| *number == id.number));
        }
        id
    }

    pub(super) fn get(&self, id: LookupId) -> Option<&OpenLookup> {
        let (number, open) = self.slots.get(id.slot)?;
        (*number == id.number).then_some(open)
    }

    pub(super) fn get_mut(&mut self, id: LookupId) -> Option<&mut OpenLookup> {
        let (number, open) = self.slots.get_mut(id.slot)?;
        (*number == id.number).then_some(open)
    }

    pub(super) fn oldest(&mut self) -> Option<LookupId> {
        while let Some(id) = self.ages.front().copied() {
            if self.get(id).is_some() {
                return Some(id);
            }
            self.ages.pop_front();
        }
        None
    }

    pub(super) fn remove(&mut self, id: LookupId) -> Option<Box<OpenLookup>> {
        self.get(id)?;
        self.slots.try_remove(id.slot).map(|(_, open)| open)
    }
}

/// Lookups by the hash of a client and a name, or a name's first label. The caller must check for
/// collisions.
#[derive(Debug, Default)]
pub(super) struct Index {
    lookups: HashTable<IndexEntry>,
    /// Number of insertions.
    turns: u64,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexEntry {
    turn: u64,
    pub(super) id: LookupId,
    /// Whether the lookup takes no more queries by this key.
    pub(super) is_closed: bool,
    key: u64,
}

/// The newest lookups of a key, the oldest of them first.
pub(super) type Newest = SmallVec<[IndexEntry; CANDIDATES]>;

impl Index {
    /// Returns the newest lookups of a key. Insertion keeps them within the inline capacity.
    pub(super) fn newest(&self, key: u64) -> Newest {
        let same = self.lookups.iter_hash(self.hasher.hash_one(key));
        let mut newest: Newest = same.filter(|entry| entry.key == key).copied().collect();
        newest.sort_unstable();
        newest
    }

    /// Adds a lookup; the newest lookups of the key come from [`Self::newest`].
    pub(super) fn insert(&mut self, key: u64, id: LookupId, newest: &Newest) {
        if newest.iter().any(|entry| entry.id == id) {
            return;
        }
        if let [oldest, ..] = newest.as_slice()
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

pub(super) fn hash_client(client: Client) -> u64 {
    FixedState::default().hash_one(client)
}

pub(super) fn hash_client_text(client: u64, text: &str) -> u64 {
    client.rotate_left(29) ^ xxh3_64(text.as_bytes())
}

/// Returns the hash of a client and the first label of a name.
pub(super) fn hash_client_label(client: u64, name: &str) -> u64 {
    hash_client_text(client, labels::first(name))
}
