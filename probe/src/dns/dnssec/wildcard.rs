//! Answers that are made from a wildcard.
//!
//! In zones with NSEC records, the validator of hickory refuses these where the wildcard itself owns the NSEC record, which it does
//! whenever the name asked for sorts behind it.

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{DnsResponse, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Returns whether all answers are secure, and for each that is made from a wildcard a secure NSEC record
/// proves that there is no closer match (RFC 4035, section 5.3.4).
pub(super) fn expansion_is_proved(response: &DnsResponse) -> bool {
    let (signatures, answers): (Vec<_>, Vec<_>) =
        response.answers.iter().partition(|record| record.record_type() == RecordType::RRSIG);
    let is_secure = |record: &&Record| record.proof == Proof::Secure;
    let mut expanded = signatures.into_iter().filter(is_secure).filter_map(|record| {
        let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &record.data else { return None };
        (signature.input().num_labels < record.name.num_labels())
            .then_some((&record.name, signature))
    });
    response.metadata.response_code == ResponseCode::NoError
        && !answers.is_empty()
        && answers.iter().all(is_secure)
        && expanded.all(|(name, signature)| {
            let proofs = response.authorities.iter().filter(is_secure);
            proofs.into_iter().any(|proof| proves_no_closer_match(name, signature, proof))
        })
}

/// Returns whether an NSEC record proves that a name does not exist, and that the closest name above it which
/// does is the parent of the wildcard.
fn proves_no_closer_match(name: &Name, signature: &RRSIG, proof: &Record) -> bool {
    let RData::DNSSEC(DNSSECRData::NSEC(nsec)) = &proof.data else { return false };
    let (owner, next) = (&proof.name, nsec.next_domain_name());
    let zone = &signature.input().signer_name;
    let types = nsec.type_set();
    // The NSEC record of a delegation says nothing of the names below it (RFC 6840, section 4.1).
    let is_delegation = types.contains(RecordType::NS) && !types.contains(RecordType::SOA);
    if !zone.zone_of(owner)
        || ((is_delegation || types.contains(RecordType::DNAME)) && owner.zone_of(name))
    {
        return false;
    }
    let is_last = next <= owner && next.zone_of(name);
    let covers = owner < name && (name < next || is_last) && !name.zone_of(next);
    let parent = name.trim_to(signature.input().num_labels.into());
    let depth = shared_labels(name, owner).max(shared_labels(name, next));
    covers && depth == parent.num_labels()
}

/// Number of labels that two names have in common, from the root.
fn shared_labels(one: &Name, other: &Name) -> u8 {
    let mut ancestor = other.clone();
    while !ancestor.zone_of(one) {
        ancestor = ancestor.base_name();
    }
    // A wildcard's own label does not count for Name::num_labels, but it is no ancestor of another name.
    ancestor.num_labels()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::dnssec::Algorithm;
    use hickory_proto::dnssec::rdata::{NSEC, SigInput};
    use hickory_proto::rr::SerialNumber;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// Whether an NSEC record proves the expansion of a wildcard with so many labels.
    fn proves(expanded: &str, labels: u8, owner: &str, next: &str) -> bool {
        let input = SigInput {
            type_covered: RecordType::A,
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: labels,
            original_ttl: 60,
            sig_expiration: SerialNumber::new(0),
            sig_inception: SerialNumber::new(0),
            key_tag: 1,
            signer_name: name("zone.test."),
        };
        let signature = RRSIG::from_sig(input, Vec::new());
        let nsec = NSEC::new(name(next), [RecordType::A, RecordType::RRSIG]);
        let proof = Record::from_rdata(name(owner), 60, RData::DNSSEC(DNSSECRData::NSEC(nsec)));
        proves_no_closer_match(&name(expanded), &signature, &proof)
    }

    #[test]
    fn wildcards_need_a_covering_proof() {
        let expanded = "x.wild.zone.test.";
        // The wildcard's own record, a neighbour's, and the last of the zone.
        assert!(proves(expanded, 3, "*.wild.zone.test.", "www.zone.test."));
        assert!(proves(expanded, 3, "a.wild.zone.test.", "z.wild.zone.test."));
        assert!(proves(expanded, 3, "*.wild.zone.test.", "zone.test."));
        // It does not cover the name, or ends below it.
        assert!(!proves(expanded, 3, "*.wild.zone.test.", "b.wild.zone.test."));
        assert!(!proves(expanded, 3, "y.wild.zone.test.", "www.zone.test."));
        assert!(!proves(expanded, 3, "*.wild.zone.test.", "a.x.wild.zone.test."));
        // There is a closer name, from which a closer wildcard would be expanded.
        assert!(!proves("x.y.wild.zone.test.", 3, "a.y.wild.zone.test.", "www.zone.test."));
        assert!(!proves(expanded, 2, "*.wild.zone.test.", "www.zone.test."));
    }
}
