//! Turns findings into alerts.

use super::alert::{Alert, AlertCounters, AlertState};
use super::anomaly::{AnomalyDetector, MOST};
use super::cause::{self, Candidate};
use super::episode::Episode;
use super::finding::{Detector, Entity, Finding, Rule, Severity};
use super::options::DetectOptions;
use super::resolver_down::ResolverHealth;
use super::samples::Samples;
use super::success_ratio::SuccessRatio;
use super::{HostFacts, create_detectors, is_enabled};
use crate::uses::Use;
use crate::view::TransactionView;
use crate::window::{Groups, Span};
use dnscribe_record::time::{ClockShift, Timestamp};
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::pair::Vantage;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two evaluations, which happen at multiples of it since 1970-01-01 UTC.
const INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of evaluations caught up after a gap, in which the clock of a replay jumps. After
/// that many, every alert has been resolved.
const MAX_CATCH_UP: u64 = 60;
const MAX_PER_RULE: usize = 64;
/// Time for which a resolved alert explains others: its failures remain in windows of five minutes.
const RESOLVED_EXPLAINS: Duration = Duration::from_mins(6);
/// Time after which an alert whose explanation is gone is reported.
const EXPLANATION_GRACE: Duration = Duration::from_mins(1);
const MAX_RESOLVED: usize = 64;
/// Number of names that must fail before a share says something about more than these names, unless
/// most queries fail.
const MIN_NAMES: usize = 3;

/// The detection stage.
pub struct Detection {
    options: DetectOptions,
    resolvers: ResolverHealth,
    success: SuccessRatio,
    anomalies: AnomalyDetector,
    detectors: Vec<Box<dyn Detector>>,
    samples: Samples,
    episodes: BTreeMap<(Rule, Entity), Episode>,
    /// Resolved alerts with the time of their resolution, oldest first.
    resolved: Vec<(Rule, Entity, Timestamp)>,
    /// Counters of alerts.
    pub counters: AlertCounters,
    /// Number of the next evaluation, in intervals since 1970; unknown before the first event.
    next: Option<u64>,
    /// Number of alerts reported so far; the next one has the number after it.
    pub ordinal: u64,
    /// How far the host's clock was set since capture began: maintenance is at times of day.
    pub clock: ClockShift,
}

impl Detection {
    /// Creates a stage with the rules on windows and on resolvers, and with `detectors`.
    #[must_use]
    pub fn new(options: DetectOptions, detectors: Vec<Box<dyn Detector>>) -> Self {
        Self {
            resolvers: ResolverHealth::new(options.down, options.flapping),
            success: SuccessRatio::new(options.success),
            anomalies: AnomalyDetector::new(&options),
            detectors,
            options,
            samples: Samples::default(),
            episodes: BTreeMap::new(),
            resolved: Vec::new(),
            counters: AlertCounters::default(),
            next: None,
            ordinal: 0,
            clock: ClockShift::default(),
        }
    }

    /// Processes a transaction.
    pub fn observe(&mut self, observation: &TransactionView<'_>) {
        self.samples.observe(observation);
        self.resolvers.observe(observation);
        self.detectors.iter_mut().for_each(|detector| detector.observe(observation));
    }

    /// Processes a report about a connection of encrypted DNS. `resolver` is the configured name of
    /// the server, otherwise its address.
    pub fn connection(&mut self, report: &ConnectionReport<'_>, resolver: &str) {
        self.detectors.iter_mut().for_each(|detector| detector.connection(report, resolver));
    }

    /// Processes connections that are alike, each once.
    pub fn used(&mut self, one: &Use) {
        self.detectors.iter_mut().for_each(|detector| detector.used(one));
    }

    /// Processes a closed window.
    pub fn window(&mut self, span: &Span, groups: &Groups) {
        self.success.window(span, groups);
        self.anomalies.window(span, groups);
        self.detectors.iter_mut().for_each(|detector| detector.window(span, groups));
    }

    /// Runs the evaluations that are due at `now`, and passes every alert that changes to `each`.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        let interval = nanos(INTERVAL);
        let newest = now.as_nanos() / interval;
        let next = self.next.replace(newest + 1).unwrap_or(newest + 1);
        // Without evaluations where the clock was set back.
        for number in next.max(newest.saturating_sub(MAX_CATCH_UP))..=newest {
            self.evaluate(Timestamp::from_nanos(number * interval), each);
        }
    }

    /// Ends the capture with a last evaluation. Alerts that fire then are not resolved; their last
    /// record remains valid.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        self.expire(now, each);
        self.evaluate(now, each);
    }

    /// Replaces the options, and starts and ends the detectors of rules that they enable and disable. Baselines,
    /// firing alerts, and what the other detectors know are kept.
    pub fn reconfigure(&mut self, options: DetectOptions, facts: &HostFacts) {
        self.detectors.retain(|detector| is_enabled(&**detector, &options));
        for new in create_detectors(&options, facts) {
            match self.detectors.iter_mut().find(|detector| detector.rules() == new.rules()) {
                Some(detector) => detector.reconfigure(&options, facts),
                None => self.detectors.push(new),
            }
        }
        self.resolvers.reconfigure(options.down, options.flapping);
        self.success.reconfigure(options.success);
        self.anomalies.reconfigure(&options);
        self.options = options;
    }

    /// Returns the settings.
    #[must_use]
    pub const fn options(&self) -> &DetectOptions {
        &self.options
    }

    /// Returns the rules that have not observed this capture for as long as their baselines need,
    /// with that time.
    pub fn learning(&self) -> impl Iterator<Item = (Rule, Duration)> {
        self.anomalies.learning().map(|rule| (rule, self.options.rule(rule).learning))
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        self.collect_findings(now);
        self.update_levels(now, each);
        self.mark_explained(now);
        self.report(now, each);
        self.counters.set_active(
            self.episodes.iter().filter_map(|((rule, _), episode)| {
                episode.reported.map(|(level, _)| (*rule, level))
            }),
        );
        self.samples.next_span();
    }

    /// Collects the findings of all detectors.
    fn collect_findings(&mut self, now: Timestamp) {
        let Self {
            options,
            resolvers,
            success,
            anomalies,
            detectors,
            samples,
            episodes,
            counters,
            ..
        } = self;
        let mut found = Vec::new();
        let mut each = |finding: Finding| {
            if options.rule(finding.rule).enabled {
                found.push(finding);
            }
        };
        resolvers.evaluate(now, &mut each);
        success.evaluate(now, anomalies, &mut each);
        anomalies.evaluate(now, &mut each);
        for detector in detectors {
            detector.evaluate(now, &mut each);
        }
        anomalies.count_entities(counters);
        found.retain(|finding| !is_narrow(finding, samples));
        for mut finding in found {
            if is_distant(&finding, resolvers) {
                finding.level = Severity::Info;
            }
            let key = (finding.rule, finding.entity.clone());
            if let Some(episode) = episodes.get_mut(&key) {
                episode.add_finding(finding, now);
            } else if reserve(episodes, &finding) {
                episodes.insert(key, Episode::new(finding, now));
            } else {
                counters.overflowed += 1;
            }
        }
    }

    /// Raises, lowers and resolves alerts.
    fn update_levels(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        let Self { options, episodes, resolved, counters, ordinal, .. } = self;
        resolved.retain(|(.., over)| now.since(*over) < RESOLVED_EXPLAINS);
        episodes.retain(|(rule, entity), episode| {
            if episode.update_level(now, options.rule(*rule).clear_for) {
                return true;
            }
            let Some((level, _)) = episode.reported else { return false };
            *ordinal += 1;
            counters.count(*rule, level, AlertState::Resolved);
            let alert = alert(*ordinal, now, *rule, entity, episode);
            each(&Alert {
                state: AlertState::Resolved,
                level,
                ended: Some(episode.last_found),
                ..alert
            });
            if resolved.len() == MAX_RESOLVED {
                resolved.remove(0);
            }
            resolved.push((*rule, entity.clone(), now));
            false
        });
    }

    /// Marks alerts that are explained by another one.
    fn mark_explained(&mut self, now: Timestamp) {
        let live = self.episodes.iter().filter(|(_, episode)| episode.level.is_some());
        let live = live.map(|((rule, entity), episode)| {
            let reported = episode.reported.is_some();
            Candidate { rule: *rule, entity, limit: episode.evidence.limit(), reported, over: None }
        });
        let over = self.resolved.iter().map(|(rule, entity, over)| Candidate {
            rule: *rule,
            entity,
            limit: None,
            reported: true,
            over: Some(*over),
        });
        let candidates: Vec<Candidate<'_>> = live.chain(over).collect();
        if candidates.len() < 2 {
            return;
        }
        let causes = cause::explain(&candidates, &self.samples);
        let key = |index: usize| (candidates[index].rule, candidates[index].entity.clone());
        let explained = causes.iter().enumerate();
        let explained: Vec<_> =
            explained.filter_map(|(index, cause)| Some((key(index), key((*cause)?)))).collect();
        for (effect, cause) in explained {
            let Some(episode) = self.episodes.get_mut(&effect) else { continue };
            let is_new = episode.explained.replace(now).is_none() && episode.reported.is_none();
            if is_new {
                self.counters.suppressed[effect.0 as usize] += 1;
                if let Some(cause) = self.episodes.get_mut(&cause) {
                    cause.suppressed += 1;
                }
            }
        }
    }

    /// Reports alerts that have changed or are due for repetition.
    fn report(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        let Self { options, episodes, samples, counters, ordinal, clock, .. } = self;
        let time_of_day = clock.apply(now);
        for ((rule, entity), episode) in episodes {
            let Some(level) = episode.level else { continue };
            let is_explained =
                episode.explained.is_some_and(|then| now.since(then) < EXPLANATION_GRACE);
            if is_explained && episode.reported.is_none() {
                continue;
            }
            let is_covered =
                options.maintenance.iter().any(|one| one.covers(time_of_day, *rule, entity));
            if is_covered {
                counters.muted[*rule as usize] += u64::from(!episode.muted);
                episode.muted = true;
                continue;
            }
            let before = episode.reported;
            if before.is_some_and(|(reported, then)| {
                reported == level && now.since(then) < options.repeat
            }) {
                continue;
            }
            samples.add_evidence(*rule, entity, &mut episode.evidence);
            episode.reported = Some((level, now));
            *ordinal += 1;
            counters.count(*rule, level, AlertState::Firing);
            let previous =
                before.map(|(reported, _)| reported).filter(|reported| *reported != level);
            each(&Alert { previous, ..alert(*ordinal, now, *rule, entity, episode) });
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl Detection {
    /// The settings that the detectors use, as text.
    #[must_use]
    pub fn settings_in_force(&self) -> String {
        let mut detectors: Vec<_> =
            self.detectors.iter().map(|one| one.settings_in_force()).collect();
        detectors.sort();
        let own = [
            self.resolvers.settings_in_force(),
            self.success.settings_in_force(),
            self.anomalies.settings_in_force(),
        ];
        format!("{:#?}", (&self.options, own, detectors))
    }
}

/// Returns the alert of `episode`, firing.
fn alert(ordinal: u64, ts: Timestamp, rule: Rule, entity: &Entity, episode: &Episode) -> Alert {
    Alert {
        ordinal,
        ts,
        rule,
        entity: entity.clone(),
        state: AlertState::Firing,
        level: episode.level.unwrap_or(Severity::Info),
        previous: None,
        started: episode.started,
        ended: None,
        summary: episode.summary.clone(),
        evidence: episode.evidence.clone(),
        suppressed: episode.suppressed,
    }
}

/// Returns whether a rule may have one more alert. A less severe one that was never reported is
/// removed for it if necessary.
fn reserve(episodes: &mut BTreeMap<(Rule, Entity), Episode>, finding: &Finding) -> bool {
    let own = || episodes.iter().filter(|((rule, _), _)| *rule == finding.rule);
    if own().count() < MAX_PER_RULE {
        return true;
    }
    let removable =
        own().find(|(_, episode)| episode.reported.is_none() && !episode.is_as_severe_as(finding));
    let Some(key) = removable.map(|(key, _)| key.clone()) else { return false };
    episodes.remove(&key).is_some()
}

/// Returns whether a finding is about a server that this host queries without recursion desired.
/// This host is then a resolver itself, and it always meets broken servers.
fn is_distant(finding: &Finding, resolvers: &ResolverHealth) -> bool {
    let Finding { rule, entity, .. } = finding;
    !cause::is_direct(*rule)
        && entity.vantage == Some(Vantage::Client)
        && entity.resolver.as_ref().is_some_and(|resolver| !resolvers.is_recursive(resolver))
}

/// Returns whether a finding about a share rests on a few names that fail, among others that do not:
/// the fault is of these names, which the rules on zones report, and not of the node, resolver,
/// process or pod.
fn is_narrow(finding: &Finding, samples: &Samples) -> bool {
    let Finding { rule, entity, .. } = finding;
    let Some(figure) = finding.evidence.figures.first() else { return false };
    let failed = match rule {
        Rule::SuccessRatio => 1.0 - figure.value,
        Rule::Nxdomain | Rule::Servfail | Rule::Timeout => figure.value,
        _ => return false,
    };
    entity.zone.is_none() && failed < MOST && samples.has_fewer_names(MIN_NAMES, *rule, entity)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
