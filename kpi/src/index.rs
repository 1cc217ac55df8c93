//! Index of the keys of events: which rows may have a key that a computation asks for, without reading the events.
//!
//! It is made of segments, files that never change: for each event of some files of facts, in the order of their rows, hashes of all keys
//! that can be asked for. Files of facts without a segment are read as a whole, so a segment that is missing or damaged, or was made for
//! other keys, costs time and nothing else.

mod hashed;
mod segment;

use crate::dictionary::Dictionary;
use crate::error::KpiError;
use crate::facts;
use crate::keys::{Keys, hash};
use crate::query::text_list;
use crate::rows::with_schema;
use crate::store::{FactFile, State, Store, Table};
use datafusion::arrow::array::RecordBatch;
use futures_util::{StreamExt as _, TryStreamExt as _};
use hashed::Hasher;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use segment::Segment;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Folder of the segments in the store.
pub const FOLDER: &str = "keys";

/// Rows of a segment at most, unless a file of facts has more: it is read into memory as a whole.
const SEGMENT_ROWS: u64 = 4 << 20;

/// Columns by which events repeat or correct each other.
const LINKS: [&str; 4] = ["technical_hash", "business_hash", "corrects", "corrects_event_id"];

/// Keys of an index: [`LINKS`], and expressions of models over events of some types, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct KeyColumns(BTreeMap<String, Option<BTreeSet<String>>>);

impl KeyColumns {
    fn of(dictionary: &Dictionary) -> Self {
        let mut columns = Self::default();
        for model in &dictionary.models {
            if let Some(follows) = &model.follows {
                let types = [follows.start.as_str(), &follows.end].into();
                columns.add(follows.by.columns().1, Some(types));
            }
            for expression in model.keys.iter().flatten() {
                columns.add(expression, dictionary.types_of_model(model));
            }
        }
        columns
    }

    fn add(&mut self, expression: &str, types: Option<BTreeSet<&str>>) {
        let types: Option<BTreeSet<String>> =
            types.map(|types| types.into_iter().map(str::to_owned).collect());
        let known = self.0.entry(expression.to_owned()).or_insert_with(|| Some(BTreeSet::new()));
        *known = known.take().zip(types).map(|(known, more)| &known | &more);
    }

    /// Names of the columns of a segment.
    fn names(&self) -> impl Iterator<Item = String> {
        let expressions = (0..self.0.len()).map(|index| format!("key_{index}"));
        LINKS.into_iter().map(str::to_owned).chain(expressions)
    }

    /// Name of the column that has a key.
    fn name(&self, key: &str) -> Option<String> {
        let index = self.0.keys().position(|expression| expression == key);
        let name = index.map(|index| format!("key_{index}"));
        name.or_else(|| LINKS.contains(&key).then(|| key.to_owned()))
    }

    /// Query for the keys of the events of `table`, by the names of the columns, with their types.
    fn sql(&self, table: &str) -> String {
        let expressions = self.0.iter().enumerate().map(|(index, (expression, types))| {
            let condition = types.as_ref().map_or_else(|| "1 = 1".to_owned(), types_condition);
            format!(", CASE WHEN {condition} THEN {expression} END AS key_{index}")
        });
        let expressions: String = expressions.collect();
        format!("SELECT event_type, {}{expressions} FROM {table}", LINKS.join(", "))
    }
}

/// Condition on events of some types.
#[must_use]
pub fn types_condition<T: AsRef<str>>(types: &BTreeSet<T>) -> String {
    if types.is_empty() {
        return "1 = 0".to_owned();
    }
    format!("event_type IN ({})", text_list(types))
}

/// The part of a hash that an index has. Of 100 million rows, some 2,000 have that of one of 100,000 keys by chance.
fn short(hash: i64) -> u32 {
    let low = hash.cast_unsigned() & u64::from(u32::MAX);
    u32::try_from(low).unwrap_or(u32::MAX)
}

/// Hash of a key of an event of a type, by those of both.
fn typed(kind: i64, key: i64) -> i64 {
    kind.rotate_left(32) ^ key
}

/// Hashes of keys that are asked for, by the columns of a segment.
#[derive(Debug, Default)]
pub struct Wanted(BTreeMap<String, HashSet<i64>>);

impl Wanted {
    /// Adds hashes of one of the columns by which events repeat or correct each other.
    pub fn add<'a>(&mut self, column: &str, hashes: impl IntoIterator<Item = &'a i64>) {
        let hashes = hashes.into_iter().map(|hash| i64::from(short(*hash)));
        self.0.entry(column.to_owned()).or_default().extend(hashes);
    }

    /// Adds hashes of an expression, of events of these types.
    pub fn add_typed<'a>(
        &mut self,
        expression: &str,
        types: impl IntoIterator<Item = &'a str>,
        hashes: &HashSet<i64>,
    ) {
        for kind in types {
            let kind = hash(kind);
            let typed: Vec<i64> = hashes.iter().map(|key| typed(kind, *key)).collect();
            self.add(expression, &typed);
        }
    }
}

/// Rows by the file that has them, in order.
pub type Found = BTreeMap<String, Vec<u64>>;

/// All segments of a store that can be used.
#[derive(Debug)]
pub struct Index {
    columns: KeyColumns,
    segments: Vec<Segment>,
}

impl Index {
    /// Opens segments. Those that are missing, were made for another dictionary, or have files that no longer count, are left out.
    pub async fn open(
        store: &Store,
        state: &State,
        dictionary: &Dictionary,
        paths: &[String],
    ) -> Self {
        let columns = KeyColumns::of(dictionary);
        let files: HashSet<&str> =
            state.files(Table::Events).map(|file| file.path.as_str()).collect();
        let is_current =
            |segment: &Segment| segment.files.iter().all(|(path, _)| files.contains(&**path));
        let mut segments = Vec::new();
        for path in paths {
            match Segment::open(store, path, &columns).await {
                Ok(segment) => segments.extend(segment.filter(is_current)),
                Err(error) => tracing::warn!(path, %error, "index cannot be read: made anew"),
            }
        }
        Self { columns, segments }
    }

    /// Paths of the segments.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.segments.iter().map(|segment| segment.path.clone()).collect()
    }

    /// Paths of the files of facts that have a segment.
    #[must_use]
    pub fn files(&self) -> HashSet<&str> {
        let files = self.segments.iter().flat_map(|segment| &segment.files);
        files.map(|(path, _)| path.as_str()).collect()
    }

    /// Finds rows that may have one of the keys. Nothing if a segment is damaged, or gone, which happens if another computation has ended
    /// meanwhile.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub async fn find(&self, store: &Store, wanted: Wanted) -> Result<Option<Found>, KpiError> {
        let wanted = wanted.0.into_iter().filter_map(|(key, hashes)| {
            let name = self.columns.name(&key)?;
            (!hashes.is_empty()).then(|| (name, Keys::new(hashes)))
        });
        let wanted: Arc<Vec<(String, Keys)>> = Arc::new(wanted.collect());
        let mut found = Found::new();
        if wanted.is_empty() {
            return Ok(Some(found));
        }
        let jobs = self.segments.iter().map(|segment| {
            let wanted = Arc::clone(&wanted);
            async move { Ok::<_, KpiError>((segment, segment.find(store, wanted).await?)) }
        });
        let mut jobs = futures_util::stream::iter(jobs.collect::<Vec<_>>()).buffered(threads());
        while let Some((segment, rows)) = jobs.try_next().await? {
            let Some(rows) = rows else { return Ok(None) };
            segment.by_file(&rows, &mut found);
        }
        Ok(Some(found))
    }

    /// Adds files of facts. Segments that are not much larger than what is added are merged with it, so that there are few.
    ///
    /// # Errors
    /// A file cannot be read, or a segment not be written.
    pub async fn extend(
        &mut self,
        store: &Store,
        mut files: Vec<&FactFile>,
    ) -> Result<(), KpiError> {
        let covered = self.files();
        files.retain(|file| file.table == Table::Events && !covered.contains(&*file.path));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let mut added = 0;
            let mut part = Vec::new();
            while let Some(file) =
                files.next_if(|file| part.is_empty() || added + file.rows <= SEGMENT_ROWS)
            {
                added += file.rows;
                part.push(file);
            }
            self.add_segment(store, &part, added).await?;
        }
        Ok(())
    }

    async fn add_segment(
        &mut self,
        store: &Store,
        files: &[&FactFile],
        mut rows: u64,
    ) -> Result<(), KpiError> {
        let hasher = Hasher::new(&self.columns)?;
        let mut batches = vec![hasher.hashes(store, files).await?];
        let mut all: Vec<_> = files.iter().map(|file| (file.path.clone(), file.rows)).collect();
        while let Some(last) =
            self.segments.pop_if(|last| last.rows < 2 * rows && last.rows + rows <= SEGMENT_ROWS)
        {
            // What is gone is made anew by the next computation.
            if let Some(batch) = last.read(store, hasher.schema()).await? {
                rows += last.rows;
                batches.insert(0, batch);
                all = [last.files, all].concat();
            }
        }
        let segment = Segment::write(store, &self.columns, all, &batches, hasher.schema()).await?;
        self.segments.push(segment);
        Ok(())
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Reads these rows of files of events, as far as `files` names the files.
///
/// # Errors
/// A file cannot be read, or has another number of rows than `files` says.
pub async fn read(
    store: &Store,
    files: &BTreeMap<&str, u64>,
    found: Found,
) -> Result<Vec<RecordBatch>, KpiError> {
    let found = found.into_iter().filter_map(|(path, rows)| {
        let all = *files.get(path.as_str())?;
        Some((path, all, rows))
    });
    let jobs = found.map(|(path, all, rows)| {
        let store = store.clone();
        async move {
            let job = tokio::spawn(async move { read_file(&store, &path, all, &rows).await });
            job.await.map_err(|error| KpiError::Failed(format!("facts: {error}")))?
        }
    });
    let jobs = futures_util::stream::iter(jobs.collect::<Vec<_>>()).buffered(2 * threads());
    let batches: Vec<Vec<RecordBatch>> = jobs.try_collect().await?;
    Ok(batches.into_iter().flatten().collect())
}

async fn read_file(
    store: &Store,
    path: &str,
    all: u64,
    rows: &[u64],
) -> Result<Vec<RecordBatch>, KpiError> {
    let fail = |error: ParquetError| KpiError::store(path, &error);
    let reader = ParquetObjectReader::new(store.objects(), store.location(path));
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options);
    let builder = builder.await.map_err(fail)?;
    let count = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    if u64::try_from(count).ok() != Some(all) {
        return Err(KpiError::store(path, &format!("{count} rows, and not {all}")));
    }
    let ranges = rows.iter().filter_map(|row| usize::try_from(*row).ok()).map(|row| row..row + 1);
    let selection = RowSelection::from_consecutive_ranges(ranges, count);
    let mut stream = builder.with_row_selection(selection).build().map_err(fail)?;
    let schema = facts::schema(Table::Events);
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await.transpose().map_err(fail)? {
        batches.push(with_schema(&schema, &batch)?);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_of_several_models_has_the_types_of_all() {
        let mut columns = KeyColumns::default();
        columns.add("domain", Some(["expired"].into()));
        columns.add("domain", Some(["deleted"].into()));
        columns.add("account_id", Some(["expired"].into()));
        columns.add("account_id", None);
        let sql = columns.sql("rows");
        assert!(
            sql.ends_with(
                ", CASE WHEN 1 = 1 THEN account_id END AS key_0, \
                 CASE WHEN event_type IN ('deleted', 'expired') THEN domain END AS key_1 FROM rows"
            ),
            "{sql}"
        );
        assert_eq!(columns.name("domain").as_deref(), Some("key_1"));
        assert_eq!(columns.name("corrects").as_deref(), Some("corrects"));
        assert_eq!(columns.name("tld"), None);
        assert_eq!(columns.names().count(), 6);
    }
}
