use super::*;
use crate::detect::tests::helpers::{findings, query};
use crate::heap;
use dnscribe_transaction::decode::MessageId;
use std::net::{Ipv4Addr, SocketAddr};

fn wrong(detector: &mut CachePoisoning, count: u32, reason: OrphanReason, resembles: bool) {
    for number in 0..count {
        query(f64::from(number) / 100.0, "a1.victim.example", |query| {
            (query.status, query.orphan_reason) = (Status::Orphan, Some(reason));
            query.resembles = resembles.then(MessageId::default);
            detector.observe(query);
        });
    }
}

#[test]
fn finds_many_wrong_ids() {
    let mut detector = CachePoisoning::default();
    wrong(&mut detector, 9, OrphanReason::WrongId, true);
    assert_eq!(findings(&mut detector, 10.0), []);
    wrong(&mut detector, 20, OrphanReason::WrongId, true);
    assert_eq!(findings(&mut detector, 10.0)[0].level, Severity::Warning);
    wrong(&mut detector, 40, OrphanReason::WrongPort, true);
    let found = findings(&mut detector, 10.0);
    assert_eq!((found.len(), found[0].level), (1, Severity::Critical));
    assert_eq!(found[0].entity.client.as_deref(), Some("192.0.2.1"));
    assert!(found[0].summary.starts_with("69 responses to 192.0.2.1"), "{}", found[0].summary);
    assert_eq!(findings(&mut detector, 200.0), []);
}

#[test]
fn ignores_unrelated_responses() {
    let mut detector = CachePoisoning::default();
    wrong(&mut detector, 1000, OrphanReason::NoQuery, false);
    assert_eq!(findings(&mut detector, 10.0), []);
}

#[test]
fn memory_is_bounded() {
    let (_detector, bytes) = heap::measure(|| {
        let mut detector = CachePoisoning::default();
        for number in 0..10_000_u32 {
            query(f64::from(number) / 1000.0, &"a.".repeat(120), |query| {
                let [_, b, c, d] = number.to_be_bytes();
                query.client = SocketAddr::from((Ipv4Addr::new(10, b, c, d), 5000));
                query.resembles = Some(MessageId::default());
                (query.status, query.orphan_reason) = (Status::Orphan, Some(OrphanReason::WrongId));
                detector.observe(query);
            });
        }
        detector
    });
    assert!(bytes <= 6 << 20, "{bytes}");
}
