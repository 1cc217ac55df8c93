//! The spool compared with a list in memory: every record is handed out, stored, removed with a
//! reason, or torn, as the list says.

use super::*;
use crate::spool::queue::FrameState;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
enum Op {
    Append {
        stream: Stream,
        records: u128,
        bytes: usize,
        sent: bool,
    },
    NextStep,
    Settle(prop::sample::Index),
    /// Some records of a frame are delivered.
    Deliver(prop::sample::Index, u8),
    Checkpoint,
    Pass(u64),
    /// The process ends; bytes are missing at the end of the newest segment of a stream.
    Reopen {
        torn: Option<(Stream, u64)>,
    },
}

fn stream() -> impl Strategy<Value = Stream> {
    prop::sample::select(vec![Stream::Ledger, Stream::Transactions, Stream::Messages])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (stream(), 1u128..5, 0usize..6000, any::<bool>())
            .prop_map(|(stream, records, bytes, sent)| Op::Append { stream, records, bytes, sent }),
        5 => Just(Op::NextStep),
        5 => any::<prop::sample::Index>().prop_map(Op::Settle),
        3 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(frame, bits)| Op::Deliver(frame, bits)),
        1 => Just(Op::Checkpoint),
        1 => (1u64..20).prop_map(Op::Pass),
        1 => prop::option::of((stream(), 1u64..20_000)).prop_map(|torn| Op::Reopen { torn }),
    ]
}

/// A frame in the model.
struct ModelFrame {
    id: FrameId,
    ids: Vec<u128>,
    bytes: usize,
    seconds: u64,
    state: FrameState,
    origin: Origin,
    /// By record: settled by an earlier process; delivered by this one; in the checkpoint.
    settled: Vec<bool>,
    delivered: Vec<bool>,
    written: Vec<bool>,
    /// The checkpoint marks it as finished.
    done_written: bool,
}

impl ModelFrame {
    fn stream(&self) -> Stream {
        self.id.stream
    }

    fn left(&self) -> u64 {
        self.settled.iter().filter(|settled| !**settled).count() as u64
    }

    fn is_left(&self) -> bool {
        self.state != FrameState::Done
    }
}

struct Model {
    dir: TempDir,
    config: SpoolConfig,
    spool: Spool,
    frames: Vec<ModelFrame>,
    /// Dropped so far.
    lost: DiskLosses,
    seconds: u64,
    next_id: u128,
}

impl Model {
    fn new(when_full: WhenFull) -> Self {
        let dir = TempDir::new().unwrap();
        let max_age = Duration::from_secs(30);
        let config = SpoolConfig { max_age, when_full, ..config(dir.path(), 150_000) };
        let spool = open(&config).0;
        Self {
            dir,
            config,
            spool,
            frames: Vec::new(),
            lost: DiskLosses::default(),
            seconds: 0,
            next_id: 1,
        }
    }

    fn now(&self) -> SystemTime {
        time(self.seconds)
    }

    /// One of the frames that are in the producer's memory.
    fn sent(&self, index: prop::sample::Index) -> Option<usize> {
        let sent =
            (0..self.frames.len()).filter(|frame| self.frames[*frame].state == FrameState::Sent);
        let sent: Vec<usize> = sent.collect();
        (!sent.is_empty()).then(|| *index.get(&sent))
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Append { stream, records, bytes, sent } => {
                self.append(stream, records, bytes, sent)?;
            }
            Op::NextStep => self.next()?,
            Op::Settle(index) => {
                if let Some(frame) = self.sent(index) {
                    self.frames[frame].state = FrameState::Done;
                    self.spool.settle(self.frames[frame].id);
                    self.forget();
                }
            }
            Op::Deliver(index, bits) => {
                if let Some(frame) = self.sent(index) {
                    let delivered = self.frames[frame].delivered.iter_mut().enumerate();
                    delivered.for_each(|(record, delivered)| *delivered |= bits >> record & 1 == 1);
                }
            }
            Op::Checkpoint => self.checkpoint(),
            Op::Pass(seconds) => self.pass(seconds)?,
            Op::Reopen { torn } => self.reopen(torn)?,
        }
        self.compare()
    }

    fn append(
        &mut self,
        stream: Stream,
        records: u128,
        bytes: usize,
        sent: bool,
    ) -> Result<(), TestCaseError> {
        let ids: Vec<u128> = (self.next_id..self.next_id + records).collect();
        self.next_id += records;
        let batch = batch(stream, ids.iter().copied(), bytes);
        let now = self.now();
        let id = append(&mut self.spool, &batch, sent, now);
        let gone = self.gone(DropReason::SpoolFull)?;
        let rank = |stream| IMPORTANCE.iter().position(|other| *other == stream).unwrap();
        match id {
            Err(error) => {
                prop_assert!(matches!(error, AppendError::Full) && gone.is_empty(), "{error}");
                return Ok(());
            }
            Ok(id) => {
                let none = vec![false; ids.len()];
                self.frames.push(ModelFrame {
                    id,
                    ids,
                    bytes,
                    seconds: self.seconds,
                    state: if sent { FrameState::Sent } else { FrameState::Waiting },
                    origin: Origin::Own,
                    settled: none.clone(),
                    delivered: none.clone(),
                    written: none,
                    done_written: false,
                });
            }
        }
        for victim in &gone {
            prop_assert!(!sent && rank(victim.id.stream) >= rank(stream));
            if victim.id.stream == stream {
                prop_assert_eq!(self.config.when_full, WhenFull::DropOldest);
            }
            // Everything less important has been removed, but for segments that the producer has records of.
            let in_use = |frame: &ModelFrame| {
                self.frames.iter().any(|other| {
                    other.state == FrameState::Sent
                        && (other.stream(), other.id.segment) == (frame.stream(), frame.id.segment)
                })
            };
            let spared = self.frames.iter().filter(|frame| frame.is_left() && !in_use(frame));
            prop_assert!(
                spared
                    .map(|frame| rank(frame.stream()))
                    .all(|spared| spared <= rank(victim.id.stream))
            );
        }
        Ok(())
    }

    /// Removes the frames that the spool reports as removed, all for this reason.
    fn gone(&mut self, reason: DropReason) -> Result<Vec<RemovedFrame>, TestCaseError> {
        let gone = self.spool.take_removed();
        for gone in &gone {
            let frame = self.frames.iter_mut().find(|frame| frame.id == gone.id && frame.is_left());
            let Some(frame) = frame else {
                return Err(TestCaseError::fail(format!("{gone:?} was not there")));
            };
            let records = frame.left();
            let expected = RemovedFrame { id: frame.id, origin: frame.origin, records, reason };
            prop_assert_eq!((*gone, frame.state), (expected, FrameState::Waiting));
            self.lost.add(frame.stream(), reason, records);
            frame.state = FrameState::Done;
        }
        self.forget();
        Ok(gone)
    }

    /// Forgets segments in which all frames are finished.
    fn forget(&mut self) {
        let place = |frame: &ModelFrame| (frame.stream(), frame.id.segment);
        let left: BTreeSet<_> =
            self.frames.iter().filter(|frame| frame.is_left()).map(place).collect();
        self.frames.retain(|frame| left.contains(&place(frame)));
    }

    fn next(&mut self) -> Result<(), TestCaseError> {
        let waiting = |stream| {
            let mut frames = self.frames.iter();
            frames.position(|frame| frame.stream() == stream && frame.state == FrameState::Waiting)
        };
        let expected = IMPORTANCE.into_iter().find_map(waiting);
        prop_assert_eq!(self.spool.has_unsent(), expected.is_some());
        let unsent = self.spool.next();
        prop_assert_eq!(unsent.is_some(), expected.is_some());
        let (Some(unsent), Some(expected)) = (unsent, expected) else { return Ok(()) };
        let frame = &mut self.frames[expected];
        frame.state = FrameState::Sent;
        let given = batch(unsent.id.stream, frame.ids.iter().copied(), frame.bytes);
        prop_assert!(unsent.batch.iter().eq(given.iter()));
        prop_assert_eq!((unsent.id, unsent.origin), (frame.id, frame.origin));
        prop_assert_eq!(unsent.settled.contains(&true), frame.settled.contains(&true));
        prop_assert!(unsent.settled.is_empty() || unsent.settled == frame.settled);
        Ok(())
    }

    fn checkpoint(&mut self) {
        let sent = self.frames.iter().filter(|frame| frame.state == FrameState::Sent);
        let partial: Vec<_> = sent.map(|frame| (frame.id, frame.delivered.as_slice())).collect();
        self.spool.checkpoint(&partial).unwrap();
        for frame in &mut self.frames {
            let both = frame.settled.iter().zip(&frame.delivered);
            frame.written = both.map(|(settled, delivered)| *settled || *delivered).collect();
            frame.done_written = !frame.is_left();
        }
    }

    fn pass(&mut self, seconds: u64) -> Result<(), TestCaseError> {
        self.seconds += seconds;
        let now = self.now();
        self.spool.expire(now);
        self.expired()
    }

    fn expired(&mut self) -> Result<(), TestCaseError> {
        let limit = self.seconds.saturating_sub(self.config.max_age.as_secs());
        let is_waiting = |frame: &ModelFrame| frame.state == FrameState::Waiting;
        let old = |frame: &&ModelFrame| is_waiting(frame) && frame.seconds < limit;
        let old = self.frames.iter().filter(old).count();
        prop_assert_eq!(self.gone(DropReason::SpoolExpired)?.len(), old);
        Ok(())
    }

    fn reopen(&mut self, torn: Option<(Stream, u64)>) -> Result<(), TestCaseError> {
        let now = self.now();
        let mut expected = RecoveryReport::default();
        for frame in &mut self.frames {
            frame.settled.clone_from(&frame.written);
            frame.delivered.fill(false);
            frame.origin = Origin::Recovered;
            let done = frame.done_written || frame.left() == 0;
            frame.state = if done { FrameState::Done } else { FrameState::Waiting };
        }
        if let Some((stream, cut)) = torn {
            self.tear(stream, cut, &mut expected);
        }
        self.forget();
        for frame in self.frames.iter().filter(|frame| frame.is_left()) {
            expected.records[frame.stream() as usize] += frame.left();
        }
        // Only one agent may use the slot.
        let other = TempDir::new().unwrap();
        self.spool = open(&config(other.path(), 1)).0;
        released(self.dir.path());
        let (spool, recovered) = Spool::open(&self.config, BROKERS, NODE, now).unwrap();
        self.spool = spool;
        // Frames of which the removal is not in a checkpoint may come back.
        let forgotten = self.lost.minus(&recovered.lost);
        prop_assert!(forgotten.iter().all(|(_, reason, _)| reason == DropReason::SpoolExpired));
        expected.lost = recovered.lost;
        self.lost = recovered.lost;
        for stream in Stream::ALL {
            let torn = expected.torn_records[stream as usize];
            self.lost.add(stream, DropReason::SpoolCorrupt, torn);
        }
        prop_assert_eq!(recovered, expected);
        self.expired()
    }

    /// Truncates the newest segment of a stream and computes the expected result.
    fn tear(&mut self, stream: Stream, cut: u64, expected: &mut RecoveryReport) {
        let Some((name, segment)) = self.spool.queues[stream as usize].segments().next_back()
        else {
            return;
        };
        let path = self.spool.slot.segment_path(stream, name);
        let length = segment.bytes.saturating_sub(cut);
        File::options().write(true).open(path).unwrap().set_len(length).unwrap();
        let places: BTreeMap<usize, (u64, u64)> = (0..)
            .zip(&segment.frames)
            .map(|(place, frame)| {
                (place, (frame.offset, frame.offset + frame.header.frame_bytes()))
            })
            .collect();
        let whole = places.values().filter(|(_, end)| *end <= length).map(|(_, end)| *end).max();
        let header = format::segment_header_bytes(NODE) as u64;
        expected.torn_bytes = match whole {
            Some(whole) => length - whole,
            None if length < header => length.max(1),
            None => length - header,
        };
        self.frames.retain(|frame| {
            if (frame.stream(), frame.id.segment) != (stream, name) {
                return true;
            }
            let (start, end) = places[&frame.id.frame];
            if start + FRAME_HEADER as u64 <= length && length < end && frame.is_left() {
                expected.torn_records[stream as usize] += frame.left();
            }
            end <= length
        });
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let mut records = PerStream::default();
        let left = self.frames.iter().filter(|frame| frame.is_left());
        left.clone().for_each(|frame| records[frame.stream() as usize] += frame.left());
        prop_assert_eq!(self.spool.records(), records);
        prop_assert_eq!(self.spool.oldest(), left.map(|frame| time(frame.seconds)).min());
        prop_assert_eq!(self.spool.bytes(), bytes_on_disk(self.dir.path()));
        prop_assert!(self.spool.bytes() <= self.config.max_bytes);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn matches_the_model(
        newest in any::<bool>(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let policy = if newest { WhenFull::DropNewest } else { WhenFull::DropOldest };
        let mut model = Model::new(policy);
        for op in ops {
            model.run(op)?;
        }
        // What is left comes out, in order and once.
        while model.spool.has_unsent() {
            model.run(Op::NextStep)?;
        }
        model.run(Op::NextStep)?;
    }
}
