//! Hashes of the answers in responses, to detect conflicting duplicates.

use crate::decode::Message;
use dnscribe_dns::Record;
use dnscribe_dns::rtype::{A, AAAA};
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Hashes the answers of responses.
#[derive(Debug, Default)]
pub(super) struct AnswerHasher {
    hasher: RandomState,
}

impl AnswerHasher {
    /// Returns a hash of the rcode and the answer section, without TTLs, order and case of names.
    /// Returns `None` for a truncated response (TC): what it omits contradicts nothing.
    pub(super) fn hash(&self, response: &Message<'_>) -> Option<u64> {
        if response.dns.flags.is_truncated() {
            return None;
        }
        let (mut records, mut owner) = (0_u64, None);
        let asked = response.dns.question().map(|question| question.name);
        for record in response.dns.answers() {
            let place = record.name.first_label_offset();
            // Consecutive records mostly have the same owner name, by the same pointer.
            let name = match owner {
                Some((before, name)) if before == place => name,
                // The owner is mostly the name in the question, which is stored contiguously.
                _ => {
                    let asked = asked.filter(|asked| asked.first_label_offset() == place);
                    self.hasher.hash_one(asked.unwrap_or(record.name))
                }
            };
            owner = Some((place, name));
            records = records.wrapping_add(self.hash_record(&record, name));
        }
        Some(self.hasher.hash_one((response.dns.rcode(), records)))
    }

    fn hash_record(&self, record: &Record<'_>, name: u64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(name);
        hasher.write_u16(record.rtype);
        match (record.rtype, record.data) {
            (A, &[a, b, c, d]) => hasher.write_u32(u32::from_be_bytes([a, b, c, d])),
            (AAAA, address) if address.len() == 16 => hasher.write(address),
            _ => record.hash_data(&mut hasher),
        }
        hasher.finish()
    }
}
