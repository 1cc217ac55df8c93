//! The three views of a lookup on a resolver's host.

use super::asks::{Ask, Asks};
use super::cache;
use super::clients::Clients;
use super::note::{Concerned, Query, Question, Resolver};
use super::recent::Recent;
use super::twins::Twins;
use super::upstream::Upstream;
use super::{Cache, Joined, Links, Match, Parent};
use crate::capture::Sight;
use crate::decode::{Message, MessageId};
use crate::pair::{Status, Transaction};
use crate::time::Timestamp;
use std::time::Duration;

/// Servers remembered that were not seen to ask anybody.
const SERVERS: usize = 1 << 10;

/// A server that was asked so often and asked nobody is likely to be no resolver, and should cost
/// no more than that. Should it ask one day, it is one from then on.
const QUIET: u32 = 1 << 10;

/// Their queries remembered, for the moment at which one of them does.
const EARLY: usize = 1 << 8;

/// Older ones are answered or given up.
const EARLY_LIMIT: Duration = Duration::from_secs(5);

/// Answers of local servers on their way to their clients.
const ANSWERS: usize = 1 << 12;

/// New resolvers in a second at most: each costs a look through the early queries, and from outside
/// anybody can pretend to be one.
const PROMOTIONS: u32 = 256;

/// How many resolvers were new in this second.
#[derive(Debug, Default)]
struct Promotions {
    second: u64,
    count: u32,
}

impl Promotions {
    fn allow(&mut self, now: Timestamp) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            *self = Self { second, count: 0 };
        }
        self.count += 1;
        self.count <= PROMOTIONS
    }
}

/// Clients' queries, resolvers' queries, and upstream queries.
#[derive(Debug)]
pub(super) struct Views {
    clients: Clients,
    /// How often a server was asked.
    servers: Recent<Resolver, u32>,
    twins: Twins,
    early: Recent<MessageId, Ask>,
    /// The clients' queries by those that arrived at servers of whom no more is known.
    arrived: Recent<MessageId, MessageId>,
    promotions: Promotions,
    asks: Asks,
    upstream: Upstream,
    /// By the client's query.
    verdicts: Recent<MessageId, Cache>,
    joined: Joined,
    /// Room for the name that is looked at.
    text: String,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            clients: Clients::default(),
            servers: Recent::new(SERVERS),
            twins: Twins::default(),
            early: Recent::new(EARLY),
            arrived: Recent::new(ANSWERS),
            promotions: Promotions::default(),
            asks: Asks::default(),
            upstream: Upstream::default(),
            verdicts: Recent::new(ANSWERS),
            joined: Joined::default(),
            text: String::new(),
        }
    }
}

impl Views {
    pub(super) const fn joined(&self) -> Joined {
        self.joined
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.asks.len().max(self.upstream.len())
    }

    /// What is worth knowing of a query, if anything is.
    pub(super) fn note(&mut self, message: &Message<'_>) -> Option<Query> {
        if message.dns.flags.response() {
            return None;
        }
        let (asking, asked) = Resolver::of_query(message.envelope);
        let asks = asking.is_some_and(|who| self.may_resolve(who, message));
        let quiet = asked.is_some_and(|who| self.is_quiet(who));
        let sight = message.envelope.sight;
        let concerned = Concerned {
            // What leaves a client of this host may arrive at a server of this host.
            asking: asking.filter(|_| asks || sight == Sight::Egress),
            asked: asked.filter(|_| !quiet || sight == Sight::Ingress && !self.clients.is_empty()),
            resolver: asks || asked.is_some() && !quiet,
        };
        concerned.asking.or(concerned.asked)?;
        Query::of(message, &concerned, &mut self.text)
    }

    fn may_resolve(&self, who: Resolver, message: &Message<'_>) -> bool {
        self.asks.knows(self.twins.of(who))
            || self.servers.get(&who).is_some()
            || self.twins.may_be_found(who, message)
    }

    fn is_quiet(&self, who: Resolver) -> bool {
        !self.asks.knows(who) && self.servers.get(&who).is_some_and(|times| *times >= QUIET)
    }

    pub(super) fn begin(&mut self, query: &Query) {
        if let Some(who) = query.asking {
            self.leaves(query, who);
        }
        if let Some(who) = query.asked {
            self.arrives(query, who);
        }
    }

    fn leaves(&mut self, query: &Query, who: Resolver) {
        if query.sight == Sight::Egress {
            self.clients.sent(query);
        }
        if !self.asks.knows(who) && self.servers.get(&who).is_none() {
            self.twins.leaves(query, who);
        }
        let who = self.twins.of(who);
        if !self.asks.knows(who) {
            if self.servers.get(&who).is_none() {
                return;
            }
            self.promote(who, query.ts);
        }
        let (parent, room) = self.upstream.sent(query, who, &mut self.asks);
        match parent {
            Some(parent) => self.count(parent.by),
            None => self.joined.unlinked += 1,
        }
        self.joined.overflowed += u64::from(!room);
    }

    fn arrives(&mut self, query: &Query, who: Resolver) {
        let arrives = query.sight == Sight::Ingress;
        let client = arrives.then(|| self.clients.arrived(query)).flatten();
        if client.is_some() {
            self.count(Match::Exchange);
        }
        if let Some(client) = client.filter(|_| !self.asks.knows(who)) {
            self.arrived.insert(query.id, client);
        }
        let Some(ask) = Ask::new(query, who, client) else { return };
        self.twins.arrives(query, who);
        if self.asks.knows(who) {
            self.insert(ask);
        } else {
            let times = self.servers.get(&who).map_or(0, |times| *times);
            self.servers.insert(who, times + 1);
            self.early.insert(query.id, ask);
        }
    }

    /// A server asks others: it is a resolver, and what it was asked of late is what it asks for.
    fn promote(&mut self, who: Resolver, now: Timestamp) {
        if !self.promotions.allow(now) || !self.asks.promote(who, now) {
            self.joined.overflowed += 1;
            return;
        }
        let mut early = self.early.take_if(|ask| ask.question.who == who);
        early.retain(|ask| now.since(ask.since) <= EARLY_LIMIT);
        early.sort_unstable_by_key(|ask| (ask.since, ask.id));
        for ask in early {
            self.insert(ask);
        }
    }

    fn insert(&mut self, ask: Ask) {
        self.joined.overflowed += u64::from(!self.asks.insert(ask));
    }

    fn count(&mut self, by: Match) {
        self.joined.linked[by as usize] += 1;
    }

    /// `whole`: whether all that passed meanwhile was told, or some was left out on purpose.
    pub(super) fn end(&mut self, transaction: &Transaction<'_>, whole: bool) -> Links {
        let Some(query) = transaction.query else { return Links::default() };
        if matches!(transaction.status, Status::Late | Status::Duplicate | Status::Orphan) {
            return Links::default();
        }
        let id = query.envelope.id;
        let mut links = Links::default();
        let client = if let Some(ask) = self.asks.remove(id) {
            links.cache = whole.then(|| self.verdict(&ask, transaction)).flatten();
            if let Some(response) = transaction.response {
                self.upstream.settled(&ask, response.envelope.ts);
            }
            ask.client
        } else {
            self.early.remove(&id);
            self.arrived.remove(&id)
        };
        links.parent = client.map(|client| Parent::new(client, Match::Exchange));
        if query.envelope.sight != Sight::Ingress {
            let parent = self.upstream_ended(id, transaction);
            links.parent = links.parent.or(parent);
            links.cache = links.cache.or_else(|| self.verdicts.remove(&id));
        }
        links
    }

    fn verdict(&mut self, ask: &Ask, transaction: &Transaction<'_>) -> Option<Cache> {
        let verdict = cache::verdict(ask, transaction, &self.upstream, &self.asks)?;
        self.joined.cache[verdict as usize] += 1;
        if verdict == Cache::Miss
            && cache::is_proof(ask)
            && let Some(response) = transaction.response
        {
            self.asks.prove(ask.question.who, response.envelope.ts);
        }
        if let Some(client) = ask.client {
            self.verdicts.insert(client, verdict);
        }
        Some(verdict)
    }

    /// What a resolver asked has ended; the query that it was for.
    fn upstream_ended(&mut self, id: MessageId, transaction: &Transaction<'_>) -> Option<Parent> {
        let query = transaction.query?;
        if self.asks.is_empty() {
            return None;
        }
        let who = self.twins.of(Resolver::sending(query.envelope));
        if !self.asks.knows(who) {
            return None;
        }
        let parent = self.upstream.ended(id);
        if let Some(response) = transaction.response
            && let Some(asked) = query.dns.question()
        {
            let name = super::name::Name::whole_of(&asked.qname());
            let (qtype, qclass) = (asked.qtype, asked.qclass);
            let question = Question { who, name, qtype, qclass };
            let target = self.upstream.answered(question, &response);
            if let Some(parent) = parent {
                self.asks.fed(parent.id, parent.by, target);
            }
        }
        parent
    }
}
