//! Reads the frames of a segment that an earlier process wrote.

use super::checkpoint::SegmentMark;
use super::format::{FRAME_HEADER, FrameHeader, SegmentHeader, read_fully, read_segment_header};
use super::queue::{Frame, FrameState};
use std::fs::File;
use std::io;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Result of reading a segment.
pub(super) enum Scan {
    Intact(ScannedSegment),
    /// Its header is damaged.
    Torn,
    /// Written by a newer version.
    Foreign,
}

/// The frames of a segment.
pub(super) struct ScannedSegment {
    pub node: Arc<str>,
    pub frames: Vec<Frame>,
    /// Bytes of the segment to keep.
    pub end: u64,
    pub torn_bytes: u64,
    /// Unsettled records of frames with an intact header and a damaged payload.
    pub torn_records: u64,
}

/// Reads the frames' headers and, if `whole`, verifies the payloads.
pub(super) fn scan(
    file: &File,
    length: u64,
    whole: bool,
    mark: Option<&SegmentMark>,
) -> io::Result<Scan> {
    let (node, mut offset) = match read_segment_header(file)? {
        SegmentHeader::Intact { node, bytes } => (node, bytes),
        SegmentHeader::Torn => return Ok(Scan::Torn),
        SegmentHeader::Foreign => return Ok(Scan::Foreign),
    };
    let mut found =
        ScannedSegment { node, frames: Vec::new(), end: 0, torn_bytes: 0, torn_records: 0 };
    let mut corrupt = Vec::new();
    let mut bytes = [0; FRAME_HEADER];
    let mut payload = Vec::new();
    while read_fully(file, &mut bytes, offset)? {
        let Some(header) = FrameHeader::read(&bytes, offset) else { break };
        let mut frame = apply_mark(offset, header, found.frames.len(), mark);
        let left = if frame.state == FrameState::Done { 0 } else { frame.unsettled() };
        if offset + header.frame_bytes() > length {
            found.torn_records += left;
            break;
        }
        if whole && !is_intact(file, &frame, &mut payload)? {
            found.torn_records += left;
            found.torn_bytes += header.frame_bytes();
            frame.state = FrameState::Done;
            corrupt.push(found.frames.len());
        }
        offset += header.frame_bytes();
        found.frames.push(frame);
    }
    found.torn_bytes += length - offset;
    // Damaged frames at the end are cut off, so that they are not counted again even if the
    // checkpoint is lost.
    while corrupt.pop_if(|last| *last + 1 == found.frames.len()).is_some() {
        offset = found.frames.pop().map_or(offset, |frame| frame.offset);
    }
    found.end = offset;
    Ok(Scan::Intact(found))
}

/// A frame, with what the checkpoint knows about it.
fn apply_mark(offset: u64, header: FrameHeader, place: usize, mark: Option<&SegmentMark>) -> Frame {
    let settled = mark.and_then(|mark| mark.settled(place, header.records));
    let mut frame = Frame { offset, header, state: FrameState::Waiting, settled };
    if mark.is_some_and(|mark| mark.is_done(place)) || frame.unsettled() == 0 {
        frame.state = FrameState::Done;
    }
    frame
}

fn is_intact(file: &File, frame: &Frame, payload: &mut Vec<u8>) -> io::Result<bool> {
    payload.resize(frame.header.payload_bytes as usize, 0);
    let there = read_fully(file, payload, frame.offset + FRAME_HEADER as u64)?;
    Ok(there && xxh3_64(payload) == frame.header.payload_hash)
}
