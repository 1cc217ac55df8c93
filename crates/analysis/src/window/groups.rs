//! Tallies of all groups in bounded memory. Groups without a slot are counted in `other`, so that
//! the groups of a grouping always add up to all transactions that have such a value.
//!
//! Each grouping has a fixed number of slots. Up to three quarters of them are reserved for the
//! groups that were the largest in the previous pane, with or without a slot; the rest are taken in
//! order of arrival. A group with a slot has it from its first transaction on, so its counts are
//! complete, and a flood of new names takes only the free slots. When panes are merged, the largest
//! groups keep a slot in the sum; those that may have lacked a slot in one of the panes are marked
//! as undercounted.

use super::batch::{GroupIndices, MeasuredBatch};
use super::direct_mapped_cache::DirectMappedCache;
use super::group::{Group, GroupClass, GroupRef, Grouping};
use super::measured::Measured;
use super::not_exported::NotExported;
use super::tally::Tally;
use super::top_buffer::TopBuffer;
use crate::view::TransactionView;
use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use dnscribe_record::Merge;
use dnscribe_sketch::Hashed;
use dnscribe_transaction::pair::Vantage;
use hashbrown::{HashMap, HashSet, HashTable};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

/// Share of the slots that may be reserved: [`RESERVED_PARTS`] of [`PARTS`].
const RESERVED_PARTS: usize = 3;
const PARTS: usize = 4;

/// Minimum number of transactions in a pane for a reserved slot: about one per second.
const MIN_RESERVED_COUNT: u64 = 8;

/// Slots of the sketch that counts groups without a slot.
const CANDIDATE_SLOTS: usize = 256;

/// Tallies of all groups.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// In order of arrival.
    entries: Vec<GroupEntry>,
    /// Hashes of groups, with their indices in `entries`.
    indices: HashTable<(u64, usize)>,
    partitions: [Partition; Grouping::ALL.len()],
    /// Transactions not counted yet.
    batch: MeasuredBatch,
    /// Values not yet added to the sketches of the most frequent values.
    top_buffer: TopBuffer,
    /// Values that were recently added to a distinct-count sketch, by group and field.
    counted: CountedCache,
}

/// Keys are the number of a sketch (group and field) and the value.
type CountedCache = DirectMappedCache<(u32, Hashed), (), CACHE_SLOTS>;

/// Slots of the cache of values in distinct-count sketches.
const CACHE_SLOTS: usize = 1 << 12;
/// Spreads the numbers of groups over all bits (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Debug)]
struct GroupEntry {
    hash: u64,
    group: Group,
    tally: Box<Tally>,
}

/// Slots of a grouping.
#[derive(Clone, Debug, Default)]
struct Partition {
    /// Hashes of the groups with a reserved slot, sorted.
    reserved: Vec<u64>,
    /// Number of slots taken by other groups.
    taken: usize,
    /// Hashes of the groups that got no slot.
    candidates: Option<Box<FrequentItemsSketch<u64>>>,
}

impl Groups {
    /// Maximum of [`Self::bytes`] once finished, without groups by resolver and zone.
    pub const MAX_BYTES: usize = max_bytes(false);

    /// Maximum of [`Self::bytes`] once finished, with all groups.
    pub const MAX_BYTES_WITH_PAIRS: usize = max_bytes(true);

    /// Additional memory in bytes while transactions are counted.
    pub const MAX_OPEN_BYTES: usize =
        MeasuredBatch::MAX_HEAP_BYTES + TopBuffer::MAX_HEAP_BYTES + CountedCache::MAX_HEAP_BYTES;

    /// Creates the groups of the next pane, with slots reserved for the largest groups of this one.
    #[must_use]
    pub fn next_pane(&mut self) -> Self {
        self.flush_batch();
        let mut weights: [Vec<(u64, u64)>; Grouping::ALL.len()] = Default::default();
        for entry in self.entries.iter().filter(|entry| entry.group.value.is_some()) {
            weights[entry.group.grouping as usize].push((entry.tally.transactions, entry.hash));
        }
        let mut next = Self::default();
        for (grouping, mut weights) in Grouping::ALL.into_iter().zip(weights) {
            if let Some(candidates) = &self.partitions[grouping as usize].candidates {
                let rows = candidates.frequent_items(ErrorType::NoFalsePositives);
                weights.extend(rows.iter().map(|row| (row.lower_bound(), *row.item())));
            }
            weights.retain(|(weight, _)| *weight >= MIN_RESERVED_COUNT);
            weights.sort_unstable_by(|one, other| other.cmp(one));
            weights.truncate(grouping.max_groups() * RESERVED_PARTS / PARTS);
            let mut reserved: Vec<u64> = weights.into_iter().map(|(_, hash)| hash).collect();
            reserved.sort_unstable();
            next.partitions[grouping as usize].reserved = reserved;
        }
        next
    }

    /// Adds a transaction to each of its groups. Counts are complete after [`Self::finish`].
    pub(super) fn add(&mut self, observation: &TransactionView<'_>, measured: &Measured) {
        let mut indices = GroupIndices::default();
        GroupRef::each(observation, measured, |key| {
            let index = self.index_or_other(&key);
            indices.set(key.class.grouping, index);
        });
        let [node, resolver] = [Grouping::Node, Grouping::Resolver].map(|keeps| indices.get(keeps));
        if let (Some(node), Some(resolver)) = (node, resolver) {
            if !self.top_buffer.has_capacity() {
                self.flush_tops();
            }
            self.top_buffer.count([node, resolver], observation, measured);
        }
        self.batch.push(indices, *measured);
        if self.batch.is_full() {
            self.flush_batch();
        }
    }

    /// Counts everything that is buffered, and releases the buffers. Nothing is added afterwards.
    pub fn finish(&mut self) {
        self.flush_batch();
        self.flush_tops();
        (self.batch, self.top_buffer, self.counted) = Default::default();
    }

    /// Counts the buffered transactions.
    fn flush_batch(&mut self) {
        let Self { entries, batch, counted, .. } = self;
        let groupings: Vec<Grouping> = entries.iter().map(|entry| entry.group.grouping).collect();
        batch.drain(&groupings, |index, rows| {
            let tally = &mut entries[index].tally;
            for measured in rows {
                tally.add(measured, |field, value, hash| {
                    // There are a few hundred groups.
                    let sketch = u32::try_from(index).unwrap_or(0) << 2 | field as u32;
                    let slot_hash = hash ^ u64::from(sketch).wrapping_mul(SPREAD) >> 32;
                    let mut is_new = false;
                    counted.get(slot_hash, (sketch, value), || is_new = true);
                    is_new
                });
            }
        });
    }

    /// Adds the buffered values to the sketches of the most frequent values.
    fn flush_tops(&mut self) {
        let Self { entries, top_buffer, .. } = self;
        top_buffer.flush(|index, take| {
            let entry = entries.get_mut(usize::from(index));
            if let Some(tops) = entry.and_then(|entry| entry.tally.tops.as_mut()) {
                take(tops);
            }
        });
    }

    /// Counts messages that were not exported, for the node and for a resolver or `other`.
    pub fn add_not_exported(
        &mut self,
        vantage: Vantage,
        (transport, resolver): (&'static str, Option<&str>),
        not_exported: &NotExported,
    ) {
        GroupRef::each_not_exported(vantage, transport, resolver, |key| {
            let index = self.index_or_other(&key);
            self.entries[index].tally.add_not_exported(not_exported);
        });
    }

    /// Adds the counts of `parts`. The largest groups of the sum get the slots.
    pub fn merge(&mut self, parts: &[&Self]) {
        let chosen = self.chosen(parts);
        let keys: HashSet<u64> = chosen.iter().map(|(hash, _)| *hash).collect();
        let split = self.partly_in_other(parts, &chosen);
        let own = std::mem::take(self);
        for entry in own.entries {
            let has_slot = entry.group.value.is_none() || keys.contains(&entry.hash);
            if has_slot && self.index(entry.hash).is_none() {
                self.push(entry);
            } else {
                // `other` may be there already, for a group before it.
                self.merge_into(&GroupRef::other(entry.group.class()), &entry.tally);
            }
        }
        for entry in parts.iter().flat_map(|part| &part.entries) {
            let key = GroupRef::stored(&entry.group, entry.hash);
            let has_slot = key.value.is_some() && keys.contains(&key.hash);
            self.merge_into(&if has_slot { key } else { GroupRef::other(key.class) }, &entry.tally);
        }
        for entry in self.entries.iter_mut().filter(|entry| split.contains(&entry.hash)) {
            entry.tally.undercounted = true;
        }
    }

    /// Returns all groups with their tallies, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, &Tally)> {
        self.entries.iter().map(|entry| (&entry.group, &*entry.tally))
    }

    /// Returns all groups with their tallies, sorted by group.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&Group, &Tally)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(group, _)| *group);
        all
    }

    /// Returns the groups as `rename` names them, with the sums of those that become one.
    #[must_use]
    pub fn renamed(&self, rename: impl Fn(&Group) -> Group) -> BTreeMap<Group, Tally> {
        let mut sums = BTreeMap::new();
        for (group, tally) in self.iter() {
            match sums.entry(rename(group)) {
                MapEntry::Vacant(place) => drop(place.insert(tally.clone())),
                MapEntry::Occupied(mut sum) => sum.get_mut().merge(tally),
            }
        }
        sums
    }

    /// Returns whether nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values = self.iter().map(|(group, _)| group.value.as_ref().map_or(0, |v| v.len()));
        let partitions = self.partitions.iter().map(|partition| {
            let candidates = partition.candidates.as_ref();
            partition.reserved.capacity() * size_of::<u64>()
                + candidates.map_or(0, |candidates| {
                    size_of_val(&**candidates) + candidates.estimated_size()
                })
        });
        size_of::<Self>()
            + self.entries.capacity() * size_of::<GroupEntry>()
            + self.indices.allocation_size()
            + values.sum::<usize>()
            + partitions.sum::<usize>()
            + self.batch.heap_bytes()
            + self.top_buffer.heap_bytes()
            + self.counted.heap_bytes()
            + self.iter().map(|(_, tally)| tally.bytes()).sum::<usize>()
    }

    /// Returns the index of the group with a hash.
    fn index(&self, hash: u64) -> Option<usize> {
        self.indices.find(hash, |(known, _)| *known == hash).map(|(_, index)| *index)
    }

    /// Returns the index at which a group is counted: its own, or that of `other`.
    fn index_or_other(&mut self, key: &GroupRef<'_>) -> usize {
        self.index(key.hash).unwrap_or_else(|| {
            let is_other = key.value.is_none() || !self.reserve_slot(key);
            let key = if is_other { &GroupRef::other(key.class) } else { key };
            self.index(key.hash).unwrap_or_else(|| self.add_group(key))
        })
    }

    /// Takes a slot for a new group. If there is none, counts the group as a candidate for the next
    /// pane and returns false.
    fn reserve_slot(&mut self, key: &GroupRef<'_>) -> bool {
        let partition = &mut self.partitions[key.class.grouping as usize];
        if partition.reserved.binary_search(&key.hash).is_ok() {
            return true;
        }
        if partition.reserved.len() + partition.taken < key.class.grouping.max_groups() {
            partition.taken += 1;
            return true;
        }
        partition.candidates.get_or_insert_with(|| Box::new(new_candidates())).update(key.hash);
        false
    }

    /// Adds a group with an empty tally.
    fn add_group(&mut self, key: &GroupRef<'_>) -> usize {
        let tally = Box::new(key.class.grouping.new_tally());
        self.push(GroupEntry { hash: key.hash, group: key.group(), tally })
    }

    fn push(&mut self, entry: GroupEntry) -> usize {
        let (hash, index) = (entry.hash, self.entries.len());
        self.entries.push(entry);
        self.indices.insert_unique(hash, (hash, index), |(hash, _)| *hash);
        index
    }

    fn merge_into(&mut self, key: &GroupRef<'_>, tally: &Tally) {
        let index = self.index(key.hash).unwrap_or_else(|| self.add_group(key));
        self.entries[index].tally.merge(tally);
    }

    /// Returns the groups that get a slot in the sum of this and `parts`.
    fn chosen(&self, parts: &[&Self]) -> Vec<(u64, GroupClass)> {
        let mut weights: HashMap<u64, (u64, &Group)> = HashMap::new();
        let all = [self].into_iter().chain(parts.iter().copied()).flat_map(|part| &part.entries);
        for entry in all.filter(|entry| entry.group.value.is_some()) {
            let (weight, _) = weights.entry(entry.hash).or_insert((0, &entry.group));
            *weight += entry.tally.transactions;
        }
        let mut chosen = Vec::new();
        for grouping in Grouping::ALL {
            let of_grouping = weights.iter().filter(|(_, (_, group))| group.grouping == grouping);
            let mut ranked: Vec<(u64, &Group, u64)> =
                of_grouping.map(|(hash, (weight, group))| (*weight, *group, *hash)).collect();
            ranked.sort_unstable_by(|one, other| (other.0, one.1).cmp(&(one.0, other.1)));
            ranked.truncate(grouping.max_groups());
            chosen.extend(ranked.into_iter().map(|(_, group, hash)| (hash, group.class())));
        }
        chosen
    }

    /// Returns those of the `chosen` groups that may be counted partly in `other`: in some part
    /// they have neither a slot nor a reservation, although `other` is in use.
    fn partly_in_other(&self, parts: &[&Self], chosen: &[(u64, GroupClass)]) -> HashSet<u64> {
        let all = || [self].into_iter().chain(parts.iter().copied());
        let hidden = |part: &Self, hash: u64, class: &GroupClass| {
            part.index(GroupRef::other(*class).hash).is_some()
                && part.partitions[class.grouping as usize].reserved.binary_search(&hash).is_err()
                && part.index(hash).is_none()
        };
        let split =
            |(hash, class): &&(u64, GroupClass)| all().any(|part| hidden(part, *hash, class));
        chosen.iter().filter(split).map(|(hash, _)| *hash).collect()
    }
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a size out of bounds, and ours is a constant"
)]
fn new_candidates() -> FrequentItemsSketch<u64> {
    FrequentItemsSketch::new(CANDIDATE_SLOTS).expect("a power of two from 8 to 2^30")
}

/// Maximum of [`Groups::bytes`], with each group as large as possible. `pairs`: with groups by resolver
/// and zone.
const fn max_bytes(pairs: bool) -> usize {
    // Each byte of a name may be escaped as four.
    const VALUE: usize = 4 * dnscribe_sketch::MAX_VALUE_BYTES;
    let (mut bytes, mut groups, mut number) = (size_of::<Groups>(), 0, 0);
    while number < Grouping::ALL.len() {
        let grouping = Grouping::ALL[number];
        number += 1;
        if matches!(grouping, Grouping::ResolverZone) && !pairs {
            continue;
        }
        let here = grouping.max_groups() + grouping.classes();
        groups += here;
        bytes += here * (Tally::max_bytes(grouping.top_slots()) + VALUE);
        // Reservations; slots with their weights and distances.
        bytes += grouping.max_groups() * size_of::<u64>();
        bytes += size_of::<FrequentItemsSketch<u64>>() + CANDIDATE_SLOTS * (16 + 8 + 2);
    }
    // Both grow by doubling; a hash table is at most seven eighths full.
    let indices = (groups * 8 / 7).next_power_of_two() * (size_of::<(u64, usize)>() + 1) + 16;
    bytes + groups.next_power_of_two() * size_of::<GroupEntry>() + indices
}
