//! What a lookup came to.

use super::open::{Ask, Open};
use super::query::{A, AAAA};
use super::suffixes::Suffixes;
use super::{Lookup, MAX_ADDRESSES, MAX_CHAIN, MAX_TRANSACTIONS, Outcome};
use crate::capture::Transport;
use crate::time::Timestamp;

/// The queries that decided a lookup.
struct Decision {
    /// The name that they were for, by place.
    root: usize,
    /// For each type, in the order of the types, the query whose outcome counts, by place.
    best: Vec<usize>,
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
    /// Ends it. `evicted`: before its time. What waits still has waited until `now`.
    pub(super) fn close(
        self,
        evicted: bool,
        now: Timestamp,
        suffixes: &Suffixes,
    ) -> Option<Lookup> {
        let first = self.asks().next()?;
        let qname = self.stem(suffixes);
        let decision = self.decide(&qname);
        let best: Vec<&Ask> =
            decision.best.iter().filter_map(|place| self.asks.get(*place)).collect();
        let decisive = best.iter().min_by_key(|ask| rank(ask))?;
        let outcome = outcome_of(decisive);
        let end = best.iter().map(|ask| ask.ended.unwrap_or(now)).max()?;
        let packets = self.asks().map(|ask| 1 + ask.retries).sum::<u32>();
        let names: Vec<Box<str>> = self.asked_roots().map(Into::into).collect();
        let (addresses, address_count) = self.addresses(&decision);
        let fallbacks = self.fallbacks();
        let servers: Places = self.asks().map(|ask| ask.server).collect();
        Some(Lookup {
            id: first.id,
            ts: first.ts,
            vantage: self.vantage,
            client: self.network.1,
            resolvers: self.resolvers(),
            answered_name: (outcome == Outcome::Answered)
                .then(|| self.names.get(decision.root).map(|name| name.text.clone()))
                .flatten(),
            search_expansions: number(names.iter().filter(|name| **name != qname).count()),
            names,
            qname,
            qclass: self.qclass,
            qtypes: self.qtypes(),
            outcome,
            partial: outcome == Outcome::Answered && best.iter().any(|ask| is_missing(ask)),
            rcode: decisive.rcode,
            cname_chain: self.chain(&decision),
            addresses,
            address_count,
            duration: end.since(first.ts),
            transactions: number(self.asks().count()),
            packets,
            packets_wasted: packets.saturating_sub(number(decision.needed.len())),
            retries: packets.saturating_sub(number(self.questions() + fallbacks)),
            servers_tried: number(servers.len()),
            tcp_fallback: fallbacks > 0,
            members: self.asks().map(|ask| ask.id).collect(),
            evicted: evicted || self.evicted,
            process: self.process,
            container: self.container,
            pod: self.pod,
        })
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
        let best: Vec<usize> = self.qtypes().into_iter().filter_map(of_type).collect();
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
        let target = self.target(&name.text).filter(|_| name.root.is_some())?;
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

    fn qtypes(&self) -> Vec<u16> {
        let mut qtypes = Vec::new();
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
        names.map(|(_, name)| &*name.text)
    }

    fn resolvers(&self) -> Vec<Box<str>> {
        let mut resolvers: Vec<Box<str>> = Vec::new();
        for server in self.asks().filter_map(|ask| self.servers.get(ask.server)) {
            let address = || server.address.ip().to_canonical().to_string().into();
            let name = server.name.clone().unwrap_or_else(address);
            if !resolvers.contains(&name) {
                resolvers.push(name);
            }
        }
        resolvers
    }

    fn addresses(&self, decision: &Decision) -> (Vec<Box<str>>, u32) {
        let (mut addresses, mut count) = (Vec::new(), 0);
        for found in decision.best.iter().filter_map(|place| self.asks.get(*place)?.found.as_ref())
        {
            count += found.address_count;
            addresses.extend(found.addresses.iter().cloned());
        }
        addresses.truncate(MAX_ADDRESSES);
        (addresses, count)
    }

    /// What the first answer with CNAMEs told, and behind it what its target's did.
    fn chain(&self, decision: &Decision) -> Vec<Box<str>> {
        let told = |place: usize| {
            let found = self.asks.get(place).and_then(|ask| ask.found.as_ref());
            found.map_or(&[][..], |found| &found.chain)
        };
        let chains = decision.best.iter().map(|place| {
            let before = self.told_by(*place).map_or(&[][..], told);
            [before, told(*place)].concat()
        });
        let mut chain = chains.into_iter().find(|chain| !chain.is_empty()).unwrap_or_default();
        chain.truncate(MAX_CHAIN);
        chain
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
