//! Dual-stack resolvers captured from outside: they may send under another address than they
//! receive.

use super::direct_mapped::DirectMappedCache;
use super::query::{Query, Question, RECURSION_DESIRED, Resolver};
use crate::decode::Message;
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Number of questions and hosts remembered.
const CACHE_SLOTS: usize = 1 << 10;

/// Maximum time from a question to a resolver to its upstream query for the same.
const LIMIT: Duration = Duration::from_secs(5);

/// Resolvers with an IPv4 and an IPv6 address: one receives a question, the other sends it on.
#[derive(Debug, Default)]
pub(super) struct DualStackResolvers {
    /// The receiver and time of the last client query for a question; the question has no owner.
    receivers: DirectMappedCache<Question, (Resolver, Timestamp), CACHE_SLOTS>,
    /// The receiving address by the sending address.
    addresses: DirectMappedCache<Resolver, Resolver, CACHE_SLOTS>,
}

impl DualStackResolvers {
    /// Returns whether a query may show that its sender is another address of a resolver.
    pub(super) fn may_be_found(&self, resolver: &Resolver, message: &Message<'_>) -> bool {
        let address = matches!(resolver, Resolver::Address { .. }) && !self.receivers.is_unused();
        address && message.dns.flags.0 & RECURSION_DESIRED == 0
    }

    /// Handles a query to a host that is captured from outside.
    pub(super) fn arrives(&mut self, query: &Query, resolver: Resolver) {
        if query.recursion_desired && matches!(resolver, Resolver::Address { .. }) {
            self.receivers.insert(query.question(Resolver::Host), (resolver, query.ts));
        }
    }

    /// Handles a query from a host that receives no queries. If it resolves names itself (no RD) and
    /// asks what a host of the other address family was just asked, both are the same host.
    pub(super) fn leaves(&mut self, query: &Query, resolver: Resolver) {
        if let Some((receiver, since)) = self.receivers.get(&query.question(Resolver::Host))
            && !query.recursion_desired
            && receiver.may_be_same_host(resolver)
            && query.ts.since(*since) <= LIMIT
        {
            self.addresses.insert(resolver, *receiver);
        }
    }

    /// Returns the known address of the host that a resolver is.
    pub(super) fn canonical<'a>(&'a self, resolver: &'a Resolver) -> &'a Resolver {
        match resolver {
            Resolver::Address { .. } => self.addresses.get(resolver).unwrap_or(resolver),
            _ => resolver,
        }
    }
}
