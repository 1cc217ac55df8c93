use super::*;
use crate::pipeline::event::{Event, RenderedEvent};
use dnscribe_transaction::decode::{Envelope, MessageId};
use dnscribe_transaction::packet::{Direction, PacketId, Transport};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};

/// An event that carries its shard and its number in the shard.
fn event(shard: usize, number: usize) -> Envelope {
    let end = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    let origin = PacketId { cpu: u32::try_from(shard).unwrap(), seq: number as u64 };
    Envelope {
        id: MessageId { packet: origin, index: 0 },
        ts: Timestamp::default(),
        scope: 0,
        direction: Direction::Passive,
        task: None,
        cgroup_id: 0,
        transport: Transport::Udp,
        src: end,
        dst: end,
        report: None,
        seen_by: None,
    }
}

fn at(time: u64) -> Timestamp {
    Timestamp::from_nanos(time)
}

/// A batch with events at these times, numbered from `first` on.
fn batch(shard: usize, first: usize, times: &[u64], until: u64) -> EventBatch {
    let mut batch = EventBatch::default();
    (batch.shard, batch.until, batch.packets) = (shard, at(until), times.len());
    batch.counters.received =
        vec![crate::capture::Received { records: (first + times.len()) as u64, highest: 0 }];
    for (number, time) in times.iter().enumerate() {
        batch.event(at(*time), (&Event::Encrypted(&event(shard, first + number))).into());
    }
    batch
}

fn new_merger(shards: usize, max_batches: usize) -> BatchMerger {
    BatchMerger::new(vec![FlowCounters::default(); shards], max_batches, at(0))
}

/// Collects time, shard and number of events.
type Merged = Vec<(u64, u32, u64)>;

impl EventSink for Merged {
    fn event(&mut self, at: Timestamp, rendered: RenderedEvent<'_>) {
        let Event::Encrypted(envelope) = *rendered.event else { panic!("{rendered:?}") };
        let PacketId { cpu, seq } = envelope.id.packet;
        self.push((at.as_nanos(), cpu, seq));
    }
}

fn counted(merger: &BatchMerger) -> Vec<u64> {
    let records = |counters: &FlowCounters| counters.received.first().map_or(0, |got| got.records);
    merger.counters().map(records).collect()
}

#[test]
fn waits_until_every_shard_is_past_an_event() {
    let (mut merger, mut seen) = (new_merger(2, 8), Merged::new());
    merger.push(batch(0, 0, &[1, 5, 9], 9));
    merger.merge(&mut seen);
    assert_eq!(seen, []);
    merger.push(batch(1, 0, &[2, 5], 5));
    merger.merge(&mut seen);
    assert_eq!(seen, [(1, 0, 0), (2, 1, 0), (5, 0, 1), (5, 1, 1)]);
    assert!(merger.is_waiting());
    assert_eq!(merger.spent().map(|batch| batch.shard).collect::<Vec<_>>(), [1]);
    assert_eq!(counted(&merger), [0, 2], "a batch counts once it is merged completely");
    merger.advance(1, at(9));
    merger.merge(&mut seen);
    assert_eq!(seen.last(), Some(&(9, 0, 2)));
    assert_eq!(counted(&merger), [3, 2]);
    assert_eq!((merger.spent().count(), merger.is_waiting()), (1, false));
}

#[test]
fn merges_everything_for_the_ledger() {
    let (mut merger, mut seen) = (new_merger(3, 8), Merged::new());
    merger.push(batch(2, 0, &[4], 4));
    merger.push(batch(0, 0, &[7], 7));
    merger.merge_all(&mut seen);
    assert_eq!(seen, [(4, 2, 0), (7, 0, 0)]);
    assert_eq!(counted(&merger), [1, 0, 1]);
}

#[test]
fn does_not_wait_for_a_shard_without_free_batches() {
    let (mut merger, mut seen) = (new_merger(2, 2), Merged::new());
    merger.advance(1, at(100));
    // A shard reports that it is past its newest packet only with the next one.
    merger.push(batch(0, 0, &[5, 9], 8));
    merger.merge(&mut seen);
    assert_eq!((seen.len(), merger.spent().count()), (1, 0));
    merger.push(batch(0, 2, &[10], 8));
    merger.merge(&mut seen);
    assert_eq!((seen.len(), merger.spent().count()), (3, 2));
}

/// Batches of events of each shard, as time since the event before.
fn shards() -> impl Strategy<Value = Vec<Vec<Vec<u64>>>> {
    let batches = prop::collection::vec(prop::collection::vec(0..4_u64, 0..6), 0..8);
    prop::collection::vec(batches, 1..5)
}

proptest! {
    /// In whatever order batches arrive, each event is merged once, ordered by time, by shard, and by its place in
    /// the shard.
    #[test]
    fn order_does_not_depend_on_arrival(
        shards in shards(),
        turns in prop::collection::vec((0..5_usize, any::<bool>(), 0..3_u64), 0..80),
    ) {
        let mut batches: Vec<VecDeque<EventBatch>> = Vec::new();
        let mut expected = Merged::new();
        for (shard, given) in shards.iter().enumerate() {
            let (mut now, mut number) = (1, 0);
            let mut row = VecDeque::new();
            for steps in given {
                let first = number;
                let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
                for time in &times {
                    expected.push((*time, u32::try_from(shard).unwrap(), number as u64));
                    number += 1;
                }
                row.push_back(batch(shard, first, &times, now));
                // Later batches have later times.
                now += 1;
            }
            batches.push(row);
        }
        expected.sort_unstable();
        let (mut merger, mut seen) = (new_merger(shards.len(), 99), Merged::new());
        for (shard, merges, ahead) in turns {
            let shard = shard % shards.len();
            match batches[shard].front().map(|batch| batch.next_at().unwrap_or(batch.until)) {
                // An idle shard is past any time before its next event.
                Some(next) if ahead > 0 => {
                    let past = next.as_nanos().saturating_sub(ahead);
                    if past >= merger.lanes[shard].past.as_nanos() {
                        merger.advance(shard, at(past));
                    }
                }
                Some(_) => merger.push(batches[shard].pop_front().unwrap()),
                None => merger.advance(shard, at(1_000)),
            }
            if merges {
                merger.merge(&mut seen);
                prop_assert!(seen.len() <= expected.len());
                prop_assert_eq!(&seen[..], &expected[..seen.len()]);
            }
        }
        for (shard, rest) in batches.into_iter().enumerate() {
            for batch in rest {
                merger.push(batch);
            }
            merger.advance(shard, at(1_000));
        }
        merger.merge(&mut seen);
        prop_assert_eq!(seen, expected);
        prop_assert!(!merger.is_waiting());
    }
}
