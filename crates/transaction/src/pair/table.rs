//! The pairing table: waiting and remembered transactions, found by pairing key, endpoints, or client
//! and id; and the deadlines of those that have not ended.

use super::MAX_SCAN;
use super::entry::{QueryEntry, QueryState};
use super::intrusive_list::{HashChains, IntrusiveList, ListLinks};
use super::key::{ClientKey, Endpoints, FlowKey, PairKey};
use super::multicast::{self, MulticastGroup};
use super::transfer::RunningTransfer;
use crate::decode::Message;
use dnscribe_dns::Question;
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::hash::BuildHasher;

/// Number of ended entries forgotten together.
pub(super) const FORGET_BATCH: usize = 32;
/// Resolution of deadlines, as a power of two in nanoseconds: about 17 ms.
const TICK_BITS: u32 = 24;

/// Returns the end of the tick of a deadline, when it has passed.
pub(super) const fn tick_end(deadline: Timestamp) -> Timestamp {
    Timestamp::from_nanos((deadline.as_nanos() | ((1 << TICK_BITS) - 1)).saturating_add(1))
}

/// Refers to an entry. Slots are reused, references to a forgotten entry stay invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryRef {
    index: u32,
    generation: u32,
}

/// Index of a slot, and its entry.
type Slot<'a> = (u32, &'a QueryEntry);

/// Bytes of a slot with its share of the indices and links.
const SLOT_BYTES: usize = size_of::<SlotHeader>() + size_of::<QueryEntry>() + 112;

/// Index data of a slot, apart from its entry. Entries span several cache lines, and most are
/// never read again once they have ended.
#[derive(Debug, Default)]
struct SlotHeader {
    /// Incremented when the entry is forgotten.
    generation: u32,
    /// Whether it is in `by_flow`.
    in_flow_chain: bool,
    /// Its deadline, if that is in `timers`.
    timer: Option<Timestamp>,
    /// The queue that it is in; `None` once it has ended.
    queue: Option<WaitQueue>,
    cost: usize,
    /// Time since when it is remembered; `None` while it has not ended.
    ended: Option<Timestamp>,
}

/// Queues of entries that have not ended, each in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitQueue {
    /// Waiting queries that eviction has not passed over.
    Fresh,
    /// Waiting queries that eviction has passed over once.
    Spared,
    /// Running zone transfers.
    Transfers,
}

/// Slab of entries with its indices: by pairing key; waiting queries by [`FlowKey`]; all by
/// [`ClientKey`]; those that have not ended by queue and deadline.
///
/// All queries wait equally long, so that the queues are in order of deadline, too. The exceptions
/// are in `timers`: queries whose packets came out of order or after the timeout was shortened, and
/// zone transfers, which wait longer.
#[derive(Debug, Default)]
pub(super) struct Table {
    headers: Vec<SlotHeader>,
    /// As many as headers. A forgotten entry stays here until its slot is reused.
    entries: QueryEntries,
    free: Vec<u32>,
    by_pair_key: HashChains,
    by_flow: HashChains,
    by_client: HashChains,
    /// Latest deadline of a waiting query.
    latest_deadline: Timestamp,
    /// Deadlines that are not in the order of the queues.
    timers: BTreeSet<(Timestamp, u32)>,
    queues: [IntrusiveList; 3],
    queue_links: ListLinks,
    /// Number of waiting queries.
    pub(super) waiting: usize,
    /// Number of running zone transfers.
    pub(super) transfers: usize,
    /// Approximate memory.
    pub(super) bytes: usize,
    hasher: RandomState,
}

impl Table {
    /// Returns the approximate memory of an entry for `query` in bytes.
    pub(super) fn cost_of(query: &Message<'_>) -> usize {
        SLOT_BYTES + QueryEntry::heap_bytes_for(query)
    }

    pub(super) fn get(&self, entry_ref: EntryRef) -> Option<&QueryEntry> {
        self.header(entry_ref).and_then(|_| self.entry_at(entry_ref.index))
    }

    pub(super) fn get_mut(&mut self, entry_ref: EntryRef) -> Option<&mut QueryEntry> {
        self.header(entry_ref)?;
        self.entries.get_mut(entry_ref.index)
    }

    /// Returns since when an ended entry is remembered.
    pub(super) fn ended(&self, entry_ref: EntryRef) -> Option<Timestamp> {
        self.header(entry_ref)?.ended
    }

    fn header(&self, entry_ref: EntryRef) -> Option<&SlotHeader> {
        let header = self.headers.get(entry_ref.index as usize)?;
        (header.generation == entry_ref.generation).then_some(header)
    }

    pub(super) fn hash(&self, key: &PairKey<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, hash: u64, key: &PairKey<'_>) -> Option<EntryRef> {
        let has_key = |index: u32| {
            self.entry_at(index).is_some_and(|entry| key.is_of(&entry.query.message()))
        };
        let mut chain = self.by_pair_key.oldest_first(hash);
        let found = chain.find(|index| self.by_pair_key.hash_of(*index) == hash && has_key(*index));
        found.map(|index| self.entry_ref(index))
    }

    /// Returns the transaction that a response without a question belongs to: the oldest running zone
    /// transfer between the endpoints with this id, else the oldest waiting query, else the newest
    /// remembered one.
    pub(super) fn find_without_question(&self, endpoints: &Endpoints, id: u16) -> Option<EntryRef> {
        let (mut transfer, mut waiting, mut remembered) = (None, None, None);
        for (index, entry) in self.find_by_client(&ClientKey::between(endpoints, id)) {
            match entry.state {
                _ if !endpoints.are_of(&entry.query.message()) => {}
                QueryState::Transferring(_) => transfer = Some(index),
                QueryState::Waiting => waiting = Some(index),
                QueryState::Answered(_) | QueryState::Failed => {
                    remembered = remembered.or(Some(index));
                }
            }
        }
        transfer.or(waiting).or(remembered).map(|index| self.entry_ref(index))
    }

    /// Returns the oldest waiting query between the endpoints, with this id if one is given.
    pub(super) fn oldest_waiting(
        &self,
        endpoints: &Endpoints,
        id: Option<u16>,
    ) -> Option<EntryRef> {
        let flow = FlowKey::Endpoints(*endpoints);
        let waits =
            |(_, entry): &Slot<'_>| entry.is_waiting() && endpoints.are_of(&entry.query.message());
        let oldest = match id {
            None => self.find_by_flow(&flow).find(waits),
            Some(id) => {
                self.find_by_client(&ClientKey::between(endpoints, id)).filter(waits).last()
            }
        };
        oldest.map(|(index, _)| self.entry_ref(index))
    }

    /// Returns the mDNS queries with a question, oldest first, waiting and remembered.
    pub(super) fn find_by_question(
        &self,
        response: &Message<'_>,
        group: MulticastGroup,
        question: Question<'_>,
    ) -> impl Iterator<Item = (EntryRef, &QueryEntry)> {
        let flow = FlowKey::of_record(response, group, question);
        let scan = self.by_flow.newest_first(self.hasher.hash_one(flow)).take(MAX_SCAN);
        let mut newest: Vec<_> = scan
            .filter_map(|index| Some((self.entry_ref(index), self.entry_at(index)?)))
            .filter(|(_, entry)| FlowKey::of(&entry.query.message()) == flow)
            .collect();
        newest.reverse();
        newest.into_iter()
    }

    /// Returns the transactions with a client and id, newest first; at most [`MAX_SCAN`].
    pub(super) fn find_by_client(&self, by_client: &ClientKey) -> impl Iterator<Item = Slot<'_>> {
        let scan = self.by_client.newest_first(self.hasher.hash_one(by_client)).take(MAX_SCAN);
        scan.filter_map(|index| Some((index, self.entry_at(index)?)))
            .filter(|(_, entry)| ClientKey::of(&entry.query.message()) == *by_client)
    }

    /// Returns the queries with a flow key, oldest first; visits at most [`MAX_SCAN`].
    pub(super) fn find_by_flow(&self, flow: &FlowKey<'_>) -> impl Iterator<Item = Slot<'_>> {
        let scan = self.by_flow.oldest_first(self.hasher.hash_one(flow)).take(MAX_SCAN);
        scan.filter_map(|index| Some((index, self.entry_at(index)?)))
            .filter(|(_, entry)| FlowKey::of(&entry.query.message()) == *flow)
    }

    /// Returns the oldest entry of a queue.
    pub(super) fn oldest(&self, queue: WaitQueue) -> Option<EntryRef> {
        self.queues[queue as usize].first().map(|index| self.entry_ref(index))
    }

    /// Returns the earliest deadline and its entry, if it is before the tick of `now`. A zone transfer
    /// then has no timer anymore; the caller has to end a query.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, EntryRef)> {
        let out_of_order = self.timers.first().copied();
        let in_order = [WaitQueue::Spared, WaitQueue::Fresh].into_iter().filter_map(|queue| {
            let index = self.queues[queue as usize].first()?;
            Some((self.entry_at(index)?.deadline, index))
        });
        let (deadline, index) =
            in_order.chain(out_of_order).min_by_key(|(deadline, _)| *deadline)?;
        if tick_end(deadline) > now {
            return None;
        }
        self.replace_timer(index, None);
        Some((deadline, self.entry_ref(index)))
    }

    /// Sets the deadline of a zone transfer.
    pub(super) fn set_timer(&mut self, entry_ref: EntryRef, deadline: Timestamp) {
        if self.header(entry_ref).is_some() {
            self.replace_timer(entry_ref.index, Some(deadline));
        }
    }

    /// Adds a waiting query whose key is not in the table.
    pub(super) fn insert(
        &mut self,
        key_hash: u64,
        query: &Message<'_>,
        deadline: Timestamp,
    ) -> EntryRef {
        let flow_hash = self.hasher.hash_one(FlowKey::of(query));
        let client_hash = self.hasher.hash_one(ClientKey::of(query));
        let cost = Self::cost_of(query);
        let index = self.allocate(query, deadline);
        let header = &mut self.headers[index as usize];
        (header.cost, header.ended) = (cost, None);
        header.in_flow_chain = true;
        if self.waiting == 0 || deadline >= self.latest_deadline {
            self.latest_deadline = deadline;
        } else {
            self.replace_timer(index, Some(deadline));
        }
        self.waiting += 1;
        self.bytes += cost;
        self.by_pair_key.push(key_hash, index);
        self.by_flow.push(flow_hash, index);
        self.by_client.push(client_hash, index);
        self.enqueue(index, WaitQueue::Fresh);
        self.entry_ref(index)
    }

    /// Stores a query in a free slot.
    fn allocate(&mut self, query: &Message<'_>, deadline: Timestamp) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.replace(query, deadline);
            }
            return index;
        }
        self.entries.push(QueryEntry::waiting(query, deadline));
        self.headers.push(SlotHeader::default());
        u32::try_from(self.headers.len() - 1).unwrap_or(u32::MAX)
    }

    /// Starts a zone transfer: the query no longer waits, and is kept until the transfer ends.
    pub(super) fn begin_transfer(&mut self, entry_ref: EntryRef, running: Box<RunningTransfer>) {
        self.end(entry_ref, QueryState::Transferring(running), None);
        if self.header(entry_ref).is_some() {
            self.update_cost(entry_ref.index);
            self.transfers += 1;
            self.enqueue(entry_ref.index, WaitQueue::Transfers);
        }
    }

    /// Updates the memory that an entry uses.
    fn update_cost(&mut self, index: u32) {
        let cost = self.entry_at(index).map_or(0, |entry| SLOT_BYTES + entry.heap_bytes());
        self.bytes =
            self.bytes - std::mem::replace(&mut self.headers[index as usize].cost, cost) + cost;
    }

    /// Ends the waiting of a query. If it has ended, it is remembered since `now`.
    pub(super) fn end(&mut self, entry_ref: EntryRef, state: QueryState, now: Option<Timestamp>) {
        let Some(entry) = self.get_mut(entry_ref) else { return };
        let previous = std::mem::replace(&mut entry.state, state);
        // More than one host may answer a query to a multicast group.
        let stays_in_flow_chain = multicast::queried_group(&entry.query.message()).is_some();
        self.headers[entry_ref.index as usize].ended = now;
        self.unlink(entry_ref.index, stays_in_flow_chain);
        if matches!(previous, QueryState::Transferring(_)) {
            self.update_cost(entry_ref.index);
        }
    }

    /// Removes an entry, if it is still there.
    pub(super) fn forget(&mut self, entry_ref: EntryRef) {
        if self.header(entry_ref).is_some() {
            self.forget_indices(&[entry_ref.index]);
        }
    }

    /// Removes those of the entries that have been remembered since the given times, and not since a
    /// later one. Works on them step by step together, because they are no longer in the CPU cache and
    /// their cache misses then overlap.
    pub(super) fn forget_ended(&mut self, ended: impl Iterator<Item = (Timestamp, EntryRef)>) {
        let mut indices: SmallVec<[u32; FORGET_BATCH]> = SmallVec::new();
        for (since, entry_ref) in ended {
            if self.ended(entry_ref) == Some(since) {
                // The entry may occur twice.
                self.headers[entry_ref.index as usize].ended = None;
                indices.push(entry_ref.index);
            }
        }
        self.forget_indices(&indices);
    }

    fn forget_indices(&mut self, indices: &[u32]) {
        for index in indices {
            self.by_pair_key.remove(*index);
        }
        for index in indices {
            self.by_client.remove(*index);
        }
        for index in indices {
            self.unlink(*index, false);
            let header = &mut self.headers[*index as usize];
            header.generation = header.generation.wrapping_add(1);
            self.bytes -= header.cost;
            if let Some(entry) = self.entries.get_mut(*index) {
                entry.release();
            }
        }
        // The first slot, which is fetched first, is reused first.
        self.free.extend(indices.iter().rev());
    }

    /// Moves a query to the end of the queue of those passed over by eviction.
    pub(super) fn spare(&mut self, entry_ref: EntryRef) {
        self.enqueue(entry_ref.index, WaitQueue::Spared);
    }

    /// Returns the waiting queries and running zone transfers, ordered by the time of their packets.
    pub(super) fn unended_in_order(&self) -> Vec<EntryRef> {
        let headers = self.headers.iter().zip(0_u32..).filter(|(header, _)| header.queue.is_some());
        let mut unended: Vec<_> = headers
            .filter_map(|(_, index)| Some((self.entry_at(index)?.query.message().envelope, index)))
            .map(|(envelope, index)| (envelope.ts, envelope.id, index))
            .collect();
        unended.sort_unstable();
        unended.into_iter().map(|(_, _, index)| self.entry_ref(index)).collect()
    }

    /// Removes a slot from the indices of entries that have not ended.
    fn unlink(&mut self, index: u32, stays_in_flow_chain: bool) {
        let header = &mut self.headers[index as usize];
        if header.in_flow_chain && !stays_in_flow_chain {
            header.in_flow_chain = false;
            self.by_flow.remove(index);
        }
        if let Some(queue) = header.queue.take() {
            self.queue_links.remove(&mut self.queues[queue as usize], index);
            match queue {
                WaitQueue::Fresh | WaitQueue::Spared => self.waiting -= 1,
                WaitQueue::Transfers => self.transfers -= 1,
            }
        }
        self.replace_timer(index, None);
    }

    fn enqueue(&mut self, index: u32, queue: WaitQueue) {
        if let Some(old) = self.headers[index as usize].queue.replace(queue) {
            self.queue_links.remove(&mut self.queues[old as usize], index);
        }
        self.queue_links.push(&mut self.queues[queue as usize], index);
    }

    fn replace_timer(&mut self, index: u32, deadline: Option<Timestamp>) {
        let timer = &mut self.headers[index as usize].timer;
        if let Some(old) = std::mem::replace(timer, deadline) {
            self.timers.remove(&(old, index));
        }
        self.timers.extend(deadline.map(|deadline| (deadline, index)));
    }

    pub(super) fn entry_ref(&self, index: u32) -> EntryRef {
        let generation = self.headers.get(index as usize).map_or(0, |header| header.generation);
        EntryRef { index, generation }
    }

    fn entry_at(&self, index: u32) -> Option<&QueryEntry> {
        self.entries.get(index)
    }
}

/// Entries by index, in chunks: a growing list would move all of them, and need twice their memory meanwhile.
#[derive(Debug, Default)]
struct QueryEntries(Vec<Vec<QueryEntry>>);

impl QueryEntries {
    /// Number of entries of a chunk.
    const CHUNK: usize = 256;

    const fn position(index: u32) -> (usize, usize) {
        let index = index as usize;
        (index / Self::CHUNK, index % Self::CHUNK)
    }

    fn get(&self, index: u32) -> Option<&QueryEntry> {
        let (chunk, place) = Self::position(index);
        self.0.get(chunk)?.get(place)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut QueryEntry> {
        let (chunk, place) = Self::position(index);
        self.0.get_mut(chunk)?.get_mut(place)
    }

    fn push(&mut self, entry: QueryEntry) {
        if let Some(chunk) = self.0.last_mut().filter(|chunk| chunk.len() < Self::CHUNK) {
            chunk.push(entry);
        } else {
            let mut chunk = Vec::with_capacity(Self::CHUNK);
            chunk.push(entry);
            self.0.push(chunk);
        }
    }
}
