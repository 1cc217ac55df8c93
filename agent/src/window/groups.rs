//! Transactions by group, in bounded room: what finds none is counted in a group `other` of its own,
//! so that the groups of a grouping always add up to all transactions that have such a value.
//!
//! Each grouping has a number of seats. In a pane, most of them are kept for the groups that
//! were the heaviest in the pane before, with or without a seat; the rest goes to whoever comes first. So
//! what has a seat has it from its first transaction on and its numbers are whole, and a flood of
//! new names takes no more than the seats that were free. Where panes are added up, the heaviest have the
//! seats of the sum; which of them may have had no seat in one of the panes is told.

use super::batch::{Batch, Places};
use super::group::{Group, Grouping, Key, Sort};
use super::measured::Measured;
use super::recent::Recent;
use super::seen::Seen;
use super::tally::Tally;
use super::untold::Untold;
use crate::observation::Observation;
use crate::pair::Vantage;
use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use hashbrown::{HashMap, HashSet, HashTable};

/// Of the seats of a grouping, so many parts of [`PARTS`] at most are kept for the heaviest.
const KEPT_PARTS: usize = 3;
const PARTS: usize = 4;

/// A group is heavy if it has so many transactions in a pane: about one a second.
const HEAVY: u64 = 8;

/// Slots of the sketch in which groups without a seat are weighed.
const WAITING_SLOTS: usize = 256;

/// The tallies of all groups.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// In the order in which they came.
    entries: Vec<Entry>,
    /// Hashes of groups, with their places in `entries`.
    places: HashTable<(u64, usize)>,
    rooms: [Room; Grouping::ALL.len()],
    /// What is still to be counted.
    batch: Batch,
    /// What is still to be told to the sketches of what is most frequent.
    recent: Recent,
    seen: Seen,
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    group: Group,
    tally: Box<Tally>,
}

/// The seats of a grouping.
#[derive(Clone, Debug, Default)]
struct Room {
    /// Hashes of the groups for which a seat is kept, in order.
    kept: Vec<u64>,
    /// Seats that were taken by others.
    taken: usize,
    /// Hashes of the groups that found no seat.
    waiting: Option<Box<FrequentItemsSketch<u64>>>,
}

impl Groups {
    /// The most octets that [`Self::bytes`] can be, once it is settled.
    pub const MAX_BYTES: usize = max_bytes();

    /// The same beside it, while transactions are counted.
    pub const MAX_OPEN_BYTES: usize =
        Batch::MAX_HEAP_BYTES + Recent::MAX_HEAP_BYTES + Seen::MAX_HEAP_BYTES;

    /// An empty one for the pane after this one: seats are kept for those that are the heaviest here.
    #[must_use]
    pub fn successor(&mut self) -> Self {
        self.count();
        let mut weights: [Vec<(u64, u64)>; Grouping::ALL.len()] = Default::default();
        for entry in self.entries.iter().filter(|entry| entry.group.value.is_some()) {
            weights[entry.group.grouping as usize].push((entry.tally.transactions, entry.hash));
        }
        let mut next = Self::default();
        for (grouping, mut weights) in Grouping::ALL.into_iter().zip(weights) {
            if let Some(waiting) = &self.rooms[grouping as usize].waiting {
                let rows = waiting.frequent_items(ErrorType::NoFalsePositives);
                weights.extend(rows.iter().map(|row| (row.lower_bound(), *row.item())));
            }
            weights.retain(|(weight, _)| *weight >= HEAVY);
            weights.sort_unstable_by(|one, other| other.cmp(one));
            weights.truncate(grouping.seats() * KEPT_PARTS / PARTS);
            let mut kept: Vec<u64> = weights.into_iter().map(|(_, hash)| hash).collect();
            kept.sort_unstable();
            next.rooms[grouping as usize].kept = kept;
        }
        next
    }

    /// Takes a transaction, to be counted in each group that it belongs to. All is counted once
    /// [`Self::settle`] was called.
    pub fn add(&mut self, observation: &Observation<'_>, measured: &Measured) {
        let mut places = Places::default();
        Key::each(observation, measured, |key| {
            let place = self.place_or_other(&key);
            places.set(key.sort.grouping, place);
        });
        let [node, resolver] = [Grouping::Node, Grouping::Resolver].map(|keeps| places.get(keeps));
        if let (Some(node), Some(resolver)) = (node, resolver) {
            if !self.recent.has_room() {
                self.tell();
            }
            self.recent.count([node, resolver], observation, measured);
        }
        self.batch.push(places, *measured);
        if self.batch.is_full() {
            self.count();
        }
    }

    /// Nothing more is added: counts what still is to be, and lets go of what was only there for that.
    pub fn settle(&mut self) {
        self.count();
        self.tell();
        (self.batch, self.recent, self.seen) = Default::default();
    }

    /// Has each group count its transactions.
    fn count(&mut self) {
        let Self { entries, batch, seen, .. } = self;
        let groupings: Vec<Grouping> = entries.iter().map(|entry| entry.group.grouping).collect();
        batch.give(&groupings, |place, rows| {
            let tally = &mut entries[place].tally;
            for measured in rows {
                tally.add(measured, |facet, value, hash| !seen.knows(place, facet, value, hash));
            }
        });
    }

    /// Tells the sketches of what is most frequent.
    fn tell(&mut self) {
        let Self { entries, recent, .. } = self;
        recent.tell(|place, take| {
            let entry = entries.get_mut(usize::from(place));
            if let Some(tops) = entry.and_then(|entry| entry.tally.tops.as_mut()) {
                take(tops);
            }
        });
    }

    /// Counts messages that were not told: of all, and of a resolver, or of those without a seat.
    pub fn add_untold(
        &mut self,
        vantage: Vantage,
        (transport, resolver): (&'static str, Option<&str>),
        untold: &Untold,
    ) {
        Key::each_untold(vantage, transport, resolver, |key| {
            let place = self.place_or_other(&key);
            self.entries[place].tally.add_untold(untold);
        });
    }

    /// Adds what others have counted. Seats go to those that are the heaviest in all.
    pub fn absorb(&mut self, parts: &[&Self]) {
        let chosen = self.chosen(parts);
        let keys: HashSet<u64> = chosen.iter().map(|(hash, _)| *hash).collect();
        let split = self.split(parts, &chosen);
        let own = std::mem::take(self);
        for entry in own.entries {
            if entry.group.value.is_none() || keys.contains(&entry.hash) {
                self.adopt(entry);
            } else {
                self.merge_into(&Key::other(entry.group.sort()), &entry.tally);
            }
        }
        for entry in parts.iter().flat_map(|part| &part.entries) {
            let key = Key::stored(&entry.group, entry.hash);
            let has_seat = key.value.is_some() && keys.contains(&key.hash);
            self.merge_into(&if has_seat { key } else { Key::other(key.sort) }, &entry.tally);
        }
        for entry in self.entries.iter_mut().filter(|entry| split.contains(&entry.hash)) {
            entry.tally.undercounted = true;
        }
    }

    /// All groups with what they counted, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, &Tally)> {
        self.entries.iter().map(|entry| (&entry.group, &*entry.tally))
    }

    /// All groups, in their own order.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&Group, &Tally)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(group, _)| *group);
        all
    }

    /// Whether nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Octets that all of it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values = self.iter().map(|(group, _)| group.value.as_ref().map_or(0, |v| v.len()));
        let rooms = self.rooms.iter().map(|room| {
            let waiting = room.waiting.as_ref();
            room.kept.capacity() * size_of::<u64>()
                + waiting.map_or(0, |waiting| size_of_val(&**waiting) + waiting.estimated_size())
        });
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.places.allocation_size()
            + values.sum::<usize>()
            + rooms.sum::<usize>()
            + self.batch.heap_bytes()
            + self.recent.heap_bytes()
            + self.seen.heap_bytes()
            + self.iter().map(|(_, tally)| tally.bytes()).sum::<usize>()
    }

    /// Where the group with a hash is.
    fn place(&self, hash: u64) -> Option<usize> {
        self.places.find(hash, |(known, _)| *known == hash).map(|(_, place)| *place)
    }

    /// Where a group is counted: on its own seat, or with others.
    fn place_or_other(&mut self, key: &Key<'_>) -> usize {
        self.place(key.hash).unwrap_or_else(|| {
            let is_other = key.value.is_none() || !self.admits(key);
            let key = if is_other { &Key::other(key.sort) } else { key };
            self.place(key.hash).unwrap_or_else(|| self.seat(key))
        })
    }

    /// Whether there is a seat for a group that has none; if not, it is weighed for the next pane.
    fn admits(&mut self, key: &Key<'_>) -> bool {
        let room = &mut self.rooms[key.sort.grouping as usize];
        if room.kept.binary_search(&key.hash).is_ok() {
            return true;
        }
        if room.kept.len() + room.taken < key.sort.grouping.seats() {
            room.taken += 1;
            return true;
        }
        room.waiting.get_or_insert_with(|| Box::new(waiting())).update(key.hash);
        false
    }

    /// Gives a group a seat, an empty tally on it.
    fn seat(&mut self, key: &Key<'_>) -> usize {
        let tally = Box::new(key.sort.grouping.tally());
        self.adopt(Entry { hash: key.hash, group: key.group(), tally })
    }

    fn adopt(&mut self, entry: Entry) -> usize {
        let (hash, place) = (entry.hash, self.entries.len());
        self.entries.push(entry);
        self.places.insert_unique(hash, (hash, place), |(hash, _)| *hash);
        place
    }

    fn merge_into(&mut self, key: &Key<'_>, tally: &Tally) {
        let place = self.place(key.hash).unwrap_or_else(|| self.seat(key));
        self.entries[place].tally.merge(tally);
    }

    /// Those that have the seats of the sum of this and the parts.
    fn chosen(&self, parts: &[&Self]) -> Vec<(u64, Sort)> {
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
            ranked.truncate(grouping.seats());
            chosen.extend(ranked.into_iter().map(|(_, group, hash)| (hash, group.sort())));
        }
        chosen
    }

    /// Of those, the ones of which some transactions may be counted as `other`: where they have no
    /// seat and none was kept for them, though others of their sort found none.
    fn split(&self, parts: &[&Self], chosen: &[(u64, Sort)]) -> HashSet<u64> {
        let all = || [self].into_iter().chain(parts.iter().copied());
        let hidden = |part: &Self, hash: u64, sort: &Sort| {
            part.place(Key::other(*sort).hash).is_some()
                && part.rooms[sort.grouping as usize].kept.binary_search(&hash).is_err()
                && part.place(hash).is_none()
        };
        let split = |(hash, sort): &&(u64, Sort)| all().any(|part| hidden(part, *hash, sort));
        chosen.iter().filter(split).map(|(hash, _)| *hash).collect()
    }
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a size out of bounds, and ours is a constant"
)]
fn waiting() -> FrequentItemsSketch<u64> {
    FrequentItemsSketch::new(WAITING_SLOTS).expect("a power of two from 8 to 2^30")
}

/// As [`Groups::bytes`] counts, each group being as large as it can be.
const fn max_bytes() -> usize {
    // Presented, each octet of a name may take four.
    const VALUE: usize = 4 * super::sketch::MAX_OCTETS;
    let (mut bytes, mut groups, mut number) = (size_of::<Groups>(), 0, 0);
    while number < Grouping::ALL.len() {
        let grouping = Grouping::ALL[number];
        let here = grouping.seats() + grouping.kinds();
        groups += here;
        bytes += here * (Tally::max_bytes(grouping.top_slots()) + VALUE);
        // Seats that are kept; slots with their weights and distances.
        bytes += grouping.seats() * size_of::<u64>();
        bytes += size_of::<FrequentItemsSketch<u64>>() + WAITING_SLOTS * (16 + 8 + 2);
        number += 1;
    }
    // Both grow by doubling, and a table is never more than seven eighths full.
    let places = (groups * 8 / 7).next_power_of_two() * (size_of::<(u64, usize)>() + 1) + 16;
    bytes + groups.next_power_of_two() * size_of::<Entry>() + places
}
