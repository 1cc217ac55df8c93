//! Forged responses, guessed ones, large ones, and resolvers that lie.

use super::Incident;
use crate::benign::RESOLVER;
use crate::event::{A, ANY, Asker, Chance, DNSKEY, Event, NXDOMAIN, TXT, seconds};
use crate::names::domain;
use dnscribe::analysis::detect::{Entity, Rule};
use dnscribe::pair::{OrphanReason, Status, Vantage};
use std::net::{IpAddr, Ipv4Addr};

/// A resolver that is asked beside the usual one.
const LIAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

pub(super) fn all(chance: &mut Chance, begins: f64) -> Vec<Incident> {
    let mut incidents = Vec::new();
    for races in [1, 2, 3 + chance.below(40)] {
        incidents.push(spoofing(chance, begins, races));
    }
    for (reason, count) in [
        (OrphanReason::WrongId, 12 + chance.below(30)),
        (OrphanReason::WrongId, 500 + chance.below(4000)),
        (OrphanReason::WrongPort, 40 + chance.below(400)),
        (OrphanReason::WrongSource, 20 + chance.below(100)),
        (OrphanReason::WrongQuestion, 20 + chance.below(100)),
    ] {
        incidents.push(poisoning(chance, begins, reason, count));
    }
    for kind in ["any", "txt", "dnskey", "carpet", "reflected"] {
        incidents.push(amplification(chance, begins, kind));
    }
    for kind in ["redirected", "blocked", "private", "nxdomain-for-all"] {
        incidents.push(drift(chance, begins, kind));
    }
    incidents
}

fn of_address(address: IpAddr) -> Entity {
    Entity { client: Some(address.to_string().into()), ..Entity::default() }
}

fn spoofing(chance: &mut Chance, begins: f64, races: u64) -> Incident {
    let asker = Asker::process("chrome", 2100);
    let mut events = Vec::new();
    for race in 0..races {
        let at = begins
            + 300.0 * f64::from(u32::try_from(race).unwrap_or(0))
                / f64::from(u32::try_from(races).unwrap_or(1));
        let name = format!("www.{}", domain(chance));
        let event = Event::new(seconds(at), &asker, RESOLVER.into(), name, A);
        let forged = event.clone().latency_ms(1.0 + chance.unit() * 5.0);
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

fn poisoning(chance: &mut Chance, begins: f64, reason: OrphanReason, count: u64) -> Incident {
    let asker = Asker::process("unbound", 700);
    let server = Ipv4Addr::new(192, 33, 14, 30);
    let lasts = 5.0 + chance.unit() * 40.0;
    let mut events = Vec::new();
    for _ in 0..count {
        let name = format!("{}.victim.example", chance.below(50));
        let at = begins + chance.unit() * lasts;
        let mut event = Event::new(seconds(at), &asker, server.into(), name, A);
        event.recursion = false;
        (event.status, event.stray, event.resembles) = (Status::Orphan, Some(reason), true);
        events.push(event.address(Ipv4Addr::new(6, 6, 6, 6).into()));
    }
    Incident::new(
        Rule::CachePoisoning,
        format!("{count} responses, {}", reason.name()),
        of_address(asker.client),
        (begins, begins + lasts),
        events,
    )
}

fn amplification(chance: &mut Chance, begins: f64, kind: &str) -> Incident {
    let rate = 8.0 + chance.unit() * 200.0;
    let lasts = 120.0;
    let qtype = match kind {
        "txt" => TXT,
        "dnskey" => DNSKEY,
        _ => ANY,
    };
    let name = domain(chance);
    let bytes = 900 + chance.below(2800);
    let mut events = Vec::new();
    let mut at = begins;
    while at < begins + lasts {
        let host = if kind == "carpet" { chance.below(250) } else { 8 };
        let mut asker = Asker::client(Ipv4Addr::new(203, 0, 113, u8::try_from(host).unwrap_or(8)));
        let mut server: IpAddr = RESOLVER.into();
        if kind == "reflected" {
            asker.vantage = Vantage::Client;
            server = Ipv4Addr::new(45, u8::try_from(chance.below(250)).unwrap_or(1), 3, 4).into();
        }
        let mut event = Event::new(seconds(at), &asker, server, name.clone(), qtype);
        event.response_bytes = Some(bytes);
        if kind == "reflected" {
            event.status = Status::Orphan;
            event.stray = Some(OrphanReason::NoQuery);
        }
        events.push(event);
        at += chance.interval(rate);
    }
    Incident::new(
        Rule::Amplification,
        format!("{kind} {rate:.0}/s of {bytes} octets"),
        Entity::default(),
        (begins, begins + lasts),
        events,
    )
}

fn drift(chance: &mut Chance, begins: f64, kind: &str) -> Incident {
    let asker = Asker::process("app", 5000);
    let names: Vec<String> =
        (0..12 + chance.below(60)).map(|_| format!("www.{}", domain(chance))).collect();
    let lied: f64 = if kind == "blocked" { 0.25 } else { 0.6 };
    let mut events = Vec::new();
    for _ in 0..6 {
        for (number, name) in names.iter().enumerate() {
            let at = begins + chance.unit() * 900.0;
            let truth = Ipv4Addr::new(151, 7, u8::try_from(number).unwrap_or(0), 1);
            let event = Event::new(seconds(at), &asker, RESOLVER.into(), name.clone(), A);
            // Redirected is what does not exist: a mistyped name leads to advertisements.
            let gone = kind == "redirected" && number % 3 != 0;
            events.push(if gone { event.rcode(NXDOMAIN) } else { event.address(truth.into()) });
            let later = at + chance.unit() * 60.0;
            let event = Event::new(seconds(later), &asker, LIAR.into(), name.clone(), A);
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
