//! The store: immutable files, and a log of numbered commits that says which of them count.
//!
//! A file is written as a whole under a name of its own, and then a commit that names it is created. A commit's
//! number can be taken only once, on a local disk as in S3-compatible storage, so two programs that write at the
//! same time cannot both believe that they were first, and a program that dies leaves files that no commit names.

mod position;
#[cfg(test)]
mod faulty;
mod raw;
mod state;

pub use position::PositionCommit;
pub use raw::{RawFile, RawImport};
pub use state::{Coverage, DayState, Erasure, Frozen, Method, Reopening, State, Undone};

use crate::attributes;
use crate::definition::Definition;
use crate::error::KpiError;
use crate::input::{Format, hex};
use crate::raw::random;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Where facts and values are kept.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// URL under which the query engine finds the files.
    pub url: Url,
    prefix: ObjectPath,
}

/// Table of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `registrar.event/1`.
    Events,
    /// `dns.fleet/1`, grouping all.
    Dns,
    /// `dns.probe/1`.
    Probes,
    /// Rows that were refused at import.
    Rejected,
    /// Rows of dimension tables.
    Attributes,
    /// `dns.alert/1`.
    Alerts,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 6] =
        [Self::Events, Self::Dns, Self::Probes, Self::Rejected, Self::Attributes, Self::Alerts];

    /// Table of the records of a schema; events are those of any other.
    #[must_use]
    pub fn of_schema(schema: &str) -> Self {
        match schema {
            "dns.fleet/1" => Self::Dns,
            "dns.probe/1" => Self::Probes,
            "dns.alert/1" => Self::Alerts,
            _ => Self::Events,
        }
    }

    /// Name in paths and in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Dns => "dns",
            Self::Probes => "probes",
            Self::Rejected => "rejected",
            Self::Attributes => "attributes",
            Self::Alerts => "alerts",
        }
    }
}

/// A file of facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactFile {
    /// Table that its rows belong to.
    pub table: Table,
    /// Path in the store.
    pub path: String,
    /// Day (UTC) of its rows; rejected rows and those of dimension tables have none.
    pub day: Option<jiff::civil::Date>,
    /// Number of rows.
    pub rows: u64,
}

/// Offsets by partition, with texts as keys: a commit is flattened, and then serde reads no others.
mod by_partition {
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(
        offsets: &BTreeMap<i32, i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(offsets.iter().map(|(partition, next)| (partition.to_string(), next)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<i32, i64>, D::Error> {
        let offsets = BTreeMap::<String, i64>::deserialize(deserializer)?;
        let offset = |(partition, next): (String, i64)| {
            partition.parse().map(|partition| (partition, next)).map_err(D::Error::custom)
        };
        offsets.into_iter().map(offset).collect()
    }
}

/// An imported file or part of a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportCommit {
    /// SHA-256 of the content, decompressed, in hex.
    pub sha256: String,
    /// Name of the source (`--source`), else of the file.
    pub source: String,
    /// Name of the file or topic.
    pub name: String,
    /// Bytes of the content, decompressed.
    pub bytes: u64,
    /// How its rows were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What its rows describe, if it is a dimension table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<attributes::Kind>,
    /// Rows read.
    pub rows: u64,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows that no KPI needs: `dns.fleet/1` with another grouping than all.
    pub skipped: u64,
    /// Rejected rows by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Number of values that are not empty, by field.
    pub filled: BTreeMap<String, u64>,
    /// Event types that no KPI of the built-in dictionary knows, with their rows.
    pub unknown_types: BTreeMap<String, u64>,
    /// Declared sources that its accepted rows are of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub systems: BTreeSet<String>,
    /// Time of the newest accepted row.
    pub newest: Option<jiff::Timestamp>,
    /// SHA-256 of an earlier import whose rejected rows this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Topic: next offset by partition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "by_partition")]
    pub offsets: BTreeMap<i32, i64>,
    /// Topic: by partition, its end when it was read and a hash of its newest message (`END:HASH`; in former versions the hash
    /// alone), by which lost messages and a topic that was made anew are noticed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_messages: BTreeMap<String, String>,
    /// Pull: up to where the source was read, or the version of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Files that were written.
    pub files: Vec<FactFile>,
    /// Its rows as they came, if they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawImport>,
    /// The import whose rows were read again, and which this one stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<UndoCommit>,
}

impl ImportCommit {
    /// Returns whether it is a dimension table. In former versions only its files and its rows as they came say so.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.dimension.is_some()
            || self.raw.as_ref().is_some_and(|raw| raw.dimension.is_some())
            || self.files.iter().any(|file| file.table == Table::Attributes)
    }

    /// Paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let facts = self.files.iter().map(|file| file.path.as_str());
        let raw = self.raw.iter().flat_map(|raw| &raw.files);
        facts.chain(raw.flat_map(|file| [file.rows.as_str(), file.keys.as_str()]))
    }
}

/// Values of one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DayCommit {
    /// File with the rows of all measures, as of this computation.
    pub path: String,
    /// KPIs that this computation made final: their values are those of this file from now on.
    pub finalised: BTreeSet<String>,
    /// Sources whose data of the day are incomplete, with the reason.
    pub incomplete: BTreeMap<String, String>,
    /// Rejected rows of the day that wait for a correction.
    pub rejected: u64,
}

/// What the next computation can go on from: values of all days that were computed from the same facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Number of the newest commit whose facts the values have.
    pub snapshot: u64,
    /// Hash of everything that makes values of facts: other queries give other values.
    pub method: String,
    /// File with the counts of these facts.
    pub summary: String,
    /// Segments of the index of the keys of these facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub index: Vec<String>,
}

/// A computation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComputeCommit {
    /// Number of the newest commit whose facts it has read.
    pub snapshot: u64,
    /// SHA-256 of the dictionary.
    pub dictionary: String,
    /// What sources were declared, and what none of them delivers.
    #[serde(alias = "absent")]
    pub coverage: Coverage,
    /// What the next computation can go on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Definitions of the KPIs that this computation made final.
    pub definitions: BTreeMap<String, Definition>,
    /// Hash of the definition of each KPI, if others than those of the computation before. Former versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<BTreeMap<String, String>>,
    /// Days with their values. Days whose values have not changed are left out.
    pub days: BTreeMap<jiff::civil::Date, DayCommit>,
}

/// The end of a day's finality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReopenCommit {
    /// Day whose values are no longer final.
    pub day: jiff::civil::Date,
    /// Why, in the user's words.
    pub reason: String,
}

/// The word of a user that a source has delivered all of a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveredCommit {
    /// Name of the declared source.
    pub source: String,
    /// Day in the source's time zone.
    pub day: jiff::civil::Date,
}

/// The end of an import: its rows no longer count, and days with final values that have some are reopened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoCommit {
    /// SHA-256 by which the import is known.
    pub sha256: String,
    /// Why, in the user's words.
    pub reason: String,
}

/// The end of the data of persons. It says how many they were, and not who.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EraseCommit {
    /// Why, in the user's words.
    pub reason: String,
    /// Accounts and domains that were asked for, and domains that only these accounts have had.
    pub subjects: usize,
    /// Rows of facts and refused ones that have lost their names.
    pub facts: u64,
    /// Rows that can no more be read as they came.
    pub raw_rows: u64,
    /// New paths of files by their old ones.
    pub replaced: BTreeMap<String, String>,
    /// File with what is known of all erased events, if it was written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstones: Option<String>,
    /// Files of imports that were taken back, and of those that have never ended.
    pub removed: BTreeSet<String>,
    /// Name of the removal of the old files.
    pub removal: String,
}

/// The end of rows as they came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpireCommit {
    /// Files with rows or their keys.
    pub files: BTreeSet<String>,
    /// Name of the removal of these files.
    pub removal: String,
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitKind {
    /// Facts were added.
    Import(Box<ImportCommit>),
    /// Values were computed.
    Compute(ComputeCommit),
    /// A day's values are no longer final.
    Reopen(ReopenCommit),
    /// A source has delivered a day.
    Delivered(DeliveredCommit),
    /// An import no longer counts.
    Undo(UndoCommit),
    /// Data of persons were erased.
    Erase(EraseCommit),
    /// Rows as they came are no longer kept.
    Expire(ExpireCommit),
    /// A topic or source was read, and nothing was added.
    Position(PositionCommit),
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// When it was made.
    pub at: jiff::Timestamp,
    /// Random text, by which a program knows its own commit. Former versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub kind: CommitKind,
}

impl Store {
    /// Opens a folder, which is created, or a URL such as `s3://bucket/prefix`; access to S3-compatible storage is
    /// configured by the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...).
    ///
    /// # Errors
    /// The folder cannot be created, or the URL or the environment is wrong.
    pub fn open(place: &str) -> Result<Self, KpiError> {
        if let Some(rest) = place.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let objects = self::bucket(bucket)?;
            let url = Url::parse(&format!("s3://{bucket}"))
                .map_err(|error| KpiError::store(place, &error))?;
            return Ok(Self { objects: Arc::new(objects), url, prefix: ObjectPath::from(prefix) });
        }
        let folder = PathBuf::from(place);
        std::fs::create_dir_all(&folder).map_err(|error| KpiError::store(place, &error))?;
        let folder = folder.canonicalize().map_err(|error| KpiError::store(place, &error))?;
        let objects = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| KpiError::store(place, &error))?;
        let url =
            Url::from_directory_path(&folder).map_err(|()| KpiError::store(place, "bad path"))?;
        Ok(Self { objects: Arc::new(objects), url, prefix: ObjectPath::default() })
    }

    /// The storage, for the query engine.
    #[must_use]
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Place of a file in the storage.
    #[must_use]
    pub fn location(&self, path: &str) -> ObjectPath {
        self.prefix.parts().chain(ObjectPath::from(path).parts()).collect()
    }

    /// Writes a file as a whole: readers see all of it or nothing.
    ///
    /// # Errors
    /// The storage is full or cannot be written.
    pub async fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), KpiError> {
        let payload = PutPayload::from(bytes);
        let result = self.objects.put(&self.location(path), payload).await;
        result.map(drop).map_err(|error| KpiError::write(path, &error))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub async fn read(&self, path: &str) -> Result<bytes::Bytes, KpiError> {
        let fail = |error: object_store::Error| KpiError::store(path, &error);
        let found = self.objects.get(&self.location(path)).await.map_err(fail)?;
        found.bytes().await.map_err(fail)
    }

    /// Reads a file; none if it does not exist.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read_if_there(&self, path: &str) -> Result<Option<bytes::Bytes>, KpiError> {
        let fail = |error: object_store::Error| KpiError::store(path, &error);
        match self.objects.get(&self.location(path)).await {
            Ok(found) => found.bytes().await.map(Some).map_err(fail),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// Writes a file, whose name depends on its bytes alone, so that damage shows. Returns the path.
    ///
    /// # Errors
    /// The storage is full or cannot be written.
    pub async fn write_hashed(
        &self,
        folder: &str,
        extension: &str,
        bytes: Vec<u8>,
    ) -> Result<String, KpiError> {
        let path = hashed_path(folder, extension, &bytes);
        self.write(&path, bytes).await?;
        Ok(path)
    }

    /// Reads what [`Self::write_hashed`] has written.
    ///
    /// # Errors
    /// There is no such file, it cannot be read, or it is damaged.
    pub async fn read_hashed(&self, path: &str) -> Result<bytes::Bytes, KpiError> {
        undamaged(path, self.read(path).await?).await
    }

    /// Reads what [`Self::write_hashed`] has written and the next computation can make anew; none if it does not exist, or is damaged and
    /// so is removed.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read_if_intact(&self, path: &str) -> Result<Option<bytes::Bytes>, KpiError> {
        let Some(bytes) = self.read_if_there(path).await? else { return Ok(None) };
        match undamaged(path, bytes).await {
            Err(error @ KpiError::Damaged(_)) => {
                tracing::warn!("{error}: it is made anew");
                self.remove(&self.location(path)).await;
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Lists the files of a folder; none where this is not allowed.
    pub async fn files(&self, folder: &str) -> Vec<ObjectPath> {
        let found = self.objects.list(Some(&self.location(folder)));
        let found = found.map_ok(|file| file.location).try_collect().await;
        found.unwrap_or_else(|error| {
            tracing::info!("cannot list {folder}/, to remove what is no longer needed: {error}");
            Vec::new()
        })
    }

    /// Removes a file that no commit names any more. What cannot be removed stays.
    pub async fn remove(&self, file: &ObjectPath) {
        if let Err(error) = self.objects.delete(file).await {
            tracing::info!("cannot remove {file}, which is no longer needed: {error}");
        }
    }

    /// Lists the files of a folder, with their sizes and ages.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, KpiError> {
        let found = self.objects.list(Some(&self.location(folder)));
        found.try_collect().await.map_err(|error| KpiError::store(folder, &error))
    }

    /// Path of a file in the store, as commits name it.
    #[must_use]
    pub fn path_of(&self, file: &ObjectPath) -> String {
        let parts = file.prefix_match(&self.prefix);
        let parts = parts.into_iter().flatten().map(|part| part.as_ref().to_owned());
        parts.collect::<Vec<_>>().join("/")
    }

    /// Removes a file; one that does not exist is removed already.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn delete(&self, path: &str) -> Result<(), KpiError> {
        match self.objects.delete(&self.location(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(KpiError::store(path, &error)),
        }
    }

    /// Removes files that were written for a commit that has not come about: they may have names of persons. What `state` names stays.
    pub async fn discard(&self, state: &State, paths: impl Iterator<Item = &str>) {
        let needed = state.paths();
        for path in paths.filter(|path| !needed.contains(path)) {
            if let Err(error) = self.delete(path).await {
                tracing::warn!(
                    "cannot remove {path}, which no commit names: it may have names of persons: {error}"
                );
            }
        }
    }

    /// Reads all commits.
    ///
    /// # Errors
    /// A commit cannot be read, or one is missing.
    pub async fn state(&self) -> Result<State, KpiError> {
        let mut state = State::default();
        self.refresh(&mut state).await?;
        Ok(state)
    }

    /// Adds the commits that are newer than `state`; whether there were any.
    ///
    /// # Errors
    /// A commit cannot be read, or one is missing.
    pub async fn refresh(&self, state: &mut State) -> Result<bool, KpiError> {
        let folder = self.location(LOG);
        let after = self.location(&commit_path(state.number));
        let mut listed = self.objects.list_with_offset(Some(&folder), &after);
        let mut numbers = BTreeSet::new();
        while let Some(found) = listed.next().await {
            let found = found.map_err(|error| KpiError::store(LOG, &error))?;
            let number = found.location.filename().and_then(|name| name.strip_suffix(".json"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        let known = state.number;
        let new: Vec<u64> = numbers.into_iter().filter(|number| *number > known).collect();
        for number in &new {
            let number = *number;
            if number != state.number + 1 {
                let problem = format!("commit {} is missing", state.number + 1);
                return Err(KpiError::store(LOG, &problem));
            }
            let path = commit_path(number);
            let bytes = self.read(&path).await?;
            let commit =
                serde_json::from_slice(&bytes).map_err(|error| KpiError::store(&path, &error))?;
            state.apply(number, commit);
        }
        Ok(!new.is_empty())
    }

    /// Creates the commit that follows `state`. Returns false, and writes nothing, if another program has created
    /// it: refresh the state, decide anew, and commit again.
    ///
    /// # Errors
    /// The commit cannot be made, or, as [`KpiError::Undecided`], nobody knows whether the storage has it. Then the files that it names
    /// must stay.
    pub async fn commit(&self, state: &mut State, kind: CommitKind) -> Result<bool, KpiError> {
        let number = state.number + 1;
        let path = commit_path(number);
        let commit = Commit { at: crate::clock::now(), nonce: Some(hex(&random::<16>()?)), kind };
        let text = serde_json::to_vec(&commit).map_err(|error| KpiError::write(&path, &error))?;
        let text = bytes::Bytes::from(text);
        let options = PutOptions::from(PutMode::Create);
        let location = self.location(&path);
        let put = self.objects.put_opts(&location, text.clone().into(), options);
        if let Err(error) = put.await {
            // A request whose answer is lost is sent again, and then finds the commit that it has made itself.
            let there = self.read_if_there(&path).await;
            match there.map_err(|_| KpiError::undecided(&path, &error))? {
                Some(bytes) if bytes == text => {}
                Some(_) => return Ok(false),
                // The request may still be on its way.
                None => return Err(KpiError::undecided(&path, &error)),
            }
        }
        state.apply(number, commit);
        Ok(true)
    }
}

/// Path of a file whose name depends on its bytes alone.
fn hashed_path(folder: &str, extension: &str, bytes: &[u8]) -> String {
    format!("{folder}/{}.{extension}", hex(&Sha256::digest(bytes)[..8]))
}

/// Returns the bytes of a file if they are those that its name says.
///
/// # Errors
/// They are others.
pub async fn undamaged(path: &str, bytes: bytes::Bytes) -> Result<bytes::Bytes, KpiError> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension).to_owned();
    // Files of an index have hundreds of megabytes.
    let hashed =
        tokio::task::spawn_blocking(move || (hashed_path(&folder, &extension, &bytes), bytes))
            .await;
    let (expected, bytes) = hashed.map_err(|error| KpiError::store(path, &error))?;
    if expected == path { Ok(bytes) } else { Err(KpiError::Damaged(path.to_owned())) }
}

/// Opens a bucket of S3-compatible storage, to which the environment describes the access.
///
/// # Errors
/// The environment is wrong.
pub fn bucket(name: &str) -> Result<AmazonS3, KpiError> {
    let builder = AmazonS3Builder::from_env().with_bucket_name(name);
    builder.build().map_err(|error| KpiError::store(&format!("s3://{name}"), &error))
}

/// Folder of the commits.
const LOG: &str = "log";

fn commit_path(number: u64) -> String {
    format!("{LOG}/{number:020}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_of_former_versions_are_read() {
        let text = r#"{"at":"2026-11-24T08:00:00Z","compute":{"snapshot":1,"dictionary":"5e",
            "absent":{"types":["abuse_reported"],"are_sources_declared":true},"definitions":{},
            "days":{"2026-03-01":{"path":"values/a","finalised":[],"incomplete":{},"rejected":0}}}}"#;
        let mut state = State::default();
        state.apply(1, serde_json::from_str(text).unwrap());
        let absent = BTreeSet::from(["abuse_reported".to_owned()]);
        let openings = BTreeMap::new();
        assert_eq!(state.coverage, Coverage { absent, are_sources_declared: true, openings });
        assert_eq!(state.days.len(), 1);
    }

    /// A program of a former version, which knows no nonce, reads commits that have one.
    #[test]
    fn commits_are_read_by_former_versions() {
        #[derive(Deserialize)]
        struct FormerCommit {
            at: jiff::Timestamp,
            #[serde(flatten)]
            kind: CommitKind,
        }
        let day = jiff::civil::date(2026, 3, 1);
        let kind = CommitKind::Reopen(ReopenCommit { day, reason: "r".to_owned() });
        let nonce = Some("5e".to_owned());
        let commit = Commit { at: jiff::Timestamp::UNIX_EPOCH, nonce, kind };
        let text = serde_json::to_string(&commit).unwrap();
        let former: FormerCommit = serde_json::from_str(&text).unwrap();
        assert_eq!((former.at, former.kind), (commit.at, commit.kind.clone()));
        assert_eq!(serde_json::from_str::<Commit>(&text).unwrap(), commit);
    }

    #[test]
    fn what_is_read_again_moves_no_topic_back() {
        let import = |sha256: &str, next: i64, position: &str, again: Option<&str>| {
            let mut commit = serde_json::json!({"at": "2026-11-24T08:00:00Z", "import": {"sha256": sha256,
                "source": "t", "name": "t", "bytes": 1, "rows": 1, "accepted": 1, "skipped": 0, "rejected": {},
                "filled": {}, "unknown_types": {}, "newest": null, "files": [], "offsets": {"0": next},
                "last_messages": {"0": format!("{next}:5e")}, "position": position}});
            if let Some(sha256) = again {
                commit["import"]["again"] = serde_json::json!({"sha256": sha256, "reason": "r"});
            }
            serde_json::from_value(commit).unwrap()
        };
        let mut state = State::default();
        state.apply(1, import("a", 5, "p5", None));
        state.apply(2, import("b", 9, "p9", None));
        state.apply(3, import("c", 5, "p5", Some("a")));
        assert_eq!(state.imports.len(), 2);
        assert_eq!(state.offsets["t"], BTreeMap::from([(0, 9)]));
        assert_eq!(state.last_messages["t"]["0"], "9:5e");
        assert_eq!(state.positions.values().collect::<Vec<_>>(), ["p9"]);
    }
}
