//! What a response says, as a number.

use crate::decode::Message;
use crate::decode::dns::Record;
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Types whose data are an address.
const A: u16 = 1;
const AAAA: u16 = 28;

/// Makes numbers of what responses say.
#[derive(Debug, Default)]
pub(super) struct Digest {
    hasher: RandomState,
}

impl Digest {
    /// Rcode and answer section, TTLs, order and case of names aside. None for a response that was cut
    /// short (TC): what it leaves out contradicts nothing.
    pub(super) fn of(&self, response: &Message<'_>) -> Option<u64> {
        if response.dns.flags.truncated() {
            return None;
        }
        let (mut records, mut owner) = (0_u64, None);
        let asked = response.dns.question().map(|question| question.name);
        for record in response.dns.answers() {
            let place = record.name().place();
            // Records of one name mostly point to the same place.
            let name = match owner {
                Some((before, name)) if before == place => name,
                // And most to the name asked for, which stands in one piece.
                _ => {
                    let asked = asked.filter(|asked| asked.place() == place);
                    self.hasher.hash_one(asked.unwrap_or(record.name()))
                }
            };
            owner = Some((place, name));
            records = records.wrapping_add(self.record(&record, name));
        }
        Some(self.hasher.hash_one((response.dns.rcode(), records)))
    }

    fn record(&self, record: &Record<'_>, name: u64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(name);
        hasher.write_u16(record.rtype);
        match (record.rtype, record.data()) {
            (A, &[a, b, c, d]) => hasher.write_u32(u32::from_be_bytes([a, b, c, d])),
            (AAAA, address) if address.len() == 16 => hasher.write(address),
            _ => record.hash_data(&mut hasher),
        }
        hasher.finish()
    }
}
