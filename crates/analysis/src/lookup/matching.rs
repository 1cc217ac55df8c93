//! Decides whether a query belongs to a lookup, by the behaviour of common stub resolvers.

use super::labels::{Kinship, common, dots, is_searchable, kinship, suffix_after};
use super::query::{Query, is_companion};
use super::state::{OpenLookup, SentQuery};
use super::suffixes::Suffixes;
use super::{
    DEFAULT_ATTEMPTS, MAX_PAUSE_BY_TIME, MAX_TRANSACTIONS, MIN_REPEAT_TIMEOUT, MIN_RETRY_TIMEOUT,
    Outcome,
};
use dnscribe_transaction::packet::Transport;

/// How certain it is that a query belongs to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Only the time and the beginning of the name match.
    Weak,
    /// It is what the stub would do next.
    Likely,
    /// It is what the stub would do next, and from the same socket.
    Close,
    /// It has the id of an earlier query, or continues over TCP.
    Sure,
}

impl OpenLookup {
    /// Returns whether the lookup may take a query at all.
    fn is_open_to(&self, query: &Query<'_>) -> bool {
        self.qclass == query.qclass
            && self.queries.len() < MAX_TRANSACTIONS
            && !self.is_over(query.ts)
    }

    /// Rates a query for one of the lookup's names or CNAME targets. `newest`: no later lookup has
    /// the name.
    pub(super) fn fit_same_name(&self, query: &Query<'_>, newest: bool) -> Option<Fit> {
        if !self.is_open_to(query) {
            return None;
        }
        let Some(name) = self.name(&query.qname) else {
            let parent = self.queries.get(self.target(&query.qname)?.sent)?;
            let same_type = parent.qtype == query.qtype;
            return (same_type || both_companions(parent, query)).then_some(Fit::Likely);
        };
        let of_name = || self.queries().filter(|sent| sent.name == name);
        let same = || of_name().filter(|sent| sent.qtype == query.qtype);
        let Some(last) = same().last() else {
            let mut companions = of_name().filter(|sent| both_companions(sent, query)).peekable();
            companions.peek()?;
            let close = companions.any(|sent| sent.port == query.port);
            return Some(if close { Fit::Close } else { Fit::Likely });
        };
        let server_of =
            |sent: &SentQuery| self.servers.get(sent.server).map(|server| server.address);
        let elsewhere = server_of(last) != Some(query.server);
        let same_id = last.dns_id == query.dns_id;
        match last.outcome {
            // glibc repeats both questions over TCP as soon as one answer is truncated.
            None if query.transport == Transport::Tcp && self.is_truncated() => Some(Fit::Sure),
            None if same_id => {
                let patient = query.ts.since(last.ts) >= MIN_REPEAT_TIMEOUT;
                // A stub whose query cannot leave asks again at once, from a new socket.
                // All queries of encrypted DNS may have the id 0 (RFC 8484, RFC 9250).
                let is_new_socket = last.port != query.port && query.dns_id != 0;
                (elsewhere || patient || is_new_socket).then_some(Fit::Sure)
            }
            None => (newest && query.ts.since(last.ts) >= MIN_RETRY_TIMEOUT).then_some(Fit::Likely),
            Some(Outcome::Truncated) if query.transport == Transport::Tcp => Some(Fit::Sure),
            // Answered, and asked again: another call, unless the stub asks all servers at once, or
            // repeats both questions because only one was answered.
            Some(outcome) if outcome.is_definitive() => {
                let to_all = elsewhere && last.port == query.port;
                (same_id && (to_all || self.lacks_answers())).then_some(Fit::Sure)
            }
            Some(_) if same_id => Some(Fit::Sure),
            Some(_) => {
                let times = same().filter(|sent| server_of(sent) == Some(query.server)).count();
                (times < DEFAULT_ATTEMPTS).then_some(Fit::Likely)
            }
        }
    }

    /// Returns whether an answer was truncated.
    pub(super) fn is_truncated(&self) -> bool {
        self.queries().any(|sent| sent.outcome == Some(Outcome::Truncated))
    }

    /// Returns whether a question is pending or has failed.
    fn lacks_answers(&self) -> bool {
        self.queries().any(|sent| !self.is_settled(sent))
    }

    /// Rates a query for another name as the next of a search list.
    pub(super) fn fit_expansion(&self, query: &Query<'_>, suffixes: &Suffixes) -> Option<Fit> {
        let asked = |sent: &SentQuery| sent.qtype == query.qtype || both_companions(sent, query);
        let goes_on = |sent: &SentQuery| match sent.outcome {
            // The stub has given the query up, although it is still pending here.
            None => query.ts.since(sent.ts) >= MIN_RETRY_TIMEOUT,
            Some(outcome) => outcome != Outcome::Answered,
        };
        if !self.is_open_to(query)
            || self.name(&query.qname).is_some()
            || !self.queries().any(asked)
            || !self.queries().all(goes_on)
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
                let denied = |sent: &SentQuery| {
                    is_companion(sent.qtype)
                        && matches!(sent.outcome, Some(Outcome::Nodata | Outcome::Nxdomain))
                };
                let at_once = query.ts.since(self.last_end) <= MAX_PAUSE_BY_TIME;
                (at_once && self.queries().all(denied)).then_some(Fit::Weak)
            }
        }
    }

    /// Returns the name that the application asked for: the one that all others extend; else the
    /// common beginning, shortened to a known search domain if there is one.
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
                    suffix_after(root, end)
                        .is_some_and(|suffix| suffixes.knows(self.network, suffix))
                })
            };
            let longest = dots(first).filter(|end| *end <= stem && known(*end)).last();
            return first.get(..longest.unwrap_or(stem)).unwrap_or_default();
        }
        text
    }

    /// Returns the search domains known for certain: those after a name that was itself queried.
    pub(super) fn certain_suffixes(&self) -> impl Iterator<Item = &str> {
        let shortest = self.roots().min_by_key(|root| root.len()).unwrap_or_default();
        let extends = |root: &&str| common(shortest, root) == Some(shortest.len());
        let proper = self.roots().filter(move |root| *root != shortest);
        proper.filter(extends).filter_map(|root| suffix_after(root, shortest.len()))
    }
}

/// Returns the longest stem after which both names have a known search domain.
fn known_stem(open: &OpenLookup, one: &str, other: &str, suffixes: &Suffixes) -> Option<usize> {
    let known = |name: &str, stem: usize| {
        suffix_after(name, stem).is_some_and(|suffix| suffixes.knows(open.network, suffix))
    };
    let shared = common(one, other)?;
    let stems = dots(one).filter(|stem| *stem <= shared);
    stems.filter(|stem| known(one, *stem) && known(other, *stem)).last()
}

fn both_companions(sent: &SentQuery, query: &Query<'_>) -> bool {
    is_companion(sent.qtype) && is_companion(query.qtype)
}
