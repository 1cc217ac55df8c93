//! When signatures end.

use super::explain::{now_seconds, seconds_from_now};
use crate::dns::{presentation, type_name};
use dnscribe_record::time::Timestamp;
use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::DnsResponse;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::time::Duration;

/// The signatures of a record set: which set, and until when one of them is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUntil {
    /// Owner of the records.
    pub name: Name,
    /// Their type.
    pub record_type: RecordType,
    /// Zone whose key signs them.
    pub signer: Name,
    /// End of the signature that ends last.
    pub expires: Timestamp,
    /// Time for which it is valid from its beginning.
    pub lifetime: Duration,
}

impl SignedUntil {
    /// Record set as it is shown: `www.example.com A`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} {}", presentation(&self.name), type_name(self.record_type))
    }

    fn of(name: &Name, signature: &RRSIG) -> Self {
        let input = signature.input();
        let (from, until) = (input.sig_inception.get(), input.sig_expiration.get());
        let expires = now_seconds().saturating_add_signed(seconds_from_now(until).into());
        Self {
            name: name.clone(),
            record_type: input.type_covered,
            signer: input.signer_name.clone(),
            expires: Timestamp::from_nanos(expires.saturating_mul(1_000_000_000)),
            lifetime: Duration::from_secs(until.wrapping_sub(from).into()),
        }
    }
}

/// Returns the secure record sets of a response with the ends of their signatures. Of several signatures of a set, one is
/// enough, so the last one counts.
pub(super) fn signed_sets(response: &DnsResponse) -> Vec<SignedUntil> {
    let mut found: Vec<SignedUntil> = Vec::new();
    for section in [&response.answers, &response.authorities] {
        let is_secure = |one: &SignedUntil| {
            let is_of_set = |record: &&Record| {
                record.name == one.name && record.record_type() == one.record_type
            };
            let mut set = section.iter().filter(is_of_set).peekable();
            set.peek().is_some() && set.all(|record| record.proof == Proof::Secure)
        };
        for record in section {
            let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &record.data else { continue };
            let one = SignedUntil::of(&record.name, signature);
            let known = found
                .iter_mut()
                .find(|known| known.name == one.name && known.record_type == one.record_type);
            match known {
                Some(known) if known.expires < one.expires => *known = one,
                None if is_secure(&one) => found.push(one),
                Some(_) | None => {}
            }
        }
    }
    found
}
