//! Derives the result of a lookup from its queries.

use super::state::{OpenLookup, SentQuery};
use super::suffixes::Suffixes;
use super::{Few, Lookup, MAX_ADDRESSES, MAX_CHAIN, MAX_NAMES, Outcome};
use dnscribe_dns::rtype::{A, AAAA};
use dnscribe_dns::{class_name, rcode_name, type_name};
use dnscribe_record::LookupFields;
use dnscribe_record::number::milliseconds;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::Transport;
use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

/// Least time for which stubs wait for a response before they ask again, since `timeout` of resolv.conf(5) is in seconds.
/// What they send within it goes to several servers at once.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

/// The deciding queries of a lookup.
struct Decision {
    /// Index of the name that they are for.
    root: usize,
    /// For each type the index of the query whose outcome counts.
    best: Few<usize>,
    /// Indices of these queries and of those that led to them.
    needed: Few<usize>,
}

impl OpenLookup {
    /// Returns the lookup as ended; `None` without queries. `evicted`: ended early. Pending queries
    /// have waited until `now`.
    pub(super) fn result(
        &self,
        evicted: bool,
        now: Timestamp,
        suffixes: &Suffixes,
    ) -> Option<Lookup<'_>> {
        let first = self.queries().next()?;
        let qname = self.stem(suffixes);
        let decision = self.decide(qname);
        let best = || decision.best.iter().filter_map(|place| self.queries.get(*place));
        let decisive = best().min_by_key(|sent| rank(sent))?;
        let outcome = outcome_of(decisive);
        let end = best().filter_map(|sent| self.waited_until(sent, now)).max()?;
        let packets = self.queries().map(|sent| 1 + sent.retries).sum::<u32>();
        let fallbacks = self.fallbacks();
        let names = self.asked_roots();
        let answered = self.names.get(decision.root).filter(|_| outcome == Outcome::Answered);
        let qtypes = distinct(self.queries().map(|sent| sent.qtype));
        let expansions = names.iter().filter(|name| **name != qname).count();
        let tried = names.iter().copied().filter(|_| expansions > 0).take(MAX_NAMES);
        let fields = LookupFields {
            client_ip: self.network.1,
            resolvers: self.resolvers(),
            qname,
            qtypes: qtypes.iter().map(|qtype| type_name(*qtype)).collect(),
            qclass: class_name(self.qclass),
            outcome: outcome.name(),
            partial: outcome == Outcome::Answered && best().any(is_missing),
            rcode: decisive.rcode.map(rcode_name),
            answered_name: answered.map(|name| self.text(name.text)),
            cname_chain: self.cname_chain(&decision),
            addresses: self.addresses(&decision),
            address_count: best().map(|sent| sent.found.address_count).sum(),
            duration_ms: milliseconds(end.since(first.ts)),
            transactions: number(self.queries().count()),
            packets,
            packets_wasted: packets.saturating_sub(number(decision.needed.len())),
            search_expansions: number(expansions),
            names_tried: tried.collect(),
            retries: packets.saturating_sub(number(self.questions() + fallbacks)),
            servers_tried: number(distinct(self.queries().map(|sent| sent.server)).len()),
            tcp_fallback: fallbacks > 0,
        };
        Some(Lookup {
            id: first.id,
            ts: first.ts,
            vantage: self.vantage,
            qtypes,
            names,
            outcome,
            fields,
            members: self.queries().map(|sent| sent.id).collect(),
            evicted: evicted || self.evicted,
            attribution: &self.attribution,
            pod: self.pod.as_deref(),
        })
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
        let qtypes = distinct(self.queries().map(|sent| sent.qtype));
        let best: Few<usize> = qtypes.into_iter().filter_map(of_type).collect();
        let led_to = |place: &usize| [self.truncated_before(*place), self.cname_source(*place)];
        let before = best.iter().flat_map(led_to).flatten();
        let needed = distinct(best.iter().copied().chain(before));
        Decision { root, best, needed }
    }

    /// Returns when the application had what it waited for of a type, of which `best` is the result: an answer, or, without one,
    /// the result of the last question.
    fn waited_until(&self, best: &SentQuery, now: Timestamp) -> Option<Timestamp> {
        let end = |sent: &SentQuery| sent.ended.unwrap_or(now);
        if outcome_of(best) == Outcome::Answered {
            return Some(end(best));
        }
        let of_type = || self.queries().filter(|sent| sent.qtype == best.qtype);
        // A try without a response is over when a later one begins.
        let is_given_up = |sent: &SentQuery| {
            matches!(outcome_of(sent), Outcome::Timeout | Outcome::Open)
                && of_type().any(|later| later.ts >= sent.ts.plus(LEAST_PATIENCE))
        };
        // What several servers are asked at once is known with the first response.
        let known = |name: usize| {
            let definite =
                of_type().filter(|sent| sent.name == name && outcome_of(sent).is_definitive());
            definite.map(end).min()
        };
        let tries = of_type().filter(|sent| !is_given_up(sent));
        tries.map(|sent| known(sent.name).unwrap_or_else(|| end(sent))).max()
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
        let counted = self.queries.iter().enumerate().filter(|(_, sent)| !sent.withdrawn);
        distinct(counted.filter_map(|(place, _)| self.truncated_before(place))).len()
    }

    /// Returns the number of different questions.
    fn questions(&self) -> usize {
        distinct(self.queries().map(|sent| (sent.name, sent.qtype))).len()
    }

    /// Returns the names that the application asked for, without those of withdrawn queries.
    fn asked_roots(&self) -> Few<&str> {
        let names = self.names.iter().enumerate().filter(|(place, name)| {
            name.root.is_none() && self.queries().any(|sent| sent.name == *place)
        });
        names.map(|(_, name)| self.text(name.text)).collect()
    }

    /// Returns the names of the servers, or their addresses.
    fn resolvers(&self) -> Vec<Cow<'_, str>> {
        let servers = self.queries().filter_map(|sent| self.servers.get(sent.server));
        distinct(servers.map(|server| match server.name {
            Some(name) => Cow::Borrowed(self.text(name)),
            None => Cow::Owned(server.address.ip().to_canonical().to_string()),
        }))
        .into_vec()
    }

    fn addresses(&self, decision: &Decision) -> Vec<&str> {
        let found = decision.best.iter().filter_map(|place| self.queries.get(*place));
        found.flat_map(|sent| self.pieces(&sent.found.addresses)).take(MAX_ADDRESSES).collect()
    }

    /// Returns the CNAMEs of the first answer that has some, and of its target's answer.
    fn cname_chain(&self, decision: &Decision) -> Vec<&str> {
        let targets = |place: usize| {
            let found = self.queries.get(place).map(|sent| &sent.found);
            found.into_iter().flat_map(|found| self.pieces(&found.chain))
        };
        let mut chains = decision.best.iter().map(|place| {
            let before = self.cname_source(*place).into_iter().flat_map(targets);
            distinct(before.chain(targets(*place)).take(MAX_CHAIN)).into_vec()
        });
        chains.find(|chain| !chain.is_empty()).unwrap_or_default()
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

/// Returns the different values, in the order of their first occurrence.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Few<T> {
    let mut distinct = Few::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}
