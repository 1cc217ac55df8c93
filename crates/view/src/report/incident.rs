//! Incidents: alerts that belong together in time, and what was changed before them.

use super::record::{AlertFields, ChangeFields};
use dnscribe_record::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest time between the alerts of one incident, and between it and a change that may be its cause.
const PAUSE: Duration = Duration::from_mins(10);

/// Alerts of which each begins while an earlier one lasts, or at most ten minutes later.
#[derive(Debug)]
pub(super) struct Incident<'a> {
    pub(super) started: Timestamp,
    /// When the last alert ended; `None` while one of them lasts.
    pub(super) ended: Option<Timestamp>,
    /// The worst and earliest alert, that of a probe first: it says why.
    pub(super) worst: &'a AlertFields,
    /// The alert that says why: a verdict of a probe that is no later than the worst one; else that.
    pub(super) cause: &'a AlertFields,
    /// Rules in the order of their first alerts, each with its number of nodes.
    pub(super) rules: Vec<(&'a str, usize)>,
    /// Changes from ten minutes before the incident to its end.
    pub(super) changes: Vec<&'a ChangeFields>,
}

/// Returns the incidents by time. Alerts with severity `info` make none.
pub(super) fn incidents<'a>(
    alerts: impl Iterator<Item = &'a AlertFields>,
    changes: &'a BTreeSet<ChangeFields>,
) -> Vec<Incident<'a>> {
    let mut alerts: Vec<_> = alerts.filter(|alert| alert.severity != "info").collect();
    alerts.sort_by_key(|alert| (alert.started, &alert.alert_id));
    let mut groups: Vec<Vec<&AlertFields>> = Vec::new();
    let mut end = Timestamp::default();
    for alert in alerts {
        match groups.last_mut() {
            Some(group) if alert.started <= end.plus(PAUSE) => group.push(alert),
            _ => groups.push(vec![alert]),
        }
        // One that lasts for weeks, such as that of a certificate, does not join all that happen meanwhile.
        end = end.max(alert.last_fired());
    }
    groups.iter().filter_map(|group| incident(group, changes)).collect()
}

/// Verdicts of a probe on what makes queries fail.
const VERDICTS: [&str; 5] =
    ["verdict_dns", "verdict_delegation", "verdict_dnssec", "verdict_path", "verdict_resolver"];

fn incident<'a>(
    alerts: &[&'a AlertFields],
    changes: &'a BTreeSet<ChangeFields>,
) -> Option<Incident<'a>> {
    let started = alerts.first()?.started;
    let last = alerts.iter().map(|alert| alert.last_fired()).max()?;
    let is_from_probe = |alert: &AlertFields| alert.scope.as_deref() == Some("probe");
    let worst = alerts
        .iter()
        .min_by_key(|alert| (!alert.is_critical(), alert.started, !is_from_probe(alert)))?;
    let verdicts = alerts.iter().filter(|alert| VERDICTS.contains(&alert.rule.as_str()));
    let verdict =
        verdicts.filter(|alert| alert.started <= worst.started).min_by_key(|alert| alert.started);
    let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut rules = Vec::new();
    for alert in alerts {
        let known = nodes.entry(&alert.rule).or_insert_with(|| {
            rules.push(alert.rule.as_str());
            BTreeSet::new()
        });
        known.insert(&alert.node);
    }
    let near = started.minus(PAUSE)..=last;
    Some(Incident {
        started,
        ended: alerts.iter().all(|alert| alert.ended.is_some()).then_some(last),
        worst,
        cause: verdict.unwrap_or(worst),
        rules: rules.into_iter().map(|rule| (rule, nodes[rule].len())).collect(),
        changes: changes.iter().filter(|change| near.contains(&change.ts)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(id: &str, rule: &str, severity: &str, span: (u64, Option<u64>)) -> AlertFields {
        let at = |minute: u64| Timestamp::from_nanos(minute * 60_000_000_000);
        AlertFields {
            alert_id: id.to_owned(),
            node: id.to_owned(),
            rule: rule.to_owned(),
            severity: severity.to_owned(),
            started: at(span.0),
            ended: span.1.map(at),
            ..AlertFields::default()
        }
    }

    #[test]
    fn alerts_near_each_other_are_one_incident() {
        let alerts = [
            alert("a", "resolver_down", "critical", (100, Some(120))),
            alert("b", "resolver_down", "critical", (101, Some(119))),
            alert("c", "timeout", "warning", (99, Some(110))),
            alert("d", "latency", "info", (131, Some(140))),
            alert("e", "certificate_expiry", "warning", (140, None)),
            alert("f", "nxdomain", "warning", (151, Some(152))),
        ];
        let change = |id: &str, minute: u64| ChangeFields {
            ts: Timestamp::from_nanos(minute * 60_000_000_000),
            event_id: id.to_owned(),
            ..ChangeFields::default()
        };
        let changes = BTreeSet::from([change("1", 88), change("2", 89), change("3", 130)]);
        let found = incidents(alerts.iter(), &changes);
        let shown: Vec<_> = found
            .iter()
            .map(|one| {
                let changes: Vec<_> = one.changes.iter().map(|it| it.event_id.as_str()).collect();
                (one.worst.alert_id.as_str(), one.rules.clone(), one.ended.is_some(), changes)
            })
            .collect();
        let expected = [
            ("a", vec![("timeout", 1), ("resolver_down", 2)], true, vec!["2"]),
            ("e", vec![("certificate_expiry", 1)], false, vec!["3"]),
            ("f", vec![("nxdomain", 1)], true, vec![]),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_verdict_that_came_first_is_the_cause_of_worse_symptoms() {
        for (rule, verdict, timeout, cause) in [
            ("verdict_path", 100, 101, "probe"),
            ("verdict_path", 101, 101, "probe"),
            ("verdict_path", 102, 101, "us-1"),
            ("verdict_certificate", 100, 101, "us-1"),
        ] {
            let alerts = [
                alert("probe", rule, "warning", (verdict, Some(120))),
                alert("us-1", "timeout", "critical", (timeout, Some(120))),
            ];
            let changes = BTreeSet::new();
            let found = incidents(alerts.iter(), &changes);
            assert_eq!(found[0].worst.alert_id, "us-1");
            assert_eq!(found[0].cause.alert_id, cause, "{rule} {verdict} {timeout}");
        }
    }
}
