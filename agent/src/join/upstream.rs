//! What resolvers ask others, and for which of the queries that wait they do.

use super::asks::{Ask, Asks};
use super::name::Name;
use super::note::{Query, Question, Resolver};
use super::recent::Recent;
use super::{Match, Parent};
use crate::decode::dns::{Record, Records};
use crate::decode::{Message, MessageId};
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Duration;

/// Upstream queries with a parent under way at a time.
const MAX_FLIGHTS: usize = 1 << 15;

/// Upstream questions of which is remembered who asked and when an answer came.
const REMEMBERED: usize = 1 << 13;

/// A resolver that renews what it has answered from its cache does so at once.
const PREFETCH: Duration = Duration::from_secs(1);

/// Aliases remembered.
const ALIASES: usize = 1 << 12;

/// CNAMEs followed at most, as resolvers do.
const MAX_CHAIN: usize = 12;

/// The type CNAME.
const CNAME: u16 = 5;

/// Upstream queries, bounded.
#[derive(Debug)]
pub(super) struct Upstream {
    flights: HashMap<MessageId, Parent, RandomState>,
    /// For whom a question was last asked.
    asked: Recent<Question, Parent>,
    /// When a question was last answered.
    answered: Recent<Question, Timestamp>,
    /// The query with a question that was last answered by the resolver itself, and when.
    settled: Recent<Question, (MessageId, Timestamp)>,
    /// Names by the targets that their CNAMEs point to.
    aliases: Recent<(Resolver, u64), u64>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            flights: HashMap::default(),
            asked: Recent::new(REMEMBERED),
            answered: Recent::new(REMEMBERED),
            settled: Recent::new(REMEMBERED),
            aliases: Recent::new(ALIASES),
        }
    }
}

impl Upstream {
    /// Takes a query that a resolver sends; the query that it does so for, if that can be told.
    /// False in the second place where there was no room to remember it.
    pub(super) fn sent(
        &mut self,
        query: &Query,
        who: Resolver,
        asks: &mut Asks,
    ) -> (Option<Parent>, bool) {
        let question = query.question(who);
        let Some(parent) = self.parent(query, &question, asks) else { return (None, true) };
        if self.flights.len() >= MAX_FLIGHTS {
            return (None, false);
        }
        self.flights.insert(query.id, parent);
        self.asked.insert(question, parent);
        asks.sent(parent.id);
        (Some(parent), true)
    }

    fn parent(&self, query: &Query, question: &Question, asks: &mut Asks) -> Option<Parent> {
        // Nobody asks itself: what goes where the parent came to is another client's query.
        let elsewhere = |asks: &Asks, parent: &Parent| {
            asks.get(parent.id).is_none_or(|ask| ask.server != query.server)
        };
        let exact = asks.waiting_with(question).map(|ask| Parent::new(ask.id, Match::Question));
        let found = exact
            .or_else(|| self.asked.get(question).copied().filter(|old| asks.get(old.id).is_some()))
            .or_else(|| self.alias_of(question, asks, query.ts))
            .or_else(|| self.just_settled(question, query.ts))
            .or_else(|| {
                let ask = asks.leading_through(question.who, query.name.as_ref()?)?;
                Some(Parent::new(ask.id, Match::Ancestor))
            })
            .or_else(|| {
                // One that has asked nobody yet may be about to be answered from the cache.
                let ask = asks.only(question.who).filter(|ask| ask.sent)?;
                let process = matches!(question.who, Resolver::Process(_));
                process.then(|| Parent::new(ask.id, Match::Only))
            });
        found.filter(|parent| elsewhere(asks, parent))
    }

    /// The query that waits for a name whose CNAME points, over others or not, to the one asked for;
    /// or that was just answered and is renewed.
    fn alias_of(&self, question: &Question, asks: &Asks, now: Timestamp) -> Option<Parent> {
        let mut alias = *question;
        for _ in 0..MAX_CHAIN {
            alias.name = *self.aliases.get(&(question.who, alias.name))?;
            let waiting = asks.waiting_with(&alias).map(|ask| ask.id);
            let renewed = || self.just_settled(&alias, now).map(|parent| parent.id);
            if let Some(id) = waiting.or_else(renewed) {
                return Some(Parent::new(id, Match::Cname));
            }
        }
        None
    }

    /// A query that was answered just before.
    fn just_settled(&self, question: &Question, now: Timestamp) -> Option<Parent> {
        let (id, since) = self.settled.get(question)?;
        (now.since(*since) <= PREFETCH).then(|| Parent::new(*id, Match::Prefetch))
    }

    /// A resolver has answered a query.
    pub(super) fn settled(&mut self, ask: &Ask, now: Timestamp) {
        self.settled.insert(ask.question, (ask.id, now));
    }

    /// A resolver's query was answered: whoever waits for that has it.
    pub(super) fn answered(&mut self, question: Question, response: &Message<'_>) -> Option<Name> {
        self.answered.insert(question, response.envelope.ts);
        let mut target = None;
        for alias in response.dns.answers().filter(|answer| answer.rtype == CNAME) {
            let name = target_of(&alias);
            self.aliases.insert((question.who, name.whole), Name::of(&alias.name().text()).whole);
            target = Some(name);
        }
        target
    }

    /// The query that an upstream query was sent for, now that it has ended.
    pub(super) fn ended(&mut self, id: MessageId) -> Option<Parent> {
        if self.flights.is_empty() { None } else { self.flights.remove(&id) }
    }

    /// Whether a question, or the same for a CNAME's target among the answers, was answered
    /// upstream since.
    pub(super) fn answered_since(
        &self,
        question: &Question,
        answers: Records<'_>,
        since: Timestamp,
    ) -> bool {
        let answered = |name: u64| {
            let question = Question { name, ..*question };
            self.answered.get(&question).is_some_and(|when| *when >= since)
        };
        let aliases = answers.filter(|answer| answer.rtype == CNAME).take(MAX_CHAIN);
        answered(question.name) || aliases.map(|alias| target_of(&alias).whole).any(answered)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }
}

/// The name that a CNAME points to.
fn target_of(alias: &Record<'_>) -> Name {
    let mut data = String::new();
    alias.push_data(&mut data);
    Name::of(&data)
}
