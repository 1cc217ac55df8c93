use super::*;
use crate::detect::tests::helpers::{findings, query};
use crate::heap;

fn duplicate(spoofing: &mut Spoofing, seconds: f64, conflict: bool, retries: u32) {
    query(seconds, "www.example.com", |query| {
        (query.status, query.conflict, query.retries) = (Status::Duplicate, conflict, retries);
        spoofing.observe(query);
    });
}

#[test]
fn finds_contradicting_response() {
    let mut spoofing = Spoofing::default();
    duplicate(&mut spoofing, 0.0, true, 0);
    let found = findings(&mut spoofing, 10.0);
    assert_eq!(found[0].level, Severity::Warning);
    assert_eq!(found[0].entity.resolver.as_deref(), Some("192.0.2.53"));
    assert!(
        found[0].summary.contains("the soonest 12.0 ms after the query"),
        "{}",
        found[0].summary
    );
    duplicate(&mut spoofing, 20.0, true, 0);
    duplicate(&mut spoofing, 30.0, true, 0);
    assert_eq!(findings(&mut spoofing, 40.0)[0].level, Severity::Critical);
    assert_eq!(findings(&mut spoofing, 1000.0), []);
}

#[test]
fn ignores_duplicates_and_retries() {
    let mut spoofing = Spoofing::default();
    for number in 0..1000 {
        duplicate(&mut spoofing, f64::from(number), false, 0);
    }
    for number in 0..5 {
        duplicate(&mut spoofing, f64::from(number), true, 1);
    }
    assert_eq!(findings(&mut spoofing, 10.0), []);
    for number in 0..10 {
        duplicate(&mut spoofing, f64::from(number), true, 1);
    }
    assert_eq!(findings(&mut spoofing, 10.0)[0].level, Severity::Warning);
}

#[test]
fn memory_is_bounded() {
    let (_spoofing, bytes) = heap::measure(|| {
        let mut spoofing = Spoofing::default();
        for number in 0..5_000_u32 {
            let name = format!("{number}.resolver");
            query(f64::from(number) / 100.0, &"a.".repeat(120), |query| {
                (query.status, query.conflict) = (Status::Duplicate, true);
                spoofing.observe(&TransactionView { resolver: &name, ..*query });
            });
        }
        spoofing
    });
    assert!(bytes <= 3 << 20, "{bytes}");
}
