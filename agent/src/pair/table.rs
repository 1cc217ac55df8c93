//! The transactions that wait and those that are remembered, found by key or by ends.

use super::key::{Ends, Key};
use super::{Status, Transaction, Vantage};
use crate::decode::Message;
use crate::time::Timestamp;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

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
        }
    }
}

/// A place in the slab. Entries between the same ends form a chain, oldest first.
#[derive(Debug, Default)]
struct Place {
    generation: u32,
    hash: u64,
    previous: Option<u32>,
    next: Option<u32>,
    entry: Option<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

/// A slab of entries with two indices: by key, and by ends.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    by_ends: HashMap<Ends, Chain, foldhash::fast::RandomState>,
    waiting: usize,
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
    pub(super) fn insert(&mut self, hash: u64, entry: Entry) -> Slot {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.waiting += usize::from(entry.state == State::Waiting);
        let ends = Ends::of(&entry.query);
        let previous = self.append_to_chain(ends, at);
        let Self { places, by_key, .. } = self;
        if let Some(place) = places.get_mut(at as usize) {
            *place = Place {
                generation: place.generation.wrapping_add(1),
                hash,
                previous,
                next: None,
                entry: Some(entry),
            };
        }
        by_key.insert_unique(hash, at, |&at| places[at as usize].hash);
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
        let (ends, waited) = (Ends::of(&entry.query), entry.state == State::Waiting);
        self.waiting -= usize::from(waited);
        let at = slot.place;
        let hash = self.places[at as usize].hash;
        if let Ok(found) = self.by_key.find_entry(hash, |&other| other == at) {
            found.remove();
        }
        self.unlink(&ends, at);
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
        let mut next = self.by_ends.get(ends).map(|chain| chain.first);
        std::iter::from_fn(move || {
            let at = next?;
            let place = self.places.get(at as usize)?;
            next = place.next;
            place.entry.as_ref().map(|entry| (at, entry))
        })
    }

    fn append_to_chain(&mut self, ends: Ends, at: u32) -> Option<u32> {
        match self.by_ends.entry(ends) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(Chain { first: at, last: at });
                None
            }
            MapEntry::Occupied(mut occupied) => {
                let last = std::mem::replace(&mut occupied.get_mut().last, at);
                self.places[last as usize].next = Some(at);
                Some(last)
            }
        }
    }

    fn unlink(&mut self, ends: &Ends, at: u32) {
        let place = &mut self.places[at as usize];
        let (previous, next) = (place.previous.take(), place.next.take());
        if let Some(previous) = previous {
            self.places[previous as usize].next = next;
        }
        if let Some(next) = next {
            self.places[next as usize].previous = previous;
        }
        match (previous, next, self.by_ends.get_mut(ends)) {
            (None, None, _) => {
                self.by_ends.remove(ends);
            }
            (None, Some(next), Some(chain)) => chain.first = next,
            (Some(previous), None, Some(chain)) => chain.last = previous,
            _ => {}
        }
    }
}
