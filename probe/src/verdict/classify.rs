//! Classification of the failures of a service into causes.
//!
//! Names are judged first (`names`), then the hosts that are reached by them (`hosts`): a failure that
//! follows from another one is evidence of that one's cause. Input are the last results of a service;
//! nothing here has state or a clock.

mod hosts;
mod names;

use super::rule::{Cause, Severity};
use super::state::Measurement;
use crate::target::TargetKind;
use hickory_proto::rr::Name;
use std::collections::BTreeMap;

/// A cause, with the measurements that show it, by their places in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// The cause.
    pub(super) cause: Cause,
    /// Severity.
    pub(super) severity: Severity,
    /// Failures that show the cause.
    pub(super) own: Vec<usize>,
    /// Failures that follow from it.
    pub(super) following: Vec<usize>,
    /// Family of addresses (`IPv6`) that alone fails, of hosts that work over the other.
    pub(super) family: Option<&'static str>,
}

/// Failures by cause, while they are assigned.
#[derive(Debug, Default)]
struct Assigned(BTreeMap<Cause, Diagnosis>);

impl Assigned {
    fn get(&mut self, cause: Cause) -> &mut Diagnosis {
        self.0.entry(cause).or_insert_with(|| Diagnosis {
            cause,
            severity: Severity::Warning,
            own: Vec::new(),
            following: Vec::new(),
            family: None,
        })
    }

    fn own(&mut self, cause: Cause, failures: &[usize]) {
        self.get(cause).own.extend(failures);
    }

    fn follow(&mut self, cause: Cause, failures: &[usize]) {
        self.get(cause).following.extend(failures);
    }

    /// Measurements that show a cause or follow from it.
    fn all_of(&self, cause: Cause) -> impl Iterator<Item = usize> {
        let found = self.0.get(&cause).into_iter();
        found.flat_map(|one| one.own.iter().chain(&one.following).copied())
    }

    /// Cause that a measurement shows or follows from.
    fn cause_of(&self, index: usize) -> Option<Cause> {
        let is_there =
            |one: &&Diagnosis| one.own.contains(&index) || one.following.contains(&index);
        self.0.values().find(is_there).map(|one| one.cause)
    }
}

/// Causes of names, those first that explain others.
const OF_NAMES: [Cause; 5] =
    [Cause::Dnssec, Cause::Delegation, Cause::Dns, Cause::Resolver, Cause::Path];

/// Classifies the failures of a service: at most one diagnosis for each cause, and none without a failure
/// that lasts.
pub(super) fn classify(all: &[&Measurement]) -> Vec<Diagnosis> {
    let mut assigned = Assigned::default();
    names::assign(all, &mut assigned);
    hosts::assign(all, &mut assigned);
    let mut found: Vec<Diagnosis> = assigned.0.into_values().collect();
    found.retain(|one| {
        let parts = one.own.iter().chain(&one.following);
        let lasts = |index: &usize| all[*index].failing || all[*index].differing;
        !one.own.is_empty() && parts.into_iter().any(lasts)
    });
    for one in &mut found {
        one.own.sort_unstable();
        one.own.dedup();
        one.following.sort_unstable();
        one.following.dedup();
        let own = &one.own;
        one.following.retain(|index| !own.contains(index));
        if one.cause == Cause::Path {
            one.family = hosts::lone_family(all, own);
        }
        one.severity = Severity::at_least_warning(is_critical(all, one));
    }
    found
}

/// Returns whether users of the service meet the problem: nothing that does the work of what fails still
/// works.
fn is_critical(all: &[&Measurement], diagnosis: &Diagnosis) -> bool {
    let failed: Vec<&Measurement> =
        diagnosis.own.iter().chain(&diagnosis.following).map(|index| all[*index]).collect();
    let is_dead_name = failed.iter().any(|one| {
        let same = all.iter().filter(|other| {
            one.fields.kind == "dns" && other.fields.kind == "dns" && other.target == one.target
        });
        same.clone().count() > 0 && same.clone().all(|other| !other.fields.ok)
    });
    let Some(worst) = failed.iter().map(|one| layer(one)).max() else { return false };
    let works = all.iter().any(|one| one.fields.ok && layer(one) >= worst.max(1));
    let is_dead_host = worst > 0 && !works;
    let is_dead_url = failed.iter().any(|one| one.fields.kind == "http");
    // A signature that does not validate is refused by every resolver that validates.
    let is_bogus = diagnosis.cause == Cause::Dnssec
        && failed.iter().any(|one| one.fields.kind == "dns" && one.error().1 == "bogus");
    // Clients use the other family of addresses.
    let is_served = diagnosis.family.is_some();
    is_dead_name || !is_served && (is_dead_host || is_dead_url) || is_bogus
}

/// How much of a service a measurement uses: 0 for names, more the nearer it is to what users do.
fn layer(one: &Measurement) -> u8 {
    match one.fields.kind.as_str() {
        "ping" => 1,
        "tcp" => 2,
        "tls" => 3,
        "http" => 4,
        _ => 0,
    }
}

/// Returns whether a failure is one of the transport: no response was got.
fn is_unreachable(one: &Measurement) -> bool {
    match one.error() {
        ("connect", "response_mismatch" | "response_timeout") => false,
        ("connect" | "resolve" | "tls", _) => true,
        ("dns", reason) => is_silence(reason),
        _ => false,
    }
}

/// Returns whether a reason says that there was no response.
fn is_silence(reason: &str) -> bool {
    matches!(
        reason,
        "timeout"
            | "unreachable"
            | "parent_unreachable"
            | "port_unreachable"
            | "host_unreachable"
            | "network_unreachable"
            | "forbidden"
            | "io"
            | "reset"
            | "closed"
    )
}

/// Returns whether the network, or this host itself, says that there is no way.
fn has_no_route(one: &Measurement) -> bool {
    matches!(one.error().1, "host_unreachable" | "network_unreachable" | "forbidden")
}

/// Returns whether a failure to resolve is about the name: a resolver was asked, and this is what it found. All others
/// are about the resolver, or the way to it.
fn is_about_name(reason: &str) -> bool {
    matches!(reason, "nxdomain" | "no_data" | "no_address" | "servfail" | "bogus")
}

/// Returns whether a fault in what was measured can be one of a name: it is that name, one above it, or one of its zone.
fn concerns(all: &[&Measurement], one: &Measurement, name: &Name) -> bool {
    let subject = match &one.target.kind {
        TargetKind::Dns(dns) => &dns.name,
        TargetKind::Authority(authority) => &authority.zone,
        _ => return false,
    };
    let zone = closest_zone(all, name);
    subject.zone_of(name) || zone.is_some() && zone == closest_zone(all, subject)
}

/// Closest zone of the `authority` targets that a name is in.
fn closest_zone<'a>(all: &[&'a Measurement], name: &Name) -> Option<&'a Name> {
    let zones = all.iter().filter_map(|one| match &one.target.kind {
        TargetKind::Authority(authority) => Some(&authority.zone),
        _ => None,
    });
    zones.filter(|zone| zone.zone_of(name)).max_by_key(|zone| zone.num_labels())
}
