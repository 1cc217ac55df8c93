use super::*;
use crate::threaded::{QueueLimits, ThreadedSink};
use crate::{Batch, OutputFormat, Sink as _, StreamSet};
use dnscribe_record::ledger::Delivery;
use proptest::prelude::*;

const STREAM: Stream = Stream::Transactions;
const REASONS: &[DropReason] = &DropReason::ALL;

fn streams() -> StreamSet {
    [STREAM, Stream::Ledger].into_iter().collect()
}

fn new_in_flight() -> InFlight {
    let own = SharedState::new(streams(), REASONS);
    let recovered = Arc::new(Tally::new(streams(), REASONS));
    InFlight::new(Tallies { own, recovered })
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

fn batch_in_flight(count: usize) -> InFlightBatch {
    let batch = batch(count);
    let settled = FixedBitSet::with_capacity(batch.len());
    let spool_frames = [None; Stream::ALL.len()];
    InFlightBatch {
        batch,
        node: "n".into(),
        origin: Origin::Own,
        streams: streams(),
        spool_frames,
        settled,
    }
}

/// Adds a batch and counts it, as the sink does.
fn add(in_flight: &InFlight, count: usize) {
    let batch_in_flight = batch_in_flight(count);
    let tally = &in_flight.tallies.own.tally;
    tally.add_in_flight(&tally.count_batch(&batch_in_flight.batch));
    in_flight.add(batch_in_flight, Instant::now());
}

fn total(in_flight: &InFlight, field: fn(&Delivery) -> u64) -> u64 {
    in_flight.tallies.own.tally.counters().values().map(field).sum()
}

/// The numbers of all records in flight, in order.
fn numbers(in_flight: &InFlight) -> Vec<usize> {
    let mut cursor = in_flight.start();
    let mut numbers = Vec::new();
    while let Some(batch) = in_flight.at(&mut cursor) {
        numbers.extend(batch.unsettled().map(|(index, _)| Cursor { index, ..cursor }.number()));
        cursor = cursor.next_batch();
    }
    assert!(in_flight.is_at_end(cursor));
    numbers
}

#[test]
fn makes_one_dead_letter_of_a_rejected_record() {
    let in_flight = new_in_flight();
    add(&in_flight, 1);
    let number = numbers(&in_flight)[0];
    in_flight.settle(number, Outcome::Returned);
    assert!(in_flight.take_dead().is_empty());
    for _ in 0..2 {
        in_flight.settle(number, Outcome::Rejected(DropReason::UnknownTopic));
    }
    let dead = in_flight.take_dead();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].stream, dead[0].bytes.as_slice()), (STREAM, b"{}\n".as_slice()));
    assert_eq!(in_flight.load(), (0, 0));
    assert_eq!(in_flight.tallies.own.tally.counters()["transactions"].dropped["unknown_topic"], 1);
}

#[test]
fn counts_a_dead_letter_before_its_record_is_settled() {
    let streams = [STREAM, Stream::Dlq].into_iter().collect();
    let own = SharedState::new(streams, REASONS);
    let recovered = Arc::new(Tally::new(streams, REASONS));
    let in_flight = InFlight::new(Tallies { own, recovered });
    add(&in_flight, 1);
    let dlq_in_flight = || in_flight.tallies.own.tally.counters()["dlq"].in_flight;
    in_flight.settle(numbers(&in_flight)[0], Outcome::Rejected(DropReason::UnknownTopic));
    assert_eq!((dlq_in_flight(), total(&in_flight, |delivery| delivery.in_flight)), (1, 1));
    add(&in_flight, 1);
    in_flight.settle(numbers(&in_flight)[0], Outcome::Rejected(DropReason::MessageTimedOut));
    assert_eq!(dlq_in_flight(), 1);
    assert_eq!(in_flight.take_dead().len(), 1);
}

#[test]
fn measures_silence_from_the_first_record() {
    let in_flight = new_in_flight();
    let start = Instant::now();
    assert_eq!(in_flight.silence(start + Duration::from_secs(9)), Duration::ZERO);
    add(&in_flight, 2);
    assert!(in_flight.silence(start + Duration::from_secs(9)) > Duration::from_secs(8));
    add(&in_flight, 3);
    in_flight.settle(numbers(&in_flight)[0], Outcome::Delivered);
    assert!(in_flight.silence(Instant::now()) < Duration::from_secs(1));
}

proptest! {
    /// Whatever the order and number of reports, each record is counted once, and the rest can be
    /// sent again in order.
    #[test]
    fn settles_every_record_once(
        sizes in prop::collection::vec(1_usize..200, 1..8),
        reports in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..400),
    ) {
        let in_flight = new_in_flight();
        for size in sizes {
            add(&in_flight, size);
        }
        let all = numbers(&in_flight);
        let mut left = all.clone();
        for (which, outcome) in reports {
            let number = *which.get(&all);
            let outcome = [
                Outcome::Delivered,
                Outcome::Rejected(DropReason::Rejected),
                Outcome::Returned,
            ][usize::from(outcome)];
            in_flight.settle(number, outcome);
            if outcome != Outcome::Returned {
                left.retain(|other| *other != number);
            }
            prop_assert_eq!(in_flight.load().0, left.len() as u64);
        }
        prop_assert_eq!(numbers(&in_flight), left.clone());
        let settled = total(&in_flight, |d| d.delivered + d.dropped.values().sum::<u64>());
        prop_assert_eq!(settled, (all.len() - left.len()) as u64);
        prop_assert_eq!(total(&in_flight, |d| d.in_flight), left.len() as u64);
        for number in left {
            in_flight.settle(number, Outcome::Delivered);
        }
        prop_assert_eq!(in_flight.load(), (0, 0));
        prop_assert_eq!(total(&in_flight, |d| d.in_flight), 0);
    }
}

#[test]
fn shares_counters_with_the_sink() {
    // The counters that delivery reports change are those that the sink returns.
    let in_flight = new_in_flight();
    let shared = Arc::clone(&in_flight.tallies.own);
    let sink = ThreadedSink::start(
        "kafka".into(),
        OutputFormat::Json,
        QueueLimits::default(),
        shared,
        |_| {},
    );
    add(&in_flight, 4);
    assert_eq!(sink.unwrap().counters()["transactions"].in_flight, 2);
}
