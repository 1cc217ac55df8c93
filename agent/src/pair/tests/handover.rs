use super::*;
use crate::pair::Fate;

/// Moves what a table carries into a new one.
fn moved(from: &Pairer, now: Timestamp, options: PairOptions) -> (Pairer, Vec<Status>) {
    let mut to = Pairer::new(options);
    to.adopt(from.counters());
    let mut ended = Vec::new();
    from.carry(now, &mut |carried| to.restore(carried, &mut |t| ended.push(t.status)));
    (to, ended)
}

#[test]
fn a_query_goes_on_waiting_at_another_table() {
    let mut before = Pairer::new(PairOptions::default());
    let sent = [query(0, 7, "a.test"), query(10, 7, "a.test"), query(20, 8, "b.test")];
    assert_eq!(run(&mut before, sent), []);
    let (mut after, ended) = moved(&before, at(30), PairOptions::default());
    assert_eq!((ended, after.counters()), (vec![], before.counters()));
    let seen = run(&mut after, [response(40, 7, "a.test"), query(6_000, 9, "c.test")]);
    let told = [(Status::Answered, Some(40), 1, false), (Status::Timeout, None, 0, false)];
    assert_eq!(seen, told);
    assert!(balanced(&after.counters()));
    assert_eq!((after.counters().queries, after.counters().open), (4, 1));
}

#[test]
fn late_and_doubled_responses_are_known_for_what_they_are() {
    let mut before = Pairer::new(PairOptions::default());
    run(&mut before, [query(0, 1, "late.test"), query(5_900, 2, "b.test")]);
    run(&mut before, [response(6_000, 2, "b.test")]);
    let (mut after, _) = moved(&before, at(6_001), PairOptions::default());
    let seen = run(&mut after, [response(6_002, 2, "b.test"), response(6_003, 1, "late.test")]);
    let statuses: Vec<_> = seen.iter().map(|told| told.0).collect();
    assert_eq!(statuses, [Status::Duplicate, Status::Late]);
    let counters = after.counters();
    assert!(balanced(&counters));
    assert_eq!((counters.late, counters.duplicate, counters.orphan), (1, 1, 0));
}

#[test]
fn what_finds_no_room_is_evicted_and_counted() {
    let mut before = Pairer::new(PairOptions::default());
    run(&mut before, (0..5).map(|id| query(id.into(), id, "a.test")));
    let options = PairOptions { max_transactions: 3, ..PairOptions::default() };
    let (after, ended) = moved(&before, at(30), options);
    assert_eq!(ended, [Status::Evicted; 2]);
    let counters = after.counters();
    assert!(balanced(&counters));
    assert_eq!((counters.evicted, counters.open), (2, 3));
}

#[test]
fn what_is_left_open_stays() {
    let mut pairer = Pairer::new(PairOptions::default());
    run(&mut pairer, [query(0, 1, "a.test")]);
    let mut told = Vec::new();
    pairer.leave_open(&mut |t| told.push(t.status));
    assert_eq!((told, pairer.counters().open), (vec![Status::Open], 1));
    let mut fates = Vec::new();
    pairer.carry(at(1), &mut |carried| fates.push(carried.fate));
    assert_eq!(fates, [Fate::Waiting]);
}
