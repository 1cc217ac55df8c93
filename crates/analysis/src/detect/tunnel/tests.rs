use super::*;
use crate::detect::tests::helpers::{BASE32, HEX, at, findings, query, random};
use crate::detect::{Rule, Severity};
use crate::heap;
use crate::view::testing::example;
use dnscribe_dns::rcode::NXDOMAIN;
use dnscribe_dns::rtype::{NULL, TXT};
use dnscribe_dns::{Answer, Answers};
use std::net::{Ipv4Addr, SocketAddr};

fn address(data: &str) -> Answers {
    Answers::from_iter([Answer { name: "x", rtype: 1, class: 1, ttl_seconds: 60, data }])
}

/// Feeds `count` names, one per interval.
fn feed(
    tunnel: &mut Tunnel,
    names: u64,
    every: f64,
    name: impl Fn(u64) -> String,
    vary: impl Fn(&mut TransactionView<'_>),
) -> f64 {
    let mut now = 0.0;
    for number in 0..names {
        query(now, &name(number), |observation| {
            vary(observation);
            tunnel.observe(observation);
        });
        now += every;
    }
    now
}

#[test]
fn finds_null_queries_within_seconds() {
    let mut tunnel = Tunnel::default();
    let name = |number| format!("p{}.t.example.com", random(number, BASE32, 7));
    let end = feed(&mut tunnel, 20, 0.1, name, |query| query.qtype = Some(NULL));
    let found = findings(&mut tunnel, end);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule, found[0].level), (Rule::Tunnel, Severity::Critical));
    assert_eq!(found[0].entity.zone.as_deref(), Some("example.com"));
    assert_eq!(found[0].entity.process.as_deref(), Some("curl"));
    assert_eq!(found[0].evidence.samples.len(), 10);
    assert!(found[0].summary.contains("curl carries data in names of example.com: 20 names"));
}

#[test]
fn finds_hexadecimal_by_txt_without_public_suffix() {
    for zone in ["t.lan", "tunnel.test", "t"] {
        let mut tunnel = Tunnel::default();
        let name = |number| format!("{}.{zone}", random(number, HEX, 60));
        let end = feed(&mut tunnel, 40, 0.5, name, |query| query.qtype = Some(TXT));
        assert_eq!(findings(&mut tunnel, end).len(), 1, "{zone}");
    }
}

#[test]
fn finds_volume_in_address_queries() {
    let answers = address("203.0.113.9");
    let mut tunnel = Tunnel::default();
    let name = |number| format!("{}.cdn.example.com", random(number, BASE32, 50));
    let mut now = 0.0;
    for number in 0..50 {
        query(now, &name(number), |query| {
            tunnel.observe(&TransactionView { answers: &answers, ..*query });
        });
        now += 0.5;
    }
    assert_eq!(findings(&mut tunnel, now)[0].level, Severity::Warning);
    // The alert ends.
    assert_eq!(findings(&mut tunnel, now + 900.0), []);
}

#[test]
fn finds_beacon_with_little_data() {
    let answers = address("0.0.0.0");
    let mut tunnel = Tunnel::default();
    let mut found_at = None;
    for number in 0..60_u32 {
        let name = format!("{}.evil.net", random(number.into(), HEX, 18));
        let now = f64::from(number) * 30.0 + if number % 2 == 0 { 3.0 } else { 0.0 };
        query(now, &name, |query| tunnel.observe(&TransactionView { answers: &answers, ..*query }));
        if found_at.is_none() && !findings(&mut tunnel, now).is_empty() {
            found_at = Some(now);
        }
    }
    assert!((480.0..700.0).contains(&found_at.unwrap()));
    // The same names at random intervals are no beacon.
    let mut tunnel = Tunnel::default();
    let mut now = 0.0;
    for number in 0..60_u32 {
        let name = format!("{}.evil.net", random(number.into(), HEX, 18));
        query(now, &name, |query| tunnel.observe(&TransactionView { answers: &answers, ..*query }));
        now += -f64::from(number * 37 % 60 + 1).mul_add(1.0 / 61.0, -1.0).abs().ln() * 30.0;
    }
    assert_eq!(findings(&mut tunnel, now), []);
}

#[test]
fn ignores_hash_lookups() {
    let listed = address("127.0.0.2");
    let mut tunnel = Tunnel::default();
    for number in 0..6000_u32 {
        let name = format!("{}.hash.list.net", random(number.into(), HEX, 40));
        query(f64::from(number), &name, |query| {
            if number % 20 == 0 {
                tunnel.observe(&TransactionView { answers: &listed, ..*query });
            } else {
                query.rcode = Some(NXDOMAIN);
                tunnel.observe(query);
            }
        });
    }
    assert_eq!(findings(&mut tunnel, 6000.0), []);
    // A client that gets only negative answers to so many names sends data.
    let mut tunnel = Tunnel::default();
    let name = |number| {
        format!("{}.{}.evil.net", random(number, BASE32, 60), random(number + 9, BASE32, 60))
    };
    let end = feed(&mut tunnel, 200, 0.5, name, |query| query.rcode = Some(NXDOMAIN));
    assert_eq!(findings(&mut tunnel, end)[0].level, Severity::Warning);
}

#[test]
fn ignores_names_queried_by_many() {
    let mut tunnel = Tunnel::default();
    let hosts = |number: u64| match number % 6 {
        0 => format!("{0}.{0}.168.192.in-addr.arpa", number % 256),
        1 => format!("{}.1.2.3.zen.blocklist.org", number % 256),
        2 => format!("rr{}---sn-4g5e6n{}.googlevideo.com", number % 7, random(number % 40, HEX, 2)),
        3 => format!("api.service-{}.svc.cluster.local", number % 50),
        4 => format!("d{}.cloudfront.net", random(number % 90, BASE32, 13)),
        _ => format!("{}.w.29.sophosxl.net", random(number, HEX, 40)),
    };
    let end = feed(&mut tunnel, 10_000, 0.3, hosts, |_| ());
    assert_eq!(findings(&mut tunnel, end), []);
}

#[test]
fn ignores_echoes_and_multicast() {
    let mut tunnel = Tunnel::default();
    let name = |number| format!("{}.t.example.com", random(number, BASE32, 60));
    let parent = dnscribe_transaction::correlate::Parent {
        id: dnscribe_transaction::decode::MessageId::default(),
        by: dnscribe_transaction::correlate::ParentMatch::Exchange,
    };
    feed(&mut tunnel, 100, 0.1, name, |query| {
        (query.qtype, query.parent) = (Some(NULL), Some(parent));
    });
    let group = SocketAddr::from((Ipv4Addr::new(224, 0, 0, 251), 5353));
    let end = feed(&mut tunnel, 100, 0.1, name, |query| {
        (query.qtype, query.server) = (Some(NULL), group);
    });
    assert_eq!(findings(&mut tunnel, end), []);
}

#[test]
fn memory_is_bounded() {
    let (tunnel, bytes) = heap::measure(|| {
        let mut tunnel = Tunnel::default();
        let long = "\\195".repeat(60);
        for number in 0..40_000_u64 {
            let zone = random(number, BASE32, 12);
            let name = format!("{}.{long}.{long}.{long}.{zone}.com", random(number, HEX, 12));
            let mut observation = example(at(f64::from(u32::try_from(number).unwrap()) / 1e4));
            observation.qname = Some(&name);
            let place = name.len() - zone.len() - 4;
            observation.zone = Some(&name[place..]);
            // Each name recurs often enough to fill all spans.
            for again in 0..if number < 4000 { 12 } else { 1 } {
                let name = format!("{again}{name}");
                tunnel.observe(&TransactionView { qname: Some(&name), ..observation });
            }
        }
        tunnel
    });
    assert!(tunnel.flows.iter().count() > MAX_FLOWS * 9 / 10);
    assert!(bytes <= 16 << 20, "{bytes}");
}

#[test]
fn finds_tunnel_during_flood() {
    let mut tunnel = Tunnel::default();
    for number in 0..40_000_u64 {
        let now = f64::from(u32::try_from(number).unwrap()) / 1000.0;
        let flood = format!("{}.{}.com", random(number, BASE32, 16), random(number, HEX, 12));
        query(now, &flood, |query| tunnel.observe(query));
        if number % 500 == 0 {
            let name = format!("{}.t.example.com", random(number, BASE32, 60));
            query(now, &name, |query| {
                query.qtype = Some(TXT);
                tunnel.observe(query);
            });
        }
    }
    let found = findings(&mut tunnel, 40.0);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].entity.zone.as_deref(), Some("example.com"));
}
