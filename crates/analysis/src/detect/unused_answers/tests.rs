use super::*;
use crate::detect::tests::uses::{Program, findings};
use crate::heap;
use std::net::SocketAddr;

/// Since when connections are captured.
const SINCE_NS: u64 = 1_000;
const APP: Program = Program { comm: "app", pid: 2, start_ns: 2_000 };
const NAME: &str = "backup.example";
const ADDRESS: &str = "198.51.100.9";

/// A detector that knows a process as one that connects to names.
fn detector(program: Program) -> UnusedAnswers {
    let mut detector = UnusedAnswers::new(&DetectOptions::default(), SINCE_NS);
    detector.used(&program.uses(0, "main.example", "198.51.100.1:443", 0));
    detector
}

/// Queries the name every ten seconds, by A and AAAA, and returns what is found after 110 times.
fn repeat(detector: &mut UnusedAnswers, program: Program, address: &str) -> Vec<Finding> {
    for number in 0..110 {
        program.looks_up(number * 10, NAME, address, |view| detector.observe(view));
        program.looks_up(number * 10, NAME, "2001:db8::9", |view| detector.observe(view));
    }
    findings(detector, 1_100)
}

#[test]
fn a_name_that_is_never_used_is_an_info() {
    let mut detector = detector(APP);
    let [found] = repeat(&mut detector, APP, ADDRESS).try_into().unwrap();
    assert_eq!((found.rule, found.level), (Rule::UnusedAnswers, Severity::Info));
    assert_eq!(found.entity.to_string(), "qname=backup.example,process=app");
    assert_eq!(
        found.summary,
        "app looks up backup.example again and again and never connects to it: 110 lookups within 60 min"
    );
    detector.used(&APP.uses(1_101, NAME, "198.51.100.9:443", 0));
    assert_eq!(findings(&mut detector, 1_110), [], "it is used in the end");
}

#[test]
fn a_connection_of_any_kind_is_a_use() {
    let by_name = APP.uses(5, NAME, "198.51.100.77:443", 0);
    let ambiguous = Use { name: None, candidates: vec![NAME.into()], ..by_name.clone() };
    let by_address = APP.uses(5, "alias.example", "198.51.100.9:443", 0);
    let raced = APP.connects(5, "[2001:db8::9]:443");
    for one in [by_name, ambiguous, by_address, raced] {
        let mut detector = detector(APP);
        detector.used(&one);
        assert_eq!(repeat(&mut detector, APP, ADDRESS), [], "{one:?}");
    }
}

/// A monitor of name servers speaks plain DNS to what it looks up.
#[test]
fn a_query_to_the_address_is_a_use() {
    let mut detector = detector(APP);
    APP.looks_up(1, "probe.example", "192.0.2.1", |view| {
        let server = SocketAddr::new(ADDRESS.parse().unwrap(), 53);
        detector.observe(&TransactionView { server, ..*view });
    });
    assert_eq!(repeat(&mut detector, APP, ADDRESS), []);
}

#[test]
fn lookups_before_the_first_connection_count() {
    let mut detector = UnusedAnswers::new(&DetectOptions::default(), SINCE_NS);
    for number in 0..110 {
        if number == 100 {
            detector.used(&APP.uses(1_000, "main.example", "198.51.100.1:443", 0));
        }
        APP.looks_up(number * 10, NAME, ADDRESS, |view| detector.observe(view));
    }
    let [found] = findings(&mut detector, 1_100).try_into().unwrap();
    assert!(found.summary.contains(": 110 lookups "), "{}", found.summary);
}

#[test]
fn programs_that_only_query_are_none() {
    let mut nscd = UnusedAnswers::new(&DetectOptions::default(), SINCE_NS);
    assert_eq!(repeat(&mut nscd, APP, ADDRESS), [], "it connects to nothing");
    let older = Program { start_ns: 10, ..APP };
    let mut pool = detector(older);
    assert_eq!(repeat(&mut pool, older, ADDRESS), [], "it may have connected before");
    let mut resolver = detector(APP);
    APP.looks_up(0, NAME, ADDRESS, |view| {
        resolver.observe(&TransactionView { vantage: Vantage::Server, ..*view });
    });
    assert_eq!(repeat(&mut resolver, APP, ADDRESS), [], "it answers queries itself");
}

#[test]
fn a_few_lookups_and_lists_of_blocked_addresses_are_none() {
    let mut few = detector(APP);
    for number in 0..99 {
        APP.looks_up(number * 10, NAME, ADDRESS, |view| few.observe(view));
    }
    assert_eq!(findings(&mut few, 1_000), []);
    let mut burst = detector(APP);
    (0..500).for_each(|_| APP.looks_up(0, NAME, ADDRESS, |view| burst.observe(view)));
    assert_eq!(findings(&mut burst, 590), [], "a connection may be under way");
    assert_eq!(findings(&mut burst, 600).len(), 1);
    let mut list = detector(APP);
    (0..500).for_each(|n| APP.looks_up(n, NAME, "127.0.0.4", |view| list.observe(view)));
    assert_eq!(findings(&mut list, 1_000), []);
}

#[test]
fn memory_is_bounded() {
    let (detector, bytes) = heap::measure(|| {
        let mut detector = detector(APP);
        for number in 0..50_000_u32 {
            let program = Program { pid: number, ..APP };
            let name = format!("{number}.{}.example", "a".repeat(63));
            program.looks_up(1, &name, ADDRESS, |view| detector.observe(view));
            detector.used(&program.uses(1, &name, "198.51.100.9:443", 0));
        }
        detector
    });
    assert!(detector.names.iter().count() <= MAX_NAMES);
    assert!(bytes < 4 << 20, "{bytes}");
}
