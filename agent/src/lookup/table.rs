//! The lookups under way, and what finds them.

use super::fit::Fit;
use super::index::{Index, Listed, Newest, both, of_client, of_label};
use super::open::Open;
use super::query::Query;
use super::slots::{Id, Slots};
use super::suffixes::Suffixes;
use super::{Lookup, LookupCounters, LookupOptions, Outcome, Packets};
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::Status;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// Whoever takes lookups.
type Each<'a> = &'a mut dyn FnMut(&Lookup);

/// Makes lookups of queries.
#[derive(Debug)]
pub struct Lookups {
    options: LookupOptions,
    open: Slots,
    /// A query's lookup and its place there.
    asked: HashMap<MessageId, (Id, usize), RandomState>,
    /// By the names asked for, and the targets of their CNAMEs.
    by_name: Index,
    by_label: Index,
    /// When which is to be looked at: none is over before.
    due: BinaryHeap<Reverse<(Timestamp, Id)>>,
    suffixes: Suffixes,
    /// The last that was given.
    given: Lookup,
    bytes: usize,
    counters: LookupCounters,
}

impl Lookups {
    /// With nothing asked yet.
    #[must_use]
    pub fn new(options: LookupOptions) -> Self {
        Self {
            options,
            open: Slots::default(),
            asked: HashMap::default(),
            by_name: Index::default(),
            by_label: Index::default(),
            due: BinaryHeap::new(),
            suffixes: Suffixes::default(),
            given: Lookup::empty(),
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
    pub fn begin(&mut self, query: &Query<'_>, each: Each<'_>) {
        let asker = of_client(query.client);
        let name = both(asker, &query.qname);
        let label = of_label(asker, &query.qname);
        let (of_name, of_label) = (self.by_name.newest(name), self.by_label.newest(label));
        let found = self.find(query, &of_name, &of_label);
        let id = found.unwrap_or_else(|| {
            let id = self.open.begin(query, asker, label);
            self.counters.open += 1;
            self.by_label.insert(label, id, &of_label);
            id
        });
        let Some(open) = self.open.get_mut(id) else { return };
        let before = if found.is_some() { open.bytes } else { 0 };
        if open.push(query, name) {
            self.by_name.insert(name, id, &of_name);
            for suffix in open.certain_suffixes() {
                self.suffixes.learn(open.network, suffix);
            }
        }
        self.asked.insert(query.id, (id, open.asks.len() - 1));
        self.bytes += open.bytes - before;
        while self.open.len() > self.options.max_lookups || self.bytes > self.options.max_bytes {
            let Some(oldest) = self.open.oldest() else { break };
            self.counters.evicted += 1;
            self.give(oldest, true, query.ts, each);
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
        // After an answer nothing more comes that could be told of a query.
        let known = match observation.status {
            Status::Answered => self.asked.remove(&query),
            _ => self.asked.get(&query).copied(),
        };
        let Some((id, place)) = known else { return };
        let ended = match observation.status {
            Status::Timeout => observation.ts.plus(self.options.query_timeout),
            _ => observation.response_ts.unwrap_or(now),
        };
        if observation.parent.is_some() {
            self.withdraw(id, place, ended);
        } else {
            self.end(id, place, observation, ended);
        }
    }

    /// Gives the lookups to which nothing more can belong.
    pub fn expire(&mut self, now: Timestamp, each: Each<'_>) {
        while let Some(Reverse((seen, id))) = self.due.peek().copied()
            && seen < now
        {
            self.due.pop();
            let Some(open) = self.open.get_mut(id).filter(|open| open.queued == Some(seen)) else {
                continue;
            };
            open.queued = None;
            if open.due() == Some(seen) {
                self.give(id, false, now, each);
            } else {
                self.queue(id);
            }
        }
    }

    /// The capture has ended: gives all that are left.
    pub fn finish(&mut self, now: Timestamp, each: Each<'_>) {
        self.expire(now, each);
        while let Some(id) = self.open.oldest() {
            self.give(id, false, now, each);
        }
    }

    /// Has a lookup looked at when it may be over, if that is not to be sooner anyway.
    fn queue(&mut self, id: Id) {
        let Some(open) = self.open.get_mut(id) else { return };
        let Some(due) = open.due() else { return };
        if open.queued.is_none_or(|queued| due < queued) {
            open.queued = Some(due);
            self.due.push(Reverse((due, id)));
        }
    }

    /// The lookup that a query belongs to, if it is one under way. `of_name` and `of_label`: those of its
    /// client and name, and of its first label.
    fn find(&self, query: &Query<'_>, of_name: &Newest, of_label: &Newest) -> Option<Id> {
        let of_client = |listed: &Listed| {
            let open = self.open.get(listed.id)?;
            (open.client == query.client).then_some((listed.id, open))
        };
        let (candidates, count) = of_name;
        let candidates = &candidates[..*count];
        let named = candidates.iter().enumerate().filter_map(|(place, listed)| {
            let newest = place + 1 == candidates.len();
            let (id, open) = of_client(listed)?;
            Some((open.fit_same_name(query, newest)?, Reverse(id)))
        });
        let named: Option<(Fit, Reverse<Id>)> = named.max();
        if let Some((_, Reverse(id))) = named {
            return Some(id);
        }
        let (kin, count) = of_label;
        let kin = kin[..*count].iter().filter(|listed| !listed.is_shut).filter_map(|listed| {
            let (id, open) = of_client(listed)?;
            Some((open.fit_expansion(query, &self.suffixes)?, id))
        });
        kin.max().map(|(_, id)| id)
    }

    fn end(&mut self, id: Id, place: usize, observation: &Observation<'_>, ended: Timestamp) {
        let Some(open) = self.open.get_mut(id) else { return };
        let before = open.bytes;
        let target = open.end(place, observation, ended);
        self.bytes += open.bytes - before;
        if open.asks.get(place).is_some_and(|ask| ask.outcome == Some(Outcome::Answered)) {
            // No search list goes on after an answer.
            self.by_label.shut(open.label, id);
        }
        if let Some(target) = target {
            let newest = self.by_name.newest(target);
            self.by_name.insert(target, id, &newest);
        }
        self.queue(id);
    }

    /// A query of a resolver that works for another lookup.
    fn withdraw(&mut self, id: Id, place: usize, ended: Timestamp) {
        let Some(open) = self.open.get_mut(id) else { return };
        if open.withdraw(place, ended) {
            self.remove(id);
        } else {
            self.queue(id);
        }
    }

    fn give(&mut self, id: Id, evicted: bool, now: Timestamp, each: Each<'_>) {
        let Some(mut open) = self.remove(id) else { return };
        let lookup = &mut self.given;
        if open.close(evicted, now, &self.suffixes, lookup) {
            self.counters.outcomes[lookup.outcome as usize] += 1;
            let (sent, wasted) = (lookup.packets.into(), lookup.packets_wasted.into());
            self.counters.packets.add(lookup.pod.as_deref(), Packets { sent, wasted });
            each(lookup);
        }
        self.open.keep(open, self.options.max_bytes.saturating_sub(self.bytes));
    }

    fn remove(&mut self, id: Id) -> Option<Box<Open>> {
        let open = self.open.remove(id)?;
        self.bytes -= open.bytes;
        self.counters.open -= 1;
        let targets = open.targets.iter().map(|target| target.key);
        for key in open.names.iter().map(|name| name.key).chain(targets) {
            self.by_name.remove(key, id);
        }
        self.by_label.remove(open.label, id);
        for ask in open.asks.iter().filter(|ask| !ask.closed) {
            self.asked.remove(&ask.id);
        }
        Some(open)
    }
}
