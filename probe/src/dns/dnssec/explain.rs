//! Why an answer does not validate, in words for operators.
//!
//! The validator tells that an answer is bogus, not why. The reason is found by following the chain of trust
//! from the answer to its zone's keys, and from these to the parent's DS, to the first link that is broken.

use super::anchor::dnskey;
use super::{Session, Validation, describe};
use crate::dns::{presentation, type_name};
use dnscribe_record::time::Timestamp;
use hickory_net::{DnsError, NetError};
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG};
use hickory_proto::dnssec::{Proof, Verifier as _};
use hickory_proto::op::{DnsResponse, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Largest number of zones between an answer and its trust anchor.
const MAX_ZONES: usize = 32;

/// A record set with its signatures.
pub(super) struct Signed {
    name: Name,
    record_type: RecordType,
    pub(super) records: Vec<Record>,
    pub(super) signatures: Vec<RRSIG>,
}

impl Signed {
    pub(super) fn of(section: &[Record], name: &Name, record_type: RecordType) -> Self {
        let own = section.iter().filter(|record| record.name == *name);
        let signatures = own.clone().filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
            _ => None,
        });
        Self {
            name: name.clone(),
            record_type,
            records: own.clone().filter(|one| one.record_type() == record_type).cloned().collect(),
            signatures: signatures
                .filter(|signature| signature.input().type_covered == record_type)
                .cloned()
                .collect(),
        }
    }

    fn shown(&self) -> String {
        format!("{} {}", presentation(&self.name), type_name(self.record_type))
    }
}

/// Checks the signatures of a record set with trusted keys. One that is valid is enough.
///
/// # Errors
/// Why none is valid.
pub(super) fn check_signatures(signed: &Signed, keys: &[DNSKEY]) -> Result<(), String> {
    let shown = signed.shown();
    if signed.signatures.is_empty() {
        return Err(format!("RRSIG of {shown} is missing"));
    }
    let mut problem = None;
    for signature in &signed.signatures {
        match check_signature(signed, signature, keys) {
            Ok(()) => return Ok(()),
            Err(reason) => problem = problem.or(Some(reason)),
        }
    }
    Err(problem.unwrap_or_else(|| format!("no signature of {shown} is valid")))
}

fn check_signature(signed: &Signed, signature: &RRSIG, keys: &[DNSKEY]) -> Result<(), String> {
    let (shown, input) = (signed.shown(), signature.input());
    let signer = presentation(&input.signer_name);
    let tag = input.key_tag;
    let (inception, expiration) = (input.sig_inception.get(), input.sig_expiration.get());
    if seconds_from_now(expiration) < 0 {
        let since = written(expiration);
        let late = seconds_from_now(expiration).unsigned_abs();
        let skew = tolerated_skew(expiration.wrapping_sub(inception));
        let tolerated = if late > skew {
            String::new()
        } else {
            format!(
                ", {late} s ago: a resolver that tolerates wrong clocks accepts it for {skew} s"
            )
        };
        return Err(format!(
            "signature of {shown} expired at {since} (key tag {tag} of {signer}){tolerated}"
        ));
    }
    if seconds_from_now(inception) > 0 {
        let from = written(inception);
        let reason = format!("signature of {shown} is not valid before {from}");
        return Err(format!("{reason} (key tag {tag} of {signer})"));
    }
    let matching: Vec<_> =
        keys.iter().filter(|key| key.calculate_key_tag().ok() == Some(tag)).collect();
    if matching.is_empty() {
        return Err(format!(
            "no trusted DNSKEY of {signer} has key tag {tag}, which signs {shown}"
        ));
    }
    let verified = matching.iter().any(|key| {
        let records = signed.records.iter();
        key.verify_rrsig(&signed.name, DNSClass::IN, signature, records).is_ok()
    });
    if verified {
        return Ok(());
    }
    Err(format!("signature of {shown} does not match its data (key tag {tag} of {signer})"))
}

/// Seconds from now to a time of a signature, which is a serial number (RFC 4034, section 3.1.5).
#[expect(clippy::cast_possible_truncation, reason = "times of signatures are modulo 2^32")]
pub(super) fn seconds_from_now(time: u32) -> i32 {
    time.wrapping_sub(now_seconds() as u32).cast_signed()
}

/// Seconds for which a signature that was valid for `lifetime` seconds is accepted beyond its end for the sake of
/// wrong clocks: as unbound does, the resolver with the largest tolerance (`val-sig-skew-min`, `val-sig-skew-max`).
fn tolerated_skew(lifetime: u32) -> u32 {
    (lifetime / 10).clamp(3600, 86_400)
}

pub(super) fn now_seconds() -> u64 {
    Timestamp::now().as_nanos() / 1_000_000_000
}

/// Writes a time of a signature that is nearest to now.
fn written(time: u32) -> String {
    let seconds = now_seconds().saturating_add_signed(seconds_from_now(time).into());
    let mut text = Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000)).to_string();
    if let Some(dot) = text.find('.') {
        text.replace_range(dot..text.len() - 1, "");
    }
    text
}

/// A link of the chain of trust that is to be checked.
enum Link {
    /// A record set, by its zone's keys.
    Set(Signed),
    /// The keys of a zone, by the DS records of its parent.
    Keys(Name),
}

/// Finds the first broken link between an answer and its trust anchor.
pub(super) async fn explain(
    session: &Session,
    name: &Name,
    record_type: RecordType,
    response: &DnsResponse,
) -> Validation {
    let mut link = match bogus_set(response) {
        Some(signed) => Link::Set(signed),
        None => return Validation::bogus(missing_proof(name, record_type, response)),
    };
    for _ in 0..MAX_ZONES {
        let next = match link {
            Link::Set(signed) => check_set(session, signed).await,
            Link::Keys(zone) => check_keys(session, zone).await,
        };
        match next {
            Ok(next) => link = next,
            Err(found) => return found,
        }
    }
    Validation::bogus("the chain of trust has too many zones")
}

/// Returns the first record set of a response that is not valid.
fn bogus_set(response: &DnsResponse) -> Option<Signed> {
    [&response.answers, &response.authorities].into_iter().find_map(|section| {
        let is_bogus = |record: &&Record| {
            record.record_type() != RecordType::RRSIG && record.proof < Proof::Insecure
        };
        let record = section.iter().find(is_bogus)?;
        Some(Signed::of(section, &record.name, record.record_type()))
    })
}

fn missing_proof(name: &Name, record_type: RecordType, response: &DnsResponse) -> String {
    let what = match response.metadata.response_code {
        ResponseCode::NXDomain => format!("{} does not exist", presentation(name)),
        _ if response.answers.is_empty() => {
            format!("{} has no record of type {}", presentation(name), type_name(record_type))
        }
        _ => format!("{} is made from a wildcard", presentation(name)),
    };
    let is_proof =
        |record: &Record| matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3);
    if response.authorities.iter().any(is_proof) {
        format!("the NSEC or NSEC3 records do not prove that {what}")
    } else {
        format!("NSEC or NSEC3 proof is missing: {what}")
    }
}

async fn check_set(session: &Session, signed: Signed) -> Result<Link, Validation> {
    let Some(signature) = signed.signatures.first() else {
        return check_unsigned(session, &signed).await;
    };
    let zone = signature.input().signer_name.clone();
    if !zone.zone_of(&signed.name) {
        let reason = format!("{} is signed by {}", signed.shown(), presentation(&zone));
        return Err(Validation::bogus(reason));
    }
    let response = match session.lookup(&zone, RecordType::DNSKEY).await {
        Ok(response) => response,
        Err(NetError::Dns(DnsError::Nsec { .. })) => return Ok(Link::Keys(zone)),
        Err(error) => {
            let reason = format!("DNSKEY of {}: {}", presentation(&zone), describe(&error));
            return Err(Validation::indeterminate(reason));
        }
    };
    let keys = response.answers.iter().filter(|record| record.proof == Proof::Secure);
    let keys: Vec<DNSKEY> = keys.filter_map(dnskey).cloned().collect();
    if keys.is_empty() {
        return Ok(Link::Keys(zone));
    }
    Err(match check_signatures(&signed, &keys) {
        Err(reason) => Validation::bogus(reason),
        // What the validator could not get a moment ago.
        Ok(()) => Validation::indeterminate(format!("a key for {} came too late", signed.shown())),
    })
}

/// Finds out why a record set without signatures is not accepted as that of an unsigned zone.
async fn check_unsigned(session: &Session, signed: &Signed) -> Result<Link, Validation> {
    let mut zone = signed.name.clone();
    if signed.record_type == RecordType::DS {
        zone = zone.base_name();
    }
    loop {
        let anchored = session.anchors.iter().any(|anchor| anchor.zone == zone);
        let found = session.upstream.ask(&zone, RecordType::DS).await.map_err(|error| {
            let reason = format!("DS of {}: {}", presentation(&zone), describe(&error));
            Validation::indeterminate(reason)
        });
        let has_ds = !anchored && found?.answers.iter().any(|record| ds(record).is_some());
        if anchored || has_ds {
            let by = if anchored { "a trust anchor" } else { "a DS record" };
            let reason = format!("RRSIG of {} is missing", signed.shown());
            let reason = format!("{reason}, although {} has {by}", presentation(&zone));
            return Err(Validation::bogus(reason));
        }
        if zone.is_root() {
            let reason = format!("RRSIG of {} is missing", signed.shown());
            return Err(Validation::bogus(reason));
        }
        // No DS, and no proof of that, at a delegation.
        let cut = session.upstream.ask(&zone, RecordType::NS).await;
        let is_cut = cut.is_ok_and(|response| {
            response.answers.iter().any(|record| record.record_type() == RecordType::NS)
        });
        if is_cut {
            return check_delegation(session, zone).await;
        }
        zone = zone.base_name();
    }
}

/// Finds out why a delegation without DS records is not accepted as that of an unsigned zone.
async fn check_delegation(session: &Session, zone: Name) -> Result<Link, Validation> {
    match session.lookup(&zone, RecordType::DS).await {
        Ok(response) => bogus_set(&response).map(Link::Set).ok_or_else(|| without_ds(&zone)),
        Err(_) => Err(without_ds(&zone)),
    }
}

/// Makes the result of a zone without DS records where nothing proves that it has none.
fn without_ds(zone: &Name) -> Validation {
    let zone = presentation(zone);
    Validation::bogus(format!("NSEC or NSEC3 proof is missing: {zone} has no DS record"))
}

async fn check_keys(session: &Session, zone: Name) -> Result<Link, Validation> {
    let shown = presentation(&zone);
    let unavailable = |what: &str, error: &NetError| {
        Validation::indeterminate(format!("{what} of {shown}: {}", describe(error)))
    };
    let is_anchor = session.anchors.iter().any(|anchor| anchor.zone == zone);
    let digests: Vec<DS> = if is_anchor {
        Vec::new()
    } else {
        let response = match session.lookup(&zone, RecordType::DS).await {
            Ok(response) => response,
            // Whoever takes them away makes a zone unsigned, and may then say what he likes.
            Err(NetError::Dns(DnsError::Nsec { proof, .. })) if proof != Proof::Insecure => {
                return Err(without_ds(&zone));
            }
            Err(error) => return Err(unavailable("DS", &error)),
        };
        let found = response.answers.iter().filter(|record| ds(record).is_some());
        if found.clone().any(|record| record.proof != Proof::Secure) {
            return Ok(Link::Set(Signed::of(&response.answers, &zone, RecordType::DS)));
        }
        found.filter_map(ds).cloned().collect()
    };
    let response = session.upstream.ask(&zone, RecordType::DNSKEY).await;
    let response = response.map_err(|error| unavailable("DNSKEY", &error))?;
    let signed = Signed::of(&response.answers, &zone, RecordType::DNSKEY);
    let keys: Vec<DNSKEY> = signed.records.iter().filter_map(dnskey).cloned().collect();
    let tags: Vec<_> = digests.iter().map(|ds| ds.key_tag().to_string()).collect();
    let tags = tags.join(", ");
    if keys.is_empty() {
        let reason = format!("{shown} has a DS record (key tag {tags}) but no DNSKEY");
        return Err(Validation::bogus(reason));
    }
    if digests.is_empty() {
        return Err(Validation::bogus(format!("no DNSKEY of {shown} is trusted")));
    }
    let covers = |key: &&DNSKEY| digests.iter().any(|ds| ds.covers(&zone, key).unwrap_or(false));
    let trusted: Vec<DNSKEY> = keys.iter().filter(covers).cloned().collect();
    if trusted.is_empty() {
        let reason = format!("no DNSKEY of {shown} matches the DS of its parent (key tag {tags})");
        return Err(Validation::bogus(reason));
    }
    Err(match check_signatures(&signed, &trusted) {
        Err(reason) => Validation::bogus(reason),
        Ok(()) => Validation::indeterminate(format!("a key of {shown} came too late")),
    })
}

fn ds(record: &Record) -> Option<&DS> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::DS(ds)) => Some(ds),
        _ => None,
    }
}
