//! The records of an answer section with all their text in one string: two allocations per section.

use super::record::Records;
use super::text::json_bytes;
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

/// How much of an answer section is read. Compressed names make the text of 64 KiB a few hundred
/// times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Most records.
    pub records: usize,
    /// Most bytes of the records as JSON.
    pub bytes: usize,
}

impl AnswerLimits {
    /// No limits.
    pub const NONE: Self = Self { records: usize::MAX, bytes: usize::MAX };
}

/// The first records of an answer section in message order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answers {
    text: String,
    records: Vec<StoredRecord>,
    omitted: u16,
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
    pub const EMPTY: Self = Self { text: String::new(), records: Vec::new(), omitted: 0 };

    /// Most bytes of a record as JSON beside its name and data.
    const RECORD_BYTES: usize = 80;

    /// Replaces the records by those of `other`; reuses the memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.text.clone_from(&other.text);
        self.records.clone_from(&other.records);
        self.omitted = other.omitted;
    }

    /// Returns the bytes of heap memory allocated.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.records.capacity() * size_of::<StoredRecord>()
    }

    /// Replaces the records by the first of `records` that keep the limits, and counts the others;
    /// reuses the memory.
    pub fn read(&mut self, mut records: Records<'_>, limits: AnswerLimits) {
        self.clear();
        let (mut owner, mut owner_bytes, mut bytes) = (None, 0, 0_usize);
        loop {
            let (left, before) = (records.left, self.text.len());
            let Some(record) = records.next() else { return };
            if self.records.len() >= limits.records {
                self.omitted = left;
                return;
            }
            let place = record.name.first_label_offset();
            let same = owner.replace(place) == Some(place);
            let name = (!same).then_some(|text: &mut String| record.name.push(text));
            let numbers = (record.rtype, record.class, record.ttl_seconds);
            self.write(name, numbers, |text| record.push_data(text));
            if let Some(added) = self.iter().next_back() {
                if !same {
                    owner_bytes = json_bytes(added.name);
                }
                bytes += Self::RECORD_BYTES + owner_bytes + json_bytes(added.data);
            }
            if bytes > limits.bytes {
                self.records.pop();
                self.text.truncate(before);
                self.text.shrink_to(limits.bytes);
                self.omitted = left;
                return;
            }
        }
    }

    /// Returns the number of records that [`Self::read`] has left out, behind the others.
    #[must_use]
    pub const fn omitted(&self) -> u16 {
        self.omitted
    }

    /// Removes all records; keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.records.clear();
        self.omitted = 0;
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Answer<'_>> + DoubleEndedIterator {
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

    /// A message with `count` records of the type and class IN, whose owner and data are `owner` and `data`.
    fn message(count: u16, rtype: u16, owner: &[u8], data: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 0, 0x80, 0, 0, 0];
        message.extend(count.to_be_bytes());
        message.extend([0; 4]);
        for _ in 0..count {
            message.extend(owner);
            message.extend(rtype.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 9]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
        }
        message
    }

    fn read(message: &[u8], limits: AnswerLimits) -> Answers {
        let index = crate::MessageIndex::parse(message, false).unwrap();
        let mut all = Answers::default();
        all.read(crate::Dns::new(message, &index).answers(), limits);
        all
    }

    #[test]
    fn leaves_out_what_exceeds_the_limits() {
        let records = message(5, 16, b"\x01a\0", b"\x02\"\\");
        let all = read(&records, AnswerLimits::NONE);
        assert_eq!((all.len(), all.omitted()), (5, 0));
        assert_eq!(all.first().map(|answer| answer.data), Some(r#""\"\\""#));
        let most = |records| AnswerLimits { records, ..AnswerLimits::NONE };
        assert_eq!((read(&records, most(3)).len(), read(&records, most(3)).omitted()), (3, 2));
        assert_eq!(read(&records, most(5)).omitted(), 0);
        // Each has one byte of name, and six characters of data, all of which are escaped.
        let each = Answers::RECORD_BYTES + 1 + 12;
        for (bytes, kept) in [(5 * each, 5), (5 * each - 1, 4), (each, 1), (each - 1, 0)] {
            let read = read(&records, AnswerLimits { bytes, ..AnswerLimits::NONE });
            assert_eq!((read.len(), usize::from(read.omitted())), (kept, 5 - kept), "{bytes}");
            assert!(read.iter().eq(all.iter().take(kept)));
        }
    }

    /// No type of record makes more than a few bytes of text of each byte, but for one name.
    #[test]
    fn text_of_data_is_in_proportion() {
        let mut name: Vec<u8> = [63, 63, 63, 58]
            .iter()
            .flat_map(|length| {
                std::iter::once(*length).chain(std::iter::repeat_n(0xFF, usize::from(*length)))
            })
            .collect();
        name.push(0);
        let windows: Vec<u8> = (0..=255)
            .cycle()
            .take(1900)
            .flat_map(|window| [window, 32].into_iter().chain([0xFF; 32]))
            .collect();
        // The pointers lead to the owner of the record, at the end of the header.
        let pointers: Vec<u8> = [0, 5, 0, 0].into_iter().chain([0xC0, 12].repeat(30_000)).collect();
        let ports = vec![0xFF; 60_000];
        let nsec: Vec<u8> = name.iter().copied().chain(windows.iter().copied()).collect();
        for (rtype, data) in [(47, &nsec), (62, &windows), (11, &ports), (55, &pointers)] {
            let record = message(1, rtype, &name, data);
            let all = read(&record, AnswerLimits::NONE);
            let length = all.first().unwrap().data.len();
            assert!(
                length <= 5 * data.len() + super::super::rdata::MAX_LIST_BYTES,
                "{rtype}: {length}"
            );
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
