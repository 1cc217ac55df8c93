use super::*;
use crate::decode::dns::Flags;
use crate::detect::DetectOptions;
use crate::observation::testing::example;

const START: u64 = 1_700_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((START + millis) * 1_000_000)
}

fn outcomes() -> Outcomes {
    let options = DetectOptions::default();
    Outcomes::new(options.down, options.flapping)
}

fn ask(outcomes: &mut Outcomes, millis: u64, status: Status) {
    ask_as(outcomes, millis, &Observation { status, ..example(at(millis)) });
}

fn ask_as(outcomes: &mut Outcomes, _: u64, observation: &Observation<'_>) {
    let is_answered = observation.status == Status::Answered;
    let rcode = observation.rcode.filter(|_| is_answered);
    let response_ts = observation.response_ts.filter(|_| is_answered);
    outcomes.observe(&Observation { response_ts, rcode, ..*observation });
}

fn found(outcomes: &mut Outcomes, millis: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    outcomes.evaluate(at(millis), &mut |finding| found.push(finding));
    found
}

#[test]
fn silence_and_refusal_are_both_down_and_an_answer_ends_it() {
    for (status, ratio) in [(Status::Timeout, 0.0), (Status::IcmpError, 1.0)] {
        let mut outcomes = outcomes();
        ask(&mut outcomes, 0, Status::Answered);
        (1..=6000).for_each(|number| ask(&mut outcomes, number, status));
        let found_now = found(&mut outcomes, 11_000);
        let [down] = found_now.as_slice() else { panic!("{found_now:?}") };
        assert_eq!((down.rule, down.level), (Rule::ResolverDown, Level::Critical));
        let icmp = down.evidence.figures.iter().find(|figure| figure.name == "icmp_error_ratio");
        assert!((icmp.unwrap().value - ratio).abs() < 1e-9);
        assert!(!down.evidence.samples.is_empty() && !down.evidence.qnames.is_empty());
        ask(&mut outcomes, 11_500, Status::Answered);
        assert_eq!(found(&mut outcomes, 12_000), []);
    }
}

#[test]
fn a_resolver_that_loses_most_packets_is_not_down() {
    let mut outcomes = outcomes();
    for number in 0..10_000 {
        // What is answered is known at once, what is not after the query timeout.
        if number % 50 == 0 {
            ask(&mut outcomes, number * 10, Status::Answered);
        }
        if number >= 500 {
            ask(&mut outcomes, (number - 500) * 10 + 5, Status::Timeout);
        }
        if number % 1000 == 0 {
            assert_eq!(found(&mut outcomes, number * 10), []);
        }
    }
}

#[test]
fn few_queries_or_a_moment_are_not_enough() {
    let mut outcomes = outcomes();
    (0..9).for_each(|number| ask(&mut outcomes, number * 1000, Status::Timeout));
    assert_eq!(found(&mut outcomes, 15_000), []);
    let mut outcomes = self::outcomes();
    (0..4000).for_each(|number| ask(&mut outcomes, number, Status::Timeout));
    assert_eq!(found(&mut outcomes, 9000), []);
}

#[test]
fn nobody_asks_any_more() {
    let mut outcomes = outcomes();
    (0..100).for_each(|number| ask(&mut outcomes, number * 100, Status::Timeout));
    assert_eq!(found(&mut outcomes, 200_000).len(), 1);
    assert_eq!(found(&mut outcomes, 311_000), []);
    found(&mut outcomes, 700_000);
    assert_eq!(outcomes.known(), 0);
}

#[test]
fn a_server_of_the_world_may_be_broken_for_longer() {
    let iterative =
        |millis| Observation { flags: Flags(0), status: Status::Timeout, ..example(at(millis)) };
    let mut outcomes = outcomes();
    (0..99).for_each(|number| ask_as(&mut outcomes, 0, &iterative(number * 100)));
    assert_eq!(found(&mut outcomes, 15_000), []);
    assert!(!outcomes.is_recursive("192.0.2.53") && outcomes.is_recursive("192.0.2.54"));
    ask_as(&mut outcomes, 0, &iterative(10_000));
    assert_eq!(found(&mut outcomes, 15_000)[0].level, Level::Warning);
}

#[test]
fn scanners_find_no_server_down_that_never_was_one() {
    let mut outcomes = outcomes();
    let scan = |millis| Observation {
        vantage: Vantage::Server,
        status: Status::Timeout,
        ..example(at(millis))
    };
    (0..100).for_each(|number| ask_as(&mut outcomes, 0, &scan(number * 100)));
    assert_eq!(found(&mut outcomes, 15_000), []);
}

#[test]
fn one_that_comes_and_goes_flaps() {
    let mut outcomes = outcomes();
    for round in 0..4 {
        let begin = round * 60_000;
        (0..20).for_each(|number| ask(&mut outcomes, begin + number * 500, Status::Timeout));
        ask(&mut outcomes, begin + 20_000, Status::Answered);
        let flaps = found(&mut outcomes, begin + 21_000);
        assert_eq!(flaps.len(), usize::from(round >= 2), "{round}: {flaps:?}");
        assert!(flaps.iter().all(|finding| finding.rule == Rule::ResolverFlapping));
    }
    assert_eq!(found(&mut outcomes, 900_000), []);
}

#[test]
fn many_at_once_are_told_as_such() {
    let mut outcomes = outcomes();
    let names: Vec<String> = (0..6).map(|number| format!("192.0.2.{number}")).collect();
    for number in 0..20 {
        for resolver in &names {
            let query = example(at(number * 500));
            ask_as(&mut outcomes, 0, &Observation { resolver, status: Status::Timeout, ..query });
        }
    }
    let found = found(&mut outcomes, 15_000);
    let together = found.iter().find(|finding| finding.entity.resolver.is_none()).unwrap();
    assert_eq!((found.len(), together.evidence.resolvers.len()), (7, 5));
    assert!(together.summary.starts_with("6 of 6 resolvers"), "{}", together.summary);
}
