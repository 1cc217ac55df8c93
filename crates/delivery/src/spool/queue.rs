//! In-memory index of one stream's segments; no files here.
//!
//! Every operation takes amortized constant time per frame: cursors only move forward.

use super::Origin;
use super::format::FrameHeader;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameState {
    /// To be sent.
    Waiting,
    /// In the producer's memory.
    Sent,
    /// Finished: nothing is left to send.
    Done,
}

pub(super) struct Frame {
    pub offset: u64,
    pub header: FrameHeader,
    pub state: FrameState,
    /// Records that an earlier process saw delivered.
    pub settled: Option<Box<[bool]>>,
}

impl Frame {
    /// Records not known to be delivered.
    pub(super) fn unsettled(&self) -> u64 {
        let settled = self.settled.as_deref().unwrap_or_default();
        u64::from(self.header.records) - settled.iter().filter(|settled| **settled).count() as u64
    }
}

pub(super) struct Segment {
    pub node: Arc<str>,
    pub origin: Origin,
    pub bytes: u64,
    pub frames: Vec<Frame>,
    left: usize,
    /// Frames that wait: their records are stored only on disk.
    pub waiting: usize,
    /// All frames before this one are finished.
    head: usize,
    /// Whether a settled frame or record must be in the checkpoint.
    pub marked: bool,
}

impl Segment {
    pub(super) fn new(node: Arc<str>, origin: Origin, bytes: u64, frames: Vec<Frame>) -> Self {
        let count = |state| frames.iter().filter(|frame| frame.state == state).count();
        let done = count(FrameState::Done);
        let mut segment = Self {
            node,
            origin,
            bytes,
            left: frames.len() - done,
            waiting: count(FrameState::Waiting),
            head: 0,
            marked: done > 0 || frames.iter().any(|frame| frame.settled.is_some()),
            frames,
        };
        segment.advance();
        segment
    }

    /// Returns whether all frames are finished.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Returns whether the producer has records of it in memory.
    pub(super) fn is_in_use(&self) -> bool {
        self.left > self.waiting
    }

    fn advance(&mut self) {
        while self.frames.get(self.head).is_some_and(|frame| frame.state == FrameState::Done) {
            self.head += 1;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FinishedFrame {
    pub records: u64,
    pub origin: Origin,
    /// Whether all frames of its segment are finished.
    pub is_spent: bool,
}

/// One stream's segments, oldest first.
#[derive(Default)]
pub(super) struct Queue {
    segments: BTreeMap<u64, Segment>,
    pub records: u64,
    /// Frames that wait.
    pub waiting: usize,
    /// No frame waits before this segment and frame.
    cursor: (u64, usize),
    /// The highest name used.
    newest: u64,
}

impl Queue {
    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = (u64, &Segment)> {
        self.segments.iter().map(|(name, segment)| (*name, segment))
    }

    pub(super) fn segment(&self, name: u64) -> Option<&Segment> {
        self.segments.get(&name)
    }

    pub(super) fn frame(&self, name: u64, frame: usize) -> Option<&Frame> {
        self.segments.get(&name)?.frames.get(frame)
    }

    /// When the oldest unfinished frame was appended.
    pub(super) fn oldest_ns(&self) -> Option<u64> {
        let (name, place) = self.oldest()?;
        Some(self.frame(name, place)?.header.time_ns)
    }

    /// The oldest unfinished frame: its segment and index.
    pub(super) fn oldest(&self) -> Option<(u64, usize)> {
        let (name, segment) = self.segments().find(|(_, segment)| !segment.is_spent())?;
        Some((name, segment.head))
    }

    /// Allocates a name for a segment begun at `now_ns`. It sorts after all earlier names, even if
    /// the clock was set back.
    pub(super) fn new_name(&mut self, now_ns: u64) -> u64 {
        self.newest = now_ns.max(self.newest.saturating_add(1));
        self.newest
    }

    pub(super) fn used(&mut self, name: u64) {
        self.newest = self.newest.max(name);
    }

    pub(super) fn insert(&mut self, name: u64, segment: Segment) {
        let left = segment.frames.iter().filter(|frame| frame.state != FrameState::Done);
        self.records += left.map(Frame::unsettled).sum::<u64>();
        self.waiting += segment.waiting;
        self.cursor = self.cursor.min((name, 0));
        self.used(name);
        self.segments.insert(name, segment);
    }

    /// Adds a frame to a segment. Returns its index.
    pub(super) fn push(&mut self, name: u64, frame: Frame) -> Option<usize> {
        let segment = self.segments.get_mut(&name)?;
        self.records += frame.unsettled();
        segment.bytes = frame.offset + frame.header.frame_bytes();
        segment.left += 1;
        if frame.state == FrameState::Waiting {
            segment.waiting += 1;
            self.waiting += 1;
        }
        segment.frames.push(frame);
        Some(segment.frames.len() - 1)
    }

    pub(super) fn next_waiting(&mut self) -> Option<(u64, usize)> {
        if self.waiting == 0 {
            return None;
        }
        let (first, start) = self.cursor;
        for (name, segment) in self.segments.range(first..) {
            if segment.waiting == 0 {
                continue;
            }
            let start = if *name == first { start } else { 0 };
            let mut rest = segment.frames.iter().enumerate().skip(start);
            if let Some((place, _)) = rest.find(|(_, frame)| frame.state == FrameState::Waiting) {
                self.cursor = (*name, place);
                return Some(self.cursor);
            }
        }
        None
    }

    /// Marks a frame that waits as sent.
    pub(super) fn send(&mut self, name: u64, frame: usize) {
        let Some(segment) = self.segments.get_mut(&name) else { return };
        let Some(frame) = segment.frames.get_mut(frame) else { return };
        if frame.state == FrameState::Waiting {
            frame.state = FrameState::Sent;
            segment.waiting -= 1;
            self.waiting -= 1;
        }
    }

    /// Marks a frame as finished; `None` if it is unknown or finished.
    pub(super) fn finish(&mut self, name: u64, frame: usize) -> Option<FinishedFrame> {
        let segment = self.segments.get_mut(&name)?;
        let frame =
            segment.frames.get_mut(frame).filter(|frame| frame.state != FrameState::Done)?;
        if frame.state == FrameState::Waiting {
            segment.waiting -= 1;
            self.waiting -= 1;
        }
        frame.state = FrameState::Done;
        let records = frame.unsettled();
        self.records -= records;
        segment.left -= 1;
        segment.marked = true;
        segment.advance();
        Some(FinishedFrame { records, origin: segment.origin, is_spent: segment.is_spent() })
    }

    /// The frames of a segment that are not finished: index, origin and records.
    pub(super) fn unfinished(&self, name: u64) -> impl Iterator<Item = (usize, Origin, u64)> {
        self.segments.get(&name).into_iter().flat_map(|segment| {
            let frames = segment.frames.iter().enumerate();
            let left = frames.filter(|(_, frame)| frame.state != FrameState::Done);
            left.map(move |(place, frame)| (place, segment.origin, frame.unsettled()))
        })
    }

    /// Removes a segment. Returns its bytes.
    pub(super) fn remove(&mut self, name: u64) -> u64 {
        let left = self.unfinished(name).map(|(.., records)| records).sum::<u64>();
        let Some(segment) = self.segments.remove(&name) else { return 0 };
        self.records -= left;
        self.waiting -= segment.waiting;
        segment.bytes
    }
}
