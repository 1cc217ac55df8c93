//! Upstream queries of resolvers, and the waiting queries that caused them.

use super::direct_mapped::DirectMappedCache;
use super::name_hash::NameHash;
use super::pending_queries::{PendingQueries, PendingQuery};
use super::query::{Query, Question, Resolver};
use super::{Parent, ParentMatch};
use crate::decode::{Message, MessageId};
use dnscribe_dns::rtype::CNAME;
use dnscribe_dns::{Record, Records};
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Duration;

/// Maximum number of upstream queries in flight with a known parent.
const MAX_IN_FLIGHT: usize = 1 << 15;

/// Number of upstream questions whose parent and time of answer are remembered.
const CACHE_SLOTS: usize = 1 << 13;

/// Maximum time from an answer from the cache to the upstream query that renews it.
const PREFETCH_WINDOW: Duration = Duration::from_secs(1);

/// Number of remembered aliases.
const ALIAS_SLOTS: usize = 1 << 12;

/// Maximum number of CNAMEs followed, as resolvers do.
const MAX_CHAIN: usize = 12;

/// Upstream queries, bounded.
#[derive(Debug, Default)]
pub(super) struct UpstreamQueries {
    in_flight: HashMap<MessageId, Parent, RandomState>,
    /// The parent of the last upstream query for a question.
    parents: DirectMappedCache<Question, Parent, CACHE_SLOTS>,
    /// Time of the last upstream answer to a question.
    answer_times: DirectMappedCache<Question, Timestamp, CACHE_SLOTS>,
    /// The last client query for a question that the resolver answered, and when.
    resolved: DirectMappedCache<Question, (MessageId, Timestamp), CACHE_SLOTS>,
    /// Alias names by the names that their CNAMEs point to.
    aliases: DirectMappedCache<(Resolver, u64), u64, ALIAS_SLOTS>,
}

impl UpstreamQueries {
    /// Handles a resolver's query. Returns its parent if known, and false without capacity for it.
    pub(super) fn sent(
        &mut self,
        query: &Query,
        resolver: Resolver,
        pending: &mut PendingQueries,
    ) -> (Option<Parent>, bool) {
        let question = query.question(resolver);
        let Some(parent) = self.parent(query, &question, pending) else { return (None, true) };
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return (None, false);
        }
        self.in_flight.insert(query.id, parent);
        self.parents.insert(question, parent);
        pending.mark_sent(parent.id);
        (Some(parent), true)
    }

    fn parent(
        &self,
        query: &Query,
        question: &Question,
        pending: &mut PendingQueries,
    ) -> Option<Parent> {
        // A query to the address at which the parent arrived comes from another client.
        let elsewhere = |pending: &PendingQueries, parent: &Parent| {
            pending.get(parent.id).is_none_or(|waiting| waiting.server != query.server)
        };
        let exact = pending
            .find_by_question(question)
            .map(|query| Parent::new(query.id, ParentMatch::Question));
        let found = exact
            .or_else(|| {
                self.parents.get(question).copied().filter(|old| pending.get(old.id).is_some())
            })
            .or_else(|| self.alias_of(question, pending, query.ts))
            .or_else(|| self.just_resolved(question, query.ts))
            .or_else(|| {
                let query = pending.idle_leading_to(question.resolver, query.name.as_ref()?)?;
                Some(Parent::new(query.id, ParentMatch::Ancestor))
            })
            .or_else(|| {
                // A query without an upstream query so far may be answered from the cache.
                let query = pending.only(question.resolver).filter(|query| query.sent)?;
                let process = matches!(question.resolver, Resolver::Process(_));
                process.then(|| Parent::new(query.id, ParentMatch::Only))
            });
        found.filter(|parent| elsewhere(pending, parent))
    }

    /// Returns the query for a name whose chain of CNAMEs leads to the question, if it waits or was
    /// just answered and is renewed.
    fn alias_of(
        &self,
        question: &Question,
        pending: &PendingQueries,
        now: Timestamp,
    ) -> Option<Parent> {
        let mut alias = *question;
        for _ in 0..MAX_CHAIN {
            alias.name = *self.aliases.get(&(question.resolver, alias.name))?;
            let waiting = pending.find_by_question(&alias).map(|query| query.id);
            let renewed = || self.just_resolved(&alias, now).map(|parent| parent.id);
            if let Some(id) = waiting.or_else(renewed) {
                return Some(Parent::new(id, ParentMatch::Cname));
            }
        }
        None
    }

    /// Returns a query that was answered just before.
    fn just_resolved(&self, question: &Question, now: Timestamp) -> Option<Parent> {
        let (id, since) = self.resolved.get(question)?;
        (now.since(*since) <= PREFETCH_WINDOW).then(|| Parent::new(*id, ParentMatch::Prefetch))
    }

    /// Records that a resolver has answered a query.
    pub(super) fn resolved(&mut self, query: &PendingQuery, now: Timestamp) {
        self.resolved.insert(query.question, (query.id, now));
    }

    /// Records the answer to an upstream query. Returns the target of its last CNAME.
    pub(super) fn answered(
        &mut self,
        question: Question,
        response: &Message<'_>,
    ) -> Option<NameHash> {
        self.answer_times.insert(question, response.envelope.ts);
        let mut target = None;
        for alias in response.dns.answers().filter(|answer| answer.rtype == CNAME) {
            let name = target_of(&alias);
            self.aliases
                .insert((question.resolver, name.whole), NameHash::of(&alias.name.text()).whole);
            target = Some(name);
        }
        target
    }

    /// Removes an ended upstream query. Returns its parent.
    pub(super) fn ended(&mut self, id: MessageId) -> Option<Parent> {
        if self.in_flight.is_empty() { None } else { self.in_flight.remove(&id) }
    }

    /// Returns whether a question, or the same for the target of a CNAME in `answers`, was answered
    /// upstream since a time.
    pub(super) fn answered_since(
        &self,
        question: &Question,
        answers: Records<'_>,
        since: Timestamp,
    ) -> bool {
        let answered = |name: u64| {
            let question = Question { name, ..*question };
            self.answer_times.get(&question).is_some_and(|when| *when >= since)
        };
        let aliases = answers.filter(|answer| answer.rtype == CNAME).take(MAX_CHAIN);
        answered(question.name) || aliases.map(|alias| target_of(&alias).whole).any(answered)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }
}

/// Returns the target of a CNAME record.
fn target_of(alias: &Record<'_>) -> NameHash {
    let mut data = String::new();
    alias.push_data(&mut data);
    NameHash::of(&data)
}
