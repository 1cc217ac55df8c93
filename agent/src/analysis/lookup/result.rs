//! Derives the result of a lookup from its queries.

use super::query::{A, AAAA};
use super::state::{OpenLookup, SentQuery};
use super::suffixes::Suffixes;
use super::{Lookup, MAX_ADDRESSES, MAX_CHAIN, MAX_TRANSACTIONS, Outcome, TextList};
use crate::capture::Transport;
use dnscribe_record::time::Timestamp;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// Inline capacity for the types of most lookups.
type Few<T> = SmallVec<[T; 4]>;

/// The deciding queries of a lookup.
struct Decision {
    /// Index of the name that they are for.
    root: usize,
    /// For each type the index of the query whose outcome counts.
    best: Few<usize>,
    /// These queries and those that led to them.
    needed: IndexSet,
}

/// A set of query indices below [`MAX_TRANSACTIONS`].
#[derive(Clone, Copy, Debug, Default)]
struct IndexSet([u64; MAX_TRANSACTIONS / 64]);

impl IndexSet {
    fn len(self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }
}

impl Extend<usize> for IndexSet {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, places: I) {
        for place in places {
            if let Some(bits) = self.0.get_mut(place / 64) {
                *bits |= 1 << (place % 64);
            }
        }
    }
}

impl FromIterator<usize> for IndexSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::default();
        set.extend(places);
        set
    }
}

impl OpenLookup {
    /// Ends the lookup and writes the result to `lookup`; returns false if there is none.
    /// `evicted`: ended early. Pending queries have waited until `now`.
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
        self.write_result(evicted, now, suffixes, lookup).is_some()
    }

    fn write_result(
        &self,
        evicted: bool,
        now: Timestamp,
        suffixes: &Suffixes,
        lookup: &mut Lookup,
    ) -> Option<()> {
        let first = self.queries().next()?;
        let qname = self.stem(suffixes);
        let decision = self.decide(qname);
        let best = || decision.best.iter().filter_map(|place| self.queries.get(*place));
        let decisive = best().min_by_key(|sent| rank(sent))?;
        let outcome = outcome_of(decisive);
        let end = best().map(|sent| sent.ended.unwrap_or(now)).max()?;
        let packets = self.queries().map(|sent| 1 + sent.retries).sum::<u32>();
        let fallbacks = self.fallbacks();
        let servers: IndexSet = self.queries().map(|sent| sent.server).collect();
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
        lookup.transactions = number(self.queries().count());
        lookup.packets = packets;
        lookup.packets_wasted = packets.saturating_sub(number(decision.needed.len()));
        lookup.search_expansions =
            number(lookup.names.iter().filter(|name| *name != qname).count());
        lookup.retries = packets.saturating_sub(number(self.questions() + fallbacks));
        lookup.servers_tried = number(servers.len());
        lookup.tcp_fallback = fallbacks > 0;
        lookup.members.clear();
        lookup.members.extend(self.queries().map(|sent| sent.id));
        lookup.evicted = evicted || self.evicted;
        self.write_resolvers(&mut lookup.resolvers);
        self.write_chain(&decision, &mut lookup.cname_chain);
        lookup.address_count = self.write_addresses(&decision, &mut lookup.addresses);
        Some(())
    }

    fn decide(&self, stem: &str) -> Decision {
        let root = self.decisive_root(stem);
        let places = |wanted: &dyn Fn(&SentQuery) -> bool| -> Option<usize> {
            let fitting =
                self.queries.iter().enumerate().filter(|(_, sent)| !sent.withdrawn && wanted(sent));
            fitting.min_by_key(|(_, sent)| rank(sent)).map(|(place, _)| place)
        };
        let of_type = |qtype: u16| {
            places(&|sent| sent.qtype == qtype && self.root(sent.name) == root)
                .or_else(|| places(&|sent| sent.qtype == qtype))
        };
        let best: Few<usize> = self.qtypes().into_iter().filter_map(of_type).collect();
        let mut needed: IndexSet = best.iter().copied().collect();
        for place in &best {
            needed.extend(self.truncated_before(*place));
            needed.extend(self.cname_source(*place));
        }
        Decision { root, best, needed }
    }

    /// Returns the deciding name: the last with records; else the application's name, if it was
    /// queried; else the last one.
    fn decisive_root(&self, stem: &str) -> usize {
        let answered = self.queries().filter(|sent| sent.outcome == Some(Outcome::Answered)).last();
        let ended = |name: &usize| {
            self.queries().any(|sent| self.root(sent.name) == *name && sent.ended.is_some())
        };
        let last = || self.queries().last().map_or(0, |sent| self.root(sent.name));
        match answered {
            Some(sent) => self.root(sent.name),
            None => self.name(stem).filter(ended).unwrap_or_else(last),
        }
    }

    /// For a query over TCP, returns the UDP query before it whose answer was truncated, or that
    /// was abandoned because the other family's answer was truncated.
    fn truncated_before(&self, place: usize) -> Option<usize> {
        let sent = self.queries.get(place).filter(|sent| sent.transport == Transport::Tcp)?;
        let before = self.queries.iter().take(place).rposition(|other| {
            (other.name, other.qtype, other.transport) == (sent.name, sent.qtype, Transport::Udp)
                && !other.withdrawn
        })?;
        let given_up = |outcome| match outcome {
            Outcome::Truncated => true,
            Outcome::Timeout | Outcome::Open => self.is_truncated(),
            _ => false,
        };
        self.queries.get(before).filter(|sent| given_up(outcome_of(sent))).map(|_| before)
    }

    /// For a query for a CNAME target, returns the query whose answer contained the CNAME.
    fn cname_source(&self, place: usize) -> Option<usize> {
        let name = self.names.get(self.queries.get(place)?.name)?;
        let target = self.target(self.text(name.text)).filter(|_| name.root.is_some())?;
        Some(target.sent).filter(|sent| self.queries.get(*sent).is_some_and(|sent| !sent.withdrawn))
    }

    /// Returns the number of queries over TCP after a truncated answer.
    fn fallbacks(&self) -> usize {
        let mut followed = IndexSet::default();
        for place in 0..self.queries.len() {
            if self.queries.get(place).is_some_and(|sent| !sent.withdrawn) {
                followed.extend(self.truncated_before(place));
            }
        }
        followed.len()
    }

    /// Returns the number of different questions.
    fn questions(&self) -> usize {
        let question = |sent: &SentQuery| (sent.name, sent.qtype);
        let is_new = |(place, sent): &(usize, &SentQuery)| {
            self.queries().take(*place).all(|before| question(before) != question(sent))
        };
        self.queries().enumerate().filter(is_new).count()
    }

    fn qtypes(&self) -> Few<u16> {
        let mut qtypes = Few::new();
        for sent in self.queries() {
            if !qtypes.contains(&sent.qtype) {
                qtypes.push(sent.qtype);
            }
        }
        qtypes
    }

    /// Returns the names that the application asked for, without those of withdrawn queries.
    fn asked_roots(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter().enumerate().filter(|(place, name)| {
            name.root.is_none() && self.queries().any(|sent| sent.name == *place)
        });
        names.map(|(_, name)| self.text(name.text))
    }

    fn write_resolvers(&self, resolvers: &mut TextList) {
        resolvers.clear();
        for server in self.queries().filter_map(|sent| self.servers.get(sent.server)) {
            let name = server.name.map_or_else(
                || Cow::Owned(server.address.ip().to_canonical().to_string()),
                |name| Cow::Borrowed(self.text(name)),
            );
            if !resolvers.contains(&name) {
                resolvers.push(&name);
            }
        }
    }

    /// Writes the addresses; returns their number.
    fn write_addresses(&self, decision: &Decision, addresses: &mut TextList) -> u32 {
        addresses.clear();
        let found =
            || decision.best.iter().filter_map(|place| Some(&self.queries.get(*place)?.found));
        let pieces = found().flat_map(|found| self.pieces(&found.addresses));
        pieces.take(MAX_ADDRESSES).for_each(|address| addresses.push(address));
        found().map(|found| found.address_count).sum()
    }

    /// Writes the CNAMEs of the first answer that has some, and of its target's answer.
    fn write_chain(&self, decision: &Decision, chain: &mut TextList) {
        chain.clear();
        let told = |place: usize| {
            let found = self.queries.get(place).map(|sent| &sent.found);
            found.into_iter().flat_map(|found| self.pieces(&found.chain))
        };
        for place in &decision.best {
            let before = self.cname_source(*place).into_iter().flat_map(told);
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

/// Orders queries: the best outcome first, then the earliest.
fn rank(sent: &SentQuery) -> (Outcome, Option<Timestamp>) {
    (outcome_of(sent), sent.ended)
}

fn outcome_of(sent: &SentQuery) -> Outcome {
    sent.outcome.unwrap_or(Outcome::Open)
}

/// Returns whether an address type has no definitive answer.
fn is_missing(sent: &SentQuery) -> bool {
    matches!(sent.qtype, A | AAAA) && !outcome_of(sent).is_definitive()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
