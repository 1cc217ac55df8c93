//! The table of open lookups and its indices.

use super::index::{
    Index, IndexEntry, LookupId, Newest, OpenLookups, hash_client, hash_client_label,
    hash_client_text,
};
use super::matching::Fit;
use super::query::Query;
use super::state::OpenLookup;
use super::suffixes::Suffixes;
use super::{Lookup, LookupCounters, LookupOptions, Outcome, PacketCounts, without_lost_answer};
use crate::view::TransactionView;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::pair::Status;
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// Receiver of ended lookups.
type Each<'a> = &'a mut dyn FnMut(&Lookup<'_>);

/// Refers to a lookup that may have ended.
#[derive(Clone, Copy, Debug)]
pub struct LookupRef {
    /// Id of its first query.
    pub first: MessageId,
    /// Time from that to the answer.
    pub waited: Duration,
    id: LookupId,
}

/// Groups queries into lookups.
#[derive(Debug)]
pub struct LookupTable {
    /// Limits; the query timeout may change.
    pub options: LookupOptions,
    open: OpenLookups,
    /// Lookup and position of each query.
    asked: HashMap<MessageId, (LookupId, usize), RandomState>,
    /// By names and CNAME targets.
    by_name: Index,
    by_label: Index,
    /// When a lookup may end at the earliest.
    due: BinaryHeap<Reverse<(Timestamp, LookupId)>>,
    suffixes: Suffixes,
    /// Approximate memory of open lookups in bytes.
    pub(super) bytes: usize,
    /// Counters of all lookups.
    pub counters: LookupCounters,
}

impl LookupTable {
    /// Creates an empty table.
    #[must_use]
    pub fn new(options: LookupOptions) -> Self {
        Self {
            options,
            open: OpenLookups::default(),
            asked: HashMap::default(),
            by_name: Index::default(),
            by_label: Index::default(),
            due: BinaryHeap::new(),
            suffixes: Suffixes::default(),
            bytes: 0,
            counters: LookupCounters::default(),
        }
    }

    /// Adds a query that began a transaction. Emits the lookups that are evicted.
    pub fn begin(&mut self, query: &Query<'_>, each: Each<'_>) {
        let asker = hash_client(query.client);
        let name = hash_client_text(asker, &query.qname);
        let label = hash_client_label(asker, &query.qname);
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
        self.asked.insert(query.id, (id, open.queries.len() - 1));
        self.bytes += open.bytes - before;
        while self.open.len() > self.options.max_lookups || self.bytes > self.options.max_bytes {
            let Some(oldest) = self.open.oldest() else { break };
            self.counters.evicted += 1;
            self.emit(oldest, true, query.ts, each);
        }
    }

    /// Adds the outcome of a transaction, known at `now`. Required for each query, and for late
    /// responses, which the stub may have waited for. Responses without a query (`duplicate`,
    /// `orphan`) are ignored.
    pub fn observe(&mut self, now: Timestamp, observation: &TransactionView<'_>) {
        let unanswered = without_lost_answer(observation);
        let observation = unanswered.as_ref().unwrap_or(observation);
        let Some(query) = observation.query.filter(|_| observation.status != Status::Duplicate)
        else {
            return;
        };
        // No further outcome follows an answer.
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

    /// Returns the open lookup of a query that was answered at `at`, before the answer is observed.
    #[must_use]
    pub fn of_query(&self, query: MessageId, at: Timestamp) -> Option<LookupRef> {
        let (id, _) = *self.asked.get(&query)?;
        let first = self.open.get(id)?.queries().next()?;
        Some(LookupRef { first: first.id, waited: at.since(first.ts), id })
    }

    /// Returns how long the client has waited for a lookup at `now`: to its last answer, or to `now` if a query still
    /// waits for one.
    #[must_use]
    pub fn waited(&self, lookup: &LookupRef, now: Timestamp) -> Duration {
        let Some(open) = self.open.get(lookup.id) else { return lookup.waited };
        let first = open.queries().next().map(|sent| sent.ts);
        let end = open.queries().map(|sent| sent.ended.unwrap_or(now)).max();
        first.zip(end).map_or(lookup.waited, |(first, end)| end.min(now).since(first))
    }

    /// Emits the lookups that have ended.
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
                self.emit(id, false, now, each);
            } else {
                self.queue(id);
            }
        }
    }

    /// Emits all open lookups at the end of the capture.
    pub fn finish(&mut self, now: Timestamp, each: Each<'_>) {
        self.expire(now, each);
        while let Some(id) = self.open.oldest() {
            self.emit(id, false, now, each);
        }
    }

    /// Schedules the next check of a lookup, unless an earlier one is scheduled.
    fn queue(&mut self, id: LookupId) {
        let Some(open) = self.open.get_mut(id) else { return };
        let Some(due) = open.due() else { return };
        if open.queued.is_none_or(|queued| due < queued) {
            open.queued = Some(due);
            self.due.push(Reverse((due, id)));
        }
    }

    /// Returns the open lookup of a query. `of_name` and `of_label`: the newest lookups of its
    /// client with its name and first label.
    fn find(&self, query: &Query<'_>, of_name: &Newest, of_label: &Newest) -> Option<LookupId> {
        let of_client = |entry: &IndexEntry| {
            let open = self.open.get(entry.id)?;
            (open.client == query.client).then_some((entry.id, open))
        };
        let named = of_name.iter().enumerate().filter_map(|(place, entry)| {
            let newest = place + 1 == of_name.len();
            let (id, open) = of_client(entry)?;
            Some((open.fit_same_name(query, newest)?, Reverse(id)))
        });
        let named: Option<(Fit, Reverse<LookupId>)> = named.max();
        if let Some((_, Reverse(id))) = named {
            return Some(id);
        }
        let kin = of_label.iter().filter(|entry| !entry.is_closed).filter_map(|entry| {
            let (id, open) = of_client(entry)?;
            Some((open.fit_expansion(query, &self.suffixes)?, id))
        });
        kin.max().map(|(_, id)| id)
    }

    fn end(
        &mut self,
        id: LookupId,
        place: usize,
        observation: &TransactionView<'_>,
        ended: Timestamp,
    ) {
        let Some(open) = self.open.get_mut(id) else { return };
        let before = open.bytes;
        let target = open.end(place, observation, ended);
        self.bytes += open.bytes - before;
        if open.queries.get(place).is_some_and(|sent| sent.outcome == Some(Outcome::Answered)) {
            // A stub ends its search list after an answer.
            self.by_label.close_key(open.label, id);
        }
        if let Some(target) = target {
            let newest = self.by_name.newest(target);
            self.by_name.insert(target, id, &newest);
        }
        self.queue(id);
    }

    /// Removes a resolver's query that serves another lookup.
    fn withdraw(&mut self, id: LookupId, place: usize, ended: Timestamp) {
        let Some(open) = self.open.get_mut(id) else { return };
        if open.withdraw(place, ended) {
            self.remove(id);
        } else {
            self.queue(id);
        }
    }

    fn emit(&mut self, id: LookupId, evicted: bool, now: Timestamp, each: Each<'_>) {
        let Some(open) = self.remove(id) else { return };
        let Some(lookup) = open.result(evicted, now, &self.suffixes) else { return };
        self.counters.outcomes[lookup.outcome as usize] += 1;
        let (sent, wasted) = (lookup.fields.packets.into(), lookup.fields.packets_wasted.into());
        self.counters.packets.add(lookup.pod, PacketCounts { sent, wasted });
        each(&lookup);
    }

    fn remove(&mut self, id: LookupId) -> Option<Box<OpenLookup>> {
        let open = self.open.remove(id)?;
        self.bytes -= open.bytes;
        self.counters.open -= 1;
        let targets = open.targets.iter().map(|target| target.key);
        for key in open.names.iter().map(|name| name.key).chain(targets) {
            self.by_name.remove(key, id);
        }
        self.by_label.remove(open.label, id);
        for sent in open.queries.iter().filter(|sent| !sent.closed) {
            self.asked.remove(&sent.id);
        }
        Some(open)
    }
}
