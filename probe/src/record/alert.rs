//! Alerts as records.

use super::Recorder;
use crate::verdict::{Alert, Condition};
use dnscribe_delivery::{SinkRouter, Stream};
use dnscribe_record::{AlertRecord, ChangeReference, runbook_address};

impl Recorder {
    /// Exports alerts. `runbooks`: base URL or path of the runbooks, without a slash at its end.
    pub fn export_alerts(&mut self, router: &mut SinkRouter, alerts: &[Alert], runbooks: &str) {
        for alert in alerts {
            self.alerts += 1;
            if router.asks_for(Stream::Alerts, false) {
                let record = self.alert(alert, runbooks);
                let id = record.head.event_id;
                router.push(Stream::Alerts, id, &record, record.entity.as_bytes());
            }
        }
    }

    /// Builds the record of the last alert counted.
    fn alert<'a>(&'a self, alert: &'a Alert, runbooks: &str) -> AlertRecord<'a> {
        let condition @ Condition { rule, entity, .. } = &alert.condition;
        let until = alert.ended.unwrap_or(alert.ts);
        let name = format!("{} {entity} {}", rule.name(), condition.started.as_nanos());
        let changes = alert.changes.iter().map(|change| ChangeReference {
            event_id: change.event_id,
            ts: change.ts,
            kind: &change.fields.kind,
            zone: change.fields.zone.as_deref(),
            service: change.fields.service.as_deref(),
            summary: &change.fields.summary,
            actor: change.fields.actor.as_deref(),
            url: change.fields.url.as_deref(),
        });
        AlertRecord {
            head: self.head(Stream::Alerts, self.ids.alert(self.alerts), alert.ts),
            alert_id: self.ids.for_name(name.as_bytes()),
            scope: Some("probe"),
            rule: rule.name(),
            entity: entity.to_string(),
            service: entity.service.as_deref(),
            target: entity.target.as_deref(),
            resolver: entity.resolver.as_deref(),
            zone: condition.zone.as_deref(),
            qname: entity.qname.as_deref(),
            state: if alert.ended.is_some() { "resolved" } else { "firing" },
            severity: condition.severity.name(),
            previous_severity: alert.previous.map(crate::verdict::Severity::name),
            started: condition.started,
            ended: alert.ended,
            duration_seconds: until.since(condition.started).as_secs_f64(),
            summary: &condition.summary,
            evidence: &condition.evidence,
            figures: condition.figures.iter().map(Into::into).collect(),
            samples: condition.samples.clone(),
            changes: changes.collect(),
            triggered_by: alert.triggered_by,
            runbook: runbook_address(runbooks, rule.name()),
            ..AlertRecord::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Entity, Figure, Rule, Severity};
    use dnscribe_record::time::Timestamp;
    use dnscribe_record::{EventId, Labels, json_schema};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn alert() -> Alert {
        Alert {
            ts: at(90),
            condition: Condition {
                rule: Rule::VerdictHosting,
                entity: Entity::service(&"shop".into()),
                zone: Some("example.com".to_owned()),
                severity: Severity::Critical,
                started: at(30),
                summary: "shop: TCP to 192.0.2.10:443 refused → hosting".to_owned(),
                evidence: vec!["TCP to 192.0.2.10:443 refused".to_owned(), "→ hosting".to_owned()],
                figures: vec![Figure { name: "failure_ratio", value: 1.0, ..Figure::default() }],
                samples: vec![EventId(7)],
            },
            previous: None,
            ended: None,
            changes: Vec::new(),
            triggered_by: None,
        }
    }

    #[test]
    fn alerts_are_valid_and_keep_their_id() {
        let node = "probe-1".to_owned();
        let recorder = Recorder::new(node, None, Labels::new(), Timestamp::default());
        let firing = alert();
        let resolved = Alert { ts: at(200), ended: Some(at(190)), ..alert() };
        let record = |alert| serde_json::to_value(recorder.alert(alert, "docs/runbooks")).unwrap();
        let (firing, resolved) = (record(&firing), record(&resolved));
        let schema = json_schema("dns.alert/1").unwrap();
        for record in [&firing, &resolved] {
            assert!(jsonschema::is_valid(&schema, record), "{record:#}");
        }
        assert_eq!(firing["entity"], "service=shop");
        assert_eq!(firing["scope"], "probe");
        assert_eq!(firing["zone"], "example.com");
        assert_eq!(firing["runbook"], "docs/runbooks/verdict-hosting.md");
        assert_eq!(firing["evidence"][1], "→ hosting");
        assert_eq!(firing["duration_seconds"], 60.0);
        assert_eq!(resolved["state"], "resolved");
        assert_eq!(resolved["duration_seconds"], 160.0);
        assert_eq!(firing["alert_id"], resolved["alert_id"]);
    }
}
