//! Reading of query results.

use crate::error::KpiError;
use datafusion::arrow::array::{
    Array, ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use jiff::civil::Date;

/// Columns of a batch, read by name and converted to one type each.
#[derive(Debug)]
pub struct Columns<'a>(pub &'a RecordBatch);

impl Columns<'_> {
    fn column(&self, name: &str, kind: &DataType) -> Result<ArrayRef, KpiError> {
        let missing = || KpiError::Failed(format!("the result has no column {name}"));
        let column = self.0.column_by_name(name).ok_or_else(missing)?;
        cast(column, kind).map_err(|error| KpiError::Failed(format!("{name}: {error}")))
    }

    /// Texts.
    ///
    /// # Errors
    /// There is no such column.
    pub fn texts(&self, name: &str) -> Result<StringArray, KpiError> {
        Ok(StringArray::from(self.column(name, &DataType::Utf8)?.to_data()))
    }

    /// Integers.
    ///
    /// # Errors
    /// There is no such column, or a value is no integer.
    pub fn integers(&self, name: &str) -> Result<Int64Array, KpiError> {
        Ok(Int64Array::from(self.column(name, &DataType::Int64)?.to_data()))
    }

    /// Numbers.
    ///
    /// # Errors
    /// There is no such column.
    pub fn numbers(&self, name: &str) -> Result<Float64Array, KpiError> {
        Ok(Float64Array::from(self.column(name, &DataType::Float64)?.to_data()))
    }

    /// Days since the Unix epoch.
    ///
    /// # Errors
    /// There is no such column.
    pub fn days(&self, name: &str) -> Result<Date32Array, KpiError> {
        Ok(Date32Array::from(self.column(name, &DataType::Date32)?.to_data()))
    }
}

/// Returns the text in a row; nothing where it is null.
#[must_use]
pub fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// Converts days since the Unix epoch to a date.
#[must_use]
pub fn date(days: i32) -> Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.saturating_add(jiff::Span::new().days(days))
}
