//! Parquet files, whose values become texts as those of CSV are.

use super::Row;
use crate::error::KpiError;
use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use std::fmt::Display;
use std::fs::File;
use std::path::Path;

/// First bytes of a Parquet file.
pub const MAGIC: &[u8] = b"PAR1";

fn fail(path: &Path, error: impl Display) -> KpiError {
    KpiError::Usage(format!("{}: {error}", path.display()))
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, KpiError> {
    let file = File::open(path).map_err(|error| fail(path, error))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| fail(path, error))
}

/// Names of the columns.
///
/// # Errors
/// The file cannot be read.
pub fn names(path: &Path) -> Result<Vec<String>, KpiError> {
    Ok(open(path)?.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Calls `row` with each row, its number from 1, and its fields as a line of NDJSON.
///
/// # Errors
/// The file cannot be read, a column has no values that can be written as text, or `row` fails.
pub fn read_rows(
    path: &Path,
    mut row: impl FnMut(u64, Row, &[u8]) -> Result<(), KpiError>,
) -> Result<(), KpiError> {
    let mut number = 0;
    for batch in open(path)?.build().map_err(|error| fail(path, error))? {
        let batch = batch.map_err(|error| fail(path, error))?;
        let columns = texts(&batch).map_err(|error| fail(path, error))?;
        for index in 0..batch.num_rows() {
            number += 1;
            let text = |name: &String, column: &Vec<String>| (name.clone(), column[index].clone());
            let fields: Vec<_> = columns.iter().map(|(name, column)| text(name, column)).collect();
            // Two columns of one name stay two, so that the row is refused however often it is read.
            let texts =
                fields.iter().map(|(name, text)| format!("{}:{}", json!(name), json!(text)));
            let raw = format!("{{{}}}", texts.collect::<Vec<_>>().join(","));
            row(number, Row::Csv(raw.clone(), fields), raw.as_bytes())?;
        }
    }
    Ok(())
}

/// Columns by their names. Null is an empty text, as in CSV.
fn texts(batch: &RecordBatch) -> Result<Vec<(String, Vec<String>)>, String> {
    let schema = batch.schema();
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let of_column = |error: &dyn Display| format!("column {}: {error}", field.name());
        // Rows of a list or of a structure would be text that nothing can read.
        if column.data_type().is_nested() {
            return Err(of_column(&"a table has texts, numbers and times"));
        }
        let column = cast_with_options(column, &DataType::Utf8, &options)
            .map_err(|error| of_column(&error))?;
        let column = column.as_string::<i32>().iter();
        // Programs write integers as numbers with a fraction where some are missing.
        let is_floating = field.data_type().is_floating();
        // A day of some programs is a time, its midnight.
        let is_day = *field.data_type() == DataType::Date64;
        let text = |text: &str| match text.strip_suffix(".0") {
            Some(integer) if is_floating => integer.to_owned(),
            _ if is_day => text.trim_end_matches("T00:00:00").to_owned(),
            _ => text.trim().to_owned(),
        };
        let column = column.map(|value| value.map_or_else(String::new, text)).collect();
        Ok((field.name().clone(), column))
    });
    columns.collect()
}
