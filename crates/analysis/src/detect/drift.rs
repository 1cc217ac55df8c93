//! Rule `resolver_drift`: resolvers that answer the same name differently.
//!
//! For each name queried by A or AAAA, the last answer of each resolver is kept as a class: no such
//! name or no data, public address, private address, or null address. Counted is the share of names
//! on which a resolver differs from others that answered within minutes. Large sites return
//! different addresses to every resolver, so different public addresses count only if two resolvers
//! hardly ever agree. The method is described in `docs/detectors.md`.

mod compare;

use super::attribution::{AddressKind, combine_hashes, hash, hash_address, is_echo, is_multicast};
use super::finding::{Detector, Finding, Rule};
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::pair::{Status, Vantage};
use smallvec::SmallVec;
use std::net::IpAddr;
use std::time::Duration;

const MAX_NAMES: usize = 8192;
/// Maximum number of answers kept per name, one per resolver.
const MAX_ANSWERS: usize = 4;
const MAX_RESOLVERS: usize = 64;
/// Names are kept for evidence up to this many bytes.
const MAX_NAME_BYTES: usize = 96;
/// Maximum time between two answers that are compared, since names change.
const MAX_ANSWER_GAP: Duration = Duration::from_secs(300);
/// Time after which an idle name or resolver is forgotten.
const IDLE: Duration = Duration::from_secs(900);

const A: u16 = 1;
const AAAA: u16 = 28;
const NXDOMAIN: u16 = 3;
/// Maximum number of addresses of an answer that are evaluated.
const MAX_ADDRESSES: usize = 16;

/// Finds resolvers that disagree with others.
#[derive(Debug, Default)]
pub struct Drift {
    resolvers: Vec<Resolver>,
    names: AssociativeTable<NameAnswers, MAX_NAMES>,
}

#[derive(Debug)]
struct Resolver {
    address: IpAddr,
    name: Box<str>,
    last_used: Timestamp,
}

/// Answers of several resolvers for a name and type.
#[derive(Debug)]
struct NameAnswers {
    qname: Box<str>,
    zone: u64,
    qtype: u16,
    answers: SmallVec<[ResolverAnswer; MAX_ANSWERS]>,
}

/// Answer of one resolver.
#[derive(Clone, Copy, Debug)]
struct ResolverAnswer {
    resolver: usize,
    content: AnswerContent,
    /// Number of consecutive answers with this content.
    times: u32,
    at: Timestamp,
    id: MessageId,
}

impl Drift {
    /// Returns the index of the resolver, or `None` if there are too many.
    fn resolver(&mut self, observation: &TransactionView<'_>) -> Option<usize> {
        let address = observation.server.ip();
        let ts = observation.ts;
        if let Some(index) = self.resolvers.iter().position(|resolver| resolver.address == address)
        {
            self.resolvers[index].last_used = self.resolvers[index].last_used.max(ts);
            return Some(index);
        }
        let resolver = Resolver { address, name: observation.resolver.into(), last_used: ts };
        if self.resolvers.len() < MAX_RESOLVERS {
            self.resolvers.push(resolver);
            return Some(self.resolvers.len() - 1);
        }
        // The index of an idle resolver is reused, since none of its answers is still compared.
        let index =
            self.resolvers.iter().position(|resolver| ts.since(resolver.last_used) > IDLE)?;
        self.resolvers[index] = resolver;
        Some(index)
    }
}

impl Detector for Drift {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::ResolverDrift]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let (Some(qname), Some(qtype @ (A | AAAA))) = (observation.qname, observation.qtype) else {
            return;
        };
        let is_answer = observation.status == Status::Answered && observation.opcode == 0;
        if !observation.flags.recursion_desired()
            || !is_answer
            || observation.vantage == Vantage::Server
        {
            return;
        }
        if is_echo(observation) || is_multicast(observation) {
            return;
        }
        // A single resolver cannot be compared.
        if let [only] = self.resolvers.as_mut_slice()
            && only.address == observation.server.ip()
        {
            only.last_used = only.last_used.max(observation.ts);
            return;
        }
        let Some(content) = AnswerContent::new(observation, qtype) else { return };
        let Some(resolver) = self.resolver(observation) else { return };
        if self.resolvers.len() < 2 {
            return;
        }
        let key = combine_hashes(hash(qname.as_bytes()), u64::from(qtype));
        let name = self.names.entry(key, observation.ts, || NameAnswers {
            qname: qname.get(..qname.len().min(MAX_NAME_BYTES)).unwrap_or_default().into(),
            zone: hash(observation.zone.unwrap_or(qname).as_bytes()),
            qtype,
            answers: SmallVec::new(),
        });
        name.record(ResolverAnswer {
            resolver,
            content,
            times: 1,
            at: observation.ts,
            id: observation.id,
        });
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.names.age(now, IDLE);
        if self.resolvers.len() >= 2 {
            compare::find_drift(&self.resolvers, self.names.iter(), now, each);
        }
    }
}

impl NameAnswers {
    fn record(&mut self, new: ResolverAnswer) {
        let mut answers = self.answers.iter_mut();
        if let Some(last) = answers.find(|last| last.resolver == new.resolver) {
            let is_same = last.content == new.content;
            let times = if is_same { last.times.saturating_add(1) } else { 1 };
            *last = ResolverAnswer { times, ..new };
        } else if self.answers.len() < MAX_ANSWERS {
            self.answers.push(new);
        } else if let Some(oldest) = self.answers.iter_mut().min_by_key(|last| last.at) {
            *oldest = new;
        }
    }
}

/// Content of an answer to an address query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerContent {
    /// No such name.
    Missing,
    /// No address of this family.
    Nothing,
    /// Addresses, as hashes of their networks.
    Addresses {
        /// Whether there is a private address (RFC 1918, RFC 4193, RFC 6598).
        private: bool,
        /// The two smallest network hashes, in order, so that the order of the answer does not
        /// matter.
        networks: [u64; 2],
        /// Sum of all network hashes.
        all: u64,
    },
    /// A null address: unspecified or loopback.
    Nowhere,
}

impl AnswerContent {
    /// Returns the content of a response, or `None` for errors, truncated responses, and IPv4
    /// addresses translated to IPv6 (RFC 6147).
    fn new(observation: &TransactionView<'_>, qtype: u16) -> Option<Self> {
        match observation.rcode? {
            NXDOMAIN => return Some(Self::Missing),
            0 => {}
            _ => return None,
        }
        if observation.flags.is_truncated() {
            return None;
        }
        let mut networks = [u64::MAX; 2];
        let (mut all, mut count, mut private) = (0_u64, 0, false);
        let addresses = observation.answers.iter().filter(|answer| answer.rtype == qtype);
        for address in
            addresses.filter_map(|answer| answer.data.parse::<IpAddr>().ok()).take(MAX_ADDRESSES)
        {
            count += 1;
            match AddressKind::of(address) {
                AddressKind::Translated => return None,
                AddressKind::Nowhere => return Some(Self::Nowhere),
                AddressKind::Private => private = true,
                AddressKind::Public => {}
            }
            let network = network(address);
            all = all.wrapping_add(network);
            if network < networks[0] {
                networks = [network, networks[0]];
            } else if network != networks[0] && network < networks[1] {
                networks[1] = network;
            }
        }
        Some(if count == 0 { Self::Nothing } else { Self::Addresses { private, networks, all } })
    }

    /// Returns how the answers of two resolvers differ.
    fn differs(self, other: Self, qtype: u16) -> Difference {
        match (self, other) {
            (
                Self::Addresses { private, networks, .. },
                Self::Addresses { private: other_private, networks: others, .. },
            ) => {
                let shared = networks.iter().any(|one| *one != u64::MAX && others.contains(one));
                if private != other_private {
                    Difference::Kind
                } else if shared {
                    Difference::None
                } else {
                    Difference::Addresses
                }
            }
            // Some resolvers filter AAAA for hosts without IPv6.
            (Self::Nothing, _) | (_, Self::Nothing) if qtype == AAAA => Difference::None,
            // Filtering resolvers disagree about whether a name without addresses exists.
            (Self::Nothing, Self::Missing) | (Self::Missing, Self::Nothing) => Difference::None,
            _ if self == other => Difference::None,
            _ => Difference::Kind,
        }
    }
}

/// Difference between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// Addresses without a common network.
    Addresses,
    /// Different class: addresses and none, public and private, or a null address.
    Kind,
}

/// Returns the hash of the network of `address`, since a site has several addresses in it. Private
/// and documentation addresses are hashed whole.
fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) if !v4.is_private() && !v4.is_documentation() => {
            let [a, b, c, _] = v4.octets();
            hash(&[a, b, c])
        }
        IpAddr::V6(v6) if v6.segments()[0] & 0xE000 == 0x2000 && v6.segments()[1] != 0xDB8 => {
            hash(&v6.octets()[..6])
        }
        _ => hash_address(address),
    }
}

#[cfg(test)]
mod tests;
