//! The transactions that wait and those that are remembered, found by key or by ends.

use super::key::{Ends, Key};
use super::{Status, Transaction, Vantage};
use crate::decode::Message;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use std::hash::BuildHasher;

/// How many transactions between two ends are looked at for a response without a question: no
/// honest exchange has so many under way, and a flood must not buy more work than this.
const MAX_WALK: usize = 1024;

/// Names an entry for ever: places are used again, names are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    place: u32,
    generation: u32,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet.
    Waiting,
    /// A response came; `digest` stands for what it said.
    Answered { digest: u64 },
    /// It timed out, was unreachable, or was evicted.
    Failed,
}

/// A query and what became of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) query: Box<Message>,
    pub(super) deadline: Timestamp,
    pub(super) state: State,
    pub(super) retries: u32,
}

impl Entry {
    pub(super) fn waiting(query: Box<Message>, deadline: Timestamp) -> Self {
        Self { query, deadline, state: State::Waiting, retries: 0 }
    }

    pub(super) fn transaction(&self, status: Status) -> Transaction<'_> {
        Transaction {
            status,
            vantage: Vantage::of(self.query.envelope.sight, false),
            query: Some(&self.query),
            response: None,
            retries: self.retries,
            conflict: false,
            icmp: None,
        }
    }
}

/// A place in the slab. Entries between the same ends form a chain, oldest first.
#[derive(Debug)]
struct Place {
    generation: u32,
    /// Of the entry's key.
    key_hash: u64,
    /// Of the entry's ends.
    ends_hash: u64,
    /// The entry before in the chain; for the first one, the last of the chain.
    previous: u32,
    /// The entry behind in the chain; for the last one, itself.
    next: u32,
    entry: Option<Entry>,
}

/// A slab of entries with two indices, which hold places only: by key, and by ends, where the first
/// entry of each chain stands.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    by_ends: HashTable<u32>,
    waiting: usize,
    hasher: RandomState,
}

impl Table {
    /// Number of queries that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        let place = self.places.get(slot.place as usize)?;
        place.entry.as_ref().filter(|_| place.generation == slot.generation)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        let place = self.places.get_mut(slot.place as usize)?;
        place.entry.as_mut().filter(|_| place.generation == slot.generation)
    }

    pub(super) fn is_waiting(&self, slot: Slot) -> bool {
        self.get(slot).is_some_and(|entry| entry.state == State::Waiting)
    }

    pub(super) fn find(&self, hash: u64, key: &Key<'_>) -> Option<Slot> {
        let same = |at: &u32| self.entry_at(*at).is_some_and(|e| Key::of(&e.query) == *key);
        self.by_key.find(hash, same).map(|at| self.slot_at(*at))
    }

    /// The oldest transaction with this id between the ends: one that waits, else one that is
    /// remembered.
    pub(super) fn oldest(&self, ends: &Ends, id: u16) -> Option<Slot> {
        self.oldest_waiting(ends, Some(id)).or_else(|| {
            let mut chain = self.chain(ends).take(MAX_WALK);
            chain.find(|(_, entry)| entry.query.dns.id == id).map(|(at, _)| self.slot_at(at))
        })
    }

    /// The oldest query that waits between the ends, with this id if one is given.
    pub(super) fn oldest_waiting(&self, ends: &Ends, id: Option<u16>) -> Option<Slot> {
        self.chain(ends)
            .take(MAX_WALK)
            .find(|(_, entry)| {
                entry.state == State::Waiting && id.is_none_or(|id| entry.query.dns.id == id)
            })
            .map(|(at, _)| self.slot_at(at))
    }

    /// Adds an entry whose key is not in the table.
    pub(super) fn insert(&mut self, key_hash: u64, entry: Entry) -> Slot {
        let ends_hash = self.hasher.hash_one(Ends::of(&entry.query));
        self.waiting += usize::from(entry.state == State::Waiting);
        let at =
            self.free.pop().unwrap_or_else(|| u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let mut place = Place {
            generation: 0,
            key_hash,
            ends_hash,
            previous: at,
            next: at,
            entry: Some(entry),
        };
        if let Some(free) = self.places.get_mut(at as usize) {
            place.generation = free.generation.wrapping_add(1);
            *free = place;
        } else {
            self.places.push(place);
        }
        self.append_to_chain(at);
        let places = &self.places;
        self.by_key.insert_unique(key_hash, at, |&at| places[at as usize].key_hash);
        self.slot_at(at)
    }

    /// The query waits no more; what became of it is remembered.
    pub(super) fn end(&mut self, slot: Slot, state: State) {
        let Some(entry) = self.get_mut(slot) else { return };
        let waited = entry.state == State::Waiting;
        entry.state = state;
        self.waiting -= usize::from(waited);
    }

    /// Takes an entry out, if it is still there.
    pub(super) fn forget(&mut self, slot: Slot) {
        let Some(entry) = self.get(slot) else { return };
        self.waiting -= usize::from(entry.state == State::Waiting);
        let at = slot.place;
        let hash = self.places[at as usize].key_hash;
        if let Ok(found) = self.by_key.find_entry(hash, |&other| other == at) {
            found.remove();
        }
        self.unlink(at);
        self.places[at as usize].entry = None;
        self.free.push(at);
    }

    /// The queries that wait, by the time of their packets.
    pub(super) fn waiting_in_order(&self) -> Vec<Slot> {
        let mut waiting: Vec<_> = self
            .places
            .iter()
            .zip(0_u32..)
            .filter_map(|(place, at)| place.entry.as_ref().map(|entry| (entry, at)))
            .filter(|(entry, _)| entry.state == State::Waiting)
            .map(|(entry, at)| (entry.query.envelope.ts, entry.query.envelope.id, at))
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, _, at)| self.slot_at(at)).collect()
    }

    fn slot_at(&self, at: u32) -> Slot {
        let generation = self.places.get(at as usize).map_or(0, |place| place.generation);
        Slot { place: at, generation }
    }

    fn entry_at(&self, at: u32) -> Option<&Entry> {
        self.places.get(at as usize)?.entry.as_ref()
    }

    fn chain(&self, ends: &Ends) -> impl Iterator<Item = (u32, &Entry)> {
        let hash = self.hasher.hash_one(ends);
        let same = |at: &u32| self.entry_at(*at).is_some_and(|e| Ends::of(&e.query) == *ends);
        let mut next = self.by_ends.find(hash, same).copied();
        std::iter::from_fn(move || {
            let at = next?;
            let place = self.places.get(at as usize)?;
            next = (place.next != at).then_some(place.next);
            place.entry.as_ref().map(|entry| (at, entry))
        })
    }

    /// Puts a place, which is a chain of its own, behind the chain of its ends, if there is one.
    fn append_to_chain(&mut self, at: u32) {
        let Self { places, by_ends, .. } = self;
        let ends_of = |at: u32| places[at as usize].entry.as_ref().map(|e| Ends::of(&e.query));
        let (hash, ends) = (places[at as usize].ends_hash, ends_of(at));
        let same = |other: &u32| ends_of(*other) == ends;
        match by_ends.entry(hash, same, |&at| places[at as usize].ends_hash) {
            TableEntry::Vacant(vacant) => {
                vacant.insert(at);
            }
            TableEntry::Occupied(occupied) => {
                let first = *occupied.get();
                let last = std::mem::replace(&mut places[first as usize].previous, at);
                places[last as usize].next = at;
                places[at as usize].previous = last;
            }
        }
    }

    /// Takes a place out of its chain.
    fn unlink(&mut self, at: u32) {
        let Self { places, by_ends, .. } = self;
        let Place { ends_hash, previous, next, .. } = places[at as usize];
        let Ok(mut first) = by_ends.find_entry(ends_hash, |&first| first == at) else {
            // Not the first: there is one before it.
            places[previous as usize].next = if next == at { previous } else { next };
            let behind = if next == at { self.first_of(at) } else { Some(next) };
            if let Some(behind) = behind {
                self.places[behind as usize].previous = previous;
            }
            return;
        };
        if next == at {
            first.remove();
        } else {
            *first.get_mut() = next;
            places[next as usize].previous = previous;
        }
    }

    /// The first place of the chain that `at` is in.
    fn first_of(&self, at: u32) -> Option<u32> {
        let place = self.places.get(at as usize)?;
        let ends = place.entry.as_ref().map(|entry| Ends::of(&entry.query))?;
        let same = |at: &u32| self.entry_at(*at).is_some_and(|e| Ends::of(&e.query) == ends);
        self.by_ends.find(place.ends_hash, same).copied()
    }
}
