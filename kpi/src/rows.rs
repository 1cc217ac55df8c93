//! Reading of query results.

use crate::error::KpiError;
use datafusion::arrow::array::make_comparator;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    new_null_array,
};
use datafusion::arrow::compute::{
    SortColumn, SortOptions, cast, concat_batches, lexsort_to_indices, take_record_batch,
};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use jiff::civil::Date;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

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

    /// Flags.
    ///
    /// # Errors
    /// There is no such column.
    pub fn flags(&self, name: &str) -> Result<BooleanArray, KpiError> {
        Ok(BooleanArray::from(self.column(name, &DataType::Boolean)?.to_data()))
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

/// Returns the texts of a column, each once.
///
/// # Errors
/// There is no such column.
pub fn texts(batches: &[RecordBatch], column: &str) -> Result<BTreeSet<String>, KpiError> {
    let mut all = BTreeSet::new();
    for batch in batches {
        all.extend(Columns(batch).texts(column)?.iter().flatten().map(str::to_owned));
    }
    Ok(all)
}

/// Converts days since the Unix epoch to a date.
#[must_use]
pub fn date(days: i32) -> Date {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.saturating_add(jiff::Span::new().days(days))
}

/// An error of a computation over rows.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
pub(crate) fn failed(error: ArrowError) -> KpiError {
    KpiError::Failed(format!("rows: {error}"))
}

/// Returns a batch with the columns of a schema, by their names; one that the batch lacks is null.
///
/// # Errors
/// A column cannot be converted.
pub fn with_schema(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, KpiError> {
    let column = |field: &Arc<datafusion::arrow::datatypes::Field>| match batch
        .column_by_name(field.name())
    {
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>();
    RecordBatch::try_new(Arc::clone(schema), columns.map_err(failed)?).map_err(failed)
}

/// Names of the columns that are added up where all others are equal.
const ADDED: [&str; 2] = ["value", "number"];

/// Indices of the columns that make a row of values or counts what it is.
fn keys(schema: &Schema) -> impl Iterator<Item = usize> {
    let is_key = |(index, field): (usize, &Arc<_>)| {
        let field: &datafusion::arrow::datatypes::Field = field;
        (!ADDED.contains(&field.name().as_str())).then_some(index)
    };
    schema.fields().iter().enumerate().filter_map(is_key)
}

/// Returns all rows in the order of their keys.
///
/// # Errors
/// The batches have other columns.
pub fn sorted(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, KpiError> {
    let all = concat_batches(schema, batches).map_err(failed)?;
    let order: Vec<SortColumn> = keys(schema)
        .map(|index| SortColumn { values: Arc::clone(all.column(index)), options: None })
        .collect();
    let order = lexsort_to_indices(&order, None).map_err(failed)?;
    take_record_batch(&all, &order).map_err(failed)
}

/// Adds two sorted batches, the second one `times` as often: numbers of rows with equal keys are added, and rows without any left
/// out. Made for a second one that is much shorter than the first.
///
/// # Errors
/// [`KpiError::TooLarge`]: a sum overflows, or a number that is added to is null.
pub fn merged(a: &RecordBatch, b: &RecordBatch, times: i64) -> Result<RecordBatch, KpiError> {
    let schema = a.schema();
    let added = schema.fields().iter().position(|field| ADDED.contains(&field.name().as_str()));
    let added = added.ok_or_else(|| KpiError::Failed("rows without a number".to_owned()))?;
    let comparators = keys(&schema)
        .map(|index| make_comparator(a.column(index), b.column(index), SortOptions::default()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let order = |of_a: usize, of_b: usize| {
        let mut orders = comparators.iter().map(|compare| compare(of_a, of_b));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let numbers = |batch: &RecordBatch| Int64Array::from(batch.column(added).to_data());
    let (numbers_a, numbers_b) = (numbers(a), numbers(b));
    let (mut parts, mut sums) = (Vec::new(), Vec::new());
    let mut next = 0;
    for row in 0..b.num_rows() {
        let start = next;
        next = first_of(start..a.num_rows(), |of_a| order(of_a, row).is_ge());
        parts.push(a.slice(start, next - start));
        sums.extend(&numbers_a.slice(start, next - start));
        let number = |numbers: &Int64Array, row| numbers.is_valid(row).then(|| numbers.value(row));
        let mut sum = number(&numbers_b, row).and_then(|number| number.checked_mul(times));
        if next < a.num_rows() && order(next, row).is_eq() {
            sum = sum.zip(number(&numbers_a, next)).and_then(|(sum, known)| sum.checked_add(known));
            next += 1;
        }
        let sum = sum.ok_or(KpiError::TooLarge)?;
        if sum != 0 {
            parts.push(b.slice(row, 1));
            sums.push(Some(sum));
        }
    }
    parts.push(a.slice(next, a.num_rows() - next));
    sums.extend(&numbers_a.slice(next, a.num_rows() - next));
    let rows = concat_batches(&schema, &parts).map_err(failed)?;
    let mut columns = rows.columns().to_vec();
    columns[added] = Arc::new(Int64Array::from(sums));
    RecordBatch::try_new(schema, columns).map_err(failed)
}

/// The first index of a range from which on a condition holds, or its end.
fn first_of(range: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Field;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn batch(rows: &BTreeMap<(Option<String>, i64), i64>) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("value", DataType::Int64, true),
            Field::new("part", DataType::Int64, true),
        ]));
        let names: StringArray = rows.keys().map(|(name, _)| name.clone()).collect();
        let values: Int64Array = rows.values().copied().collect();
        let parts: Int64Array = rows.keys().map(|(_, part)| *part).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(values), Arc::new(parts)];
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        sorted(&schema, &[rows]).unwrap()
    }

    fn rows() -> impl Strategy<Value = BTreeMap<(Option<String>, i64), i64>> {
        let key = (proptest::option::of("[ab]{0,2}"), 0_i64..4);
        proptest::collection::btree_map(key, prop_oneof![-3_i64..0, 1_i64..4], 0..20)
    }

    proptest! {
        #[test]
        fn rows_with_equal_keys_are_added(a in rows(), b in rows(), times in prop_oneof![Just(-1_i64), Just(1)]) {
            let mut sums = a.clone();
            for (key, value) in &b {
                *sums.entry(key.clone()).or_default() += value * times;
            }
            sums.retain(|_, sum| *sum != 0);
            prop_assert_eq!(merged(&batch(&a), &batch(&b), times).unwrap(), batch(&sums));
        }
    }

    #[test]
    fn what_is_too_large_is_kept_and_not_added_to() {
        let key = |name: &str| (Some(name.to_owned()), 0);
        let rows = |name, value| batch(&BTreeMap::from([(key(name), value)]));
        let mut columns = rows("a", 1).columns().to_vec();
        columns[1] = Arc::new(Int64Array::from(vec![None]));
        let large = RecordBatch::try_new(rows("a", 1).schema(), columns).unwrap();
        let kept = merged(&large, &rows("b", 2), 1).unwrap();
        let values = Columns(&kept).integers("value").unwrap();
        assert_eq!(values.iter().collect::<Vec<_>>(), [None, Some(2)]);
        for (a, b, times) in [
            (&large, &rows("a", 1), 1),
            (&rows("a", 1), &large, -1),
            (&rows("b", 1), &large, 1),
            (&rows("a", i64::MAX), &rows("a", 1), 1),
            (&rows("a", i64::MIN), &rows("a", 1), -1),
        ] {
            assert!(matches!(merged(a, b, times), Err(KpiError::TooLarge)));
        }
    }
}
