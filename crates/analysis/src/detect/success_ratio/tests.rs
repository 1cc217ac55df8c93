use super::*;
use crate::detect::Detector as _;
use crate::detect::tests::helpers::fast_learning;
use crate::view::TransactionView;
use crate::view::testing::example;
use crate::window::Windows;
use dnscribe_transaction::pair::Status;

const START: u64 = 1_700_000_100;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((START + seconds) * 1_000_000_000)
}

/// Ten queries per second, `failing` of which fail; returns the findings every ten seconds.
fn play(seconds: u64, failing: impl Fn(u64) -> u64) -> Vec<(u64, Vec<Finding>)> {
    let options = fast_learning();
    let mut success = SuccessRatio::new(options.success);
    let mut usual = AnomalyDetector::new(&options);
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    let mut played = Vec::new();
    for second in 0..seconds {
        windows.expire(at(second), &mut |span, groups| {
            success.window(span, groups);
            usual.window(span, groups);
        });
        for number in 0..10 {
            let fails = number < failing(second);
            let status = if fails { Status::Timeout } else { Status::Answered };
            let rcode = (!fails).then_some(0);
            let one = TransactionView { status, rcode, ..example(at(second)) };
            windows.observe(&one);
        }
        if second % 10 == 0 {
            let mut found = Vec::new();
            success.evaluate(at(second), &usual, &mut |finding| found.push(finding));
            usual.evaluate(at(second), &mut |_| {});
            played.push((second, found));
        }
    }
    played
}

fn first(played: &[(u64, Vec<Finding>)]) -> Option<(u64, Severity)> {
    played.iter().find_map(|(second, found)| Some((*second, found.first()?.level)))
}

#[test]
fn needs_five_minutes_and_ends_with_good_minute() {
    let played = play(1500, |second| u64::from((900..1300).contains(&second)));
    let (second, level) = first(&played).unwrap();
    assert!((1200..=1230).contains(&second), "{second}");
    assert_eq!(level, Severity::Warning);
    assert!(played.iter().filter(|(second, _)| *second > 1380).all(|(_, found)| found.is_empty()));
    assert_eq!(first(&play(1500, |second| u64::from(second % 100 < 10))), None);
    assert_eq!(first(&play(1300, |_| 0)), None);
}

#[test]
fn judges_after_learning_and_by_what_is_usual() {
    // Most of the queries fail from the start: that is not learned, and found as soon as it may be.
    let played = play(700, |_| 6);
    let (second, level) = first(&played).unwrap();
    assert!((600..=630).contains(&second), "{second}");
    assert_eq!(level, Severity::Critical);
    // One in twenty always fails; one in seven is worse than that.
    let usual = |second: u64| u64::from(second.is_multiple_of(2));
    assert_eq!(first(&play(1800, usual)), None);
    let worse = |second: u64| if second < 900 { usual(second) } else { 1 + usual(second / 2) };
    assert!(matches!(first(&play(1500, worse)), Some((960..=1200, Severity::Warning))));
}

#[test]
fn ignores_few_queries() {
    let options = fast_learning();
    let mut success = SuccessRatio::new(options.success);
    let mut usual = AnomalyDetector::new(&options);
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    let mut found = 0;
    for second in 0..1800 {
        windows.expire(at(second), &mut |span, groups| {
            success.window(span, groups);
            usual.window(span, groups);
        });
        if second % 30 == 0 {
            let status = if second % 90 == 0 { Status::Timeout } else { Status::Answered };
            let rcode = (status == Status::Answered).then_some(0);
            let one = TransactionView { status, rcode, ..example(at(second)) };
            windows.observe(&one);
        }
        if second % 10 == 0 {
            success.evaluate(at(second), &usual, &mut |_| found += 1);
        }
    }
    assert_eq!(found, 0);
}
