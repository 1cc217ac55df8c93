//! The queries that wait at resolvers.

use super::ParentMatch;
use super::name_hash::NameHash;
use super::query::{Query, Question, Resolver};
use crate::decode::MessageId;
use crate::packet::PacketId;
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// Maximum number of waiting queries at all resolvers together.
const MAX_WAITING: usize = 1 << 15;

/// Maximum number of known resolvers.
const MAX_RESOLVERS: usize = 256;

/// Maximum number of idle queries visited to find the one that caused an upstream query.
const MAX_SCAN: usize = 256;

/// A query to a resolver.
#[derive(Clone, Debug)]
pub(super) struct PendingQuery {
    pub(super) id: MessageId,
    pub(super) since: Timestamp,
    pub(super) question: Question,
    pub(super) server: SocketAddr,
    pub(super) name: NameHash,
    /// Target of the last CNAME found for its name.
    pub(super) target: Option<Box<NameHash>>,
    /// Whether the resolver waits for no response on its behalf: no upstream query has been sent yet,
    /// or the last one was answered.
    idle: bool,
    /// Whether it is in the idle list of its resolver.
    listed: bool,
    /// Whether an upstream query was sent for it.
    pub(super) sent: bool,
    /// Most reliable match among its answered upstream queries.
    pub(super) answered_by: Option<ParentMatch>,
}

impl PendingQuery {
    /// Returns `None` for a query without a parsed name.
    pub(super) fn new(query: &Query, resolver: Resolver) -> Option<Self> {
        Some(Self {
            id: query.id,
            since: query.ts,
            question: query.question(resolver),
            server: query.server,
            name: query.name?,
            target: None,
            idle: true,
            listed: false,
            sent: false,
            answered_by: None,
        })
    }

    /// Returns whether a resolver may have to ask for `name` to answer this query: the queried name,
    /// the target of its CNAME, or an ancestor of these (RFC 9156; DS and DNSKEY: RFC 4035).
    fn may_lead_to(&self, name: &NameHash) -> bool {
        let target = self.target.as_ref();
        self.name.is_within(name) || target.is_some_and(|target| target.is_within(name))
    }
}

/// The waiting queries with one question at one resolver.
#[derive(Clone, Copy, Debug)]
struct SameQuestion {
    count: usize,
    first: MessageId,
    last: MessageId,
}

/// State of a resolver.
#[derive(Debug, Default)]
struct ResolverState {
    waiting: usize,
    /// XOR of the ids of the waiting queries: the id itself if there is only one.
    ids: MessageId,
    /// Queries that were idle when added, oldest first; some may no longer be.
    idle: VecDeque<MessageId>,
    /// Time of the last upstream query that was captured and answered.
    proven: Option<Timestamp>,
    last: Timestamp,
}

/// The queries that wait at resolvers, bounded.
#[derive(Debug, Default)]
pub(super) struct PendingQueries {
    waiting: HashMap<MessageId, PendingQuery, RandomState>,
    questions: HashMap<Question, SameQuestion, RandomState>,
    resolvers: HashMap<Resolver, ResolverState, RandomState>,
}

impl PendingQueries {
    /// Returns whether no resolver is known.
    pub(super) fn is_empty(&self) -> bool {
        self.resolvers.is_empty()
    }

    pub(super) fn contains(&self, resolver: &Resolver) -> bool {
        !self.is_empty() && self.resolvers.contains_key(resolver)
    }

    /// Adds a resolver. Returns false if there is no capacity.
    pub(super) fn promote(&mut self, resolver: Resolver, now: Timestamp) -> bool {
        if !self.contains(&resolver) && self.resolvers.len() >= MAX_RESOLVERS {
            let unused = self.resolvers.iter().filter(|(_, state)| state.waiting == 0);
            let oldest = unused
                .min_by_key(|(resolver, state)| (state.last, **resolver))
                .map(|(resolver, _)| *resolver);
            let Some(oldest) = oldest else { return false };
            self.resolvers.remove(&oldest);
        }
        self.resolvers.entry(resolver).or_default().last = now;
        true
    }

    /// Adds a query to a known resolver. Returns false if there is no capacity.
    pub(super) fn insert(&mut self, mut query: PendingQuery) -> bool {
        let Some(state) = self.resolvers.get_mut(&query.question.resolver) else { return false };
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        let id = query.id;
        let waiting = self.questions.entry(query.question);
        let waiting = waiting.or_insert(SameQuestion { count: 0, first: id, last: id });
        if !self.waiting.contains_key(&waiting.first) {
            waiting.first =
                if self.waiting.contains_key(&waiting.last) { waiting.last } else { id };
        }
        waiting.count += 1;
        waiting.last = id;
        // The resolver already asks this question on behalf of an earlier query.
        query.idle = !self.waiting.get(&waiting.first).is_some_and(|first| first.sent);
        query.listed = query.idle;
        if query.listed {
            state.idle.push_back(id);
        }
        state.last = query.since;
        state.waiting += 1;
        state.ids = xor(state.ids, id);
        let is_crowded = state.idle.len() > 2 * state.waiting.max(MAX_SCAN);
        let resolver = query.question.resolver;
        self.waiting.insert(id, query);
        if is_crowded {
            self.remove_busy(resolver);
        }
        true
    }

    pub(super) fn get(&self, id: MessageId) -> Option<&PendingQuery> {
        self.waiting.get(&id)
    }

    /// Removes a query that no longer waits.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<PendingQuery> {
        if self.waiting.is_empty() {
            return None;
        }
        let query = self.waiting.remove(&id)?;
        if let Some(waiting) = self.questions.get_mut(&query.question) {
            waiting.count -= 1;
            if waiting.count == 0 {
                self.questions.remove(&query.question);
            }
        }
        if let Some(state) = self.resolvers.get_mut(&query.question.resolver) {
            state.waiting -= 1;
            state.ids = xor(state.ids, id);
            if state.waiting == 0 {
                state.idle.clear();
            }
        }
        Some(query)
    }

    /// Returns the waiting query with a question: the first, or the last if the first was answered.
    pub(super) fn find_by_question(&self, question: &Question) -> Option<&PendingQuery> {
        let waiting = self.questions.get(question)?;
        self.waiting.get(&waiting.first).or_else(|| self.waiting.get(&waiting.last))
    }

    /// Returns the oldest idle query at a resolver that may lead to `name`, if all such queries have
    /// the same name.
    pub(super) fn idle_leading_to(
        &mut self,
        resolver: Resolver,
        name: &NameHash,
    ) -> Option<&PendingQuery> {
        self.remove_busy(resolver);
        let state = self.resolvers.get(&resolver).filter(|state| state.idle.len() <= MAX_SCAN)?;
        let idle = state.idle.iter().filter_map(|id| self.waiting.get(id));
        let mut fitting = idle.filter(|query| query.may_lead_to(name));
        let first = fitting.next()?;
        fitting.all(|query| query.name.whole == first.name.whole).then_some(first)
    }

    /// Returns the waiting query of a resolver if there is only one.
    pub(super) fn only(&self, resolver: Resolver) -> Option<&PendingQuery> {
        let state = self.resolvers.get(&resolver).filter(|state| state.waiting == 1)?;
        self.waiting.get(&state.ids)
    }

    /// Records that an upstream query was sent for a query.
    pub(super) fn mark_sent(&mut self, id: MessageId) {
        if let Some(query) = self.waiting.get_mut(&id) {
            query.sent = true;
            query.idle = false;
        }
    }

    /// Records that an upstream query for `id` was answered, possibly with a CNAME to `target`.
    pub(super) fn mark_answered(
        &mut self,
        id: MessageId,
        by: ParentMatch,
        target: Option<NameHash>,
    ) {
        let Some(query) = self.waiting.get_mut(&id) else { return };
        query.answered_by = Some(query.answered_by.map_or(by, |best| best.min(by)));
        // An unreliable match must not redirect the lookup.
        if let Some(target) = target.filter(|_| by <= ParentMatch::Cname) {
            query.target = Some(Box::new(target));
        }
        query.idle = true;
        if !std::mem::replace(&mut query.listed, true)
            && let Some(state) = self.resolvers.get_mut(&query.question.resolver)
        {
            state.idle.push_back(id);
        }
    }

    /// Returns when an upstream query of a resolver was last captured and answered.
    pub(super) fn proven(&self, resolver: Resolver) -> Option<Timestamp> {
        self.resolvers.get(&resolver)?.proven
    }

    pub(super) fn set_proven(&mut self, resolver: Resolver, now: Timestamp) {
        if let Some(state) = self.resolvers.get_mut(&resolver) {
            state.proven = Some(now);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Removes from an idle list the queries that are no longer idle. Amortized O(1) per insertion.
    fn remove_busy(&mut self, resolver: Resolver) {
        let Self { waiting, resolvers, .. } = self;
        let Some(state) = resolvers.get_mut(&resolver) else { return };
        state.idle.retain(|id| {
            waiting.get_mut(id).is_some_and(|query| {
                query.listed = query.idle;
                query.idle
            })
        });
    }
}

const fn xor(one: MessageId, other: MessageId) -> MessageId {
    MessageId {
        packet: PacketId {
            cpu: one.packet.cpu ^ other.packet.cpu,
            seq: one.packet.seq ^ other.packet.seq,
        },
        index: one.index ^ other.index,
    }
}
