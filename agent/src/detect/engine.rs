//! What is found becomes alerts.

use super::alert::{Alert, State};
use super::cause::{self, Suspect};
use super::counters::AlertCounters;
use super::episode::Episode;
use super::finding::{Detector, Entity, Finding, Level, Rule};
use super::options::DetectOptions;
use super::outcomes::Outcomes;
use super::samples::Samples;
use super::success::Success;
use super::usual::Usual;
use crate::connection::Report;
use crate::observation::Observation;
use crate::pair::Vantage;
use crate::time::Timestamp;
use crate::window::{Groups, Span};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two evaluations: at multiples of it since 1970-01-01 UTC.
const EVERY: Duration = Duration::from_secs(10);
/// Evaluations that are made up for after a silence, in which a replay's clock jumps: then all has been
/// away long enough to be over.
const MADE_UP: u64 = 60;
/// Alerts of a rule at a time.
const PER_RULE: usize = 64;
/// How long an alert that is over explains what it left behind: the numbers of its time are in
/// windows of five minutes.
const AFTERMATH: Duration = Duration::from_secs(360);
/// How long what was explained must be without explanation until it is told.
const GRACE: Duration = Duration::from_secs(60);
/// Alerts that are over and may still explain others.
const REMEMBERED: usize = 64;

/// The room of detection.
pub struct Detection {
    options: DetectOptions,
    outcomes: Outcomes,
    success: Success,
    usual: Usual,
    detectors: Vec<Box<dyn Detector>>,
    samples: Samples,
    episodes: BTreeMap<(Rule, Entity), Episode>,
    /// Alerts that are over, oldest first, with when.
    aftermath: Vec<(Rule, Entity, Timestamp)>,
    counters: AlertCounters,
    /// When the next evaluation is due; unknown before the first event.
    next: Option<Timestamp>,
    /// Alerts given so far.
    ordinal: u64,
}

impl Detection {
    /// Detection by windows and outcomes, and by `others`.
    #[must_use]
    pub fn new(options: DetectOptions, others: Vec<Box<dyn Detector>>) -> Self {
        Self {
            outcomes: Outcomes::new(options.down, options.flapping),
            success: Success::new(options.success),
            usual: Usual::new(&options),
            detectors: others,
            options,
            samples: Samples::default(),
            episodes: BTreeMap::new(),
            aftermath: Vec::new(),
            counters: AlertCounters::default(),
            next: None,
            ordinal: 0,
        }
    }

    /// Alerts given so far.
    #[must_use]
    pub const fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Goes on counting alerts from here.
    pub const fn set_ordinal(&mut self, ordinal: u64) {
        self.ordinal = ordinal;
    }

    /// Takes a transaction.
    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.samples.observe(observation);
        self.outcomes.observe(observation);
        self.detectors.iter_mut().for_each(|detector| detector.observe(observation));
    }

    /// Takes a report of a connection of encrypted DNS, with the resolver's name, else its address.
    pub fn connection(&mut self, report: &Report<'_>, resolver: &str) {
        self.detectors.iter_mut().for_each(|detector| detector.connection(report, resolver));
    }

    /// Takes a window that was closed.
    pub fn window(&mut self, span: &Span, groups: &Groups) {
        self.success.window(span, groups);
        self.usual.window(span, groups);
        self.detectors.iter_mut().for_each(|detector| detector.window(span, groups));
    }

    /// Lets time pass: evaluates what is due, and gives the alerts that change.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        let every = nanos(EVERY);
        let newest = now.as_nanos() / every * every;
        let due = self.next.map_or(newest + every, Timestamp::as_nanos);
        if due > newest + every {
            // The clock was set back.
            self.next = Some(Timestamp::from_nanos(newest + every));
            return;
        }
        let mut at = due.max(newest.saturating_sub(MADE_UP * every));
        while at <= newest {
            self.evaluate(Timestamp::from_nanos(at), each);
            at += every;
        }
        self.next = Some(Timestamp::from_nanos(at));
    }

    /// The capture has ended: evaluates once more. What still fires then is not over, and nothing says
    /// that it is: its last record stands.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        self.expire(now, each);
        self.evaluate(now, each);
    }

    /// Adopts other options. What was learned, and what fires, stays.
    pub fn reconfigure(&mut self, options: DetectOptions) {
        self.outcomes.reconfigure(options.down, options.flapping);
        self.success.reconfigure(options.success);
        self.usual.reconfigure(&options);
        self.options = options;
    }

    /// How many alerts there were, and are.
    #[must_use]
    pub const fn counters(&self) -> &AlertCounters {
        &self.counters
    }

    /// Where the pages are that say what to do.
    #[must_use]
    pub fn runbooks(&self) -> &str {
        &self.options.runbook_url
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        self.find(now);
        self.judge(now, each);
        self.explain(now);
        self.tell(now, each);
        self.counters.set_active(
            self.episodes
                .iter()
                .filter_map(|((rule, _), episode)| episode.told.map(|(level, _)| (*rule, level))),
        );
        self.samples.turn();
    }

    /// Has the detectors say what they find.
    fn find(&mut self, now: Timestamp) {
        let Self { options, outcomes, success, usual, detectors, episodes, counters, .. } = self;
        let mut found = Vec::new();
        let mut each = |finding: Finding| {
            if options.rule(finding.rule).enabled {
                found.push(finding);
            }
        };
        outcomes.evaluate(now, &mut each);
        success.evaluate(now, &mut each);
        usual.evaluate(now, &mut each);
        for detector in detectors {
            detector.evaluate(now, &mut each);
        }
        for mut finding in found {
            if is_distant(&finding, outcomes) {
                finding.level = Level::Info;
            }
            let key = (finding.rule, finding.entity.clone());
            if let Some(episode) = episodes.get_mut(&key) {
                episode.find(finding, now);
            } else if make_room(episodes, &finding) {
                episodes.insert(key, Episode::new(finding, now));
            } else {
                counters.overflowed += 1;
            }
        }
    }

    /// Lets alerts become worse, better, and be over.
    fn judge(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        let Self { options, episodes, aftermath, counters, ordinal, .. } = self;
        aftermath.retain(|(.., over)| now.since(*over) < AFTERMATH);
        episodes.retain(|(rule, entity), episode| {
            if episode.judge(now, options.rule(*rule).clear_for) {
                return true;
            }
            let Some((level, _)) = episode.told else { return false };
            *ordinal += 1;
            counters.count(*rule, level, State::Resolved);
            let alert = alert(*ordinal, now, *rule, entity, episode);
            each(&Alert { state: State::Resolved, level, ended: Some(episode.found), ..alert });
            if aftermath.len() == REMEMBERED {
                aftermath.remove(0);
            }
            aftermath.push((*rule, entity.clone(), now));
            false
        });
    }

    /// Finds out which alerts others explain.
    fn explain(&mut self, now: Timestamp) {
        let live = self.episodes.iter().filter(|(_, episode)| episode.level.is_some());
        let live = live.map(|((rule, entity), episode)| {
            let told = episode.told.is_some();
            Suspect { rule: *rule, entity, limit: episode.evidence.limit(), told, over: None }
        });
        let over = self.aftermath.iter().map(|(rule, entity, over)| Suspect {
            rule: *rule,
            entity,
            limit: None,
            told: true,
            over: Some(*over),
        });
        let suspects: Vec<Suspect<'_>> = live.chain(over).collect();
        if suspects.len() < 2 {
            return;
        }
        let causes = cause::explain(&suspects, &self.samples);
        let key = |place: usize| (suspects[place].rule, suspects[place].entity.clone());
        let explained = causes.iter().enumerate();
        let explained: Vec<_> =
            explained.filter_map(|(place, cause)| Some((key(place), key((*cause)?)))).collect();
        for (effect, cause) in explained {
            let Some(episode) = self.episodes.get_mut(&effect) else { continue };
            let is_new = episode.explained.replace(now).is_none() && episode.told.is_none();
            if is_new {
                self.counters.suppressed[effect.0 as usize] += 1;
                if let Some(cause) = self.episodes.get_mut(&cause) {
                    cause.suppressed += 1;
                }
            }
        }
    }

    /// Gives the alerts that have changed, and those that are to be told again.
    fn tell(&mut self, now: Timestamp, each: &mut dyn FnMut(&Alert)) {
        let Self { options, episodes, samples, counters, ordinal, .. } = self;
        for ((rule, entity), episode) in episodes {
            let Some(level) = episode.level else { continue };
            let is_explained = episode.explained.is_some_and(|then| now.since(then) < GRACE);
            if is_explained && episode.told.is_none() {
                continue;
            }
            if options.maintenance.iter().any(|time| time.covers(now, *rule, entity)) {
                counters.muted[*rule as usize] += u64::from(!episode.muted);
                episode.muted = true;
                continue;
            }
            let before = episode.told;
            if before.is_some_and(|(told, then)| told == level && now.since(then) < options.repeat)
            {
                continue;
            }
            samples.complete(*rule, entity, &mut episode.evidence);
            episode.told = Some((level, now));
            *ordinal += 1;
            counters.count(*rule, level, State::Firing);
            let previous = before.map(|(told, _)| told).filter(|told| *told != level);
            each(&Alert { previous, ..alert(*ordinal, now, *rule, entity, episode) });
        }
    }
}

/// An alert as it fires.
fn alert(ordinal: u64, ts: Timestamp, rule: Rule, entity: &Entity, episode: &Episode) -> Alert {
    Alert {
        ordinal,
        ts,
        rule,
        entity: entity.clone(),
        state: State::Firing,
        level: episode.level.unwrap_or(Level::Info),
        previous: None,
        started: episode.started,
        ended: None,
        summary: episode.summary.clone(),
        evidence: episode.evidence.clone(),
        suppressed: episode.suppressed,
    }
}

/// Whether there is room for one more of its rule; what nobody was told of makes room for worse.
fn make_room(episodes: &mut BTreeMap<(Rule, Entity), Episode>, finding: &Finding) -> bool {
    let own = || episodes.iter().filter(|((rule, _), _)| *rule == finding.rule);
    if own().count() < PER_RULE {
        return true;
    }
    let spare = own().find(|(_, episode)| episode.told.is_none() && !episode.is_as_bad_as(finding));
    let Some(key) = spare.map(|(key, _)| key.clone()) else { return false };
    episodes.remove(&key).is_some()
}

/// Servers that this host asks without asking for recursion are not its resolvers: it is one itself, and
/// half of the world's servers are broken at any time.
fn is_distant(finding: &Finding, outcomes: &Outcomes) -> bool {
    let Finding { rule, entity, .. } = finding;
    !cause::is_direct(*rule)
        && entity.vantage == Some(Vantage::Client)
        && entity.resolver.as_ref().is_some_and(|resolver| !outcomes.is_recursive(resolver))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
