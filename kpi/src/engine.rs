//! The embedded query engine over the facts of a store.

use crate::attributes::Kind;
use crate::dictionary::Dictionary;
use crate::error::KpiError;
use crate::facts;
use crate::keys::Keys;
use crate::query::{self, Bucket};
use crate::rows::{self, Columns, text};
use crate::scratch::Scratch;
use crate::store::{FactFile, State, Store, Table};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::config::TableParquetOptions;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionConfig, SessionContext};
use futures_util::StreamExt as _;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Memory in bytes for each key when duplicates are searched for. Keys that do not fit are grouped later.
const KEY_BYTES: usize = 128;

/// Compression of copies: they are read some hundred times and live as long as the engine.
const COPY_COMPRESSION: &str = "zstd(1)";

/// Rows in a file of facts from which on it takes longer to copy them than to open the file for each query.
const LARGE_FILE_ROWS: u64 = 10_000;

/// Memory of queries in bytes, unless the user says otherwise. What does not fit goes to the folder for temporary files.
pub const MEMORY: usize = 4 << 30;

/// Query engine with the tables `events_raw`, `dns_raw`, `probes_raw`, `rejected_raw`, and the net ones:
/// `events`, `events_unique`, `duplicates`, `technical`, `corrected`, `dns`, `probes`, `alerts`.
#[derive(Clone)]
pub struct Engine {
    context: SessionContext,
    /// Its joins are sort-merge joins, which need no side in memory. It has the tables of `context`.
    merging: SessionContext,
    /// It reads each table by one thread, in the table's order. It has the tables of `context`.
    in_order: SessionContext,
    copies: Copies,
    bucket_rows: u64,
    /// What does not fit into memory, as long as a clone of the engine lives.
    _scratch: Option<Arc<Scratch>>,
}

/// Where an engine keeps copies of tables that many queries read.
#[derive(Clone, Debug)]
enum Copies {
    /// It makes none.
    None,
    /// A folder.
    Folder(Arc<Scratch>),
    /// Memory.
    Memory,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without tables.
    ///
    /// # Errors
    /// It cannot start.
    pub fn new(memory: usize) -> Result<Self, KpiError> {
        // Without a folder, queries fail that need one.
        Self::with_scratch(memory, Scratch::new().ok().map(Arc::new))
    }

    fn with_scratch(memory: usize, scratch: Option<Arc<Scratch>>) -> Result<Self, KpiError> {
        Self::with_memory(memory, scratch).map_err(KpiError::query("query engine"))
    }

    fn with_memory(memory: usize, scratch: Option<Arc<Scratch>>) -> Result<Self, DataFusionError> {
        let pool = Arc::new(FairSpillPool::new(memory));
        let place = scratch.as_ref().map(|scratch| vec![scratch.path().to_owned()]);
        let place = place.map_or_else(DiskManagerMode::default, DiskManagerMode::Directories);
        let disk = DiskManagerBuilder::default().with_mode(place);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
        let runtime = runtime.with_disk_manager_builder(disk).build_arc()?;
        // Each of several sorts holds two batches at least, and memory for merging what it has written.
        let config = SessionConfig::new()
            .with_batch_size((memory >> 18).clamp(256, 8192))
            .with_sort_spill_reservation_bytes((memory >> 6).min(10 << 20))
            .set_bool("datafusion.execution.parquet.pushdown_filters", true);
        let context = SessionContext::new_with_config_rt(config, runtime);
        let merging = changed(&context, "datafusion.optimizer.prefer_hash_join", "false")?;
        let in_order = changed(&context, "datafusion.execution.target_partitions", "1")?;
        let bucket_rows = u64::try_from(memory / KEY_BYTES).unwrap_or(u64::MAX);
        let copies = Copies::None;
        Ok(Self { context, merging, in_order, copies, bucket_rows, _scratch: scratch })
    }

    /// Opens the facts that `state` names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn open(store: &Store, state: &State) -> Result<Self, KpiError> {
        Self::new(MEMORY)?.with_facts(store, state).await
    }

    /// Opens the facts that `state` names, for many queries: they are copied to the folder for temporary files, net
    /// events once more.
    ///
    /// # Errors
    /// A file cannot be read, or the folder is full.
    pub async fn open_copies(
        store: &Store,
        state: &State,
        memory: usize,
    ) -> Result<Self, KpiError> {
        let scratch = Arc::new(Scratch::new().map_err(KpiError::temporary)?);
        let copies = Copies::Folder(Arc::clone(&scratch));
        let engine = Self { copies, ..Self::with_scratch(memory, Some(scratch))? };
        engine.with_facts(store, state).await
    }

    /// Adds the facts that `state` names.
    async fn with_facts(self, store: &Store, state: &State) -> Result<Self, KpiError> {
        for table in Table::ALL {
            let name = format!("{}_raw", table.name());
            let files: Vec<_> = state.files(table).collect();
            let rows: u64 = files.iter().map(|file| file.rows).sum();
            let are_small = rows < LARGE_FILE_ROWS * files.len() as u64;
            self.register_facts(store, table, &name, files).await?;
            if are_small || is_remote(store) {
                self.copy_table(&name).await?;
            }
        }
        self.net_tables().await?;
        Ok(self)
    }

    /// Opens these rows as facts, beside the dimension tables of `state`.
    ///
    /// # Errors
    /// A file cannot be read, or the rows have other columns.
    pub async fn open_rows(
        store: &Store,
        state: &State,
        rows: BTreeMap<Table, Vec<RecordBatch>>,
        memory: usize,
    ) -> Result<Self, KpiError> {
        let engine = Self { copies: Copies::Memory, ..Self::new(memory)? };
        let attributes = state.files(Table::Attributes).collect();
        engine.register_facts(store, Table::Attributes, "attributes_raw", attributes).await?;
        for (table, batches) in rows {
            engine.register_batches(table, &format!("{}_raw", table.name()), batches)?;
        }
        engine.net_tables().await?;
        Ok(engine)
    }

    /// Registers files of facts as a table.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn register_facts(
        &self,
        store: &Store,
        table: Table,
        name: &str,
        mut files: Vec<&FactFile>,
    ) -> Result<(), KpiError> {
        if files.is_empty() {
            return self.register_batches(table, name, Vec::new());
        }
        if is_remote(store) {
            self.context.register_object_store(&store.url, store.objects());
        }
        files.sort_by_key(|file| file.day);
        let paths = files.into_iter().map(|file| {
            let url = store.url.join(store.location(&file.path).as_ref());
            url.map(String::from).map_err(|error| KpiError::store(name, &error))
        });
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let schema = facts::schema(table);
        let options = ParquetReadOptions::default().schema(&schema);
        let frame =
            self.context.read_parquet(paths, options).await.map_err(KpiError::query(name))?;
        self.register_view(name, frame)
    }

    /// Types of the events in files of facts.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn types_of(store: &Store, files: &[FactFile]) -> Result<BTreeSet<String>, KpiError> {
        let engine = Self::new(MEMORY)?;
        let events = files.iter().filter(|file| file.table == Table::Events).collect();
        engine.register_facts(store, Table::Events, "file", events).await?;
        let sql = "SELECT DISTINCT event_type FROM file";
        rows::texts(&engine.query("types of a file", sql).await?, "event_type")
    }

    /// Registers the function that says whether an expression is among keys; returns its call.
    #[must_use]
    pub fn register_keys(&self, name: &str, keys: Keys, expression: &str) -> String {
        self.context.register_udf(keys.function(name));
        format!("{name}({expression})")
    }

    /// Makes the net tables of all facts.
    async fn net_tables(&self) -> Result<(), KpiError> {
        self.net("events_raw", "").await?;
        self.enrich().await?;
        self.view("dns", &query::dns_windows("dns_raw")).await?;
        self.view("probes", &query::probe_results("probes_raw")).await?;
        self.view("alerts", &query::alerts("alerts_raw")).await?;
        for name in ["events", "dns", "probes", "alerts"] {
            self.copy_table(name).await?;
        }
        Ok(())
    }

    /// Opens empty tables: for checks of a dictionary.
    ///
    /// # Errors
    /// The engine cannot start.
    pub async fn empty() -> Result<Self, KpiError> {
        let engine = Self::new(MEMORY)?;
        for table in Table::ALL {
            engine.register_batches(table, &format!("{}_raw", table.name()), Vec::new())?;
        }
        engine.net_tables().await?;
        Ok(engine)
    }

    /// Kinds of dimension tables that have rows.
    ///
    /// # Errors
    /// A query fails.
    pub async fn kinds(&self) -> Result<Vec<Kind>, KpiError> {
        let sql = "SELECT DISTINCT kind FROM attributes_raw";
        let names = rows::texts(&self.query("kinds", sql).await?, "kind")?;
        Ok(Kind::ALL.into_iter().filter(|kind| names.contains(kind.name())).collect())
    }

    /// Replaces the table of events by one with what dimension tables say of them.
    async fn enrich(&self) -> Result<(), KpiError> {
        let kinds = self.kinds().await?;
        for kind in &kinds {
            let name = format!("attributes_{}", kind.name());
            self.materialise(&name, [query::attributes(*kind)]).await?;
        }
        let frame = self.context.table("events").await.map_err(KpiError::query("events"))?;
        self.register_view("events_net", frame)?;
        self.context.deregister_table("events").map_err(KpiError::query("events"))?;
        self.view("events", &query::enriched("events_net", &kinds, query::Dialect::DataFusion))
            .await
    }

    /// Replaces a table by a copy, in its order, if this engine makes any. Facts have a file for each day and import, and
    /// opening many small ones takes longer than reading them; what defines a view is computed once instead of in each query.
    async fn copy_table(&self, name: &str) -> Result<(), KpiError> {
        if matches!(self.copies, Copies::None) {
            return Ok(());
        }
        let frame = self.in_order.table(name).await.map_err(KpiError::query(name))?;
        self.copy(name, frame).await.map_err(KpiError::query(name))
    }

    /// Makes a table with the rows of a frame.
    async fn copy(&self, name: &str, frame: DataFrame) -> Result<(), DataFusionError> {
        let Copies::Folder(copies) = &self.copies else {
            let schema = Arc::clone(frame.schema().inner());
            let table = MemTable::try_new(schema, vec![frame.collect().await?])?;
            self.context.deregister_table(name)?;
            return self.context.register_table(name, Arc::new(table)).map(drop);
        };
        let path = copies.path().join(name).with_extension("parquet");
        let path = path.to_string_lossy();
        let schema = Arc::clone(frame.schema().inner());
        let options = DataFrameWriteOptions::new().with_single_file_output(true);
        let mut format = TableParquetOptions::default();
        format.global.compression = Some(COPY_COMPRESSION.to_owned());
        let start = Instant::now();
        frame.write_parquet(&path, options, Some(format)).await?;
        tracing::debug!(table = name, seconds = start.elapsed().as_secs_f64(), "copied");
        self.context.deregister_table(name)?;
        let options = ParquetReadOptions::default().schema(&schema);
        let copied = self.context.read_parquet(&*path, options).await?;
        self.context.register_table(name, copied.into_view()).map(drop)
    }

    /// Makes a table `model_…` of each model of a dictionary. If this engine makes copies, what joins, groups or numbers
    /// rows is computed here, once, for these days.
    ///
    /// # Errors
    /// A query fails, or the folder for copies is full.
    pub async fn models(
        &self,
        dictionary: &Dictionary,
        (from, to): (Date, Date),
    ) -> Result<(), KpiError> {
        for model in &dictionary.models {
            let name = format!("model_{}", model.name);
            let frame = self.context.sql(&model.sql).await.map_err(KpiError::query(&name))?;
            if matches!(self.copies, Copies::None) || !is_costly(frame.logical_plan()) {
                self.register_view(&name, frame)?;
                continue;
            }
            let sql = format!(
                "SELECT * FROM ({}) AS model WHERE day >= CAST('{from}' AS DATE) \
                 AND day <= CAST('{to}' AS DATE) ORDER BY day",
                model.sql
            );
            let copy =
                async |context: &SessionContext| self.copy(&name, context.sql(&sql).await?).await;
            self.run(copy).await.map_err(KpiError::query(&name))?;
        }
        Ok(())
    }

    /// Registers rows in memory as a table of facts, in place of another one of this name.
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
        self.context.deregister_table(name).map_err(KpiError::query(name))?;
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
        let (unique, targets, corrected) =
            (name("events_unique"), name("correction_targets"), name("corrected"));
        let repeated = self.repeated(raw, "technical_hash", prefix).await?;
        let sql = repeated.iter().map(|hashes| query::technical_duplicates(raw, hashes));
        self.materialise(&technical, sql).await?;
        let repeated = self.repeated(raw, "business_hash", prefix).await?;
        let sql = repeated.iter().map(|hashes| query::business_duplicates(raw, &technical, hashes));
        self.materialise(&business, sql).await?;
        let both =
            format!("SELECT row_id FROM {technical} UNION ALL SELECT row_id FROM {business}");
        self.materialise(&duplicates, [both]).await?;
        self.materialise(&corrections, [query::corrections(raw, &duplicates)]).await?;
        self.view(&unique, &query::unique_events(raw, &duplicates)).await?;
        self.materialise(
            &targets,
            [query::correction_targets(raw, &technical, &unique, &corrections)],
        )
        .await?;
        self.resolve_corrections(&targets, &corrected).await?;
        self.view(&name("events"), &query::net_events(&unique, &corrected)).await
    }

    /// Makes the table of events that are taken away.
    async fn resolve_corrections(&self, targets: &str, corrected: &str) -> Result<(), KpiError> {
        let pairs = self.correction_pairs(targets).await?;
        let (alive, _) = alive_corrections(&pairs);
        let taken = pairs.iter().filter(|(correction, ..)| alive.contains(correction));
        let taken: BTreeMap<i64, &str> =
            taken.map(|(_, target, key)| (*target, key.as_str())).collect();
        let rows: Int64Array = taken.keys().copied().collect();
        let keys: StringArray = taken.values().map(|key| Some(*key)).collect();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("row_id", Arc::new(rows)), ("business_key", Arc::new(keys))];
        let batch = RecordBatch::try_from_iter(columns)
            .map_err(|error| KpiError::Failed(error.to_string()))?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
        let table = table.map_err(KpiError::query(corrected))?;
        let registered = self.context.register_table(corrected, Arc::new(table));
        registered.map(drop).map_err(KpiError::query(corrected))
    }

    /// Corrections with what each of them takes away: rows of both, and the business key.
    async fn correction_pairs(&self, targets: &str) -> Result<Vec<(i64, i64, String)>, KpiError> {
        let sql = format!("SELECT row_id, target, business_key FROM {targets}");
        let mut pairs = Vec::new();
        for batch in self.query(targets, &sql).await? {
            let columns = Columns(&batch);
            let (rows, taken) = (columns.integers("row_id")?, columns.integers("target")?);
            let keys = columns.texts("business_key")?;
            pairs.extend((0..batch.num_rows()).map(|row| {
                (rows.value(row), taken.value(row), text(&keys, row).unwrap_or("").to_owned())
            }));
        }
        Ok(pairs)
    }

    /// Longest chain of corrections of corrections.
    ///
    /// # Errors
    /// A query fails.
    pub async fn correction_chain(&self) -> Result<usize, KpiError> {
        let pairs = self.correction_pairs("correction_targets").await?;
        Ok(alive_corrections(&pairs).1)
    }

    /// Finds the hashes of keys that more than one row has, and returns queries that select some of them each.
    async fn repeated(&self, raw: &str, hash: &str, prefix: &str) -> Result<Vec<String>, KpiError> {
        let table = format!("{prefix}repeated_{hash}");
        let buckets = Bucket::divide(self.count(raw).await?, self.bucket_rows);
        let sql = buckets.map(|bucket| query::repeated(hash, raw, bucket));
        self.materialise(&table, sql).await?;
        let buckets = Bucket::divide(self.count(&table).await?, self.bucket_rows);
        Ok(buckets.map(|bucket| bucket.hashes(hash, &table)).collect())
    }

    async fn view(&self, name: &str, sql: &str) -> Result<(), KpiError> {
        let frame = self.context.sql(sql).await.map_err(KpiError::query(name))?;
        self.register_view(name, frame)
    }

    fn register_view(&self, name: &str, frame: DataFrame) -> Result<(), KpiError> {
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
            rows.extend(self.query(name, &sql).await?);
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
        let collect = async |context: &SessionContext| context.sql(sql).await?.collect().await;
        let start = Instant::now();
        let rows = self.run(collect).await.map_err(KpiError::query(what))?;
        tracing::debug!(query = what, seconds = start.elapsed().as_secs_f64(), "queried");
        Ok(rows)
    }

    /// Runs a query over rows in memory, by one thread: rows stay in their order. `what` names it in errors.
    ///
    /// # Errors
    /// The query is wrong.
    pub async fn query_in_order(
        &self,
        what: &str,
        sql: &str,
    ) -> Result<Vec<RecordBatch>, KpiError> {
        let rows = async { self.in_order.sql(sql).await?.collect().await };
        rows.await.map_err(KpiError::query(what))
    }

    /// Runs a query whose rows are read one batch after the other. `what` names it in errors.
    ///
    /// # Errors
    /// The query is wrong.
    pub async fn stream(&self, what: &'static str, sql: &str) -> Result<Batches, KpiError> {
        let stream = async { self.context.sql(sql).await?.execute_stream().await };
        Ok(Batches { what, stream: stream.await.map_err(KpiError::query(what))? })
    }

    /// Runs a query, once more if its hash joins need more memory than there is: sort-merge joins are slower, and use the disk.
    async fn run<T>(
        &self,
        query: impl AsyncFn(&SessionContext) -> Result<T, DataFusionError>,
    ) -> Result<T, DataFusionError> {
        match query(&self.context).await {
            Err(error) if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) => {
                query(&self.merging).await
            }
            done => done,
        }
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

/// Rows of a query.
pub struct Batches {
    what: &'static str,
    stream: SendableRecordBatchStream,
}

impl Batches {
    /// The next rows.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, KpiError> {
        self.stream.next().await.transpose().map_err(KpiError::query(self.what))
    }
}

fn is_remote(store: &Store) -> bool {
    store.url.scheme() != "file"
}

/// Returns the corrections that have an effect, and the length of the longest chain. A correction has one if no correction
/// with an effect takes it away; corrections in a circle have none.
fn alive_corrections(pairs: &[(i64, i64, String)]) -> (BTreeSet<i64>, usize) {
    let mut takes: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for (correction, target, _) in pairs {
        takes.entry(*correction).or_default().insert(*target);
    }
    // Corrections whose own correctors are all decided come next.
    let mut undecided: BTreeMap<i64, usize> = takes.keys().map(|row| (*row, 0)).collect();
    for target in takes.values().flatten() {
        undecided.entry(*target).and_modify(|count| *count += 1);
    }
    let mut ready: VecDeque<(i64, usize)> =
        undecided.iter().filter(|(_, count)| **count == 0).map(|(row, _)| (*row, 1)).collect();
    let (mut alive, mut dead, mut longest) = (BTreeSet::new(), BTreeSet::new(), 0);
    while let Some((row, length)) = ready.pop_front() {
        longest = longest.max(length);
        let has_effect = !dead.contains(&row);
        if has_effect {
            alive.insert(row);
        }
        for target in &takes[&row] {
            let Some(count) = undecided.get_mut(target) else { continue };
            *count -= 1;
            if has_effect {
                dead.insert(*target);
            }
            if *count == 0 {
                ready.push_back((*target, length + 1));
            }
        }
    }
    (alive, longest)
}

/// Whether a plan does more than to select rows and columns.
fn is_costly(plan: &LogicalPlan) -> bool {
    let costs = |node: &LogicalPlan| {
        matches!(
            node,
            LogicalPlan::Join(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Distinct(_)
        )
    };
    // The closure does not fail.
    plan.exists(|node| Ok(costs(node))).unwrap_or(true)
}

/// Returns a context with the same tables and another value of an option.
fn changed(
    context: &SessionContext,
    option: &str,
    value: &str,
) -> Result<SessionContext, DataFusionError> {
    let mut state = context.state();
    state.config_mut().options_mut().set(option, value)?;
    Ok(SessionContext::new_with_state(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Columns;

    /// Rows whose keys repeat in many ways; each hash is a function of its key, half of them negative.
    const RAW: &str = "SELECT n AS row_id, 'registrar' AS source_system, n % 29 AS event_id, n % 11 AS business_key, \
        'renewed' AS event_type, 100 - n AS event_us, 'file' AS source, \
        CAST(NULL AS VARCHAR) AS corrects_type, CAST(NULL AS BIGINT) AS corrects_event_id, (n % 29 - 14) * 997 AS technical_hash, \
        (n % 11 - 5) * 991 AS business_hash, CAST(NULL AS BIGINT) AS corrects \
        FROM (SELECT column1 * 10 + column2 AS n FROM \
        (VALUES (0), (1), (2), (3)) AS tens CROSS JOIN \
        (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS ones(column2)) AS numbers";

    /// Runs a test. Planning needs more stack than a test's thread has in a debug build.
    fn run<T: Send + 'static, F: Future<Output = T>>(
        test: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        thread.spawn(move || runtime.block_on(test())).unwrap().join().unwrap()
    }

    fn duplicates(bucket_rows: u64) -> Vec<RecordBatch> {
        run(move || async move {
            let engine = Engine { bucket_rows, ..Engine::new(MEMORY).unwrap() };
            engine.view("raw", RAW).await.unwrap();
            engine.net("raw", "").await.unwrap();
            let sql = "SELECT row_id FROM duplicates ORDER BY row_id";
            engine.query("duplicates", sql).await.unwrap()
        })
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

    #[test]
    fn each_second_correction_of_a_chain_has_an_effect() {
        for length in 1..40_usize {
            let last = i64::try_from(length).unwrap();
            // Row 0 is a fact; each following row takes away the one before.
            let chain: Vec<_> = (1..=last).map(|row| (row, row - 1, String::new())).collect();
            let (alive, longest) = alive_corrections(&chain);
            let expected = (1..=last).rev().step_by(2).collect();
            assert_eq!((alive, longest), (expected, length));
        }
        let circle = [(1, 2, String::new()), (2, 1, String::new()), (3, 0, String::new())];
        assert_eq!(alive_corrections(&circle).0, BTreeSet::from([3]));
    }

    #[test]
    fn joins_that_do_not_fit_into_memory_use_the_disk() {
        // 64,000 rows of 500 bytes.
        const WIDE: &str = "SELECT a.row_id * 1600 + b.row_id * 40 + c.row_id AS n, \
            lpad(CAST(a.row_id AS VARCHAR), 500, 'x') AS text \
            FROM raw AS a CROSS JOIN raw AS b CROSS JOIN raw AS c";
        const PAIRS: &str = "SELECT count(*) AS pairs, sum(length(a.text)) AS characters \
            FROM wide AS a INNER JOIN wide AS b ON a.n = b.n AND a.text = b.text";
        let join = |memory| {
            run(move || async move {
                let engine = Engine::new(memory).unwrap();
                engine.view("raw", RAW).await.unwrap();
                engine.materialise("wide", [WIDE.to_owned()]).await.unwrap();
                let hashed = engine.context.sql(PAIRS).await.unwrap().collect().await;
                (hashed.is_ok(), engine.query("pairs", PAIRS).await.unwrap())
            })
        };
        let (fits, rows) = join(MEMORY);
        assert!(fits);
        assert_eq!(Columns(&rows[0]).integers("pairs").unwrap().value(0), 64_000);
        assert_eq!(join(24 << 20), (false, rows));
    }
}
