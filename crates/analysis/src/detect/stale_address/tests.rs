use super::*;
use crate::detect::tests::uses::{Program, findings};
use dnscribe_transaction::correlate::{Parent, ParentMatch};
use dnscribe_transaction::decode::MessageId;

const NAME: &str = "www.example.com";
const OLD: &str = "198.51.100.9";
const JAVA: Program = Program { comm: "java", pid: 812, start_ns: 0 };

/// A connection to [`OLD`], `age` seconds after its answer.
fn stale(seconds: u64, age: u64, outcome: UseOutcome) -> Use {
    Use { outcome, ..JAVA.uses(seconds, NAME, &format!("{OLD}:5432"), age) }
}

fn answer(detector: &mut StaleAddress, seconds: u64, address: &str) {
    JAVA.looks_up(seconds, NAME, address, |view| detector.observe(view));
}

fn detector(outcome: UseOutcome) -> StaleAddress {
    let mut detector = StaleAddress::default();
    for number in 0..3 {
        detector.used(&stale(number * 60, 3_630 + number * 60, outcome));
    }
    detector
}

#[test]
fn an_address_that_the_name_still_has_is_an_info() {
    let mut detector = detector(UseOutcome::Established);
    for number in 0..5 {
        answer(&mut detector, 100 + number, if number == 3 { OLD } else { "198.51.100.10" });
    }
    let [found] = findings(&mut detector, 200).try_into().unwrap();
    assert_eq!(found.level, Severity::Info);
    assert_eq!(found.entity.to_string(), "qname=www.example.com,process=java");
    assert_eq!(
        found.summary,
        "java keeps connecting to 198.51.100.9 for www.example.com, up to 3720 s after the answer expired: 3 connections \
         within 20 min"
    );
    assert_eq!(found.evidence.processes, ["java[812]".into()]);
}

#[test]
fn an_address_that_is_gone_or_fails_is_a_warning() {
    let mut gone = detector(UseOutcome::Established);
    answer(&mut gone, 100, "198.51.100.10");
    assert_eq!(findings(&mut gone, 130)[0].level, Severity::Info, "one answer may be a part");
    answer(&mut gone, 140, "198.51.100.10");
    answer(&mut gone, 150, "198.51.100.11");
    let [found] = findings(&mut gone, 200).try_into().unwrap();
    assert_eq!(found.level, Severity::Warning);
    assert!(found.summary.ends_with("; the name has other addresses now"), "{}", found.summary);

    let [found] = findings(&mut detector(UseOutcome::Refused), 200).try_into().unwrap();
    assert_eq!(found.level, Severity::Warning);
    assert!(found.summary.ends_with(", 3 failed"), "{}", found.summary);
}

/// The name fails over while the process connects on.
#[test]
fn an_address_that_goes_later_is_gone() {
    let mut detector = detector(UseOutcome::Established);
    answer(&mut detector, 100, OLD);
    answer(&mut detector, 110, "198.51.100.10");
    answer(&mut detector, 120, "198.51.100.10");
    assert_eq!(findings(&mut detector, 130)[0].level, Severity::Info);
    answer(&mut detector, 140, "198.51.100.10");
    assert_eq!(findings(&mut detector, 150)[0].level, Severity::Warning);
    answer(&mut detector, 160, OLD);
    assert_eq!(findings(&mut detector, 170)[0].level, Severity::Info, "it is back");
}

#[test]
fn answers_of_the_other_family_and_other_ends_say_nothing() {
    let mut detector = detector(UseOutcome::Established);
    let parent = Parent { id: MessageId::default(), by: ParentMatch::Exchange };
    for number in 0..5 {
        answer(&mut detector, 100 + number, "2001:db8::10");
        JAVA.looks_up(100 + number, NAME, "198.51.100.10", |view| {
            detector.observe(&TransactionView { parent: Some(parent), ..*view });
        });
    }
    assert_eq!(findings(&mut detector, 200)[0].level, Severity::Info);
}

#[test]
fn more_addresses_than_are_named_are_others() {
    let mut detector = StaleAddress::default();
    for number in 1..=12 {
        let one = JAVA.uses(number, NAME, &format!("192.0.2.{number}:443"), 3_630);
        detector.used(&one);
    }
    // The name still has the ninth and those after it.
    for number in 0..3 {
        answer(&mut detector, 100 + number, "192.0.2.11");
    }
    let [found] = findings(&mut detector, 200).try_into().unwrap();
    assert_eq!(found.level, Severity::Info);
    assert!(found.summary.contains(" 192.0.2.7, 192.0.2.8, others for "), "{}", found.summary);
    assert!(found.summary.contains(": 12 connections"), "{}", found.summary);
}

#[test]
fn few_or_fresh_connections_are_none() {
    let mut few = StaleAddress::default();
    few.used(&stale(0, 3_630, UseOutcome::Refused));
    few.used(&stale(1, 3_631, UseOutcome::Refused));
    assert_eq!(findings(&mut few, 10), []);
    let mut fresh = StaleAddress::default();
    for number in 0..9 {
        // Five TTLs after the end of the first are the limit.
        fresh.used(&stale(number, 30 + 5 * 30 - 1, UseOutcome::Refused));
    }
    assert_eq!(findings(&mut fresh, 10), []);
    let mut over = detector(UseOutcome::Refused);
    assert_eq!(findings(&mut over, 3_000), [], "the last was 48 minutes ago");
}

#[test]
fn memory_is_bounded() {
    let mut detector = StaleAddress::default();
    for number in 0..20_000_u32 {
        let one = Use {
            name: Some(format!("{number}.example").into()),
            remote: std::net::SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 443),
            ..stale(number.into(), 9_999, UseOutcome::Established)
        };
        detector.used(&one);
    }
    assert!(detector.users.iter().count() <= MAX_USERS);
    assert!(detector.names.iter().count() <= MAX_NAMES);
}
