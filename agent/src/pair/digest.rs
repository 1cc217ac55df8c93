//! What a response says, as a number.

use crate::decode::Message;
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};

/// Rcode and answer section, TTLs, order and case of names aside. None for a response that was cut
/// short (TC): what it leaves out contradicts nothing.
pub(super) fn of(response: &Message, hasher: &RandomState) -> Option<u64> {
    if response.dns.flags.truncated() {
        return None;
    }
    let records = response.dns.answers.iter().fold(0_u64, |sum, answer| {
        let mut hasher = hasher.build_hasher();
        for octet in answer.name.bytes() {
            hasher.write_u8(octet.to_ascii_lowercase());
        }
        (answer.rtype, &answer.data).hash(&mut hasher);
        sum.wrapping_add(hasher.finish())
    });
    Some(hasher.hash_one((response.dns.rcode(), records)))
}
