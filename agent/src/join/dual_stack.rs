//! Hosts that are seen from outside and ask under another address than they are asked under.

use super::note::{Query, Question, RECURSION_DESIRED, Resolver};
use super::recent::Recent;
use crate::decode::Message;
use crate::time::Timestamp;
use std::time::Duration;

/// Questions and hosts remembered.
const REMEMBERED: usize = 1 << 10;

/// A resolver asks for what it was asked at once.
const LIMIT: Duration = Duration::from_secs(5);

/// Resolvers with an IPv4 and an IPv6 address: what one of them was asked, the other asks for.
#[derive(Debug)]
pub(super) struct Twins {
    /// Who was last asked a question by a client, and when; the question without whom it is of.
    asked: Recent<Question, (Resolver, Timestamp)>,
    /// Who is meant by whom.
    of: Recent<Resolver, Resolver>,
}

impl Default for Twins {
    fn default() -> Self {
        Self { asked: Recent::new(REMEMBERED), of: Recent::new(REMEMBERED) }
    }
}

impl Twins {
    /// Whether a query may show that its sender is another address of a resolver.
    pub(super) fn may_be_found(&self, who: Resolver, message: &Message<'_>) -> bool {
        let address = matches!(who, Resolver::Address(_)) && !self.asked.is_unused();
        address && message.dns.flags.0 & RECURSION_DESIRED == 0
    }

    /// A query arrives at a host that is seen from outside.
    pub(super) fn arrives(&mut self, query: &Query, who: Resolver) {
        if query.recursion_desired && matches!(who, Resolver::Address(_)) {
            self.asked.insert(query.question(Resolver::Host), (who, query.ts));
        }
    }

    /// A query leaves a host that nobody asks: one that resolves names itself (no RD) and asks for
    /// what a host of the other address family was asked just now is taken for that host.
    pub(super) fn leaves(&mut self, query: &Query, who: Resolver) {
        if let Some((asked, since)) = self.asked.get(&query.question(Resolver::Host))
            && !query.recursion_desired
            && asked.may_be(who)
            && query.ts.since(*since) <= LIMIT
        {
            self.of.insert(who, *asked);
        }
    }

    /// The host that is meant by an address.
    pub(super) fn of(&self, who: Resolver) -> Resolver {
        match who {
            Resolver::Address(_) => self.of.get(&who).copied().unwrap_or(who),
            _ => who,
        }
    }
}
