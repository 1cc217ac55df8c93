//! The Parquet sink: records as columns in `DIR/STREAM/day=2026-01-31/hour=10/part-….parquet`, as the job `store`
//! lays out its archive. An hour (UTC) is that of the records' own times.
//!
//! A file is hidden until it is complete, and is never written again. Only then do its records count as delivered.

mod columns;
mod part;

use super::open::create_directory;
use super::tally::{DropReason, PerStream};
use super::threaded::{NextStep, QueueLimits, SharedState, SinkReceiver, ThreadedSink};
use super::{Batch, Failure, OutputFormat, Rotation, SinkError, Stream, StreamSet};
use columns::schema;
use dnscribe_record::time::Timestamp;
use part::Part;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, iter};

/// Largest age of a file, without `file.rotate_every`.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Size at which a file is complete, without `file.rotate_bytes`.
const MAX_BYTES: u64 = 512 << 20;
/// Most hours of a stream with an open file: each holds a row group in memory.
const MAX_HOURS: usize = 4;

/// The last time that a column can have: 2262-04-11T23:47:16.854775807Z.
const MAX_TIME: Timestamp = Timestamp::from_nanos(i64::MAX.cast_unsigned());

const NANOS_PER_HOUR: u64 = 3_600_000_000_000;

const REASONS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::NotEncodable,
    DropReason::WriteError,
    DropReason::Shutdown,
];

/// Opens the sink of a node's records.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    directory: &Path,
    node: &str,
    rotation: Rotation,
) -> Result<ThreadedSink, SinkError> {
    create_directory(directory)?;
    let writer = ParquetWriter {
        series: Series::new(directory, node),
        max_age: rotation.every.unwrap_or(MAX_AGE),
        max_bytes: rotation.bytes.unwrap_or(MAX_BYTES),
        parts: BTreeMap::new(),
        has_late: false,
    };
    writer.series.remove_unfinished();
    let shared = SharedState::new(streams, REASONS);
    let work = move |receiver: &SinkReceiver| writer.run(receiver);
    ThreadedSink::start(name, OutputFormat::Json, QueueLimits::default(), shared, work)
}

/// The files of one run: their directory and the beginning of their names.
struct Series {
    directory: PathBuf,
    /// `part-NODE-`.
    prefix: String,
    /// Start of the run.
    start: Timestamp,
    number: u64,
}

impl Series {
    fn new(directory: &Path, node: &str) -> Self {
        let prefix = format!("part-{}-", escaped(node));
        Self { directory: directory.to_path_buf(), prefix, start: Timestamp::now(), number: 0 }
    }

    /// Creates the next file of a stream and hour, counted from 1970.
    fn next(&mut self, stream: Stream, hour: u64) -> io::Result<Part> {
        let nanos = i128::from(hour) * i128::from(NANOS_PER_HOUR);
        let time = jiff::Timestamp::from_nanosecond(nanos).map_err(io::Error::other)?;
        let place = format!("{}/day={}", stream.name(), time.strftime("%Y-%m-%d/hour=%H"));
        let folder = self.directory.join(place);
        fs::create_dir_all(&folder)?;
        self.number += 1;
        let Self { prefix, start, number, .. } = self;
        let name = format!("{prefix}{:x}-{number}.parquet", start.as_nanos());
        Part::create(&folder, &name, stream)
    }

    /// Removes what a run of this node that ended in no ordinary way has left. Its records do not count as delivered. Files
    /// that another run is writing stay.
    fn remove_unfinished(&self) {
        let folders =
            |of: PathBuf| fs::read_dir(of).into_iter().flatten().flatten().map(|one| one.path());
        let hours = folders(self.directory.clone()).flat_map(folders).flat_map(folders);
        let begin = format!(".{}", self.prefix);
        let is_left = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with(&begin) && name.ends_with(part::UNFINISHED))
                && !part::is_in_use(path)
        };
        for path in hours.flat_map(folders).filter(is_left) {
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!("removed {}, which is not complete", path.display()),
                Err(error) => tracing::warn!(%error, "cannot remove {}", path.display()),
            }
        }
    }
}

/// Returns a name for the names of files. Two names never become one.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'.' {
            escaped.push(byte.into());
        } else {
            // Never fails.
            let _ = write!(escaped, "_{byte:02x}");
        }
    }
    escaped
}

/// What the sink reads of a record itself.
#[derive(Deserialize)]
struct RecordTime {
    ts: Timestamp,
}

struct ParquetWriter {
    series: Series,
    max_age: Duration,
    max_bytes: u64,
    /// Open files by stream and hour.
    parts: BTreeMap<(Stream, u64), Part>,
    /// Whether there was a record of a time that no column can have, which is logged once.
    has_late: bool,
}

impl ParquetWriter {
    fn run(mut self, receiver: &SinkReceiver) {
        loop {
            let shared = &receiver.shared;
            let done = match receiver.next(self.time_left()) {
                NextStep::Batch(taken) => self.add(&taken.batch, shared),
                NextStep::Idle if shared.flushing.get() => self.complete(|_, _| true, shared),
                NextStep::Idle => Ok(()),
                NextStep::Stop => break,
            };
            let (max_age, max_bytes) = (self.max_age, self.max_bytes);
            let is_due = |part: &Part| part.age() >= max_age || part.bytes() >= max_bytes;
            if let Err(error) = done.and_then(|()| self.complete(|_, part| is_due(part), shared)) {
                self.fail(&error, shared);
                return receiver.drop_all(DropReason::WriteError);
            }
        }
        if let Err(error) = self.complete(|_, _| true, &receiver.shared) {
            self.fail(&error, &receiver.shared);
        }
    }

    /// How long until a file is old enough to be completed.
    fn time_left(&self) -> Duration {
        let left = self.parts.values().map(|part| self.max_age.saturating_sub(part.age()));
        left.chain(iter::once(self.max_age)).min().unwrap_or_default()
    }

    fn add(&mut self, batch: &Batch, shared: &SharedState) -> io::Result<()> {
        let mut left = shared.tally.count_batch(batch);
        let mut refused = PerStream::default();
        let added = self.add_records(batch, shared, &mut left, &mut refused);
        match &added {
            // Records without a time, and those that were only counted.
            Ok(()) => refused.iter_mut().zip(left).for_each(|(refused, left)| *refused += left),
            Err(_) => shared.tally.dropped(&left, DropReason::WriteError),
        }
        shared.tally.dropped(&refused, DropReason::NotEncodable);
        added
    }

    /// Adds the records of a batch to their files, and takes them from `left`.
    fn add_records(
        &mut self,
        batch: &Batch,
        shared: &SharedState,
        left: &mut PerStream,
        refused: &mut PerStream,
    ) -> io::Result<()> {
        for record in batch.iter().filter(|record| shared.tally.streams.contains(record.stream)) {
            let Ok(RecordTime { ts }) = serde_json::from_slice(record.line) else { continue };
            if ts > MAX_TIME {
                if !std::mem::replace(&mut self.has_late, true) {
                    tracing::warn!(
                        "records after {MAX_TIME} are left out: Parquet has no later times"
                    );
                }
                continue;
            }
            let (stream, hour) = (record.stream, ts.as_nanos() / NANOS_PER_HOUR);
            if !self.parts.contains_key(&(stream, hour)) {
                self.make_room(stream, shared)?;
                self.parts.insert((stream, hour), self.series.next(stream, hour)?);
            }
            let Some(part) = self.parts.get_mut(&(stream, hour)) else { continue };
            left[stream as usize] -= 1;
            refused[stream as usize] += part.add(record.line)?;
        }
        Ok(())
    }

    /// Completes the file of a stream's earliest hour if it has many.
    fn make_room(&mut self, stream: Stream, shared: &SharedState) -> io::Result<()> {
        let mut hours = self.parts.keys().filter(|(other, _)| *other == stream);
        let earliest = hours.next().copied();
        if hours.count() + 1 < MAX_HOURS {
            return Ok(());
        }
        self.complete(|key, _| Some(*key) == earliest, shared)
    }

    /// Completes files, whose records are delivered then.
    fn complete(
        &mut self,
        is_due: impl Fn(&(Stream, u64), &Part) -> bool,
        shared: &SharedState,
    ) -> io::Result<()> {
        let due: Vec<_> = self
            .parts
            .iter()
            .filter(|(key, part)| is_due(key, part))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            // Stays in the list until it is complete: a failure drops its records.
            let Some(part) = self.parts.get_mut(&key) else { continue };
            let refused = part.finish()?;
            let (mut delivered, mut dropped) = (PerStream::default(), PerStream::default());
            (delivered[key.0 as usize], dropped[key.0 as usize]) = (part.records, refused);
            self.parts.remove(&key);
            shared.tally.dropped(&dropped, DropReason::NotEncodable);
            shared.tally.delivered(&delivered);
        }
        Ok(())
    }

    /// The sink has failed: what is in files that are not complete is dropped.
    fn fail(&mut self, error: &io::Error, shared: &SharedState) {
        let directory = self.series.directory.display();
        let why = format!("cannot write Parquet files to {directory}: {error}");
        shared.fail(Failure::Broken(why), DropReason::WriteError);
        let mut lost = PerStream::default();
        for ((stream, _), part) in std::mem::take(&mut self.parts) {
            lost[stream as usize] += part.discard();
        }
        shared.tally.dropped(&lost, DropReason::WriteError);
    }
}

#[cfg(test)]
mod tests;
