//! Rule `tunnel`: data carried in query names (tunnels, exfiltration, beacons).
//!
//! Evaluated per pair of client and zone. Only parts of a name that look like data count
//! ([`super::lexical`]), and each name counts once: a cache answers repeated names, so a sender of
//! data needs new ones. Volume, record types, answers and regularity, over minutes and hours,
//! distinguish a tunnel from legitimate lookups. The method is described in `docs/detectors.md`.

mod flow;
mod verdict;

use super::attribution::{Attribution, combine_hashes, hash, is_echo, is_multicast};
use super::finding::{Detector, Finding};
use super::lexical::{MIN_PIECE_BYTES, encoded_bytes};
use super::lookup_services::is_lookup_service;
use super::table::AssociativeTable;
use crate::analysis::view::TransactionView;
use dnscribe_record::time::Timestamp;
use flow::{Flow, NameFeatures};
use std::time::Duration;

/// Maximum memory of [`Tunnel`] in bytes.
pub const TUNNEL_MEMORY_BYTES: usize = 16 << 20;

/// Maximum number of flows (pairs of zone and client) tracked.
const MAX_FLOWS: usize = 2048;
/// Time after which a flow without names that look like data is forgotten.
const IDLE: Duration = Duration::from_secs(7 * 3600);

/// Finds data carried in names.
#[derive(Debug, Default)]
pub struct Tunnel {
    flows: AssociativeTable<Flow, MAX_FLOWS>,
}

impl Tunnel {
    /// Memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.flows.bytes(Flow::heap_bytes)
    }
}

impl Detector for Tunnel {
    fn observe(&mut self, observation: &TransactionView<'_>) {
        let Some(qname) = observation.qname else { return };
        let (below, zone) = split(qname, observation.zone);
        let is_opaque = observation.qtype.is_some_and(flow::is_opaque);
        if below.is_empty() || (below.len() < MIN_PIECE_BYTES && !is_opaque) {
            return;
        }
        let encoded = encoded_bytes(below);
        if encoded == 0 && !is_opaque {
            return;
        }
        let counts = observation.is_query() && observation.opcode == 0;
        if !counts || is_echo(observation) || is_multicast(observation) || is_lookup_service(zone) {
            return;
        }
        let key = combine_hashes(hash(zone.as_bytes()), Attribution::hash(observation));
        let new = || Flow::new(zone.into(), Attribution::new(observation));
        let name = NameFeatures { hash: hash(qname.as_bytes()), encoded, is_opaque };
        self.flows.entry(key, observation.ts, new).record(observation, &name);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.flows.evaluate(now, IDLE, |flow| verdict::evaluate(flow, now), each);
    }
}

/// Splits a name into the labels below its zone and the zone. Without a registrable domain, the
/// zone is the last two labels. The Public Suffix List treats every unknown last label as a suffix;
/// if the label before it looks like data, the last label is taken for a private zone.
fn split<'a>(qname: &'a str, zone: Option<&'a str>) -> (&'a str, &'a str) {
    let mut zone = zone.unwrap_or_else(|| {
        let mut dots = qname.rmatch_indices('.');
        dots.nth(1).map_or(qname, |(dot, _)| &qname[dot + 1..])
    });
    if zone.len() == qname.len()
        && let Some((first, last)) = qname.rsplit_once('.')
        && encoded_bytes(first) > 0
        && psl::suffix(qname.as_bytes()).is_some_and(|suffix| !suffix.is_known())
    {
        zone = last;
    }
    let below = qname.len().saturating_sub(zone.len() + 1);
    (qname.get(..below).unwrap_or_default(), zone)
}

#[cfg(test)]
mod tests;
