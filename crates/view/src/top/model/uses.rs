//! Connections by destination and process, from `dns.use/1`.

use super::super::record::Use;
use super::table::Table;
use super::{SEPARATOR, part, process_and_place, second};
use dnscribe_record::Merge as _;
use dnscribe_record::number::to_f64;
use dnscribe_sketch::{Binned, QuantileSketch};
use std::collections::BTreeSet;

/// Capacity in destinations, each of a process. One takes about 2 KiB.
pub const DESTINATIONS: usize = 2048;

/// Addresses of a destination that are counted.
pub const MAX_ADDRESSES: usize = 256;

/// Outcomes of connections, as records name them.
pub const OUTCOMES: [&str; 5] = ["established", "refused", "timeout", "reset", "unknown"];

/// Connections of a process to a name, or to an address where no name is known.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    addresses: BTreeSet<Box<str>>,
    /// Connections, by the places in [`OUTCOMES`].
    outcomes: [u64; OUTCOMES.len()],
    stale: u64,
    /// Time that lookups and connections took, in milliseconds: one value of each record.
    pub lookups: QuantileSketch,
    pub connects: QuantileSketch,
    /// Second of the last connection.
    pub last: u64,
    /// Process of the last connection; 0 where it is unknown.
    pub pid: u32,
}

impl Destination {
    /// Number of connections.
    pub fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Number of addresses, up to [`MAX_ADDRESSES`].
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Share of these outcomes in those that are known; zero where there are none.
    pub fn share(&self, outcomes: &[&str]) -> f64 {
        let known: u64 = self.outcomes.iter().take(OUTCOMES.len() - 1).sum();
        let counts = OUTCOMES.iter().zip(self.outcomes);
        let count: u64 = counts.filter(|(name, _)| outcomes.contains(name)).map(|one| one.1).sum();
        to_f64(count) / to_f64(known.max(1))
    }

    /// Share of the connections that used a stale answer.
    pub fn stale(&self) -> f64 {
        to_f64(self.stale) / to_f64(self.count().max(1))
    }

    pub fn merge(&mut self, other: &Self) {
        other.addresses.iter().for_each(|address| self.add_address(address));
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(own, other)| *own += other);
        self.stale += other.stale;
        self.lookups.merge(&other.lookups);
        self.connects.merge(&other.connects);
        if other.last >= self.last {
            (self.last, self.pid) = (other.last, other.pid);
        }
    }

    fn add_address(&mut self, address: &str) {
        if self.addresses.len() < MAX_ADDRESSES && !self.addresses.contains(address) {
            self.addresses.insert(address.into());
        }
    }

    fn add(&mut self, one: &Use<'_>, at: u64) {
        self.add_address(&part(&one.address));
        let outcome = OUTCOMES.iter().position(|name| *name == &*one.outcome);
        self.outcomes[outcome.unwrap_or(OUTCOMES.len() - 1)] += one.count;
        self.stale += if one.ttl_left_ms.is_some_and(|left| left < 0.0) { one.count } else { 0 };
        for (sketch, wait) in
            [(&mut self.lookups, one.lookup_ms), (&mut self.connects, one.connect_ms)]
        {
            if let Some(wait) = wait.filter(|wait| (0.0..1e12).contains(wait)) {
                sketch.add(Binned::new(wait));
            }
        }
        self.last = self.last.max(at);
        self.pid = one.process.as_ref().map_or(self.pid, |process| process.pid);
    }
}

/// Connections by name, or address, and process.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    table: Table<Destination>,
    /// Connections of destinations that were evicted.
    pub other: u64,
}

impl Uses {
    /// Adds a record. Returns the second of its last connection; none if it is invalid.
    pub(super) fn add(&mut self, one: &Use<'_>) -> Option<u64> {
        let at = second(&one.last).filter(|_| !one.address.is_empty())?;
        let name = part(one.name.as_ref().unwrap_or(&one.address));
        let process = one.process.as_ref();
        let process = process
            .map(|process| process_and_place(process, one.k8s.as_ref(), one.container.as_ref()));
        let key = [&*name, process.as_deref().unwrap_or_default()].join(SEPARATOR);
        let Self { table, other } = self;
        // Not counted exactly, as an activity is not.
        let weight = f32::from(u16::try_from(one.count).unwrap_or(u16::MAX));
        let evicted = |one: &Destination| *other += one.count();
        table.add(&key, weight, DESTINATIONS, evicted)?.add(one, at);
        Some(at)
    }

    pub fn is_empty(&self) -> bool {
        self.table.iter().next().is_none()
    }

    /// Returns name or address, process, and connections, unordered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Destination)> {
        self.table.iter().filter_map(|(key, destination)| {
            let (name, process) = key.split_once(SEPARATOR)?;
            Some((name, process, destination))
        })
    }
}
