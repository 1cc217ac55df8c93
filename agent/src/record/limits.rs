//! Limits of records of messages and transactions.
//!
//! A message of 64 KiB can be hundreds of times as long as text: two bytes stand for a name, and each of its bytes
//! may need five characters. So the lists of a record have shares of a limit in bytes, in the order of the message.
//! What exceeds its share is left out and counted in the record. The fields beside the lists are short.

use dnscribe_dns::AnswerLimits;
use serde::Serialize;

/// Limits of records of messages and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// Most records of an answer section, and most questions.
    pub answers: usize,
    /// Most bytes of a record as JSON, at least [`Self::MIN_BYTES`].
    pub bytes: usize,
}

/// Shares of the lists of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListLimits {
    /// Limits of the answers.
    pub(super) answers: AnswerLimits,
    /// Limit of EDNS, in bytes.
    pub(super) edns_bytes: usize,
    /// Limit of the questions in bytes.
    pub(super) question_bytes: usize,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { answers: 4096, bytes: 768 << 10 }
    }
}

impl RecordLimits {
    /// Smallest limit in bytes: it holds a whole message in base64 and lists of the usual length.
    pub const MIN_BYTES: usize = 256 << 10;

    /// Bytes for the fields beside the lists: names, process, container, pod.
    const FIXED_BYTES: usize = 48 << 10;

    /// The shares of a record that also holds `wire_bytes` in base64.
    pub(super) const fn lists(self, wire_bytes: usize) -> ListLimits {
        let base64_bytes = 4 * wire_bytes.div_ceil(3);
        let bytes = self.bytes.saturating_sub(Self::FIXED_BYTES + base64_bytes);
        ListLimits {
            answers: AnswerLimits { records: self.answers, bytes: bytes / 2 },
            edns_bytes: bytes / 4,
            question_bytes: bytes / 8,
        }
    }

    /// Converts the first items that fit into `max_bytes` as JSON. Returns the number of the others, if there are any.
    pub(super) fn take<T, R: Serialize>(
        self,
        mut items: impl Iterator<Item = T>,
        convert: impl Fn(&T) -> R,
        max_bytes: usize,
    ) -> (Vec<R>, Option<u16>) {
        let (mut kept, mut left) = (Vec::new(), max_bytes);
        while let Some(item) = items.next() {
            let converted = convert(&item);
            // One more for the comma. What cannot be serialized has no length, and fails later.
            let length = serde_json::to_vec(&converted).map_or(0, |json| json.len() + 1);
            let rest = left.checked_sub(length).filter(|_| kept.len() < self.answers);
            let Some(rest) = rest else {
                let omitted = 1 + items.count();
                return (kept, Some(u16::try_from(omitted).unwrap_or(u16::MAX)));
            };
            left = rest;
            kept.push(converted);
        }
        (kept, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_items_that_fit() {
        let limits = RecordLimits { answers: 3, ..RecordLimits::default() };
        let take = |items: &[&str], bytes| {
            limits.take(items.iter().copied(), |item| (*item).to_owned(), bytes)
        };
        // Each takes two quotes and a comma more.
        assert_eq!(take(&["aa", "bb"], 10), (vec!["aa".to_owned(), "bb".to_owned()], None));
        assert_eq!(take(&["aa", "bb"], 9), (vec!["aa".to_owned()], Some(1)));
        assert_eq!(take(&["a", "b", "c", "d", "e"], 1000).1, Some(2));
        assert_eq!(take(&[], 0), (vec![], None));
    }

    #[test]
    fn shares_are_within_the_limit() {
        for bytes in [RecordLimits::MIN_BYTES, RecordLimits::default().bytes, 4 << 20] {
            for wire in [0, 1, 512, usize::from(u16::MAX)] {
                let lists = RecordLimits { answers: 1, bytes }.lists(wire);
                let all = lists.answers.bytes + lists.edns_bytes + lists.question_bytes;
                assert!(all + RecordLimits::FIXED_BYTES + wire * 4 / 3 <= bytes);
                assert!(lists.question_bytes >= 8 << 10, "room for the usual");
            }
        }
    }
}
