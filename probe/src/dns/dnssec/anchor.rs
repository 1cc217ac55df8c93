//! Keys of the zones that have trust anchors, as the resolver returns them.

use super::explain::{Signed, check_signatures};
use super::upstream::Upstream;
use super::{Validation, describe};
use crate::dns::presentation;
use crate::trust::Anchor;
use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::time::Duration;

/// Bounds of the time for which keys of anchors are used.
const LIFETIME_SECONDS: std::ops::RangeInclusive<u32> = 30..=3600;

/// Time after which keys that could not be had are asked for again.
const RETRY: Duration = Duration::from_secs(5);

/// A zone with trust anchors.
pub(super) struct AnchoredKeys {
    /// The zone.
    pub(super) zone: Name,
    /// Why none of its keys is trusted.
    pub(super) problem: Option<Validation>,
}

/// Fetches the keys of the zones with anchors, and checks that a key with an anchor signs them. Returns the
/// zones, their keys, and the time for which these may be used.
pub(super) async fn anchored_keys(
    upstream: &Upstream,
    anchors: &[Anchor],
) -> (Vec<AnchoredKeys>, TrustAnchors, Duration) {
    let mut keys = TrustAnchors::empty();
    let mut lifetime = Duration::from_secs((*LIFETIME_SECONDS.end()).into());
    let mut zones = Vec::<AnchoredKeys>::new();
    for anchor in anchors {
        let zone = &anchor.zone;
        if zones.iter().any(|known| known.zone == *zone) {
            continue;
        }
        let digests: Vec<_> =
            anchors.iter().filter(|other| other.zone == *zone).map(|other| &other.ds).collect();
        let problem = match zone_keys(upstream, zone, &digests).await {
            Ok((trusted, ttl)) => {
                for key in trusted {
                    keys.insert_with_name(key.public_key(), zone.clone().into());
                }
                lifetime = lifetime.min(ttl);
                None
            }
            Err(problem) => {
                lifetime = lifetime.min(RETRY);
                Some(problem)
            }
        };
        zones.push(AnchoredKeys { zone: zone.clone(), problem });
    }
    (zones, keys, lifetime)
}

/// Fetches and checks the keys of a zone. Returns those that its anchors make trustworthy, and their TTL.
async fn zone_keys(
    upstream: &Upstream,
    zone: &Name,
    digests: &[&DS],
) -> Result<(Vec<DNSKEY>, Duration), Validation> {
    let shown = presentation(zone);
    let response = upstream.ask(zone, RecordType::DNSKEY).await.map_err(|error| {
        Validation::indeterminate(format!("DNSKEY of {shown}: {}", describe(&error)))
    })?;
    let signed = Signed::of(&response.answers, zone, RecordType::DNSKEY);
    let keys: Vec<DNSKEY> = signed.records.iter().filter_map(dnskey).cloned().collect();
    if keys.is_empty() {
        let reason =
            format!("the resolver returns no DNSKEY of {shown}, the zone of a trust anchor");
        return Err(Validation::indeterminate(reason));
    }
    if signed.signatures.is_empty() {
        let reason =
            format!("the resolver returns no signatures: RRSIG of DNSKEY {shown} is missing");
        return Err(Validation::indeterminate(reason));
    }
    let covers = |key: &&DNSKEY| digests.iter().any(|ds| ds.covers(zone, key).unwrap_or(false));
    let trusted: Vec<DNSKEY> = keys.iter().filter(covers).cloned().collect();
    if trusted.is_empty() {
        let tags: Vec<_> = digests.iter().map(|ds| ds.key_tag().to_string()).collect();
        let tags = tags.join(", ");
        let reason = format!("no DNSKEY of {shown} matches its trust anchor (key tag {tags})");
        return Err(Validation::bogus(reason));
    }
    check_signatures(&signed, &trusted).map_err(Validation::bogus)?;
    let ttl = signed.records.iter().map(|record| record.ttl).min().unwrap_or_default();
    let ttl = ttl.clamp(*LIFETIME_SECONDS.start(), *LIFETIME_SECONDS.end());
    let keys = keys.into_iter().filter(|key| key.zone_key() && !key.revoke()).collect();
    Ok((keys, Duration::from_secs(ttl.into())))
}

/// Returns the key that a record holds.
pub(super) fn dnskey(record: &Record) -> Option<&DNSKEY> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
        _ => None,
    }
}
