use super::*;
use crate::analysis::detect::DetectOptions;
use crate::analysis::view::TransactionView;
use crate::analysis::view::testing::example;
use crate::analysis::window::Windows;
use crate::pair::Status;

const START: u64 = 1_700_000_100;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((START + seconds) * 1_000_000_000)
}

/// Ten queries per second, `failing` of which fail; returns the findings every ten seconds.
fn play(seconds: u64, failing: impl Fn(u64) -> u64) -> Vec<(u64, Vec<Finding>)> {
    let mut success = SuccessRatio::new(DetectOptions::default().success);
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    let mut played = Vec::new();
    for second in 0..seconds {
        windows.expire(at(second), &mut |span, groups| success.window(span, groups));
        for number in 0..10 {
            let fails = number < failing(second);
            let status = if fails { Status::Timeout } else { Status::Answered };
            let rcode = (!fails).then_some(0);
            let one = TransactionView { status, rcode, ..example(at(second)) };
            windows.observe(&one);
        }
        if second % 10 == 0 {
            let mut found = Vec::new();
            success.evaluate(at(second), &mut |finding| found.push(finding));
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
    let played = play(600, |second| u64::from(second < 400));
    let (second, level) = first(&played).unwrap();
    assert!((300..=330).contains(&second), "{second}");
    assert_eq!(level, Severity::Warning);
    assert!(played.iter().filter(|(second, _)| *second > 480).all(|(_, found)| found.is_empty()));
    assert!(matches!(first(&play(400, |_| 5)), Some((_, Severity::Critical))));
    assert_eq!(first(&play(600, |second| u64::from(second % 100 < 10))), None);
    assert_eq!(first(&play(400, |_| 0)), None);
}

#[test]
fn ignores_few_queries() {
    let mut success = SuccessRatio::new(DetectOptions::default().success);
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    let mut found = 0;
    for second in 0..900 {
        windows.expire(at(second), &mut |span, groups| success.window(span, groups));
        if second % 30 == 0 {
            let status = if second % 90 == 0 { Status::Timeout } else { Status::Answered };
            let rcode = (status == Status::Answered).then_some(0);
            let one = TransactionView { status, rcode, ..example(at(second)) };
            windows.observe(&one);
        }
        if second % 10 == 0 {
            success.evaluate(at(second), &mut |_| found += 1);
        }
    }
    assert_eq!(found, 0);
}
