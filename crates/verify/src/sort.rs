//! Finds duplicates in bounded memory: an external merge sort of small entries, one per record.
//!
//! Entries collect in memory; when the limit is reached they are sorted and written to a temporary
//! file, a run. Reading all runs in parallel yields equal entries next to each other. Neither the
//! number of duplicates nor the choice of ids affects the memory, as they would with a hash table
//! per range of ids.

use super::SortOptions;
use dnscribe_record::{EventId, Stream};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

/// Default bytes of memory for entries.
pub const DEFAULT_MEMORY_BYTES: usize = 64 << 20;

/// Runs that are merged into one; limits open files and read buffers.
const FAN_IN: usize = 64;

/// Buffer size of each run that is read or written, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Size of an entry in a run, in bytes.
const ENTRY_BYTES: usize = 22;

/// Stands for no status.
const NO_STATUS: u8 = LATE - 1;

/// Bit of the status byte: the record is older than what a store keeps.
const EXPIRED: u8 = 0x80;

/// Bit of the status byte: the record is so new that its row may still be on its way. With [`EXPIRED`]: it is older than
/// what a store keeps by default.
const RECENT: u8 = 0x40;

/// Bit of the status byte: the record was written long after its time.
const LATE: u8 = 0x20;

/// Age of a record, as the comparison with a store's rows needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Older than what the store keeps.
    Expired,
    /// Older than what the store keeps by default; what it has does not tell.
    ExpiredByDefault,
    /// The store has its row.
    Kept,
    /// So new that its row may still be on its way.
    Recent,
}

/// What is stored of a record. Sorts by event: event id, node, stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortEntry {
    // Big-endian bytes: a u128 would be aligned to 16 bytes and the entry take 32.
    id: [u8; 16],
    /// Number of the node.
    pub(super) node: u32,
    /// Index of the stream in [`Stream::ALL`].
    pub(super) stream: u8,
    /// Number of the status and the bits [`EXPIRED`], [`RECENT`] and [`LATE`].
    status: u8,
}

impl SortEntry {
    pub(super) fn new(id: EventId, node: u32, stream: Stream, status: Option<u8>) -> Self {
        let id = id.0.to_be_bytes();
        Self { id, node, stream: stream as u8, status: status.unwrap_or(NO_STATUS) }
    }

    /// Notes how old the record is for a store.
    pub(super) const fn with_age(self, age: Age) -> Self {
        let bit = match age {
            Age::Expired => EXPIRED,
            Age::ExpiredByDefault => EXPIRED | RECENT,
            Age::Kept => 0,
            Age::Recent => RECENT,
        };
        Self { status: self.status | bit, ..self }
    }

    /// Notes that the record was written long after its time.
    pub(super) const fn late(self) -> Self {
        Self { status: self.status | LATE, ..self }
    }

    pub(super) const fn age(&self) -> Age {
        match self.status & (EXPIRED | RECENT) {
            0 => Age::Kept,
            EXPIRED => Age::Expired,
            RECENT => Age::Recent,
            _ => Age::ExpiredByDefault,
        }
    }

    /// Number of the status, or a number greater than all of them.
    pub(super) const fn status(&self) -> u8 {
        self.status & !(EXPIRED | RECENT | LATE)
    }

    pub(super) fn id(&self) -> EventId {
        EventId(u128::from_be_bytes(self.id))
    }

    /// Returns whether both are copies of one record.
    fn same_event(&self, other: &Self) -> bool {
        (self.id, self.node, self.stream) == (other.id, other.node, other.stream)
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..20].copy_from_slice(&self.node.to_le_bytes());
        bytes[20..].copy_from_slice(&[self.stream, self.status]);
        bytes
    }

    fn read(input: &mut impl Read) -> io::Result<Self> {
        let (mut id, mut node, mut kind) = ([0; 16], [0; 4], [0; 2]);
        [&mut id[..], &mut node, &mut kind]
            .into_iter()
            .try_for_each(|part| input.read_exact(part))?;
        let [stream, status] = kind;
        Ok(Self { id, node: u32::from_le_bytes(node), stream, status })
    }
}

/// Copies of an event, the first included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copies {
    pub(super) all: u64,
    /// Written long after their time.
    pub(super) late: u64,
}

impl Copies {
    fn add(&mut self, entry: SortEntry) {
        self.all += 1;
        self.late += u64::from(entry.status & LATE != 0);
    }
}

/// Accepts entries in any order and returns each event once.
#[derive(Debug)]
pub(super) struct Sorter {
    temp: PathBuf,
    capacity: usize,
    buffer: Vec<SortEntry>,
    /// Runs by how often their entries were merged; fewer than [`FAN_IN`] on each level.
    levels: Vec<Vec<Run>>,
}

/// Sorted entries in a file without a name, from its beginning.
#[derive(Debug)]
struct Run {
    file: File,
    entries: u64,
}

impl Sorter {
    pub(super) fn new(options: SortOptions) -> Self {
        let capacity = (options.memory_bytes / size_of::<SortEntry>()).max(1);
        Self { temp: options.temp_folder, capacity, buffer: Vec::new(), levels: Vec::new() }
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, entry: SortEntry) -> io::Result<()> {
        if self.buffer.len() == self.capacity {
            self.spill()?;
        }
        self.buffer.push(entry);
        Ok(())
    }

    /// Calls `each` with each event and its copies. If copies differ in status, the lowest status
    /// counts, so the order of arrival does not matter.
    pub(super) fn distinct(mut self, each: &mut dyn FnMut(&SortEntry, Copies)) -> io::Result<()> {
        let mut last: Option<(SortEntry, Copies)> = None;
        let mut take = |entry: SortEntry| {
            match &mut last {
                Some((event, copies)) if event.same_event(&entry) => copies.add(entry),
                _ => {
                    let mut first = Copies::default();
                    first.add(entry);
                    if let Some((event, copies)) = last.replace((entry, first)) {
                        each(&event, copies);
                    }
                }
            }
            Ok(())
        };
        if self.levels.is_empty() {
            self.buffer.sort_unstable();
            self.buffer.into_iter().try_for_each(take)?;
        } else {
            self.spill()?;
            self.buffer = Vec::new();
            merge(self.levels.into_iter().flatten(), &mut take)?;
        }
        if let Some((event, copies)) = last {
            each(&event, copies);
        }
        Ok(())
    }

    /// Writes the entries in memory as a run.
    fn spill(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        let mut writer = RunWriter::new(&self.temp)?;
        for entry in self.buffer.drain(..) {
            writer.write(entry)?;
        }
        let mut run = writer.finish()?;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(run);
            if self.levels[level].len() < FAN_IN {
                break;
            }
            let mut writer = RunWriter::new(&self.temp)?;
            merge(self.levels[level].drain(..), &mut |entry| writer.write(entry))?;
            run = writer.finish()?;
        }
        Ok(())
    }
}

/// Calls `each` with the entries of all runs in order.
fn merge(
    runs: impl Iterator<Item = Run>,
    each: &mut dyn FnMut(SortEntry) -> io::Result<()>,
) -> io::Result<()> {
    let mut readers: Vec<RunReader> = runs.map(RunReader::new).collect();
    let mut heap = BinaryHeap::with_capacity(readers.len());
    for (index, reader) in readers.iter_mut().enumerate() {
        if let Some(entry) = reader.next()? {
            heap.push(Reverse((entry, index)));
        }
    }
    while let Some(mut lowest) = heap.peek_mut() {
        let Reverse((entry, index)) = *lowest;
        each(entry)?;
        match readers[index].next()? {
            Some(entry) => *lowest = Reverse((entry, index)),
            None => drop(PeekMut::pop(lowest)),
        }
    }
    Ok(())
}

struct RunWriter {
    output: BufWriter<File>,
    entries: u64,
}

impl RunWriter {
    fn new(folder: &PathBuf) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { output: BufWriter::with_capacity(BUFFER_BYTES, file), entries: 0 })
    }

    fn write(&mut self, entry: SortEntry) -> io::Result<()> {
        self.entries += 1;
        self.output.write_all(&entry.to_bytes())
    }

    fn finish(self) -> io::Result<Run> {
        let mut file = self.output.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Run { file, entries: self.entries })
    }
}

struct RunReader {
    input: BufReader<File>,
    left: u64,
}

impl RunReader {
    fn new(run: Run) -> Self {
        Self { input: BufReader::with_capacity(BUFFER_BYTES, run.file), left: run.entries }
    }

    fn next(&mut self) -> io::Result<Option<SortEntry>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        SortEntry::read(&mut self.input).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn room(memory_bytes: usize) -> SortOptions {
        SortOptions { temp_folder: std::env::temp_dir(), memory_bytes }
    }

    /// Few ids, so that duplicates are many; few kinds.
    fn entry() -> impl Strategy<Value = SortEntry> {
        let id = prop_oneof![0_u128..50, any::<u128>(), Just(u128::MAX)];
        (id, 0_u32..3, 0..Stream::ALL.len(), proptest::option::of(0_u8..8)).prop_map(
            |(id, node, stream, status)| {
                SortEntry::new(EventId(id), node, Stream::ALL[stream], status)
            },
        )
    }

    proptest! {
        #[test]
        fn counts_like_hash_table(
            entries in proptest::collection::vec(entry(), 0..400),
            capacity in 1_usize..40,
        ) {
            let mut expected: HashMap<_, (u8, u64)> = HashMap::new();
            let mut sorter = Sorter::new(room(capacity * size_of::<SortEntry>()));
            for entry in entries {
                let key = (entry.id, entry.node, entry.stream);
                let (status, copies) = expected.entry(key).or_insert((entry.status, 0));
                *status = entry.status.min(*status);
                *copies += 1;
                sorter.push(entry).unwrap();
            }
            let mut found = HashMap::new();
            sorter.distinct(&mut |entry, copies| {
                let key = (entry.id, entry.node, entry.stream);
                assert_eq!(found.insert(key, (entry.status, copies.all)), None, "an event twice");
            }).unwrap();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn entry_round_trips(entry in entry()) {
            prop_assert_eq!(SortEntry::read(&mut &entry.to_bytes()[..]).unwrap(), entry);
            prop_assert_eq!(SortEntry::new(entry.id(), 0, Stream::Dlq, None).id, entry.id);
        }
    }

    #[test]
    fn late_copies_are_counted() {
        let mut sorter = Sorter::new(room(1 << 10));
        let entry = SortEntry::new(EventId(1), 0, Stream::Transactions, Some(3));
        for copy in [entry.late(), entry, entry.with_age(Age::Expired).late()] {
            assert_eq!(copy.status(), 3);
            sorter.push(copy).unwrap();
        }
        let mut found = Vec::new();
        sorter.distinct(&mut |entry, copies| found.push((entry.age(), copies))).unwrap();
        assert_eq!(found, [(Age::Kept, Copies { all: 3, late: 2 })]);
    }

    #[test]
    fn merges_runs_in_levels() {
        let mut sorter = Sorter::new(room(1));
        let runs = FAN_IN * FAN_IN + FAN_IN + 1;
        for number in 0..runs {
            let id = EventId((number / 2) as u128);
            sorter.push(SortEntry::new(id, 0, Stream::Messages, None)).unwrap();
            assert!(sorter.levels.iter().all(|level| level.len() < FAN_IN));
        }
        assert_eq!(sorter.levels.len(), 3);
        let (mut events, mut copies) = (0, 0);
        sorter
            .distinct(&mut |_, more| {
                events += 1;
                copies += more.all;
            })
            .unwrap();
        assert_eq!((events, copies), (runs.div_ceil(2), runs as u64));
    }

    #[test]
    fn missing_folder_is_an_error() {
        let temp = PathBuf::from("/nonexistent");
        let mut sorter = Sorter::new(SortOptions { temp_folder: temp, memory_bytes: 1 });
        let entry = SortEntry::new(EventId(1), 0, Stream::Messages, None);
        sorter.push(entry).unwrap();
        assert!(sorter.push(entry).is_err());
    }
}
