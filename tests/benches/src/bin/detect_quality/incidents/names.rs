//! Names made by algorithms, and who asks where he should not.

use super::Incident;
use crate::benign::RESOLVER;
use crate::event::{A, Asker, BASE36, Chance, Event, HEX, LETTERS, NXDOMAIN, SERVFAIL, seconds};
use crate::names::{domain, words};
use dnscribe::analysis::detect::{Entity, Rule};
use std::net::Ipv4Addr;

/// A name, its letters, how many of them, and seconds between two domains.
type Algorithm = (&'static str, &'static [u8], (u64, u64), (f64, f64));

pub(super) fn all(chance: &mut Chance, begins: f64) -> Vec<Incident> {
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
            let make = |chance: &mut Chance| {
                let length = length.0 + chance.below(length.1 - length.0 + 1);
                let suffix =
                    *chance.pick(&["com", "net", "org", "info", "biz", "ru", "top", "test"]);
                format!("{}.{suffix}", chance.text(alphabet, length))
            };
            domains(chance, begins, name, *pause, &make)
        })
        .collect();
    let dictionary = |chance: &mut Chance| format!("{}.net", words(chance));
    incidents.push(domains(chance, begins, "dictionary", (0.5, 5.0), &dictionary));
    for name in ["letters", "hex", "numbers", "servfail"] {
        incidents.push(below_zone(chance, begins, name));
    }
    for strict in ["bypass", "bypass-rare"] {
        incidents.push(bypass(chance, begins, strict));
    }
    incidents
}

fn domains(
    chance: &mut Chance,
    begins: f64,
    name: &str,
    pause: (f64, f64),
    make: &dyn Fn(&mut Chance) -> String,
) -> Incident {
    let pause = pause.0 + chance.unit() * (pause.1 - pause.0);
    let lasts = (pause * 120.0).clamp(60.0, 5400.0);
    let comm = *chance.pick(&["malware", "svchost", "chrome"]);
    let asker = Asker::process(comm, 6667);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + lasts {
        let event = Event::new(seconds(at), &asker, RESOLVER.into(), make(chance), A);
        let found = chance.chance(0.01);
        events.push(if found {
            event.address(Ipv4Addr::new(198, 51, 100, 9).into())
        } else {
            event.rcode(NXDOMAIN)
        });
        at += chance.interval(1.0 / pause);
    }
    Incident::new(
        Rule::Dga,
        format!("{name} every {pause:.2} s"),
        Entity { process: Some(comm.into()), ..Entity::default() },
        (begins, begins + lasts),
        events,
    )
}

fn below_zone(chance: &mut Chance, begins: f64, kind: &str) -> Incident {
    let zone = domain(chance);
    let rate = if kind == "numbers" { 25.0 } else { 5.0 } + chance.unit() * 60.0;
    let lasts = 120.0;
    let many = chance.chance(0.5);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + lasts {
        let host = u8::try_from(if many { chance.below(180) } else { 3 }).unwrap_or(3);
        let asker = Asker::client(Ipv4Addr::new(10, 3, 1, host));
        let first = match kind {
            "hex" => chance.text(HEX, 12),
            "numbers" => chance.below(100_000_000).to_string(),
            _ => {
                let length = 8 + chance.below(8);
                chance.text(LETTERS, length)
            }
        };
        let event = Event::new(seconds(at), &asker, RESOLVER.into(), format!("{first}.{zone}"), A);
        events.push(match kind {
            "servfail" if chance.chance(0.5) => event.rcode(SERVFAIL),
            "servfail" => event.timeout(),
            _ => event.rcode(NXDOMAIN),
        });
        at += chance.interval(rate);
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

fn bypass(chance: &mut Chance, begins: f64, kind: &str) -> Incident {
    let pause =
        if kind == "bypass" { 0.5 + chance.unit() * 5.0 } else { 20.0 + chance.unit() * 40.0 };
    let comm = *chance.pick(&["curl", "malware", "smart-tv"]);
    let asker = Asker::process(comm, 6668);
    let server = *chance.pick(&[Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(203, 0, 113, 53)]);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + 1800.0 {
        let name = domain(chance);
        let event = Event::new(seconds(at), &asker, server.into(), name, A);
        events.push(event.address(Ipv4Addr::new(151, 1, 2, 3).into()));
        at += chance.interval(1.0 / pause);
    }
    Incident::new(
        Rule::ResolverBypass,
        format!("{kind} every {pause:.1} s"),
        Entity { process: Some(comm.into()), ..Entity::default() },
        (begins, begins + 1800.0),
        events,
    )
}
