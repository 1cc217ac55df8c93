//! A little of it all, so that quality does not fall unnoticed.

use super::*;
use dnscribe::detect::{Level, Rule};

#[test]
fn most_incidents_are_found_and_little_else() {
    let mut report = Report::default();
    measure(7, 1, 0.0, &mut report);
    for rule in [
        Rule::Tunnel,
        Rule::Dga,
        Rule::Spoofing,
        Rule::CachePoisoning,
        Rule::Amplification,
        Rule::ResolverDrift,
        Rule::ResolverBypass,
    ] {
        let score = report.score(rule);
        assert!(score.recall() >= 0.9, "{}: {:?}", rule.name(), score.missed);
    }
}

#[test]
fn a_day_without_incidents_has_no_critical_alert() {
    for profile in Profile::ALL {
        let (found, _) = quiet(profile, 7, 0.25, detectors(&[]));
        let critical: Vec<_> =
            found.iter().filter(|found| found.level == Level::Critical).collect();
        assert!(critical.is_empty(), "{}: {critical:?}", profile.name());
    }
}

#[test]
fn chance_is_the_same_every_time() {
    let find = || {
        let (found, taken) = quiet(Profile::Mail, 3, 0.02, detectors(&[]));
        (format!("{found:?}"), taken)
    };
    assert_eq!(find(), find());
}
