//! Incidents with forged, guessed and large responses, and with resolvers that give wrong answers.

use super::Incident;
use crate::benign::RESOLVER;
use crate::event::{A, ANY, Client, DNSKEY, Event, NXDOMAIN, Rng, TXT, seconds};
use crate::names::domain;
use dnscribe_analysis::detect::{Entity, Rule};
use dnscribe_transaction::pair::{OrphanReason, Status, Vantage};
use std::net::{IpAddr, Ipv4Addr};

/// Resolver with wrong answers, which clients query in addition to the usual one.
const LIAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

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
    for kind in ["redirected", "blocked", "private", "nxdomain-for-all"] {
        incidents.push(drift(rng, begins, kind));
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

fn drift(rng: &mut Rng, begins: f64, kind: &str) -> Incident {
    let client = Client::local("app", 5000);
    let names: Vec<String> =
        (0..12 + rng.below(60)).map(|_| format!("www.{}", domain(rng))).collect();
    let lied: f64 = if kind == "blocked" { 0.25 } else { 0.6 };
    let mut events = Vec::new();
    for _ in 0..6 {
        for (number, name) in names.iter().enumerate() {
            let at = begins + rng.unit() * 900.0;
            let truth = Ipv4Addr::new(151, 7, u8::try_from(number).unwrap_or(0), 1);
            let event = Event::new(seconds(at), &client, RESOLVER.into(), name.clone(), A);
            // Names that do not exist are redirected, for example to advertisements.
            let gone = kind == "redirected" && number % 3 != 0;
            events.push(if gone { event.rcode(NXDOMAIN) } else { event.address(truth.into()) });
            let later = at + rng.unit() * 60.0;
            let event = Event::new(seconds(later), &client, LIAR.into(), name.clone(), A);
            #[expect(clippy::cast_precision_loss, reason = "some dozens")]
            let is_lie = (number as f64) < lied * names.len() as f64;
            events.push(match kind {
                "redirected" if gone => event.address(Ipv4Addr::new(6, 6, 6, 6).into()),
                "blocked" if is_lie => event.address(Ipv4Addr::UNSPECIFIED.into()),
                "private" if is_lie => event.address(Ipv4Addr::new(10, 9, 9, 9).into()),
                "nxdomain-for-all" => event.rcode(NXDOMAIN),
                _ => event.address(truth.into()),
            });
        }
    }
    Incident {
        also: &[Rule::ResolverBypass, Rule::Dga],
        ..Incident::new(
            Rule::ResolverDrift,
            format!("{kind}, {} names", names.len()),
            Entity::default(),
            (begins, begins + 960.0),
            events,
        )
    }
}
