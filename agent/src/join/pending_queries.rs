//! The queries that wait at resolvers.

use super::Match;
use super::name::Name;
use super::note::{Query, Question, Resolver};
use crate::capture::Origin;
use crate::decode::MessageId;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// Queries that wait at all resolvers together, at most.
const MAX_WAITING: usize = 1 << 15;

/// Resolvers known at a time.
const MAX_RESOLVERS: usize = 256;

/// How many queries that wait idle are looked at for one that an upstream query may be of.
const MAX_WALK: usize = 256;

/// A query that a resolver was asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) id: MessageId,
    pub(super) since: Timestamp,
    pub(super) question: Question,
    pub(super) server: SocketAddr,
    pub(super) name: Name,
    /// Where the last CNAME that was found for it points.
    pub(super) target: Option<Box<Name>>,
    /// The transaction of the same query at its client's socket.
    pub(super) client: Option<MessageId>,
    /// Whether its resolver has nothing to wait for: no upstream query was sent for it yet, or the
    /// last one was answered.
    idle: bool,
    /// Whether it stands in its resolver's list of the idle.
    listed: bool,
    /// Whether an upstream query was sent for it.
    pub(super) sent: bool,
    /// By which relation an upstream query was its own, if one of those was answered: the surest.
    pub(super) fed: Option<Match>,
}

impl Ask {
    /// None of a query whose name was not looked at.
    pub(super) fn new(query: &Query, who: Resolver, client: Option<MessageId>) -> Option<Self> {
        Some(Self {
            id: query.id,
            since: query.ts,
            question: query.question(who),
            server: query.server,
            name: query.name?,
            target: None,
            client,
            idle: true,
            listed: false,
            sent: false,
            fed: None,
        })
    }

    /// Whether a resolver may have to ask for `name` in order to answer this: its own name or that
    /// of its CNAME's target, or an ancestor (RFC 9156; DS and DNSKEY of RFC 4035).
    fn leads_through(&self, name: &Name) -> bool {
        let target = self.target.as_ref();
        self.name.is_within(name) || target.is_some_and(|target| target.is_within(name))
    }
}

/// Those that wait with one question at one resolver.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    count: usize,
    first: MessageId,
    last: MessageId,
}

/// What is known of a resolver.
#[derive(Debug, Default)]
struct State {
    waiting: usize,
    /// The exclusive or of the ids of those that wait: where one is left, its id.
    ids: MessageId,
    /// Those that were idle when they were put here, oldest first; some may be so no more.
    idle: VecDeque<MessageId>,
    /// When an upstream query was last seen to bring an answer.
    proven: Option<Timestamp>,
    last: Timestamp,
}

/// The queries that wait at resolvers, bounded.
#[derive(Debug, Default)]
pub(super) struct Asks {
    waiting: HashMap<MessageId, Ask, RandomState>,
    questions: HashMap<Question, Waiting, RandomState>,
    resolvers: HashMap<Resolver, State, RandomState>,
}

impl Asks {
    /// Whether no resolver is known.
    pub(super) fn is_empty(&self) -> bool {
        self.resolvers.is_empty()
    }

    pub(super) fn knows(&self, who: Resolver) -> bool {
        !self.is_empty() && self.resolvers.contains_key(&who)
    }

    /// Somebody who is asked asks others. False where there is no room for one more resolver.
    pub(super) fn promote(&mut self, who: Resolver, now: Timestamp) -> bool {
        if !self.knows(who) && self.resolvers.len() >= MAX_RESOLVERS {
            let unused = self.resolvers.iter().filter(|(_, state)| state.waiting == 0);
            let oldest = unused.min_by_key(|(who, state)| (state.last, **who)).map(|(who, _)| *who);
            let Some(oldest) = oldest else { return false };
            self.resolvers.remove(&oldest);
        }
        self.resolvers.entry(who).or_default().last = now;
        true
    }

    /// Takes a query that waits at a known resolver from now on. False where there is no room.
    pub(super) fn insert(&mut self, mut ask: Ask) -> bool {
        let Some(state) = self.resolvers.get_mut(&ask.question.who) else { return false };
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        let id = ask.id;
        let waiting = self.questions.entry(ask.question);
        let waiting = waiting.or_insert(Waiting { count: 0, first: id, last: id });
        if !self.waiting.contains_key(&waiting.first) {
            waiting.first =
                if self.waiting.contains_key(&waiting.last) { waiting.last } else { id };
        }
        waiting.count += 1;
        waiting.last = id;
        // Behind a query that is under way this one has nothing to ask.
        ask.idle = !self.waiting.get(&waiting.first).is_some_and(|first| first.sent);
        ask.listed = ask.idle;
        if ask.listed {
            state.idle.push_back(id);
        }
        state.last = ask.since;
        state.waiting += 1;
        state.ids = exclusive_or(state.ids, id);
        let crowded = state.idle.len() > 2 * state.waiting.max(MAX_WALK);
        let who = ask.question.who;
        self.waiting.insert(id, ask);
        if crowded {
            self.tidy(who);
        }
        true
    }

    pub(super) fn get(&self, id: MessageId) -> Option<&Ask> {
        self.waiting.get(&id)
    }

    /// The query waits no more.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Ask> {
        if self.waiting.is_empty() {
            return None;
        }
        let ask = self.waiting.remove(&id)?;
        if let Some(waiting) = self.questions.get_mut(&ask.question) {
            waiting.count -= 1;
            if waiting.count == 0 {
                self.questions.remove(&ask.question);
            }
        }
        if let Some(state) = self.resolvers.get_mut(&ask.question.who) {
            state.waiting -= 1;
            state.ids = exclusive_or(state.ids, id);
            if state.waiting == 0 {
                state.idle.clear();
            }
        }
        Some(ask)
    }

    /// The query that waits with this question: the first, or, where that has been answered, the last.
    pub(super) fn waiting_with(&self, question: &Question) -> Option<&Ask> {
        let waiting = self.questions.get(question)?;
        self.waiting.get(&waiting.first).or_else(|| self.waiting.get(&waiting.last))
    }

    /// The idle query at a resolver that leads through a name, if all that do ask for the same
    /// name; the oldest of them.
    pub(super) fn leading_through(&mut self, who: Resolver, name: &Name) -> Option<&Ask> {
        self.tidy(who);
        let state = self.resolvers.get(&who).filter(|state| state.idle.len() <= MAX_WALK)?;
        let idle = state.idle.iter().filter_map(|id| self.waiting.get(id));
        let mut fitting = idle.filter(|ask| ask.leads_through(name));
        let first = fitting.next()?;
        fitting.all(|ask| ask.name.whole == first.name.whole).then_some(first)
    }

    /// The only query that waits at a resolver.
    pub(super) fn only(&self, who: Resolver) -> Option<&Ask> {
        let state = self.resolvers.get(&who).filter(|state| state.waiting == 1)?;
        self.waiting.get(&state.ids)
    }

    /// An upstream query was sent for it.
    pub(super) fn sent(&mut self, id: MessageId) {
        if let Some(ask) = self.waiting.get_mut(&id) {
            ask.sent = true;
            ask.idle = false;
        }
    }

    /// An upstream query of its was answered, and may have led to another name.
    pub(super) fn fed(&mut self, id: MessageId, by: Match, target: Option<Name>) {
        let Some(ask) = self.waiting.get_mut(&id) else { return };
        ask.fed = Some(ask.fed.map_or(by, |surest| surest.min(by)));
        // What is not surely this lookup's must not lead it elsewhere.
        if let Some(target) = target.filter(|_| by <= Match::Cname) {
            ask.target = Some(Box::new(target));
        }
        ask.idle = true;
        if !std::mem::replace(&mut ask.listed, true)
            && let Some(state) = self.resolvers.get_mut(&ask.question.who)
        {
            state.idle.push_back(id);
        }
    }

    /// When an upstream query of a resolver was last seen to bring an answer.
    pub(super) fn proven(&self, who: Resolver) -> Option<Timestamp> {
        self.resolvers.get(&who)?.proven
    }

    pub(super) fn prove(&mut self, who: Resolver, now: Timestamp) {
        if let Some(state) = self.resolvers.get_mut(&who) {
            state.proven = Some(now);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out of a list of the idle those that are so no more. Each is paid for by its entry.
    fn tidy(&mut self, who: Resolver) {
        let Self { waiting, resolvers, .. } = self;
        let Some(state) = resolvers.get_mut(&who) else { return };
        state.idle.retain(|id| {
            waiting.get_mut(id).is_some_and(|ask| {
                ask.listed = ask.idle;
                ask.idle
            })
        });
    }
}

const fn exclusive_or(one: MessageId, other: MessageId) -> MessageId {
    MessageId {
        origin: Origin {
            cpu: one.origin.cpu ^ other.origin.cpu,
            seq: one.origin.seq ^ other.origin.seq,
        },
        index: one.index ^ other.index,
    }
}
