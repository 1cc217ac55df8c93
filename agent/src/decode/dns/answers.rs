//! The records of an answer section, all their text in one piece: a response of ten records costs two
//! allocations, not twenty.

use super::record::Records;
use std::fmt;
use std::ops::Range;

/// One record of the answer section (RFC 1035, 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Owner name, its case kept.
    pub name: &'a str,
    /// TYPE.
    pub rtype: u16,
    /// CLASS; of an OPT the sender's UDP payload size.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_seconds: u32,
    /// The data in presentation form, names without their last dot; unknown data as `\# 2 ABCD`.
    pub data: &'a str,
}

/// The records of an answer section, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answers {
    text: String,
    records: Vec<Record>,
}

/// A record whose names and data stand in the text. Nothing of a message comes near 4 GiB of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    name: (u32, u32),
    data: (u32, u32),
    rtype: u16,
    class: u16,
    ttl_seconds: u32,
}

impl Answers {
    /// No records.
    pub const NONE: &'static Self = &Self::EMPTY;
    /// The same, of one's own.
    pub(crate) const EMPTY: Self = Self { text: String::new(), records: Vec::new() };

    /// Becomes the same as others, in the room that there is.
    pub(crate) fn copy(&mut self, other: &Self) {
        self.text.clone_from(&other.text);
        self.records.clone_from(&other.records);
    }

    /// Octets of room that it keeps.
    pub(crate) fn room_bytes(&self) -> usize {
        self.text.capacity() + self.records.capacity() * size_of::<Record>()
    }

    /// Takes the records of another section in place of these; their room is used again.
    pub fn read(&mut self, records: Records<'_>) {
        self.clear();
        let mut owner = None;
        for record in records {
            let same = owner.replace(record.name().place()) == Some(record.name().place());
            let name = (!same).then_some(|text: &mut String| record.name().push(text));
            let numbers = (record.rtype, record.class, record.ttl_seconds);
            self.write(name, numbers, |text| record.push_data(text));
        }
    }

    /// Takes all records out.
    pub fn clear(&mut self) {
        self.text.clear();
        self.records.clear();
    }

    /// Adds a record; `name` and `data` write its text behind what is there. The owner is that of the
    /// record before, where `name` is none.
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
        self.records.push(Record { name, data, rtype, class, ttl_seconds });
    }

    /// Adds a record.
    pub fn push(&mut self, answer: &Answer<'_>) {
        let Answer { name, rtype, class, ttl_seconds, data } = *answer;
        let name = Some(|all: &mut String| all.push_str(name));
        self.write(name, (rtype, class, ttl_seconds), |all| all.push_str(data));
    }

    /// The records, in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { text: &self.text, records: self.records.iter() }
    }

    /// The first record.
    #[must_use]
    pub fn first(&self) -> Option<Answer<'_>> {
        self.iter().next()
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
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
        f.debug_list().entries(self).finish()
    }
}

impl<'a> FromIterator<Answer<'a>> for Answers {
    fn from_iter<I: IntoIterator<Item = Answer<'a>>>(answers: I) -> Self {
        let mut all = Self::default();
        answers.into_iter().for_each(|answer| all.push(&answer));
        all
    }
}

impl<'a> IntoIterator for &'a Answers {
    type Item = Answer<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Walks over [`Answers`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    text: &'a str,
    records: std::slice::Iter<'a, Record>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        let Record { name, data, rtype, class, ttl_seconds } = *self.records.next()?;
        let part = |(start, end): (u32, u32)| {
            let range: Range<usize> = start as usize..end as usize;
            self.text.get(range).unwrap_or_default()
        };
        Some(Answer { name: part(name), rtype, class, ttl_seconds, data: part(data) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
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
    fn an_owner_is_written_once() {
        let mut all = Answers::default();
        let owner = Some(|text: &mut String| text.push_str("a.test"));
        all.write(owner, (1, 1, 5), |text| text.push_str("one"));
        all.write(None::<fn(&mut String)>, (1, 1, 5), |text| text.push_str("two"));
        let found: Vec<_> = all.iter().map(|answer| (answer.name, answer.data)).collect();
        assert_eq!(found, [("a.test", "one"), ("a.test", "two")]);
        assert_eq!(all.text, "a.testonetwo");
    }
}
