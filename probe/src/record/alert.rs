//! Alerts as records.

use super::Recorder;
use crate::verdict::{Alert, Condition, Figure};
use dnscribe_delivery::{SinkRouter, Stream};
use dnscribe_record::{AlertRecord, ChangeReference, FigureFields};

impl Recorder {
    /// Exports alerts. `runbooks`: base URL or path of the runbooks, without a slash at its end.
    pub fn export_alerts(&mut self, router: &mut SinkRouter, alerts: &[Alert], runbooks: &str) {
        for alert in alerts {
            self.alerts += 1;
            if router.asks_for(Stream::Alerts, false) {
                router.push_alert(&self.alert(alert, runbooks));
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
            summary: &change.fields.summary,
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
            zone: entity.zone.as_deref(),
            qname: entity.qname.as_deref(),
            process_name: None,
            pod: None,
            client_ip: None,
            vantage: None,
            state: if alert.ended.is_some() { "resolved" } else { "firing" },
            severity: condition.severity.name(),
            previous_severity: alert.previous.map(crate::verdict::Severity::name),
            started: condition.started,
            ended: alert.ended,
            duration_seconds: until.since(condition.started).as_secs_f64(),
            summary: &condition.summary,
            evidence: &condition.evidence,
            figures: condition.figures.iter().map(figure).collect(),
            samples: condition.samples.clone(),
            qnames: &[],
            processes: &[],
            clients: &[],
            resolvers: &[],
            nodes: Vec::new(),
            changes: changes.collect(),
            triggered_by: alert.triggered_by,
            suppressed: 0,
            suppressed_alerts: Vec::new(),
            runbook: format!("{runbooks}/{}.md", rule.name().replace('_', "-")),
            masking: None,
        }
    }
}

fn figure(figure: &Figure) -> FigureFields {
    let usual = figure.baseline;
    FigureFields {
        name: figure.name,
        value: figure.value,
        threshold: figure.threshold,
        baseline_mean: usual.map(|usual| usual.mean),
        baseline_deviation: usual.map(|usual| usual.deviation),
        z_score: usual.map(|usual| usual.z),
        baseline_samples: usual.map(|usual| usual.samples),
        seasonal: usual.map(|usual| usual.seasonal),
    }
}
