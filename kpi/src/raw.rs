//! Rows as they came, so that a better map or parser can read them again.
//!
//! Each row is encrypted with a key of its own, made of one key of its import and those of its account and its domain. Without one
//! of these nobody can read it: who destroys the key of an account has destroyed all rows of it, also those in backups of the rows.
//! The keys are in files beside those of the rows, themselves encrypted if the policy for personal data has a key.

mod keyring;

pub use keyring::Keyring;
pub(crate) use keyring::{checked, hmac, random, with_checksum};

use crate::attributes::{Attributes, Kind};
use crate::error::KpiError;
use crate::event::{EVENT_TYPES, FIELDS, host_name};
use crate::facts::{self, Fact};
use crate::input::{Row, readable_fields};
use crate::privacy::Policy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, Int32Array, Int64Array, RecordBatch,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

/// Folder of the rows.
pub const ROWS: &str = "raw";
/// Folder of their keys.
pub const KEYS: &str = "raw-keys";

/// Rows that are encrypted at once, by all processors.
const CHUNK_ROWS: usize = 1 << 14;
/// Bytes of encrypted rows in memory from which on they are written.
const FULL_BYTES: usize = 256 << 20;
/// Level of zstd.
const LEVEL: i32 = 3;
/// Metadata of a file with the dictionary of its compression.
const DICTIONARY: &str = "dictionary";

/// Contents of a file with rows, and of the one with their keys.
pub type Encoded = (Vec<u8>, Vec<u8>);

/// Whom a row is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Account.
    pub account: Option<String>,
    /// Domain.
    pub domain: Option<String>,
}

impl Subjects {
    /// Whom a fact is about.
    #[must_use]
    pub fn of_fact(fact: &Fact) -> Self {
        match fact {
            Fact::Event(event) => {
                Self { account: event.account_id.clone(), domain: event.domain.clone() }
            }
            Fact::Attributes(Attributes { kind: Kind::Account, key, .. }) => {
                Self { account: Some(key.clone()), domain: None }
            }
            Fact::Attributes(Attributes { kind: Kind::Domain, key, .. }) => {
                Self { account: None, domain: Some(key.clone()) }
            }
            _ => Self::default(),
        }
    }

    /// Whom a row is about that is no fact, as far as it can be read.
    #[must_use]
    pub fn of_row(row: &Row) -> Self {
        let fields = match row {
            Row::Csv(_, fields) => fields.clone(),
            Row::Json(text) => {
                let fields = readable_fields(text).into_iter();
                fields.map(|(name, value)| (name, value.into_text())).collect()
            }
            Row::Unreadable(..) => Vec::new(),
        };
        let field = |name: &str| {
            let mut fields =
                fields.iter().filter(|(field, text)| field == name && !text.is_empty());
            fields.next().map(|(_, text)| text.clone())
        };
        let domain = field("domain").map(|name| domain_name(&name));
        Self { account: field("account_id"), domain }
    }
}

/// Returns a domain as facts have it, or as it is if it is none.
#[must_use]
pub fn domain_name(text: &str) -> String {
    let name = text.trim_end_matches('.');
    host_name(name).unwrap_or_else(|| name.to_owned())
}

fn failed(error: impl Display) -> KpiError {
    KpiError::Failed(format!("rows as they came: {error}"))
}

/// A row that is not yet encrypted.
#[derive(Debug)]
struct Plain {
    line: i64,
    account: Option<usize>,
    domain: Option<usize>,
    bytes: Vec<u8>,
}

/// Rows of an import, which are encrypted as they come.
#[derive(Debug)]
pub struct RawWriter {
    dictionary: Vec<u8>,
    keys: Keyring,
    pending: Vec<Plain>,
    sealed: Vec<Plain>,
    bytes: usize,
}

impl RawWriter {
    /// Creates a writer for the rows of one import.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, KpiError> {
        Ok(Self {
            dictionary: Vec::new(),
            keys: Keyring::new()?,
            pending: Vec::new(),
            sealed: Vec::new(),
            bytes: 0,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// It cannot be encrypted.
    pub fn add(&mut self, line: u64, subjects: &Subjects, bytes: &[u8]) -> Result<(), KpiError> {
        if self.dictionary.is_empty() {
            self.dictionary = dictionary(bytes);
        }
        let mut key = |kind, value: Option<&str>| {
            value.map(|value| self.keys.key_of(kind, value)).transpose()
        };
        let account = key(Kind::Account, subjects.account.as_deref())?;
        let domain = key(Kind::Domain, subjects.domain.as_deref())?;
        let line = i64::try_from(line).map_err(failed)?;
        self.pending.push(Plain { line, account, domain, bytes: bytes.to_vec() });
        if self.pending.len() >= CHUNK_ROWS { self.seal() } else { Ok(()) }
    }

    /// Whether the rows in memory should be written.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    fn seal(&mut self) -> Result<(), KpiError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let length = self.pending.len().div_ceil(threads).max(1);
        let (keys, dictionary) = (&self.keys, self.dictionary.as_slice());
        let (pending, sealed) = (&mut self.pending, self.sealed.len());
        std::thread::scope(|scope| {
            let parts = pending.chunks_mut(length).enumerate().map(|(part, rows)| {
                let first = sealed + part * length;
                scope.spawn(move || seal_all(first, rows, keys, dictionary))
            });
            // Each is begun before the first one is waited for.
            let parts: Vec<_> = parts.collect();
            let ended =
                parts.into_iter().map(|part| part.join().map_err(|_| failed("a thread"))?);
            ended.collect::<Result<(), KpiError>>()
        })?;
        self.bytes += self.pending.iter().map(|row| row.bytes.len()).sum::<usize>();
        self.sealed.append(&mut self.pending);
        Ok(())
    }

    /// Returns the contents of a file with all rows since the last call, and of one with their keys; nothing without rows.
    ///
    /// # Errors
    /// They cannot be encrypted.
    pub fn finish(&mut self, policy: &Policy) -> Result<Option<Encoded>, KpiError> {
        self.seal()?;
        if self.sealed.is_empty() {
            return Ok(None);
        }
        self.bytes = 0;
        let rows = std::mem::take(&mut self.sealed);
        let keys = std::mem::replace(&mut self.keys, Keyring::new()?);
        let index = |index: Option<usize>| index.and_then(|index| i32::try_from(index).ok());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| Some(row.line)).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| index(row.account)).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|row| index(row.domain)).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|row| Some(row.bytes.as_slice())).collect::<BinaryArray>()),
        ];
        let rows = RecordBatch::try_new(schema(&self.dictionary), columns).map_err(failed)?;
        let part = RawPart { rows, keys };
        part.encode(policy).map(Some)
    }
}

/// Compresses and encrypts rows, of which the first one is the row `first` of its file.
fn seal_all(
    first: usize,
    rows: &mut [Plain],
    keys: &Keyring,
    dictionary: &[u8],
) -> Result<(), KpiError> {
    let mut compressor =
        zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary).map_err(failed)?;
    for (index, row) in rows.iter_mut().enumerate() {
        let length = u32::try_from(row.bytes.len()).map_err(failed)?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(compressor.compress(&row.bytes).map_err(failed)?);
        let key = keys.row_key(first + index, [row.account, row.domain]);
        let key = key.ok_or_else(|| failed("a key is missing"))?;
        let line = Aad::from(row.line.to_be_bytes());
        cipher(&key)?.seal_in_place_append_tag(once(), line, &mut bytes).map_err(failed)?;
        row.bytes = bytes;
    }
    Ok(())
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, KpiError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(failed)
}

/// The nonce of a key that encrypts one row only.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// What rows have in common: the names of their fields, but no value of them, and the types of events.
fn dictionary(row: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for kind in &EVENT_TYPES {
        text += kind.name;
        text.push(' ');
    }
    let names = serde_json::from_slice::<Map<String, Value>>(row).map_or_else(
        |_| Vec::from(FIELDS.map(str::to_owned)),
        |fields| fields.into_iter().map(|(name, _)| name).collect(),
    );
    for name in names {
        text = format!("{text}\"{name}\":\"\",");
    }
    text.into_bytes()
}

fn schema(dictionary: &[u8]) -> SchemaRef {
    let index = |name| Field::new(name, DataType::Int32, true);
    let fields = vec![
        Field::new("line", DataType::Int64, false),
        index("account"),
        index("domain"),
        Field::new("bytes", DataType::Binary, true),
    ];
    let metadata = HashMap::from([(DICTIONARY.to_owned(), BASE64.encode(dictionary))]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// A file with rows, and their keys.
#[derive(Debug)]
pub struct RawPart {
    rows: RecordBatch,
    keys: Keyring,
}

impl RawPart {
    /// Decodes a file with rows, named in errors, and the one with their keys.
    ///
    /// # Errors
    /// They are no such files, or the keys need another policy.
    pub fn decode(path: &str, rows: Bytes, keys: &[u8], policy: &Policy) -> Result<Self, KpiError> {
        let fail = |error: String| KpiError::store(path, &error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(rows)
            .map_err(|error| fail(error.to_string()))?;
        let schema = Arc::clone(builder.schema());
        let reader = builder.build().map_err(|error| fail(error.to_string()))?;
        let batches =
            reader.collect::<Result<Vec<_>, _>>().map_err(|error| fail(error.to_string()))?;
        let rows = concat_batches(&schema, &batches).map_err(|error| fail(error.to_string()))?;
        Ok(Self { rows, keys: Keyring::decode(path, keys, policy)? })
    }

    /// Decodes a file with keys, whose rows are lost.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn without_rows(path: &str, keys: &[u8], policy: &Policy) -> Result<Self, KpiError> {
        let rows = RecordBatch::new_empty(schema(&[]));
        Ok(Self { rows, keys: Keyring::decode(path, keys, policy)? })
    }

    /// Encodes the rows and their keys.
    ///
    /// # Errors
    /// They cannot be encoded.
    pub fn encode(&self, policy: &Policy) -> Result<Encoded, KpiError> {
        Ok((facts::parquet(&self.rows)?, self.keys.encode(policy)?))
    }

    /// Calls `each` with the line and the bytes of each row that can be read.
    ///
    /// # Errors
    /// A row was changed, or `each` fails.
    pub fn read(
        &self,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), KpiError>,
    ) -> Result<(), KpiError> {
        let schema = self.rows.schema();
        let dictionary = schema.metadata().get(DICTIONARY).map_or("", String::as_str);
        let dictionary = BASE64.decode(dictionary).map_err(failed)?;
        let mut decompressor =
            zstd::bulk::Decompressor::with_dictionary(&dictionary).map_err(failed)?;
        let lines = self.rows.column(0).as_primitive::<Int64Type>();
        let bytes = self.rows.column(3).as_binary::<i32>();
        for row in (0..self.rows.num_rows()).filter(|row| bytes.is_valid(*row)) {
            let line = lines.value(row);
            let Some(key) = self.keys.row_key(row, self.subjects(row)) else { continue };
            let mut sealed = bytes.value(row).to_vec();
            let wrong = |_| failed(format!("line {line} was changed"));
            let plain =
                cipher(&key)?.open_in_place(once(), Aad::from(line.to_be_bytes()), &mut sealed);
            let plain = plain.map_err(wrong)?;
            let (length, compressed) =
                plain.split_first_chunk().ok_or_else(|| failed("a row is too short"))?;
            let capacity = usize::try_from(u32::from_le_bytes(*length)).map_err(failed)?;
            let row = decompressor.decompress(compressed, capacity).map_err(failed)?;
            each(u64::try_from(line).map_err(failed)?, &row)?;
        }
        Ok(())
    }

    /// Indices of the keys of a row's account and domain.
    fn subjects(&self, row: usize) -> [Option<usize>; 2] {
        [1, 2].map(|column| {
            let column = self.rows.column(column).as_primitive::<Int32Type>();
            column.is_valid(row).then(|| usize::try_from(column.value(row)).unwrap_or(usize::MAX))
        })
    }

    /// Destroys the key of an account or a domain; returns whether there was one.
    pub fn destroy(&mut self, kind: Kind, value: &str) -> bool {
        self.keys.destroy(kind, value)
    }

    /// Removes rows whose keys are destroyed, and those that `mentions` finds by their line and bytes. Returns how many.
    ///
    /// # Errors
    /// A row was changed.
    pub fn erase(
        &mut self,
        mut mentions: impl FnMut(i64, &[u8]) -> bool,
    ) -> Result<usize, KpiError> {
        let mut found = HashSet::new();
        self.read(|line, row| {
            let line = line.cast_signed();
            if mentions(line, row) {
                found.insert(line);
            }
            Ok(())
        })?;
        let lines = self.rows.column(0).as_primitive::<Int64Type>();
        let bytes = self.rows.column(3).as_binary::<i32>();
        let stays = |row: usize| {
            bytes.is_valid(row)
                && self.keys.row_key(row, self.subjects(row)).is_some()
                && !found.contains(&lines.value(row))
        };
        let kept = (0..self.rows.num_rows()).map(|row| stays(row).then(|| bytes.value(row)));
        let kept: BinaryArray = kept.collect();
        let erased = kept.null_count() - bytes.null_count();
        let mut columns = self.rows.columns().to_vec();
        columns[3] = Arc::new(kept);
        self.rows = RecordBatch::try_new(self.rows.schema(), columns).map_err(failed)?;
        Ok(erased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn rows(part: &RawPart) -> BTreeMap<u64, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let add = |line, row: &[u8]| {
            rows.insert(line, row.to_vec());
            Ok(())
        };
        part.read(add).unwrap();
        rows
    }

    /// No row of erased accounts and domains is left, and each row of others.
    #[test]
    fn rows_are_those_that_came_until_one_of_their_keys_is_destroyed() {
        let mut writer = RawWriter::new().unwrap();
        let policy = Policy::default();
        let subject = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let came = [("a", "x.com"), ("a", ""), ("b", "x.com"), ("b", "y.com"), ("", "")];
        // More rows than are encrypted at once.
        let count = CHUNK_ROWS as u64 + 7;
        let row_of = |line: u64| came[usize::try_from(line).unwrap() % came.len()];
        let bytes = |line: u64| format!("{{\"n\": {line}, \"text\": \"{:?}\"}}\n", row_of(line));
        for line in 1..=count {
            let (account, domain) = row_of(line);
            let subjects = Subjects { account: subject(account), domain: subject(domain) };
            writer.add(line, &subjects, bytes(line).as_bytes()).unwrap();
        }
        let (file, keys) = writer.finish(&policy).unwrap().unwrap();
        assert!(writer.finish(&policy).unwrap().is_none());
        let mut part = RawPart::decode("raw", file.into(), &keys, &policy).unwrap();
        let all: BTreeMap<_, _> = (1..=count).map(|n| (n, bytes(n).into_bytes())).collect();
        assert_eq!(rows(&part), all);
        let destroy = |part: &mut RawPart| {
            [(Kind::Account, "a"), (Kind::Domain, "y.com")]
                .map(|(kind, value)| part.destroy(kind, value))
        };
        assert_eq!(destroy(&mut part), [true; 2]);
        let number = part.erase(|_, _| false).unwrap();
        assert_eq!((destroy(&mut part), part.erase(|_, _| false).unwrap()), ([false; 2], 0));
        let (file, keys) = part.encode(&policy).unwrap();
        let part = RawPart::decode("raw", file.into(), &keys, &policy).unwrap();
        let left = rows(&part);
        let stays = |line: &u64| matches!(row_of(*line), ("b", "x.com") | ("", ""));
        assert_eq!(
            left.keys().copied().collect::<Vec<_>>(),
            (1..=count).filter(stays).collect::<Vec<_>>()
        );
        assert_eq!(number + left.len(), all.len());
    }

    #[test]
    fn rows_that_mention_somebody_are_destroyed_and_changed_ones_noticed() {
        let mut writer = RawWriter::new().unwrap();
        let policy = Policy::default();
        for (line, text) in [(1, "about a.com"), (2, "about b.com"), (3, "about c.com")] {
            writer.add(line, &Subjects::default(), text.as_bytes()).unwrap();
        }
        let (file, keys) = writer.finish(&policy).unwrap().unwrap();
        let mut part = RawPart::decode("raw", file.into(), &keys, &policy).unwrap();
        let mentions = |line, row: &[u8]| line == 3 || row.ends_with(b"a.com");
        assert_eq!(part.erase(mentions).unwrap(), 2);
        assert_eq!(rows(&part), BTreeMap::from([(2, b"about b.com".to_vec())]));
        let lines: ArrayRef = Arc::new(Int64Array::from(vec![2, 3, 4]));
        let mut columns = part.rows.columns().to_vec();
        columns[0] = lines;
        part.rows = RecordBatch::try_new(part.rows.schema(), columns).unwrap();
        assert!(part.read(|_, _| Ok(())).is_err());
    }
}
