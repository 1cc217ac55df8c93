//! The records of an answer section with all their text in one string: two allocations per section.

use super::record::Records;
use std::fmt;

/// One record of the answer section (RFC 1035, 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Owner name in its original case.
    pub name: &'a str,
    /// TYPE.
    pub rtype: u16,
    /// CLASS; for OPT the sender's UDP payload size in bytes.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_seconds: u32,
    /// The data in presentation form, names without the last dot; unknown data as `\# 2 ABCD`.
    pub data: &'a str,
}

/// The records of an answer section in message order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answers {
    text: String,
    records: Vec<StoredRecord>,
}

/// A record as ranges of [`Answers::text`]. The text of a message is far below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StoredRecord {
    name: (u32, u32),
    data: (u32, u32),
    rtype: u16,
    class: u16,
    ttl_seconds: u32,
}

impl Answers {
    /// A reference to an empty list.
    pub const NONE: &'static Self = &Self::EMPTY;
    /// An empty list.
    pub const EMPTY: Self = Self { text: String::new(), records: Vec::new() };

    /// Replaces the records by those of `other`; reuses the memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.text.clone_from(&other.text);
        self.records.clone_from(&other.records);
    }

    /// Returns the bytes of heap memory allocated.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.records.capacity() * size_of::<StoredRecord>()
    }

    /// Replaces the records by those of `records`; reuses the memory.
    pub fn read(&mut self, records: Records<'_>) {
        self.clear();
        let mut owner = None;
        for record in records {
            let place = record.name.first_label_offset();
            let same = owner.replace(place) == Some(place);
            let name = (!same).then_some(|text: &mut String| record.name.push(text));
            let numbers = (record.rtype, record.class, record.ttl_seconds);
            self.write(name, numbers, |text| record.push_data(text));
        }
    }

    /// Removes all records; keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.records.clear();
    }

    /// Adds a record. `name` and `data` append its text; without `name` the record has the owner of
    /// the previous one.
    pub(super) fn write(
        &mut self,
        name: Option<impl FnOnce(&mut String)>,
        (rtype, class, ttl_seconds): (u16, u16, u32),
        data: impl FnOnce(&mut String),
    ) {
        let name = match (name, self.records.last()) {
            (None, Some(before)) => before.name,
            (None, None) => (0, 0),
            (Some(name), _) => self.append(name),
        };
        let data = self.append(data);
        self.records.push(StoredRecord { name, data, rtype, class, ttl_seconds });
    }

    /// Adds a record.
    pub fn push(&mut self, answer: &Answer<'_>) {
        let Answer { name, rtype, class, ttl_seconds, data } = *answer;
        let name = Some(|all: &mut String| all.push_str(name));
        self.write(name, (rtype, class, ttl_seconds), |all| all.push_str(data));
    }

    /// Returns the records in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Answer<'_>> {
        self.records.iter().map(|record| {
            let StoredRecord { name, data, rtype, class, ttl_seconds } = *record;
            let part = |(start, end): (u32, u32)| {
                self.text.get(start as usize..end as usize).unwrap_or_default()
            };
            Answer { name: part(name), rtype, class, ttl_seconds, data: part(data) }
        })
    }

    /// Returns the first record.
    #[must_use]
    pub fn first(&self) -> Option<Answer<'_>> {
        self.iter().next()
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn append(&mut self, write: impl FnOnce(&mut String)) -> (u32, u32) {
        let place = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let start = place(&self.text);
        write(&mut self.text);
        (start, place(&self.text))
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<Answer<'a>> for Answers {
    fn from_iter<I: IntoIterator<Item = Answer<'a>>>(answers: I) -> Self {
        let mut all = Self::default();
        answers.into_iter().for_each(|answer| all.push(&answer));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn returns_pushed_records(
            given in prop::collection::vec(("[a-c]{0,5}", 0..9_u16, "[x-z]{0,5}"), 0..20),
        ) {
            let record = |(name, rtype, data): &'_ (String, u16, String)| (name.clone(), *rtype, data.clone());
            let mut all: Answers = given
                .iter()
                .map(|(name, rtype, data)| Answer { name, rtype: *rtype, class: 1, ttl_seconds: 9, data })
                .collect();
            let found = |all: &Answers| -> Vec<_> {
                all.iter().map(|a| (a.name.to_owned(), a.rtype, a.data.to_owned())).collect()
            };
            prop_assert_eq!(found(&all), given.iter().map(record).collect::<Vec<_>>());
            all.clear();
            prop_assert!(all.is_empty() && found(&all).is_empty());
        }
    }

    #[test]
    fn shares_owner_text() {
        let mut all = Answers::default();
        let owner = Some(|text: &mut String| text.push_str("a.test"));
        all.write(owner, (1, 1, 5), |text| text.push_str("one"));
        all.write(None::<fn(&mut String)>, (1, 1, 5), |text| text.push_str("two"));
        let found: Vec<_> = all.iter().map(|answer| (answer.name, answer.data)).collect();
        assert_eq!(found, [("a.test", "one"), ("a.test", "two")]);
        assert_eq!(all.text, "a.testonetwo");
    }
}
