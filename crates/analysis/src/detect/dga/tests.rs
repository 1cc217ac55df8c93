use super::*;
use crate::detect::Severity;
use crate::detect::tests::helpers::{BASE32, HEX, LETTERS, at, findings, query, random};
use crate::heap;
use crate::view::ProcessView;
use crate::view::testing::example;
use std::net::{Ipv4Addr, SocketAddr};

/// A query for a name that does not exist.
fn missing(dga: &mut Dga, seconds: f64, name: &str) {
    query(seconds, name, |query| {
        query.rcode = Some(NXDOMAIN);
        dga.observe(query);
    });
}

#[test]
fn finds_random_domains() {
    for alphabet in [LETTERS, HEX] {
        let mut dga = Dga::default();
        for number in 0..30_u32 {
            let name = format!("{}.com", random(number.into(), alphabet, 12));
            missing(&mut dga, f64::from(number) * 2.0, &name);
        }
        let found = findings(&mut dga, 60.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].entity.process.as_deref(), Some("curl"));
        assert_eq!(found[0].level, Severity::Warning);
        assert_eq!(findings(&mut dga, 60.0 + 3.0 * 7200.0), []);
    }
}

#[test]
fn finds_many_word_domains() {
    let words = [
        "river", "stone", "cloud", "market", "green", "silver", "winter", "paper", "travel",
        "music",
    ];
    let mut dga = Dga::default();
    for number in 0..90 {
        let name = format!("{}{}.net", words[number % 10], words[number / 9 % 10]);
        missing(&mut dga, 1.0, &name);
    }
    assert_eq!(findings(&mut dga, 60.0)[0].level, Severity::Warning);
}

#[test]
fn ignores_search_lists_probes_and_blocked_names() {
    let mut dga = Dga::default();
    let names =
        ["news", "shop", "ads", "metrics", "track", "banner", "pixel", "count", "stats", "click"];
    for number in 0..3000_u32 {
        let now = f64::from(number);
        let name = names[number as usize % 10];
        missing(&mut dga, now, &format!("api.{name}.com.shop.svc.cluster.local"));
        missing(&mut dga, now, &format!("{name}.doubleserver{name}.com"));
        if number % 700 < 3 {
            missing(&mut dga, now, &random(number.into(), LETTERS, 11));
            missing(
                &mut dga,
                now,
                &format!("{}.corp.example.com", random(number.into(), LETTERS, 11)),
            );
        }
        query(now, &format!("www.{name}world.com"), |query| dga.observe(query));
    }
    assert_eq!(findings(&mut dga, 3000.0), []);
}

#[test]
fn finds_random_subdomain_attack() {
    let mut dga = Dga::default();
    for number in 0..3000_u32 {
        let name = format!("{}.shop.example.com", random(number.into(), LETTERS, 10));
        query(f64::from(number) / 100.0, &name, |query| {
            let [.., low] = number.to_be_bytes();
            query.client = SocketAddr::from((Ipv4Addr::new(192, 0, 2, low), 4000));
            query.rcode = Some(NXDOMAIN);
            dga.observe(query);
        });
    }
    let found = findings(&mut dga, 30.0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].entity.zone.as_deref(), Some("example.com"));
    assert_eq!((found[0].level, found[0].entity.process.as_deref()), (Severity::Critical, None));
    assert!(found[0].summary.starts_with("random-subdomain attack on example.com"));
}

#[test]
fn ignores_zone_whose_servers_are_down() {
    let mut dga = Dga::default();
    for number in 0..3000_u32 {
        let name = format!("host-{}.example.com", number % 1000);
        query(f64::from(number) / 100.0, &name, |query| {
            (query.status, query.rcode) = (Status::Timeout, None);
            dga.observe(query);
        });
    }
    assert_eq!(findings(&mut dga, 30.0), []);
}

#[test]
fn memory_is_bounded() {
    let (_dga, bytes) = heap::measure(|| {
        let mut dga = Dga::default();
        for number in 0..40_000_u64 {
            let name =
                format!("{}.{}.com", random(number, BASE32, 40).repeat(4), random(number, HEX, 12));
            let comm = random(number % 50_000, BASE32, 15);
            let mut observation = example(at(f64::from(u32::try_from(number).unwrap()) / 1e4));
            observation.process = Some(ProcessView { pid: 1, comm: &comm });
            (observation.qname, observation.rcode) = (Some(&*name), Some(NXDOMAIN));
            observation.zone = Some(&name[161..]);
            dga.observe(&observation);
        }
        dga
    });
    assert!(bytes <= 16 << 20, "{bytes}");
}
