//! Builds `dns.alert/1` from a change of an alert.

use super::RecordBuilder;
use dnscribe_analysis::detect::Alert;
use dnscribe_delivery::evidence_file;
use dnscribe_record::{AlertRecord, EventId, PodName, ProcessName, Stream, runbook_address};
use std::path::Path;

impl RecordBuilder {
    /// Builds `dns.alert/1`. `runbooks` is the address of the runbooks, without a slash at its end; `directory`
    /// that of the sink `evidence`.
    #[must_use]
    pub fn alert<'a>(
        &'a self,
        alert: &'a Alert,
        runbooks: &str,
        directory: Option<&Path>,
    ) -> AlertRecord<'a> {
        let Alert { entity, evidence, .. } = alert;
        let until = alert.ended.unwrap_or(alert.ts);
        let alert_id = self.alert_id(alert);
        let (k8s, container) = PodName::or_container(entity.pod.as_deref());
        AlertRecord {
            head: self.head(Stream::Alerts, self.namespace.alert(alert.ordinal), alert.ts),
            alert_id,
            scope: Some("node"),
            rule: alert.rule.name(),
            entity: entity.to_string(),
            resolver: entity.resolver.as_deref(),
            zone: entity.zone.as_deref(),
            qname: entity.qname.as_deref(),
            process: entity.process.as_deref().map(|comm| ProcessName { comm }),
            container,
            k8s,
            client_ip: entity.client.as_deref(),
            vantage: entity.vantage.map(dnscribe_transaction::pair::Vantage::name),
            state: alert.state.name(),
            severity: alert.level.name(),
            previous_severity: alert.previous.map(dnscribe_analysis::detect::Severity::name),
            started: self.clock.apply(alert.started),
            ended: alert.ended.map(|ended| self.clock.apply(ended)),
            duration_seconds: until.since(alert.started).as_secs_f64(),
            summary: &alert.summary,
            figures: evidence.figures.iter().map(Into::into).collect(),
            samples: evidence.samples.iter().map(|id| self.namespace.message(*id)).collect(),
            qnames: &evidence.qnames,
            processes: &evidence.processes,
            clients: &evidence.clients,
            resolvers: &evidence.resolvers,
            suppressed: alert.suppressed,
            runbook: runbook_address(runbooks, alert.rule.name()),
            evidence_file: directory.map(|directory| evidence_file(directory, alert_id)),
            ..AlertRecord::default()
        }
    }

    /// Returns the id that all alerts of one episode share.
    #[must_use]
    pub fn alert_id(&self, alert: &Alert) -> EventId {
        let Alert { rule, entity, started, .. } = alert;
        let name = format!("{} {entity} {}", rule.name(), started.as_nanos());
        self.namespace.for_name(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_analysis::detect::{
        AlertState, Baseline, Entity, Evidence, Figure, Rule, Severity,
    };
    use dnscribe_record::json_schema;
    use dnscribe_record::time::Timestamp;
    use dnscribe_transaction::decode::MessageId;
    use dnscribe_transaction::pair::Vantage;
    use serde_json::json;
    use std::collections::HashMap;

    fn alert() -> Alert {
        let baseline =
            Baseline { mean: 0.01, deviation: 0.005, z: 198.0, samples: 60, seasonal: false };
        Alert {
            ordinal: 1,
            ts: Timestamp::from_nanos(30_000_000_000),
            rule: Rule::ResolverDown,
            entity: Entity {
                vantage: Some(Vantage::Client),
                resolver: Some("192.0.2.53".into()),
                ..Entity::default()
            },
            state: AlertState::Firing,
            level: Severity::Critical,
            previous: None,
            started: Timestamp::from_nanos(20_000_000_000),
            ended: None,
            summary: "down".into(),
            evidence: Evidence {
                figures: vec![Figure {
                    name: "timeout_ratio",
                    value: 1.0,
                    threshold: Some(0.5),
                    baseline: Some(baseline),
                }],
                samples: vec![MessageId::default()],
                ..Evidence::default()
            },
            suppressed: 3,
        }
    }

    #[test]
    fn builds_valid_alert() {
        let identity = RecordBuilder::new("n".into(), None, Timestamp::default(), HashMap::new());
        let (first, second) = (alert(), Alert { ordinal: 2, ..alert() });
        let record =
            serde_json::to_value(identity.alert(&first, "docs/runbooks", Some(Path::new("/e"))))
                .unwrap();
        let schema = json_schema("dns.alert/1").unwrap();
        assert_eq!(schema["properties"]["rule"]["examples"], json!(Rule::ALL.map(Rule::name)));
        assert!(jsonschema::is_valid(&schema, &record), "{record:#}");
        assert_eq!(record["entity"], "resolver=192.0.2.53,vantage=client");
        assert_eq!(record["runbook"], "docs/runbooks/resolver-down.md");
        assert_eq!(record["duration_seconds"], 10.0);
        assert_eq!(record["figures"][0]["z_score"], 198.0);
        let namespace = identity.namespace;
        assert_eq!(record["samples"][0], namespace.message(MessageId::default()).to_string());
        let other = serde_json::to_value(identity.alert(&second, "", None)).unwrap();
        assert_eq!(record["alert_id"], other["alert_id"]);
        let file = format!("/e/{}.pcapng", record["alert_id"].as_str().unwrap());
        assert_eq!((&record["evidence_file"], other.get("evidence_file")), (&file.into(), None));
        assert_ne!(record["event_id"], other["event_id"]);
    }

    #[test]
    fn alert_id_depends_on_start() {
        let identity = RecordBuilder::new("n".into(), None, Timestamp::default(), HashMap::new());
        let later = Alert { started: Timestamp::from_nanos(21_000_000_000), ..alert() };
        assert_ne!(identity.alert_id(&alert()), identity.alert_id(&later));
    }
}
