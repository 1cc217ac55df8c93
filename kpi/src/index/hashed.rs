//! Hashes of the keys of events.

use super::{KeyColumns, short, typed};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts;
use crate::keys::hash;
use crate::rows::{Columns, failed, text, with_schema};
use crate::store::{FactFile, Store, Table};
use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;

/// Memory of the queries in bytes: they keep no rows.
const MEMORY: usize = 256 << 20;

/// Rows that are hashed at once: planning a query takes as long as running it over some thousand rows.
const ROWS: usize = 256 << 10;

/// Table of the rows that are hashed.
const TABLE: &str = "hashed";

/// Makes the rows of segments.
pub(super) struct Hasher {
    engine: Engine,
    sql: String,
    schema: SchemaRef,
}

impl Hasher {
    pub(super) fn new(columns: &KeyColumns) -> Result<Self, KpiError> {
        let fields = columns.names().map(|name| Field::new(name, DataType::UInt32, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { engine: Engine::new(MEMORY)?, sql: columns.sql(TABLE), schema })
    }

    /// Columns of a segment.
    pub(super) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Hashes the keys of files of events, in the order of their rows.
    pub(super) async fn hashes(
        &self,
        store: &Store,
        files: &[&FactFile],
    ) -> Result<RecordBatch, KpiError> {
        let (mut pending, mut held) = (Vec::new(), 0);
        let mut hashed = Vec::new();
        for file in files {
            let batches = self.read(&file.path, store.read(&file.path).await?)?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            if u64::try_from(rows).ok() != Some(file.rows) {
                let problem = format!("{rows} rows, and not {}", file.rows);
                return Err(KpiError::store(&file.path, &problem));
            }
            pending.extend(batches);
            held += rows;
            if held >= ROWS {
                hashed.extend(self.hash(std::mem::take(&mut pending)).await?);
                held = 0;
            }
        }
        hashed.extend(self.hash(pending).await?);
        concat_batches(&self.schema, &hashed).map_err(failed)
    }

    /// Decodes the columns of a file of facts that keys are made of.
    fn read(&self, path: &str, bytes: bytes::Bytes) -> Result<Vec<RecordBatch>, KpiError> {
        let schema = facts::schema(Table::Events);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let names = names.filter(|name| self.sql.contains(name));
        let fail = |error: String| KpiError::store(path, &error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .map_err(|error| fail(error.to_string()))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let reader = builder.with_projection(mask).with_batch_size(ROWS).build();
        let reader = reader.map_err(|error| fail(error.to_string()))?;
        let batches = reader
            .map(|batch| with_schema(&schema, &batch.map_err(|error| fail(error.to_string()))?));
        batches.collect()
    }

    async fn hash(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, KpiError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.engine.register_batches(Table::Events, TABLE, rows)?;
        let keys = self.engine.query_in_order("keys of events", &self.sql).await?;
        self.engine.register_batches(Table::Events, TABLE, Vec::new())?;
        keys.iter().map(|batch| self.hashed(batch)).collect()
    }

    fn hashed(&self, batch: &RecordBatch) -> Result<RecordBatch, KpiError> {
        let columns = Columns(batch);
        let kinds = columns.texts("event_type")?;
        let kinds: Vec<i64> = kinds.iter().map(|kind| hash(kind.unwrap_or_default())).collect();
        let column = |field: &Arc<Field>| {
            let name = field.name().as_str();
            let hashes: UInt32Array = if name.ends_with("_hash") {
                columns.integers(name)?.iter().map(|hash| hash.map(short)).collect()
            } else {
                let texts = columns.texts(name)?;
                let is_typed = name.starts_with("key_");
                let hash = |row: usize| {
                    let key = hash(text(&texts, row)?);
                    Some(short(if is_typed { typed(kinds[row], key) } else { key }))
                };
                (0..batch.num_rows()).map(hash).collect()
            };
            Ok::<ArrayRef, KpiError>(Arc::new(hashes))
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<_, KpiError>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)
    }
}
