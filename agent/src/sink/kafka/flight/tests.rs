use super::super::super::Sink as _;
use super::super::super::threaded::{Bounds, Threaded};
use super::super::REASONS;
use super::*;
use crate::ledger::Delivery;
use crate::sink::{Batch, Look, StreamSet};
use proptest::prelude::*;

const STREAM: Stream = Stream::Transactions;

fn streams() -> StreamSet {
    [STREAM, Stream::Ledger].into_iter().collect()
}

fn flight() -> Flight {
    let own = Threaded::shared(Tally::new(streams(), REASONS));
    let recovered = Arc::new(Tally::new(streams(), REASONS));
    Flight::new(Tallies { own, recovered })
}

/// Transactions, messages, which are not wanted, and ledger records in turn.
fn batch(count: usize) -> Arc<Batch> {
    let mut batch = Batch::default();
    for number in 0..count {
        let stream = [STREAM, Stream::Messages, Stream::Ledger][number % 3];
        batch.push(stream, number as u128, |out| out.extend(b"{}\n"), |_| {});
    }
    Arc::new(batch)
}

fn cargo(count: usize) -> Cargo {
    let batch = batch(count);
    let settled = Bits::new(batch.len());
    let homes = [None; Stream::ALL.len()];
    Cargo { batch, node: "n".into(), origin: Origin::Own, streams: streams(), homes, settled }
}

/// Adds a batch and counts it, as the sink does.
fn add(flight: &Flight, count: usize) {
    let cargo = cargo(count);
    let tally = &flight.tallies.own.tally;
    tally.offered(&tally.share(&cargo.batch));
    flight.add(cargo, Instant::now());
}

fn total(flight: &Flight, field: fn(&Delivery) -> u64) -> u64 {
    flight.tallies.own.tally.counters().values().map(field).sum()
}

/// The numbers of all records in flight, in order.
fn numbers(flight: &Flight) -> Vec<usize> {
    let mut cursor = flight.start();
    let mut numbers = Vec::new();
    while let Some(ToSend { batch, streams, settled, .. }) = flight.at(&mut cursor) {
        for (index, record) in batch.iter().enumerate() {
            if streams.contains(record.stream) && !settled.has(index) {
                numbers.push(Cursor { index, ..cursor }.number());
            }
        }
        cursor = cursor.next_batch();
    }
    assert!(flight.is_past_end(cursor));
    numbers
}

#[test]
fn a_refused_record_is_a_dead_letter_once() {
    let flight = flight();
    add(&flight, 1);
    let number = numbers(&flight)[0];
    flight.settle(number, Outcome::Returned);
    assert!(flight.take_dead().is_empty());
    for _ in 0..2 {
        flight.settle(number, Outcome::Refused(Reason::UnknownTopic));
    }
    let dead = flight.take_dead();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].stream, dead[0].bytes.as_slice()), (STREAM, b"{}\n".as_slice()));
    assert_eq!(flight.load(), (0, 0));
    assert_eq!(flight.tallies.own.tally.counters()["transactions"].dropped["unknown_topic"], 1);
}

#[test]
fn a_dead_letter_is_in_flight_before_its_record_is_settled() {
    let streams = [STREAM, Stream::Dlq].into_iter().collect();
    let own = Threaded::shared(Tally::new(streams, REASONS));
    let recovered = Arc::new(Tally::new(streams, REASONS));
    let flight = Flight::new(Tallies { own, recovered });
    add(&flight, 1);
    let in_flight = || flight.tallies.own.tally.counters()["dlq"].in_flight;
    flight.settle(numbers(&flight)[0], Outcome::Refused(Reason::UnknownTopic));
    assert_eq!((in_flight(), total(&flight, |delivery| delivery.in_flight)), (1, 1));
    add(&flight, 1);
    flight.settle(numbers(&flight)[0], Outcome::Refused(Reason::MessageTimedOut));
    assert_eq!(in_flight(), 1);
    assert_eq!(flight.take_dead().len(), 1);
}

#[test]
fn silence_begins_with_the_first_record() {
    let flight = flight();
    let start = Instant::now();
    assert_eq!(flight.silence(start + Duration::from_secs(9)), Duration::ZERO);
    add(&flight, 2);
    assert!(flight.silence(start + Duration::from_secs(9)) > Duration::from_secs(8));
    add(&flight, 3);
    flight.settle(numbers(&flight)[0], Outcome::Delivered);
    assert!(flight.silence(Instant::now()) < Duration::from_secs(1));
}

proptest! {
    /// Whatever the order and number of reports, each record is counted once, and the rest can be
    /// sent again in order.
    #[test]
    fn every_record_is_settled_once(
        sizes in prop::collection::vec(1_usize..200, 1..8),
        reports in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..400),
    ) {
        let flight = flight();
        for size in sizes {
            add(&flight, size);
        }
        let all = numbers(&flight);
        let mut left = all.clone();
        for (which, outcome) in reports {
            let number = *which.get(&all);
            let outcome = [
                Outcome::Delivered,
                Outcome::Refused(Reason::Rejected),
                Outcome::Returned,
            ][usize::from(outcome)];
            flight.settle(number, outcome);
            if outcome != Outcome::Returned {
                left.retain(|other| *other != number);
            }
            prop_assert_eq!(flight.load().0, left.len() as u64);
        }
        prop_assert_eq!(numbers(&flight), left.clone());
        let settled = total(&flight, |d| d.delivered + d.dropped.values().sum::<u64>());
        prop_assert_eq!(settled, (all.len() - left.len()) as u64);
        prop_assert_eq!(total(&flight, |d| d.in_flight), left.len() as u64);
        for number in left {
            flight.settle(number, Outcome::Delivered);
        }
        prop_assert_eq!(flight.load(), (0, 0));
        prop_assert_eq!(total(&flight, |d| d.in_flight), 0);
    }
}

#[test]
fn a_sink_is_nothing_but_its_tally() {
    // The counters that delivery reports change are those that the sink returns.
    let flight = flight();
    let shared = Arc::clone(&flight.tallies.own);
    let sink = Threaded::start("kafka".into(), Look::Json, Bounds::default(), shared, |_| {});
    add(&flight, 4);
    assert_eq!(sink.unwrap().counters()["transactions"].in_flight, 2);
}
