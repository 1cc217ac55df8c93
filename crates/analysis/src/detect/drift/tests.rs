use super::*;
use crate::detect::tests::helpers::{findings, query};
use crate::detect::{Finding, Severity};
use crate::heap;
use dnscribe_dns::{Answer, Answers};
use std::net::{Ipv4Addr, SocketAddr};

/// A resolver's answer for a name: an address, or NXDOMAIN.
fn answer(drift: &mut Drift, seconds: f64, resolver: u8, name: &str, address: Option<&str>) {
    let data = address.unwrap_or_default();
    let answer = Answer { name, rtype: A, class: 1, ttl_seconds: 60, data };
    let answers = Answers::from_iter([answer]);
    let server = Ipv4Addr::new(192, 0, 2, resolver);
    let shown = server.to_string();
    query(seconds, name, |query| {
        let mut observation = TransactionView { resolver: &shown, ..*query };
        observation.server = SocketAddr::from((server, 53));
        if address.is_some() {
            drift.observe(&TransactionView { answers: &answers, ..observation });
        } else {
            observation.rcode = Some(3);
            drift.observe(&observation);
        }
    });
}

fn findings_at(drift: &mut Drift, seconds: f64) -> Vec<Finding> {
    findings(drift, seconds)
}

fn site(number: u32) -> String {
    format!("www.site{number}.com")
}

#[test]
fn finds_resolver_that_redirects_missing_names() {
    let mut drift = Drift::default();
    for number in 0..40 {
        let name = site(number);
        answer(&mut drift, 1.0, 1, &name, None);
        answer(&mut drift, 2.0, 2, &name, Some("203.0.113.80"));
        answer(&mut drift, 3.0, 1, &name, None);
    }
    let found = findings_at(&mut drift, 10.0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].entity.resolver.as_deref(), Some("192.0.2.2"));
    assert_eq!(found[0].level, Severity::Critical);
    assert_eq!(findings_at(&mut drift, 2000.0), []);
}

#[test]
fn finds_minority_of_three() {
    let mut drift = Drift::default();
    for number in 0..30 {
        let name = site(number);
        let lie = if number % 3 == 0 { "0.0.0.0" } else { "151.1.2.3" };
        for _ in 0..2 {
            answer(&mut drift, 1.0, 1, &name, Some("151.1.2.3"));
            answer(&mut drift, 2.0, 2, &name, Some("151.1.2.9"));
            answer(&mut drift, 3.0, 3, &name, Some(lie));
        }
    }
    let found = findings_at(&mut drift, 10.0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].entity.resolver.as_deref(), found[0].level),
        (Some("192.0.2.3"), Severity::Warning)
    );
}

#[test]
fn ignores_large_sites_and_ipv6_translation() {
    let mut drift = Drift::default();
    for number in 0..60_u32 {
        let name = site(number);
        let [.., low] = number.to_be_bytes();
        for _ in 0..4 {
            answer(&mut drift, 1.0, 1, &name, Some(&format!("151.1.{low}.1")));
            // Every third site returns another address to each resolver.
            let third = if number % 3 == 0 { 23 } else { 151 };
            answer(&mut drift, 2.0, 2, &name, Some(&format!("{third}.1.{low}.7")));
        }
    }
    assert_eq!(findings_at(&mut drift, 10.0), []);
}

#[test]
fn reports_single_name_as_info() {
    let mut drift = Drift::default();
    for number in 0..6 {
        let now = f64::from(number) * 5.0;
        answer(&mut drift, now, 1, "www.lab.test", Some("192.0.2.10"));
        answer(&mut drift, now + 1.0, 2, "www.lab.test", Some("192.0.2.66"));
    }
    let found = findings_at(&mut drift, 40.0);
    assert_eq!((found.len(), found[0].level), (1, Severity::Info));
}

#[test]
fn reports_split_horizon_as_info() {
    let mut drift = Drift::default();
    for number in 0..40 {
        let name = format!("host{number}.corp.example.com");
        for _ in 0..2 {
            answer(&mut drift, 1.0, 1, &name, Some("10.0.0.1"));
            answer(&mut drift, 2.0, 2, &name, None);
        }
    }
    assert_eq!(findings_at(&mut drift, 10.0)[0].level, Severity::Info);
}

#[test]
fn memory_is_bounded() {
    let (_drift, bytes) = heap::measure(|| {
        let mut drift = Drift::default();
        for number in 0..60_000_u32 {
            let name = format!("{}{number}.example.com", "long-".repeat(40));
            let resolver = u8::try_from(number % 5).unwrap();
            answer(&mut drift, f64::from(number) / 1e4, resolver, &name, Some("203.0.113.1"));
        }
        drift
    });
    assert!(bytes <= 6 << 20, "{bytes}");
}
