use super::*;
use crate::pair::HandoverQueryState;

/// Hands the queries of a table over to a new one.
fn handed_over(from: &Pairer, now: Timestamp, options: PairOptions) -> (Pairer, Vec<Status>) {
    let mut to = Pairer::new(options);
    to.restore_counters(from.counters());
    let mut ended = Vec::new();
    from.for_each_handover_query(now, &mut |carried| {
        to.restore_query(carried, &mut |t| ended.push(t.status));
    });
    (to, ended)
}

#[test]
fn waiting_query_is_answered_after_handover() {
    let mut before = Pairer::new(PairOptions::default());
    let sent = [query(0, 7, "a.test"), query(10, 7, "a.test"), query(20, 8, "b.test")];
    assert_eq!(run(&mut before, sent), []);
    let (mut after, ended) = handed_over(&before, at(30), PairOptions::default());
    assert_eq!((ended, after.counters()), (vec![], before.counters()));
    let seen = run(&mut after, [response(40, 7, "a.test"), query(6_000, 9, "c.test")]);
    let expected = [(Status::Answered, Some(40), 1, false), (Status::Timeout, None, 0, false)];
    assert_eq!(seen, expected);
    assert!(balanced(&after.counters()));
    assert_eq!((after.counters().queries, after.counters().open), (4, 1));
}

#[test]
fn late_and_duplicate_responses_are_recognized_after_handover() {
    let mut before = Pairer::new(PairOptions::default());
    run(&mut before, [query(0, 1, "late.test"), query(5_900, 2, "b.test")]);
    run(&mut before, [response(6_000, 2, "b.test")]);
    let (mut after, _) = handed_over(&before, at(6_001), PairOptions::default());
    let seen = run(&mut after, [response(6_002, 2, "b.test"), response(6_003, 1, "late.test")]);
    let statuses: Vec<_> = seen.iter().map(|outcome| outcome.0).collect();
    assert_eq!(statuses, [Status::Duplicate, Status::Late]);
    let counters = after.counters();
    assert!(balanced(&counters));
    assert_eq!((counters.late, counters.duplicate, counters.orphan), (1, 1, 0));
}

#[test]
fn handover_to_smaller_table_evicts() {
    let mut before = Pairer::new(PairOptions::default());
    run(&mut before, (0..5).map(|id| query(id.into(), id, "a.test")));
    let options = PairOptions { max_transactions: 3, ..PairOptions::default() };
    let (after, ended) = handed_over(&before, at(30), options);
    assert_eq!(ended, [Status::Evicted; 2]);
    let counters = after.counters();
    assert!(balanced(&counters));
    assert_eq!((counters.evicted, counters.open), (2, 3));
}

#[test]
fn emit_open_keeps_queries() {
    let mut pairer = Pairer::new(PairOptions::default());
    run(&mut pairer, [query(0, 1, "a.test")]);
    let mut outcomes = Vec::new();
    pairer.emit_open(&mut |t| outcomes.push(t.status));
    assert_eq!((outcomes, pairer.counters().open), (vec![Status::Open], 1));
    let mut states = Vec::new();
    pairer.for_each_handover_query(at(1), &mut |carried| states.push(carried.state));
    assert_eq!(states, [HandoverQueryState::Waiting]);
}
