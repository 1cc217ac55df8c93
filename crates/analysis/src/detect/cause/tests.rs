use super::*;
use crate::view::TransactionView;
use crate::view::testing::example;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::pair::{Status, Vantage};

fn entity(resolver: Option<&str>, zone: Option<&str>) -> Entity {
    Entity {
        vantage: Some(Vantage::Client),
        resolver: resolver.map(Into::into),
        zone: zone.map(Into::into),
        ..Entity::default()
    }
}

fn ask(samples: &mut Samples, count: usize, resolver: &str, zone: &str, status: Status) {
    let rcode = (status == Status::Answered).then_some(0);
    for _ in 0..count {
        let query = example(Timestamp::default());
        samples.observe(&TransactionView { resolver, zone: Some(zone), status, rcode, ..query });
    }
}

fn live(rule: Rule, entity: &Entity) -> Candidate<'_> {
    Candidate { rule, entity, limit: None, reported: false, over: None }
}

#[test]
fn failing_resolver_explains_zones() {
    let mut samples = Samples::default();
    for zone in ["a.test", "b.test", "c.test"] {
        ask(&mut samples, 10, "one", zone, Status::Timeout);
        ask(&mut samples, 10, "two", zone, Status::Answered);
    }
    let (resolver, zone) = (entity(Some("one"), None), entity(None, Some("a.test")));
    let suspects = [live(Rule::Timeout, &zone), live(Rule::Timeout, &resolver)];
    assert_eq!(explain(&suspects, &samples), [Some(1), None]);
}

#[test]
fn failing_zone_explains_resolver() {
    let mut samples = Samples::default();
    ask(&mut samples, 20, "one", "broken.test", Status::Timeout);
    ask(&mut samples, 60, "one", "fine.test", Status::Answered);
    let (resolver, zone) = (entity(Some("one"), None), entity(None, Some("broken.test")));
    let suspects = [live(Rule::Timeout, &resolver), live(Rule::Timeout, &zone)];
    assert_eq!(explain(&suspects, &samples), [Some(1), None]);
    // A reported alert stays the cause if nothing contradicts it.
    let node = entity(None, None);
    let reported = Candidate { reported: true, ..live(Rule::SuccessRatio, &zone) };
    assert_eq!(explain(&[live(Rule::Timeout, &node), reported], &samples), [Some(1), None]);
}

#[test]
fn rate_is_explained_by_its_source() {
    let mut samples = Samples::default();
    let zones: Vec<Entity> =
        (0..5).map(|number| entity(None, Some(&format!("z{number}.test")))).collect();
    for zone in &zones {
        ask(&mut samples, 10, "one", zone.zone.as_deref().unwrap_or(""), Status::Answered);
    }
    let resolver = entity(Some("one"), None);
    let mut suspects = vec![live(Rule::QueryRate, &resolver)];
    suspects.extend(zones.iter().map(|zone| live(Rule::QueryRate, zone)));
    assert_eq!(explain(&suspects, &samples), [vec![None], vec![Some(0); 5]].concat());
    let mut samples = Samples::default();
    ask(&mut samples, 95, "one", "z0.test", Status::Answered);
    ask(&mut samples, 5, "one", "z1.test", Status::Answered);
    let suspects = [live(Rule::QueryRate, &resolver), live(Rule::QueryRate, &zones[0])];
    assert_eq!(explain(&suspects, &samples), [Some(1), None]);
}

#[test]
fn resolved_alert_explains_only_old_failures() {
    let (resolver, zone) = (entity(Some("one"), None), entity(None, Some("a.test")));
    let end = Some(Timestamp::from_nanos(1));
    let over = Candidate { reported: true, over: end, ..live(Rule::ResolverDown, &resolver) };
    let suspects = [live(Rule::SuccessRatio, &zone), over];
    assert_eq!(explain(&suspects, &Samples::default()), [Some(1), None]);
    let mut samples = Samples::default();
    ask(&mut samples, 10, "two", "a.test", Status::Timeout);
    assert_eq!(explain(&suspects, &samples), [None, None]);
    let mut samples = Samples::default();
    ask(&mut samples, 10, "one", "a.test", Status::Timeout);
    assert_eq!(explain(&suspects, &samples), [Some(1), None]);
    for _ in 0..10 {
        let (zone, status) = (Some("a.test"), Status::Timeout);
        let later = example(Timestamp::from_nanos(2));
        samples.observe(&TransactionView { resolver: "one", zone, status, rcode: None, ..later });
    }
    assert_eq!(explain(&suspects, &samples), [None, None]);
}

#[test]
fn distinguishes_kinds_of_failure() {
    let mut samples = Samples::default();
    ask(&mut samples, 20, "one", "a.test", Status::Timeout);
    for _ in 0..20 {
        let query = example(Timestamp::default());
        let zone = Some("b.test");
        samples.observe(&TransactionView { resolver: "one", zone, rcode: Some(2), ..query });
    }
    let (resolver, zone) = (entity(Some("one"), None), entity(None, Some("b.test")));
    let suspects = [live(Rule::Timeout, &resolver), live(Rule::Servfail, &zone)];
    assert_eq!(explain(&suspects, &samples), [None, None]);
}

#[test]
fn slow_resolver_explains_its_clients() {
    let mut samples = Samples::default();
    for zone in ["a.test", "b.test", "c.test"] {
        for (resolver, latency) in [("one", 400.0), ("two", 10.0), ("three", 10.0)] {
            let latency_ms = Some(latency);
            for _ in 0..10 {
                let query = example(Timestamp::default());
                let zone = Some(zone);
                samples.observe(&TransactionView { resolver, zone, latency_ms, ..query });
            }
        }
    }
    let (resolver, node) = (entity(Some("one"), None), entity(None, None));
    let zone = entity(None, Some("a.test"));
    let slow = |entity| Candidate { limit: Some(40.0), ..live(Rule::Latency, entity) };
    let suspects = [slow(&node), slow(&zone), slow(&resolver)];
    assert_eq!(explain(&suspects, &samples), [Some(2), Some(2), None]);
}
