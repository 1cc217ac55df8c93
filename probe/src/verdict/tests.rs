//! Verdicts of measurements that are given as text, one a line:
//! `KIND[@RESOLVER or NAMESERVER] ok|STAGE/REASON [FIELD=VALUE…]`.

mod alerts;
mod causes;

use super::*;
use crate::config::{Config, Sources};
use crate::target::Target;
use dnscribe_record::{CertificateFields, EdeFields, ProbeError, ProbeFields, SignatureFields};
use std::io::Write as _;

/// Service with one target of each kind; the host by address and by name.
const SHOP: &str = "
version: 1
resolvers: { a: 'udp://192.0.2.1', b: 'udp://192.0.2.2', c: 'udp://192.0.2.3' }
services:
  - name: shop
    targets:
      - dns: { name: shop.example.com }
      - authority: { zone: example.com }
      - tcp: { address: '192.0.2.10:443' }
      - tls: { address: '192.0.2.10:443', server_name: shop.example.com }
      - http: { url: 'https://shop.example.com/health', resolver: a }
      - ping: { address: 192.0.2.10 }
";

fn services() -> Vec<Service> {
    read(SHOP)
}

fn read(config: &str) -> Vec<Service> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    Config::load(&sources).unwrap().services
}

/// Reads a measurement; its kind names the target.
fn measurement(line: &str) -> ProbeFields {
    let mut words = line.split_whitespace();
    let (kind, sub) = words.next().map(|word| word.split_once('@').unwrap_or((word, ""))).unwrap();
    let result = words.next().unwrap();
    let mut fields = ProbeFields {
        kind: kind.to_owned(),
        ok: result == "ok",
        attempt: 1,
        ..ProbeFields::default()
    };
    if let Some((stage, reason)) = result.split_once('/') {
        fields.error =
            Some(ProbeError { stage: stage.into(), reason: reason.into(), detail: None });
    }
    let sub = Some(sub.to_owned()).filter(|sub| !sub.is_empty());
    match kind {
        "authority" => fields.nameserver = sub,
        "dns" => fields.resolver = sub,
        _ => fields.address = Some("192.0.2.10".to_owned()),
    }
    for word in words {
        let (field, value) = word.split_once('=').unwrap_or((word, ""));
        match field {
            "signed" => {
                let (days, lifetime) = value.split_once('/').unwrap();
                fields.signature = Some(SignatureFields {
                    record: "shop.example.com A".to_owned(),
                    expiry_days: days.parse().unwrap(),
                    lifetime_days: lifetime.parse().unwrap(),
                    ..SignatureFields::default()
                });
            }
            "answers" => {
                fields.answers = value.split(',').map(str::to_owned).collect();
                fields.answer_digest = Some(value.to_owned());
            }
            "ede" => {
                fields.ede.push(EdeFields { code: value.parse().unwrap(), text: String::new() });
            }
            "dnssec" => fields.dnssec = Some(value.to_owned()),
            "changed" => fields.changed = Some(true),
            "ttl" => {
                let (before, known) = value.split_once('>').unwrap();
                fields.previous_ttl_seconds = before.parse().ok();
                fields.known_ttl_seconds = known.parse().ok();
            }
            "differs" => fields.differs_from = value.split(',').map(str::to_owned).collect(),
            "resolver" => fields.resolver = Some(value.to_owned()),
            "address" => fields.address = Some(value.to_owned()),
            "serial" => fields.soa_serial = value.parse().ok(),
            "received" => {
                fields.received = value.parse().ok();
                fields.sent = Some(5);
            }
            "connect_ms" => fields.connect_ms = value.parse().ok(),
            "days" => {
                let days = value.parse().ok();
                fields.cert =
                    Some(CertificateFields { expiry_days: days, ..CertificateFields::default() });
            }
            "issuer" => {
                let (previous, issuer) = value.split_once('>').unwrap();
                fields.issuer_changed = Some(true);
                fields.previous_issuer = Some(previous.to_owned());
                let issuer = issuer.to_owned();
                fields.cert = Some(CertificateFields { issuer, ..CertificateFields::default() });
            }
            "vouched" => fields.cert.as_mut().unwrap().chain_ok = true,
            _ => panic!("{field}"),
        }
    }
    fields
}

/// Makes rounds of measurements, one for each kind that is named.
fn rounds(services: &[Service], at: Timestamp, lines: &[&str]) -> Vec<Round> {
    let targets = services.iter().flat_map(|service| &service.targets);
    let round = |target: &Arc<Target>| {
        let of_target = lines.iter().map(|line| measurement(line));
        let of_target = of_target.filter(|fields| fields.kind == target.kind.name());
        let named = |fields: ProbeFields| ProbeFields {
            service: target.service.to_string(),
            target: target.name.clone(),
            ..fields
        };
        Round {
            target: Arc::clone(target),
            start: at,
            found: of_target.map(named).collect(),
            skipped: None,
            unrouted: 0,
        }
    };
    targets.map(round).filter(|round| !round.found.is_empty()).collect()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((1_795_000_000 + seconds) * 1_000_000_000)
}

/// Returns the alerts of measurements that were made once.
fn alerts_once(lines: &[&str]) -> Vec<Alert> {
    let services = services();
    let rounds = rounds(&services, at(0), lines);
    let measured = rounds.iter().map(|round| (round, Vec::new()));
    Verdicts::once(at(1), &RuleOptions::default(), &services, measured)
}
