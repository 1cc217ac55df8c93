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
use smallvec::SmallVec;
use std::hash::BuildHasher;

/// Ended entries that are forgotten at a time, when there are too many.
pub(super) const FORGOTTEN_TOGETHER: usize = 32;

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
}

impl Entry {
    fn waiting(query: &Message<'_>, deadline: Timestamp) -> Self {
        let query = Kept::from(*query);
        Self { query, deadline, state: State::Waiting, retries: 0, rejected: 0 }
    }

    /// Becomes another query, which waits.
    fn replace(&mut self, query: &Message<'_>, deadline: Timestamp) {
        self.query.replace(query);
        (self.deadline, self.state) = (deadline, State::Waiting);
        (self.retries, self.rejected) = (0, 0);
    }

    /// Gives back what memory of its own it has.
    fn release(&mut self) {
        self.query.release();
        self.state = State::Failed;
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
    fn cost(&self) -> usize {
        let first = match &self.state {
            State::Transferring(running) => size_of::<Running>() + running.first.memory_bytes(),
            _ => 0,
        };
        // The place has room for what takes none of its own.
        PLACE_BYTES - size_of::<Kept>() + self.query.memory_bytes() + first
    }

    /// What a query will cost.
    pub(super) fn cost_of(query: &Message<'_>) -> usize {
        PLACE_BYTES - size_of::<Kept>() + Kept::bytes_for(query)
    }
}

/// A place with its shares of the indices and links.
const PLACE_BYTES: usize = size_of::<Head>() + size_of::<Entry>() + 128;

/// A place in the slab, without its entry: what the table needs of an entry that nobody asks for.
/// Entries are many cache lines long, and most are never looked at again once they have ended.
#[derive(Debug)]
struct Head {
    /// Counted up when the entry is forgotten.
    generation: u32,
    /// Whether it is among those that others than their key can find.
    in_line: bool,
    /// Whether its timer is set.
    timed: bool,
    /// Which of the ages it is in; none when it has ended.
    age: Option<Age>,
    key_hash: u64,
    cost: usize,
    /// Since when it is remembered; none while it has not ended.
    ended: Option<Timestamp>,
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
    heads: Vec<Head>,
    /// As many. What was forgotten stays here until its place is used again.
    entries: Vec<Entry>,
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
        self.head(slot)?;
        self.entry_at(slot.place)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.head(slot)?;
        self.entries.get_mut(slot.place as usize)
    }

    /// Since when a slot's entry is remembered, if it is.
    pub(super) fn ended(&self, slot: Slot) -> Option<Timestamp> {
        self.head(slot)?.ended
    }

    fn head(&self, slot: Slot) -> Option<&Head> {
        let head = self.heads.get(slot.place as usize)?;
        (head.generation == slot.generation).then_some(head)
    }

    pub(super) fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, hash: u64, key: &Key<'_>) -> Option<Slot> {
        let same = |at: &u32| {
            self.heads[*at as usize].key_hash == hash
                && self.entry_at(*at).is_some_and(|entry| Key::of(&entry.query.message()) == *key)
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
        self.heads[at as usize].timed = false;
        Some(self.slot_at(at))
    }

    /// Sets the timer of an entry, anew if it has one.
    pub(super) fn set_timer(&mut self, slot: Slot, deadline: Timestamp) {
        if self.head(slot).is_some() {
            self.unset_timer(slot.place);
            self.heads[slot.place as usize].timed = true;
            self.wheel.insert(deadline, slot.place);
        }
    }

    /// Adds a query, which waits and whose key is not in the table.
    pub(super) fn insert(
        &mut self,
        key_hash: u64,
        query: &Message<'_>,
        deadline: Timestamp,
    ) -> Slot {
        let line_hash = self.hasher.hash_one(Line::of(query));
        let kin_hash = self.hasher.hash_one(Kin::of(query));
        let cost = Entry::cost_of(query);
        let at = self.place(query, deadline);
        let head = &mut self.heads[at as usize];
        (head.key_hash, head.cost, head.ended) = (key_hash, cost, None);
        (head.in_line, head.timed) = (true, true);
        self.waiting += 1;
        self.bytes += cost;
        let heads = &self.heads;
        self.by_key.insert_unique(key_hash, at, |at| heads[*at as usize].key_hash);
        self.lines.push(line_hash, at);
        self.kin.push(kin_hash, at);
        self.enter(at, Age::Fresh);
        self.wheel.insert(deadline, at);
        self.slot_at(at)
    }

    /// Gives a query a place.
    fn place(&mut self, query: &Message<'_>, deadline: Timestamp) -> u32 {
        if let Some(at) = self.free.pop() {
            self.entries[at as usize].replace(query, deadline);
            return at;
        }
        self.entries.push(Entry::waiting(query, deadline));
        self.heads.push(Head {
            generation: 0,
            in_line: false,
            timed: false,
            age: None,
            key_hash: 0,
            cost: 0,
            ended: None,
        });
        u32::try_from(self.heads.len() - 1).unwrap_or(u32::MAX)
    }

    /// The first message of a zone transfer came: the query waits no more, and is not forgotten
    /// before the last one.
    pub(super) fn begin_transfer(&mut self, slot: Slot, running: Box<Running>) {
        self.end(slot, State::Transferring(running), None);
        if self.head(slot).is_some() {
            self.weigh(slot.place);
            self.transfers += 1;
            self.enter(slot.place, Age::Transfers);
        }
    }

    /// What an entry costs has changed.
    fn weigh(&mut self, at: u32) {
        let cost = self.entry_at(at).map_or(0, Entry::cost);
        self.bytes = self.bytes - std::mem::replace(&mut self.heads[at as usize].cost, cost) + cost;
    }

    /// The query waits no more; what became of it is remembered from `now` on, if it has ended.
    pub(super) fn end(&mut self, slot: Slot, state: State, now: Option<Timestamp>) {
        let Some(entry) = self.get_mut(slot) else { return };
        let was = std::mem::replace(&mut entry.state, state);
        // Who answers a question put to all is not the only one who may.
        let stays_in_line = multicast::asks_everyone(&entry.query.message()).is_some();
        self.heads[slot.place as usize].ended = now;
        self.leave(slot.place, stays_in_line);
        if matches!(was, State::Transferring(_)) {
            self.weigh(slot.place);
        }
    }

    /// Takes an entry out, if it is still there.
    pub(super) fn forget(&mut self, slot: Slot) {
        if self.head(slot).is_some() {
            self.forget_places(&[slot.place]);
        }
    }

    /// Takes out those of the entries that have been remembered since these times, and not since a later
    /// one. Nothing of them is in the processor's cache any more, and what is waited for together is not
    /// waited for one by one.
    pub(super) fn forget_ended(&mut self, ended: impl Iterator<Item = (Timestamp, Slot)>) {
        let mut places: SmallVec<[u32; FORGOTTEN_TOGETHER]> = SmallVec::new();
        for (since, slot) in ended {
            if self.ended(slot) == Some(since) {
                // It may be told of twice.
                self.heads[slot.place as usize].ended = None;
                places.push(slot.place);
            }
        }
        self.forget_places(&places);
    }

    fn forget_places(&mut self, places: &[u32]) {
        for at in places {
            let key_hash = self.heads[*at as usize].key_hash;
            if let Ok(found) = self.by_key.find_entry(key_hash, |other| other == at) {
                found.remove();
            }
        }
        for at in places {
            self.kin.remove(*at);
        }
        for at in places {
            self.leave(*at, false);
            let head = &mut self.heads[*at as usize];
            head.generation = head.generation.wrapping_add(1);
            self.bytes -= head.cost;
            self.entries[*at as usize].release();
        }
        // The one that is fetched first is used first.
        self.free.extend(places.iter().rev());
    }

    /// An entry goes from one age to the end of another.
    pub(super) fn spare(&mut self, slot: Slot) {
        if self.head(slot).is_some() {
            self.enter(slot.place, Age::Spared);
        }
    }

    /// The queries that wait and the zone transfers under way, by the time of their packets.
    pub(super) fn unended_in_order(&self) -> Vec<Slot> {
        let heads = self.heads.iter().zip(0_u32..).filter(|(head, _)| head.age.is_some());
        let mut unended: Vec<_> = heads
            .filter_map(|(_, at)| Some((self.entry_at(at)?.query.message().envelope, at)))
            .map(|(envelope, at)| (envelope.ts, envelope.id, at))
            .collect();
        unended.sort_unstable();
        unended.into_iter().map(|(_, _, at)| self.slot_at(at)).collect()
    }

    /// Takes a place out of what only those that have not ended are in.
    fn leave(&mut self, at: u32, stays_in_line: bool) {
        let head = &mut self.heads[at as usize];
        if head.in_line && !stays_in_line {
            head.in_line = false;
            self.lines.remove(at);
        }
        if let Some(age) = head.age.take() {
            self.age_links.remove(&mut self.ages[age as usize], at);
            match age {
                Age::Fresh | Age::Spared => self.waiting -= 1,
                Age::Transfers => self.transfers -= 1,
            }
        }
        self.unset_timer(at);
    }

    fn enter(&mut self, at: u32, age: Age) {
        if let Some(old) = self.heads[at as usize].age.replace(age) {
            self.age_links.remove(&mut self.ages[old as usize], at);
        }
        self.age_links.push(&mut self.ages[age as usize], at);
    }

    fn unset_timer(&mut self, at: u32) {
        if std::mem::take(&mut self.heads[at as usize].timed) {
            self.wheel.remove(at);
        }
    }

    pub(super) fn slot_at(&self, at: u32) -> Slot {
        let generation = self.heads.get(at as usize).map_or(0, |head| head.generation);
        Slot { place: at, generation }
    }

    fn entry_at(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }
}
