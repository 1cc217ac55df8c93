//! A Parquet file that is being written.

use super::schema;
use crate::Stream;
use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::iter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// End of the name of a file that is not complete, which begins with a dot.
pub(super) const UNFINISHED: &str = ".inprogress";

/// Records that become columns together.
const CHUNK: usize = 1024;
/// Compressed size of a row group.
const ROW_GROUP_BYTES: usize = 8 << 20;
/// Level of zstd.
const LEVEL: i32 = 3;

/// A file that is being written.
pub(super) struct Part {
    path: PathBuf,
    unfinished: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    /// Records that are not columns yet, each with a newline.
    lines: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Records that are in the file or wait.
    pub(super) records: u64,
    opened: Instant,
}

impl Part {
    pub(super) fn create(folder: &Path, name: &str, stream: Stream) -> io::Result<Self> {
        let missing = || io::Error::other(format!("no schema {}", stream.schema()));
        let schema = schema(stream.schema()).ok_or_else(missing)?;
        let unfinished = folder.join(format!(".{name}{UNFINISHED}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&unfinished)?;
        // Where the file system has no locks, another run of the node takes the file for one that was left.
        let _ = file.try_lock();
        let level = ZstdLevel::try_new(LEVEL).map_err(broken)?;
        let described = KeyValue::new("schema".to_owned(), stream.schema().to_owned());
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("dnscribe ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![described]))
            // Ids do not repeat.
            .set_column_dictionary_enabled("event_id".into(), false)
            .build();
        // Readers take the columns from Parquet's own types.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options);
        let writer = writer.map_err(broken)?;
        let (path, opened) = (folder.join(name), Instant::now());
        let (lines, ends) = (Vec::new(), Vec::new());
        Ok(Self { path, unfinished, schema, writer, lines, ends, records: 0, opened })
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Size of the file so far, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Adds a record. Returns the number of records that are left out, because they do not have the columns' types.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<u64> {
        self.lines.extend_from_slice(line);
        self.ends.push(self.lines.len());
        self.records += 1;
        if self.ends.len() < CHUNK { Ok(0) } else { self.write() }
    }

    /// Writes the records that wait, and returns the number of those left out.
    fn write(&mut self) -> io::Result<u64> {
        let Self { schema, writer, lines, ends, .. } = self;
        let mut refused = 0;
        if let Ok(batch) = decode(schema, lines, ends.len()) {
            writer.write(&batch).map_err(broken)?;
        } else {
            let starts = iter::once(0).chain(ends.iter().copied());
            for (start, end) in starts.zip(&*ends) {
                match decode(schema, &lines[start..*end], 1) {
                    Ok(batch) => writer.write(&batch).map_err(broken)?,
                    Err(error) => {
                        tracing::error!(
                            "a record does not fit its columns ({error}); this is a bug, please report it"
                        );
                        refused += 1;
                    }
                }
            }
        }
        if writer.in_progress_size() >= ROW_GROUP_BYTES {
            writer.flush().map_err(broken)?;
        }
        lines.clear();
        ends.clear();
        self.records -= refused;
        Ok(refused)
    }

    /// Completes the file, on disk and under its name; one without records is removed. Returns the number of records
    /// that are left out.
    pub(super) fn finish(&mut self) -> io::Result<u64> {
        let refused = self.write()?;
        self.writer.finish().map_err(broken)?;
        if self.records == 0 {
            return fs::remove_file(&self.unfinished).map(|()| refused);
        }
        self.writer.inner().sync_all()?;
        fs::rename(&self.unfinished, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(refused)
    }

    /// Removes the file, and returns the number of its records.
    pub(super) fn discard(self) -> u64 {
        // It is hidden, and the next run removes it too.
        let _ = fs::remove_file(&self.unfinished);
        self.records
    }
}

/// Returns whether a run, perhaps of another process, is writing a file.
pub(super) fn is_in_use(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Makes columns of `count` records.
fn decode(schema: &SchemaRef, lines: &[u8], count: usize) -> Result<RecordBatch, ArrowError> {
    let builder = ReaderBuilder::new(schema.clone()).with_batch_size(count.max(1));
    let mut decoder = builder.build_decoder()?;
    decoder.decode(lines)?;
    let batch = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    if batch.num_rows() != count {
        return Err(ArrowError::JsonError(format!("{} records of {count}", batch.num_rows())));
    }
    Ok(batch)
}

/// The error of the file, if it is one.
fn broken(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    }
}
