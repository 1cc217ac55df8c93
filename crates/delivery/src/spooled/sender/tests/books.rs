//! Outages, full spools, kills and restarts at random: what a ledger record calls delivered or spooled arrives, or is
//! counted as dropped by a later run, as `ledger verify` checks it; and every stream arrives in order.

use super::*;
use crate::spool::{SpoolConfig, WhenFull};
use crate::spooled::BacklogGauges;
use crate::spooled::in_flight::Tallies;
use crate::tally::Tally;
use crate::threaded::{Flag, SharedState, lock};
use crossbeam_channel::Sender as Queue;
use dnscribe_record::ledger::Delivery;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use tempfile::TempDir;

const REASONS: &[DropReason] = &DropReason::ALL;

/// Three segments.
const MAX_BYTES: u64 = 200_000;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Transactions get into the queue.
    Offer(u8),
    /// A ledger record gets into the queue, or arrives by another sink.
    Ledger,
    /// The counters are read for a page of metrics.
    Scrape,
    /// The sender takes a batch from the queue.
    Take,
    Feed,
    /// Records in flight are delivered.
    Deliver(u8),
    /// The destination is unavailable from here on, or available.
    Down(bool),
    /// Seconds that pass.
    Pass(u8),
    /// The process is killed, and another one starts.
    Kill,
    /// The process ends as it should, and another one starts.
    End,
}

fn op(kills: bool) -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (1_u8..40).prop_map(Op::Offer),
        3 => Just(Op::Ledger),
        3 => Just(Op::Scrape),
        20 => Just(Op::Take),
        6 => Just(Op::Feed),
        4 => any::<u8>().prop_map(Op::Deliver),
        2 => prop::bool::weighted(0.7).prop_map(Op::Down),
        5 => (0_u8..8).prop_map(Op::Pass),
        1 => Just(if kills { Op::Kill } else { Op::End }),
        1 => Just(Op::End),
    ]
}

/// A record in flight: its number, stream and id.
type InHand = (usize, Stream, u128);

/// Keeps what it gets until the test settles it.
struct Fake {
    is_down: Arc<Flag>,
    in_hand: Arc<Mutex<VecDeque<InHand>>>,
}

impl Destination for Fake {
    const STALL: Duration = Duration::MAX;
    const FIRST_STALL: Duration = Duration::MAX;

    fn is_down(&mut self, _now: Instant) -> bool {
        self.is_down.get()
    }

    fn hand_over(&mut self, batch: &InFlightBatch, cursor: &mut Cursor) -> bool {
        for (index, record) in batch.unsettled() {
            let number = cursor.at(index).number();
            lock(&self.in_hand).push_back((number, record.stream, record.event_id));
        }
        true
    }

    fn flush(&self, _limit: Duration) {}

    fn why_unreachable(&self) -> String {
        String::new()
    }

    fn end(&mut self, _away: bool) {}

    fn purge(&mut self) {}
}

/// What a ledger record says about transactions, by its id.
struct Claim {
    run: usize,
    own: Delivery,
    recovered: Delivery,
}

/// A process.
struct Run {
    sender: Sender<Fake>,
    queue: Queue<Option<Arc<Batch>>>,
    receiver: SinkReceiver,
    recovered: Arc<Tally>,
    in_hand: Arc<Mutex<VecDeque<InHand>>>,
    is_down: Arc<Flag>,
    now: Instant,
}

impl Run {
    fn start(plan: &Arc<SpooledPlan>, streams: StreamSet, is_down: bool) -> Self {
        let own = SharedState::new(streams, REASONS);
        let recovered = Arc::new(Tally::new(streams, REASONS));
        let tallies = Tallies { own: Arc::clone(&own), recovered: Arc::clone(&recovered) };
        let in_flight = Arc::new(InFlight::new(tallies));
        let gauges = Arc::new(BacklogGauges::default());
        let backlog = Backlog::new(plan, false, Arc::clone(&in_flight), gauges);
        assert!(backlog.is_open());
        let (in_hand, down) = (Arc::new(Mutex::default()), Arc::new(Flag::default()));
        down.set(is_down);
        let fake = Fake { is_down: Arc::clone(&down), in_hand: Arc::clone(&in_hand) };
        let (queue, receiver) = SinkReceiver::with_queue(&own);
        let sender = Sender::new(plan, in_flight, fake, backlog);
        Self { sender, queue, receiver, recovered, in_hand, is_down: down, now: Instant::now() }
    }

    fn offer(&self, stream: Stream, ids: impl Iterator<Item = u128>) {
        let mut batch = Batch::default();
        for id in ids {
            let mut state = u64::try_from(id).unwrap() << 1 | 1;
            let noise = std::iter::repeat_with(|| {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                state.to_be_bytes()[0]
            });
            let bytes = if stream == Stream::Ledger { 2000 } else { 1000 };
            batch.push(stream, id, |out| out.extend(noise.take(bytes)), |_| {});
        }
        let shared = &self.receiver.shared;
        shared.note_reported(&batch, &self.recovered);
        if shared.tally.streams.contains(stream) {
            shared.tally.add_in_flight(&shared.tally.count_batch(&batch));
            self.queue.send(Some(Arc::new(batch))).unwrap();
        }
    }

    fn take(&mut self) {
        if let NextStep::Batch(taken) = self.receiver.next(Duration::ZERO) {
            self.sender.take(&gather(&taken, &self.receiver, Duration::ZERO));
        }
    }

    fn deliver(&self, count: usize) -> Vec<(Stream, u128)> {
        let mut in_hand = lock(&self.in_hand);
        let count = if self.is_down.get() { 0 } else { count.min(in_hand.len()) };
        let settle = |(number, stream, id)| {
            self.sender.in_flight.settle(number, Outcome::Delivered);
            (stream, id)
        };
        in_hand.drain(..count).map(settle).collect()
    }

    fn has_work(&self) -> bool {
        !lock(&self.in_hand).is_empty() || !self.sender.caught_up()
    }

    fn work(&mut self) {
        self.sender.do_periodic_work(self.now, &self.receiver);
    }
}

struct History {
    plan: Arc<SpooledPlan>,
    streams: StreamSet,
    run: Option<Run>,
    runs: usize,
    next_id: u128,
    /// The run of each transaction.
    transactions: BTreeMap<u128, usize>,
    claims: BTreeMap<u128, Claim>,
    arrived: Vec<(Stream, u128)>,
    _folder: TempDir,
}

impl History {
    fn new(when_full: WhenFull, streams: StreamSet) -> Self {
        let folder = TempDir::new().unwrap();
        let spool = SpoolConfig {
            directory: folder.path().to_owned(),
            max_bytes: MAX_BYTES,
            max_age: Duration::from_hours(1),
            when_full,
        };
        let plan = Arc::new(SpooledPlan {
            name: "fake",
            destination: "fake".into(),
            node: "n".into(),
            region: None,
            labels: None,
            patience: None,
            spool: Some(spool),
        });
        let run = Some(Run::start(&plan, streams, true));
        Self {
            plan,
            streams,
            run,
            runs: 1,
            next_id: 1,
            transactions: BTreeMap::new(),
            claims: BTreeMap::new(),
            arrived: Vec::new(),
            _folder: folder,
        }
    }

    fn apply(&mut self, op: Op) {
        let Some(run) = &mut self.run else { return };
        match op {
            Op::Offer(count) => {
                let ids = self.next_id..self.next_id + u128::from(count);
                self.next_id = ids.end;
                self.transactions.extend(ids.clone().map(|id| (id, self.runs)));
                run.offer(Stream::Transactions, ids);
            }
            Op::Ledger => {
                let id = self.next_id;
                self.next_id += 1;
                let transactions = |tally: &Tally| tally.counters()["transactions"].clone();
                let own = transactions(&run.receiver.shared.tally);
                let recovered = transactions(&run.recovered);
                self.claims.insert(id, Claim { run: self.runs, own, recovered });
                run.offer(Stream::Ledger, std::iter::once(id));
                if !self.streams.contains(Stream::Ledger) {
                    self.arrived.push((Stream::Ledger, id));
                }
            }
            Op::Scrape => {
                run.receiver.shared.tally.counters();
                run.recovered.counters();
            }
            Op::Take => run.take(),
            Op::Feed => {
                run.sender.feed();
            }
            Op::Deliver(count) => self.arrived.extend(run.deliver(count.into())),
            Op::Down(is_down) => run.is_down.set(is_down),
            Op::Pass(seconds) => run.now += Duration::from_secs(seconds.into()),
            Op::Kill => self.restart(false),
            Op::End => {
                self.apply(Op::Ledger);
                self.restart(true);
            }
        }
        if let Some(run) = &mut self.run {
            run.work();
        }
    }

    fn restart(&mut self, in_order: bool) {
        let Some(Run { sender, receiver, is_down, .. }) = self.run.take() else { return };
        if in_order {
            sender.end(&receiver);
        } else {
            drop(sender);
        }
        self.run = Some(Run::start(&self.plan, self.streams, is_down.get()));
        self.runs += 1;
    }

    /// Delivers all that is left.
    fn finish(&mut self) {
        self.apply(Op::End);
        self.apply(Op::Down(false));
        while self.run.as_ref().is_some_and(Run::has_work) {
            self.apply(Op::Feed);
            self.apply(Op::Deliver(u8::MAX));
        }
        for op in [Op::Ledger, Op::Take, Op::Feed, Op::Deliver(u8::MAX)] {
            self.apply(op);
        }
    }

    fn check(&self, exactly: bool) -> Result<(), TestCaseError> {
        let mut first = BTreeSet::new();
        let mut last = BTreeMap::new();
        for (stream, id) in &self.arrived {
            if first.insert(*id) {
                let before = last.insert(*stream, *id).unwrap_or(0);
                prop_assert!(before < *id, "{stream:?}: {id} after {before}");
            }
        }
        let mut newest: BTreeMap<usize, &Claim> = BTreeMap::new();
        for (_, claim) in self.claims.iter().filter(|(id, _)| first.contains(*id)) {
            newest.insert(claim.run, claim);
        }
        let dropped = |delivery: &Delivery| delivery.dropped.values().sum::<u64>();
        for (run, Claim { own, .. }) in &newest {
            let found =
                self.transactions.iter().filter(|(id, of)| *of == run && first.contains(*id));
            let later = newest.range(run + 1..).map(|(_, later)| dropped(&later.recovered));
            let (found, later) = (found.count() as u64, later.sum::<u64>());
            prop_assert!(
                found + later >= own.delivered + own.spooled,
                "run {run}: {found} found, {later} dropped later, {own:?}"
            );
        }
        let lost = self.transactions.keys().filter(|id| !first.contains(*id)).count() as u64;
        let counted = newest.values().map(|claim| dropped(&claim.own) + dropped(&claim.recovered));
        let counted: u64 = counted.sum();
        prop_assert!(!exactly || counted <= lost, "{counted} counted of {lost} lost");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn close_whatever_happens(
        drops_newest in any::<bool>(),
        has_ledger in any::<bool>(),
        (kills, ops) in any::<bool>().prop_flat_map(|kills| {
            (Just(kills), prop::collection::vec(op(kills), 1..150))
        }),
    ) {
        let when_full = if drops_newest { WhenFull::DropNewest } else { WhenFull::DropOldest };
        let ledger = has_ledger.then_some(Stream::Ledger);
        let streams = [Stream::Transactions].into_iter().chain(ledger).collect();
        let mut history = History::new(when_full, streams);
        for op in ops {
            history.apply(op);
        }
        history.finish();
        history.check(!kills)?;
    }
}

/// What a ledger record has reported is not counted again by the run after a kill.
#[test]
fn counts_once_what_a_ledger_record_contains() {
    let streams = [Stream::Transactions, Stream::Ledger].into_iter().collect();
    let mut history = History::new(WhenFull::DropOldest, streams);
    for _ in 0..12 {
        history.apply(Op::Offer(30));
        history.apply(Op::Take);
    }
    for op in [Op::Pass(6), Op::Ledger, Op::Take, Op::Down(false)] {
        history.apply(op);
    }
    while history.run.as_ref().is_some_and(Run::has_work) {
        history.apply(Op::Feed);
        history.apply(Op::Deliver(u8::MAX));
    }
    history.apply(Op::Kill);
    history.finish();
    assert!(history.claims.values().any(|claim| claim.own.dropped["spool_full"] > 0));
    history.check(true).unwrap();
}
