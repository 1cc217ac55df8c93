//! Recall, precision, detection times and false alerts, as JSON lines.

use crate::benign::Profile;
use crate::evaluate::{DetectedAlert, IncidentResult};
use crate::incidents::Incident;
use dnscribe_analysis::detect::{Rule, Severity};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// Score of a rule.
#[derive(Debug, Default)]
pub struct Score {
    incidents: u64,
    found: u64,
    /// Found with level warning or higher.
    warned: u64,
    pub missed: Vec<String>,
    seconds: Vec<f64>,
    /// False alerts during other incidents and on quiet days, by level.
    false_amid: BTreeMap<&'static str, u64>,
    false_quiet: BTreeMap<&'static str, u64>,
    false_summaries: Vec<String>,
}

impl Score {
    /// Share of incidents that were found.
    pub fn recall(&self) -> f64 {
        ratio(self.found, self.incidents)
    }

    /// Share of true alerts among those of level warning and higher.
    pub fn precision(&self) -> f64 {
        let wrong: u64 = [&self.false_amid, &self.false_quiet]
            .iter()
            .flat_map(|levels| levels.iter())
            .filter(|(level, _)| **level != Severity::Info.name())
            .map(|(_, count)| count)
            .sum();
        ratio(self.warned, self.warned + wrong)
    }
}

/// Scores of all rules.
#[derive(Debug, Default)]
pub struct Report {
    scores: BTreeMap<Rule, Score>,
    days: f64,
    transactions: u64,
    captures: u64,
    captures_with_incident: u64,
    captures_without_dns: Vec<String>,
}

impl Report {
    /// Returns the score of a rule.
    #[cfg(test)]
    pub fn score(&mut self, rule: Rule) -> &Score {
        self.scores.entry(rule).or_default()
    }

    pub fn incident(&mut self, incident: &Incident, result: &IncidentResult) {
        self.transactions += result.transactions;
        let score = self.scores.entry(incident.rule).or_default();
        score.incidents += 1;
        match result.found {
            Some((seconds, level)) => {
                score.found += 1;
                score.warned += u64::from(level > Severity::Info);
                score.seconds.push(seconds);
            }
            None => score.missed.push(incident.variant.clone()),
        }
        for found in &result.false_alerts {
            let score = self.scores.entry(found.rule).or_default();
            *score.false_amid.entry(found.level.name()).or_default() += 1;
            score.note(&incident.variant, found);
        }
    }

    pub fn quiet(
        &mut self,
        profile: Profile,
        days: f64,
        found: &[DetectedAlert],
        transactions: u64,
    ) {
        self.transactions += transactions;
        self.days += days;
        for found in found {
            let score = self.scores.entry(found.rule).or_default();
            *score.false_quiet.entry(found.level.name()).or_default() += 1;
            score.note(profile.name(), found);
        }
    }

    /// Notes a capture without packets on port 53.
    pub fn without_dns(&mut self, name: &str) {
        self.captures_without_dns.push(name.to_owned());
    }

    pub fn capture(
        &mut self,
        name: &str,
        label: Option<Rule>,
        found: &[DetectedAlert],
        transactions: u64,
    ) {
        self.transactions += transactions;
        self.captures += 1;
        self.captures_with_incident += u64::from(label.is_some());
        if let Some(rule) = label {
            let score = self.scores.entry(rule).or_default();
            score.incidents += 1;
            match found.iter().find(|found| found.rule == rule) {
                Some(found) => {
                    score.found += 1;
                    score.warned += u64::from(found.level > Severity::Info);
                }
                None => score.missed.push(name.to_owned()),
            }
        }
        // The configured resolvers of a capture are not known.
        let unknowable = |rule| matches!(rule, Rule::ResolverBypass | Rule::EncryptedBypass);
        for found in
            found.iter().filter(|found| Some(found.rule) != label && !unknowable(found.rule))
        {
            let score = self.scores.entry(found.rule).or_default();
            *score.false_amid.entry(found.level.name()).or_default() += 1;
            score.note(name, found);
        }
    }

    /// Writes JSON lines: one for each rule, then one for all.
    pub fn print(&self, set: &str, took: Duration, out: &mut dyn Write) -> io::Result<()> {
        for (rule, score) in &self.scores {
            let mut seconds = score.seconds.clone();
            seconds.sort_by(f64::total_cmp);
            let per_day = |count: u64| ratio_of(count, self.days);
            let of_level =
                |level: Severity| score.false_quiet.get(level.name()).copied().unwrap_or(0);
            let line = json!({
                "bench": "detect", "set": set, "rule": rule.name(),
                "incidents": score.incidents, "found": score.found,
                "recall": score.recall(), "recall_at_warning": ratio(score.warned, score.incidents),
                "precision_at_warning": score.precision(),
                "seconds_to_detect_p50": quantile(&seconds, 0.5),
                "seconds_to_detect_p95": quantile(&seconds, 0.95),
                "false_info_per_node_day": per_day(of_level(Severity::Info)),
                "false_warnings_per_node_day": per_day(of_level(Severity::Warning)),
                "false_criticals_per_node_week": per_day(of_level(Severity::Critical)) * 7.0,
                "false_amid_other_incidents": score.false_amid,
                "missed": score.missed, "false": score.false_summaries,
            });
            writeln!(out, "{line}")?;
        }
        let nanos = took.as_secs_f64() * 1e9;
        let line = json!({
            "bench": "detect", "set": set, "summary": true, "node_days": self.days,
            "transactions": self.transactions, "captures": self.captures,
            "captures_with_incident": self.captures_with_incident,
        "captures_without_dns": self.captures_without_dns,
            "wall_seconds": took.as_secs_f64(),
            "wall_ns_per_transaction_made_and_judged": ratio_of_f(nanos, self.transactions),
        });
        writeln!(out, "{line}")
    }
}

impl Score {
    fn note(&mut self, amid: &str, found: &DetectedAlert) {
        if self.false_summaries.len() < 8 {
            self.false_summaries.push(format!(
                "[{amid}] {}: {}",
                found.level.name(),
                found.summary
            ));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { f64::NAN } else { part as f64 / whole as f64 }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
fn ratio_of(count: u64, days: f64) -> f64 {
    if days > 0.0 { count as f64 / days } else { f64::NAN }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
fn ratio_of_f(value: f64, count: u64) -> f64 {
    value / count as f64
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "below the length"
    )]
    let index = (q * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
