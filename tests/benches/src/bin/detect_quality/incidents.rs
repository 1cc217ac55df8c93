//! Incidents in many variants.

mod names;
mod numbers;
mod servers;
mod tunnels;

use crate::benign::Profile;
use crate::event::{Event, Rng};
use dnscribe_analysis::detect::{Entity, Rule};

/// Changes a transaction of other traffic; gets the seconds since the incident began.
pub type Alter = Box<dyn Fn(&mut Event, f64, &mut Rng) + Send>;

/// An incident: its traffic, and the alert that must be raised.
pub struct Incident {
    /// Rule that must detect it.
    pub rule: Rule,
    /// Description with parameters.
    pub variant: String,
    /// Entity that the alert must name; absent parts are not compared.
    pub entity: Entity,
    /// Other rules that may detect it, besides those about numbers.
    pub also: &'static [Rule],
    /// Begin and end, in seconds.
    pub from: f64,
    pub to: f64,
    /// Own traffic.
    pub events: Vec<Event>,
    /// Change to other traffic, if any.
    pub alter: Option<Alter>,
    /// Kind of node; any if absent.
    pub profile: Option<Profile>,
}

/// Rules about numbers: most incidents also change some of these.
const NUMBERS: [Rule; 8] = [
    Rule::QueryRate,
    Rule::Latency,
    Rule::Nxdomain,
    Rule::Servfail,
    Rule::Timeout,
    Rule::SuccessRatio,
    Rule::ResolverDown,
    Rule::ResolverFlapping,
];

impl Incident {
    /// Creates an incident with own traffic on any node.
    fn new(
        rule: Rule,
        variant: String,
        entity: Entity,
        (from, to): (f64, f64),
        events: Vec<Event>,
    ) -> Self {
        Self { rule, variant, entity, also: &[], from, to, events, alter: None, profile: None }
    }

    /// Whether the incident explains an alert of a rule.
    pub fn explains(&self, rule: Rule) -> bool {
        rule == self.rule || self.also.contains(&rule) || NUMBERS.contains(&rule)
    }
}

/// Begin of incidents in seconds, after a time without incident.
const BEGINS: f64 = 1800.0;
/// Begin of incidents that are found by what is usual: after all that the rules have to learn.
const AFTER_HOUR: f64 = 3600.0 + 600.0;
const AFTER_DAY: f64 = 24.0 * 3600.0 + 600.0;

/// Returns every incident with random parameters.
pub fn all(rng: &mut Rng) -> Vec<Incident> {
    let mut incidents = tunnels::all(rng, BEGINS);
    incidents.extend(names::all(rng, BEGINS));
    incidents.extend(servers::all(rng, BEGINS));
    incidents.extend(numbers::all(rng, AFTER_HOUR, AFTER_DAY));
    incidents
}
