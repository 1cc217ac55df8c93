//! Who asks, and what one can look at of it.

use super::finding::{Entity, Evidence, Figure};
use crate::decode::MessageId;
use crate::join::Match;
use crate::number::float;
use crate::observation::Observation;
use crate::pair::Vantage;
use std::borrow::Cow;
use std::net::IpAddr;
use xxhash_rust::xxh3::xxh3_64;

/// Of each kind, what evidence holds at most.
const EXHIBITS: usize = 10;
/// Octets of a name that evidence shows.
const LONGEST_NAME: usize = 255;

/// The hash of some octets; the same everywhere, so that nothing that is told depends on chance.
pub(super) fn hash(octets: &[u8]) -> u64 {
    xxh3_64(octets)
}

/// One hash of two.
pub(super) const fn both(first: u64, second: u64) -> u64 {
    (first.rotate_left(29) ^ second).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The hash of an address.
pub(super) fn hash_of_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

/// Whether it is the other end of an exchange that was told of already, or what a resolver of this host
/// does for one that asked it: then the one who asked is looked at.
pub(super) const fn is_echo(observation: &Observation<'_>) -> bool {
    observation.parent.is_some()
}

/// The same, where a resolver's own queries do count.
pub(super) const fn is_other_end(observation: &Observation<'_>) -> bool {
    matches!(observation.parent, Some(parent) if matches!(parent.by, Match::Exchange))
}

/// Whether it is multicast DNS or LLMNR, by their ports.
pub(super) const fn is_multicast(observation: &Observation<'_>) -> bool {
    matches!(observation.server.port(), 5353 | 5355) || matches!(observation.client.port(), 5353)
}

/// Who asks: a process by its name and pod, where it is at this host; else the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Name, and pod or container.
    Process(Box<str>, Option<Box<str>>),
    /// Address.
    Client(IpAddr),
}

impl Who {
    /// Who it was.
    pub(super) fn of(observation: &Observation<'_>) -> Self {
        match (observation.vantage, observation.process) {
            (Vantage::Client, Some(process)) => {
                Self::Process(process.comm.into(), observation.pod.map(Into::into))
            }
            _ => Self::Client(observation.client.ip()),
        }
    }

    /// The same as a number, without making it.
    pub(super) fn key(observation: &Observation<'_>) -> u64 {
        match (observation.vantage, observation.process) {
            (Vantage::Client, Some(process)) => {
                let pod = observation.pod.map_or(1, |pod| hash(pod.as_bytes()));
                both(hash(process.comm.as_bytes()), pod)
            }
            _ => hash_of_address(observation.client.ip()),
        }
    }

    /// As part of what an alert is known by.
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

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Process(process, pod) => process.len() + pod.as_ref().map_or(0, |pod| pod.len()),
            Self::Client(_) => 0,
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(process, Some(pod)) => write!(f, "{process} in {pod}"),
            Self::Process(process, None) => f.write_str(process),
            Self::Client(address) => write!(f, "client {address}"),
        }
    }
}

/// What one can look at: some of the first, and then now and again a newer one.
#[derive(Clone, Debug, Default)]
pub(super) struct Exhibits {
    taken: u64,
    samples: Vec<MessageId>,
    qnames: Vec<Box<str>>,
    processes: Vec<Box<str>>,
    clients: Vec<IpAddr>,
    resolvers: Vec<Box<str>>,
}

impl Exhibits {
    /// Takes an observation, if it is one of those to be kept.
    pub(super) fn take(&mut self, observation: &Observation<'_>) {
        self.taken += 1;
        let first = self.taken <= EXHIBITS as u64;
        // After the first ten, those of which there are as many before as a power of two.
        if !first && !self.taken.is_power_of_two() {
            return;
        }
        let turn = usize::try_from(self.taken - 1).unwrap_or(0) % EXHIBITS;
        let turn = if first { turn } else { self.taken.ilog2() as usize % EXHIBITS };
        keep(&mut self.samples, turn, observation.id);
        if let Some(qname) = observation.qname {
            let shown = clipped(qname);
            keep_new(&mut self.qnames, turn, |known| **known == *shown, || shown.as_ref().into());
        }
        if let Some(process) = observation.process {
            let shown = format!("{}[{}]", process.comm, process.pid);
            keep_new(&mut self.processes, turn, |known| **known == shown, || shown.as_str().into());
        }
        let client = observation.client.ip();
        keep_new(&mut self.clients, turn, |known| *known == client, || client);
        let resolver = observation.resolver;
        keep_new(&mut self.resolvers, turn, |known| &**known == resolver, || resolver.into());
    }

    /// As a finding has it.
    pub(super) fn evidence(&self, figures: Vec<Figure>) -> Evidence {
        Evidence {
            figures,
            samples: self.samples.clone(),
            qnames: self.qnames.clone(),
            processes: self.processes.clone(),
            clients: self.clients.iter().map(|client| client.to_string().into()).collect(),
            resolvers: self.resolvers.clone(),
        }
    }

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let texts = [&self.qnames, &self.processes, &self.resolvers];
        let text = |texts: &&Vec<Box<str>>| {
            texts.capacity() * size_of::<Box<str>>()
                + texts.iter().map(|text| text.len()).sum::<usize>()
        };
        self.samples.capacity() * size_of::<MessageId>()
            + self.clients.capacity() * size_of::<IpAddr>()
            + texts.iter().map(text).sum::<usize>()
    }
}

/// A name, cut where it is longer than most can be: octets may be written as four.
fn clipped(qname: &str) -> Cow<'_, str> {
    match qname.get(..LONGEST_NAME) {
        Some(start) if qname.len() > LONGEST_NAME => Cow::Owned(format!("{start}…")),
        _ => Cow::Borrowed(qname),
    }
}

fn keep<T>(kept: &mut Vec<T>, turn: usize, item: T) {
    if kept.len() < EXHIBITS {
        kept.push(item);
    } else if let Some(slot) = kept.get_mut(turn) {
        *slot = item;
    }
}

fn keep_new<T>(
    kept: &mut Vec<T>,
    turn: usize,
    is_it: impl Fn(&T) -> bool,
    item: impl FnOnce() -> T,
) {
    if !kept.iter().any(is_it) {
        keep(kept, turn, item());
    }
}

/// A number with what it is compared with.
pub(super) const fn figure(name: &'static str, value: f64, threshold: Option<f64>) -> Figure {
    Figure { name, value, threshold, baseline: None }
}

/// A share of a whole; none of nothing.
pub(super) const fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Process;
    use crate::observation::testing::example;
    use crate::time::Timestamp;

    #[test]
    fn a_process_counts_at_the_client_only() {
        let mut observation = example(Timestamp::default());
        assert_eq!(Who::of(&observation).to_string(), "curl");
        let at_client = Who::key(&observation);
        observation.vantage = Vantage::Server;
        assert_eq!(Who::of(&observation).to_string(), "client 192.0.2.1");
        assert_ne!(Who::key(&observation), at_client);
    }

    #[test]
    fn pods_are_told_apart() {
        let mut observation = example(Timestamp::default());
        observation.pod = Some("shop/cart");
        let one = Who::key(&observation);
        observation.pod = Some("shop/till");
        assert_ne!(Who::key(&observation), one);
        assert_eq!(Who::of(&observation).to_string(), "curl in shop/till");
    }

    #[test]
    fn evidence_is_bounded() {
        let mut exhibits = Exhibits::default();
        for number in 0..10_000_u32 {
            let name = format!("{number}.example.com");
            let mut observation = example(Timestamp::default());
            observation.qname = Some(&name);
            observation.process = Some(Process { pid: number, uid: 0, comm: "sh", exe: None });
            exhibits.take(&observation);
        }
        let evidence = exhibits.evidence(Vec::new());
        assert_eq!((evidence.qnames.len(), evidence.processes.len()), (10, 10));
        assert_eq!(evidence.clients.len(), 1);
        assert!(evidence.qnames.iter().any(|name| &**name == "8191.example.com"));
    }
}
