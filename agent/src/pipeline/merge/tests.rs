use super::*;
use crate::capture::{Origin, Sight, Transport};
use crate::decode::{Envelope, MessageId};
use crate::pipeline::event::Event;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};

/// An event that tells its shard and its number there.
fn event(shard: usize, number: usize) -> Envelope {
    let end = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    let origin = Origin { cpu: u32::try_from(shard).unwrap(), seq: number as u64 };
    Envelope {
        id: MessageId { origin, index: 0 },
        ts: Timestamp::default(),
        scope: 0,
        sight: Sight::Passive,
        task: None,
        cgroup_id: 0,
        transport: Transport::Udp,
        src: end,
        dst: end,
    }
}

fn at(time: u64) -> Timestamp {
    Timestamp::from_nanos(time)
}

/// A batch with events at these times, numbered from `first` on.
fn batch(shard: usize, first: usize, times: &[u64], until: u64) -> Batch {
    let mut batch = Batch::default();
    (batch.shard, batch.until, batch.packets) = (shard, at(until), times.len());
    batch.snapshot.received =
        vec![crate::capture::Received { records: (first + times.len()) as u64, highest: 0 }];
    for (number, time) in times.iter().enumerate() {
        batch.push(at(*time), (&Event::Sealed(&event(shard, first + number))).into());
    }
    batch
}

type Shown = Vec<(u64, u32, u64)>;

fn take(shown: &mut Shown) -> impl FnMut(Timestamp, Told<'_>) {
    |time, told| {
        let Event::Sealed(envelope) = *told.event else { panic!("{told:?}") };
        let Origin { cpu, seq } = envelope.id.origin;
        shown.push((time.as_nanos(), cpu, seq));
    }
}

fn counted(merge: &Merge) -> Vec<u64> {
    let records = |snapshot: &Snapshot| snapshot.received.first().map_or(0, |got| got.records);
    merge.snapshots().map(records).collect()
}

#[test]
fn nothing_is_shown_before_every_shard_is_past_it() {
    let (mut merge, mut shown) = (Merge::new(2, 8, at(0)), Vec::new());
    merge.put(batch(0, 0, &[1, 5, 9], 9));
    merge.show(&mut take(&mut shown));
    assert_eq!(shown, []);
    merge.put(batch(1, 0, &[2, 5], 5));
    merge.show(&mut take(&mut shown));
    assert_eq!(shown, [(1, 0, 0), (2, 1, 0), (5, 0, 1), (5, 1, 1)]);
    assert!(merge.is_waiting());
    assert_eq!(merge.spent().map(|batch| batch.shard).collect::<Vec<_>>(), [1]);
    assert_eq!(counted(&merge), [0, 2], "what is shown in part does not count yet");
    merge.is_past(1, at(9));
    merge.show(&mut take(&mut shown));
    assert_eq!(shown.last(), Some(&(9, 0, 2)));
    assert_eq!(counted(&merge), [3, 2]);
    assert_eq!((merge.spent().count(), merge.is_waiting()), (1, false));
}

#[test]
fn what_waits_is_shown_at_once_for_the_ledger() {
    let (mut merge, mut shown) = (Merge::new(3, 8, at(0)), Vec::new());
    merge.put(batch(2, 0, &[4], 4));
    merge.put(batch(0, 0, &[7], 7));
    merge.show_all(&mut take(&mut shown));
    assert_eq!(shown, [(4, 2, 0), (7, 0, 0)]);
    assert_eq!(counted(&merge), [1, 0, 1]);
}

#[test]
fn a_clock_that_steps_back_holds_nothing_up() {
    let (mut merge, mut shown) = (Merge::new(2, 8, at(0)), Vec::new());
    let hour = 3_600_000_000_000;
    merge.put(batch(1, 0, &[], hour));
    merge.put(batch(0, 0, &[hour + 1], hour + 1));
    // Set back by an hour in mid batch.
    merge.put(batch(1, 0, &[hour + 1, hour + 2, 10], 10));
    merge.show(&mut take(&mut shown));
    assert_eq!(shown.len(), 4, "{shown:?}");
    merge.put(batch(0, 1, &[11], 12));
    merge.is_past(1, at(12));
    merge.show(&mut take(&mut shown));
    let of = |shard| shown.iter().filter(|(_, s, _)| *s == shard).map(|(_, _, n)| *n).collect();
    let (zero, one): (Vec<_>, Vec<_>) = (of(0), of(1));
    assert_eq!((zero, one), (vec![0, 1], vec![0, 1, 2]));
}

#[test]
fn a_shard_whose_batches_are_all_here_is_not_waited_for() {
    let (mut merge, mut shown) = (Merge::new(2, 2, at(0)), Vec::new());
    merge.is_past(1, at(100));
    // It cannot tell that it is past its newest packet before the next has come.
    merge.put(batch(0, 0, &[5, 9], 8));
    merge.show(&mut take(&mut shown));
    assert_eq!((shown.len(), merge.spent().count()), (1, 0));
    merge.put(batch(0, 2, &[10], 8));
    merge.show(&mut take(&mut shown));
    assert_eq!((shown.len(), merge.spent().count()), (3, 2));
}

/// What each shard gives: batches of events, by how much later each is than the one before.
fn shards() -> impl Strategy<Value = Vec<Vec<Vec<u64>>>> {
    let batches = prop::collection::vec(prop::collection::vec(0..4_u64, 0..6), 0..8);
    prop::collection::vec(batches, 1..5)
}

proptest! {
    /// However batches and clocks come in among each other, the events are shown in one order: by
    /// time, then by shard, then as the shard gave them; and each once.
    #[test]
    fn any_interleaving_gives_the_same(
        shards in shards(),
        turns in prop::collection::vec((0..5_usize, any::<bool>(), 0..3_u64), 0..80),
    ) {
        let mut batches: Vec<VecDeque<Batch>> = Vec::new();
        let mut expected = Shown::new();
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
                // What comes later is later.
                now += 1;
            }
            batches.push(row);
        }
        expected.sort_unstable();
        let (mut merge, mut shown) = (Merge::new(shards.len(), 99, at(0)), Shown::new());
        for (shard, show, ahead) in turns {
            let shard = shard % shards.len();
            match batches[shard].front().map(|batch| batch.next_at().unwrap_or(batch.until)) {
                // An idle shard is past anything before what it gives next.
                Some(next) if ahead > 0 => {
                    let past = next.as_nanos().saturating_sub(ahead);
                    if past >= merge.shards[shard].past.as_nanos() {
                        merge.is_past(shard, at(past));
                    }
                }
                Some(_) => merge.put(batches[shard].pop_front().unwrap()),
                None => merge.is_past(shard, at(1_000)),
            }
            if show {
                merge.show(&mut take(&mut shown));
                prop_assert!(shown.len() <= expected.len());
                prop_assert_eq!(&shown[..], &expected[..shown.len()]);
            }
        }
        for (shard, rest) in batches.into_iter().enumerate() {
            for batch in rest {
                merge.put(batch);
            }
            merge.is_past(shard, at(1_000));
        }
        merge.show(&mut take(&mut shown));
        prop_assert_eq!(shown, expected);
        prop_assert!(!merge.is_waiting());
    }
}
