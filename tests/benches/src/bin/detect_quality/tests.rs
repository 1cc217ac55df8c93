//! Detects regressions of quality with a small part of the benchmark, which runs in seconds in a debug build.

use super::*;
use dnscribe_analysis::detect::{Rule, Severity};

/// Largest incident that the tests run; larger and longer ones are left to the benchmark.
const MOST_EVENTS: usize = 2500;
const LONGEST_SECONDS: f64 = 2800.0;

#[test]
fn finds_most_incidents_with_few_false_alerts() {
    let mut report = Report::default();
    let mut rng = Rng::new(7);
    for incident in incidents::all(&mut rng) {
        let seed = rng.next();
        let is_short = incident.events.len() < MOST_EVENTS && incident.to < LONGEST_SECONDS;
        if is_short && incident.alter.is_none() {
            // The node with the fewest transactions.
            let incident = incidents::Incident { profile: Some(Profile::Mail), ..incident };
            report.incident(&incident, &run_incident(&incident, seed, &meant(&[])));
        }
    }
    for rule in [Rule::Tunnel, Rule::Dga, Rule::Spoofing, Rule::CachePoisoning] {
        let score = report.score(rule);
        assert!(score.recall() >= 0.9, "{}: missed {:?}", rule.name(), score.missed);
        assert!(score.precision() >= 0.9, "{}: {score:?}", rule.name());
    }
}

#[test]
fn raises_no_critical_alert_without_incident() {
    for profile in Profile::ALL {
        let (found, taken) = run_quiet_node(profile, 7, 0.05, &meant(&[]));
        assert!(taken > 100, "{}: {taken}", profile.name());
        let is_critical = |found: &&DetectedAlert| found.level == Severity::Critical;
        let critical: Vec<_> = found.iter().filter(is_critical).collect();
        assert!(critical.is_empty(), "{}: {critical:?}", profile.name());
    }
}

#[test]
fn equal_seeds_give_equal_results() {
    let find = || {
        let incident = incidents::all(&mut Rng::new(3)).swap_remove(2);
        let result = run_incident(&incident, 3, &meant(&[]));
        format!("{:?} {:?} {}", result.found, result.false_alerts, result.transactions)
    };
    assert_eq!(find(), find());
}
