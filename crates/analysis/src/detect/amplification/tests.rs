use super::*;
use crate::detect::tests::helpers::{findings, query};
use crate::heap;
use dnscribe_dns::rtype::ANY;
use dnscribe_transaction::packet::Transport;
use std::net::SocketAddr;

/// `count` large responses to small queries from a network, within half a minute.
fn feed(detector: &mut Amplification, count: u32, vary: impl Fn(u32, &mut TransactionView<'_>)) {
    for number in 0..count {
        let now = f64::from(number) * 30.0 / f64::from(count);
        query(now, "example.com", |query| {
            query.vantage = Vantage::Server;
            (query.qtype, query.response_bytes) = (Some(ANY), Some(3000));
            vary(number, query);
            detector.observe(query);
        });
    }
}

#[test]
fn finds_large_answers_to_one_network() {
    let mut detector = Amplification::default();
    feed(&mut detector, 150, |_, _| ());
    assert_eq!(findings(&mut detector, 30.0), []);
    feed(&mut detector, 100, |_, _| ());
    let found = findings(&mut detector, 30.0);
    assert_eq!((found.len(), found[0].level), (1, Severity::Warning));
    assert_eq!(found[0].entity.client.as_deref(), Some("192.0.2.1"));
    feed(&mut detector, 2000, |number, query| {
        let [.., low] = number.to_be_bytes();
        query.client = SocketAddr::from((Ipv4Addr::new(192, 0, 2, low), 53));
    });
    let found = findings(&mut detector, 30.0);
    assert_eq!((found.len(), found[0].level), (1, Severity::Critical));
    assert_eq!(found[0].entity.client.as_deref(), Some("192.0.2.0/24"));
    assert_eq!(findings(&mut detector, 300.0), []);
}

#[test]
fn ignores_distinct_questions_small_answers_and_tcp() {
    for kind in 0..3 {
        let mut detector = Amplification::default();
        for number in 0..3000_u32 {
            let name =
                if kind == 0 { format!("{number}.example.com") } else { "example.com".into() };
            query(f64::from(number) / 100.0, &name, |query| {
                query.response_bytes = Some(if kind == 1 { 200 } else { 3000 });
                query.transport = if kind == 2 { Transport::Tcp } else { Transport::Udp };
                detector.observe(query);
            });
        }
        assert_eq!(findings(&mut detector, 30.0), [], "{kind}");
    }
}

#[test]
fn finds_unsolicited_responses_at_victim() {
    let mut detector = Amplification::default();
    let orphan = |_, query: &mut TransactionView<'_>| {
        (query.vantage, query.status) = (Vantage::Client, Status::Orphan);
        query.query_bytes = None;
    };
    feed(&mut detector, 600, orphan);
    let found = findings(&mut detector, 30.0);
    assert_eq!((found.len(), found[0].level), (1, Severity::Critical));
    assert!(found[0].summary.starts_with("192.0.2.1 gets large responses"), "{}", found[0].summary);
}

#[test]
fn memory_is_bounded() {
    let (_detector, bytes) = heap::measure(|| {
        let mut detector = Amplification::default();
        for number in 0..10_000_u32 {
            query(f64::from(number) / 1000.0, &"a.".repeat(120), |query| {
                let [_, b, c, d] = number.to_be_bytes();
                query.client = SocketAddr::from((Ipv4Addr::new(b, c, d, 1), 5000));
                query.response_bytes = Some(5000);
                detector.observe(query);
            });
        }
        detector
    });
    assert!(bytes <= 8 << 20, "{bytes}");
}
