//! Incidents with servers that are down, slow or failing, and clients that query too often.

use super::{Alter, Incident};
use crate::benign::{CLUSTER, Profile};
use crate::event::{A, Client, Event, NXDOMAIN, Rng, SERVFAIL, seconds};
use dnscribe_analysis::detect::{Entity, Rule};
use dnscribe_dns::rcode::REFUSED;
use std::net::IpAddr;
use std::time::Duration;

pub(super) fn all(rng: &mut Rng, begins: f64, flood_begins: f64) -> Vec<Incident> {
    let share = 0.3 + rng.unit() * 0.5;
    let slower = u32::try_from(5 + rng.below(20)).unwrap_or(5);
    let is_to_cluster = |event: &Event| event.server == IpAddr::from(CLUSTER);
    let down: Alter = Box::new(move |event, _, _| {
        if is_to_cluster(event) {
            *event = event.clone().timeout();
        }
    });
    let flaps: Alter = Box::new(move |event, after, _| {
        if is_to_cluster(event) && after % 90.0 < 40.0 {
            *event = event.clone().timeout();
        }
    });
    let loses: Alter = Box::new(move |event, _, rng| {
        if rng.chance(share) {
            *event = event.clone().timeout();
        }
    });
    let fails: Alter = Box::new(move |event, _, rng| {
        if rng.chance(share) {
            *event = event.clone().rcode(SERVFAIL);
        }
    });
    let denies: Alter = Box::new(move |event, _, rng| {
        if event.rcode == Some(0) && rng.chance(0.4 + share / 2.0) {
            *event = event.clone().rcode(NXDOMAIN);
        }
    });
    let slow: Alter = Box::new(move |event, _, _| {
        let longer = |latency: Duration| latency * slower + Duration::from_millis(60);
        event.latency = event.latency.map(longer);
    });
    let refuses: Alter = Box::new(move |event, _, rng| {
        if rng.chance(0.06 + share / 4.0) {
            *event = event.clone().rcode(REFUSED);
        }
    });
    vec![
        broken(Rule::ResolverDown, "all lost".into(), begins, 120.0, down),
        broken(Rule::ResolverFlapping, "40 s of 90".into(), begins, 600.0, flaps),
        broken(Rule::Timeout, format!("{share:.2} lost"), begins, 420.0, loses),
        broken(Rule::Servfail, format!("{share:.2} fail"), begins, 420.0, fails),
        broken(
            Rule::Nxdomain,
            format!("{:.2} do not exist", 0.4 + share / 2.0),
            begins,
            420.0,
            denies,
        ),
        broken(Rule::Latency, format!("{slower} times"), begins, 420.0, slow),
        broken(
            Rule::SuccessRatio,
            format!("{:.2} refused", 0.06 + share / 4.0),
            begins,
            720.0,
            refuses,
        ),
        hammer(rng, flood_begins),
    ]
}

fn broken(rule: Rule, variant: String, begins: f64, lasts: f64, alter: Alter) -> Incident {
    let times = (begins, begins + lasts);
    let without_profile = Incident::new(rule, variant, Entity::default(), times, Vec::new());
    Incident { alter: Some(alter), profile: Some(Profile::Cluster), ..without_profile }
}

/// Returns an incident in which a process queries one name in a loop.
fn hammer(rng: &mut Rng, begins: f64) -> Incident {
    let rate = 80.0 + rng.unit() * 200.0;
    let client = Client::local("looping", 7777);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + 240.0 {
        let name = "db.shop.svc.cluster.local".to_owned();
        events.push(Event::new(seconds(at), &client, CLUSTER.into(), name, A));
        at += rng.interval(rate);
    }
    let times = (begins, begins + 240.0);
    let variant = format!("one process, {rate:.0}/s");
    let without_profile = Incident::new(Rule::QueryRate, variant, Entity::default(), times, events);
    Incident { profile: Some(Profile::Cluster), ..without_profile }
}
