use super::*;
use crate::decode::dns::Answer;
use crate::detect::testing::{findings, query};
use crate::detect::{Finding, Level};
use std::net::{Ipv4Addr, SocketAddr};

/// What a resolver says of a name: an address, or that it does not exist.
fn says(drift: &mut Drift, seconds: f64, resolver: u8, name: &str, address: Option<&str>) {
    let data = address.unwrap_or_default();
    let answers =
        [Answer { name: name.into(), rtype: A, class: 1, ttl_seconds: 60, data: data.into() }];
    let server = Ipv4Addr::new(192, 0, 2, resolver);
    let shown = server.to_string();
    query(seconds, name, |query| {
        let mut observation = Observation { resolver: &shown, ..*query };
        observation.server = SocketAddr::from((server, 53));
        match address {
            Some(_) => drift.observe(&Observation { answers: &answers, ..observation }),
            None => {
                observation.rcode = Some(3);
                drift.observe(&observation);
            }
        }
    });
}

fn judged(drift: &mut Drift, seconds: f64) -> Vec<Finding> {
    findings(drift, seconds)
}

fn site(number: u32) -> String {
    format!("www.site{number}.com")
}

#[test]
fn a_resolver_that_redirects_what_does_not_exist_is_found() {
    let mut drift = Drift::default();
    for number in 0..40 {
        let name = site(number);
        says(&mut drift, 1.0, 1, &name, None);
        says(&mut drift, 2.0, 2, &name, Some("203.0.113.80"));
        says(&mut drift, 3.0, 1, &name, None);
    }
    let found = judged(&mut drift, 10.0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].entity.resolver.as_deref(), Some("192.0.2.2"));
    assert_eq!(found[0].level, Level::Critical);
    assert_eq!(judged(&mut drift, 2000.0), []);
}

#[test]
fn of_three_the_one_that_stands_alone_is_told_of() {
    let mut drift = Drift::default();
    for number in 0..30 {
        let name = site(number);
        let lie = if number % 3 == 0 { "0.0.0.0" } else { "151.1.2.3" };
        for _ in 0..2 {
            says(&mut drift, 1.0, 1, &name, Some("151.1.2.3"));
            says(&mut drift, 2.0, 2, &name, Some("151.1.2.9"));
            says(&mut drift, 3.0, 3, &name, Some(lie));
        }
    }
    let found = judged(&mut drift, 10.0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].entity.resolver.as_deref(), found[0].level),
        (Some("192.0.2.3"), Level::Warning)
    );
}

#[test]
fn large_sites_and_ipv6_translation_are_no_drift() {
    let mut drift = Drift::default();
    for number in 0..60_u32 {
        let name = site(number);
        let [.., low] = number.to_be_bytes();
        for _ in 0..4 {
            says(&mut drift, 1.0, 1, &name, Some(&format!("151.1.{low}.1")));
            // Every third of them answers each resolver from elsewhere.
            let third = if number % 3 == 0 { 23 } else { 151 };
            says(&mut drift, 2.0, 2, &name, Some(&format!("{third}.1.{low}.7")));
        }
    }
    assert_eq!(judged(&mut drift, 10.0), []);
}

#[test]
fn a_single_name_that_is_always_answered_differently_is_worth_knowing() {
    let mut drift = Drift::default();
    for number in 0..6 {
        let now = f64::from(number) * 5.0;
        says(&mut drift, now, 1, "www.lab.test", Some("192.0.2.10"));
        says(&mut drift, now + 1.0, 2, "www.lab.test", Some("192.0.2.66"));
    }
    let found = judged(&mut drift, 40.0);
    assert_eq!((found.len(), found[0].level), (1, Level::Info));
}

#[test]
fn a_view_of_ones_own_zone_is_worth_knowing_and_no_more() {
    let mut drift = Drift::default();
    for number in 0..40 {
        let name = format!("host{number}.corp.example.com");
        for _ in 0..2 {
            says(&mut drift, 1.0, 1, &name, Some("10.0.0.1"));
            says(&mut drift, 2.0, 2, &name, None);
        }
    }
    assert_eq!(judged(&mut drift, 10.0)[0].level, Level::Info);
}

#[test]
fn memory_is_bounded() {
    let mut drift = Drift::default();
    for number in 0..60_000_u32 {
        let name = format!("{}{number}.example.com", "long-".repeat(40));
        let resolver = u8::try_from(number % 5).unwrap();
        says(&mut drift, f64::from(number) / 1e4, resolver, &name, Some("203.0.113.1"));
    }
    assert!(drift.bytes() <= DRIFT_MEMORY_BYTES, "{}", drift.bytes());
}
