//! Correlates the three views of a lookup on the host of a resolver: client query, query at the
//! resolver, upstream query.

use super::client_queries::ClientQueries;
use super::direct_mapped::DirectMappedCache;
use super::dual_stack::DualStackResolvers;
use super::name_hash::NameHash;
use super::pending_queries::{PendingQueries, PendingQuery};
use super::query::{Query, Question, Resolver};
use super::upstream::UpstreamQueries;
use super::{AnswerSource, CorrelationCounters, Parent, ParentMatch, TransactionLinks, cache};
use crate::decode::{Message, MessageId};
use crate::packet::Direction;
use crate::pair::{Status, Transaction};
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Duration;

/// Number of servers remembered that have sent no upstream query.
const SERVER_SLOTS: usize = 1 << 10;

/// Number of queries after which a server without upstream queries is taken for no resolver, to
/// save work. It becomes one with its first upstream query.
const QUIET_AFTER: u32 = 1 << 10;

/// Number of their queries remembered for the case that one becomes a resolver.
const EARLY_SLOTS: usize = 1 << 8;

/// Maximum age of these queries; older ones are answered or given up.
const MAX_EARLY_AGE: Duration = Duration::from_secs(5);

/// Maximum number of waiting queries with a known client query: as many as the pairing table holds by default.
const MAX_ARRIVED: usize = 1 << 18;

/// Number of remembered answers of local servers that have not reached their clients.
const ANSWER_SLOTS: usize = 1 << 12;

/// Maximum number of new resolvers per second. Each costs a scan of the early queries, and hosts
/// captured from outside can be spoofed.
const MAX_PROMOTIONS_PER_SECOND: u32 = 256;

/// Rate limit of new resolvers.
#[derive(Debug, Default)]
struct PromotionLimit {
    second: u64,
    count: u32,
}

impl PromotionLimit {
    fn allow(&mut self, now: Timestamp) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            *self = Self { second, count: 0 };
        }
        self.count += 1;
        self.count <= MAX_PROMOTIONS_PER_SECOND
    }
}

/// State of client queries, queries at resolvers, and upstream queries.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    clients: ClientQueries,
    /// Number of queries by server.
    servers: DirectMappedCache<Resolver, u32, SERVER_SLOTS>,
    dual_stack: DualStackResolvers,
    early: DirectMappedCache<MessageId, PendingQuery, EARLY_SLOTS>,
    /// Client queries by the query that arrived, until that has its outcome.
    arrived: HashMap<MessageId, MessageId, RandomState>,
    promotions: PromotionLimit,
    pending: PendingQueries,
    upstream: UpstreamQueries,
    /// By the client's query.
    verdicts: DirectMappedCache<MessageId, AnswerSource, ANSWER_SLOTS>,
    counters: CorrelationCounters,
    /// Buffer for the name of the current query.
    text: String,
}

impl Correlator {
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending.len().max(self.upstream.len()).max(self.arrived.len())
    }

    pub(super) const fn counters(&self) -> CorrelationCounters {
        let overflowed = self.counters.overflowed + self.clients.overflowed;
        CorrelationCounters { overflowed, ..self.counters }
    }

    /// Reads a query, if it is relevant.
    pub(super) fn read_query(&mut self, message: &Message<'_>) -> Option<Query> {
        if message.dns.flags.is_response() {
            return None;
        }
        let (sender, receiver) = Resolver::of_query(message.envelope);
        let may_resolve =
            sender.as_ref().is_some_and(|resolver| self.may_resolve(resolver, message));
        let quiet = receiver.as_ref().is_some_and(|resolver| self.is_quiet(resolver));
        let direction = message.envelope.direction;
        let involves_resolver = may_resolve || receiver.is_some() && !quiet;
        // A query that leaves a client of this host may arrive at a server of this host.
        let sender = sender.filter(|_| may_resolve || direction == Direction::Egress);
        let receiver = receiver
            .filter(|_| !quiet || direction == Direction::Ingress && !self.clients.is_empty());
        sender.or(receiver)?;
        Query::of(message, (sender, receiver), involves_resolver, &mut self.text)
    }

    fn may_resolve(&self, resolver: &Resolver, message: &Message<'_>) -> bool {
        self.pending.contains(self.dual_stack.canonical(resolver))
            || self.servers.get(resolver).is_some()
            || self.dual_stack.may_be_found(resolver, message)
    }

    fn is_quiet(&self, resolver: &Resolver) -> bool {
        !self.pending.contains(resolver)
            && self.servers.get(resolver).is_some_and(|times| *times >= QUIET_AFTER)
    }

    pub(super) fn begin(&mut self, query: &Query) {
        if let Some(resolver) = query.sender {
            self.leaves(query, resolver);
        }
        if let Some(resolver) = query.receiver {
            self.arrives(query, resolver);
        }
    }

    fn leaves(&mut self, query: &Query, resolver: Resolver) {
        if query.direction == Direction::Egress {
            self.clients.sent(query);
        }
        if !self.pending.contains(&resolver) && self.servers.get(&resolver).is_none() {
            self.dual_stack.leaves(query, resolver);
        }
        let resolver = *self.dual_stack.canonical(&resolver);
        if !self.pending.contains(&resolver) {
            if self.servers.get(&resolver).is_none() {
                return;
            }
            self.promote(resolver, query.ts);
        }
        let (parent, has_capacity) = self.upstream.sent(query, resolver, &mut self.pending);
        self.counters.unlinked += u64::from(parent.is_none());
        self.counters.overflowed += u64::from(!has_capacity);
    }

    fn arrives(&mut self, query: &Query, resolver: Resolver) {
        let arrives = query.direction == Direction::Ingress;
        let client = arrives.then(|| self.clients.arrived(query)).flatten();
        if let Some(client) = client {
            if self.arrived.len() >= MAX_ARRIVED {
                // Refusing new ones would keep forever those whose end does not come.
                self.counters.overflowed += self.arrived.len() as u64;
                self.arrived.clear();
            }
            self.arrived.insert(query.id, client);
        }
        let Some(pending) = PendingQuery::new(query, resolver) else { return };
        self.dual_stack.arrives(query, resolver);
        if self.pending.contains(&resolver) {
            self.insert(pending);
        } else {
            let times = self.servers.get(&resolver).map_or(0, |times| *times);
            self.servers.insert(resolver, times + 1);
            self.early.insert(query.id, pending);
        }
    }

    /// Makes a server a resolver, since it has sent an upstream query, and adds its recent queries.
    fn promote(&mut self, resolver: Resolver, now: Timestamp) {
        if !self.promotions.allow(now) || !self.pending.promote(resolver, now) {
            self.counters.overflowed += 1;
            return;
        }
        let mut early = self.early.take_if(|query| query.question.resolver == resolver);
        early.retain(|query| now.since(query.since) <= MAX_EARLY_AGE);
        early.sort_unstable_by_key(|query| (query.since, query.id));
        for query in early {
            self.insert(query);
        }
    }

    fn insert(&mut self, query: PendingQuery) {
        self.counters.overflowed += u64::from(!self.pending.insert(query));
    }

    /// Handles an ended transaction. `whole`: no query was excluded by sampling meanwhile.
    pub(super) fn end(&mut self, transaction: &Transaction<'_>, whole: bool) -> TransactionLinks {
        let Some(query) = transaction.query else { return TransactionLinks::default() };
        if matches!(transaction.status, Status::Late | Status::Duplicate | Status::Orphan) {
            return TransactionLinks::default();
        }
        let id = query.envelope.id;
        let mut links = TransactionLinks::default();
        let client = if self.arrived.is_empty() { None } else { self.arrived.remove(&id) };
        if let Some(query) = self.pending.remove(id) {
            links.cache = whole.then(|| self.verdict(&query, client, transaction)).flatten();
            if let Some(response) = transaction.response {
                self.upstream.resolved(&query, response.envelope.ts);
            }
        } else {
            self.early.remove(&id);
        }
        links.parent = client.map(|client| Parent::new(client, ParentMatch::Exchange));
        if query.envelope.direction != Direction::Ingress {
            let parent = self.upstream_ended(id, transaction);
            links.parent = links.parent.or(parent);
            links.cache = links.cache.or_else(|| self.verdicts.remove(&id));
        }
        if let Some(parent) = links.parent {
            self.counters.linked[parent.by as usize] += 1;
        }
        links
    }

    fn verdict(
        &mut self,
        query: &PendingQuery,
        client: Option<MessageId>,
        transaction: &Transaction<'_>,
    ) -> Option<AnswerSource> {
        let verdict = cache::verdict(query, transaction, &self.upstream, &self.pending)?;
        self.counters.cache[verdict as usize] += 1;
        if verdict == AnswerSource::Miss
            && cache::is_proof(query)
            && let Some(response) = transaction.response
        {
            self.pending.set_proven(query.question.resolver, response.envelope.ts);
        }
        if let Some(client) = client {
            self.verdicts.insert(client, verdict);
        }
        Some(verdict)
    }

    /// Handles an ended upstream query. Returns its parent.
    fn upstream_ended(&mut self, id: MessageId, transaction: &Transaction<'_>) -> Option<Parent> {
        let query = transaction.query?;
        if self.pending.is_empty() {
            return None;
        }
        let parent = self.upstream.ended(id);
        let resolver = *self.dual_stack.canonical(&Resolver::sending(query.envelope));
        if !self.pending.contains(&resolver) {
            return parent;
        }
        if let Some(response) = transaction.response
            && let Some(asked) = query.dns.question()
        {
            let name = NameHash::hash_whole(&asked.qname());
            let (qtype, qclass) = (asked.qtype, asked.qclass);
            let question = Question { resolver, name, qtype, qclass };
            let target = self.upstream.answered(question, &response);
            if let Some(parent) = parent {
                self.pending.mark_answered(parent.id, parent.by, target);
            }
        }
        parent
    }
}
