//! Verdicts: what makes a service fail, as alerts.
//!
//! Input are rounds of targets, one after another, and changes that people announce. The last results of
//! each service are classified into causes ([`Cause`]); other rules look for what may fail soon. Each
//! condition that holds becomes one alert, from the first time it is found until it is over. Time is an
//! argument: nothing here has a clock.

mod change;
mod classify;
mod evidence;
mod rule;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use change::{Change, Maintenance};
pub use rule::{Alert, Cause, Condition, Entity, Figure, Rule, Severity};

use crate::handshake::ProblemKind;
use crate::measure::Round;
use crate::target::Service;
use change::Changes;
use dnscribe_record::EventId;
use dnscribe_record::time::Timestamp;
use hickory_proto::rr::Name;
use state::{Measurement, ServiceState};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Longest time for which a new verdict waits for the other targets of its service to be measured.
const MAX_SETTLING: Duration = Duration::from_mins(2);
/// Most ids of records in an alert.
const MAX_SAMPLES: usize = 16;

/// Rules and their thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleOptions {
    /// Number of rounds in a row that must fail, and that must succeed again, before anything is said.
    pub rounds: usize,
    /// Ratio of failures in the window from which a failure counts as lasting.
    pub ratio: f64,
    /// Window of that ratio.
    pub window: Duration,
    /// Days before its expiry at which a certificate is worth an info, a warning, and is critical.
    pub expiry_days: [u32; 3],
    /// Distance of a time from its usual value, in deviations, from which a target counts as slow.
    pub latency_z_score: f64,
    /// Rules that are not evaluated.
    pub disabled: Vec<Rule>,
    /// Periods in which alerts are muted.
    pub maintenance: Vec<Maintenance>,
    /// Time after which an alert that fires is repeated.
    pub repeat: Duration,
    /// Base URL of the runbooks.
    pub runbook_url: String,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            rounds: 2,
            ratio: 0.5,
            window: Duration::from_mins(5),
            expiry_days: [30, 14, 3],
            latency_z_score: 6.0,
            disabled: Vec::new(),
            maintenance: Vec::new(),
            repeat: Duration::from_hours(1),
            runbook_url: dnscribe_record::RUNBOOKS.to_owned(),
        }
    }
}

/// What was announced for a service.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    answers: bool,
    certificate: bool,
}

/// An alert that fires, or is muted.
#[derive(Clone, Debug)]
struct Episode {
    condition: Condition,
    /// Time at which it was last found.
    last_found: Timestamp,
    /// Severity and time of its last report; `None` while it is muted.
    reported: Option<(Severity, Timestamp)>,
}

#[derive(Clone, Debug)]
struct ServiceVerdicts {
    names: Vec<Name>,
    state: ServiceState,
    episodes: BTreeMap<(Rule, Entity), Episode>,
    /// Whether there are rounds that no evaluation has seen.
    has_new_rounds: bool,
}

/// Verdicts of all services.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    options: RuleOptions,
    services: BTreeMap<Arc<str>, ServiceVerdicts>,
    changes: Changes,
}

impl Verdicts {
    /// Creates verdicts that know no results yet.
    #[must_use]
    pub fn new(options: RuleOptions, services: &[Service]) -> Self {
        let mut verdicts = Self::default();
        // Nothing fires yet, so nothing is resolved.
        let _ = verdicts.reload(Timestamp::default(), options, services);
        verdicts
    }

    /// Replaces rules and services. Results and alerts of targets and services that stay are kept; alerts of
    /// services that are gone are returned as resolved.
    pub fn reload(
        &mut self,
        now: Timestamp,
        options: RuleOptions,
        services: &[Service],
    ) -> Vec<Alert> {
        self.options = options;
        let mut old = std::mem::take(&mut self.services);
        for service in services {
            let known = old.remove(&service.name);
            let mut entry = known.unwrap_or_else(|| ServiceVerdicts {
                names: Vec::new(),
                state: ServiceState::default(),
                episodes: BTreeMap::new(),
                has_new_rounds: false,
            });
            entry.names = change::names(service);
            entry.state.set_targets(&service.targets);
            self.services.insert(Arc::clone(&service.name), entry);
        }
        let gone = old.into_values().flat_map(|entry| entry.episodes.into_values());
        gone.filter_map(|episode| episode.resolved(now)).collect()
    }

    /// Adds a change that was announced.
    pub fn announce(&mut self, now: Timestamp, change: Change) {
        self.changes.add(now, change);
    }

    /// Adds a round, for [`Self::judge`]. `ids`: the ids of the records of the round's measurements, in their
    /// order.
    pub fn add(&mut self, round: &Round, ids: &[EventId]) {
        if let Some(entry) = self.services.get_mut(&round.target.service) {
            entry.state.add(&self.options, round, ids);
            entry.has_new_rounds = true;
        }
    }

    /// Returns the alerts that begin, change, are repeated or end by the rounds since the last call. The cost
    /// of a service grows with its targets, so rounds that end together are judged together.
    pub fn judge(&mut self, now: Timestamp) -> Vec<Alert> {
        let Self { options, services, changes } = self;
        let changed = services.iter_mut().filter(|(_, entry)| entry.has_new_rounds);
        changed.flat_map(|(name, entry)| entry.evaluate(name, now, options, changes)).collect()
    }

    /// Returns the alerts that change because time has passed: those that are due for repetition, and those
    /// whose maintenance is over.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Alert> {
        let Self { options, services, changes } = self;
        let services = services.iter_mut();
        services.flat_map(|(name, entry)| entry.evaluate(name, now, options, changes)).collect()
    }

    /// Returns the alerts of rounds that were measured once: each failure counts at once.
    #[must_use]
    pub fn once<'a>(
        now: Timestamp,
        options: &RuleOptions,
        services: &[Service],
        rounds: impl IntoIterator<Item = (&'a Round, Vec<EventId>)>,
    ) -> Vec<Alert> {
        let options = RuleOptions { rounds: 1, ..options.clone() };
        let mut verdicts = Self::new(options, services);
        for (round, ids) in rounds {
            verdicts.add(round, &ids);
        }
        verdicts.judge(now)
    }

    /// Returns service, rule and severity of every alert that fires now.
    pub fn firing(&self) -> impl Iterator<Item = (&Arc<str>, Rule, Severity)> {
        self.services.iter().flat_map(|(name, entry)| {
            let episodes = entry.episodes.iter();
            episodes
                .filter_map(move |((rule, _), episode)| Some((name, *rule, episode.reported?.0)))
        })
    }

    /// Base URL of the runbooks.
    #[must_use]
    pub fn runbooks(&self) -> &str {
        &self.options.runbook_url
    }
}

impl ServiceVerdicts {
    fn evaluate(
        &mut self,
        service: &Arc<str>,
        now: Timestamp,
        options: &RuleOptions,
        changes: &Changes,
    ) -> Vec<Alert> {
        self.has_new_rounds = false;
        let explaining = changes.explaining(now, service, &self.names);
        let found = self.conditions(service, now, options, &explaining);
        let mut alerts = Vec::new();
        let mut held = BTreeMap::new();
        for condition in found {
            let key = (condition.rule, condition.entity.clone());
            let known = self.episodes.remove(&key);
            let started = known.as_ref().map_or(condition.started, |one| one.condition.started);
            let reported = known.and_then(|one| one.reported);
            let condition = Condition { started, ..condition };
            held.insert(key, Episode { condition, last_found: now, reported });
        }
        let over = std::mem::replace(&mut self.episodes, held);
        alerts.extend(over.into_values().filter_map(|episode| episode.resolved(now)));
        if !changes.mute(now, service, &self.names) {
            let is_muted =
                |rule| options.maintenance.iter().any(|one| one.covers(now, service, rule));
            let episodes = self.episodes.values_mut().filter(|one| !is_muted(one.condition.rule));
            alerts.extend(episodes.filter_map(|one| one.report(now, options.repeat, &explaining)));
        }
        alerts
    }

    fn conditions(
        &self,
        service: &Arc<str>,
        now: Timestamp,
        options: &RuleOptions,
        changes: &[Arc<Change>],
    ) -> Vec<Condition> {
        let all = self.state.measurements();
        let of_kind = |kinds: &[&str]| {
            changes.iter().any(|change| kinds.contains(&change.fields.kind.as_str()))
        };
        let announced = Announced {
            answers: of_kind(&["zone_change", "deploy", "maintenance"]),
            certificate: of_kind(&["certificate", "deploy", "maintenance"]),
        };
        // What this probe cannot verify is no fault of the service.
        let is_judged = |one: &Measurement| one.error().1 != ProblemKind::Unsupported.reason();
        let judged: Vec<_> = all.iter().copied().filter(|one| is_judged(one)).collect();
        let verdicts = classify::classify(&judged);
        let verdicts = verdicts.iter().filter(|one| {
            let key = (one.cause.rule(), Entity::service(service));
            self.episodes.contains_key(&key) || options.rounds == 1 || is_settled(&judged, one, now)
        });
        let verdicts = verdicts.map(|one| verdict(service, &judged, one, now, options, changes));
        let mut found: Vec<Condition> = verdicts.collect();
        found.extend(rules::conditions(options, &all, announced));
        found.retain(|one| !options.disabled.contains(&one.rule));
        let zone = change::zone(self.names.iter().cloned());
        for one in &mut found {
            let own = one.entity.zone.clone().or(one.zone.take());
            one.zone = own.or_else(|| zone.clone());
            one.samples.truncate(MAX_SAMPLES);
        }
        found
    }
}

/// Returns whether the other targets were measured since a failure began: until then, what works and what
/// does not is unknown, and so is the cause.
fn is_settled(all: &[&Measurement], one: &classify::Diagnosis, now: Timestamp) -> bool {
    let Some(since) = one.own.iter().map(|index| all[*index].since).min() else { return true };
    let longest = all.iter().map(|one| one.target.interval).max().unwrap_or_default();
    since.has_passed(longest.min(MAX_SETTLING), now) || all.iter().all(|one| one.measured >= since)
}

fn verdict(
    service: &Arc<str>,
    all: &[&Measurement],
    diagnosis: &classify::Diagnosis,
    now: Timestamp,
    options: &RuleOptions,
    changes: &[Arc<Change>],
) -> Condition {
    let evidence::Evidence { summary, mut lines } = evidence::describe(all, diagnosis, now);
    for Change { ts, fields, .. } in changes.iter().map(AsRef::as_ref) {
        let by = fields.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
        let time = ts.to_string();
        let time = time.get(11..16).unwrap_or_default();
        lines.insert(0, format!("{} at {time}{by}: {}", fields.kind, fields.summary));
    }
    let own: Vec<&Measurement> = diagnosis.own.iter().map(|index| all[*index]).collect();
    let following = diagnosis.following.iter().map(|index| all[*index]);
    let (ratio, targets) = evidence::ratio_of_failures(&own);
    Condition {
        rule: diagnosis.cause.rule(),
        entity: Entity::service(service),
        zone: change::zone(own.iter().filter_map(|one| one.target.name_asked())),
        severity: diagnosis.severity,
        started: own.iter().map(|one| one.since).min().unwrap_or(now),
        summary: format!("{service}: {summary}"),
        evidence: lines,
        figures: vec![
            Figure::new("failure_ratio", ratio, Some(options.ratio)),
            Figure::new("failing_measurements", targets, None),
        ],
        samples: own.iter().copied().chain(following).filter_map(|one| one.event_id).collect(),
    }
}

impl Episode {
    /// Returns the alert if it is new, has another severity, or is due for repetition.
    fn report(
        &mut self,
        now: Timestamp,
        repeat: Duration,
        changes: &[Arc<Change>],
    ) -> Option<Alert> {
        let severity = self.condition.severity;
        let is_known = |(reported, then): (Severity, Timestamp)| {
            reported == severity && !then.has_passed(repeat, now)
        };
        if self.reported.is_some_and(is_known) {
            return None;
        }
        let previous = self.reported.map(|(reported, _)| reported);
        self.reported = Some((severity, now));
        Some(Alert {
            ts: now,
            condition: self.condition.clone(),
            previous: previous.filter(|previous| *previous != severity),
            ended: None,
            changes: changes.to_vec(),
            triggered_by: None,
        })
    }

    /// Returns the end of the alert, if it was ever reported.
    fn resolved(self, now: Timestamp) -> Option<Alert> {
        let (severity, _) = self.reported?;
        Some(Alert {
            ts: now,
            condition: Condition { severity, ..self.condition },
            previous: None,
            ended: Some(self.last_found),
            changes: Vec::new(),
            triggered_by: None,
        })
    }
}

/// Writes alerts for people: a line with severity, service and sentence, and the evidence below it.
#[must_use]
pub fn render(alerts: &[Alert], color: bool) -> String {
    let mut text = String::new();
    for Condition { rule, severity, summary, evidence, .. } in
        alerts.iter().map(|alert| &alert.condition)
    {
        let name = severity.name();
        let code = match severity {
            Severity::Info => 36,
            Severity::Warning => 33,
            Severity::Critical => 31,
        };
        let painted = if color { format!("\x1b[{code}m{name}\x1b[0m") } else { name.to_owned() };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{painted} {}: {}", rule.name(), visible(summary));
        for line in evidence.iter().filter(|line| *line != summary) {
            let _ = writeln!(text, "  {}", visible(line));
        }
    }
    text
}

/// Removes control characters, which details may bring from a server.
fn visible(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}
