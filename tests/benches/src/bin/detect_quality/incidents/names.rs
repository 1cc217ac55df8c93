//! Incidents with generated names, and processes that bypass the resolver.

use super::Incident;
use crate::benign::RESOLVER;
use crate::event::{A, BASE36, Client, Event, HEX, LETTERS, NXDOMAIN, Rng, SERVFAIL, seconds};
use crate::names::{domain, words};
use dnscribe_analysis::detect::{Entity, Rule};
use std::net::Ipv4Addr;

/// Generation algorithm: name, alphabet, range of lengths, range of seconds between two domains.
type Algorithm = (&'static str, &'static [u8], (u64, u64), (f64, f64));

pub(super) fn all(rng: &mut Rng, begins: f64) -> Vec<Incident> {
    let random: [Algorithm; 7] = [
        ("letters-5-11", LETTERS, (5, 11), (1.0, 10.0)),
        ("letters-8-19", LETTERS, (8, 19), (0.1, 5.0)),
        ("letters-12-15", LETTERS, (12, 15), (1.0, 20.0)),
        ("hex-32", HEX, (32, 32), (0.5, 10.0)),
        ("mixed-12-24", BASE36, (12, 24), (0.2, 10.0)),
        ("slow-letters", LETTERS, (9, 16), (30.0, 75.0)),
        ("fast-letters", LETTERS, (7, 12), (0.01, 0.05)),
    ];
    let mut incidents: Vec<Incident> = random
        .iter()
        .map(|(name, alphabet, length, pause)| {
            let make = |rng: &mut Rng| {
                let length = length.0 + rng.below(length.1 - length.0 + 1);
                let suffix = *rng.pick(&["com", "net", "org", "info", "biz", "ru", "top", "test"]);
                format!("{}.{suffix}", rng.text(alphabet, length))
            };
            domains(rng, begins, name, *pause, &make)
        })
        .collect();
    let dictionary = |rng: &mut Rng| format!("{}.net", words(rng));
    incidents.push(domains(rng, begins, "dictionary", (0.5, 5.0), &dictionary));
    for name in ["letters", "hex", "numbers", "servfail"] {
        incidents.push(below_zone(rng, begins, name));
    }
    for strict in ["bypass", "bypass-rare"] {
        incidents.push(bypass(rng, begins, strict));
    }
    incidents
}

fn domains(
    rng: &mut Rng,
    begins: f64,
    name: &str,
    pause: (f64, f64),
    make: &dyn Fn(&mut Rng) -> String,
) -> Incident {
    let pause = pause.0 + rng.unit() * (pause.1 - pause.0);
    let lasts = (pause * 120.0).clamp(60.0, 5400.0);
    let comm = *rng.pick(&["malware", "svchost", "chrome"]);
    let client = Client::local(comm, 6667);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + lasts {
        let event = Event::new(seconds(at), &client, RESOLVER.into(), make(rng), A);
        let found = rng.chance(0.01);
        events.push(if found {
            event.address(Ipv4Addr::new(198, 51, 100, 9).into())
        } else {
            event.rcode(NXDOMAIN)
        });
        at += rng.interval(1.0 / pause);
    }
    Incident::new(
        Rule::Dga,
        format!("{name} every {pause:.2} s"),
        Entity { process: Some(comm.into()), ..Entity::default() },
        (begins, begins + lasts),
        events,
    )
}

fn below_zone(rng: &mut Rng, begins: f64, kind: &str) -> Incident {
    let zone = domain(rng);
    let rate = if kind == "numbers" { 25.0 } else { 5.0 } + rng.unit() * 60.0;
    let lasts = 120.0;
    let many = rng.chance(0.5);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + lasts {
        let host = u8::try_from(if many { rng.below(180) } else { 3 }).unwrap_or(3);
        let client = Client::remote(Ipv4Addr::new(10, 3, 1, host));
        let first = match kind {
            "hex" => rng.text(HEX, 12),
            "numbers" => rng.below(100_000_000).to_string(),
            _ => {
                let length = 8 + rng.below(8);
                rng.text(LETTERS, length)
            }
        };
        let event = Event::new(seconds(at), &client, RESOLVER.into(), format!("{first}.{zone}"), A);
        events.push(match kind {
            "servfail" if rng.chance(0.5) => event.rcode(SERVFAIL),
            "servfail" => event.timeout(),
            _ => event.rcode(NXDOMAIN),
        });
        at += rng.interval(rate);
    }
    Incident::new(
        Rule::Dga,
        format!(
            "random subdomains ({kind}) {rate:.0}/s, {}",
            if many { "many clients" } else { "one client" }
        ),
        Entity { zone: Some(zone.into()), ..Entity::default() },
        (begins, begins + lasts),
        events,
    )
}

fn bypass(rng: &mut Rng, begins: f64, kind: &str) -> Incident {
    let pause = if kind == "bypass" { 0.5 + rng.unit() * 5.0 } else { 20.0 + rng.unit() * 40.0 };
    let comm = *rng.pick(&["curl", "malware", "smart-tv"]);
    let client = Client::local(comm, 6668);
    let server = *rng.pick(&[Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(203, 0, 113, 53)]);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + 1800.0 {
        let name = domain(rng);
        let event = Event::new(seconds(at), &client, server.into(), name, A);
        events.push(event.address(Ipv4Addr::new(151, 1, 2, 3).into()));
        at += rng.interval(1.0 / pause);
    }
    Incident::new(
        Rule::ResolverBypass,
        format!("{kind} every {pause:.1} s"),
        Entity { process: Some(comm.into()), ..Entity::default() },
        (begins, begins + 1800.0),
        events,
    )
}
