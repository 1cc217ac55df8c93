//! What resolvers are called, made once for each address and not for each transaction.

use crate::metrics::{ResolverLabel, TransactionMetrics};
use crate::record::Identity;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses known at most; when there are more, they are learnt anew.
const MAX_KNOWN: usize = 1 << 14;

/// What resolvers are called, by address.
#[derive(Debug, Default)]
pub(super) struct Resolvers {
    /// By their address as IPv6 has it: a mapped IPv4 address is the same resolver.
    known: HashMap<u128, Resolver, RandomState>,
    /// Whether metrics do not tell addresses.
    hidden: bool,
}

/// What metrics call resolvers whose addresses are not told.
const HIDDEN: &str = "masked";

/// What a resolver is called.
#[derive(Debug)]
pub(super) struct Resolver {
    /// In records: the configured name, else the address.
    pub(super) name: Box<str>,
    /// In metrics.
    pub(super) label: ResolverLabel,
}

impl Resolvers {
    /// Knows none yet; `hidden`: metrics do not tell their addresses.
    pub(super) fn new(hidden: bool) -> Self {
        Self { hidden, ..Self::default() }
    }

    /// What the resolver at an address is called.
    pub(super) fn at(
        &mut self,
        server: IpAddr,
        identity: &Identity,
        metrics: &mut TransactionMetrics,
    ) -> &Resolver {
        let bits = match server {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&bits) {
            self.known.clear();
        }
        self.known.entry(bits).or_insert_with(|| {
            let name = identity.resolver(server);
            let is_told = !self.hidden || name.parse::<IpAddr>().is_err();
            let label = metrics.resolver(if is_told { &name } else { HIDDEN });
            Resolver { label, name: name.into() }
        })
    }

    /// Forgets what resolvers are called: the configuration has changed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}
