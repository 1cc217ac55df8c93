//! Input files: plain or compressed with gzip or zstd, CSV or NDJSON, or Parquet, row by row.

mod json;
mod parquet;

pub use json::{FieldValue, compact, parse_fields, parse_json, readable_fields};

use crate::error::KpiError;
use crate::scratch::ScratchFile;
use clap::ValueEnum;
use dnscribe_cli::input::decompressed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Write as _};
use std::path::Path;
use std::rc::Rc;

/// Length in bytes that a line of NDJSON does not reach: more than any record.
pub(crate) const MAX_LINE_BYTES: usize = 16 << 20;

/// A row as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A line of NDJSON.
    Json(String),
    /// A record of CSV: its text, joined with commas, and its fields with the names of their columns.
    Csv(String, Vec<(String, String)>),
    /// Bytes that are no row: their beginning, and why.
    Unreadable(String, String),
}

/// Hash and size of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// SHA-256, in hex, of the content without compression.
    pub sha256: String,
    /// Bytes of the content without compression.
    pub bytes: u64,
}

/// Bytes of a file by which its format and what divides its fields are found.
const BEGINNING_BYTES: usize = 1 << 16;

/// Opens a file, decompressed by its first bytes. The first buffer has [`BEGINNING_BYTES`] of it, or all of a smaller one.
///
/// # Errors
/// The file cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, KpiError> {
    let fail = |error: std::io::Error| KpiError::Usage(format!("{}: {error}", path.display()));
    let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(fail)?);
    let mut content = decompressed(Box::new(file)).map_err(fail)?;
    // A single read may end after the few bytes that tell the compression.
    let mut beginning = Vec::new();
    content.by_ref().take(BEGINNING_BYTES as u64).read_to_end(&mut beginning).map_err(fail)?;
    Ok(Box::new(BufReader::with_capacity(BEGINNING_BYTES, Cursor::new(beginning).chain(content))))
}

/// Hashes the content of a file.
///
/// # Errors
/// The file cannot be read to its end.
pub fn digest(path: &Path) -> Result<Digest, KpiError> {
    let mut reader = open(path)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    loop {
        let read = reader.fill_buf();
        let chunk =
            read.map_err(|error| KpiError::Usage(format!("{}: {error}", path.display())))?;
        if chunk.is_empty() {
            break;
        }
        hash.update(chunk);
        let length = chunk.len();
        bytes += length as u64;
        reader.consume(length);
    }
    Ok(Digest { sha256: hex(&hash.finalize()), bytes })
}

/// Writes bytes in hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Format of a file's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An object of JSON on each line.
    #[default]
    #[value(name = "ndjson")]
    Json,
    /// CSV with a header.
    Csv,
    /// Parquet.
    #[value(skip)]
    Parquet,
}

/// Header of a CSV file, or columns of a Parquet file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// What divides the fields of CSV.
    pub delimiter: u8,
    /// Names of the columns.
    pub names: Vec<String>,
}

impl Format {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Csv => "CSV",
            Self::Parquet => "Parquet",
        }
    }
}

/// Decides the format of a file by its beginning.
///
/// # Errors
/// The file cannot be read, is a JSON array, or is no text.
pub fn detect(path: &Path) -> Result<Format, KpiError> {
    let fail = |error: std::io::Error| KpiError::Usage(format!("{}: {error}", path.display()));
    let mut reader = open(path)?;
    skip_byte_order_mark(&mut reader).map_err(fail)?;
    let beginning = reader.fill_buf().map_err(fail)?;
    if beginning.starts_with(parquet::MAGIC) {
        return Ok(Format::Parquet);
    }
    if beginning.contains(&0) {
        return Err(KpiError::Usage(format!(
            "{}: neither CSV nor JSON, or not UTF-8: export it as CSV or as lines of JSON in UTF-8",
            path.display()
        )));
    }
    match beginning.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'{') => Ok(Format::Json),
        Some(b'[') => Err(KpiError::Usage(format!(
            "{}: a JSON array: give one object on each line (jq -c '.[]' FILE)",
            path.display()
        ))),
        Some(_) => Ok(Format::Csv),
    }
}

/// Reads the names of a file's columns; none for NDJSON, whose rows have names of their own.
///
/// # Errors
/// The file cannot be read.
pub fn columns(path: &Path, format: Format) -> Result<Option<Columns>, KpiError> {
    match format {
        Format::Json => Ok(None),
        Format::Csv => {
            let mut reader = open(path)?;
            skip_byte_order_mark(&mut reader)
                .map_err(|error| KpiError::Usage(format!("{}: {error}", path.display())))?;
            Ok(Some(csv_reader(path, reader)?.columns))
        }
        Format::Parquet => Ok(Some(Columns { delimiter: b',', names: parquet::names(path)? })),
    }
}

impl Columns {
    /// Refuses a file without any of the columns that `is_known`: it may be no export at all.
    ///
    /// # Errors
    /// None of its columns is known.
    pub fn require_known(
        &self,
        path: &Path,
        is_known: impl Fn(&str) -> bool,
        remedy: &str,
    ) -> Result<(), KpiError> {
        if self.names.iter().any(|name| is_known(name)) {
            return Ok(());
        }
        let found: String = self.names.join(", ").chars().take(80).collect();
        let problem = format!("no column of the header is known ({found}): {remedy}");
        Err(KpiError::Usage(format!("{}: {problem}", path.display())))
    }

    fn row(&self, record: &csv::ByteRecord) -> Row {
        let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
        let text = fields.join(",");
        if record.len() != self.names.len() {
            let why = format!("{} fields, but the header has {}", record.len(), self.names.len());
            Row::Unreadable(text, why)
        } else if record.iter().any(|field| std::str::from_utf8(field).is_err()) {
            Row::Unreadable(text, "not UTF-8".to_owned())
        } else {
            let named = fields.iter().map(|text| text.trim().to_owned());
            Row::Csv(text, self.names.iter().cloned().zip(named).collect())
        }
    }
}

/// Parses the bytes of one row: a record of CSV if there are `columns`, else a line of NDJSON. Nothing if there is no row in it.
///
/// # Errors
/// The bytes are no record of CSV.
pub fn parse_row(raw: &[u8], columns: Option<&Columns>) -> Result<Option<Row>, KpiError> {
    let Some(columns) = columns else { return Ok(json_row(raw)) };
    let mut builder = csv::ReaderBuilder::new();
    let builder = builder.flexible(true).has_headers(false).delimiter(columns.delimiter);
    let mut record = csv::ByteRecord::new();
    let found = builder.from_reader(raw).read_byte_record(&mut record);
    let found = found.map_err(|error| KpiError::Failed(format!("row as it came: {error}")))?;
    Ok(found.then(|| columns.row(&record)))
}

/// Stands for a row that has no place in a line, and is refused as no JSON.
pub(crate) fn too_long(place: &str, bytes: usize) -> String {
    format!("{place}: {bytes} bytes, but a row may have 16 MiB")
}

fn json_row(line: &[u8]) -> Option<Row> {
    match std::str::from_utf8(line) {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(Row::Json(text.trim().to_owned())),
        Err(error) => {
            let text = String::from_utf8_lossy(line).trim().to_owned();
            Some(Row::Unreadable(text, error.to_string()))
        }
    }
}

/// Calls `row` with each row of a file and its line, counted from 1.
///
/// # Errors
/// The file cannot be read, or `row` fails.
pub fn read_rows(
    path: &Path,
    format: Format,
    mut row: impl FnMut(u64, Row) -> Result<(), KpiError>,
) -> Result<(), KpiError> {
    read_raw_rows(path, format, |line, parsed, _| row(line, parsed))
}

/// Calls `row` with each row of a file, its line, counted from 1, and its bytes, for [`parse_row`].
///
/// # Errors
/// The file cannot be read, or `row` fails.
pub fn read_raw_rows(
    path: &Path,
    format: Format,
    mut row: impl FnMut(u64, Row, &[u8]) -> Result<(), KpiError>,
) -> Result<(), KpiError> {
    let fail = |error: std::io::Error| KpiError::Usage(format!("{}: {error}", path.display()));
    if format == Format::Parquet {
        return parquet::read_rows(path, row);
    }
    let mut reader = open(path)?;
    skip_byte_order_mark(&mut reader).map_err(fail)?;
    if format == Format::Csv {
        return read_csv(path, reader, row);
    }
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        if (&mut reader).take(limit).read_until(b'\n', &mut line).map_err(fail)? == 0 {
            return Ok(());
        }
        number += 1;
        if line.len() == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            let problem = format!("{}: line {number} is longer than 16 MiB", path.display());
            return Err(KpiError::Usage(problem));
        }
        if let Some(parsed) = json_row(&line) {
            row(number, parsed, &line)?;
        }
    }
}

fn skip_byte_order_mark(reader: &mut Box<dyn BufRead>) -> std::io::Result<()> {
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(())
}

/// Reader of a CSV file behind its header.
struct CsvReader {
    csv: csv::Reader<Copying>,
    columns: Columns,
    /// What was read and not yet asked for.
    bytes: Rc<RefCell<Vec<u8>>>,
}

/// Reader that keeps a copy of what is read.
struct Copying {
    from: Box<dyn BufRead>,
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl Read for Copying {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.bytes.borrow_mut().extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

fn csv_reader(path: &Path, mut reader: Box<dyn BufRead>) -> Result<CsvReader, KpiError> {
    let beginning = reader.fill_buf();
    let beginning =
        beginning.map_err(|error| KpiError::Usage(format!("{}: {error}", path.display())))?;
    let delimiter = delimiter(beginning);
    let bytes = Rc::new(RefCell::new(Vec::new()));
    let copying = Copying { from: reader, bytes: Rc::clone(&bytes) };
    let mut csv =
        csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(copying);
    let header = csv.byte_headers();
    let header = header.map_err(|error| KpiError::Usage(format!("{}: {error}", path.display())))?;
    let names = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned());
    let columns = Columns { delimiter, names: names.collect() };
    Ok(CsvReader { csv, columns, bytes })
}

fn read_csv(
    path: &Path,
    reader: Box<dyn BufRead>,
    mut row: impl FnMut(u64, Row, &[u8]) -> Result<(), KpiError>,
) -> Result<(), KpiError> {
    let bad = |error: csv::Error| KpiError::Usage(format!("{}: {error}", path.display()));
    let CsvReader { mut csv, columns, bytes } = csv_reader(path, reader)?;
    let mut record = csv::ByteRecord::new();
    // Place of the first byte that is kept.
    let mut kept = 0;
    let place = |offset: u64, kept: u64| usize::try_from(offset - kept).unwrap_or(usize::MAX);
    loop {
        let start = csv.position().byte();
        if !csv.read_byte_record(&mut record).map_err(bad)? {
            return Ok(());
        }
        let end = csv.position().byte();
        let line = record.position().map_or(0, csv::Position::line);
        row(line, columns.row(&record), &bytes.borrow()[place(start, kept)..place(end, kept)])?;
        if place(end, kept) > BEGINNING_BYTES {
            bytes.borrow_mut().drain(..place(end, kept));
            kept = end;
        }
    }
}

/// Finds what divides the fields of a CSV file by its header: a comma, a semicolon or a tab.
fn delimiter(beginning: &[u8]) -> u8 {
    let header = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| header.split(|byte| *byte == delimiter).count();
    // Of equal numbers, the last one wins.
    [b'\t', b';', b','].into_iter().max_by_key(|byte| count(*byte)).unwrap_or(b',')
}

/// Copies standard input, or the body of a response, into a temporary file, since its content is read twice.
///
/// # Errors
/// Reading or writing fails.
pub fn spooled(mut from: impl Read) -> Result<ScratchFile, KpiError> {
    let mut file = ScratchFile::new()?;
    std::io::copy(&mut from, &mut *file).map_err(KpiError::temporary)?;
    file.flush().map_err(KpiError::temporary)?;
    Ok(file)
}

/// Makes a technical key of an event's type and business key: two facts of one business key differ in their types.
#[must_use]
pub fn event_id(kind: &str, business_key: &str) -> String {
    format!("{kind}/{business_key}")
}

/// Gives an event without technical key its type and business key: an export of a ledger has no deliveries.
#[must_use]
pub fn with_event_id(row: Row) -> Row {
    match row {
        Row::Json(text) => match parse_fields(&text) {
            Ok(fields) if !fields.iter().any(|(name, _)| name == "event_id") => {
                let get = |name: &str| match fields.iter().find(|(field, _)| field == name)? {
                    (_, FieldValue::Text(text) | FieldValue::Number(text)) => Some(text.as_str()),
                    _ => None,
                };
                let id = get("event_type").zip(get("business_key"));
                let id = id.map(|(kind, key)| json!(event_id(kind, key)));
                // Written anew, the row's numbers could become others.
                match id.zip(text.trim_end().strip_suffix('}')) {
                    Some((id, rest)) => Row::Json(format!("{rest},\"event_id\":{id}}}")),
                    None => Row::Json(text),
                }
            }
            _ => Row::Json(text),
        },
        Row::Csv(text, mut fields) if !fields.iter().any(|(name, _)| name == "event_id") => {
            let get = |name: &str| {
                fields.iter().find(|(field, _)| field == name).map(|(_, text)| text.as_str())
            };
            let id = get("event_type").zip(get("business_key"));
            let id = id.map(|(kind, key)| event_id(kind, key));
            fields.extend(id.map(|id| ("event_id".to_owned(), id)));
            Row::Csv(text, fields)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_divided_by_what_their_headers_have() {
        for delimiter in [",", ";", "\t"] {
            let text =
                ["order number", "domain"].join(delimiter) + "\n" + &["1", "a.com"].join(delimiter);
            for level in [None, Some(flate2::Compression::fast())] {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                match level {
                    None => file.write_all(text.as_bytes()).unwrap(),
                    Some(level) => {
                        let mut gzip = flate2::write::GzEncoder::new(&mut file, level);
                        gzip.write_all(text.as_bytes()).unwrap();
                        gzip.finish().unwrap();
                    }
                }
                let fields = [("order number", "1"), ("domain", "a.com")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
                let mut rows = Vec::new();
                let format = detect(file.path()).unwrap();
                let add = |_, row| {
                    rows.push(row);
                    Ok(())
                };
                read_rows(file.path(), format, add).unwrap();
                assert_eq!(rows, [Row::Csv("1,a.com".to_owned(), fields.to_vec())], "{text}");
            }
        }
    }

    #[test]
    fn headers_tell_the_delimiter() {
        for (text, expected) in [
            ("a,b,c\n1;2;3", b','),
            ("a;b;c,d\r\n", b';'),
            ("a\tb\n", b'\t'),
            ("a\n", b','),
            ("", b','),
        ] {
            assert_eq!(delimiter(text.as_bytes()), expected, "{text}");
        }
    }
}
