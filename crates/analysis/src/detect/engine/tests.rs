use super::*;
use crate::detect::{Evidence, Maintenance, MaintenancePeriod};
use crate::view::testing::example;
use dnscribe_transaction::pair::Status;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

const START: u64 = 1_700_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((START + seconds) * 1_000_000_000)
}

/// A detector that returns scripted findings.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<Vec<Finding>>>);

impl Detector for Script {
    fn rules(&self) -> &'static [Rule] {
        &Rule::ALL
    }

    fn evaluate(&mut self, _: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.0.borrow().iter().cloned().for_each(each);
    }
}

fn finding(rule: Rule, entity: Entity, level: Severity) -> Finding {
    let evidence = Evidence::default();
    Finding { rule, entity, level, summary: format!("{rule:?}"), evidence }
}

fn zone(number: usize) -> Entity {
    Entity {
        zone: Some(format!("zone{number}.test").into()),
        vantage: Some(Vantage::Client),
        ..Entity::default()
    }
}

/// The detection stage with scripted findings.
struct Stage {
    script: Script,
    detection: Detection,
    alerts: Vec<Alert>,
    now: u64,
}

impl Stage {
    fn new(options: DetectOptions) -> Self {
        let script = Script::default();
        let mut detection = Detection::new(options, vec![Box::new(script.clone())]);
        detection.expire(at(0), &mut |_| {});
        Self { script, detection, alerts: Vec::new(), now: 0 }
    }

    /// Advances by ten seconds with the given findings; returns the alerts reported.
    fn step(&mut self, found: Vec<Finding>) -> Vec<Alert> {
        *self.script.0.borrow_mut() = found;
        self.now += 10;
        let mut alerts = Vec::new();
        self.detection.expire(at(self.now), &mut |alert| alerts.push(alert.clone()));
        self.alerts.extend(alerts.clone());
        alerts
    }

    fn fail(&mut self, count: u64, resolver: &str, zone: &str) {
        for number in 0..count {
            self.detection.observe(&TransactionView {
                resolver,
                zone: Some(zone),
                qname: Some(zone),
                status: Status::Timeout,
                rcode: None,
                response_ts: None,
                latency_ms: None,
                ..example(at(self.now).plus(Duration::from_millis(number * 10_000 / count)))
            });
        }
    }
}

fn states(alerts: &[Alert]) -> Vec<(AlertState, Severity, Option<Severity>)> {
    alerts.iter().map(|alert| (alert.state, alert.level, alert.previous)).collect()
}

#[test]
fn alert_fires_repeats_changes_and_resolves() {
    use Severity::{Critical, Warning};
    let mut stage = Stage::new(DetectOptions::default());
    let found = |level| vec![finding(Rule::Tunnel, zone(1), level)];
    for _ in 0..31 {
        stage.step(found(Warning));
    }
    stage.step(found(Critical));
    for _ in 0..20 {
        stage.step(Vec::new());
    }
    let expected = [
        (AlertState::Firing, Warning, None),
        (AlertState::Firing, Warning, None),
        (AlertState::Firing, Critical, Some(Warning)),
        (AlertState::Resolved, Critical, None),
    ];
    assert_eq!(states(&stage.alerts), expected);
    let seconds: Vec<u64> =
        stage.alerts.iter().map(|alert| alert.ts.since(at(0)).as_secs()).collect();
    assert_eq!(seconds, [10, 310, 320, 380]);
    let last = stage.alerts.last().unwrap();
    assert_eq!((last.started, last.ended), (at(10), Some(at(320))));
    assert_eq!(stage.alerts.iter().map(|alert| alert.ordinal).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let given: Vec<_> = stage.detection.counters.reported().collect();
    assert!(given.contains(&(Rule::Tunnel, Warning, AlertState::Firing, 2)), "{given:?}");
    assert!(stage.detection.counters.active().all(|(.., count)| count == 0));
}

#[test]
fn disabled_rule_has_no_alert() {
    let mut options = DetectOptions::default();
    options.rules[Rule::Tunnel as usize].enabled = false;
    let mut stage = Stage::new(options);
    assert_eq!(stage.step(vec![finding(Rule::Tunnel, zone(1), Severity::Critical)]), []);
    assert_eq!(stage.step(vec![finding(Rule::Dga, zone(1), Severity::Critical)]).len(), 1);
}

#[test]
fn maintenance_delays_alert() {
    let maintenance = Maintenance {
        period: MaintenancePeriod::Once(at(0), at(100)),
        rules: Vec::new(),
        entity: vec![("zone", wildmatch::WildMatch::new("zone1.*"))],
    };
    let options = DetectOptions { maintenance: vec![maintenance], ..DetectOptions::default() };
    let mut stage = Stage::new(options);
    let found = || vec![finding(Rule::Tunnel, zone(1), Severity::Warning)];
    for _ in 0..9 {
        assert_eq!(stage.step(found()), []);
    }
    assert_eq!(stage.detection.counters.muted[Rule::Tunnel as usize], 1);
    let alerts = stage.step(found());
    assert_eq!(states(&alerts), [(AlertState::Firing, Severity::Warning, None)]);
    assert_eq!((alerts[0].started, alerts[0].ts), (at(10), at(100)));
    let other =
        stage.step([found(), vec![finding(Rule::Tunnel, zone(2), Severity::Info)]].concat());
    assert_eq!(other.len(), 1);
}

/// A dead resolver, and its effect on the values of all its clients.
#[test]
fn dead_resolver_is_one_alert() {
    let mut stage = Stage::new(DetectOptions::default());
    let down = "192.0.2.53";
    let resolver =
        Entity { resolver: Some(down.into()), vantage: Some(Vantage::Client), ..Entity::default() };
    let node = Entity { vantage: Some(Vantage::Client), ..Entity::default() };
    let server = Entity { vantage: Some(Vantage::Server), ..resolver.clone() };
    let effects = || {
        let mut all = vec![
            finding(Rule::Timeout, resolver.clone(), Severity::Critical),
            finding(Rule::SuccessRatio, resolver.clone(), Severity::Critical),
            finding(Rule::SuccessRatio, server.clone(), Severity::Critical),
            finding(Rule::Timeout, node.clone(), Severity::Critical),
            finding(Rule::QueryRate, node.clone(), Severity::Warning),
            finding(Rule::Latency, zone(3), Severity::Warning),
        ];
        all.extend((0..50).map(|number| finding(Rule::Timeout, zone(number), Severity::Warning)));
        all
    };
    for _ in 0..12 {
        for number in 0..50 {
            stage.fail(20, down, &format!("zone{number}.test"));
        }
        stage.step(effects());
    }
    assert_eq!(stage.alerts.len(), 1, "{:?}", states(&stage.alerts));
    let alert = &stage.alerts[0];
    assert_eq!((alert.rule, alert.level), (Rule::ResolverDown, Severity::Critical));
    assert!(!alert.evidence.samples.is_empty() && alert.evidence.qnames.len() >= 3, "{alert:?}");
    assert_eq!(alert.evidence.processes, ["curl[4242]".into()]);
    // It answers again; the windows still contain its failures for a while.
    stage.detection.observe(&TransactionView { resolver: down, ..example(at(stage.now + 1)) });
    for _ in 0..9 {
        stage.step(effects());
    }
    for _ in 0..60 {
        stage.step(Vec::new());
    }
    let states = states(&stage.alerts);
    assert_eq!(states.len(), 2, "{states:?}");
    assert_eq!(states[1], (AlertState::Resolved, Severity::Critical, None));
    assert_eq!(stage.alerts[1].suppressed, 56);
}

#[test]
fn unrelated_failure_is_reported_too() {
    let mut stage = Stage::new(DetectOptions::default());
    for _ in 0..4 {
        stage.fail(100, "192.0.2.53", "zone1.test");
        let answered = example(at(stage.now + 9));
        stage.detection.observe(&TransactionView { resolver: "192.0.2.54", ..answered });
        stage.fail(100, "192.0.2.54", "zone2.test");
        stage.step(vec![
            finding(Rule::Timeout, zone(1), Severity::Warning),
            finding(Rule::Timeout, zone(2), Severity::Warning),
        ]);
    }
    let alerts: Vec<_> = stage.alerts.iter().map(|alert| (alert.rule, &alert.entity)).collect();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert!(alerts.contains(&(Rule::Timeout, &zone(2))), "{alerts:?}");
    assert!(alerts.iter().any(|(rule, _)| *rule == Rule::ResolverDown), "{alerts:?}");
}

#[test]
fn two_vantages_are_one_alert() {
    let mut stage = Stage::new(DetectOptions::default());
    let seen = |vantage| Entity { vantage: Some(vantage), ..zone(1) };
    let all = Vantage::ALL.map(|vantage| finding(Rule::Spoofing, seen(vantage), Severity::Warning));
    stage.step(all.to_vec());
    stage.step(all.to_vec());
    assert_eq!(stage.alerts.len(), 1);
    assert_eq!(stage.alerts[0].entity.vantage, Some(Vantage::Client));
    assert_eq!(stage.detection.counters.suppressed[Rule::Spoofing as usize], 2);
}

#[test]
fn alerts_are_bounded_and_overflow_is_counted() {
    let mut stage = Stage::new(DetectOptions::default());
    let all = |range: std::ops::Range<usize>, level| {
        range.map(|number| finding(Rule::Tunnel, zone(number), level)).collect::<Vec<_>>()
    };
    assert_eq!(stage.step(all(0..1000, Severity::Info)).len(), MAX_PER_RULE);
    assert_eq!(stage.detection.counters.overflowed, 1000 - MAX_PER_RULE as u64);
    // Unreported alerts give way to more severe ones.
    let latency = |number, level| finding(Rule::Latency, zone(number), level);
    stage.step((0..MAX_PER_RULE).map(|number| latency(number, Severity::Info)).collect());
    assert_eq!(stage.detection.episodes.len(), MAX_PER_RULE * 2);
    let worse: Vec<_> = (5000..5002).map(|number| latency(number, Severity::Critical)).collect();
    stage.step(worse.clone());
    let alerts = stage.step(worse);
    assert_eq!(alerts.iter().filter(|alert| alert.rule == Rule::Latency).count(), 2);
}

#[test]
fn resolver_table_is_bounded() {
    let mut detection = Detection::new(DetectOptions::default(), Vec::new());
    for number in 0..300_000_u64 {
        let name = format!("{number}.test");
        let now = at(number / 3_000);
        detection.observe(&TransactionView {
            resolver: &name,
            zone: Some(&name),
            qname: Some(&name),
            status: Status::Timeout,
            rcode: None,
            ..example(now)
        });
        if number % 3_000 == 0 {
            detection.expire(now, &mut |alert| panic!("{alert:?}"));
        }
    }
    assert!(detection.resolvers.known() <= 4096);
}

#[test]
fn follows_clock_jumps() {
    let mut stage = Stage::new(DetectOptions::default());
    stage.step(vec![finding(Rule::Tunnel, zone(1), Severity::Warning)]);
    stage.script.0.borrow_mut().clear();
    // Ten years: a few evaluations, not thirty million.
    stage.now += 315_360_000;
    stage.step(Vec::new());
    assert_eq!(stage.alerts.last().unwrap().state, AlertState::Resolved);
    stage.now = 100;
    assert_eq!(stage.step(vec![finding(Rule::Tunnel, zone(1), Severity::Warning)]), []);
    let alerts = stage.step(vec![finding(Rule::Tunnel, zone(1), Severity::Warning)]);
    assert_eq!(alerts[0].ts, at(120));
}

/// Findings at each of some evaluations: indices of entities, with levels.
fn scripts() -> impl Strategy<Value = Vec<Vec<(usize, u8)>>> {
    let found = prop::collection::vec((0..6_usize, 0..3_u8), 0..6);
    prop::collection::vec(found, 1..80)
}

fn play(script: &[Vec<(usize, u8)>]) -> (Vec<Alert>, Detection) {
    let mut stage = Stage::new(DetectOptions::default());
    let rules = [Rule::Tunnel, Rule::Timeout, Rule::Spoofing];
    let levels = [Severity::Info, Severity::Warning, Severity::Critical];
    for found in script {
        stage.fail(7, "192.0.2.53", "zone1.test");
        let one = |(number, level): &(usize, u8)| {
            finding(rules[number % 3], zone(*number), levels[usize::from(*level)])
        };
        stage.step(found.iter().map(one).collect());
    }
    (stage.alerts, stage.detection)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_episode_starts_and_ends_once(script in scripts()) {
        let (alerts, detection) = play(&script);
        let mut open: BTreeMap<(Rule, Entity), (Timestamp, Severity)> = BTreeMap::new();
        let mut begun = BTreeSet::new();
        for alert in &alerts {
            let key = (alert.rule, alert.entity.clone());
            match (alert.state, open.get(&key)) {
                (AlertState::Firing, None) => {
                    prop_assert!(alert.previous.is_none());
                    prop_assert!(begun.insert((key.clone(), alert.started)), "begun twice");
                }
                (AlertState::Firing, Some((started, level))) => {
                    prop_assert_eq!(alert.started, *started);
                    prop_assert_eq!(alert.previous, Some(*level).filter(|was| *was != alert.level));
                }
                (AlertState::Resolved, Some((started, level))) => {
                    prop_assert_eq!((alert.started, alert.level), (*started, *level));
                    prop_assert!(alert.ended.is_some_and(|end| end >= *started && end < alert.ts));
                }
                (AlertState::Resolved, None) => prop_assert!(false, "over before it began"),
            }
            match alert.state {
                AlertState::Firing => open.insert(key, (alert.started, alert.level)),
                AlertState::Resolved => open.remove(&key),
            };
        }
        let active: u64 = detection.counters.active().map(|(.., count)| count).sum();
        prop_assert_eq!(active, open.len() as u64);
        let given: u64 = detection.counters.reported().map(|(.., count)| count).sum();
        prop_assert_eq!(given, alerts.len() as u64);
        // Only conditions that were found are reported.
        for alert in alerts.iter().filter(|alert| alert.rule != Rule::ResolverDown) {
            let found = script.iter().flatten().any(|(number, _)| zone(*number) == alert.entity);
            prop_assert!(found, "{:?}", alert.entity);
        }
        prop_assert_eq!(play(&script).0, alerts, "not reproducible");
    }
}
