//! Alerts, with the newest state of each.

use crate::top::text;
use serde_json::Value;
use std::collections::BTreeMap;

const CAPACITY: usize = 256;

/// Limits of an alert's details: lines, and bytes of each line.
const LINES: usize = 100;
const COLUMNS: usize = 1000;

/// The newest state of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `info`, `warning` or `critical`.
    pub level: String,
    /// `firing` or `resolved`.
    pub state: String,
    pub rule: String,
    /// Entity that it concerns.
    pub whom: String,
    pub summary: String,
    /// Time of the newest record, in seconds since the Unix epoch.
    pub last: u64,
    /// All fields of the record, a line for each.
    pub details: Vec<String>,
    /// Number of the newest record; greater is newer.
    turn: u64,
}

impl Alert {
    /// Whether it is resolved.
    pub fn is_over(&self) -> bool {
        self.state == "resolved"
    }

    /// Severity as a number: greater is more severe.
    pub fn rank(&self) -> u8 {
        match self.level.as_str() {
            "critical" => 3,
            "warning" => 2,
            _ => 1,
        }
    }
}

/// Alerts by id.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    alerts: BTreeMap<String, Alert>,
    turn: u64,
}

impl Alerts {
    pub fn add(&mut self, record: &Value, second: u64) {
        self.turn += 1;
        let alert = read(record, second, self.turn);
        let key = text_of(record.get("alert_id"))
            .unwrap_or_else(|| format!("{} {} {}", alert.rule, alert.whom, alert.state));
        self.alerts.insert(key, alert);
        if self.alerts.len() > CAPACITY {
            // Evicts resolved alerts before firing ones, oldest first.
            let goes = self.alerts.iter().min_by_key(|(_, alert)| (!alert.is_over(), alert.turn));
            if let Some(key) = goes.map(|(key, _)| key.clone()) {
                self.alerts.remove(&key);
            }
        }
    }

    /// All alerts: firing before resolved, then by severity, then newest first.
    pub fn sorted(&self) -> Vec<(&str, &Alert)> {
        let mut alerts: Vec<_> =
            self.alerts.iter().map(|(key, alert)| (key.as_str(), alert)).collect();
        alerts.sort_by_key(|(_, alert)| {
            (alert.is_over(), std::cmp::Reverse((alert.rank(), alert.turn)))
        });
        alerts
    }

    /// Number of firing alerts: info, warning, critical.
    pub fn firing(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for alert in self.alerts.values().filter(|alert| !alert.is_over()) {
            counts[usize::from(alert.rank() - 1)] += 1;
        }
        counts
    }
}

fn read(record: &Value, second: u64, turn: u64) -> Alert {
    /// Paths of the fields that name the entity.
    const PARTS: [&str; 8] = [
        "/resolver",
        "/zone",
        "/qname",
        "/process/comm",
        "/k8s/namespace",
        "/k8s/pod",
        "/container/id",
        "/client_ip",
    ];
    let field = |name| text_of(record.get(name)).unwrap_or_default();
    let whom: Vec<String> = PARTS.iter().filter_map(|part| text_of(record.pointer(part))).collect();
    let whom = if whom.is_empty() {
        text_of(record.get("entity")).unwrap_or_else(|| field("node"))
    } else {
        whom.join(" ")
    };
    Alert {
        level: field("severity"),
        state: field("state"),
        rule: field("rule"),
        whom,
        summary: field("summary"),
        last: second,
        details: details(record),
        turn,
    }
}

/// Returns a field as text to show; none where it is missing or empty.
fn text_of(field: Option<&Value>) -> Option<String> {
    field.and_then(scalar).filter(|text| !text.is_empty())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text::clean(text).into_owned()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns a line for each field, and for each object in a list.
fn details(record: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in record.as_object().into_iter().flatten() {
        let name = text::clean(name);
        match value {
            Value::Array(items) => {
                let (plain, more): (Vec<_>, Vec<_>) =
                    items.iter().partition(|item| !item.is_object());
                let plain: Vec<String> = plain.into_iter().filter_map(scalar).collect();
                if !plain.is_empty() {
                    lines.push(format!("{name}: {}", plain.join(", ")));
                }
                lines.extend(more.into_iter().map(|item| format!("{name}: {}", pairs(item))));
            }
            Value::Object(_) => lines.push(format!("{name}: {}", pairs(value))),
            _ => lines.extend(scalar(value).map(|value| format!("{name}: {value}"))),
        }
    }
    // Bounds memory.
    lines.truncate(LINES);
    for line in &mut lines {
        line.truncate(text::boundary(line, COLUMNS));
    }
    lines
}

fn pairs(object: &Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    let pairs = fields
        .filter_map(|(name, value)| Some(format!("{} {}", text::clean(name), scalar(value)?)));
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_the_newest_state_and_sorts_by_severity() {
        let mut alerts = Alerts::default();
        let alert = |key: &str, level: &str, state: &str| {
            json!({"schema": "dns.alert/1", "alert_id": key, "severity": level, "state": state,
                "rule": "resolver_down", "resolver": "192.0.2.1", "summary": "no answers"})
        };
        alerts.add(&alert("a", "warning", "firing"), 10);
        alerts.add(&alert("b", "critical", "firing"), 11);
        alerts.add(&alert("c", "critical", "resolved"), 12);
        alerts.add(&alert("a", "warning", "firing"), 13);
        let keys: Vec<_> = alerts.sorted().into_iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(keys, ["b", "a", "c"]);
        assert_eq!(alerts.firing(), [0, 1, 1]);
        let first = alerts.sorted()[0].1.clone();
        assert_eq!((first.whom.as_str(), first.rule.as_str()), ("192.0.2.1", "resolver_down"));
    }

    #[test]
    fn evicts_resolved_alerts_first() {
        let mut alerts = Alerts::default();
        alerts.add(&json!({"rule": "tunnel", "zone": "example", "state": "firing"}), 1);
        for number in 0..1000 {
            let key = format!("k{number}");
            alerts.add(&json!({"alert_id": key, "state": "resolved"}), 2);
        }
        assert_eq!(alerts.sorted().len(), CAPACITY);
        assert_eq!(alerts.sorted()[0].1.whom, "example");
    }

    #[test]
    fn details_have_a_line_for_each_figure() {
        let mut alerts = Alerts::default();
        alerts.add(
            &json!({"rule": "latency", "qnames": ["a.example", "b.example"], "suppressed": 2,
                "figures": [{"name": "latency_p95_ms", "value": 900.0, "z_score": 8.5}]}),
            1,
        );
        let expected = [
            "rule: latency",
            "qnames: a.example, b.example",
            "suppressed: 2",
            "figures: name latency_p95_ms, value 900.0, z_score 8.5",
        ];
        assert_eq!(alerts.sorted()[0].1.details, expected);
    }

    #[test]
    fn escapes_control_characters() {
        let mut alerts = Alerts::default();
        alerts.add(&json!({"rule": "x\u{1b}[2J", "summary": "\u{9b}0m", "entity": "a\nb"}), 1);
        let sorted = alerts.sorted();
        let alert = sorted[0].1;
        assert_eq!(alert.whom, "a\\x0ab");
        let all =
            format!("{}{}{}{}", alert.rule, alert.summary, alert.whom, alert.details.concat());
        assert!(!all.chars().any(char::is_control), "{all:?}");
    }
}
