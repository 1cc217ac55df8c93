//! Rule `dga`: generated names that do not exist.
//!
//! Two shapes: a client that queries many registrable domains that do not exist (malware looking
//! for its controller), and many nonexistent names below one zone (random-subdomain attack on the
//! servers of the zone, enumeration of names). The entity of the second has a zone and no process.
//! The method is described in `docs/detectors.md`.

mod client;
mod zone;

use super::attribution::{Attribution, hash, is_echo, is_multicast};
use super::finding::{Detector, Finding};
use super::lexical::is_random;
use super::lookup_services::is_lookup_service;
use super::table::AssociativeTable;
use crate::analysis::view::TransactionView;
use crate::pair::Status;
use client::Client;
use dnscribe_record::time::Timestamp;
use std::time::Duration;
use zone::AttackedZone;

/// Maximum memory of [`Dga`] in bytes.
pub const DGA_MEMORY_BYTES: usize = 16 << 20;

/// Maximum number of clients tracked that got NXDOMAIN for a registrable domain.
const MAX_CLIENTS: usize = 2048;
/// Maximum number of zones tracked with failing names.
const MAX_ZONES: usize = 1024;
/// Time after which an idle client or zone is forgotten.
const IDLE: Duration = Duration::from_secs(7200);

const NXDOMAIN: u16 = 3;

/// Minimum share of random-looking names among the failing ones.
const MIN_RANDOM_SHARE: f64 = 0.4;

/// Finds generated names.
#[derive(Debug, Default)]
pub struct Dga {
    clients: AssociativeTable<Client, MAX_CLIENTS>,
    zones: AssociativeTable<AttackedZone, MAX_ZONES>,
}

impl Dga {
    /// Memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.clients.bytes(Client::heap_bytes) + self.zones.bytes(AttackedZone::heap_bytes)
    }

    /// Records a query for a domain that does not exist.
    fn record_missing(&mut self, observation: &TransactionView<'_>, zone: &str, zone_hash: u64) {
        let first = zone.split('.').next().unwrap_or(zone);
        // Hyphens join words, or random parts to others.
        let random = first.split('-').any(|piece| is_random(piece.as_bytes()));
        let new = || Client::new(Attribution::new(observation));
        let client = self.clients.entry(Attribution::hash(observation), observation.ts, new);
        client.record_missing(observation, zone_hash, random);
    }
}

impl Detector for Dga {
    fn observe(&mut self, observation: &TransactionView<'_>) {
        let (Some(qname), Some(zone)) = (observation.qname, observation.zone) else { return };
        let failed = match observation.status {
            Status::Answered => observation.rcode != Some(0),
            Status::Timeout => true,
            _ => return,
        };
        if is_reverse(zone) || is_echo(observation) || is_multicast(observation) {
            return;
        }
        let zone_hash = hash(zone.as_bytes());
        let ts = observation.ts;
        if failed {
            if is_lookup_service(zone) {
                return;
            }
            let missing = observation.rcode == Some(NXDOMAIN);
            if missing {
                self.record_missing(observation, zone, zone_hash);
            }
            if qname.len() > zone.len() {
                let below = &qname[..qname.len() - zone.len()];
                let attacked = self.zones.entry(zone_hash, ts, || AttackedZone::new(zone.into()));
                attacked.record_failure(observation, below, hash(qname.as_bytes()));
            }
            return;
        }
        if let Some(client) = self.clients.get_mut(Attribution::hash(observation), ts) {
            client.record_existing(ts, zone_hash);
        }
        if let Some(attacked) = self.zones.get_mut(zone_hash, ts) {
            attacked.record_answer(ts);
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.clients.evaluate(now, IDLE, |client| client.evaluate(now), each);
        self.zones.evaluate(now, IDLE, |zone| zone.evaluate(now), each);
    }
}

/// Returns whether `zone` is in the reverse tree, where addresses often have no name.
fn is_reverse(zone: &str) -> bool {
    zone.strip_suffix(".arpa").is_some()
}

#[cfg(test)]
mod tests;
