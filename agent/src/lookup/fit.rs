//! Which queries belong to one lookup: what the stub resolvers do that are in use.

use super::labels::{Kinship, behind, common, is_searchable, kinship, stems};
use super::open::{Ask, Open};
use super::query::{Query, is_companion};
use super::suffixes::Suffixes;
use super::{AT_ONCE, ATTEMPTS, IMPATIENCE, MAX_TRANSACTIONS, Outcome, REPETITION};
use crate::capture::Transport;

/// How sure it is that a query belongs to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Only the time and the beginning of the name speak for it.
    Weak,
    /// It does what the stub would do next.
    Likely,
    /// The same, and from the same socket.
    Close,
    /// It has the id of before, or continues over TCP.
    Sure,
}

impl Open {
    /// Whether it may take a query at all.
    fn is_open_to(&self, query: &Query<'_>) -> bool {
        self.qclass == query.qclass && self.asks.len() < MAX_TRANSACTIONS && !self.is_over(query.ts)
    }

    /// How a query for one of its names, or for the target of one's CNAME, belongs to it. `newest`:
    /// no later lookup has the name.
    pub(super) fn fit_same_name(&self, query: &Query<'_>, newest: bool) -> Option<Fit> {
        if !self.is_open_to(query) {
            return None;
        }
        let Some(name) = self.name(&query.qname) else {
            let told = self.asks.get(self.target(&query.qname)?.ask)?;
            let same_type = told.qtype == query.qtype;
            return (same_type || both_companions(told, query)).then_some(Fit::Likely);
        };
        let of_name = || self.asks().filter(|ask| ask.name == name);
        let same = || of_name().filter(|ask| ask.qtype == query.qtype);
        let Some(last) = same().last() else {
            let mut companions = of_name().filter(|ask| both_companions(ask, query)).peekable();
            companions.peek()?;
            let close = companions.any(|ask| ask.port == query.port);
            return Some(if close { Fit::Close } else { Fit::Likely });
        };
        let server_of = |ask: &Ask| self.servers.get(ask.server).map(|server| server.address);
        let elsewhere = server_of(last) != Some(query.server);
        let same_id = last.dns_id == query.dns_id;
        match last.outcome {
            // glibc turns to TCP with both questions as soon as one answer is truncated.
            None if query.transport == Transport::Tcp && self.is_truncated() => Some(Fit::Sure),
            None if same_id => {
                let patient = query.ts.since(last.ts) >= REPETITION;
                (elsewhere || patient).then_some(Fit::Sure)
            }
            None => (newest && query.ts.since(last.ts) >= IMPATIENCE).then_some(Fit::Likely),
            Some(Outcome::Truncated) if query.transport == Transport::Tcp => Some(Fit::Sure),
            // Answered, and asked again: another call, unless this one asks everybody at once, or
            // repeats both questions where only one had its answer.
            Some(outcome) if outcome.is_definitive() => {
                let to_all = elsewhere && last.port == query.port;
                (same_id && (to_all || self.lacks_answers())).then_some(Fit::Sure)
            }
            Some(_) if same_id => Some(Fit::Sure),
            Some(_) => {
                let times = same().filter(|ask| server_of(ask) == Some(query.server)).count();
                (times < ATTEMPTS).then_some(Fit::Likely)
            }
        }
    }

    /// Whether an answer was truncated.
    pub(super) fn is_truncated(&self) -> bool {
        self.asks().any(|ask| ask.outcome == Some(Outcome::Truncated))
    }

    /// Whether a question of it still waits, or has failed.
    fn lacks_answers(&self) -> bool {
        self.asks().any(|ask| !self.is_settled(ask))
    }

    /// How a query for another name belongs to it: as the next of a search list.
    pub(super) fn fit_expansion(&self, query: &Query<'_>, suffixes: &Suffixes) -> Option<Fit> {
        let asked = |ask: &Ask| ask.qtype == query.qtype || both_companions(ask, query);
        let goes_on = |ask: &Ask| match ask.outcome {
            // The stub has given it up, though it counts as waiting here.
            None => query.ts.since(ask.ts) >= IMPATIENCE,
            Some(outcome) => outcome != Outcome::Answered,
        };
        if !self.is_open_to(query)
            || self.name(&query.qname).is_some()
            || !self.asks().any(asked)
            || !self.asks().all(goes_on)
        {
            return None;
        }
        self.roots().filter_map(|root| self.fit_names(root, query, suffixes)).max()
    }

    fn fit_names(&self, root: &str, query: &Query<'_>, suffixes: &Suffixes) -> Option<Fit> {
        let (stem, kinship) = kinship(root, &query.qname)?;
        let searchable = query.qname.get(..stem).is_some_and(is_searchable);
        match kinship {
            Kinship::Extension => Some(Fit::Close),
            _ if !searchable => None,
            Kinship::Devolution => Some(Fit::Likely),
            Kinship::Cousins if known_stem(self, root, &query.qname, suffixes).is_some() => {
                Some(Fit::Likely)
            }
            Kinship::Cousins => {
                let denied = |ask: &Ask| {
                    is_companion(ask.qtype)
                        && matches!(ask.outcome, Some(Outcome::Nodata | Outcome::Nxdomain))
                };
                let at_once = query.ts.since(self.last_end) <= AT_ONCE;
                (at_once && self.asks().all(denied)).then_some(Fit::Weak)
            }
        }
    }

    /// What the application asked for: the name that all others extend; else what all begin with,
    /// and where the client's search list is known, without what its domains begin with.
    pub(super) fn stem(&self, suffixes: &Suffixes) -> &str {
        let mut roots = self.roots();
        let first = roots.next().unwrap_or_default();
        let mut stem = first.len();
        for root in roots {
            stem = common(first.get(..stem).unwrap_or_default(), root).unwrap_or(stem);
        }
        let text = first.get(..stem).unwrap_or_default();
        if self.roots().all(|root| root != text) {
            let known = |end: usize| {
                self.roots().all(|root| {
                    behind(root, end).is_some_and(|suffix| suffixes.knows(self.network, suffix))
                })
            };
            let longest = stems(first).filter(|end| *end <= stem && known(*end)).last();
            return first.get(..longest.unwrap_or(stem)).unwrap_or_default();
        }
        text
    }

    /// The search domains that are certain: what stands behind a stem that was itself asked for.
    pub(super) fn certain_suffixes(&self) -> impl Iterator<Item = &str> {
        let shortest = self.roots().min_by_key(|root| root.len()).unwrap_or_default();
        let extends = |root: &&str| common(shortest, root) == Some(shortest.len());
        let proper = self.roots().filter(move |root| *root != shortest);
        proper.filter(extends).filter_map(|root| behind(root, shortest.len()))
    }
}

/// The longest stem behind which both names have a domain of the client's search list.
fn known_stem(open: &Open, one: &str, other: &str, suffixes: &Suffixes) -> Option<usize> {
    let known = |name: &str, stem: usize| {
        behind(name, stem).is_some_and(|suffix| suffixes.knows(open.network, suffix))
    };
    let shared = common(one, other)?;
    let stems = stems(one).filter(|stem| *stem <= shared);
    stems.filter(|stem| known(one, *stem) && known(other, *stem)).last()
}

fn both_companions(ask: &Ask, query: &Query<'_>) -> bool {
    is_companion(ask.qtype) && is_companion(query.qtype)
}
