//! Cache of the names of resolvers by address.

use crate::metrics::{ResolverLabel, TransactionMetrics};
use crate::record::RecordBuilder;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;

/// Maximum number of addresses; the cache is cleared when it is full.
const MAX_ADDRESSES: usize = 1 << 14;

/// Names of resolvers, by address.
#[derive(Debug, Default)]
pub(super) struct ResolverNames {
    /// By IPv6 address; an IPv4 address is mapped, so that both forms are one resolver.
    pub(super) names: HashMap<u128, ResolverName, RandomState>,
    /// Whether metrics have no addresses.
    hidden: bool,
}

/// Label of resolvers whose addresses are masked.
const HIDDEN: &str = "masked";

/// Name of a resolver.
#[derive(Debug)]
pub(super) struct ResolverName {
    /// The configured name, else the address.
    pub(super) name: Box<str>,
    /// Label in metrics.
    pub(super) label: ResolverLabel,
}

impl ResolverNames {
    /// Creates an empty cache. If `hidden`, metrics have no addresses.
    pub(super) fn new(hidden: bool) -> Self {
        Self { hidden, ..Self::default() }
    }

    /// Returns the name of the resolver at an address.
    pub(super) fn get(
        &mut self,
        server: IpAddr,
        identity: &RecordBuilder,
        metrics: &mut TransactionMetrics,
    ) -> &ResolverName {
        let bits = match server {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        if self.names.len() >= MAX_ADDRESSES && !self.names.contains_key(&bits) {
            self.names.clear();
        }
        self.names.entry(bits).or_insert_with(|| {
            let name = identity.resolver(server);
            let is_shown = !self.hidden || name.parse::<IpAddr>().is_err();
            let label = metrics.resolver(if is_shown { &name } else { HIDDEN });
            ResolverName { label, name: name.into() }
        })
    }
}
