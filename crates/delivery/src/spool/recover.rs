//! Opens a spool: recovers what earlier processes left.

use super::append::Active;
use super::checkpoint::Checkpoint;
use super::folder::Slot;
use super::format::{Packer, ScannedSegment, Unreadable, scan, segment_header_bytes};
use super::queue::{Queue, Segment};
use super::{Origin, PerStream, RecoveryReport, Spool, SpoolConfig, SpoolError};
use crate::Stream;
use crate::tally::{DiskLosses, DropReason};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

const MIN_SEGMENT_BYTES: u64 = 64 << 10;
const MAX_SEGMENT_BYTES: u64 = 8 << 20;

impl Spool {
    /// Takes a slot for `destination` (the brokers as text), and adopts what terminated agents left
    /// for it. `node` is the name stored with records appended from now on.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be created, read or written. Stored records stay
    /// where they are.
    pub fn open(
        config: &SpoolConfig,
        destination: &str,
        node: &str,
        now: SystemTime,
    ) -> Result<(Self, RecoveryReport), SpoolError> {
        if segment_header_bytes(node) > usize::from(u16::MAX) {
            return Err(SpoolError::Node);
        }
        let slot = Slot::take(&config.directory, destination)?;
        let mut marks = read_checkpoint_of(&slot);
        let saved_lost = slot.read_lost();
        let lost =
            adopt_abandoned(&slot, &mut marks, saved_lost).map_err(SpoolError::at(&slot.path))?;
        let mut spool = Self {
            max_bytes: config.max_bytes,
            max_age: config.max_age,
            when_full: config.when_full,
            causes_first: false,
            segment_bytes: (config.max_bytes / 32).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES),
            node: node.into(),
            lost,
            saved_lost: lost,
            checkpointed: slot.checkpoint_path().exists().then_some(0),
            slot,
            queues: <[Queue; Stream::ALL.len()]>::default(),
            active: <[Option<Active>; Stream::ALL.len()]>::default(),
            reader: None,
            packer: Packer::new().map_err(SpoolError::Zstd)?,
            out: Vec::new(),
            bytes: 0,
            gone: Vec::new(),
            unsynced: BTreeSet::new(),
            leftovers: false,
        };
        let recovered = spool.recover(&marks, now)?;
        Ok((spool, recovered))
    }

    fn recover(
        &mut self,
        marks: &Checkpoint,
        now: SystemTime,
    ) -> Result<RecoveryReport, SpoolError> {
        let mut recovered = RecoveryReport { lost: self.lost, ..RecoveryReport::default() };
        // Names that only the checkpoint still contains must not be reused.
        for (stream, name) in marks.segments.keys() {
            if let Some(queue) = self.queues.get_mut(usize::from(*stream)) {
                queue.used(*name);
            }
        }
        for stream in Stream::ALL {
            let folder = self.slot.stream_path(stream);
            let names = self.slot.segments(stream).map_err(SpoolError::at(&folder))?;
            for (place, name) in names.iter().enumerate() {
                let newest = place + 1 == names.len();
                self.load(stream, *name, newest, marks, &mut recovered)?;
            }
        }
        recovered.records = self.records();
        for stream in Stream::ALL {
            let torn = recovered.torn_records[stream as usize];
            self.lost.add(stream, DropReason::SpoolCorrupt, torn);
        }
        // Damaged records are counted now; the next process must not count them again.
        if recovered.torn_records != PerStream::default()
            && let Err(error) = self.checkpoint(&[])
        {
            tracing::warn!(path = %self.slot.path.display(), %error, "cannot write the spool's checkpoint");
        }
        self.expire(now);
        Ok(recovered)
    }

    fn load(
        &mut self,
        stream: Stream,
        name: u64,
        newest: bool,
        marks: &Checkpoint,
        recovered: &mut RecoveryReport,
    ) -> Result<(), SpoolError> {
        let path = self.slot.segment_path(stream, name);
        let scan = || {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok((length, scan(&file, length, newest, marks.mark(stream, name))?))
        };
        let (length, found) = scan().map_err(SpoolError::at(&path))?;
        let segment = match found {
            Err(Unreadable::Foreign) => return Err(SpoolError::Newer { path }),
            Err(Unreadable::Torn) => {
                // An empty file has lost at least its header, so it counts.
                recovered.torn_bytes += length.max(1);
                Segment::new("".into(), Origin::Recovered, length, Vec::new())
            }
            Ok(found) => {
                recovered.torn_bytes += found.torn_bytes;
                recovered.torn_records[stream as usize] += found.torn_records;
                let bytes = cut(&path, length, &found);
                Segment::new(found.node, Origin::Recovered, bytes, found.frames)
            }
        };
        let spent = segment.is_spent();
        self.bytes += segment.bytes;
        self.queues[stream as usize].insert(name, segment);
        if spent {
            self.discard(stream, name);
        }
        Ok(())
    }
}

/// Cuts off a torn end, so that it is counted once. Returns the remaining bytes.
fn cut(path: &Path, length: u64, found: &ScannedSegment) -> u64 {
    if found.end == length {
        return length;
    }
    match OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(found.end)) {
        Ok(()) => found.end,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot cut off the torn end of a segment");
            length
        }
    }
}

/// Reads a slot's checkpoint. Without it more is sent again, but nothing is lost.
fn read_checkpoint_of(slot: &Slot) -> Checkpoint {
    match fs::read(slot.checkpoint_path()) {
        Ok(bytes) => Checkpoint::decode(&bytes).unwrap_or_default(),
        Err(error) if error.kind() == ErrorKind::NotFound => Checkpoint::default(),
        Err(error) => {
            let path = slot.path.display();
            tracing::warn!(%path, %error, "cannot read the spool's checkpoint: delivered records may be sent again");
            Checkpoint::default()
        }
    }
}

/// Adopts the segments of slots of terminated agents. Returns the losses of all together.
fn adopt_abandoned(
    slot: &Slot,
    marks: &mut Checkpoint,
    mut lost: DiskLosses,
) -> io::Result<DiskLosses> {
    let mut taken = BTreeSet::new();
    for stream in Stream::ALL {
        taken.extend(slot.segments(stream)?.into_iter().map(|name| (stream as u8, name)));
    }
    for dead in slot.abandoned()? {
        // Entries of removed segments must not apply to new segments with their names.
        taken.extend(marks.segments.keys());
        if let Err(error) = adopt_slot(slot, &dead, &mut taken, marks, &mut lost) {
            let path = dead.path.display();
            tracing::warn!(%path, %error, "cannot adopt the records that a terminated agent left in the spool; they stay there");
        }
    }
    Ok(lost)
}

fn adopt_slot(
    slot: &Slot,
    dead: &Slot,
    taken: &mut BTreeSet<(u8, u64)>,
    marks: &mut Checkpoint,
    lost: &mut DiskLosses,
) -> io::Result<()> {
    let more = dead.read_lost();
    if more != DiskLosses::default() {
        let both = lost.plus(&more);
        slot.write_lost(&both)?;
        *lost = both;
    }
    let mut read_checkpoint_of = read_checkpoint_of(dead);
    let mut moved = Checkpoint::default();
    let mut renames = Vec::new();
    for stream in Stream::ALL {
        let number = stream as u8;
        for name in dead.segments(stream)? {
            let to = (name..=u64::MAX).find(|to| taken.insert((number, *to))).unwrap_or(name);
            renames.push((stream, name, to));
            let mark = read_checkpoint_of.segments.remove(&(number, name));
            moved.segments.extend(mark.map(|mark| ((number, to), mark)));
        }
    }
    if renames.is_empty() {
        return dead.remove_notes();
    }
    // The checkpoint is written before the segments are moved, so that a crash in between costs
    // little.
    marks.segments.append(&mut moved.segments);
    if let Err(error) = slot.write_checkpoint(&marks.encode()) {
        tracing::warn!(path = %slot.path.display(), %error, "cannot write the spool's checkpoint");
    }
    for (stream, name, to) in renames {
        slot.receive(dead, stream, name, to)?;
    }
    dead.remove_notes()
}
