//! Segments: files with hashes of keys.

use super::{FOLDER, Found, KeyColumns};
use crate::error::KpiError;
use crate::facts;
use crate::keys::Keys;
use crate::store::Store;
use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{SchemaRef, UInt32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Names of the metadata of a segment: the query that its keys are the result of, and its files of facts with their rows.
const KEYS: &str = "keys";
const FILES: &str = "files";

/// Rows that are decoded at once.
const ROWS: usize = 64 << 10;

/// Hashes of the keys of some files of events.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: String,
    pub(super) rows: u64,
    /// Files of facts with their rows, in the order of the rows of the segment.
    pub(super) files: Vec<(String, u64)>,
    /// Whether its bytes were compared with its name, which takes longer than to search them.
    is_intact: AtomicBool,
}

impl Segment {
    /// Opens a segment; nothing if it has other keys. Whether it is damaged shows when its rows are read.
    pub(super) async fn open(
        store: &Store,
        path: &str,
        columns: &KeyColumns,
    ) -> Result<Option<Self>, KpiError> {
        let reader = ParquetObjectReader::new(store.objects(), store.location(path));
        let opened = ParquetRecordBatchStreamBuilder::new(reader).await;
        let opened = opened.map_err(|error| KpiError::store(path, &error))?;
        let known = opened.metadata().file_metadata().key_value_metadata();
        let value = |name: &str| {
            let found = known.into_iter().flatten().find(|one| one.key == name);
            found.and_then(|one| one.value.as_deref())
        };
        if value(KEYS) != Some(columns.sql("").as_str()) {
            return Ok(None);
        }
        let files = serde_json::from_str::<Vec<(String, u64)>>(value(FILES).unwrap_or_default());
        let files = files.map_err(|error| KpiError::store(path, &error))?;
        let rows = files.iter().map(|(_, rows)| rows).sum();
        Ok(Some(Self { path: path.to_owned(), rows, files, is_intact: AtomicBool::new(false) }))
    }

    /// Writes a segment.
    pub(super) async fn write(
        store: &Store,
        columns: &KeyColumns,
        files: Vec<(String, u64)>,
        rows: &[RecordBatch],
        schema: &SchemaRef,
    ) -> Result<Self, KpiError> {
        let fail = |error: ParquetError| KpiError::Failed(format!("index: {error}"));
        let names =
            serde_json::to_string(&files).map_err(|error| KpiError::Failed(error.to_string()))?;
        let metadata = [(KEYS, columns.sql("")), (FILES, names)];
        let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value));
        // Hashes neither repeat nor shrink.
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_created_by("dnscribe-kpi".to_owned())
            .set_key_value_metadata(Some(metadata.to_vec()))
            .build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties)).map_err(fail)?;
        for batch in rows {
            writer.write(batch).map_err(fail)?;
        }
        let bytes = writer.into_inner().map_err(fail)?;
        let path = store.write_hashed(FOLDER, "parquet", bytes).await?;
        let rows = files.iter().map(|(_, rows)| rows).sum();
        Ok(Self { path, rows, files, is_intact: AtomicBool::new(true) })
    }

    /// Reads all rows; nothing if the file is gone or damaged.
    pub(super) async fn read(
        &self,
        store: &Store,
        schema: &SchemaRef,
    ) -> Result<Option<RecordBatch>, KpiError> {
        let bytes = store.read_if_intact(&self.path).await?;
        bytes.map(|bytes| facts::parquet_rows(&self.path, bytes, schema)).transpose()
    }

    /// Finds rows with one of the keys, by columns; nothing if the file is gone or damaged. Of several searches, the first finds damage.
    pub(super) async fn find(
        &self,
        store: &Store,
        wanted: Arc<Vec<(String, Keys)>>,
    ) -> Result<Option<Vec<u64>>, KpiError> {
        let bytes = if self.is_intact.load(Ordering::Relaxed) {
            store.read_if_there(&self.path).await?
        } else {
            store.read_if_intact(&self.path).await?
        };
        let Some(bytes) = bytes else { return Ok(None) };
        self.is_intact.store(true, Ordering::Relaxed);
        let found = tokio::task::spawn_blocking(move || matching(bytes, &wanted)).await;
        let found = found.map_err(|error| KpiError::Failed(format!("index: {error}")))?;
        found.map(Some).map_err(|error| KpiError::store(&self.path, &error))
    }

    /// Adds rows of the segment to those of its files.
    pub(super) fn by_file(&self, rows: &[u64], found: &mut Found) {
        let (mut first, mut rest) = (0, rows);
        for (path, count) in &self.files {
            let (own, later) = rest.split_at(rest.partition_point(|row| *row < first + count));
            if !own.is_empty() {
                found.entry(path.clone()).or_default().extend(own.iter().map(|row| row - first));
            }
            (first, rest) = (first + count, later);
        }
    }
}

/// Rows of a segment with one of the keys, in order.
fn matching(bytes: bytes::Bytes, wanted: &[(String, Keys)]) -> Result<Vec<u64>, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let names = wanted.iter().map(|(name, _)| name.as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let reader = builder.with_projection(mask).with_batch_size(ROWS).build()?;
    let (mut found, mut first) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch?;
        let mut is_found = vec![false; batch.num_rows()];
        for (name, keys) in wanted {
            let Some(column) = batch.column_by_name(name) else { continue };
            let column = column.as_primitive::<UInt32Type>();
            for (row, hash) in column.values().iter().enumerate() {
                if keys.has(i64::from(*hash)) && column.is_valid(row) {
                    is_found[row] = true;
                }
            }
        }
        found.extend((first..).zip(is_found).filter(|(_, is_found)| *is_found).map(|(row, _)| row));
        first += u64::try_from(batch.num_rows()).unwrap_or(0);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn rows_are_those_of_their_files() {
        let files = [("a", 3), ("b", 0), ("c", 2)].map(|(name, rows)| (name.to_owned(), rows));
        let segment = Segment {
            path: String::new(),
            rows: 5,
            files: files.to_vec(),
            is_intact: AtomicBool::new(true),
        };
        let mut found = Found::new();
        segment.by_file(&[0, 2, 4], &mut found);
        let expected = [("a".to_owned(), vec![0, 2]), ("c".to_owned(), vec![1])];
        assert_eq!(found, BTreeMap::from(expected));
    }
}
