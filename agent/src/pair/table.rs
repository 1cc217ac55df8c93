//! The transactions that wait and those that are remembered, found by key, by ends or by kin.

use super::key::{Ends, Key, Kin, Line};
use super::list::{Chains, Links, List};
use super::multicast::{self, Group};
use super::transfer::Running;
use super::wheel::Wheel;
use super::{MAX_WALK, Status, Transaction, Vantage};
use crate::decode::dns::Question;
use crate::decode::{Kept, Message};
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Names an entry for ever: places are used again, names are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    place: u32,
    generation: u32,
}

/// What became of a query.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing yet.
    Waiting,
    /// A zone transfer has begun and not ended.
    Transferring(Box<Running>),
    /// A response came; what it said, if it said all.
    Answered(Option<u64>),
    /// It timed out, was unreachable, or was evicted.
    Failed,
}

/// A query and what became of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) query: Kept,
    pub(super) deadline: Timestamp,
    pub(super) state: State,
    pub(super) retries: u32,
    /// Responses that resembled the one it waits for.
    pub(super) rejected: u32,
    /// Since when it is remembered; none while it is not ended.
    pub(super) ended: Option<Timestamp>,
}

impl Entry {
    pub(super) fn waiting(query: &Message<'_>, deadline: Timestamp) -> Self {
        let query = Kept::from(*query);
        Self { query, deadline, state: State::Waiting, retries: 0, rejected: 0, ended: None }
    }

    pub(super) fn transaction(&self, status: Status) -> Transaction<'_> {
        let query = self.query.message();
        Transaction {
            status,
            vantage: Vantage::of(query.envelope.sight, false),
            query: Some(query),
            response: None,
            retries: self.retries,
            conflict: false,
            rejected: self.rejected,
            transfer: None,
            stray: None,
            icmp: None,
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Octets of memory, what the table needs to find it included; roughly.
    pub(super) fn cost(&self) -> usize {
        let first = match &self.state {
            State::Transferring(running) => size_of::<Running>() + running.first.memory_bytes(),
            _ => 0,
        };
        // The place has room for what takes none of its own.
        PLACE_BYTES - size_of::<Kept>() + self.query.memory_bytes() + first
    }
}

/// A place with its shares of the indices and links.
const PLACE_BYTES: usize = size_of::<Place>() + 128;

/// A place in the slab.
#[derive(Debug)]
struct Place {
    generation: u32,
    key_hash: u64,
    line_hash: u64,
    kin_hash: u64,
    cost: usize,
    /// Whether it is among those that others than their key can find.
    in_line: bool,
    /// Whether its timer is set.
    timed: bool,
    /// Which of the ages it is in.
    age: Option<Age>,
    entry: Option<Entry>,
}

/// Queries in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Those that nobody has looked at yet.
    Fresh,
    /// Those that were spared once.
    Spared,
    /// Zone transfers under way.
    Transfers,
}

/// A slab of entries with what finds them: by key; those that wait by [`Line`]; all by [`Kin`]; those
/// that wait by age and by deadline.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    lines: Chains,
    kin: Chains,
    wheel: Wheel,
    ages: [List; 3],
    age_links: Links,
    waiting: usize,
    transfers: usize,
    bytes: usize,
    hasher: RandomState,
}

impl Table {
    /// Number of queries that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Number of zone transfers under way.
    pub(super) const fn transfers(&self) -> usize {
        self.transfers
    }

    /// Octets of memory, roughly.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        let place = self.places.get(slot.place as usize)?;
        place.entry.as_ref().filter(|_| place.generation == slot.generation)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        let place = self.places.get_mut(slot.place as usize)?;
        place.entry.as_mut().filter(|_| place.generation == slot.generation)
    }

    pub(super) fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, hash: u64, key: &Key<'_>) -> Option<Slot> {
        let same = |at: &u32| {
            let place = &self.places[*at as usize];
            place.key_hash == hash
                && place.entry.as_ref().is_some_and(|entry| Key::of(&entry.query.message()) == *key)
        };
        self.by_key.find(hash, same).map(|at| self.slot_at(*at))
    }

    /// The transaction that a response without a question belongs to, between these ends with this
    /// id: the oldest zone transfer under way, else the oldest query that waits, else the newest of
    /// those remembered.
    pub(super) fn nameless(&self, ends: &Ends, id: u16) -> Option<Slot> {
        let (mut transfer, mut waiting, mut remembered) = (None, None, None);
        for (at, entry) in self.kin(&Kin::between(ends, id)) {
            match entry.state {
                _ if Ends::of(&entry.query.message()) != *ends => {}
                State::Transferring(_) => transfer = Some(at),
                State::Waiting => waiting = Some(at),
                State::Answered(_) | State::Failed => remembered = remembered.or(Some(at)),
            }
        }
        transfer.or(waiting).or(remembered).map(|at| self.slot_at(at))
    }

    /// The oldest query that waits between the ends, with this id if one is given.
    pub(super) fn oldest_waiting(&self, ends: &Ends, id: Option<u16>) -> Option<Slot> {
        let at = match id {
            None => self.line(&Line::Between(*ends)).find(|(_, entry)| entry.is_waiting()),
            Some(id) => self
                .kin(&Kin::between(ends, id))
                .filter(|(_, entry)| {
                    entry.is_waiting() && Ends::of(&entry.query.message()) == *ends
                })
                .last(),
        };
        at.map(|(at, _)| self.slot_at(at))
    }

    /// The queries of mDNS with this question, oldest first: those that wait and those remembered.
    pub(super) fn asked(
        &self,
        response: &Message<'_>,
        group: Group,
        asked: Question<'_>,
    ) -> impl Iterator<Item = (Slot, &Entry)> {
        let line = Line::of_record(response, group, asked);
        let hash = self.hasher.hash_one(line);
        let walk = self.lines.newest_first(self.lines.find(hash)).take(MAX_WALK);
        let mut newest: Vec<_> = walk
            .filter_map(|at| Some((self.slot_at(at), self.entry_at(at)?)))
            .filter(|(_, entry)| Line::of(&entry.query.message()) == line)
            .collect();
        newest.reverse();
        newest.into_iter()
    }

    /// The transactions of the same client and id, newest first; [`MAX_WALK`] at most.
    pub(super) fn kin(&self, kin: &Kin) -> impl Iterator<Item = (u32, &Entry)> {
        let chain = self.kin.find(self.hasher.hash_one(kin));
        let walk = self.kin.newest_first(chain).take(MAX_WALK);
        walk.filter_map(|at| Some((at, self.entry_at(at)?)))
            .filter(|(_, entry)| Kin::of(&entry.query.message()) == *kin)
    }

    /// The queries of a line, oldest first; [`MAX_WALK`] at most.
    pub(super) fn line(&self, line: &Line<'_>) -> impl Iterator<Item = (u32, &Entry)> {
        let hash = self.hasher.hash_one(line);
        let walk = self.lines.oldest_first(self.lines.find(hash)).take(MAX_WALK);
        walk.filter_map(|at| Some((at, self.entry_at(at)?)))
            .filter(|(_, entry)| Line::of(&entry.query.message()) == *line)
    }

    /// The oldest query of an age.
    pub(super) fn oldest(&self, age: Age) -> Option<Slot> {
        self.ages[age as usize].first().map(|at| self.slot_at(at))
    }

    /// The next entry whose timer rings at `now`; it has none then.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Slot> {
        let at = self.wheel.pop_due(now)?;
        self.places[at as usize].timed = false;
        Some(self.slot_at(at))
    }

    /// Sets the timer of an entry, anew if it has one.
    pub(super) fn set_timer(&mut self, slot: Slot, deadline: Timestamp) {
        if self.get(slot).is_some() {
            self.unset_timer(slot.place);
            self.places[slot.place as usize].timed = true;
            self.wheel.insert(deadline, slot.place);
        }
    }

    /// Adds a query, which waits and whose key is not in the table.
    pub(super) fn insert(&mut self, key_hash: u64, entry: Entry) -> Slot {
        let query = entry.query.message();
        let line_hash = self.hasher.hash_one(Line::of(&query));
        let kin_hash = self.hasher.hash_one(Kin::of(&query));
        let cost = entry.cost();
        let deadline = entry.deadline;
        let at =
            self.free.pop().unwrap_or_else(|| u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let mut place = Place {
            generation: 0,
            key_hash,
            line_hash,
            kin_hash,
            cost,
            in_line: true,
            timed: true,
            age: None,
            entry: Some(entry),
        };
        if let Some(free) = self.places.get_mut(at as usize) {
            place.generation = free.generation.wrapping_add(1);
            *free = place;
        } else {
            self.places.push(place);
        }
        self.waiting += 1;
        self.bytes += cost;
        self.index(at);
        self.enter(at, Age::Fresh);
        self.wheel.insert(deadline, at);
        self.slot_at(at)
    }

    /// The first message of a zone transfer came: the query waits no more, and is not forgotten
    /// before the last one.
    pub(super) fn begin_transfer(&mut self, slot: Slot, running: Box<Running>) {
        self.end(slot, State::Transferring(running), None);
        if self.get(slot).is_some() {
            self.weigh(slot.place);
            self.transfers += 1;
            self.enter(slot.place, Age::Transfers);
        }
    }

    /// What an entry costs has changed.
    fn weigh(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        let cost = place.entry.as_ref().map_or(0, Entry::cost);
        self.bytes = self.bytes - std::mem::replace(&mut place.cost, cost) + cost;
    }

    /// The query waits no more; what became of it is remembered from `now` on, if it has ended.
    pub(super) fn end(&mut self, slot: Slot, state: State, now: Option<Timestamp>) {
        let Some(entry) = self.get_mut(slot) else { return };
        let was = std::mem::replace(&mut entry.state, state);
        entry.ended = now;
        // Who answers a question put to all is not the only one who may.
        let stays_in_line = multicast::asks_everyone(&entry.query.message()).is_some();
        self.leave(slot.place, &was, stays_in_line);
        if matches!(was, State::Transferring(_)) {
            self.weigh(slot.place);
        }
    }

    /// Takes an entry out, if it is still there.
    pub(super) fn forget(&mut self, slot: Slot) {
        if self.get(slot).is_none() {
            return;
        }
        let at = slot.place;
        let Some(entry) = self.places[at as usize].entry.take() else { return };
        self.leave(at, &entry.state, false);
        let Place { key_hash, kin_hash, cost, .. } = self.places[at as usize];
        if let Ok(found) = self.by_key.find_entry(key_hash, |&other| other == at) {
            found.remove();
        }
        self.kin.remove(kin_hash, at);
        self.bytes -= cost;
        self.free.push(at);
    }

    /// An entry goes from one age to the end of another.
    pub(super) fn spare(&mut self, slot: Slot) {
        if self.get(slot).is_some() {
            self.enter(slot.place, Age::Spared);
        }
    }

    /// The queries that wait and the zone transfers under way, by the time of their packets.
    pub(super) fn unended_in_order(&self) -> Vec<Slot> {
        let mut unended: Vec<_> = self
            .places
            .iter()
            .zip(0_u32..)
            .filter_map(|(place, at)| place.entry.as_ref().map(|entry| (entry, at)))
            .filter(|(entry, _)| matches!(entry.state, State::Waiting | State::Transferring(_)))
            .map(|(entry, at)| (entry.query.message().envelope, at))
            .map(|(envelope, at)| (envelope.ts, envelope.id, at))
            .collect();
        unended.sort_unstable();
        unended.into_iter().map(|(_, _, at)| self.slot_at(at)).collect()
    }

    /// Takes a place out of what only those that wait are in.
    fn leave(&mut self, at: u32, was: &State, stays_in_line: bool) {
        let place = &mut self.places[at as usize];
        if place.in_line && !stays_in_line {
            place.in_line = false;
            self.lines.remove(place.line_hash, at);
        }
        if let Some(age) = place.age.take() {
            self.age_links.remove(&mut self.ages[age as usize], at);
        }
        self.unset_timer(at);
        match was {
            State::Waiting => self.waiting -= 1,
            State::Transferring(_) => self.transfers -= 1,
            State::Answered(_) | State::Failed => {}
        }
    }

    fn enter(&mut self, at: u32, age: Age) {
        if let Some(old) = self.places[at as usize].age.replace(age) {
            self.age_links.remove(&mut self.ages[old as usize], at);
        }
        self.age_links.push(&mut self.ages[age as usize], at);
    }

    fn unset_timer(&mut self, at: u32) {
        if std::mem::take(&mut self.places[at as usize].timed) {
            self.wheel.remove(at);
        }
    }

    /// Puts a place into the indices.
    fn index(&mut self, at: u32) {
        let Self { places, by_key, lines, kin, .. } = self;
        let Place { key_hash, line_hash, kin_hash, .. } = places[at as usize];
        by_key.insert_unique(key_hash, at, |&at| places[at as usize].key_hash);
        lines.push(line_hash, at);
        kin.push(kin_hash, at);
    }

    pub(super) fn slot_at(&self, at: u32) -> Slot {
        let generation = self.places.get(at as usize).map_or(0, |place| place.generation);
        Slot { place: at, generation }
    }

    fn entry_at(&self, at: u32) -> Option<&Entry> {
        self.places.get(at as usize)?.entry.as_ref()
    }
}
