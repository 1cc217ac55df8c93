//! Validation of DNSSEC by the probe itself, from its trust anchors (RFC 4035, section 5).
//!
//! The validator of hickory checks signatures and proofs of the answer that was measured: its message is handed over, and
//! never asked for again. What else is needed is asked from the same resolver, with CD set, so that a resolver that
//! validates too hides nothing. Keys and delegations are cached for each resolver; an answer is called bogus only after a
//! second validation without the cache.

mod anchor;
mod cache;
mod dname;
mod expiry;
mod explain;
mod optout;
mod upstream;
mod wildcard;

use super::{Resolver, presentation, type_name};
use crate::trust::Trust;
use anchor::{AnchoredKeys, anchored_keys};
pub use cache::{CacheLimits, Validators};
use dname::Redirection;
use dnscribe_record::named_enum;
use dnscribe_record::time::Timestamp;
pub use expiry::SignedUntil;
use expiry::signed_sets;
use explain::explain;
use futures_util::StreamExt as _;
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::xfer::DnsHandle as _;
use hickory_net::{DnsError, NetError};
use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Message, MessageType, Query, ResponseCode,
};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use optout::is_opted_out;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use upstream::{Upstream, reduce};
use wildcard::expansion_is_proved;

/// Longest time for which a validated record set is not validated again.
const MAX_CACHED: Duration = Duration::from_mins(5);

/// Largest number of CNAME records that are followed from a name.
const MAX_ALIASES: usize = 16;

named_enum! {
    /// Result of a validation (RFC 4033, section 5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Security {
        /// Signatures lead from a trust anchor to the answer.
        Secure = "secure",
        /// The zone is proved to be unsigned.
        Insecure = "insecure",
        /// The answer ought to be signed, and its signatures do not validate.
        Bogus = "bogus",
        /// It cannot be found out.
        Indeterminate = "indeterminate",
    }
}

/// Result of a validation, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Result.
    pub security: Security,
    /// Why it is bogus or indeterminate, for people.
    pub reason: Option<String>,
    /// The record set whose signatures end first, among the secure ones of the answer and the keys that sign them.
    pub signed_until: Option<SignedUntil>,
}

impl Validation {
    const fn good(security: Security) -> Self {
        Self { security, reason: None, signed_until: None }
    }

    fn bogus(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::good(Security::Bogus) }
    }

    /// Creates the result of an answer of which nothing is found out.
    #[must_use]
    pub fn indeterminate(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::good(Security::Indeterminate) }
    }

    /// Returns whether it stands: an answer that was secure may have expired since its signatures were checked.
    fn stands(&self) -> bool {
        let is_past = self.signed_until.as_ref().is_some_and(|one| one.expires < Timestamp::now());
        matches!(self.security, Security::Secure | Security::Insecure) && !is_past
    }
}

/// Keys of the trust anchors as a resolver has them, and a validator with its caches.
struct Session {
    anchors: Vec<AnchoredKeys>,
    upstream: Upstream,
    handle: DnssecDnsHandle<Upstream>,
    expires: Instant,
}

impl Session {
    async fn start(resolver: &Resolver, trust: &Trust, max_cached: usize) -> Self {
        let upstream = Upstream::new(resolver.clone(), trust.clone(), max_cached);
        let (anchors, keys, lifetime) = anchored_keys(&upstream, &trust.anchors).await;
        let handle = DnssecDnsHandle::with_trust_anchor(upstream.clone(), Arc::new(keys))
            .validation_cache_size(max_cached)
            .positive_validation_ttl(Duration::ZERO..=MAX_CACHED);
        Self { anchors, upstream, handle, expires: Instant::now() + lifetime }
    }

    /// Validates the answers of a message for a name and for those to which its CNAME records lead.
    async fn validate(&self, answer: &Message, name: &Name, record_type: RecordType) -> Validation {
        let mut security = Security::Secure;
        let mut signed_until: Option<SignedUntil> = None;
        let mut names = vec![name.clone()];
        while let Some(name) = names.last() {
            let (mut found, target) = self.validate_one(answer, name, record_type).await;
            if let Some(one) = found.signed_until.take()
                && signed_until.as_ref().is_none_or(|known| one.expires < known.expires)
            {
                signed_until = Some(one);
            }
            match found.security {
                Security::Secure => {}
                Security::Insecure => security = Security::Insecure,
                _ => return found,
            }
            match target {
                Some(target) if names.contains(&target) || names.len() > MAX_ALIASES => {
                    return Validation::indeterminate("CNAME records in a loop");
                }
                Some(target) => names.push(target),
                None => break,
            }
        }
        let has_answer = |name: &Name| {
            let mut own = answer.answers.iter().filter(|record| record.name == *name);
            own.any(|record| record.record_type() == record_type)
        };
        if answer.metadata.response_code == ResponseCode::NXDomain
            && security == Security::Secure
            && let Some(name) = names.last().filter(|name| has_answer(name))
        {
            // No signature covers the response code.
            let name = presentation(name);
            let reason =
                format!("the response code says that {name} does not exist, which it does");
            return Validation::bogus(reason);
        }
        Validation { signed_until, ..Validation::good(security) }
    }

    /// Validates the answers for one name, and returns the target of its CNAME record.
    async fn validate_one(
        &self,
        answer: &Message,
        name: &Name,
        record_type: RecordType,
    ) -> (Validation, Option<Name>) {
        let covering = self.anchors.iter().filter(|anchor| anchor.zone.zone_of(name));
        let Some(anchor) = covering.max_by_key(|anchor| anchor.zone.num_labels()) else {
            let reason = format!("no trust anchor covers {}", presentation(name));
            return (Validation::indeterminate(reason), None);
        };
        if let Some(problem) = &anchor.problem {
            return (problem.clone(), None);
        }
        match self.check(answer, name, record_type).await {
            Ok(response) => {
                let found = self.judge(name, record_type, &response).await;
                (found, alias(name, record_type, &response))
            }
            Err(NetError::Dns(DnsError::Nsec { proof: Proof::Insecure, response, .. })) => {
                (self.insecure(&response).await, alias(name, record_type, &response))
            }
            Err(NetError::Dns(DnsError::Nsec { response, .. }))
                if expansion_is_proved(&response) =>
            {
                (self.secure(&response).await, alias(name, record_type, &response))
            }
            Err(NetError::Dns(DnsError::Nsec { response, .. })) => {
                (explain(self, name, record_type, &response).await, None)
            }
            Err(error) => {
                if let Some(redirection) = Redirection::of(&error) {
                    return self.validate_redirection(answer, name, record_type, redirection).await;
                }
                let shown = presentation(name);
                let reason = format!("{shown} {}: {}", type_name(record_type), describe(&error));
                (Validation::indeterminate(reason), None)
            }
        }
    }

    /// Validates the DNAME record from which the answers for a name are made, and returns the name that takes its place.
    async fn validate_redirection(
        &self,
        answer: &Message,
        name: &Name,
        record_type: RecordType,
        redirection: &Redirection,
    ) -> (Validation, Option<Name>) {
        let Redirection { owner, target, is_consistent } = redirection;
        // The owner has fewer labels than the name, so this ends.
        let validating = Box::pin(self.validate_one(answer, owner, RecordType::DNAME));
        let (found, _) = validating.await;
        if found.security == Security::Secure && !is_consistent {
            let (name, owner) = (presentation(name), presentation(owner));
            let reason =
                format!("the CNAME record of {name} is not what the DNAME record of {owner} makes");
            return (Validation::bogus(reason), None);
        }
        (found, (record_type != RecordType::CNAME).then(|| target.clone()))
    }

    /// Checks what a message says of a name. Each record of the result says whether it is secure.
    async fn check(
        &self,
        answer: &Message,
        name: &Name,
        record_type: RecordType,
    ) -> Result<DnsResponse, NetError> {
        let mut part = reduce(answer.clone(), name)?;
        part.metadata.message_type = MessageType::Response;
        if !part.answers.is_empty() {
            // That of the response is about the last name of its aliases (RFC 6604, section 3).
            part.metadata.response_code = ResponseCode::NoError;
        }
        part.queries = vec![Query::query(name.clone(), record_type)];
        let request = DnsRequest::new(part, DnsRequestOptions::default());
        let found = self.handle.send(request).next().await;
        found.unwrap_or(Err(NetError::Timeout))
    }

    /// Looks up records, each of which says whether it is secure.
    async fn lookup(&self, name: &Name, record_type: RecordType) -> Result<DnsResponse, NetError> {
        let query = Query::query(name.clone(), record_type);
        let found = self.handle.lookup(query, DnsRequestOptions::default()).next().await;
        found.unwrap_or(Err(NetError::Timeout))
    }

    /// Makes the result of a secure response: with the end of its signatures, or those of the keys that made them.
    async fn secure(&self, response: &DnsResponse) -> Validation {
        let mut sets = signed_sets(response);
        let mut signers: Vec<Name> = sets.iter().map(|set| set.signer.clone()).collect();
        signers.sort();
        signers.dedup();
        for signer in signers {
            // The validation has asked for them, so they are cached.
            match self.lookup(&signer, RecordType::DNSKEY).await {
                Ok(keys) => sets.extend(signed_sets(&keys)),
                Err(error) => tracing::debug!("the keys of {signer}: {}", describe(&error)),
            }
        }
        let signed_until = sets.into_iter().min_by_key(|set| set.expires);
        Validation { signed_until, ..Validation::good(Security::Secure) }
    }

    /// Makes the result of a response whose zone counts as unsigned: it is, or its signatures are of a kind that this
    /// program does not know (RFC 4035, section 5.2). Other clients may know it.
    async fn insecure(&self, response: &DnsResponse) -> Validation {
        let mut records = response.answers.iter().chain(&response.authorities);
        let unknown = records.find_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
                Some(signature.input()).filter(|input| !input.algorithm.is_supported())
            }
            _ => None,
        });
        let Some(input) = unknown else { return Validation::good(Security::Insecure) };
        let zone = &input.signer_name;
        let delegated = self.upstream.ask(zone, RecordType::DS).await;
        let is_ds = |record: &Record| record.record_type() == RecordType::DS;
        if !delegated.is_ok_and(|found| found.answers.iter().any(is_ds)) {
            return Validation::good(Security::Insecure);
        }
        let (zone, algorithm) = (presentation(zone), u8::from(input.algorithm));
        Validation::indeterminate(format!(
            "{zone} is signed by algorithm {algorithm}, whose signatures this probe cannot verify"
        ))
    }

    async fn judge(
        &self,
        name: &Name,
        record_type: RecordType,
        response: &DnsResponse,
    ) -> Validation {
        let signed = |records: &[Record]| -> Vec<Proof> {
            let records = records.iter().filter(|record| record.record_type() != RecordType::RRSIG);
            records.map(|record| record.proof).collect()
        };
        let (answers, authorities) = (signed(&response.answers), signed(&response.authorities));
        let weakest =
            if answers.is_empty() { authorities.iter().min() } else { answers.iter().min() };
        match weakest {
            Some(Proof::Secure) if is_opted_out(name, response) => {
                Validation::good(Security::Insecure)
            }
            Some(Proof::Secure) => self.secure(response).await,
            // Denials without any proof come from zones that are proved to be unsigned.
            Some(Proof::Insecure) | None => self.insecure(response).await,
            _ => explain(self, name, record_type, response).await,
        }
    }
}

/// Returns the target of a name's CNAME record, unless that is what was asked for.
fn alias(name: &Name, record_type: RecordType, response: &DnsResponse) -> Option<Name> {
    response.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name && record_type != RecordType::CNAME => {
            Some(target.0.clone())
        }
        _ => None,
    })
}

/// Describes an error of the validator or of the exchange with the resolver.
fn describe(error: &NetError) -> String {
    match error {
        NetError::Timeout => "timeout".to_owned(),
        NetError::Msg(text) => text.clone(),
        error => error.to_string(),
    }
}
