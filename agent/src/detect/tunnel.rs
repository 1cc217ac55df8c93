//! Data carried in names: tunnels, exfiltration, and the beat of what waits for orders.
//!
//! Looked at is who asks for names in one zone. Of a name only pieces that look like data count
//! ([`super::lexical`]), and each name once: a cache asks nobody for what it has, so whoever carries data
//! needs new names. How much they carry, by which record types, with what answers and in what beat, over a
//! minute and over hours, tells a tunnel from lookups that look like one. `docs/detectors.md` tells the
//! method.

mod flow;
mod verdict;

use super::finding::{Detector, Finding};
use super::known::is_lookup_service;
use super::lexical::{LEAST_PIECE, encoded_octets};
use super::table::Table;
use super::who::{Who, both, hash, is_echo, is_multicast};
use crate::observation::Observation;
use crate::time::Timestamp;
use flow::{Flow, Look};
use std::time::Duration;

pub use verdict::TunnelOptions;

/// Octets that [`Tunnel`] takes at most.
pub const TUNNEL_MEMORY_BYTES: usize = 16 << 20;

/// Pairs of zone and asker at a time.
const FLOWS: usize = 2048;
/// How long a flow without names that look like data is remembered.
const IDLE: Duration = Duration::from_secs(7 * 3600);

/// Finds data carried in names.
#[derive(Debug)]
pub struct Tunnel {
    options: TunnelOptions,
    flows: Table<Flow>,
}

impl Default for Tunnel {
    fn default() -> Self {
        Self::new(TunnelOptions::default())
    }
}

impl Tunnel {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: TunnelOptions) -> Self {
        Self { options, flows: Table::new(FLOWS) }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.flows.bytes(Flow::heap_bytes)
    }
}

impl Detector for Tunnel {
    fn observe(&mut self, observation: &Observation<'_>) {
        let Some(qname) = observation.qname else { return };
        let (below, zone) = split(qname, observation.zone);
        let carries_anything = observation.qtype.is_some_and(flow::is_opaque);
        if below.is_empty() || (below.len() < LEAST_PIECE && !carries_anything) {
            return;
        }
        let encoded = encoded_octets(below);
        if encoded == 0 && !carries_anything {
            return;
        }
        let counts = observation.is_query() && observation.opcode == 0;
        if !counts || is_echo(observation) || is_multicast(observation) || is_lookup_service(zone) {
            return;
        }
        let key = both(hash(zone.as_bytes()), Who::key(observation));
        let new = || Flow::new(zone.into(), Who::of(observation));
        let look = Look { name: hash(qname.as_bytes()), encoded, carries_anything };
        self.flows.entry(key, observation.ts, new).take(observation, &look);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for flow in self.flows.values_mut() {
            flow.roll(now);
            if let Some(finding) = verdict::of(flow, now, &self.options) {
                each(finding);
            }
        }
        self.flows.age(now, IDLE);
    }
}

/// A name's labels below its zone, and the zone; where none is known, that is the last two labels. By the
/// rules of public suffixes any unknown last label is a suffix: where data stands right before it, it is
/// taken for a zone of somebody's own.
fn split<'a>(qname: &'a str, zone: Option<&'a str>) -> (&'a str, &'a str) {
    let mut zone = zone.unwrap_or_else(|| {
        let mut dots = qname.rmatch_indices('.');
        dots.nth(1).map_or(qname, |(dot, _)| &qname[dot + 1..])
    });
    if zone.len() == qname.len()
        && let Some((first, last)) = qname.rsplit_once('.')
        && encoded_octets(first) > 0
        && psl::suffix(qname.as_bytes()).is_some_and(|suffix| !suffix.is_known())
    {
        zone = last;
    }
    let below = qname.len().saturating_sub(zone.len() + 1);
    (qname.get(..below).unwrap_or_default(), zone)
}

#[cfg(test)]
mod tests;
