use super::*;
use crate::Sink as _;
use crate::spooled::in_flight::Outcome;
use crate::spooled::open;
use crate::threaded::QueueLimits;

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
