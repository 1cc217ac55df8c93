//! The alerts that were told of, the newest state of each.

use crate::top::text;
use serde_json::Value;
use std::collections::BTreeMap;

/// As many alerts are kept.
const CAPACITY: usize = 256;

/// Lines of an alert's details at most, and octets of each.
const LINES: usize = 100;
const COLUMNS: usize = 1000;

/// An alert as it was last told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `info`, `warning` or `critical`.
    pub level: String,
    /// `firing` or `resolved`.
    pub state: String,
    /// What is wrong.
    pub rule: String,
    /// Whom it concerns.
    pub whom: String,
    /// In one sentence.
    pub summary: String,
    /// When it was last told of, in seconds since the Unix epoch.
    pub last: u64,
    /// All that was told, a line for each part.
    pub details: Vec<String>,
    /// Counts what was told: the newest is the greatest.
    turn: u64,
}

impl Alert {
    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == "resolved"
    }

    /// The worse, the greater.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self.level.as_str() {
            "critical" => 3,
            "warning" => 2,
            _ => 1,
        }
    }
}

/// Alerts by what they are known by.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    alerts: BTreeMap<String, Alert>,
    turn: u64,
}

impl Alerts {
    /// Takes a record.
    pub fn add(&mut self, record: &Value, second: u64) {
        self.turn += 1;
        let alert = read(record, second, self.turn);
        let key = text_of(record, "alert_id")
            .unwrap_or_else(|| format!("{} {} {}", alert.rule, alert.whom, alert.state));
        self.alerts.insert(key, alert);
        if self.alerts.len() > CAPACITY {
            // What is over goes before what is not, and of these the oldest.
            let goes = self.alerts.iter().min_by_key(|(_, alert)| (!alert.is_over(), alert.turn));
            if let Some(key) = goes.map(|(key, _)| key.clone()) {
                self.alerts.remove(&key);
            }
        }
    }

    /// All, the worst that are not over first, then the newest.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &Alert)> {
        let mut alerts: Vec<_> =
            self.alerts.iter().map(|(key, alert)| (key.as_str(), alert)).collect();
        alerts.sort_by_key(|(_, alert)| {
            (alert.is_over(), std::cmp::Reverse((alert.rank(), alert.turn)))
        });
        alerts
    }

    /// How many are not over: info, warning, critical.
    #[must_use]
    pub fn firing(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for alert in self.alerts.values().filter(|alert| !alert.is_over()) {
            counts[usize::from(alert.rank() - 1)] += 1;
        }
        counts
    }
}

fn read(record: &Value, second: u64, turn: u64) -> Alert {
    /// Whom an alert can concern, as the record spells it.
    const PARTS: [&str; 6] = ["resolver", "zone", "qname", "process_name", "pod", "client_ip"];
    let field = |name| text_of(record, name).unwrap_or_default();
    let whom: Vec<String> = PARTS.iter().filter_map(|part| text_of(record, part)).collect();
    let whom = if whom.is_empty() {
        text_of(record, "entity").unwrap_or_else(|| field("node"))
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

/// A field as text to be shown; none where it says nothing.
fn text_of(record: &Value, name: &str) -> Option<String> {
    record.get(name).and_then(scalar).filter(|text| !text.is_empty())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text::clean(text).into_owned()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// All that a record says, a line for each field; of lists of figures, a line for each.
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
    // No flood of evidence fills the memory.
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
    fn an_alert_is_known_by_its_key_and_the_worst_stands_first() {
        let mut alerts = Alerts::default();
        let told = |key: &str, level: &str, state: &str| {
            json!({"schema": "dns.alert/1", "alert_id": key, "severity": level, "state": state,
                "rule": "resolver_down", "resolver": "192.0.2.1", "summary": "no answers"})
        };
        alerts.add(&told("a", "warning", "firing"), 10);
        alerts.add(&told("b", "critical", "firing"), 11);
        alerts.add(&told("c", "critical", "resolved"), 12);
        alerts.add(&told("a", "warning", "firing"), 13);
        let keys: Vec<_> = alerts.sorted().into_iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(keys, ["b", "a", "c"]);
        assert_eq!(alerts.firing(), [0, 1, 1]);
        let first = alerts.sorted()[0].1.clone();
        assert_eq!((first.whom.as_str(), first.rule.as_str()), ("192.0.2.1", "resolver_down"));
    }

    #[test]
    fn a_flood_of_alerts_is_bounded_and_leaves_those_that_fire() {
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
    fn the_evidence_has_a_line_for_each_figure() {
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
    fn what_others_write_is_made_harmless() {
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
