//! What a lookup came to.

use super::open::{Ask, Open};
use super::query::{A, AAAA};
use super::suffixes::Suffixes;
use super::{Lookup, MAX_ADDRESSES, MAX_CHAIN, MAX_TRANSACTIONS, Outcome, Texts};
use crate::capture::Transport;
use crate::time::Timestamp;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// As many as most lookups have types.
type Few<T> = SmallVec<[T; 4]>;

/// The queries that decided a lookup.
struct Decision {
    /// The name that they were for, by place.
    root: usize,
    /// For each type, in the order of the types, the query whose outcome counts, by place.
    best: Few<usize>,
    /// These, and those without which they would not have come about.
    needed: Places,
}

/// A set of places of queries, of which there are [`MAX_TRANSACTIONS`] at most.
#[derive(Clone, Copy, Debug, Default)]
struct Places([u64; MAX_TRANSACTIONS / 64]);

impl Places {
    fn len(self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }
}

impl Extend<usize> for Places {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, places: I) {
        for place in places {
            if let Some(bits) = self.0.get_mut(place / 64) {
                *bits |= 1 << (place % 64);
            }
        }
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::default();
        set.extend(places);
        set
    }
}

impl Open {
    /// Ends it, and writes what it came to into `lookup`; false where it has come to nothing. `evicted`:
    /// before its time. What waits still has waited until `now`.
    pub(super) fn close(
        &mut self,
        evicted: bool,
        now: Timestamp,
        suffixes: &Suffixes,
        lookup: &mut Lookup,
    ) -> bool {
        lookup.process = self.process.take();
        lookup.container = self.container.take();
        lookup.pod = self.pod.take();
        self.conclude(evicted, now, suffixes, lookup).is_some()
    }

    fn conclude(
        &self,
        evicted: bool,
        now: Timestamp,
        suffixes: &Suffixes,
        lookup: &mut Lookup,
    ) -> Option<()> {
        let first = self.asks().next()?;
        let qname = self.stem(suffixes);
        let decision = self.decide(qname);
        let best = || decision.best.iter().filter_map(|place| self.asks.get(*place));
        let decisive = best().min_by_key(|ask| rank(ask))?;
        let outcome = outcome_of(decisive);
        let end = best().map(|ask| ask.ended.unwrap_or(now)).max()?;
        let packets = self.asks().map(|ask| 1 + ask.retries).sum::<u32>();
        let fallbacks = self.fallbacks();
        let servers: Places = self.asks().map(|ask| ask.server).collect();
        lookup.id = first.id;
        lookup.ts = first.ts;
        lookup.vantage = self.vantage;
        lookup.client = self.network.1;
        lookup.qname.clear();
        lookup.qname.push_str(qname);
        lookup.qclass = self.qclass;
        lookup.qtypes.clear();
        lookup.qtypes.extend(self.qtypes());
        lookup.names.clear();
        self.asked_roots().for_each(|name| lookup.names.push(name));
        let answered = self.names.get(decision.root).filter(|_| outcome == Outcome::Answered);
        lookup.answered_name = answered.map(|name| self.text(name.text).to_owned());
        lookup.outcome = outcome;
        lookup.partial = outcome == Outcome::Answered && best().any(is_missing);
        lookup.rcode = decisive.rcode;
        lookup.duration = end.since(first.ts);
        lookup.transactions = number(self.asks().count());
        lookup.packets = packets;
        lookup.packets_wasted = packets.saturating_sub(number(decision.needed.len()));
        lookup.search_expansions =
            number(lookup.names.iter().filter(|name| *name != qname).count());
        lookup.retries = packets.saturating_sub(number(self.questions() + fallbacks));
        lookup.servers_tried = number(servers.len());
        lookup.tcp_fallback = fallbacks > 0;
        lookup.members.clear();
        lookup.members.extend(self.asks().map(|ask| ask.id));
        lookup.evicted = evicted || self.evicted;
        self.tell_resolvers(&mut lookup.resolvers);
        self.tell_chain(&decision, &mut lookup.cname_chain);
        lookup.address_count = self.tell_addresses(&decision, &mut lookup.addresses);
        Some(())
    }

    fn decide(&self, stem: &str) -> Decision {
        let root = self.decisive_root(stem);
        let places = |wanted: &dyn Fn(&Ask) -> bool| -> Option<usize> {
            let fitting =
                self.asks.iter().enumerate().filter(|(_, ask)| !ask.withdrawn && wanted(ask));
            fitting.min_by_key(|(_, ask)| rank(ask)).map(|(place, _)| place)
        };
        let of_type = |qtype: u16| {
            places(&|ask| ask.qtype == qtype && self.root(ask.name) == root)
                .or_else(|| places(&|ask| ask.qtype == qtype))
        };
        let best: Few<usize> = self.qtypes().into_iter().filter_map(of_type).collect();
        let mut needed: Places = best.iter().copied().collect();
        for place in &best {
            needed.extend(self.truncated_before(*place));
            needed.extend(self.told_by(*place));
        }
        Decision { root, best, needed }
    }

    /// The name that decides: the last that had records; else what the application asked for, if
    /// that was asked; else the last one.
    fn decisive_root(&self, stem: &str) -> usize {
        let answered = self.asks().filter(|ask| ask.outcome == Some(Outcome::Answered)).last();
        let ended = |name: &usize| {
            self.asks().any(|ask| self.root(ask.name) == *name && ask.ended.is_some())
        };
        let last = || self.asks().last().map_or(0, |ask| self.root(ask.name));
        match answered {
            Some(ask) => self.root(ask.name),
            None => self.name(stem).filter(ended).unwrap_or_else(last),
        }
    }

    /// Over TCP: the query that was put over UDP before, where its answer was truncated, or that of
    /// the other family and nobody waited for this one.
    fn truncated_before(&self, place: usize) -> Option<usize> {
        let ask = self.asks.get(place).filter(|ask| ask.transport == Transport::Tcp)?;
        let before = self.asks.iter().take(place).rposition(|other| {
            (other.name, other.qtype, other.transport) == (ask.name, ask.qtype, Transport::Udp)
                && !other.withdrawn
        })?;
        let given_up = |outcome| match outcome {
            Outcome::Truncated => true,
            Outcome::Timeout | Outcome::Open => self.is_truncated(),
            _ => false,
        };
        self.asks.get(before).filter(|ask| given_up(outcome_of(ask))).map(|_| before)
    }

    /// Of a query for a CNAME's target: the query that told the target.
    fn told_by(&self, place: usize) -> Option<usize> {
        let name = self.names.get(self.asks.get(place)?.name)?;
        let target = self.target(self.text(name.text)).filter(|_| name.root.is_some())?;
        Some(target.ask).filter(|ask| self.asks.get(*ask).is_some_and(|ask| !ask.withdrawn))
    }

    /// Times that TCP followed a truncated answer.
    fn fallbacks(&self) -> usize {
        let mut followed = Places::default();
        for place in 0..self.asks.len() {
            if self.asks.get(place).is_some_and(|ask| !ask.withdrawn) {
                followed.extend(self.truncated_before(place));
            }
        }
        followed.len()
    }

    /// Different questions.
    fn questions(&self) -> usize {
        let question = |ask: &Ask| (ask.name, ask.qtype);
        let is_new = |(place, ask): &(usize, &Ask)| {
            self.asks().take(*place).all(|before| question(before) != question(ask))
        };
        self.asks().enumerate().filter(is_new).count()
    }

    fn qtypes(&self) -> Few<u16> {
        let mut qtypes = Few::new();
        for ask in self.asks() {
            if !qtypes.contains(&ask.qtype) {
                qtypes.push(ask.qtype);
            }
        }
        qtypes
    }

    /// The names that the application asked for, those of withdrawn queries left out.
    fn asked_roots(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter().enumerate().filter(|(place, name)| {
            name.root.is_none() && self.asks().any(|ask| ask.name == *place)
        });
        names.map(|(_, name)| self.text(name.text))
    }

    fn tell_resolvers(&self, resolvers: &mut Texts) {
        resolvers.clear();
        for server in self.asks().filter_map(|ask| self.servers.get(ask.server)) {
            let name = server.name.map_or_else(
                || Cow::Owned(server.address.ip().to_canonical().to_string()),
                |name| Cow::Borrowed(self.text(name)),
            );
            if !resolvers.contains(&name) {
                resolvers.push(&name);
            }
        }
    }

    /// The addresses, and how many there were.
    fn tell_addresses(&self, decision: &Decision, addresses: &mut Texts) -> u32 {
        addresses.clear();
        let found = || decision.best.iter().filter_map(|place| Some(&self.asks.get(*place)?.found));
        let pieces = found().flat_map(|found| self.pieces(&found.addresses));
        pieces.take(MAX_ADDRESSES).for_each(|address| addresses.push(address));
        found().map(|found| found.address_count).sum()
    }

    /// What the first answer with CNAMEs told, and behind it what its target's did.
    fn tell_chain(&self, decision: &Decision, chain: &mut Texts) {
        chain.clear();
        let told = |place: usize| {
            let found = self.asks.get(place).map(|ask| &ask.found);
            found.into_iter().flat_map(|found| self.pieces(&found.chain))
        };
        for place in &decision.best {
            let before = self.told_by(*place).into_iter().flat_map(told);
            before.chain(told(*place)).take(MAX_CHAIN).for_each(|name| chain.push(name));
            if !chain.is_empty() {
                return;
            }
        }
    }

    fn pieces(&self, places: &Range<usize>) -> impl Iterator<Item = &str> {
        let pieces = self.pieces.get(places.clone()).unwrap_or_default();
        pieces.iter().map(|text| self.text(*text))
    }
}

/// The best first; of equals, the one that was known first.
fn rank(ask: &Ask) -> (Outcome, Option<Timestamp>) {
    (outcome_of(ask), ask.ended)
}

fn outcome_of(ask: &Ask) -> Outcome {
    ask.outcome.unwrap_or(Outcome::Open)
}

/// Whether no server said whether there are addresses of this family.
fn is_missing(ask: &Ask) -> bool {
    matches!(ask.qtype, A | AAAA) && !outcome_of(ask).is_definitive()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
