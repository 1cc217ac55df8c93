//! Attribution of a transaction to a process or client, and the evidence that detectors collect
//! about it. Also the filters and hashes that detectors share.

use super::finding::{Entity, Evidence, Figure, Finding, Rule, Severity};
use crate::uses::Use;
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_transaction::correlate::ParentMatch;
use dnscribe_transaction::pair::Vantage;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use xxhash_rust::xxh3::xxh3_64;

/// Maximum number of evidence items of each kind.
const MAX_ITEMS: usize = 10;
/// Bytes of a name in evidence; longer names are cut.
const MAX_NAME_BYTES: usize = 255;

/// Returns the hash of `bytes`: the same on every machine, so that output is reproducible.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

pub(super) const fn combine_hashes(first: u64, second: u64) -> u64 {
    (first.rotate_left(29) ^ second).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

pub(super) fn hash_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

/// Returns whether another transaction on this host caused this one: the other end of the same
/// exchange, or a query of a resolver on behalf of its client. Detectors use the original
/// transaction.
pub(super) const fn is_echo(observation: &TransactionView<'_>) -> bool {
    observation.parent.is_some()
}

/// Returns whether this is the other end of an exchange that was captured twice on this host.
/// Unlike [`is_echo`], false for the queries of a resolver on behalf of its clients.
pub(super) const fn is_other_end(observation: &TransactionView<'_>) -> bool {
    matches!(observation.parent, Some(parent) if matches!(parent.by, ParentMatch::Exchange))
}

/// Returns whether this is multicast DNS or LLMNR, judged by the ports.
pub(super) const fn is_multicast(observation: &TransactionView<'_>) -> bool {
    matches!(observation.server.port(), 5353 | 5355) || matches!(observation.client.port(), 5353)
}

/// Where an address leads, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressKind {
    Public,
    /// Private, shared or link-local (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// This host, or no host: broadcast and reserved addresses (RFC 6890), too.
    Nowhere,
    /// An IPv4 address behind the well-known prefix of RFC 6052.
    Translated,
}

impl AddressKind {
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                if v4.is_unspecified() || v4.is_loopback() || a >= 240 {
                    Self::Nowhere
                } else if v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xC0 == 64) {
                    Self::Private
                } else {
                    Self::Public
                }
            }
            IpAddr::V6(v6) => {
                if v6.is_unspecified() || v6.is_loopback() {
                    Self::Nowhere
                } else if v6.is_unique_local() || v6.is_unicast_link_local() {
                    Self::Private
                } else if is_translated(v6) {
                    Self::Translated
                } else {
                    Self::Public
                }
            }
        }
    }
}

const fn is_translated(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, ..])
}

/// Sender of a query: the process if it runs on this host, otherwise the address of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attribution {
    /// Process name, and pod or container.
    Process(Box<str>, Option<Box<str>>),
    /// Client address.
    Client(IpAddr),
}

impl Attribution {
    pub(super) fn new(observation: &TransactionView<'_>) -> Self {
        match (observation.vantage, observation.process) {
            (Vantage::Client, Some(process)) => {
                Self::Process(process.comm.into(), observation.pod.map(Into::into))
            }
            _ => Self::Client(observation.client.ip()),
        }
    }

    /// Returns the hash of the attribution without creating it.
    pub(super) fn hash(observation: &TransactionView<'_>) -> u64 {
        match (observation.vantage, observation.process) {
            (Vantage::Client, Some(process)) => hash_process(process.comm, observation.pod),
            _ => hash_address(observation.client.ip()),
        }
    }

    /// Returns the process that opened a connection, and its hash, which is that of its queries. None if it is unknown.
    pub(super) fn of_use(one: &Use) -> Option<(u64, impl FnOnce() -> Self)> {
        let comm = one.attribution.process.as_ref()?.name();
        let pod = one.attribution.pod_path();
        let key = hash_process(&comm, pod);
        Some((key, move || Self::Process(comm.into_owned().into(), pod.map(Into::into))))
    }

    /// Returns a process as `comm[pid]`; none for a client.
    pub(super) fn process_text(&self, pid: u32) -> Option<Box<str>> {
        match self {
            Self::Process(comm, _) => Some(format!("{comm}[{pid}]").into()),
            Self::Client(_) => None,
        }
    }

    /// Returns the parts of an alert's entity that identify the sender.
    pub(super) fn entity(&self) -> Entity {
        match self {
            Self::Process(process, pod) => {
                Entity { process: Some(process.clone()), pod: pod.clone(), ..Entity::default() }
            }
            Self::Client(address) => {
                Entity { client: Some(address.to_string().into()), ..Entity::default() }
            }
        }
    }
}

fn hash_process(comm: &str, pod: Option<&str>) -> u64 {
    combine_hashes(hash(comm.as_bytes()), pod.map_or(1, |pod| hash(pod.as_bytes())))
}

impl std::fmt::Display for Attribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(process, Some(pod)) => write!(f, "{process} in {pod}"),
            Self::Process(process, None) => f.write_str(process),
            Self::Client(address) => write!(f, "client {address}"),
        }
    }
}

/// Bounded sample of evidence: the first items, then ever fewer newer ones.
#[derive(Clone, Debug, Default)]
pub(super) struct EvidenceSample {
    recorded: u64,
    evidence: Evidence,
}

impl EvidenceSample {
    /// Records an observation, if it is one of those to keep.
    pub(super) fn record(&mut self, observation: &TransactionView<'_>) {
        self.recorded += 1;
        // After the first ten, only the observations whose number is a power of two.
        if self.recorded > MAX_ITEMS as u64 && !self.recorded.is_power_of_two() {
            return;
        }
        // The first ten are appended; later ones replace the item at this index.
        let index = self.recorded.ilog2() as usize % MAX_ITEMS;
        let Evidence { samples, qnames, processes, clients, resolvers, .. } = &mut self.evidence;
        put(samples, index, observation.id);
        if let Some(qname) = observation.qname {
            put_if_new(qnames, index, &truncate(qname));
        }
        if let Some(process) = observation.process {
            put_if_new(processes, index, &format!("{}[{}]", process.comm, process.pid));
        }
        put_if_new(clients, index, &observation.client.ip().to_string());
        put_if_new(resolvers, index, observation.resolver);
    }

    /// Returns a finding with the collected items as evidence.
    pub(super) fn finding(
        &self,
        rule: Rule,
        entity: Entity,
        level: Severity,
        (summary, figures): (String, Vec<Figure>),
    ) -> Finding {
        Finding { rule, entity, level, summary, evidence: self.evidence(figures) }
    }

    /// Returns the collected items together with `figures`.
    pub(super) fn evidence(&self, figures: Vec<Figure>) -> Evidence {
        Evidence { figures, ..self.evidence.clone() }
    }
}

/// Cuts a name that is longer than [`MAX_NAME_BYTES`]; escaped names can be.
fn truncate(qname: &str) -> Cow<'_, str> {
    match qname.get(..MAX_NAME_BYTES) {
        Some(start) if qname.len() > MAX_NAME_BYTES => Cow::Owned(format!("{start}…")),
        _ => Cow::Borrowed(qname),
    }
}

fn put<T>(items: &mut Vec<T>, index: usize, item: T) {
    if items.len() < MAX_ITEMS {
        items.push(item);
    } else if let Some(slot) = items.get_mut(index) {
        *slot = item;
    }
}

fn put_if_new(items: &mut Vec<Box<str>>, index: usize, item: &str) {
    if !items.iter().any(|known| **known == *item) {
        put(items, index, item.into());
    }
}

/// Returns `part / whole`, or 0 if `whole` is 0.
pub(super) const fn share(part: u64, whole: u64) -> f64 {
    ratio(to_f64(part), to_f64(whole))
}

/// Returns the share of a part in a whole, of counts that are estimates; 0 of nothing.
pub(super) const fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::ProcessView;
    use crate::view::testing::example;
    use dnscribe_record::time::Timestamp;

    #[test]
    fn uses_process_at_client_vantage_only() {
        let mut observation = example(Timestamp::default());
        assert_eq!(Attribution::new(&observation).to_string(), "curl");
        let at_client = Attribution::hash(&observation);
        observation.vantage = Vantage::Server;
        assert_eq!(Attribution::new(&observation).to_string(), "client 192.0.2.1");
        assert_ne!(Attribution::hash(&observation), at_client);
    }

    #[test]
    fn distinguishes_pods() {
        let mut observation = example(Timestamp::default());
        observation.pod = Some("shop/cart");
        let one = Attribution::hash(&observation);
        observation.pod = Some("shop/till");
        assert_ne!(Attribution::hash(&observation), one);
        assert_eq!(Attribution::new(&observation).to_string(), "curl in shop/till");
    }

    #[test]
    fn evidence_is_bounded() {
        let mut sample = EvidenceSample::default();
        for number in 0..10_000_u32 {
            let name = format!("{number}.example.com");
            let mut observation = example(Timestamp::default());
            observation.qname = Some(&name);
            observation.process = Some(ProcessView { pid: number, comm: "sh" });
            sample.record(&observation);
        }
        let evidence = sample.evidence(Vec::new());
        assert_eq!((evidence.qnames.len(), evidence.processes.len()), (10, 10));
        assert_eq!(evidence.clients.len(), 1);
        assert!(evidence.qnames.iter().any(|name| &**name == "8191.example.com"));
    }
}
