use super::*;
use crate::detect::DetectOptions;
use crate::losses::Lost;
use crate::view::testing::{example, lost};
use dnscribe_dns::Flags;
use dnscribe_transaction::packet::LossStage;
use std::net::SocketAddr;

const START: u64 = 1_700_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((START + millis) * 1_000_000)
}

fn resolvers() -> ResolverHealth {
    let options = DetectOptions::default();
    ResolverHealth::new(options.down, options.flapping)
}

fn ask(resolvers: &mut ResolverHealth, millis: u64, status: Status) {
    ask_as(resolvers, millis, &TransactionView { status, ..example(at(millis)) });
}

fn ask_as(resolvers: &mut ResolverHealth, _: u64, observation: &TransactionView<'_>) {
    let is_answered = observation.status == Status::Answered;
    let rcode = observation.rcode.filter(|_| is_answered);
    let response_ts = observation.response_ts.filter(|_| is_answered);
    resolvers.observe(&TransactionView { response_ts, rcode, ..*observation });
}

fn found(resolvers: &mut ResolverHealth, millis: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    resolvers.evaluate(at(millis), &mut |finding| found.push(finding));
    found
}

#[test]
fn finds_silence_and_icmp_errors_until_answer() {
    for (status, ratio) in [(Status::Timeout, 0.0), (Status::IcmpError, 1.0)] {
        let mut resolvers = resolvers();
        ask(&mut resolvers, 0, Status::Answered);
        (1..=6000).for_each(|number| ask(&mut resolvers, number, status));
        let found_now = found(&mut resolvers, 11_000);
        let [down] = found_now.as_slice() else { panic!("{found_now:?}") };
        assert_eq!((down.rule, down.level), (Rule::ResolverDown, Severity::Critical));
        let icmp = down.evidence.figures.iter().find(|figure| figure.name == "icmp_error_ratio");
        assert!((icmp.unwrap().value - ratio).abs() < 1e-9);
        assert!(!down.evidence.samples.is_empty() && !down.evidence.qnames.is_empty());
        ask(&mut resolvers, 11_500, Status::Answered);
        assert_eq!(found(&mut resolvers, 12_000), []);
    }
}

/// A firewall of this host keeps the resolver from being asked; a neighbour that is not found may be the resolver.
#[test]
fn what_this_host_loses_says_nothing_about_the_resolver() {
    for (stage, expected) in [(LossStage::Netfilter, 0), (LossStage::Neighbour, 1)] {
        for status in [Status::Timeout, Status::IcmpError] {
            let mut resolvers = resolvers();
            let lost = lost(false, stage, 1);
            for number in 0..6000 {
                let view = TransactionView { status, lost: Some(&lost), ..example(at(number)) };
                ask_as(&mut resolvers, number, &view);
            }
            assert_eq!(found(&mut resolvers, 11_000).len(), expected, "{stage:?}");
        }
    }
}

/// musl closes its socket at the first answer. With `capture.path` the kernel tells that the other one came.
#[test]
fn slower_one_of_two_resolvers_is_not_down() {
    for knows_losses in [true, false] {
        let mut resolvers = resolvers();
        for number in 0..6000 {
            let faster = example(at(number));
            let lost = Lost { ts: at(number + 15), ..lost(true, LossStage::Socket, 1) };
            let slower = TransactionView {
                status: Status::Timeout,
                server: SocketAddr::from(([192, 0, 2, 54], 53)),
                resolver: "192.0.2.54",
                lost: knows_losses.then_some(&lost),
                ..faster
            };
            // What answers nobody is down.
            let client = SocketAddr::new(faster.client.ip(), 40_001);
            let silent = TransactionView { client, resolver: "192.0.2.55", lost: None, ..slower };
            for view in [faster, slower, silent] {
                ask_as(&mut resolvers, number, &view);
            }
        }
        let found = found(&mut resolvers, 11_000);
        let down: Vec<_> = found.iter().map(|one| one.entity.resolver.as_deref()).collect();
        assert_eq!(down, [Some("192.0.2.55")], "{knows_losses}");
    }
}

#[test]
fn packet_loss_is_not_down() {
    let mut resolvers = resolvers();
    for number in 0..10_000 {
        // Answers arrive at once, timeouts after the query timeout.
        if number % 50 == 0 {
            ask(&mut resolvers, number * 10, Status::Answered);
        }
        if number >= 500 {
            ask(&mut resolvers, (number - 500) * 10 + 5, Status::Timeout);
        }
        if number % 1000 == 0 {
            assert_eq!(found(&mut resolvers, number * 10), []);
        }
    }
}

#[test]
fn needs_enough_queries_and_time() {
    let mut resolvers = resolvers();
    (0..9).for_each(|number| ask(&mut resolvers, number * 1000, Status::Timeout));
    assert_eq!(found(&mut resolvers, 15_000), []);
    let mut resolvers = self::resolvers();
    (0..4000).for_each(|number| ask(&mut resolvers, number, Status::Timeout));
    assert_eq!(found(&mut resolvers, 9000), []);
}

#[test]
fn ends_when_resolver_is_no_longer_queried() {
    let mut resolvers = resolvers();
    (0..100).for_each(|number| ask(&mut resolvers, number * 100, Status::Timeout));
    assert_eq!(found(&mut resolvers, 200_000).len(), 1);
    assert_eq!(found(&mut resolvers, 311_000), []);
    found(&mut resolvers, 700_000);
    assert_eq!(resolvers.known(), 0);
}

#[test]
fn needs_more_failures_without_recursion() {
    let iterative = |millis| TransactionView {
        flags: Flags(0),
        status: Status::Timeout,
        ..example(at(millis))
    };
    let mut resolvers = resolvers();
    (0..99).for_each(|number| ask_as(&mut resolvers, 0, &iterative(number * 100)));
    assert_eq!(found(&mut resolvers, 15_000), []);
    assert!(!resolvers.is_recursive("192.0.2.53") && resolvers.is_recursive("192.0.2.54"));
    ask_as(&mut resolvers, 0, &iterative(10_000));
    assert_eq!(found(&mut resolvers, 15_000)[0].level, Severity::Warning);
}

#[test]
fn ignores_server_that_never_answered() {
    let mut resolvers = resolvers();
    let scan = |millis| TransactionView {
        vantage: Vantage::Server,
        status: Status::Timeout,
        ..example(at(millis))
    };
    (0..100).for_each(|number| ask_as(&mut resolvers, 0, &scan(number * 100)));
    assert_eq!(found(&mut resolvers, 15_000), []);
}

#[test]
fn finds_flapping_resolver() {
    let mut resolvers = resolvers();
    for round in 0..4 {
        let begin = round * 60_000;
        (0..20).for_each(|number| ask(&mut resolvers, begin + number * 500, Status::Timeout));
        ask(&mut resolvers, begin + 20_000, Status::Answered);
        let flaps = found(&mut resolvers, begin + 21_000);
        assert_eq!(flaps.len(), usize::from(round >= 2), "{round}: {flaps:?}");
        assert!(flaps.iter().all(|finding| finding.rule == Rule::ResolverFlapping));
    }
    assert_eq!(found(&mut resolvers, 900_000), []);
}

#[test]
fn finds_many_resolvers_down_together() {
    let mut resolvers = resolvers();
    let names: Vec<String> = (0..6).map(|number| format!("192.0.2.{number}")).collect();
    for number in 0..20 {
        for resolver in &names {
            let query = example(at(number * 500));
            ask_as(
                &mut resolvers,
                0,
                &TransactionView { resolver, status: Status::Timeout, ..query },
            );
        }
    }
    let found = found(&mut resolvers, 15_000);
    let together = found.iter().find(|finding| finding.entity.resolver.is_none()).unwrap();
    assert_eq!((found.len(), together.evidence.resolvers.len()), (7, 5));
    assert!(together.summary.starts_with("6 of 6 resolvers"), "{}", together.summary);
}
