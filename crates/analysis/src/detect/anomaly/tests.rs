use super::*;
use crate::detect::tests::helpers::fast_learning;
use crate::detect::{Rule, Severity};
use crate::view::TransactionView;
use crate::view::testing::example;
use crate::window::Windows;
use dnscribe_transaction::pair::Status;

/// Start of a minute.
const START: u64 = 1_700_000_040;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((START + seconds) * 1_000_000_000)
}

/// Traffic of a second.
#[derive(Clone, Copy)]
struct Traffic {
    queries: u64,
    latency: f64,
    nxdomain: u64,
    servfail: u64,
    timeout: u64,
}

/// Changed values.
type Change = fn(&mut Traffic);

/// Twenty queries per second, plus or minus three.
fn plain(second: u64) -> Traffic {
    let queries = 17 + second * 7919 % 7;
    let latency = 10.0 + to_f64(second * 104_729 % 50) / 10.0;
    let now_and_then = |every| u64::from(second.is_multiple_of(every));
    Traffic {
        queries,
        latency,
        nxdomain: 1 + now_and_then(3),
        servfail: now_and_then(10),
        timeout: now_and_then(30),
    }
}

/// Plays `seconds` of traffic; returns the time and level of the first finding of each rule and
/// entity.
fn play(
    seconds: u64,
    traffic: impl Fn(u64) -> Traffic,
) -> BTreeMap<(Rule, String), (u64, Severity)> {
    let mut anomalies = AnomalyDetector::new(&fast_learning());
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    let mut first = BTreeMap::new();
    for second in 0..seconds {
        windows.expire(at(second), &mut |span, groups| anomalies.window(span, groups));
        let now = traffic(second);
        for number in 0..now.queries {
            let (status, rcode) = match number {
                number if number < now.timeout => (Status::Timeout, None),
                number if number < now.timeout + now.servfail => (Status::Answered, Some(2)),
                number if number < now.timeout + now.servfail + now.nxdomain => {
                    (Status::Answered, Some(3))
                }
                _ => (Status::Answered, Some(0)),
            };
            let latency_ms = rcode.map(|_| now.latency);
            let one = TransactionView { status, rcode, latency_ms, ..example(at(second)) };
            windows.observe(&one);
        }
        if second % 10 == 0 {
            anomalies.evaluate(at(second), &mut |finding| {
                let entity = finding.entity.to_string();
                first.entry((finding.rule, entity)).or_insert((second, finding.level));
            });
        }
    }
    first
}

/// Usual traffic, followed by changed traffic.
fn then(change: impl Fn(&mut Traffic)) -> BTreeMap<(Rule, String), (u64, Severity)> {
    play(1300, |second| {
        let mut now = plain(second);
        if second >= 1080 {
            change(&mut now);
        }
        now
    })
}

const RESOLVER: &str = "resolver=192.0.2.53,vantage=client";

#[test]
fn ignores_usual_traffic() {
    assert_eq!(play(3600, plain), BTreeMap::new());
}

#[test]
fn finds_anomaly_of_each_rule() {
    let cases: [(Rule, Change, u64); 6] = [
        (Rule::QueryRate, |now| now.queries *= 8, 90),
        (Rule::QueryRate, |now| now.queries = 0, 150),
        (Rule::Latency, |now| now.latency *= 30.0, 90),
        (Rule::Nxdomain, |now| now.nxdomain += 12, 90),
        (Rule::Servfail, |now| now.servfail += 9, 90),
        (Rule::Timeout, |now| now.timeout += 9, 90),
    ];
    for (rule, change, within) in cases {
        let found = then(change);
        let (second, _) =
            found.get(&(rule, RESOLVER.to_owned())).unwrap_or_else(|| panic!("{rule:?}"));
        assert!((1080..=1080 + within).contains(second), "{rule:?} {second}");
        assert!(found.keys().all(|(other, _)| *other == rule), "{rule:?} {found:?}");
    }
}

#[test]
fn ignores_small_changes() {
    let cases: [Change; 4] = [
        |now| now.queries += now.queries / 2,
        |now| now.latency *= 1.3,
        |now| now.nxdomain += 1,
        |now| now.queries -= 5,
    ];
    for (number, change) in cases.into_iter().enumerate() {
        assert_eq!(then(change), BTreeMap::new(), "{number}");
    }
}

#[test]
fn evidence_contains_baseline() {
    let mut anomalies = AnomalyDetector::new(&fast_learning());
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    let mut last = None;
    for second in 0..1300 {
        windows.expire(at(second), &mut |span, groups| anomalies.window(span, groups));
        let slow = if second < 1200 { 10.0 } else { 800.0 };
        for _ in 0..10 {
            let one = TransactionView { latency_ms: Some(slow), ..example(at(second)) };
            windows.observe(&one);
        }
        anomalies.evaluate(at(second), &mut |finding| last = Some(finding));
    }
    let last = last.unwrap();
    assert_eq!((last.rule, last.level), (Rule::Latency, Severity::Critical));
    let figure = &last.evidence.figures[0];
    let baseline = figure.baseline.unwrap();
    assert_eq!(figure.name, "latency_p50_ms");
    assert!(
        (figure.value - 800.0).abs() < 16.0 && (baseline.mean - 10.0).abs() < 0.5,
        "{figure:?}"
    );
    assert!(baseline.z > 5.0 && baseline.samples >= 19 && !baseline.seasonal);
}

#[test]
fn high_failure_shares_from_the_start_are_found_after_learning() {
    let failing = |_| Traffic { queries: 10, latency: 5.0, nxdomain: 0, servfail: 8, timeout: 0 };
    assert_eq!(play(590, failing), BTreeMap::new());
    let found = play(900, failing);
    assert!(found.keys().all(|(rule, _)| *rule == Rule::Servfail), "{found:?}");
    assert!(found.contains_key(&(Rule::Servfail, RESOLVER.to_owned())), "{found:?}");
    assert!(found.values().all(|(second, level)| *second >= 600 && *level == Severity::Warning));
    let found =
        play(900, |_| Traffic { queries: 10, latency: 5.0, nxdomain: 9, servfail: 1, timeout: 0 });
    assert_eq!(found, BTreeMap::new());
}

/// A rate that was reached in the last day is no flood, however quiet the last hour was.
#[test]
fn rate_of_the_day_before_is_usual() {
    let bursts = |second: u64| {
        let is_burst = second % 7200 >= 5400;
        Traffic { queries: if is_burst { 20 } else { 1 }, latency: 5.0, ..plain(1) }
    };
    let quiet = |second| Traffic { nxdomain: 0, servfail: 0, timeout: 0, ..bursts(second) };
    let found = play(3 * 7200, quiet);
    let rates = found.keys().filter(|(rule, _)| *rule == Rule::QueryRate);
    // The first burst is beyond all that the short learning time has seen; the later ones are not.
    assert!(rates.clone().count() > 0, "{found:?}");
    assert!(rates.clone().all(|key| found[key].0 < 7200), "{found:?}");
}

#[test]
fn baselines_are_bounded() {
    let mut anomalies = AnomalyDetector::new(&fast_learning());
    let mut windows = Windows::new(at(0), Duration::from_secs(1));
    for second in 0..1500 {
        windows.expire(at(second), &mut |span, groups| anomalies.window(span, groups));
        for number in 0..20 {
            let zone = format!("z{second}-{number}.test");
            let one = TransactionView { zone: Some(&zone), resolver: &zone, ..example(at(second)) };
            windows.observe(&one);
        }
        if second % 10 == 0 {
            anomalies.evaluate(at(second), &mut |_| {});
        }
    }
    assert!(anomalies.entities.len() <= MAX_ENTITIES, "{}", anomalies.entities.len());
    // The recurring entity is kept.
    assert!(anomalies.entities.keys().any(|place| place.grouping == Grouping::Process));
}
