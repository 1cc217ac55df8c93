//! A little of it all, so that quality does not fall unnoticed: what debug builds can do in seconds.

use super::*;
use dnscribe::analysis::detect::{Level, Rule};

/// Incidents of more transactions, or that take longer, are for the benchmark.
const MOST_EVENTS: usize = 2500;
const LONGEST_SECONDS: f64 = 2800.0;

#[test]
fn most_incidents_are_found_and_little_else() {
    let mut report = Report::default();
    let mut chance = Chance::new(7);
    for incident in incidents::all(&mut chance) {
        let seed = chance.next();
        let is_short = incident.events.len() < MOST_EVENTS && incident.to < LONGEST_SECONDS;
        if is_short && incident.alter.is_none() {
            // The node with the fewest transactions.
            let incident = incidents::Incident { profile: Some(Profile::Mail), ..incident };
            report.incident(&incident, &troubled(&incident, seed, &meant(&[])));
        }
    }
    let rules =
        [Rule::Tunnel, Rule::Dga, Rule::Spoofing, Rule::CachePoisoning, Rule::ResolverDrift];
    for rule in rules {
        let score = report.score(rule);
        assert!(score.recall() >= 0.9, "{}: missed {:?}", rule.name(), score.missed);
        assert!(score.precision() >= 0.9, "{}: {score:?}", rule.name());
    }
}

#[test]
fn hours_without_incidents_have_no_critical_alert() {
    for profile in Profile::ALL {
        let (found, taken) = quiet(profile, 7, 0.05, &meant(&[]));
        assert!(taken > 100, "{}: {taken}", profile.name());
        let is_critical = |found: &&Found| found.level == Level::Critical;
        let critical: Vec<_> = found.iter().filter(is_critical).collect();
        assert!(critical.is_empty(), "{}: {critical:?}", profile.name());
    }
}

#[test]
fn chance_is_the_same_every_time() {
    let find = || {
        let incident = incidents::all(&mut Chance::new(3)).swap_remove(2);
        let verdict = troubled(&incident, 3, &meant(&[]));
        format!("{:?} {:?} {}", verdict.found, verdict.false_ones, verdict.transactions)
    };
    assert_eq!(find(), find());
}
