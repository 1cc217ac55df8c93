//! The lookups under way, and what finds them.

use super::fit::Fit;
use super::labels;
use super::open::Open;
use super::query::{Client, Query};
use super::suffixes::Suffixes;
use super::{Lookup, LookupCounters, LookupOptions, Packets};
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::Status;
use crate::time::Timestamp;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::BuildHasher;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Lookups of one client for one name that a query is compared with: the newest.
const CANDIDATES: usize = 8;

/// Whoever takes lookups.
type Each<'a> = &'a mut dyn FnMut(&Lookup);

/// Lookups by the hash of what a further query of them would have: a client, and a name or its first
/// label. Whether these are the same, too, who looks for them has to see.
#[derive(Debug, Default)]
struct Index {
    lookups: HashTable<Listed>,
    /// How many were ever added.
    turns: u64,
    hasher: RandomState,
}

/// A lookup by its number, and when it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    turn: u64,
    number: u64,
    key: u64,
}

/// The lookups that came last with a key, the oldest of them first.
type Newest = ([Listed; CANDIDATES], usize);

/// Makes lookups of queries.
#[derive(Debug)]
pub struct Lookups {
    options: LookupOptions,
    /// By number, the oldest first.
    open: BTreeMap<u64, Box<Open>>,
    next: u64,
    /// A query's lookup and its place there.
    asked: HashMap<MessageId, (u64, usize), RandomState>,
    /// By the names asked for, and the targets of their CNAMEs.
    by_name: Index,
    by_label: Index,
    /// When which is over; out of date where that has changed since.
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    suffixes: Suffixes,
    bytes: usize,
    counters: LookupCounters,
}

impl Lookups {
    /// With nothing asked yet.
    #[must_use]
    pub fn new(options: LookupOptions) -> Self {
        Self {
            options,
            open: BTreeMap::new(),
            next: 0,
            asked: HashMap::default(),
            by_name: Index::default(),
            by_label: Index::default(),
            due: BinaryHeap::new(),
            suffixes: Suffixes::default(),
            bytes: 0,
            counters: LookupCounters::default(),
        }
    }

    /// Adopts how long a query waits for its response.
    pub const fn adopt_query_timeout(&mut self, query_timeout: Duration) {
        self.options.query_timeout = query_timeout;
    }

    /// What all lookups so far came to.
    #[must_use]
    pub const fn counters(&self) -> &LookupCounters {
        &self.counters
    }

    /// Octets of memory for the lookups under way, roughly.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a query that has begun a transaction; gives the lookups that have to make room for it.
    pub fn begin(&mut self, query: Query, each: Each<'_>) {
        let now = query.ts;
        let (id, client) = (query.id, query.client);
        let asker = of_client(client);
        let name = both(asker, &query.qname);
        let label = both(asker, labels::first(&query.qname));
        let found = self.find(&query, name, label);
        let number = found.unwrap_or(self.next);
        if found.is_none() {
            self.next += 1;
            self.counters.open += 1;
            self.by_label.insert(label, number);
        }
        let open = self.open.entry(number).or_insert_with(|| Box::new(Open::new(&query)));
        let before = if found.is_some() { open.bytes } else { 0 };
        if open.push(query) {
            self.by_name.insert(name, number);
            for suffix in open.certain_suffixes() {
                self.suffixes.learn(open.network, suffix);
            }
        }
        self.asked.insert(id, (number, open.asks.len() - 1));
        self.bytes += open.bytes - before;
        while self.open.len() > self.options.max_lookups || self.bytes > self.options.max_bytes {
            let Some((oldest, _)) = self.open.first_key_value() else { break };
            let oldest = *oldest;
            self.counters.evicted += 1;
            self.give(oldest, true, now, each);
        }
    }

    /// Takes the outcome of a transaction, which was known at `now`: that of each query that has begun
    /// one, and of late responses, which may be what the stub has waited for. Other responses without
    /// a query (`duplicate`, `orphan`) are nobody's.
    pub fn observe(&mut self, now: Timestamp, observation: &Observation<'_>) {
        let Some(query) = observation.query.filter(|_| observation.status != Status::Duplicate)
        else {
            return;
        };
        let Some((number, place)) = self.asked.get(&query).copied() else { return };
        let ended = match observation.status {
            Status::Timeout => observation.ts.plus(self.options.query_timeout),
            _ => observation.response_ts.unwrap_or(now),
        };
        if observation.parent.is_some() {
            self.withdraw(number, place, ended);
        } else {
            self.end(number, place, observation, ended);
        }
    }

    /// Gives the lookups to which nothing more can belong.
    pub fn expire(&mut self, now: Timestamp, each: Each<'_>) {
        while let Some(Reverse((due, number))) = self.due.peek().copied()
            && due < now
        {
            self.due.pop();
            if self.open.get(&number).is_some_and(|open| open.due() == Some(due)) {
                self.give(number, false, now, each);
            }
        }
    }

    /// The capture has ended: gives all that are left.
    pub fn finish(&mut self, now: Timestamp, each: Each<'_>) {
        self.expire(now, each);
        while let Some((number, _)) = self.open.first_key_value() {
            let number = *number;
            self.give(number, false, now, each);
        }
    }

    /// The lookup that a query belongs to, if it is one under way. `name` and `label` are the keys of its
    /// client and name, and of its first label.
    fn find(&self, query: &Query, name: u64, label: u64) -> Option<u64> {
        let of_client = |listed: &Listed| {
            let open = self.open.get(&listed.number)?;
            (open.client == query.client).then_some((listed.number, open))
        };
        let (candidates, count) = self.by_name.newest(name);
        let candidates = &candidates[..count];
        let named = candidates.iter().enumerate().filter_map(|(place, listed)| {
            let newest = place + 1 == candidates.len();
            let (number, open) = of_client(listed)?;
            Some((open.fit_same_name(query, newest)?, Reverse(number)))
        });
        let named: Option<(Fit, Reverse<u64>)> = named.max();
        if let Some((_, Reverse(number))) = named {
            return Some(number);
        }
        let (kin, count) = self.by_label.newest(label);
        let kin = kin[..count].iter().filter_map(|listed| {
            let (number, open) = of_client(listed)?;
            Some((open.fit_expansion(query, &self.suffixes)?, number))
        });
        kin.max().map(|(_, number)| number)
    }

    fn end(&mut self, number: u64, place: usize, observation: &Observation<'_>, ended: Timestamp) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let before = open.bytes;
        let target = open.end(place, observation, ended);
        self.bytes += open.bytes - before;
        if let Some(target) = target {
            self.by_name.insert(both(of_client(open.client), &target), number);
        }
        if let Some(due) = open.due() {
            self.due.push(Reverse((due, number)));
        }
    }

    /// A query of a resolver that works for another lookup.
    fn withdraw(&mut self, number: u64, place: usize, ended: Timestamp) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if open.withdraw(place, ended) {
            self.remove(number);
        } else if let Some(due) = open.due() {
            self.due.push(Reverse((due, number)));
        }
    }

    fn give(&mut self, number: u64, evicted: bool, now: Timestamp, each: Each<'_>) {
        let Some(open) = self.remove(number) else { return };
        let Some(lookup) = open.close(evicted, now, &self.suffixes) else { return };
        self.counters.outcomes[lookup.outcome as usize] += 1;
        let (sent, wasted) = (lookup.packets.into(), lookup.packets_wasted.into());
        self.counters.packets.add(lookup.pod.as_deref(), Packets { sent, wasted });
        each(&lookup);
    }

    fn remove(&mut self, number: u64) -> Option<Box<Open>> {
        let open = self.open.remove(&number)?;
        let asker = of_client(open.client);
        self.bytes -= open.bytes;
        self.counters.open -= 1;
        let texts = open.names.iter().map(|name| &name.text);
        for text in texts.chain(open.targets.iter().map(|target| &target.text)) {
            self.by_name.remove(both(asker, text), number);
        }
        if let Some(first) = open.names.first() {
            self.by_label.remove(both(asker, labels::first(&first.text)), number);
        }
        for ask in &open.asks {
            self.asked.remove(&ask.id);
        }
        Some(open)
    }
}

impl Index {
    /// The lookups that came last with a key.
    fn newest(&self, key: u64) -> Newest {
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

    fn insert(&mut self, key: u64, number: u64) {
        let (newest, count) = self.newest(key);
        if newest[..count].iter().any(|listed| listed.number == number) {
            return;
        }
        if count == CANDIDATES {
            self.remove(key, newest[0].number);
        }
        self.turns += 1;
        let Self { lookups, turns, hasher } = self;
        let listed = Listed { turn: *turns, number, key };
        lookups.insert_unique(hasher.hash_one(key), listed, |listed| hasher.hash_one(listed.key));
    }

    fn remove(&mut self, key: u64, number: u64) {
        let is = |listed: &Listed| (listed.key, listed.number) == (key, number);
        if let Ok(entry) = self.lookups.find_entry(self.hasher.hash_one(key), is) {
            entry.remove();
        }
    }
}

/// The hash of a client.
fn of_client(client: Client) -> u64 {
    FixedState::default().hash_one(client)
}

/// One hash of a client and a text.
fn both(client: u64, text: &str) -> u64 {
    client.rotate_left(29) ^ xxh3_64(text.as_bytes())
}
