//! Converts an alert record into the JSON that Alertmanager accepts.

use super::AlertmanagerConfig;
use dnscribe_record::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Most items of a kind in a description.
const MAX_ITEMS: usize = 5;

/// The fields of a `dns.alert/1` record that Alertmanager receives.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AlertRecord {
    pub(super) alert_id: String,
    pub(super) severity: String,
    state: String,
    pub(super) ts: String,
    started: String,
    ended: Option<String>,
    rule: String,
    node: String,
    summary: String,
    #[serde(default)]
    evidence: Vec<String>,
    #[serde(default)]
    figures: Vec<Figure>,
    #[serde(default)]
    qnames: Vec<String>,
    #[serde(default)]
    processes: Vec<String>,
    #[serde(default)]
    clients: Vec<String>,
    #[serde(default)]
    resolvers: Vec<String>,
    #[serde(default)]
    samples: Vec<String>,
    #[serde(default)]
    suppressed: u64,
    runbook: Option<String>,
    /// Remaining fields, among them the parts of the entity.
    #[serde(flatten)]
    more: Value,
}

/// Labels of an alert, with the path of the field that each is taken from.
const LABELS: [(&str, &str); 12] = [
    ("region", "/region"),
    ("service", "/service"),
    ("target", "/target"),
    ("resolver", "/resolver"),
    ("zone", "/zone"),
    ("qname", "/qname"),
    ("process", "/process/comm"),
    ("namespace", "/k8s/namespace"),
    ("pod", "/k8s/pod"),
    ("container_id", "/container/id"),
    ("client_ip", "/client_ip"),
    ("vantage", "/vantage"),
];

#[derive(Clone, Debug, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    threshold: Option<f64>,
    baseline_mean: Option<f64>,
    baseline_deviation: Option<f64>,
    z_score: Option<f64>,
}

impl AlertRecord {
    pub(super) fn is_firing(&self) -> bool {
        self.state == "firing"
    }

    pub(super) fn ended(&self) -> &str {
        self.ended.as_deref().unwrap_or(&self.ts)
    }

    /// The alert for `MAX_ALERTS_PER_POST /api/v2/alerts`. `until` is its end, or the time at which Alertmanager
    /// considers it over unless it is repeated.
    pub(super) fn to_json(&self, until: &str, config: &AlertmanagerConfig) -> Value {
        let mut alert = json!({
            "labels": self.labels(config),
            "annotations": self.annotations(),
            "startsAt": self.started,
            // The end must not be before the start, even after a change of the clock.
            "endsAt": latest(until, &self.started),
        });
        if let Some(url) = &config.generator_url {
            alert["generatorURL"] = url.as_str().into();
        }
        alert
    }

    /// The labels that identify the alert: they stay the same as long as its severity and its
    /// entity do.
    fn labels(&self, config: &AlertmanagerConfig) -> Map<String, Value> {
        let configured = config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let entity = LABELS.into_iter();
        let entity =
            entity.filter_map(|(name, path)| Some((name, self.more.pointer(path)?.as_str()?)));
        let alertname = alertname(&self.rule);
        let always = [
            ("rule", &self.rule),
            ("severity", &self.severity),
            ("node", &self.node),
            ("alertname", &alertname),
        ];
        let always = always.map(|(name, value)| (name, value.as_str()));
        let labels = configured.chain(entity).chain(always);
        labels.map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn annotations(&self) -> Value {
        let mut all = json!({
            "summary": self.summary,
            "description": self.description(),
            "alert_id": self.alert_id,
        });
        if !self.samples.is_empty() {
            all["event_ids"] = summarized(&self.samples).into();
        }
        if let Some(runbook) = &self.runbook {
            all["runbook_url"] = runbook.as_str().into();
        }
        if let Some(file) = self.more.get("evidence_file") {
            all["evidence_file"] = file.clone();
        }
        all
    }

    /// The evidence and the figures, one per line, then the affected names, processes, clients and resolvers.
    fn description(&self) -> String {
        let mut text = String::new();
        for line in &self.evidence {
            text.push_str(line);
            text.push('\n');
        }
        for figure in &self.figures {
            figure.write(&mut text);
        }
        let kinds = [
            ("names", &self.qnames),
            ("processes", &self.processes),
            ("clients", &self.clients),
            ("resolvers", &self.resolvers),
        ];
        for (kind, list) in kinds.into_iter().filter(|(_, list)| !list.is_empty()) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{kind}: {}", summarized(list));
        }
        if self.suppressed > 0 {
            let _ = writeln!(text, "other alerts that this explains: {}", self.suppressed);
        }
        text.trim_end().to_owned()
    }
}

impl Figure {
    /// `timeout_ratio 1 (threshold 0.5, usually 0.01 ± 0.005, z-score 198)`.
    fn write(&self, text: &mut String) {
        let deviation =
            self.baseline_deviation.map(|deviation| format!(" ± {}", rounded(deviation)));
        let deviation = deviation.unwrap_or_default();
        let compared = [
            self.threshold.map(|threshold| format!("threshold {}", rounded(threshold))),
            self.baseline_mean.map(|mean| format!("usually {}{deviation}", rounded(mean))),
            self.z_score.map(|z| format!("z-score {}", rounded(z))),
        ];
        let compared: Vec<String> = compared.into_iter().flatten().collect();
        let compared =
            if compared.is_empty() { String::new() } else { format!(" ({})", compared.join(", ")) };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {}{compared}", self.name, rounded(self.value));
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The first items of a list, and the number of the others.
fn summarized(list: &[String]) -> String {
    let some = list.iter().take(MAX_ITEMS).map(String::as_str).collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(MAX_ITEMS) {
        0 => some,
        more => format!("{some}, and {more} more"),
    }
}

/// The alert name of a rule: `DnsResolverDown` for `resolver_down`.
fn alertname(rule: &str) -> String {
    let mut name = "Dns".to_owned();
    for word in rule.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// The later of two times. A text that is not a time is never the later.
fn latest<'a>(one: &'a str, other: &'a str) -> &'a str {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    if time(one) < time(other) { other } else { one }
}

#[cfg(test)]
pub(super) mod tests;
