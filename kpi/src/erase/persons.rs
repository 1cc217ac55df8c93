//! Names of persons in rows, and what stands for them once they are erased.

use crate::attributes::Kind;
use crate::error::KpiError;
use crate::facts;
use crate::input::hex;
use crate::privacy::TOKEN_DIGITS;
use crate::raw::random;
use crate::rows::{Columns, failed, text};
use crate::store::Table;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Length of a name in bytes from which on a key that has it is of its owner, whoever the row is about.
const TELLING_BYTES: usize = 4;

/// Columns that may have a name. Others are slices of KPIs.
const NAMED: [&str; 12] = [
    "event_id",
    "business_key",
    "domain",
    "account_id",
    "request_id",
    "corrects",
    "corrects_event_id",
    "endpoint",
    "status",
    "key",
    "detail",
    "raw",
];

/// Columns of refused rows that are left empty instead: their texts are of no use without the name.
const EMPTIED: [&str; 2] = ["detail", "raw"];

/// A name in one of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    text: String,
    is_domain: bool,
}

impl Name {
    /// An account.
    pub const fn account(text: String) -> Self {
        Self { text, is_domain: false }
    }

    /// A domain, in lower case or in upper case.
    pub fn domain(text: &str) -> Self {
        Self { text: text.to_lowercase(), is_domain: true }
    }

    /// Whether a text has the name, and not as a part of another one.
    fn is_in(&self, original: &str, lower: &str) -> bool {
        let text = if self.is_domain { lower } else { original };
        let is_end = |letter: Option<char>| !letter.is_some_and(char::is_alphanumeric);
        text.match_indices(&self.text).any(|(start, name)| {
            let (before, after) = (&text[..start], &text[start + name.len()..]);
            is_end(before.chars().next_back()) && is_end(after.chars().next())
        })
    }
}

/// Persons who are to be erased.
#[derive(Debug)]
pub struct Persons {
    names: Vec<Name>,
    /// Accounts and domains as rows have them that were not tokenised.
    pub subjects: Vec<(Kind, String)>,
    secret: [u8; 32],
    /// What all pseudonyms of this erasure begin with. Those of another one are of others, as tokens of another key are.
    prefix: String,
}

impl Persons {
    /// Persons with these names.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(names: Vec<Name>, subjects: Vec<(Kind, String)>) -> Result<Self, KpiError> {
        let prefix = format!("erased-{}", hex(&random::<4>()?));
        let names = names.into_iter().filter(|name| !name.text.is_empty()).collect();
        Ok(Self { names, subjects, secret: random()?, prefix })
    }

    /// What stands for a text that has a name.
    fn pseudonym(&self, text: &str) -> Result<String, KpiError> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret);
        let mac = mac.map_err(|error| KpiError::Failed(error.to_string()))?;
        let hash = mac.chain_update(text.as_bytes()).finalize().into_bytes();
        Ok(format!("{}:{}", self.prefix, hex(&hash[..TOKEN_DIGITS / 2])))
    }

    /// Whether a row as it came has a name. Short names are found in rows of their own only, whose keys are destroyed anyway.
    pub fn are_in(&self, row: &[u8]) -> bool {
        self.has_name(&String::from_utf8_lossy(row), false)
    }

    fn has_name(&self, text: &str, is_of_person: bool) -> bool {
        let lower = text.to_lowercase();
        let mut names = self.names.iter();
        names.any(|name| {
            (is_of_person || name.text.len() >= TELLING_BYTES) && name.is_in(text, &lower)
        })
    }

    /// Rows in which pseudonyms stand for names, and how many rows had one; nothing if none had.
    ///
    /// # Errors
    /// The rows have other columns.
    pub fn without_names(
        &self,
        batch: &RecordBatch,
        table: Table,
    ) -> Result<Option<(RecordBatch, u64)>, KpiError> {
        let of_person = self.rows_of_persons(batch, table)?;
        let mut columns = batch.columns().to_vec();
        let mut changed = BTreeSet::new();
        // A partner may have the name of an account.
        let may_have = |is_of_person| is_of_person || table != Table::Attributes;
        for (index, field) in batch.schema().fields().iter().enumerate() {
            if !NAMED.contains(&field.name().as_str()) {
                continue;
            }
            let is_emptied = table == Table::Rejected && EMPTIED.contains(&field.name().as_str());
            let column = Columns(batch).texts(field.name())?;
            let mut new = Vec::with_capacity(batch.num_rows());
            let mut is_changed = false;
            for (row, is_of_person) in of_person.iter().enumerate() {
                new.push(match text(&column, row) {
                    Some(text) if may_have(*is_of_person) && self.has_name(text, *is_of_person) => {
                        is_changed = true;
                        changed.insert(row);
                        Some(if is_emptied { String::new() } else { self.pseudonym(text)? })
                    }
                    kept => kept.map(str::to_owned),
                });
            }
            if is_changed {
                columns[index] = Arc::new(StringArray::from(new));
            }
        }
        if changed.is_empty() {
            return Ok(None);
        }
        let batch = RecordBatch::try_new(batch.schema(), columns).map_err(failed)?;
        let batch = if table == Table::Events { with_hashes(&batch)? } else { batch };
        Ok(Some((batch, u64::try_from(changed.len()).unwrap_or(u64::MAX))))
    }

    /// Whether each row is about one of the persons.
    fn rows_of_persons(&self, batch: &RecordBatch, table: Table) -> Result<Vec<bool>, KpiError> {
        let mut found = vec![false; batch.num_rows()];
        let kinds = match table {
            Table::Attributes => Some(Columns(batch).texts("kind")?),
            _ => None,
        };
        for kind in [Kind::Account, Kind::Domain] {
            let column = match table {
                Table::Attributes => "key",
                Table::Events => kind.key(),
                _ => continue,
            };
            let column = Columns(batch).texts(column)?;
            for (row, found) in found.iter_mut().enumerate() {
                let is_kind =
                    kinds.as_ref().is_none_or(|kinds| text(kinds, row) == Some(kind.name()));
                let mut names =
                    self.names.iter().filter(|name| name.is_domain == (kind == Kind::Domain));
                *found |= is_kind
                    && text(&column, row).is_some_and(|text| names.any(|name| name.text == text));
            }
        }
        Ok(found)
    }
}

/// Hashes of keys are those of their pseudonyms.
fn with_hashes(batch: &RecordBatch) -> Result<RecordBatch, KpiError> {
    let all = Columns(batch);
    let column = |name| all.texts(name);
    let (sources, systems) = (column("source")?, column("source_system")?);
    let (ids, kinds, keys) = (column("event_id")?, column("event_type")?, column("business_key")?);
    let get = |column, row| text(column, row).unwrap_or_default();
    let rows = 0..batch.num_rows();
    let technical: Int64Array = rows
        .clone()
        .map(|row| {
            let system = text(&systems, row).unwrap_or_else(|| get(&sources, row));
            Some(facts::hash([system, get(&ids, row)]))
        })
        .collect();
    let business: Int64Array =
        rows.map(|row| Some(facts::hash([get(&kinds, row), get(&keys, row)]))).collect();
    let mut columns = batch.columns().to_vec();
    for (name, hashes) in [("technical_hash", technical), ("business_hash", business)] {
        let index = batch.schema().index_of(name).map_err(failed)?;
        columns[index] = Arc::new(hashes) as ArrayRef;
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_they_are_no_part_of_others() {
        let names = vec![Name::account("a-17".to_owned()), Name::domain("Shop.de")];
        let persons = Persons::new(names, Vec::new()).unwrap();
        for text in ["a-17", "order-a-17-3", "{\"k\":\"SHOP.DE\"}", "www.shop.de/x", "shop.de"] {
            assert!(persons.has_name(text, false), "{text}");
        }
        for text in ["a-171", "A-17", "ba-17", "myshop.de", "shop.dev", ""] {
            assert!(!persons.has_name(text, true), "{text}");
        }
        let short = Persons::new(vec![Name::account("7".to_owned())], Vec::new()).unwrap();
        assert!(short.has_name("order-7", true) && !short.has_name("order-7", false));
        let pseudonym = |text| persons.pseudonym(text).unwrap();
        assert_eq!(pseudonym("a-17"), pseudonym("a-17"));
        assert_ne!(pseudonym("a-17"), pseudonym("a-18"));
    }
}
