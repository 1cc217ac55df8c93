//! Rules beside the verdicts: what may become a failure, and what is worth a look.

use super::evidence::show_ms;
use super::rule::{Condition, Entity, Figure, Rule, Severity};
use super::state::Measurement;
use super::{Announced, RuleOptions};
use crate::dns::presentation;
use crate::memory::is_same_organization;
use crate::target::TargetKind;
use dnscribe_record::number::to_f64;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Returns the conditions of a service that hold now.
pub(super) fn conditions(
    rules: &RuleOptions,
    all: &[&Measurement],
    announced: Announced,
) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut certificates = BTreeSet::new();
    let mut signatures = BTreeSet::new();
    let mut zones = BTreeSet::new();
    for one in all {
        found.extend(expiry(rules, one, &mut certificates));
        found.extend(signature_expiry(rules, one, &mut signatures));
        found.extend(changed(one, announced));
        found.extend(ttl_changed(one, announced));
        found.extend(one.slow.map(|figure| slow(one, figure)));
        if one.error().1 == "serial_lag"
            && one.failing
            && let TargetKind::Authority(authority) = &one.target.kind
            && zones.insert(&one.fields.target)
        {
            found.push(serial_lag(one, presentation(&authority.zone), all));
        }
    }
    found.extend(disagreements(all));
    found
}

fn condition(one: &Measurement, rule: Rule, severity: Severity, summary: String) -> Condition {
    let service: Arc<str> = Arc::clone(&one.target.service);
    let entity = Entity { target: Some(one.fields.target.clone()), ..Entity::service(&service) };
    Condition {
        rule,
        entity,
        zone: None,
        severity,
        started: one.at,
        evidence: vec![summary.clone()],
        summary,
        figures: Vec::new(),
        samples: one.event_id.into_iter().collect(),
    }
}

/// A certificate that expires soon, once for each certificate of the service.
fn expiry(
    rules: &RuleOptions,
    one: &Measurement,
    seen: &mut BTreeSet<String>,
) -> Option<Condition> {
    let cert = one.fields.cert.as_ref()?;
    let days = cert.expiry_days?;
    let (threshold, severity) = passed(rules.expiry_days.map(f64::from), days)?;
    if !seen.insert(cert.sha256.clone()) {
        return None;
    }
    let when = match cert.not_after.map(|time| time.to_string()) {
        Some(time) => format!(" ({})", time.get(..16).unwrap_or(&time).replace('T', " ")),
        None => String::new(),
    };
    let target = &one.fields.target;
    let summary = if days > 0.0 {
        format!("The certificate of {target} expires in {days:.1} days{when}.")
    } else {
        format!("The certificate of {target} has expired {:.1} days ago{when}.", -days)
    };
    let mut found = condition(one, Rule::CertificateExpiry, severity, summary);
    found.evidence.push(format!("subject {}, issuer {}", cert.subject, cert.issuer));
    found.figures.push(Figure::new("expiry_days", days, Some(threshold)));
    Some(found)
}

/// Returns the threshold that so few days have passed, with its severity. Thresholds: info, warning, critical.
fn passed(thresholds: [f64; 3], days: f64) -> Option<(f64, Severity)> {
    let [info, warning, critical] = thresholds;
    let thresholds =
        [(critical, Severity::Critical), (warning, Severity::Warning), (info, Severity::Info)];
    thresholds.into_iter().find(|(threshold, _)| days <= *threshold)
}

/// Shares of a signature's lifetime that are left where a signer that works has renewed it: BIND does with a quarter left,
/// others with a fifth. For info, warning, critical.
const RENEWED_BEFORE: [f64; 3] = [0.2, 0.15, 0.05];

/// Signatures that end soon, once for each record set of the service. Most are valid for days or weeks by design, so that
/// fewer days count where the lifetime is short.
fn signature_expiry(
    rules: &RuleOptions,
    one: &Measurement,
    seen: &mut BTreeSet<String>,
) -> Option<Condition> {
    let signature = one.fields.signature.as_ref()?;
    let days = signature.expiry_days;
    let [info, warning, critical] = rules.expiry_days.map(f64::from);
    let [first, second, third] = RENEWED_BEFORE.map(|share| share * signature.lifetime_days);
    let thresholds = [info.min(first), warning.min(second), critical.min(third)];
    let (threshold, severity) = passed(thresholds, days)?;
    if !seen.insert(signature.record.clone()) {
        return None;
    }
    let time = signature.not_after.to_string();
    let when = time.get(..16).unwrap_or(&time).replace('T', " ");
    let left =
        if days < 1.0 { format!("{:.1} hours", days * 24.0) } else { format!("{days:.1} days") };
    let record = &signature.record;
    let summary = format!("The signatures of {record} end in {left} ({when}) and are not renewed.");
    let mut found = condition(one, Rule::SignatureExpiry, severity, summary);
    let lifetime = signature.lifetime_days;
    found.evidence.push(format!("valid for {lifetime:.1} days, as seen by {}", one.fields.target));
    found.figures.push(Figure::new("signature_days", days, Some(threshold)));
    Some(found)
}

/// Answers or an issuer that were not known.
fn changed(one: &Measurement, announced: Announced) -> Option<Condition> {
    let severity = |announced| if announced { Severity::Info } else { Severity::Warning };
    let target = &one.fields.target;
    let said = |announced| if announced { ", as announced" } else { " without announcement" };
    if one.fields.issuer_changed == Some(true) {
        let cert = one.fields.cert.as_ref();
        // Anyone can write any organization into a certificate that nobody vouches for.
        let is_vouched = cert.is_some_and(|cert| cert.chain_ok);
        let issuer = cert.map_or("", |cert| cert.issuer.as_str());
        let previous = one.fields.previous_issuer.as_deref().unwrap_or_default();
        let (what, severity) = if is_vouched && is_same_organization(previous, issuer) {
            (" of the same organization", Severity::Info)
        } else {
            (said(announced.certificate), severity(announced.certificate))
        };
        let summary = format!("The certificate of {target} has a new issuer{what}: {issuer}.");
        let mut found = condition(one, Rule::IssuerChanged, severity, summary);
        found.evidence.push(format!("known before: {previous}"));
        return Some(found);
    }
    if one.fields.kind != "dns" || one.fields.changed != Some(true) {
        return None;
    }
    let how = said(announced.answers);
    let resolver = one.fields.resolver.clone().unwrap_or_default();
    let answers = one.fields.answers.join(" ");
    let rcode = one.fields.rcode.as_deref().unwrap_or_default();
    let answers = if answers.is_empty() { rcode } else { &answers };
    let summary = format!("{target} has changed at {resolver}{how}: {answers}.");
    let mut found = condition(one, Rule::AnswerChanged, severity(announced.answers), summary);
    found.entity.resolver = Some(resolver);
    if let Some(previous) = &one.fields.previous_digest {
        let digest = one.fields.answer_digest.as_deref().unwrap_or_default();
        found.evidence.push(format!("digest {digest}, known before {previous}"));
    }
    Some(found)
}

/// A TTL that is not the one that was known.
fn ttl_changed(one: &Measurement, announced: Announced) -> Option<Condition> {
    let (before, known) = one.fields.previous_ttl_seconds.zip(one.fields.known_ttl_seconds)?;
    let (severity, how) = if announced.answers {
        (Severity::Info, ", as announced")
    } else {
        (Severity::Warning, " without announcement")
    };
    let target = &one.fields.target;
    let resolver = one.fields.resolver.clone().unwrap_or_default();
    let summary = format!(
        "The TTL of {target} has changed at {resolver}{how}: {known} s, before {before} s."
    );
    let mut found = condition(one, Rule::TtlChanged, severity, summary);
    found.entity.resolver = Some(resolver);
    found.figures.push(Figure::new("ttl_seconds", f64::from(known), Some(f64::from(before))));
    Some(found)
}

/// A target that takes far longer than usual.
fn slow(one: &Measurement, figure: Figure) -> Condition {
    let usual = figure.baseline.map_or(0.0, |baseline| baseline.mean);
    let at = one.fields.resolver.as_ref().or(one.fields.nameserver.as_ref());
    let at = at.map(|name| format!(" at {name}")).unwrap_or_default();
    let summary = format!(
        "{} {}{at} takes {}, usually {}.",
        one.fields.kind,
        one.fields.target,
        show_ms(figure.value),
        show_ms(usual)
    );
    let mut found = condition(one, Rule::TargetLatency, Severity::Warning, summary);
    found.entity.resolver = one.fields.resolver.clone().or_else(|| one.fields.nameserver.clone());
    found.figures.push(figure);
    found
}

fn serial_lag(one: &Measurement, zone: String, all: &[&Measurement]) -> Condition {
    let of_zone = || all.iter().filter(|other| other.target == one.target);
    let newest = of_zone().filter_map(|other| other.fields.soa_serial).reduce(newer);
    let late: Vec<String> = of_zone()
        .filter(|other| other.error().1 == "serial_lag")
        .map(|other| {
            let name = other.fields.nameserver.as_deref().unwrap_or_default();
            let serial = other.fields.soa_serial.map_or_else(String::new, |one| one.to_string());
            format!("{name} has {serial}")
        })
        .collect();
    let newest_text = newest.map_or_else(String::new, |newest| newest.to_string());
    let summary =
        format!("{zone}: nameservers lag behind serial {newest_text}: {}.", late.join(", "));
    let mut found = condition(one, Rule::SerialLag, Severity::Warning, summary);
    found.started = one.since;
    found.entity.target = None;
    found.entity.zone = Some(zone);
    let lag = newest.zip(one.fields.soa_serial).map(|(newest, own)| newest.wrapping_sub(own));
    found.figures.extend(lag.map(|lag| Figure::new("serial_lag", f64::from(lag), None)));
    found
}

/// The later of two serial numbers (RFC 1982, section 3.2).
const fn newer(one: u32, other: u32) -> u32 {
    if other.wrapping_sub(one) < 1 << 31 { other } else { one }
}

/// Targets whose resolvers have given different good answers for as many rounds as a failure needs. Where
/// most agree, the others are named.
fn disagreements(all: &[&Measurement]) -> Vec<Condition> {
    let mut found: Vec<Condition> = Vec::new();
    for one in all.iter().filter(|one| one.differing && one.fields.ok) {
        let target = &one.fields.target;
        if found.iter().any(|other| other.entity.target.as_ref() == Some(target)) {
            continue;
        }
        let of_target = || all.iter().filter(|other| other.target == one.target && other.fields.ok);
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for other in of_target() {
            let digest = other.fields.answer_digest.as_deref().unwrap_or_default();
            let resolver = other.fields.resolver.as_deref().unwrap_or_default();
            match groups.iter_mut().find(|(known, _)| *known == digest) {
                Some((_, resolvers)) => resolvers.push(resolver),
                None => groups.push((digest, vec![resolver])),
            }
        }
        if groups.len() < 2 {
            continue;
        }
        groups.sort_by_key(|(_, resolvers)| std::cmp::Reverse(resolvers.len()));
        let has_majority = groups[0].1.len() > groups[1].1.len();
        let severity = if has_majority { Severity::Warning } else { Severity::Info };
        let others: Vec<&str> = groups[1..].iter().flat_map(|(_, names)| names).copied().collect();
        let summary = format!(
            "Resolvers answer {target} differently: {} otherwise than {}.",
            others.join(", "),
            groups[0].1.join(", ")
        );
        let mut condition = condition(one, Rule::ResolverDisagreement, severity, summary);
        condition.evidence = of_target()
            .map(|other| {
                let resolver = other.fields.resolver.as_deref().unwrap_or_default();
                let time = other.fields.latency_ms.map(show_ms).unwrap_or_default();
                format!("{resolver}: {} {time}", other.fields.answers.join(" "))
            })
            .collect();
        condition.samples = of_target().filter_map(|other| other.event_id).collect();
        condition.figures.push(Figure::new("distinct_answers", to_f64(groups.len() as u64), None));
        found.push(condition);
    }
    found
}
