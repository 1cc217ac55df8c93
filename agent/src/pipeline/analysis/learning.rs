//! Says in the log which detection rules are learning, so that silence is not taken for health.

use dnscribe_analysis::detect::{Detection, Rule};
use std::time::Duration;

/// The rules that were learning when this was last logged.
#[derive(Debug, Default)]
pub(super) struct LearningLog(Vec<Rule>);

impl LearningLog {
    /// Logs rules that begin to learn, and those that have learned what is usual here.
    pub(super) fn update(&mut self, detection: Option<&Detection>) {
        let learning: Vec<(Rule, Duration)> =
            detection.into_iter().flat_map(Detection::learning).collect();
        let is_same = self.0.iter().eq(learning.iter().map(|(rule, _)| rule));
        if is_same {
            return;
        }
        let begun: Vec<_> = learning.iter().filter(|(rule, _)| !self.0.contains(rule)).collect();
        if !begun.is_empty() {
            let begun = begun.into_iter().copied();
            tracing::info!("detection is learning and reports nothing by {}", list(begun));
        }
        let is_learning = |rule: &Rule| learning.iter().any(|(learning, _)| learning == rule);
        let judging: Vec<&str> =
            self.0.iter().filter(|rule| !is_learning(rule)).map(|rule| rule.name()).collect();
        if !judging.is_empty() && detection.is_some() {
            tracing::info!(
                "detection has learned what is usual, and now judges {}",
                judging.join(", ")
            );
        }
        self.0 = learning.into_iter().map(|(rule, _)| rule).collect();
    }

    /// Logs at the end of a capture which rules have not judged it.
    pub(super) fn finish(&mut self, detection: Option<&Detection>) {
        let learning: Vec<(Rule, Duration)> =
            detection.into_iter().flat_map(Detection::learning).collect();
        if !learning.is_empty() {
            tracing::info!(
                "the capture was too short for detection by {}; shorten detect.rules.RULE.learning to judge it",
                list(learning.into_iter())
            );
        }
        self.0.clear();
    }
}

/// Lists rules with their learning times: `query_rate (for 24h), latency (for 1h)`.
fn list(rules: impl Iterator<Item = (Rule, Duration)>) -> String {
    let rules = rules.map(|(rule, span)| {
        format!("{} (for {})", rule.name(), dnscribe_config::value::show_duration(&span))
    });
    rules.collect::<Vec<_>>().join(", ")
}
