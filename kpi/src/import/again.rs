//! Rows of an earlier import that are read again as they came, with another map or parser.

use super::undo::find;
use super::{Importer, Request};
use crate::error::KpiError;
use crate::facts;
use crate::input::{Digest, parse_row};
use crate::mapping::Mapping;
use crate::privacy::Policy;
use crate::raw::RawPart;
use crate::rows::{Columns, failed, sorted, text};
use crate::sources::Sources;
use crate::store::{
    CommitKind, FactFile, ImportCommit, RawImport, State, Store, Table, UndoCommit,
};
use crate::tombstones::Tombstones;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What reading an import again has done.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// The import as it counts now.
    pub commit: ImportCommit,
    /// Rows that were accepted before.
    pub before: u64,
    /// Whether its facts are others than before.
    pub is_changed: bool,
    /// Rows that were read.
    pub read: usize,
    /// Facts and refused rows that stay as they are, since their row can no more be read as it came.
    pub kept: u64,
}

/// Reads the rows of an import again, which is named by its file, its name or its SHA-256. Where this gives the same facts, nothing
/// changes.
///
/// # Errors
/// There is no such import, its rows were not kept, none would be accepted any more, or the store cannot be written.
pub async fn again(
    store: &Store,
    earlier: &str,
    mapping: Option<&Mapping>,
    (policy, sources): (&Policy, &Sources),
    reason: &str,
) -> Result<Again, KpiError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(KpiError::Usage("--reason is empty: say why it is read again".to_owned()));
    }
    let mut state = store.state().await?;
    state.require_sources(sources)?;
    let import = named(&state, earlier)?;
    let Some(raw) = import.raw.as_ref().filter(|raw| !raw.files.is_empty()) else {
        let problem =
            "its rows are not kept as they came: import the file again, after `import --undo`";
        return Err(KpiError::Usage(format!("--again {earlier}: {problem}")));
    };
    let own = raw.map.as_deref().map(Mapping::parse).transpose().map_err(KpiError::Failed)?;
    let mapping = mapping.or(own.as_ref());
    let content = &raw.content_sha256;
    let sha256 = mapping.map_or_else(|| content.clone(), |mapping| mapping.identity(content));
    if sha256 != import.sha256 && state.imports.contains_key(&sha256) {
        let problem = "its content was imported with this map, too: take that import back first";
        return Err(KpiError::Usage(format!("--again {earlier}: {problem}")));
    }
    let request = Request {
        source: &import.source,
        is_named: raw.is_named,
        mapping,
        dimension: raw.dimension,
        replaces: import.replaces.clone(),
        offsets: import.offsets.clone(),
        last_messages: import.last_messages.clone(),
        position: import.position.clone(),
        ..Request::new(&import.name, policy, sources)
    };
    let digest = Digest { sha256, bytes: import.bytes };
    let mut importer = Importer::new(store, &request, &digest, import.format.unwrap_or_default())?;
    importer.tombstones = Tombstones::read(store, state.tombstones.as_deref()).await?;
    importer.origin.imported_us = raw.imported_us;
    importer.commit.raw =
        Some(RawImport { map: mapping.map(|mapping| mapping.text().to_owned()), ..raw.clone() });
    importer.commit.again =
        Some(UndoCommit { sha256: import.sha256.clone(), reason: reason.to_owned() });
    let again = importer.replace(&mut state, (earlier, &import), raw, policy).await;
    let is_kept = match &again {
        Ok(again) => again.is_changed,
        Err(error) => matches!(error, KpiError::Undecided { .. }),
    };
    if !is_kept {
        let files = importer.commit.files.iter();
        store.discard(&state, files.map(|file| file.path.as_str())).await;
    }
    again
}

/// Finds an import by its name, if it is the only one of it, or else as [`find`].
fn named(state: &State, earlier: &str) -> Result<ImportCommit, KpiError> {
    let mut imports = state.imports.values().filter(|(_, _, import)| import.name == earlier);
    match (imports.next(), imports.next()) {
        (Some((_, _, only)), None) => Ok(only.as_ref().clone()),
        _ => find(state, earlier, None, "--again"),
    }
}

impl Importer<'_> {
    /// Reads the rows of an import again, and puts what they are now in its place, if that is something else.
    async fn replace(
        &mut self,
        state: &mut State,
        (earlier, import): (&str, &ImportCommit),
        raw: &RawImport,
        policy: &Policy,
    ) -> Result<Again, KpiError> {
        let lines = self.read_again(raw, policy).await?;
        let kept = self.carry(import, &lines).await?;
        let commit = &mut self.commit;
        (commit.rows, commit.skipped) = (import.rows, import.skipped);
        if commit.accepted == 0 && import.accepted > 0 {
            let reasons = commit.rejected.iter().map(|(reason, count)| format!("{reason} {count}"));
            return Err(KpiError::Usage(format!(
                "--again {earlier}: no row would be accepted ({}), where {} are: nothing was changed; mend the map, or take the \
                 import back with `import --undo`",
                reasons.collect::<Vec<_>>().join(", "),
                import.accepted
            )));
        }
        let (before, read) = (import.accepted, lines.len());
        if are_same(self.store, &import.files, &commit.files).await? {
            return Ok(Again { commit: import.clone(), before, is_changed: false, read, kept });
        }
        while !self.store.commit(state, CommitKind::Import(Box::new(commit.clone()))).await? {
            self.store.refresh(state).await?;
            let now = state.imports.get(&import.sha256).map(|(_, _, now)| now.as_ref());
            if now != Some(import) {
                return Err(KpiError::Failed(format!(
                    "{earlier} has changed meanwhile: try again"
                )));
            }
        }
        Ok(Again { commit: commit.clone(), before, is_changed: true, read, kept })
    }

    /// Adds all rows that can be read; returns their lines.
    async fn read_again(
        &mut self,
        raw: &RawImport,
        policy: &Policy,
    ) -> Result<HashSet<i64>, KpiError> {
        let mut lines = HashSet::new();
        for file in &raw.files {
            let (rows, keys) =
                (self.store.read(&file.rows).await?, self.store.read(&file.keys).await?);
            let part = RawPart::decode(&file.rows, rows, &keys, policy)?;
            part.read(|line, bytes| {
                let Some(row) = parse_row(bytes, raw.columns.as_ref())? else { return Ok(()) };
                lines.insert(line.cast_signed());
                self.add(line, row, bytes)?;
                self.write_if_full()
            })?;
        }
        self.write().await?;
        Ok(lines)
    }

    /// Adds the facts and refused rows of an earlier import that are of none of these lines; returns their number.
    async fn carry(
        &mut self,
        import: &ImportCommit,
        lines: &HashSet<i64>,
    ) -> Result<u64, KpiError> {
        let mut kept = 0;
        for file in &import.files {
            let batch = read(self.store, file).await?;
            let of_others = Columns(&batch).integers("source_line")?;
            let of_others: BooleanArray =
                of_others.iter().map(|line| line.map(|line| !lines.contains(&line))).collect();
            let batch = filter_record_batch(&batch, &of_others).map_err(failed)?;
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = self.with_identity(&batch)?;
            self.count(file, &batch, import)?;
            let (file, bytes) = self.file(file.table, file.day, &batch)?;
            self.part += 1;
            kept += file.rows;
            self.commit.files.push(file.clone());
            self.store.write(&file.path, bytes).await?;
        }
        Ok(kept)
    }

    /// Gives rows the identity that this import has.
    fn with_identity(&self, batch: &RecordBatch) -> Result<RecordBatch, KpiError> {
        let lines = Columns(batch).integers("source_line")?;
        let id = |line: &i64| {
            let origin = facts::Origin { line: line.cast_unsigned(), ..self.origin.clone() };
            origin.row_id()
        };
        let ids = lines.values().iter().map(id).collect::<Result<Vec<_>, _>>()?;
        let sha256 = std::iter::repeat_n(&*self.commit.sha256, batch.num_rows());
        let mut columns = batch.columns().to_vec();
        for (name, column) in [
            ("row_id", Arc::new(Int64Array::from(ids)) as ArrayRef),
            ("source_sha256", Arc::new(StringArray::from_iter_values(sha256))),
        ] {
            let index = batch.schema().index_of(name).map_err(failed)?;
            columns[index] = column;
        }
        RecordBatch::try_new(batch.schema(), columns).map_err(failed)
    }

    /// Counts rows of an earlier import that stay.
    fn count(
        &mut self,
        file: &FactFile,
        batch: &RecordBatch,
        import: &ImportCommit,
    ) -> Result<(), KpiError> {
        if file.table == Table::Rejected {
            let reasons = Columns(batch).texts("reason")?;
            for row in 0..batch.num_rows() {
                let reason = text(&reasons, row).unwrap_or_default().to_owned();
                *self.commit.rejected.entry(reason).or_default() += 1;
            }
            return Ok(());
        }
        let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        self.commit.accepted += rows;
        self.commit.systems.extend(import.systems.iter().cloned());
        self.commit.newest = self.commit.newest.max(import.newest);
        for (name, filled) in &mut self.commit.filled {
            let Some(column) = batch.column_by_name(name) else { continue };
            *filled += rows - u64::try_from(column.null_count()).unwrap_or_default();
        }
        Ok(())
    }
}

async fn read(store: &Store, file: &FactFile) -> Result<RecordBatch, KpiError> {
    let bytes = store.read(&file.path).await?;
    facts::parquet_rows(&file.path, bytes, &facts::schema(file.table))
}

/// Returns whether files have the same rows, in any order.
async fn are_same(store: &Store, old: &[FactFile], new: &[FactFile]) -> Result<bool, KpiError> {
    let parts = |files: &[FactFile]| {
        let mut parts: BTreeMap<(Table, Option<Date>), Vec<FactFile>> = BTreeMap::new();
        for file in files {
            parts.entry((file.table, file.day)).or_default().push(file.clone());
        }
        parts
    };
    let (old, new) = (parts(old), parts(new));
    if old.keys().collect::<BTreeSet<_>>() != new.keys().collect() {
        return Ok(false);
    }
    for (((table, _), old), new) in old.iter().zip(new.values()) {
        let rows = |files: &[FactFile]| files.iter().map(|file| file.rows).sum::<u64>();
        if rows(old) != rows(new) {
            return Ok(false);
        }
        let mut sides = Vec::new();
        for files in [old, new] {
            let mut batches = Vec::new();
            for file in files {
                batches.push(read(store, file).await?);
            }
            sides.push(sorted(&facts::schema(*table), &batches)?);
        }
        if sides[0] != sides[1] {
            return Ok(false);
        }
    }
    Ok(true)
}
