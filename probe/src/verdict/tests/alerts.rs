//! Alerts from their beginning to their end.

use super::*;
use dnscribe_config::maintenance::MaintenancePeriod;
use proptest::prelude::*;
use std::collections::HashMap;
use wildmatch::WildMatch;

fn change(kind: &str, ts: Timestamp, ends: Option<Timestamp>) -> Change {
    let ends = ends.map_or(serde_json::Value::Null, |ends| ends.to_string().into());
    let record = serde_json::json!({
        "event_id": "0".repeat(32), "ts": ts.to_string(), "kind": kind, "zone": "example.com",
        "summary": "a change", "ends": ends,
    });
    serde_json::from_value(record).unwrap()
}

/// Verdicts of a service, fed with a round each minute.
struct Probing {
    services: Vec<Service>,
    verdicts: Verdicts,
}

impl Probing {
    fn new() -> Self {
        let services = services();
        let verdicts = Verdicts::new(RuleOptions::default(), &services);
        Self { services, verdicts }
    }

    /// Measures at a minute, and returns rule, severity, and whether it is over, of all alerts.
    fn minute(&mut self, minute: u64, lines: &[&str]) -> Vec<(Rule, Severity, bool)> {
        let now = at(minute * 60);
        let rounds = rounds(&self.services, now, lines);
        let alerts = rounds.iter().flat_map(|round| {
            observe(&mut self.verdicts, now, round, &[EventId(u128::from(minute))])
        });
        let state =
            |alert: Alert| (alert.condition.rule, alert.condition.severity, alert.ended.is_some());
        alerts.map(state).collect()
    }
}

/// Adds a round, and returns the alerts that it causes.
fn observe(verdicts: &mut Verdicts, now: Timestamp, round: &Round, ids: &[EventId]) -> Vec<Alert> {
    verdicts.add(round, ids);
    verdicts.judge(now)
}

const REFUSED: &[&str] = &["tcp connect/refused"];
const WORKS: &[&str] = &["tcp ok"];

/// A target that is given by its address is part of a service with names.
#[test]
fn names_the_registrable_domain_of_the_service() {
    let services = services();
    let rounds = rounds(&services, at(0), REFUSED);
    let measured = rounds.iter().map(|round| (round, Vec::new()));
    let alerts = Verdicts::once(at(60), &RuleOptions::default(), &services, measured);
    let conditions =
        alerts.iter().map(|alert| (alert.condition.rule, alert.condition.zone.as_deref()));
    assert_eq!(conditions.collect::<Vec<_>>(), [(Rule::VerdictHosting, Some("example.com"))]);
}

#[test]
fn fires_after_two_rounds_and_ends_after_two() {
    let mut probing = Probing::new();
    let hosting = |over| vec![(Rule::VerdictHosting, Severity::Critical, over)];
    assert_eq!(probing.minute(0, WORKS), []);
    assert_eq!(probing.minute(1, REFUSED), []);
    assert_eq!(probing.minute(2, REFUSED), hosting(false));
    assert_eq!(probing.minute(3, REFUSED), []);
    assert_eq!(probing.minute(4, WORKS), []);
    assert_eq!(probing.minute(5, WORKS), hosting(true));
    assert_eq!(probing.minute(6, WORKS), []);
}

#[test]
fn a_nameserver_that_was_not_asked_has_not_recovered() {
    let mut probing = Probing::new();
    let lame =
        &["authority@ns1 dns/lame address=192.0.2.53", "authority@ns2 ok address=192.0.2.54"];
    let good = &["authority@ns1 ok address=192.0.2.53", "authority@ns2 ok address=192.0.2.54"];
    let delegation = |over| vec![(Rule::VerdictDelegation, Severity::Warning, over)];
    assert_eq!(probing.minute(0, lame), []);
    assert_eq!(probing.minute(1, &["authority resolve/servfail resolver=a"]), [], "is not known");
    assert_eq!(probing.minute(2, lame), delegation(false), "the second round that shows it");
    assert_eq!(probing.minute(3, &["authority resolve/servfail resolver=a"]), []);
    let unresolved = &["authority@ns1 resolve/servfail", "authority@ns2 ok address=192.0.2.54"];
    assert_eq!(probing.minute(4, unresolved), []);
    assert_eq!(probing.minute(5, good), []);
    assert_eq!(probing.minute(6, good), delegation(true));
    assert_eq!(probing.minute(20, lame), []);
    assert_eq!(probing.minute(21, lame), delegation(false));
    let gone = &["authority@ns2 ok address=192.0.2.54"];
    assert_eq!(probing.minute(22, gone), [], "one round without it");
    assert_eq!(probing.minute(23, gone), delegation(true));
}

#[test]
fn fires_if_half_of_the_rounds_fail() {
    let mut probing = Probing::new();
    let found: Vec<_> = (0..4)
        .map(|minute| probing.minute(minute, if minute % 2 == 0 { WORKS } else { REFUSED }).len())
        .collect();
    assert_eq!(found, [0, 0, 0, 1]);
}

#[test]
fn starts_with_first_failure_and_names_it() {
    let mut probing = Probing::new();
    let now = at(120);
    assert_eq!(probing.minute(1, REFUSED), []);
    let round = rounds(&probing.services, now, REFUSED);
    let alert = &observe(&mut probing.verdicts, now, &round[0], &[EventId(7)])[0];
    assert_eq!(alert.condition.started, at(60));
    assert_eq!(alert.condition.samples, [EventId(7)]);
    let time = at(60).to_string();
    let since = format!("TCP to 192.0.2.10:443 refused since {}", &time[11..16]);
    assert!(alert.condition.evidence.contains(&since), "{:?}", alert.condition.evidence);
}

#[test]
fn verdict_waits_for_the_other_targets() {
    // Half a minute between rounds of this target; the others have an interval of a minute.
    let mut probing = Probing::new();
    let mut at_seconds = |seconds, line: &str| {
        let now = at(seconds);
        let rounds = rounds(&probing.services, now, &[line]);
        let alerts = observe(&mut probing.verdicts, now, &rounds[0], &[]);
        alerts.into_iter().map(|alert| alert.condition.rule).collect::<Vec<_>>()
    };
    assert_eq!(at_seconds(0, "ping ok received=5"), []);
    assert_eq!(at_seconds(10, "tcp connect/timeout"), []);
    assert_eq!(at_seconds(40, "tcp connect/timeout"), [], "ping is not known");
    assert_eq!(at_seconds(60, "ping connect/loss received=0"), [Rule::VerdictPath]);
}

#[test]
fn maintenance_mutes_until_it_ends() {
    let mut probing = Probing::new();
    probing.verdicts.announce(at(0), change("maintenance", at(0), Some(at(200))));
    for minute in 0..4 {
        assert_eq!(probing.minute(minute, REFUSED), []);
    }
    let found = probing.verdicts.expire(at(201));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].condition.started, at(0));
    assert_eq!(found[0].changes.len(), 1);
}

#[test]
fn configured_maintenance_mutes_its_service_and_rules() {
    let muted = |service: &str, rule: &str| {
        let options = RuleOptions {
            maintenance: vec![Maintenance {
                period: MaintenancePeriod::Once(at(0), at(600)),
                service: Some(WildMatch::new(service)),
                rules: vec![WildMatch::new(rule)],
            }],
            ..RuleOptions::default()
        };
        let mut probing = Probing::new();
        let services = probing.services.clone();
        assert_eq!(probing.verdicts.reload(at(0), options, &services), []);
        (0..3).all(|minute| probing.minute(minute, REFUSED).is_empty())
    };
    assert!(muted("sh*", "verdict_*"));
    assert!(!muted("other", "verdict_*") && !muted("shop", "certificate_*"));
}

#[test]
fn announced_change_of_answers_is_an_info() {
    expect_announced("dns@a ok answers=192.0.2.66 changed", Rule::AnswerChanged);
    expect_announced("dns@a ok answers=192.0.2.66 ttl=3600>300", Rule::TtlChanged);
}

/// Expects an alert with severity `warning`, or `info` where a change was announced.
fn expect_announced(line: &str, rule: Rule) {
    let severity = |announce: bool| {
        let mut probing = Probing::new();
        if announce {
            probing.verdicts.announce(at(60), change("zone_change", at(30), None));
        }
        probing.minute(1, &[line])
    };
    assert_eq!(severity(false), [(rule, Severity::Warning, false)]);
    assert_eq!(severity(true), [(rule, Severity::Info, false)]);
}

#[test]
fn certificate_that_expires_becomes_more_severe() {
    let mut probing = Probing::new();
    let mut expect = |minute, days: &str, expected: &[(Severity, bool)]| {
        let found = probing.minute(minute, &[&format!("tls ok days={days}")]);
        let expected: Vec<_> = expected
            .iter()
            .map(|(severity, over)| (Rule::CertificateExpiry, *severity, *over))
            .collect();
        assert_eq!(found, expected, "{days}");
    };
    expect(0, "31", &[]);
    expect(1, "30", &[(Severity::Info, false)]);
    expect(2, "29", &[]);
    expect(3, "13.9", &[(Severity::Warning, false)]);
    expect(4, "2.5", &[(Severity::Critical, false)]);
    expect(5, "89", &[(Severity::Critical, true)]);
}

#[test]
fn signatures_end_in_steps_by_their_lifetime() {
    let mut probing = Probing::new();
    let mut expect = |minute, signed: &str, expected: &[(Severity, bool)]| {
        let found = probing.minute(minute, &[&format!("dns@a ok signed={signed}")]);
        let expected: Vec<_> = expected
            .iter()
            .map(|(severity, over)| (Rule::SignatureExpiry, *severity, *over))
            .collect();
        assert_eq!(found, expected, "{signed}");
    };
    // As signers renew them: Cloudflare's, BIND's, OpenDNSSEC's, and those of a year.
    expect(0, "1/2", &[]);
    expect(1, "7.5/30", &[]);
    expect(2, "3/14", &[]);
    expect(3, "30.5/365", &[]);
    expect(4, "29/365", &[(Severity::Info, false)]);
    expect(5, "13.9/365", &[(Severity::Warning, false)]);
    expect(6, "2.9/365", &[(Severity::Critical, false)]);
    expect(7, "364/365", &[(Severity::Critical, true)]);
    expect(8, "2.7/14", &[(Severity::Info, false)]);
    expect(9, "2/14", &[(Severity::Warning, false)]);
    expect(10, "0.04/30", &[(Severity::Critical, false)]);
}

#[test]
fn disagreement_and_serial_lag_must_last() {
    let mut probing = Probing::new();
    let lines = [
        "dns@a ok answers=192.0.2.66 differs=b,c",
        "dns@b ok answers=192.0.2.10 differs=a",
        "dns@c ok answers=192.0.2.10 differs=a",
        "authority@ns1 ok serial=9",
        "authority@ns2 dns/serial_lag serial=7",
    ];
    assert_eq!(probing.minute(0, &lines), []);
    let mut found: Vec<_> = probing.minute(1, &lines).into_iter().map(|one| one.0).collect();
    found.sort();
    assert_eq!(found, [Rule::VerdictDelegation, Rule::ResolverDisagreement, Rule::SerialLag]);
    let firing: Vec<_> = probing.verdicts.firing().map(|(_, rule, _)| rule).collect();
    assert_eq!(firing.len(), 3);
}

#[test]
fn serial_lag_names_the_zone_and_not_the_target() {
    let services = read(&SHOP.replace(
        "authority: { zone: example.com }",
        "{ name: primary dns, authority: { zone: example.com, port: 5353 } }",
    ));
    let lines = ["authority@ns1 ok serial=9", "authority@ns2 dns/serial_lag serial=7"];
    let rounds = rounds(&services, at(0), &lines);
    assert_eq!(rounds[0].target.name, "primary dns");
    let measured = rounds.iter().map(|round| (round, Vec::new()));
    let alerts = Verdicts::once(at(1), &RuleOptions::default(), &services, measured);
    let lag = alerts.iter().find(|alert| alert.condition.rule == Rule::SerialLag).unwrap();
    assert_eq!(lag.condition.entity.zone.as_deref(), Some("example.com"));
}

#[test]
fn only_a_certificate_that_is_vouched_for_is_of_an_organization() {
    let severity = |more: &str| {
        let line = format!("tls ok issuer=CN=R12,O=Let>CN=R13,O=Let{more}");
        let alerts = alerts_once(&[&line]);
        let found = alerts.iter().find(|alert| alert.condition.rule == Rule::IssuerChanged);
        found.unwrap().condition.severity
    };
    assert_eq!(severity(" vouched"), Severity::Info);
    assert_eq!(severity(""), Severity::Warning);
}

#[test]
fn reload_keeps_what_stays_and_ends_the_rest() {
    let mut probing = Probing::new();
    (0..2).for_each(|minute| drop(probing.minute(minute, REFUSED)));
    let same = probing.services.clone();
    assert_eq!(probing.verdicts.reload(at(130), RuleOptions::default(), &same), []);
    assert_eq!(probing.minute(3, REFUSED), []);
    let gone = probing.verdicts.reload(at(200), RuleOptions::default(), &[]);
    assert_eq!(gone.len(), 1);
    assert!(gone[0].ended.is_some());
}

#[test]
fn slow_target_is_found_by_its_baseline() {
    let mut probing = Probing::new();
    for minute in 0..30 {
        assert_eq!(probing.minute(minute, &["tcp ok connect_ms=12"]), []);
    }
    let slow = |over| vec![(Rule::TargetLatency, Severity::Warning, over)];
    assert_eq!(probing.minute(30, &["tcp ok connect_ms=480"]), []);
    assert_eq!(probing.minute(31, &["tcp ok connect_ms=480"]), slow(false));
    assert_eq!(probing.minute(32, &["tcp ok connect_ms=12"]), []);
    assert_eq!(probing.minute(33, &["tcp ok connect_ms=12"]), slow(true));
}

/// Results of a target in a round: any kind of failure of any target.
fn any_line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "dns@a ok",
        "dns@a dns/timeout",
        "dns@a dns/nxdomain",
        "dns@a dns/bogus",
        "dns@b ok",
        "dns@b dns/servfail",
        "dns@b ok answers=192.0.2.66 changed",
        "authority@ns1 ok",
        "authority@ns1 dns/lame",
        "authority@ns1 dns/timeout",
        "tcp ok",
        "tcp connect/refused",
        "tcp connect/timeout",
        "tls ok days=2",
        "tls tls/name_mismatch",
        "tls tls/reset",
        "http ok",
        "http http/status",
        "http resolve/nxdomain",
        "http connect/timeout",
        "ping ok received=5",
        "ping connect/loss received=0",
    ])
}

proptest! {
    #[test]
    fn alerts_begin_and_end_once(minutes in prop::collection::vec(any_line(), 1..120)) {
        let mut probing = Probing::new();
        let mut firing: HashMap<(Rule, String), Timestamp> = HashMap::new();
        let mut all: Vec<Alert> = Vec::new();
        for (minute, line) in (0..).zip(minutes) {
            let now = at(minute * 60);
            for round in rounds(&probing.services, now, &[line]) {
                all.extend(observe(&mut probing.verdicts, now, &round, &[]));
            }
        }
        all.extend(probing.verdicts.reload(at(1_000_000), RuleOptions::default(), &[]));
        for Alert { condition, ended, ts, .. } in all {
            let key = (condition.rule, condition.entity.to_string());
            prop_assert!(condition.started <= ts && !condition.summary.is_empty());
            match (ended, firing.remove(&key)) {
                // An alert that fires is that of the same episode, or a new one.
                (None, known) => {
                    prop_assert!(known.is_none_or(|started| started == condition.started));
                    firing.insert(key, condition.started);
                }
                (Some(ended), known) => {
                    prop_assert_eq!(known, Some(condition.started));
                    prop_assert!(ended <= ts);
                }
            }
        }
        prop_assert!(firing.is_empty(), "{:?}", firing);
    }
}
