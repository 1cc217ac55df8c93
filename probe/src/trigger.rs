//! Measurements on demand: an alert of an agent or a job that names a zone, a name or a resolver asks for
//! one round of what it concerns.
//!
//! Input are alerts and the results of the rounds, output are requests to measure and alerts with what was
//! found (rule `probe_result`), which refer to the alert that asked. Time is an argument.

mod listener;
#[cfg(test)]
mod tests;

pub use listener::{Listener, Notice};

use crate::config::{AdHoc, TriggerOptions};
use crate::dns::{Resolver, ResolverHost, parse_name};
use crate::explain;
use crate::measure::{Context, Round};
use crate::target::{Contact, DnsTarget, Service, Target, TargetKind};
use crate::verdict::{Alert, Condition, Entity, Figure, Rule, RuleOptions, Severity, Verdicts};
use dnscribe_config::ConfigError;
use dnscribe_record::EventId;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use hickory_proto::rr::Name;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Most targets of a request.
const MAX_TARGETS: usize = 16;
/// Most entities and results remembered.
const MAX_REMEMBERED: usize = 1024;
/// Time after which a result ends if the alert that asked for it never does.
const RESULT_LASTS: Duration = Duration::from_hours(1);

/// The fields of a `dns.alert/1` that trigger measurements.
#[derive(Clone, Debug, Deserialize)]
pub struct TriggeringAlert {
    event_id: EventId,
    alert_id: EventId,
    #[serde(default)]
    scope: Option<String>,
    rule: String,
    entity: String,
    state: String,
    summary: String,
    resolver: Option<String>,
    zone: Option<String>,
    qname: Option<String>,
}

/// Measurements that an alert asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Id of the record of the alert.
    pub triggered_by: EventId,
    /// Targets that it concerns, by service.
    services: Vec<Service>,
    /// Name that it concerns, if no target does.
    name: Option<Name>,
    contact: Contact,
    ad_hoc: AdHoc,
    alert_id: EventId,
    entity: Entity,
    reason: String,
}

/// Decides which alerts are followed by measurements, and attaches the results.
#[derive(Clone, Debug, Default)]
pub struct Trigger {
    options: TriggerOptions,
    services: Vec<Service>,
    ad_hoc: AdHoc,
    resolvers: Vec<Arc<Resolver>>,
    /// Requests that may be made now.
    tokens: f64,
    refilled: Timestamp,
    last: BTreeMap<String, Timestamp>,
    results: BTreeMap<u128, Condition>,
    /// Alerts that no measurement followed, because there were too many.
    pub limited: u64,
}

impl Trigger {
    /// Creates a trigger for the services and resolvers of a configuration.
    #[must_use]
    pub fn new(options: TriggerOptions, services: &[Service], ad_hoc: &AdHoc) -> Self {
        Self {
            tokens: f64::from(options.per_minute),
            options,
            services: services.to_vec(),
            resolvers: ad_hoc.resolvers(),
            ad_hoc: ad_hoc.clone(),
            ..Self::default()
        }
    }

    /// Replaces services and resolvers, and keeps limits and results.
    pub fn reload(&mut self, other: Self) {
        let Self { tokens, refilled, last, results, limited, .. } = std::mem::take(self);
        *self = Self { tokens, refilled, last, results, limited, ..other };
    }

    /// Returns what is to be measured for an alert, if anything.
    pub fn observe(&mut self, now: Timestamp, alert: &TriggeringAlert) -> Option<Request> {
        // Own alerts would trigger each other; the fleet's service_impact follows an own one.
        let is_own = alert.scope.as_deref() == Some("probe") || alert.rule == "service_impact";
        if !self.options.enabled || is_own || alert.state != "firing" {
            return None;
        }
        let is_known = self.results.contains_key(&alert.alert_id.0);
        let entity = self.entity(alert);
        if is_known || entity == Entity::default() || !self.admit(now, &alert.entity) {
            return None;
        }
        Some(self.request(alert, entity))
    }

    /// Returns the end of the result that is attached to an alert, if the alert is over.
    pub fn resolve(&mut self, now: Timestamp, alert: &TriggeringAlert) -> Option<Alert> {
        let is_over = alert.state == "resolved";
        let result = is_over.then(|| self.results.remove(&alert.alert_id.0)).flatten()?;
        Some(over(now, result))
    }

    /// Returns the alert that attaches the results of a request. `ids`: those of the records of each round.
    pub fn finish(
        &mut self,
        now: Timestamp,
        request: &Request,
        rounds: &[Round],
        ids: Vec<Vec<EventId>>,
    ) -> Alert {
        let samples: Vec<EventId> = ids.iter().flatten().copied().collect();
        let measured = rounds.iter().zip(ids);
        let found = Verdicts::once(now, &RuleOptions::default(), &request.services, measured);
        let found: Vec<Condition> = found.into_iter().map(|alert| alert.condition).collect();
        let measurements = rounds.iter().flat_map(|round| &round.found);
        let (count, failed) = measurements
            .fold((0, 0), |(count, failed), fields| (count + 1, failed + u64::from(!fields.ok)));
        let verdicts: Vec<&str> = found.iter().map(|one| one.summary.as_str()).collect();
        let summary = match verdicts.as_slice() {
            [] => format!("No fault found: {count} measurements are as they should be."),
            found => found.join(" · "),
        };
        let mut evidence = vec![format!("asked for by {}", request.reason)];
        evidence.extend(found.into_iter().flat_map(|one| one.evidence));
        let condition = Condition {
            rule: Rule::ProbeResult,
            entity: request.entity.clone(),
            zone: request.entity.zone.clone(),
            severity: Severity::Info,
            started: now,
            summary,
            evidence,
            figures: vec![
                Figure { name: "failed_measurements", value: to_f64(failed), ..Figure::default() },
                Figure { name: "measurements", value: to_f64(count), ..Figure::default() },
            ],
            samples: samples.into_iter().take(MAX_TARGETS).collect(),
        };
        if self.results.len() < MAX_REMEMBERED {
            self.results.insert(request.alert_id.0, condition.clone());
        }
        Alert {
            ts: now,
            condition,
            previous: None,
            ended: None,
            changes: Vec::new(),
            triggered_by: Some(request.triggered_by),
        }
    }

    /// Returns the ends of results whose alerts did not end in time.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Alert> {
        let is_old = |one: &Condition| now.since(one.started) >= RESULT_LASTS;
        let gap = self.options.min_gap;
        self.last.retain(|_, then| !then.has_passed(gap, now));
        let old: Vec<u128> =
            self.results.iter().filter(|(_, one)| is_old(one)).map(|(id, _)| *id).collect();
        let old = old.into_iter().filter_map(|id| self.results.remove(&id));
        old.map(|condition| over(now, condition)).collect()
    }

    /// Parts of an alert's entity that can be measured.
    fn entity(&self, alert: &TriggeringAlert) -> Entity {
        let name = |text: &Option<String>| {
            text.clone().filter(|text| parse_name(text).is_some_and(|name| !name.is_root()))
        };
        let resolver = alert.resolver.clone().filter(|text| self.resolver(text).is_some());
        Entity { resolver, zone: name(&alert.zone), qname: name(&alert.qname), ..Entity::default() }
    }

    /// Takes a token for an entity, if its last request is long enough ago.
    fn admit(&mut self, now: Timestamp, entity: &str) -> bool {
        let most = f64::from(self.options.per_minute);
        let elapsed = now.since(self.refilled).as_secs_f64();
        self.tokens = most.min(self.tokens + most * elapsed / 60.0);
        self.refilled = now;
        let is_soon =
            self.last.get(entity).is_some_and(|then| !then.has_passed(self.options.min_gap, now));
        if is_soon || self.tokens < 1.0 || self.last.len() >= MAX_REMEMBERED {
            self.limited += 1;
            return false;
        }
        self.tokens -= 1.0;
        self.last.insert(entity.to_owned(), now);
        true
    }

    /// Returns the resolver with a name or an address; an address that is not configured is asked over UDP.
    fn resolver(&self, text: &str) -> Option<Arc<Resolver>> {
        let address = text.parse::<IpAddr>().ok();
        let known = self.resolvers.iter().find(|one| {
            one.name == text
                || address.is_some_and(|address| one.host == ResolverHost::Address(address))
        });
        let other = || Some(Arc::new(Resolver::udp(text, SocketAddr::new(address?, 53))));
        known.cloned().or_else(other)
    }

    /// Returns what an entity concerns: targets, with all resolvers, or the name itself if there are none.
    fn request(&self, alert: &TriggeringAlert, entity: Entity) -> Request {
        let named = entity.resolver.as_deref().and_then(|text| self.resolver(text));
        let mut ad_hoc = self.ad_hoc.clone();
        if let Some(named) = &named {
            ad_hoc.add_resolver(named);
        }
        let resolvers = ad_hoc.resolvers();
        let name = entity.qname.as_ref().or(entity.zone.as_ref()).and_then(|text| parse_name(text));
        let is_named = |resolver: &Arc<Resolver>| {
            named.as_ref().is_some_and(|named| named.name == resolver.name)
        };
        let concerned = |target: &Target| match &name {
            Some(name) if entity.qname.is_some() => target.name_asked().as_ref() == Some(name),
            Some(zone) => target.name_asked().is_some_and(|name| zone.zone_of(&name)),
            None => match &target.kind {
                TargetKind::Dns(dns) => dns.resolvers.iter().any(is_named),
                _ => false,
            },
        };
        let mut services = Vec::new();
        let mut left = MAX_TARGETS;
        for service in &self.services {
            let targets = service.targets.iter().filter(|target| concerned(target)).take(left);
            let targets: Vec<_> =
                targets.map(|target| with_resolvers(target, &resolvers)).collect();
            left -= targets.len();
            if !targets.is_empty() {
                services.push(Service { name: Arc::clone(&service.name), targets });
            }
        }
        Request {
            triggered_by: alert.event_id,
            name: name.filter(|_| services.is_empty()),
            services,
            contact: self.options.contact,
            ad_hoc,
            alert_id: alert.alert_id,
            entity,
            reason: format!("{}: {}", alert.rule, alert.summary),
        }
    }
}

impl Request {
    /// Measures once what the request concerns. The records of the rounds name the alert.
    ///
    /// # Errors
    /// There is no resolver.
    pub async fn measure(&mut self, context: &Context) -> Result<Vec<Round>, ConfigError> {
        let mut rounds = match &self.name {
            Some(name) => {
                let measuring = explain::measure_name(context, &self.ad_hoc, name, self.contact);
                let (service, rounds) = measuring.await?;
                self.services = vec![service];
                rounds
            }
            None => explain::measure_services(context, &self.services).await,
        };
        let asked = self.triggered_by.to_string();
        for fields in rounds.iter_mut().flat_map(|round| &mut round.found) {
            fields.triggered_by = Some(asked.clone());
        }
        Ok(rounds)
    }
}

fn over(now: Timestamp, condition: Condition) -> Alert {
    Alert {
        ts: now,
        condition,
        previous: None,
        ended: Some(now),
        changes: Vec::new(),
        triggered_by: None,
    }
}

/// Returns a `dns` target with all resolvers, and any other as it is.
fn with_resolvers(target: &Arc<Target>, resolvers: &[Arc<Resolver>]) -> Arc<Target> {
    let TargetKind::Dns(dns) = &target.kind else { return Arc::clone(target) };
    let mut all = dns.resolvers.clone();
    // Those of the target have its source address.
    let is_new = |one: &&Arc<Resolver>| dns.resolvers.iter().all(|own| own.name != one.name);
    all.extend(resolvers.iter().filter(is_new).cloned());
    let kind = TargetKind::Dns(DnsTarget { resolvers: all, ..dns.clone() });
    Arc::new(Target { kind, ..Target::clone(target) })
}
