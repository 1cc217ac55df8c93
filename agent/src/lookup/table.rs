//! The lookups under way, and what finds them.

use super::fit::Fit;
use super::labels;
use super::open::Open;
use super::query::{Client, Query};
use super::suffixes::Suffixes;
use super::{Lookup, LookupCounters, LookupOptions};
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::Status;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Lookups of one client for one name that a query is compared with: the newest.
const CANDIDATES: usize = 8;

/// Whoever takes lookups.
type Each<'a> = &'a mut dyn FnMut(&Lookup);

/// A client and the hash of a name, or of its first label.
type Key = (Client, u64);

/// Lookups by what a further query of them would have.
#[derive(Debug, Default)]
struct Index(HashMap<Key, Vec<u64>, RandomState>);

/// Makes lookups of queries.
#[derive(Debug)]
pub struct Lookups {
    options: LookupOptions,
    /// By number, the oldest first.
    open: BTreeMap<u64, Open>,
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
    pub fn counters(&self) -> LookupCounters {
        LookupCounters { open: self.open.len() as u64, ..self.counters }
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
        let name = xxh3_64(query.qname.as_bytes());
        let found = self.find(&query, name);
        let number = found.unwrap_or(self.next);
        if found.is_none() {
            self.next += 1;
            let label = xxh3_64(labels::first(&query.qname).as_bytes());
            self.by_label.insert((client, label), number);
        }
        let open = self.open.entry(number).or_insert_with(|| Open::new(&query));
        let before = if found.is_some() { open.bytes } else { 0 };
        if open.push(query) {
            self.by_name.insert((client, name), number);
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

    /// The lookup that a query belongs to, if it is one under way.
    fn find(&self, query: &Query, name: u64) -> Option<u64> {
        let candidates = self.by_name.get((query.client, name));
        let named = candidates.iter().enumerate().filter_map(|(place, number)| {
            let newest = place + 1 == candidates.len();
            let fit = self.open.get(number)?.fit_same_name(query, newest)?;
            Some((fit, Reverse(*number)))
        });
        let named: Option<(Fit, Reverse<u64>)> = named.max();
        if let Some((_, Reverse(number))) = named {
            return Some(number);
        }
        let label = xxh3_64(labels::first(&query.qname).as_bytes());
        let kin = self.by_label.get((query.client, label)).iter().filter_map(|number| {
            let fit = self.open.get(number)?.fit_expansion(query, &self.suffixes)?;
            Some((fit, *number))
        });
        kin.max().map(|(_, number)| number)
    }

    fn end(&mut self, number: u64, place: usize, observation: &Observation<'_>, ended: Timestamp) {
        let Some(open) = self.open.get_mut(&number) else { return };
        let before = open.bytes;
        let target = open.end(place, observation, ended);
        self.bytes += open.bytes - before;
        if let Some(target) = target {
            self.by_name.insert((open.client, xxh3_64(target.as_bytes())), number);
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
        self.counters.packets += u64::from(lookup.packets);
        self.counters.packets_wasted += u64::from(lookup.packets_wasted);
        each(&lookup);
    }

    fn remove(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        self.bytes -= open.bytes;
        let texts = open.names.iter().map(|name| &name.text);
        for text in texts.chain(open.targets.iter().map(|target| &target.text)) {
            self.by_name.remove((open.client, xxh3_64(text.as_bytes())), number);
        }
        if let Some(first) = open.names.first() {
            let label = xxh3_64(labels::first(&first.text).as_bytes());
            self.by_label.remove((open.client, label), number);
        }
        for ask in &open.asks {
            self.asked.remove(&ask.id);
        }
        Some(open)
    }
}

impl Index {
    /// The newest lookups with a key, the oldest of them first.
    fn get(&self, key: Key) -> &[u64] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, key: Key, number: u64) {
        let numbers = self.0.entry(key).or_default();
        if numbers.contains(&number) {
            return;
        }
        if numbers.len() == CANDIDATES {
            numbers.remove(0);
        }
        numbers.push(number);
    }

    fn remove(&mut self, key: Key, number: u64) {
        if let Some(numbers) = self.0.get_mut(&key) {
            numbers.retain(|held| *held != number);
            if numbers.is_empty() {
                self.0.remove(&key);
            }
        }
    }
}
