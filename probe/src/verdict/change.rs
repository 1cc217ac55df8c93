//! Changes that people announce (`dns.change/1`): they explain alerts, and maintenance mutes them.

use super::rule::Rule;
use crate::dns::{parse_name, presentation};
use crate::memory::AnnouncedChange;
use crate::target::Service;
use dnscribe_config::maintenance::MaintenancePeriod;
use dnscribe_dns::registrable_domain;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{ChangeFields, EventId};
use hickory_proto::rr::Name;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use wildmatch::WildMatch;

/// Time for which a change explains what follows it.
const EXPLAINS: Duration = Duration::from_hours(1);
/// Most changes remembered.
const MAX_CHANGES: usize = 1024;

/// A change, as its record has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// Id of its record.
    pub event_id: EventId,
    /// Time of the change.
    pub ts: Timestamp,
    /// The change.
    #[serde(flatten)]
    pub fields: ChangeFields,
}

impl Change {
    /// Returns whether it concerns a service with these names, from its time on.
    fn concerns(&self, service: &str, names: &[Name]) -> bool {
        let ChangeFields { zone, service: own, .. } = &self.fields;
        if zone.is_none() && own.is_none() {
            return true;
        }
        let zone = zone.as_ref().and_then(|zone| parse_name(zone));
        let is_related = |zone: &Name, name: &Name| zone.zone_of(name) || name.zone_of(zone);
        own.as_deref() == Some(service)
            || zone.is_some_and(|zone| names.iter().any(|name| is_related(&zone, name)))
    }

    /// Returns what the memory is to know of it: what is new until an hour after it, or until the end of a
    /// maintenance, is announced.
    #[must_use]
    pub fn announces(&self) -> AnnouncedChange {
        let ends = self.fields.ends.filter(|_| self.is_maintenance()).unwrap_or(self.ts);
        AnnouncedChange {
            service: self.fields.service.clone(),
            zone: self.fields.zone.clone(),
            ends: ends.max(self.ts).plus(EXPLAINS),
        }
    }

    fn is_maintenance(&self) -> bool {
        self.fields.kind == "maintenance"
    }

    fn is_past(&self, now: Timestamp) -> bool {
        let lasts = self.fields.ends.filter(|_| self.is_maintenance());
        now.since(lasts.unwrap_or(self.ts).max(self.ts)) >= EXPLAINS
    }
}

/// A configured period in which alerts are muted. One that still holds at its end is reported then.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// Time of the period.
    pub period: MaintenancePeriod,
    /// Pattern of services; `None` for all.
    pub service: Option<WildMatch>,
    /// Patterns of rules, one of which must match; empty for any rule.
    pub rules: Vec<WildMatch>,
}

impl Maintenance {
    /// Returns whether the period covers an alert of a service at `now`.
    pub(super) fn covers(&self, now: Timestamp, service: &str, rule: Rule) -> bool {
        self.period.contains(now)
            && self.service.as_ref().is_none_or(|pattern| pattern.matches(service))
            && (self.rules.is_empty() || self.rules.iter().any(|one| one.matches(rule.name())))
    }
}

/// Changes of the last hour, and maintenance that lasts.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Vec<Arc<Change>>);

impl Changes {
    /// Adds a change, once.
    pub(super) fn add(&mut self, now: Timestamp, change: Change) {
        self.0.retain(|one| !one.is_past(now) && one.event_id != change.event_id);
        if !change.is_past(now) && self.0.len() < MAX_CHANGES {
            self.0.push(Arc::new(change));
        }
    }

    /// Returns the changes that may explain a problem of a service which began at `started`, and that is
    /// announced or goes on at `now`.
    pub(super) fn explaining(
        &self,
        now: Timestamp,
        service: &str,
        names: &[Name],
    ) -> Vec<Arc<Change>> {
        let concerning = self
            .0
            .iter()
            .filter(|one| one.ts <= now && !one.is_past(now) && one.concerns(service, names));
        concerning.cloned().collect()
    }

    /// Returns whether a maintenance mutes alerts of a service. One that concerns everything, or has no
    /// end, mutes nothing.
    pub(super) fn mute(&self, now: Timestamp, service: &str, names: &[Name]) -> bool {
        self.0.iter().any(|one| {
            let is_specific = one.fields.zone.is_some() || one.fields.service.is_some();
            let lasts = one.ts <= now && one.fields.ends.is_some_and(|ends| now < ends);
            one.is_maintenance() && lasts && is_specific && one.concerns(service, names)
        })
    }
}

/// Returns the names that a service depends on.
pub(super) fn names(service: &Service) -> Vec<Name> {
    let mut names: Vec<Name> =
        service.targets.iter().filter_map(|target| target.name_asked()).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the registrable domain that names have in common.
pub(super) fn zone(names: impl Iterator<Item = Name>) -> Option<String> {
    let zone_of = |name: Name| registrable_domain(&presentation(&name)).map(str::to_owned);
    let mut zones = names.filter_map(zone_of);
    let first = zones.next()?;
    zones.all(|other| other == first).then_some(first)
}
