//! Incidents with forged, guessed and large responses.

use super::Incident;
use crate::benign::RESOLVER;
use crate::event::{A, ANY, Client, DNSKEY, Event, Rng, TXT, seconds};
use crate::names::domain;
use dnscribe_analysis::detect::{Entity, Rule};
use dnscribe_transaction::pair::{OrphanReason, Status, Vantage};
use std::net::{IpAddr, Ipv4Addr};

pub(super) fn all(rng: &mut Rng, begins: f64) -> Vec<Incident> {
    let mut incidents = Vec::new();
    for races in [1, 2, 3 + rng.below(40)] {
        incidents.push(spoofing(rng, begins, races));
    }
    for (reason, count) in [
        (OrphanReason::WrongId, 12 + rng.below(30)),
        (OrphanReason::WrongId, 500 + rng.below(4000)),
        (OrphanReason::WrongPort, 40 + rng.below(400)),
        (OrphanReason::WrongSource, 20 + rng.below(100)),
        (OrphanReason::WrongQuestion, 20 + rng.below(100)),
    ] {
        incidents.push(poisoning(rng, begins, reason, count));
    }
    for kind in ["any", "txt", "dnskey", "carpet", "reflected"] {
        incidents.push(amplification(rng, begins, kind));
    }
    incidents
}

fn entity_of(address: IpAddr) -> Entity {
    Entity { client: Some(address.to_string().into()), ..Entity::default() }
}

fn spoofing(rng: &mut Rng, begins: f64, races: u64) -> Incident {
    let client = Client::local("chrome", 2100);
    let mut events = Vec::new();
    for race in 0..races {
        let at = begins
            + 300.0 * f64::from(u32::try_from(race).unwrap_or(0))
                / f64::from(u32::try_from(races).unwrap_or(1));
        let name = format!("www.{}", domain(rng));
        let event = Event::new(seconds(at), &client, RESOLVER.into(), name, A);
        let forged = event.clone().latency_ms(1.0 + rng.unit() * 5.0);
        events.push(forged.address(Ipv4Addr::new(6, 6, 6, 6).into()));
        let mut other = event.latency_ms(20.0).address(Ipv4Addr::new(151, 3, 2, 1).into());
        (other.status, other.conflict) = (Status::Duplicate, true);
        events.push(other);
    }
    Incident::new(
        Rule::Spoofing,
        format!("{races} races"),
        Entity { resolver: Some(RESOLVER.to_string().into()), ..Entity::default() },
        (begins, begins + 300.0),
        events,
    )
}

fn poisoning(rng: &mut Rng, begins: f64, reason: OrphanReason, count: u64) -> Incident {
    let client = Client::local("unbound", 700);
    let server = Ipv4Addr::new(192, 33, 14, 30);
    let lasts = 5.0 + rng.unit() * 40.0;
    let mut events = Vec::new();
    for _ in 0..count {
        let name = format!("{}.victim.example", rng.below(50));
        let at = begins + rng.unit() * lasts;
        let mut event = Event::new(seconds(at), &client, server.into(), name, A);
        event.recursion = false;
        (event.status, event.stray, event.resembles) = (Status::Orphan, Some(reason), true);
        events.push(event.address(Ipv4Addr::new(6, 6, 6, 6).into()));
    }
    Incident::new(
        Rule::CachePoisoning,
        format!("{count} responses, {}", reason.name()),
        entity_of(client.address),
        (begins, begins + lasts),
        events,
    )
}

fn amplification(rng: &mut Rng, begins: f64, kind: &str) -> Incident {
    let rate = 8.0 + rng.unit() * 200.0;
    let lasts = 120.0;
    let qtype = match kind {
        "txt" => TXT,
        "dnskey" => DNSKEY,
        _ => ANY,
    };
    let name = domain(rng);
    let bytes = 900 + rng.below(2800);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + lasts {
        let host = if kind == "carpet" { rng.below(250) } else { 8 };
        let mut client =
            Client::remote(Ipv4Addr::new(203, 0, 113, u8::try_from(host).unwrap_or(8)));
        let mut server: IpAddr = RESOLVER.into();
        if kind == "reflected" {
            client.vantage = Vantage::Client;
            server = Ipv4Addr::new(45, u8::try_from(rng.below(250)).unwrap_or(1), 3, 4).into();
        }
        let mut event = Event::new(seconds(at), &client, server, name.clone(), qtype);
        event.response_bytes = Some(bytes);
        if kind == "reflected" {
            event.status = Status::Orphan;
            event.stray = Some(OrphanReason::NoQuery);
        }
        events.push(event);
        at += rng.interval(rate);
    }
    Incident::new(
        Rule::Amplification,
        format!("{kind} {rate:.0}/s of {bytes} bytes"),
        Entity::default(),
        (begins, begins + lasts),
        events,
    )
}
