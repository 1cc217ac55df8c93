use super::*;
use crate::Sink as _;
use crate::spooled::in_flight::Outcome;
use crate::spooled::open;
use crate::threaded::{QueueLimits, ThreadedSink, lock, wait_until};
use std::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(3);

/// A destination that something else keeps from being tried for longer than the patience, and that then acknowledges what
/// it gets after a moment.
struct Late {
    in_flight: Arc<InFlight>,
    ready: Option<Instant>,
}

impl Destination for Late {
    const STALL: Duration = Duration::from_mins(1);
    const FIRST_STALL: Duration = Duration::from_mins(1);

    fn is_down(&mut self, _now: Instant) -> bool {
        if self.ready.is_none() && self.in_flight.load().0 > 0 {
            thread::sleep(PATIENCE * 2);
            self.ready = Some(Instant::now());
        }
        false
    }

    fn tried_since(&self) -> Option<Instant> {
        self.ready
    }

    fn hand_over(&mut self, batch: &InFlightBatch, cursor: &mut Cursor) -> bool {
        if self.ready.is_none() {
            return false;
        }
        let start = cursor.index;
        for (index, _) in batch.unsettled().skip_while(|(index, _)| *index < start) {
            cursor.index = index;
            let (in_flight, number) = (Arc::clone(&self.in_flight), cursor.number());
            thread::spawn(move || {
                // Longer than the sender waits for the next batch.
                thread::sleep(PATIENCE / 4);
                in_flight.settle(number, Outcome::Delivered);
            });
        }
        true
    }

    fn flush(&self, _limit: Duration) {}

    fn why_unreachable(&self) -> String {
        "it was never tried".to_owned()
    }

    fn end(&mut self, _away: bool) {}

    fn purge(&mut self) {}
}

/// A schema registry that came late left no time to the broker: it was called unreachable, and every record was dropped.
#[test]
fn patience_begins_when_the_destination_can_be_tried() {
    let plan = SpooledPlan {
        name: "late",
        destination: String::new(),
        node: "n".into(),
        region: None,
        labels: None,
        patience: Some(PATIENCE),
        spool: None,
    };
    let streams = [Stream::Transactions].into_iter().collect();
    let reasons = &[DropReason::BrokerError];
    let late =
        |in_flight: &Arc<InFlight>| Ok(Late { in_flight: Arc::clone(in_flight), ready: None });
    let opened = open("late".into(), streams, &plan, QueueLimits::default(), reasons, late);
    let (mut sink, _) = opened.unwrap();
    let mut batch = Batch::default();
    batch.push(Stream::Transactions, 1, |out| out.extend_from_slice(b"{}\n"), |_| {});
    sink.offer(&Arc::new(batch));
    assert!(sink.flush(Duration::from_mins(1)));
    assert!(sink.failure().is_none());
    assert_eq!(sink.counters()["transactions"].delivered, 1);
    sink.close();
}

/// A destination that is switched by a test: away, or answering with an outcome.
struct Switched {
    in_flight: Arc<InFlight>,
    answer: Arc<Mutex<Option<Outcome>>>,
}

impl Destination for Switched {
    const STALL: Duration = Duration::from_mins(1);
    const FIRST_STALL: Duration = Duration::from_mins(1);

    fn is_down(&mut self, _now: Instant) -> bool {
        lock(&self.answer).is_none()
    }

    fn hand_over(&mut self, batch: &InFlightBatch, cursor: &mut Cursor) -> bool {
        let Some(answer) = *lock(&self.answer) else { return false };
        for (index, _) in batch.unsettled() {
            cursor.index = index;
            self.in_flight.settle(cursor.number(), answer);
        }
        true
    }

    fn flush(&self, _limit: Duration) {}

    fn why_unreachable(&self) -> String {
        "it is away".to_owned()
    }

    fn end(&mut self, _away: bool) {}

    fn purge(&mut self) {}
}

/// Brokers without the topic answered after a while that they do not know it, and the log said that they accept records.
#[test]
fn a_destination_that_refuses_records_is_not_back() {
    let plan = SpooledPlan {
        name: "switched",
        destination: String::new(),
        node: "n".into(),
        region: None,
        labels: None,
        patience: None,
        spool: None,
    };
    let streams = [Stream::Transactions].into_iter().collect();
    let reasons = &[DropReason::UnknownTopic];
    let answer = Arc::<Mutex<Option<Outcome>>>::default();
    let switched = |in_flight: &Arc<InFlight>| {
        Ok(Switched { in_flight: Arc::clone(in_flight), answer: Arc::clone(&answer) })
    };
    let opened = open("sink".into(), streams, &plan, QueueLimits::default(), reasons, switched);
    let (mut sink, gauges) = opened.unwrap();
    let is_up = || gauges.gauges("up").iter().any(|gauge| gauge.name == "up" && gauge.value > 0.5);
    let wait = |yes: &dyn Fn() -> bool| assert!(wait_until(Duration::from_mins(1), yes));
    let transactions = |sink: &ThreadedSink| sink.counters()["transactions"].clone();
    let refused = Some(Outcome::Rejected(DropReason::UnknownTopic));
    for (next, settled) in [(None, 0), (refused, 2), (refused, 3), (Some(Outcome::Delivered), 4)] {
        *lock(&answer) = next;
        let mut batch = Batch::default();
        batch.push(Stream::Transactions, 1, |out| out.extend_from_slice(b"{}\n"), |_| {});
        sink.offer(&Arc::new(batch));
        wait(&|| transactions(&sink).in_flight == transactions(&sink).records - settled);
        let is_back = next == Some(Outcome::Delivered);
        wait(&|| is_up() == is_back);
    }
    sink.close();
}

mod books;
