//! Proofs that rest on NSEC3 records with the flag Opt-Out: an unsigned delegation may be where nothing is said to be, so what
//! they prove is insecure (RFC 5155, sections 6 and 9.2).

use data_encoding::BASE32_DNSSEC;
use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC3};
use hickory_proto::op::DnsResponse;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Returns whether a response says that a name, or a closer match than a wildcard, does not exist, and the NSEC3 record
/// that proves it leaves out unsigned delegations. Records that are not secure prove nothing.
pub(super) fn is_opted_out(name: &Name, response: &DnsResponse) -> bool {
    let nsec3s: Vec<(&Name, &NSEC3)> = response
        .authorities
        .iter()
        .filter(|record| record.proof == Proof::Secure)
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => Some((&record.name, nsec3)),
            _ => None,
        })
        .collect();
    let Some((_, first)) = nsec3s.first() else { return false };
    let next_closer = match wildcard_labels(response) {
        Some(labels) => Some(name.trim_to(usize::from(labels) + 1)),
        None if has_answers(response) => None,
        None => next_closer(name, &nsec3s, first),
    };
    let hash = next_closer.and_then(|name| hash(&name, first));
    let covers = |(owner, nsec3): &(&Name, &NSEC3), hash: &str| {
        let (owner, next) = (label(owner), BASE32_DNSSEC.encode(nsec3.next_hashed_owner_name()));
        let (is_behind, is_before) = (owner.as_str() < hash, hash < next.as_str());
        // The last record of a zone leads to the first.
        if owner < next { is_behind && is_before } else { is_behind || is_before }
    };
    hash.is_some_and(|hash| nsec3s.iter().any(|one| one.1.opt_out() && covers(one, &hash)))
}

/// Number of labels of the wildcard from which an answer is made, without its own.
fn wildcard_labels(response: &DnsResponse) -> Option<u8> {
    response.answers.iter().find_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
            let labels = signature.input().num_labels;
            (labels < record.name.num_labels()).then_some(labels)
        }
        _ => None,
    })
}

fn has_answers(response: &DnsResponse) -> bool {
    let is_answer = |record: &Record| record.record_type() != RecordType::RRSIG;
    response.answers.iter().any(is_answer)
}

/// Returns the name that is one label longer than the closest encloser (RFC 5155, section 1.3). Returns nothing where
/// the name itself exists, or nothing above it.
fn next_closer(name: &Name, nsec3s: &[(&Name, &NSEC3)], first: &NSEC3) -> Option<Name> {
    let (mut below, mut candidate) = (None, name.clone());
    loop {
        let hash = hash(&candidate, first)?;
        if nsec3s.iter().any(|(owner, _)| label(owner) == hash) {
            return below;
        }
        if candidate.is_root() {
            return None;
        }
        let above = candidate.base_name();
        below = Some(std::mem::replace(&mut candidate, above));
    }
}

/// Hash of a name in the form of a label. All NSEC3 records of a response have the same parameters
/// (RFC 5155, section 8.2).
fn hash(name: &Name, nsec3: &NSEC3) -> Option<String> {
    let algorithm = nsec3.hash_algorithm();
    let hash = algorithm.hash(nsec3.salt(), &name.to_lowercase(), nsec3.iterations()).ok()?;
    Some(BASE32_DNSSEC.encode(hash.as_ref()))
}

fn label(owner: &Name) -> String {
    let label = owner.iter().next().unwrap_or_default();
    String::from_utf8_lossy(label).to_ascii_lowercase()
}
