//! Names of persons in rows, and what stands for them once they are erased.

use crate::attributes::Kind;
use crate::error::KpiError;
use crate::facts;
use crate::input::Row;
use crate::raw::Subjects;
use crate::rows::{Columns, failed, text};
use crate::store::Table;
use crate::tombstones::{Tombstones, Trace};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Length in bytes from which on a name is no part of a number or a word by chance.
const TELLING_BYTES: usize = 4;

/// Columns that are a name, or have none in them.
const OWNERS: [&str; 3] = ["domain", "account_id", "key"];

/// Columns with keys, which may have a name in them.
const KEYS: [&str; 5] = ["event_id", "business_key", "request_id", "corrects", "corrects_event_id"];

/// Other columns that may have a name in them. What is left are slices of KPIs.
const TEXTS: [&str; 4] = ["endpoint", "status", "detail", "raw"];

/// Column of refused rows that may have a name in it, where columns were exchanged. A name is left out. Of facts it is a slice.
const REFUSED_TYPE: &str = "event_type";

/// Columns of refused rows that are left empty instead: their texts are of no use without the name.
const EMPTIED: [&str; 2] = ["detail", "raw"];

/// A name in one of its forms.
#[derive(Debug)]
pub struct Name {
    text: String,
    is_domain: bool,
    /// Number of the name that was asked for.
    request: Option<usize>,
}

impl Name {
    /// An account.
    pub const fn account(text: String, request: usize) -> Self {
        Self { text, is_domain: false, request: Some(request) }
    }

    /// A domain, in lower case or in upper case.
    pub fn domain(text: &str, request: Option<usize>) -> Self {
        Self { text: text.to_lowercase(), is_domain: true, request }
    }

    /// The name, as facts have it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text that has the name is of its owner, whoever the row is about. A domain of one label is a word.
    fn is_telling(&self) -> bool {
        self.text.len() >= TELLING_BYTES && (!self.is_domain || self.text.contains(['.', ':']))
    }

    /// Whether a text is the name.
    fn is(&self, original: &str, lower: &str) -> bool {
        self.text == if self.is_domain { lower } else { original }
    }

    /// Whether a text has the name, and not as a part of a word, or of one of the names of `others`.
    fn is_in(&self, original: &str, lower: &str, others: Option<&OtherNames>) -> bool {
        let text = if self.is_domain { lower } else { original };
        text.match_indices(&self.text).any(|(start, name)| {
            let end = start + name.len();
            is_edge(text, start)
                && is_edge(text, end)
                && !others.is_some_and(|others| others.are_around(text, start, end))
        })
    }
}

/// Whether a word begins or ends at a place of a text: the letters on one of its sides, if any, are none of a word.
fn is_edge(text: &str, place: usize) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let Some((before, after)) = text.split_at_checked(place) else { return false };
    !is_letter(before.chars().next_back()) || !is_letter(after.chars().next())
}

/// Names of others that have one of the persons' names in them, such as `my-shop.de`.
#[derive(Debug, Default)]
struct OtherNames {
    names: HashSet<String>,
    longest: usize,
}

impl OtherNames {
    fn add(&mut self, name: &str) {
        self.longest = self.longest.max(name.len());
        self.names.insert(name.to_owned());
    }

    /// Whether what stands between these places of a text is a part of one of these names.
    fn are_around(&self, text: &str, start: usize, end: usize) -> bool {
        let first = end.saturating_sub(self.longest);
        let last = text.len().min(start + self.longest);
        let starts = (first..=start).filter(|place| is_edge(text, *place));
        let mut starts = starts.filter(|_| !self.names.is_empty());
        starts.any(|start| {
            let mut ends = (end..=last).filter(|place| is_edge(text, *place));
            ends.any(|end| self.names.contains(&text[start..end]))
        })
    }
}

/// Persons who are to be erased.
#[derive(Debug)]
pub struct Persons {
    names: Vec<Name>,
    others: OtherNames,
    /// Keys of rows of the persons that have a name in them. They are replaced in all rows, so that what belongs together still does.
    keys: HashSet<String>,
    /// Numbers of the names that were asked for and were found.
    pub found: BTreeSet<usize>,
    /// What is known of erased events, those of this erasure included.
    pub tombstones: Tombstones,
}

/// Rows in which pseudonyms stand for names.
#[derive(Debug)]
pub struct Replaced {
    /// All rows.
    pub rows: RecordBatch,
    /// Lines of those that had a name.
    pub lines: HashSet<i64>,
}

impl Persons {
    /// Persons with these names.
    pub fn new(names: Vec<Name>, tombstones: Tombstones) -> Self {
        Self {
            names,
            others: OtherNames::default(),
            keys: HashSet::new(),
            found: BTreeSet::new(),
            tombstones,
        }
    }

    /// Whether a row as it came has a name. Short names are found in rows of their own only, whose keys are destroyed anyway.
    pub fn are_in(&mut self, row: &[u8]) -> bool {
        self.has_name(&readable(&String::from_utf8_lossy(row)), false)
    }

    /// Whether a text is a name.
    fn is_name(&mut self, text: &str) -> bool {
        let lower = text.to_lowercase();
        let names = self.names.iter().filter(|name| name.is(text, &lower));
        let names: Vec<Option<usize>> = names.map(|name| name.request).collect();
        self.found.extend(names.iter().flatten());
        !names.is_empty()
    }

    /// Whether a text has a name. In rows of the persons it is one of theirs, however short, and whoever has a similar one.
    fn has_name(&mut self, text: &str, is_of_person: bool) -> bool {
        let lower = text.to_lowercase();
        let others = (!is_of_person).then_some(&self.others);
        let names = self
            .names
            .iter()
            .filter(|name| (is_of_person || name.is_telling()) && name.is_in(text, &lower, others));
        let names: Vec<Option<usize>> = names.map(|name| name.request).collect();
        self.found.extend(names.iter().flatten());
        !names.is_empty()
    }

    /// Learns from rows which keys of the persons have their names, and which names of others have one in them. All rows are to be
    /// learnt from before the first one is changed.
    ///
    /// # Errors
    /// The rows have other columns.
    pub fn learn(&mut self, batch: &RecordBatch, table: Table) -> Result<(), KpiError> {
        let of_person = self.rows_of_persons(batch, table)?;
        for (_, column) in columns(batch, &OWNERS)? {
            for text in column.iter().flatten() {
                let lower = text.to_lowercase();
                let has_name = |known: &Name| known.is_in(text, &lower, None);
                if self.names.iter().any(has_name) && !self.is_name(text) {
                    self.others.add(text);
                    self.others.add(&lower);
                }
            }
        }
        for (_, column) in columns(batch, &KEYS)? {
            for (row, _) in of_person.iter().enumerate().filter(|(_, is_of_person)| **is_of_person)
            {
                if let Some(key) = text(&column, row).filter(|key| self.has_name(key, true)) {
                    self.keys.insert(key.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Replaces names by pseudonyms; nothing if there are none.
    ///
    /// # Errors
    /// The rows have other columns.
    pub fn without_names(
        &mut self,
        batch: &RecordBatch,
        table: Table,
    ) -> Result<Option<Replaced>, KpiError> {
        let of_person = self.rows_of_persons(batch, table)?;
        let mut new_columns = batch.columns().to_vec();
        let mut changed = BTreeSet::new();
        let refused = [REFUSED_TYPE];
        let refused = if table == Table::Rejected { &refused[..] } else { &[] };
        let all = [&OWNERS[..], &KEYS, &TEXTS, refused].concat();
        for (name, column) in columns(batch, &all)? {
            let is_emptied = table == Table::Rejected && EMPTIED.contains(&name);
            let mut new = Vec::with_capacity(batch.num_rows());
            for (row, is_of_person) in of_person.iter().enumerate() {
                let old = text(&column, row);
                let named = old.filter(|text| self.is_to_go(name, text, *is_of_person));
                changed.extend(named.map(|_| row));
                new.push(match named {
                    Some(_) if name == REFUSED_TYPE => None,
                    Some(_) if is_emptied => Some(String::new()),
                    Some(text) => Some(self.replacement(name, text)),
                    None => old.map(str::to_owned),
                });
            }
            let index = batch.schema().index_of(name).map_err(failed)?;
            new_columns[index] = Arc::new(StringArray::from(new));
        }
        if changed.is_empty() {
            return Ok(None);
        }
        let mut rows = RecordBatch::try_new(batch.schema(), new_columns).map_err(failed)?;
        if table == Table::Events {
            self.bury(batch, &changed)?;
            rows = with_hashes(&rows)?;
        }
        let lines = Columns(batch).integers("source_line")?;
        Ok(Some(Replaced { rows, lines: changed.iter().map(|row| lines.value(*row)).collect() }))
    }

    /// Whether the text of a column may not stay.
    fn is_to_go(&mut self, column: &str, text: &str, is_of_person: bool) -> bool {
        if OWNERS.contains(&column) {
            // A partner may have the name of an account.
            is_of_person && self.is_name(text)
        } else {
            self.keys.contains(text) || self.has_name(&readable(text), is_of_person)
        }
    }

    /// What stands for the text of a column, also where it comes again.
    fn replacement(&mut self, column: &str, text: &str) -> String {
        let trace = if KEYS.contains(&column) { Trace::Key } else { Trace::Name };
        self.tombstones.add(trace, [text, ""]);
        self.tombstones.pseudonym(text)
    }

    /// Remembers events that are erased.
    fn bury(&mut self, events: &RecordBatch, rows: &BTreeSet<usize>) -> Result<(), KpiError> {
        let keys = EventKeys::of(events)?;
        for row in rows {
            self.tombstones.add(Trace::Technical, keys.technical(*row));
            self.tombstones.add(Trace::Business, keys.business(*row));
        }
        Ok(())
    }

    /// Whether each row is about one of the persons.
    fn rows_of_persons(
        &mut self,
        batch: &RecordBatch,
        table: Table,
    ) -> Result<Vec<bool>, KpiError> {
        let owners = columns(batch, &OWNERS)?;
        let (kinds, raw) = (columns(batch, &["kind"])?, columns(batch, &["raw"])?);
        let mut found = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let owners = owners.iter().filter_map(|(_, column)| text(column, row));
            let owners: Vec<String> = match table {
                Table::Events => owners.map(str::to_owned).collect(),
                Table::Attributes => {
                    let kind = kinds.first().and_then(|(_, column)| text(column, row));
                    let is_owner = [Kind::Account, Kind::Domain].map(Kind::name);
                    let is_owner = kind.is_some_and(|kind| is_owner.contains(&kind));
                    owners.filter(|_| is_owner).map(str::to_owned).collect()
                }
                _ => {
                    let raw = raw.first().and_then(|(_, column)| text(column, row));
                    let raw = raw.map(|raw| Subjects::of_row(&Row::Json(raw.to_owned())));
                    raw.into_iter().flat_map(|raw| [raw.account, raw.domain]).flatten().collect()
                }
            };
            let mut is_of_person = false;
            for owner in owners {
                is_of_person |= self.is_name(&owner);
            }
            found.push(is_of_person);
        }
        Ok(found)
    }
}

/// Returns the columns of a batch that have one of these names.
fn columns(
    batch: &RecordBatch,
    names: &[&'static str],
) -> Result<Vec<(&'static str, StringArray)>, KpiError> {
    let names = names.iter().filter(|name| batch.column_by_name(name).is_some());
    names.map(|name| Ok((*name, Columns(batch).texts(name)?))).collect()
}

/// A text, and what JSON has escaped in it.
fn readable(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{text}\n{}", unescaped(text)))
}

/// A text without the escapes of JSON, also where it was cut, and so is none.
fn unescaped(text: &str) -> String {
    let (mut units, mut rest) = (Vec::new(), text);
    while let Some((before, escaped)) = rest.split_once('\\') {
        units.extend(before.encode_utf16());
        let mut letters = escaped.chars();
        let letter = letters.next();
        rest = letters.as_str();
        let digits = rest.split_at_checked(4).filter(|_| letter == Some('u'));
        let unit = digits.and_then(|(digits, _)| u16::from_str_radix(digits, 16).ok());
        match (letter, digits, unit) {
            (_, Some((_, after)), Some(unit)) => {
                units.push(unit);
                rest = after;
            }
            (Some('b' | 'f' | 'n' | 'r' | 't'), ..) => units.push(b' '.into()),
            (letter, ..) => {
                let letter = letter.map(|letter| letter.encode_utf16(&mut [0; 2]).to_vec());
                units.extend(letter.into_iter().flatten());
            }
        }
    }
    units.extend(rest.encode_utf16());
    String::from_utf16_lossy(&units)
}

/// What events are known by.
struct EventKeys {
    systems: StringArray,
    sources: StringArray,
    ids: StringArray,
    types: StringArray,
    keys: StringArray,
}

impl EventKeys {
    fn of(events: &RecordBatch) -> Result<Self, KpiError> {
        let column = |name| Columns(events).texts(name);
        Ok(Self {
            systems: column("source_system")?,
            sources: column("source")?,
            ids: column("event_id")?,
            types: column("event_type")?,
            keys: column("business_key")?,
        })
    }

    /// Source system and technical key.
    fn technical(&self, row: usize) -> [&str; 2] {
        let system = text(&self.systems, row).or_else(|| text(&self.sources, row));
        [system, text(&self.ids, row)].map(Option::unwrap_or_default)
    }

    /// Type and business key.
    fn business(&self, row: usize) -> [&str; 2] {
        [&self.types, &self.keys].map(|column| text(column, row).unwrap_or_default())
    }
}

/// Hashes of keys are those of their pseudonyms.
fn with_hashes(events: &RecordBatch) -> Result<RecordBatch, KpiError> {
    let keys = EventKeys::of(events)?;
    let rows = 0..events.num_rows();
    let technical: Int64Array =
        rows.clone().map(|row| Some(facts::hash(keys.technical(row)))).collect();
    let business: Int64Array = rows.map(|row| Some(facts::hash(keys.business(row)))).collect();
    let mut columns = events.columns().to_vec();
    for (name, hashes) in [("technical_hash", technical), ("business_hash", business)] {
        let index = events.schema().index_of(name).map_err(failed)?;
        columns[index] = Arc::new(hashes) as ArrayRef;
    }
    RecordBatch::try_new(events.schema(), columns).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn persons(names: Vec<Name>, others: &[&str]) -> Persons {
        let mut persons = Persons::new(names, Tombstones::new().unwrap());
        for other in others {
            persons.others.add(other);
        }
        persons
    }

    #[test]
    fn names_are_found_where_they_are_no_part_of_others() {
        let names = vec![Name::account("a-17".to_owned(), 0), Name::domain("Shop.de", Some(1))];
        let others = ["my-shop.de", "a-17-2", "shop.de.com", "eu.shop.de", "a 17 a-17"];
        let mut persons = persons(names, &others);
        for text in [
            "a-17",
            "order-a-17-3",
            "{\"k\":\"SHOP.DE\"}",
            "www.shop.de/x",
            "order-shop.de-1",
            "my-shop.de shop.de",
            "a-17-22",
            r#"{"k": "\u0073hop.de"}"#,
            // The row is cut.
            r#"{"k": "\u0073hop.de", "d"#,
            r#"{"k": "https:\/\/SHOP\u002ede\/\"#,
        ] {
            assert!(persons.are_in(text.as_bytes()), "{text}");
        }
        for text in [
            "a-171",
            "A-17",
            "ba-17",
            "myshop.de",
            "shop.dev",
            "",
            "my-shop.de",
            "order-My-Shop.de-1",
            "order-a-17-2",
            "shop.de.com",
            "https://eu.shop.de/x",
            "of a 17 a-17",
        ] {
            assert!(!persons.are_in(text.as_bytes()), "{text}");
        }
        assert_eq!(persons.found, BTreeSet::from([0, 1]));
        for (escaped, text) in [
            (r#"gr\u00fcn \ud83d\uDE00\/\"\\\n"#, "grün 😀/\"\\ "),
            (r"\u00f \u00", "u00f u00"),
            (r"\\u00fc ü\", "\\u00fc ü"),
        ] {
            assert_eq!(unescaped(escaped), text);
        }
        // In the rows of a person it is a key of that person.
        assert!(persons.has_name("order-a-17-2", true));
        for (name, text) in [
            (Name::account("7".to_owned(), 0), "order-7"),
            (Name::domain("info", None), "more info"),
        ] {
            let mut short = self::persons(vec![name], &[]);
            assert!(short.has_name(text, true) && !short.has_name(text, false));
        }
    }
}
