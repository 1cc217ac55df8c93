//! What is wrong, in many variants.

mod names;
mod servers;
mod tunnels;

use crate::event::{Chance, Event};
use dnscribe::detect::{Entity, Rule};

/// One thing that goes wrong.
pub struct Incident {
    /// What should be found.
    pub rule: Rule,
    /// What it is, with its parameters.
    pub variant: String,
    /// Whom it concerns, as far as a finding must say: what is absent here is not compared.
    pub entity: Entity,
    /// What else is truly so and may be found with it.
    pub also: &'static [Rule],
    /// When it begins and ends, in seconds.
    pub from: f64,
    pub to: f64,
    /// All that belongs to it.
    pub events: Vec<Event>,
}

/// When incidents begin: there was quiet before.
const BEGINS: f64 = 1800.0;

/// Every incident, with parameters by chance.
pub fn all(chance: &mut Chance) -> Vec<Incident> {
    let mut incidents = tunnels::all(chance, BEGINS);
    incidents.extend(names::all(chance, BEGINS));
    incidents.extend(servers::all(chance, BEGINS));
    incidents
}
