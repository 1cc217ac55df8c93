//! The alerts that were told of, the newest state of each.

use crate::top::text;
use serde_json::Value;
use std::collections::BTreeMap;

/// As many alerts are kept.
const CAPACITY: usize = 256;

/// An alert as it was last told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `info`, `warning` or `critical`.
    pub level: String,
    /// `firing`, `resolved` and so on.
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
        matches!(self.state.as_str(), "resolved" | "cleared" | "closed" | "expired" | "ended")
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
        let key = first(record, &["key", "dedup_key", "alert_key", "alert_id", "fingerprint"])
            .unwrap_or_else(|| format!("{} {}", alert.rule, alert.whom));
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
    let field = |names: &[&str]| first(record, names).unwrap_or_default();
    let entity = record.get("entity").unwrap_or(&Value::Null);
    let places = ["resolver", "zone", "qname", "process", "pod", "client", "client_ip", "node"];
    let whom: Vec<String> = places
        .iter()
        .filter_map(|place| {
            let own = first(entity, &[place]);
            // The node is in every record, and is whom it concerns where nothing else is.
            own.or_else(|| first(record, &[place]).filter(|_| *place != "node"))
        })
        .collect();
    let whom = match (entity, whom.is_empty()) {
        (Value::String(entity), _) => text::clean(entity).into_owned(),
        (_, false) => whom.join(" "),
        (_, true) => field(&["node"]),
    };
    Alert {
        level: field(&["level", "severity"]),
        state: field(&["state", "status"]),
        rule: field(&["rule", "name", "type"]),
        whom,
        summary: field(&["summary", "message", "description"]),
        last: second,
        details: details(record),
        turn,
    }
}

/// The first of these fields that says something, as text to be shown.
fn first(record: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match record.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text::clean(text).into_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn details(record: &Value) -> Vec<String> {
    /// Of a record, so that no flood of evidence fills the memory.
    const LINES: usize = 200;
    let text = serde_json::to_string_pretty(record).unwrap_or_default();
    let lines = text.lines().filter(|line| !matches!(line.trim(), "{" | "}" | "}," | "]" | "],"));
    lines.take(LINES).map(|line| text::clean(&line.replace(['"', ','], "")).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_alert_is_known_by_its_key_and_the_worst_stands_first() {
        let mut alerts = Alerts::default();
        let told = |key: &str, level: &str, state: &str| {
            json!({"schema": "dns.alert/1", "key": key, "level": level, "state": state,
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
            alerts.add(&json!({"key": key, "state": "resolved"}), 2);
        }
        assert_eq!(alerts.sorted().len(), CAPACITY);
        assert_eq!(alerts.sorted()[0].1.whom, "example");
    }

    #[test]
    fn what_others_write_is_made_harmless() {
        let mut alerts = Alerts::default();
        alerts.add(&json!({"rule": "x\u{1b}[2J", "summary": "\u{9b}0m", "entity": "a\nb"}), 1);
        let sorted = alerts.sorted();
        let alert = sorted[0].1;
        let all =
            format!("{}{}{}{}", alert.rule, alert.summary, alert.whom, alert.details.concat());
        assert!(!all.chars().any(char::is_control), "{all:?}");
    }
}
