//! What a response says, as a number.

use crate::decode::Message;
use crate::decode::dns::{MAX_NAME_OCTETS, Record};
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Types whose data are an address and say the same as their text.
const A: u16 = 1;
const AAAA: u16 = 28;

/// Makes numbers of what responses say.
#[derive(Debug, Default)]
pub(super) struct Digest {
    hasher: RandomState,
    /// Room for the text of one record's data.
    text: String,
}

impl Digest {
    /// Rcode and answer section, TTLs, order and case of names aside. None for a response that was cut
    /// short (TC): what it leaves out contradicts nothing.
    pub(super) fn of(&mut self, response: &Message<'_>) -> Option<u64> {
        if response.dns.flags.truncated() {
            return None;
        }
        let (mut records, mut owner) = (0_u64, None);
        for record in response.dns.answers() {
            let place = record.name().place();
            // Records of one name mostly point to the same place.
            let name = match owner {
                Some((before, name)) if before == place => name,
                _ => self.name(&record),
            };
            owner = Some((place, name));
            records = records.wrapping_add(self.record(&record, name));
        }
        Some(self.hasher.hash_one((response.dns.rcode(), records)))
    }

    fn name(&self, record: &Record<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(record.name().lower_case(&mut [0; MAX_NAME_OCTETS]));
        hasher.finish()
    }

    /// Data are compared as their text: names in them may be compressed in one response and not in
    /// another.
    fn record(&mut self, record: &Record<'_>, name: u64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(name);
        hasher.write_u16(record.rtype);
        match (record.rtype, record.data()) {
            (A, &[a, b, c, d]) => hasher.write_u32(u32::from_be_bytes([a, b, c, d])),
            (AAAA, address) if address.len() == 16 => hasher.write(address),
            _ => {
                self.text.clear();
                record.push_data(&mut self.text);
                hasher.write(self.text.as_bytes());
            }
        }
        hasher.finish()
    }
}
