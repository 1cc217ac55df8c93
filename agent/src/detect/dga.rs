//! Names made by an algorithm, that do not exist.
//!
//! Two shapes: one that asks for many registrable domains that do not exist (malware looking for its
//! master), and many names below one zone that do not exist (a random-subdomain attack on the zone's
//! servers, "water torture", or somebody trying names out). Both are told as [`Rule::Dga`], the second with
//! the zone in its entity and no process. `docs/detectors.md` tells the method.

mod asker;
mod target;

use super::finding::{Detector, Finding};
use super::known::is_lookup_service;
use super::lexical::is_random;
use super::table::Table;
use super::who::{Who, hash, is_echo, is_multicast};
use crate::observation::Observation;
use crate::pair::Status;
use crate::time::Timestamp;
use asker::Asker;
use std::time::Duration;
use target::Target;

/// Octets that [`Dga`] takes at most.
pub const DGA_MEMORY_BYTES: usize = 16 << 20;

/// Askers at a time that got NXDOMAIN for a registrable domain.
const ASKERS: usize = 2048;
/// Zones at a time of which names do not exist.
const TARGETS: usize = 1024;
/// How long either is remembered.
const IDLE: Duration = Duration::from_secs(7200);

const NXDOMAIN: u16 = 3;

/// From when on names that do not exist are a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DgaOptions {
    /// Different registrable domains that look random and do not exist, over 10 to 20 minutes.
    pub random_burst: u64,
    /// The same over one to two hours.
    pub random_steady: u64,
    /// The share of the missing domains that look random at least.
    pub random_share: f64,
    /// Different missing domains however they look, over 10 to 20 minutes.
    pub any_burst: u64,
    /// The share of different domains asked for that are missing at least, where they do not look random.
    pub missing_share: f64,
    /// How many times the threshold for random ones is critical.
    pub critical: u64,
    /// Names below one zone that look random and get no answer, over half a minute to a minute.
    pub below_random: u64,
    /// The same where every asker sends only a few: browsers probe with random names too.
    pub below_few_each: u64,
    /// The same however names look.
    pub below_any: u64,
    /// From so many on it is critical.
    pub below_critical: u64,
    /// The share of the zone's queries that fail at least.
    pub below_failing: f64,
}

impl Default for DgaOptions {
    fn default() -> Self {
        Self {
            random_burst: 12,
            random_steady: 20,
            random_share: 0.4,
            any_burst: 60,
            missing_share: 0.8,
            critical: 5,
            below_random: 100,
            below_few_each: 600,
            below_any: 600,
            below_critical: 2000,
            below_failing: 0.85,
        }
    }
}

/// Finds names made by an algorithm.
#[derive(Debug)]
pub struct Dga {
    options: DgaOptions,
    askers: Table<Asker>,
    targets: Table<Target>,
}

impl Default for Dga {
    fn default() -> Self {
        Self::new(DgaOptions::default())
    }
}

impl Dga {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: DgaOptions) -> Self {
        Self { options, askers: Table::new(ASKERS), targets: Table::new(TARGETS) }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.askers.bytes(Asker::heap_bytes) + self.targets.bytes(Target::heap_bytes)
    }

    /// A domain that does not exist.
    fn missing(&mut self, observation: &Observation<'_>, zone: &str, of_zone: u64) {
        let first = zone.split('.').next().unwrap_or(zone);
        // Hyphens join words, or what is random to what is not.
        let random = first.split('-').any(|piece| is_random(piece.as_bytes()));
        let new = || Asker::new(Who::of(observation));
        let asker = self.askers.entry(Who::key(observation), observation.ts, new);
        asker.missing(observation, of_zone, random);
    }
}

impl Detector for Dga {
    fn observe(&mut self, observation: &Observation<'_>) {
        let (Some(qname), Some(zone)) = (observation.qname, observation.zone) else { return };
        let failed = match observation.status {
            Status::Answered => observation.rcode != Some(0),
            Status::Timeout => true,
            _ => return,
        };
        if is_reverse(zone) || is_echo(observation) || is_multicast(observation) {
            return;
        }
        let of_zone = hash(zone.as_bytes());
        let ts = observation.ts;
        if failed {
            if is_lookup_service(zone) {
                return;
            }
            let missing = observation.rcode == Some(NXDOMAIN);
            if missing {
                self.missing(observation, zone, of_zone);
            }
            if qname.len() > zone.len() {
                let below = &qname[..qname.len() - zone.len()];
                let target = self.targets.entry(of_zone, ts, || Target::new(zone.into()));
                target.failed(observation, below, hash(qname.as_bytes()));
            }
            return;
        }
        if let Some(asker) = self.askers.get_mut(Who::key(observation), ts) {
            asker.exists(ts, of_zone);
        }
        if let Some(target) = self.targets.get_mut(of_zone, ts) {
            target.answered(ts);
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for asker in self.askers.values_mut() {
            asker.roll(now);
            if let Some(finding) = asker.finding(&self.options) {
                each(finding);
            }
        }
        for target in self.targets.values_mut() {
            target.roll(now);
            if let Some(finding) = target.finding(&self.options) {
                each(finding);
            }
        }
        self.askers.age(now, IDLE);
        self.targets.age(now, IDLE);
    }
}

/// Whether it is a name of the reverse tree: addresses without names are usual.
fn is_reverse(zone: &str) -> bool {
    zone.ends_with(".arpa")
}

#[cfg(test)]
mod tests;
