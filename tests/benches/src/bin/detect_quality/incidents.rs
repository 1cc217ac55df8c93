//! What is wrong, in many variants.

mod names;
mod numbers;
mod servers;
mod tunnels;

use crate::benign::Profile;
use crate::event::{Chance, Event};
use dnscribe::analysis::detect::{Entity, Rule};

/// Changes what others do, so many seconds after its beginning.
pub type Alter = Box<dyn Fn(&mut Event, f64, &mut Chance) + Send>;

/// One thing that goes wrong.
pub struct Incident {
    /// What should be found.
    pub rule: Rule,
    /// What it is, with its parameters.
    pub variant: String,
    /// Whom it concerns, as far as an alert must say: what is absent here is not compared.
    pub entity: Entity,
    /// What else is truly so and may be found with it, beside what numbers tell.
    pub also: &'static [Rule],
    /// When it begins and ends, in seconds.
    pub from: f64,
    pub to: f64,
    /// All that it does itself.
    pub events: Vec<Event>,
    /// What it does to what others do, if anything.
    pub alter: Option<Alter>,
    /// Where it happens; anywhere if absent.
    pub profile: Option<Profile>,
}

/// The rules about numbers: most of what is wrong shows in some of them too.
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
    /// One that does something itself, anywhere.
    fn new(
        rule: Rule,
        variant: String,
        entity: Entity,
        (from, to): (f64, f64),
        events: Vec<Event>,
    ) -> Self {
        Self { rule, variant, entity, also: &[], from, to, events, alter: None, profile: None }
    }

    /// Whether an alert by a rule is no surprise.
    pub fn explains(&self, rule: Rule) -> bool {
        rule == self.rule || self.also.contains(&rule) || NUMBERS.contains(&rule)
    }
}

/// When incidents begin: there was quiet before.
const BEGINS: f64 = 1800.0;

/// Every incident, with parameters by chance.
pub fn all(chance: &mut Chance) -> Vec<Incident> {
    let mut incidents = tunnels::all(chance, BEGINS);
    incidents.extend(names::all(chance, BEGINS));
    incidents.extend(servers::all(chance, BEGINS));
    incidents.extend(numbers::all(chance, BEGINS));
    incidents
}
