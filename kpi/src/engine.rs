//! The embedded query engine over the facts of a store.

use crate::error::KpiError;
use crate::facts;
use crate::query::{self, Bucket};
use crate::store::{State, Store, Table};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::config::TableParquetOptions;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use std::sync::Arc;
use tempfile::TempDir;

/// Rows whose keys are grouped at once when duplicates are searched for: some 400 MB.
const BUCKET_ROWS: u64 = 8 << 20;

/// Compression of copies: they are read some hundred times and live as long as the engine.
const COPY_COMPRESSION: &str = "zstd(1)";

/// Query engine with the tables `events_raw`, `dns_raw`, `probes_raw`, `rejected_raw`, and the net ones:
/// `events`, `events_unique`, `duplicates`, `corrected`, `dns`, `probes`.
#[derive(Clone)]
pub struct Engine {
    context: SessionContext,
    /// Folder for copies of tables, if it makes any; removed with the last clone of the engine.
    copies: Option<Arc<TempDir>>,
    bucket_rows: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    fn new(context: SessionContext) -> Self {
        Self { context, copies: None, bucket_rows: BUCKET_ROWS }
    }

    /// Opens the facts that `state` names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn open(store: &Store, state: &State) -> Result<Self, KpiError> {
        Self::open_with(store, state, None).await
    }

    /// Opens the facts that `state` names, for many queries: they are copied to the folder for temporary files, net
    /// events once more.
    ///
    /// # Errors
    /// A file cannot be read, or the folder is full.
    pub async fn open_copies(store: &Store, state: &State) -> Result<Self, KpiError> {
        let copies = TempDir::with_prefix("dnscribe-kpi-");
        let copies = copies.map_err(|error| KpiError::write("temporary folder", &error))?;
        Self::open_with(store, state, Some(Arc::new(copies))).await
    }

    async fn open_with(
        store: &Store,
        state: &State,
        copies: Option<Arc<TempDir>>,
    ) -> Result<Self, KpiError> {
        let config =
            SessionConfig::new().set_bool("datafusion.execution.parquet.pushdown_filters", true);
        let context = SessionContext::new_with_config(config);
        if store.url.scheme() != "file" {
            context.register_object_store(&store.url, store.objects());
        }
        let engine = Self { copies, ..Self::new(context) };
        for table in Table::ALL {
            let name = format!("{}_raw", table.name());
            let paths: Vec<String> = state
                .files(table)
                .map(|file| store.url.join(store.location(&file.path).as_ref()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| KpiError::store(&name, &error))?
                .into_iter()
                .map(String::from)
                .collect();
            engine.register_files(table, &name, paths).await?;
        }
        engine.net("events_raw", "").await?;
        engine.view("dns", &query::dns_windows("dns_raw")).await?;
        engine.view("probes", &query::probe_results("probes_raw")).await?;
        for name in ["events", "dns", "probes"] {
            engine.copy(name).await?;
        }
        Ok(engine)
    }

    /// Opens empty tables: for checks of a dictionary.
    ///
    /// # Errors
    /// The engine cannot start.
    pub async fn empty() -> Result<Self, KpiError> {
        let engine = Self::new(SessionContext::new());
        for table in Table::ALL {
            engine.register_batches(table, &format!("{}_raw", table.name()), Vec::new())?;
        }
        engine.net("events_raw", "").await?;
        engine.view("dns", &query::dns_windows("dns_raw")).await?;
        engine.view("probes", &query::probe_results("probes_raw")).await?;
        Ok(engine)
    }

    async fn register_files(
        &self,
        table: Table,
        name: &str,
        paths: Vec<String>,
    ) -> Result<(), KpiError> {
        if paths.is_empty() {
            return self.register_batches(table, name, Vec::new());
        }
        let schema = facts::schema(table);
        let options = ParquetReadOptions::default().schema(&schema);
        let frame =
            self.context.read_parquet(paths, options).await.map_err(KpiError::query(name))?;
        let table = frame.into_view();
        self.context.register_table(name, table).map_err(KpiError::query(name))?;
        self.copy(name).await
    }

    /// Replaces a table by a local file with its rows, if this engine makes copies. Facts have a file for each day and import, and opening them all
    /// takes longer than reading them; what defines a view is computed once instead of in each query.
    async fn copy(&self, name: &str) -> Result<(), KpiError> {
        let Some(copies) = &self.copies else { return Ok(()) };
        let failed = KpiError::query(name);
        let path = copies.path().join(name).with_extension("parquet");
        let path = path.to_string_lossy();
        let write = async {
            let frame = self.context.table(name).await?;
            let schema = Arc::clone(frame.schema().inner());
            let options = DataFrameWriteOptions::new().with_single_file_output(true);
            let mut format = TableParquetOptions::default();
            format.global.compression = Some(COPY_COMPRESSION.to_owned());
            frame.write_parquet(&path, options, Some(format)).await?;
            self.context.deregister_table(name)?;
            let options = ParquetReadOptions::default().schema(&schema);
            let copied = self.context.read_parquet(&*path, options).await?;
            self.context.register_table(name, copied.into_view()).map(drop)
        };
        write.await.map_err(failed)
    }

    /// Registers rows in memory as a table of facts.
    ///
    /// # Errors
    /// The batches have other columns.
    pub fn register_batches(
        &self,
        table: Table,
        name: &str,
        batches: Vec<RecordBatch>,
    ) -> Result<(), KpiError> {
        let table = MemTable::try_new(facts::schema(table), vec![batches])
            .map_err(KpiError::query(name))?;
        let registered = self.context.register_table(name, Arc::new(table));
        registered.map(drop).map_err(KpiError::query(name))
    }

    /// Makes the net tables of a table of events, with `prefix` before their names.
    ///
    /// # Errors
    /// A query fails.
    pub async fn net(&self, raw: &str, prefix: &str) -> Result<(), KpiError> {
        let name = |table: &str| format!("{prefix}{table}");
        let (technical, business) = (name("technical"), name("business"));
        let (duplicates, corrections) = (name("duplicates"), name("corrections"));
        let (unique, corrected) = (name("events_unique"), name("corrected"));
        let of = self.count(raw).await?.div_ceil(self.bucket_rows).max(1);
        let buckets = || (0..of).map(|number| Bucket { number, of });
        let sql = buckets().map(|bucket| query::technical_duplicates(raw, bucket));
        self.materialise(&technical, sql).await?;
        let sql = buckets().map(|bucket| query::business_duplicates(raw, &technical, bucket));
        self.materialise(&business, sql).await?;
        let both =
            format!("SELECT row_id FROM {technical} UNION ALL SELECT row_id FROM {business}");
        self.materialise(&duplicates, [both]).await?;
        self.materialise(&corrections, [query::corrections(raw, &duplicates)]).await?;
        self.materialise(&corrected, [query::corrected(&corrections)]).await?;
        self.view(&unique, &query::unique_events(raw, &duplicates)).await?;
        self.view(&name("events"), &query::net_events(&unique, &corrected)).await
    }

    async fn view(&self, name: &str, sql: &str) -> Result<(), KpiError> {
        let frame = self.context.sql(sql).await.map_err(KpiError::query(name))?;
        let registered = self.context.register_table(name, frame.into_view());
        registered.map(drop).map_err(KpiError::query(name))
    }

    /// Computes queries with the same columns, one after the other, and keeps their rows as a table.
    async fn materialise(
        &self,
        name: &str,
        queries: impl IntoIterator<Item = String>,
    ) -> Result<(), KpiError> {
        let mut schema = None;
        let mut rows = Vec::new();
        for sql in queries {
            let frame = self.context.sql(&sql).await.map_err(KpiError::query(name))?;
            schema.get_or_insert_with(|| Arc::clone(frame.schema().inner()));
            rows.extend(frame.collect().await.map_err(KpiError::query(name))?);
        }
        let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
        let table = MemTable::try_new(schema, vec![rows]).map_err(KpiError::query(name))?;
        let registered = self.context.register_table(name, Arc::new(table));
        registered.map(drop).map_err(KpiError::query(name))
    }

    /// Number of rows of a table.
    async fn count(&self, table: &str) -> Result<u64, KpiError> {
        let frame = self.context.table(table).await.map_err(KpiError::query(table))?;
        let count = frame.count().await.map_err(KpiError::query(table))?;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Runs a query. `what` names it in errors.
    ///
    /// # Errors
    /// The query is wrong, or its data cannot be read.
    pub async fn query(&self, what: &str, sql: &str) -> Result<Vec<RecordBatch>, KpiError> {
        let frame = self.context.sql(sql).await.map_err(KpiError::query(what))?;
        frame.collect().await.map_err(KpiError::query(what))
    }

    /// Plans a query without running it.
    ///
    /// # Errors
    /// The query is wrong: an unknown column, for example.
    pub async fn plan(&self, what: &str, sql: &str) -> Result<(), KpiError> {
        let frame = self.context.sql(sql).await.map_err(KpiError::query(what))?;
        frame.create_physical_plan().await.map(drop).map_err(KpiError::query(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose keys repeat in many ways; each hash is a function of its key, half of them negative.
    const RAW: &str = "SELECT n AS row_id, 'registrar' AS source_system, n % 29 AS event_id, n % 11 AS business_key, \
        'renewed' AS event_type, 100 - n AS event_us, (n % 29 - 14) * 997 AS technical_hash, \
        (n % 11 - 5) * 991 AS business_hash, CAST(NULL AS BIGINT) AS corrects \
        FROM (SELECT column1 * 10 + column2 AS n FROM \
        (VALUES (0), (1), (2), (3)) AS tens CROSS JOIN \
        (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS ones(column2)) AS numbers";

    /// Returns the duplicates. Planning needs more stack than a test's thread has in a debug build.
    fn duplicates(bucket_rows: u64) -> Vec<RecordBatch> {
        let find = async move {
            let engine = Engine { bucket_rows, ..Engine::new(SessionContext::new()) };
            engine.view("raw", RAW).await.unwrap();
            engine.net("raw", "").await.unwrap();
            let sql = "SELECT row_id FROM duplicates ORDER BY row_id";
            engine.query("duplicates", sql).await.unwrap()
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        thread.spawn(move || runtime.block_on(find)).unwrap().join().unwrap()
    }

    #[test]
    fn buckets_have_the_duplicates_of_all_rows() {
        let whole = duplicates(40);
        // 40 rows with 29 technical keys, and these with 11 business keys.
        assert_eq!(whole.iter().map(RecordBatch::num_rows).sum::<usize>(), 29);
        for bucket_rows in [20, 13, 1] {
            assert_eq!(duplicates(bucket_rows), whole, "{bucket_rows}");
        }
    }
}
