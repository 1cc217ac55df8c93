//! Sets of keys that a query asks for: a function of the embedded engine, so that files are read where they have one of them.

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Bits of the filter for each key.
const BITS_A_KEY: usize = 16;

/// Hash of a text.
#[must_use]
pub fn hash(text: &str) -> i64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes()).cast_signed()
}

/// Keys by their hashes.
#[derive(Debug, Default)]
pub struct Keys {
    hashes: HashSet<i64>,
    /// One bit for each remainder of a hash. Most keys that are asked for are not there, and this says so without leaving the
    /// processor's cache.
    filter: Vec<u64>,
}

impl Keys {
    /// Keys with these hashes.
    #[must_use]
    pub fn new(hashes: HashSet<i64>) -> Self {
        let words = (hashes.len() * BITS_A_KEY / 64).next_power_of_two();
        let mut filter = vec![0; words];
        for hash in &hashes {
            let (word, bit) = place(words, *hash);
            filter[word] |= bit;
        }
        Self { hashes, filter }
    }

    /// Whether a hash is among them.
    #[must_use]
    pub fn has(&self, hash: i64) -> bool {
        let (word, bit) = place(self.filter.len(), hash);
        self.filter[word] & bit != 0 && self.hashes.contains(&hash)
    }

    /// The function `name(column)`: whether a text, by its hash, or an integer, which is a hash, is among the keys; not for null.
    #[must_use]
    pub fn function(self, name: &str) -> ScalarUDF {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::from(Among { name: name.to_owned(), keys: Arc::new(self), signature })
    }
}

/// Word of a filter, and the bit in it.
const fn place(words: usize, hash: i64) -> (usize, u64) {
    let hash = hash.cast_unsigned();
    ((hash >> 6) as usize & (words - 1), 1 << (hash & 63))
}

#[derive(Debug)]
struct Among {
    name: String,
    keys: Arc<Keys>,
    signature: Signature,
}

impl PartialEq for Among {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.keys, &other.keys)
    }
}

impl Eq for Among {}

impl Hash for Among {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Among {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(values) = args.args.into_iter().next() else {
            return Err(DataFusionError::Internal(format!("{} has no argument", self.name)));
        };
        let values = values.into_array(args.number_rows)?;
        let found: ArrayRef = Arc::new(self.found(&values)?);
        Ok(ColumnarValue::Array(found))
    }
}

impl Among {
    fn found(&self, values: &ArrayRef) -> Result<BooleanArray> {
        let text = |text: Option<&str>| Some(text.is_some_and(|text| self.keys.has(hash(text))));
        let number = |hash: Option<i64>| Some(hash.is_some_and(|hash| self.keys.has(hash)));
        match values.data_type() {
            DataType::Utf8 => Ok(values.as_string::<i32>().iter().map(text).collect()),
            DataType::Utf8View => Ok(values.as_string_view().iter().map(text).collect()),
            DataType::Int64 => Ok(values.as_primitive::<Int64Type>().iter().map(number).collect()),
            DataType::Null => Ok(vec![Some(false); values.len()].into()),
            other => Err(DataFusionError::Plan(format!("a key is a text, and not {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_added_are_found() {
        for count in [0, 1, 3, 100, 5_000] {
            let added: HashSet<i64> = (0..count).map(|key: i64| hash(&key.to_string())).collect();
            let keys = Keys::new(added.clone());
            let found = |key: i64| keys.has(hash(&key.to_string()));
            assert!((0..count).all(found));
            assert!(!(count..2 * count + 10).any(found));
            assert!(added.iter().all(|hash| keys.has(*hash)));
        }
    }
}
