//! Rows of measures, read from files of values.

use crate::compute;
use crate::dictionary::DIMENSIONS;
use crate::error::KpiError;
use crate::facts;
use crate::rows::{Columns, text};
use datafusion::arrow::array::Array as _;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Number of dimensions.
const WIDTH: usize = DIMENSIONS.len();

/// Identity of a dimension's value; 0 is no value.
pub(super) type TextId = u32;

/// Values of all dimensions.
pub(super) type Slice = [TextId; WIDTH];

/// A row of a measure. There may be as many as events: of samples, nearly each has its own.
#[derive(Clone, Debug)]
pub(super) struct SliceRow {
    /// Index in [`Slices`].
    pub(super) slice: u32,
    /// Part of the day: number of its first five minutes, or [`NO_SLOT`].
    pub(super) slot: u16,
    /// Whether the value is too large to be known.
    pub(super) is_too_large: bool,
    pub(super) value: i64,
    pub(super) sample: f64,
}

/// The whole day.
pub(super) const NO_SLOT: u16 = u16::MAX;

/// Rows of a file, by measure.
pub(super) type MeasureRows = BTreeMap<String, Arc<Vec<SliceRow>>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    all: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, TextId>,
}

impl Texts {
    fn add(&mut self, text: &str) -> TextId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        let id = TextId::try_from(self.all.len()).unwrap_or(TextId::MAX);
        self.ids.insert(text, id);
        id
    }

    /// Identity of a text; of one that does not occur, one that no row has.
    pub(super) fn id(&self, text: &str) -> TextId {
        if text.is_empty() { 0 } else { self.ids.get(text).copied().unwrap_or(TextId::MAX) }
    }

    /// Text of an identity.
    pub(super) fn get(&self, id: TextId) -> Option<&str> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.all.get(index).map(|text| &**text)
    }
}

/// All different slices.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    pub(super) all: Vec<Slice>,
    indices: HashMap<Slice, u32>,
}

impl Slices {
    fn add(&mut self, slice: Slice) -> u32 {
        *self.indices.entry(slice).or_insert_with(|| {
            self.all.push(slice);
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Decodes the rows of a file of values.
///
/// # Errors
/// It cannot be read.
pub(super) fn decode(
    path: &str,
    bytes: bytes::Bytes,
    texts: &mut Texts,
    slices: &mut Slices,
) -> Result<BTreeMap<String, Vec<SliceRow>>, KpiError> {
    let batch = facts::parquet_rows(path, bytes, &compute::schema())?;
    let columns = Columns(&batch);
    let (measures, counts) = (columns.texts("measure")?, columns.integers("value")?);
    let (samples, slots) = (columns.numbers("sample")?, columns.integers("slot")?);
    let dimensions = DIMENSIONS.map(|name| columns.texts(name));
    let dimensions = dimensions.into_iter().collect::<Result<Vec<_>, KpiError>>()?;
    let mut rows: BTreeMap<String, Vec<SliceRow>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let mut ids = [0; WIDTH];
        for (id, column) in ids.iter_mut().zip(&dimensions) {
            *id = text(column, row).map_or(0, |text| texts.add(text));
        }
        let slot = slots.is_valid(row).then(|| u16::try_from(slots.value(row)).ok()).flatten();
        let is_too_large = counts.is_null(row);
        let slice = SliceRow {
            slice: slices.add(ids),
            slot: slot.unwrap_or(NO_SLOT),
            is_too_large,
            value: if is_too_large { 0 } else { counts.value(row) },
            sample: if samples.is_valid(row) { samples.value(row) } else { 0.0 },
        };
        let name = text(&measures, row).unwrap_or_default();
        match rows.get_mut(name) {
            Some(list) => list.push(slice),
            None => drop(rows.insert(name.to_owned(), vec![slice])),
        }
    }
    Ok(rows)
}

/// Merges rows of equal slices and samples. `begins` are the parts of the day that stay apart; all, if absent.
pub(super) fn merged(mut rows: Vec<SliceRow>, begins: Option<&[u16]>) -> Vec<SliceRow> {
    let Some(begins) = begins else { return rows };
    for row in rows.iter_mut().filter(|row| row.slot != NO_SLOT) {
        let part = begins.partition_point(|begin| *begin <= row.slot).saturating_sub(1);
        row.slot = begins.get(part).copied().unwrap_or_default();
    }
    rows.sort_unstable_by(|a, b| {
        (a.slice, a.slot).cmp(&(b.slice, b.slot)).then(a.sample.total_cmp(&b.sample))
    });
    rows.dedup_by(|next, row| {
        let is_equal = (next.slice, next.slot) == (row.slice, row.slot)
            && next.sample.total_cmp(&row.sample).is_eq();
        if is_equal {
            let Some(sum) = row.value.checked_add(next.value) else { return false };
            row.value = sum;
            row.is_too_large |= next.is_too_large;
        }
        is_equal
    });
    rows.shrink_to_fit();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of a day whose sum overflows stay apart, and what is added to one without a value has none.
    #[test]
    fn merged_rows_do_not_overflow() {
        let row = |slot, value, is_too_large| SliceRow {
            slice: 0,
            slot,
            is_too_large,
            value,
            sample: 0.0,
        };
        let shown = |rows: Vec<SliceRow>| -> Vec<(i64, bool)> {
            let rows = merged(rows, Some(&[0]));
            rows.iter().map(|row| (row.value, row.is_too_large)).collect()
        };
        assert_eq!(shown(vec![row(0, 1, false), row(3, 2, false)]), [(3, false)]);
        assert_eq!(shown(vec![row(0, 1, false), row(3, 0, true)]), [(1, true)]);
        let large = shown(vec![row(0, i64::MAX, false), row(3, 2, false)]);
        assert_eq!(
            large.iter().map(|(value, _)| i128::from(*value)).sum::<i128>(),
            i128::from(i64::MAX) + 2
        );
    }
}
