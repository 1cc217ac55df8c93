//! Validation of DNSSEC by the probe itself, from its trust anchors (RFC 4035, section 5).
//!
//! The validator of hickory checks signatures and proofs. It asks the resolver that is measured for what it
//! needs, with CD set, so that a resolver that validates too hides nothing. Keys and delegations are cached
//! for each resolver; an answer is called bogus only after a second validation without the cache.

mod anchor;
mod dname;
mod explain;
mod upstream;
mod wildcard;

use super::{Resolver, presentation};
use crate::trust::Trust;
use anchor::{AnchoredKeys, anchored_keys};
use dname::Redirection;
use dnscribe_record::named_enum;
use explain::explain;
use futures_util::StreamExt as _;
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::xfer::DnsHandle as _;
use hickory_net::{DnsError, NetError};
use hickory_proto::dnssec::Proof;
use hickory_proto::op::{DnsRequestOptions, DnsResponse, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use upstream::Upstream;
use wildcard::{expansion_is_proved, is_opted_out};

/// Longest time for which a validated record set is not validated again.
const MAX_CACHED: Duration = Duration::from_secs(300);

/// Largest number of CNAME records that are followed from a name.
const MAX_ALIASES: usize = 16;

/// Number of validated record sets that are remembered for each resolver.
const CACHED_SETS: usize = 1024;

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
}

impl Validation {
    const fn good(security: Security) -> Self {
        Self { security, reason: None }
    }

    fn bogus(reason: impl Into<String>) -> Self {
        Self { security: Security::Bogus, reason: Some(reason.into()) }
    }

    fn indeterminate(reason: impl Into<String>) -> Self {
        Self { security: Security::Indeterminate, reason: Some(reason.into()) }
    }
}

/// Validators, one for each resolver.
#[derive(Clone, Default)]
pub struct Validators {
    by_resolver: Arc<Mutex<HashMap<Resolver, Arc<Validator>>>>,
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validators").finish_non_exhaustive()
    }
}

impl Validators {
    /// Validates what a resolver answers to a question. Ends within `limit`.
    pub async fn validate(
        &self,
        resolver: &Resolver,
        trust: &Trust,
        name: &Name,
        record_type: RecordType,
        limit: Duration,
    ) -> Validation {
        let validator = {
            let mut validators = self.by_resolver.lock().unwrap_or_else(PoisonError::into_inner);
            let validator = validators.entry(resolver.clone());
            Arc::clone(validator.or_insert_with(|| Arc::new(Validator::new(resolver, trust))))
        };
        let validating = validator.validate(name, record_type);
        timeout(limit, validating).await.unwrap_or_else(|_| {
            Validation::indeterminate("the time limit ended before all keys were fetched")
        })
    }
}

/// Validator of one resolver's answers.
struct Validator {
    resolver: Resolver,
    trust: Trust,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Validator {
    fn new(resolver: &Resolver, trust: &Trust) -> Self {
        Self { resolver: resolver.clone(), trust: trust.clone(), session: None.into() }
    }

    async fn validate(&self, name: &Name, record_type: RecordType) -> Validation {
        let (session, is_new) = self.session().await;
        let found = session.validate(name, record_type).await;
        if is_new || matches!(found.security, Security::Secure | Security::Insecure) {
            return found;
        }
        // What was cached may have changed meanwhile: a key, a delegation, or its repair.
        let fresh = Arc::new(Session::start(&self.resolver, &self.trust).await);
        let found = fresh.validate(name, record_type).await;
        if matches!(found.security, Security::Secure | Security::Insecure) {
            *self.session.lock().await = Some(fresh);
        }
        found
    }

    /// Returns the session, and whether it was started for this call.
    async fn session(&self) -> (Arc<Session>, bool) {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref().filter(|session| session.expires > Instant::now()) {
            return (Arc::clone(session), false);
        }
        let started = Arc::new(Session::start(&self.resolver, &self.trust).await);
        *session = Some(Arc::clone(&started));
        (started, true)
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
    async fn start(resolver: &Resolver, trust: &Trust) -> Self {
        let upstream = Upstream::new(resolver.clone(), trust.clone());
        let (anchors, keys, lifetime) = anchored_keys(&upstream, &trust.anchors).await;
        let handle = DnssecDnsHandle::with_trust_anchor(upstream.clone(), Arc::new(keys))
            .validation_cache_size(CACHED_SETS)
            .positive_validation_ttl(Duration::ZERO..=MAX_CACHED);
        Self { anchors, upstream, handle, expires: Instant::now() + lifetime }
    }

    /// Validates the answers for a name and for those to which its CNAME records lead.
    async fn validate(&self, name: &Name, record_type: RecordType) -> Validation {
        let mut security = Security::Secure;
        let mut names = vec![name.clone()];
        while let Some(name) = names.last() {
            let (found, target) = self.validate_one(name, record_type).await;
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
        Validation::good(security)
    }

    /// Validates the answers for one name, and returns the target of its CNAME record.
    async fn validate_one(
        &self,
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
        match self.lookup(name, record_type).await {
            Ok(response) => {
                let found = self.judge(name, record_type, &response).await;
                (found, alias(name, record_type, &response))
            }
            Err(NetError::Dns(DnsError::Nsec { proof: Proof::Insecure, response, .. })) => {
                (Validation::good(Security::Insecure), alias(name, record_type, &response))
            }
            Err(NetError::Dns(DnsError::Nsec { response, .. }))
                if expansion_is_proved(&response) =>
            {
                (Validation::good(Security::Secure), alias(name, record_type, &response))
            }
            Err(NetError::Dns(DnsError::Nsec { response, .. })) => {
                (explain(self, name, record_type, &response).await, None)
            }
            Err(error) => {
                if let Some(redirection) = Redirection::of(&error) {
                    return self.validate_redirection(name, record_type, redirection).await;
                }
                let shown = presentation(name);
                let reason = format!("{shown} {record_type}: {}", describe(&error));
                (Validation::indeterminate(reason), None)
            }
        }
    }

    /// Validates the DNAME record from which the answers for a name are made, and returns the name that takes its place.
    async fn validate_redirection(
        &self,
        name: &Name,
        record_type: RecordType,
        redirection: &Redirection,
    ) -> (Validation, Option<Name>) {
        let Redirection { owner, target, is_consistent } = redirection;
        // The owner has fewer labels than the name, so this ends.
        let validating = Box::pin(self.validate_one(owner, RecordType::DNAME));
        let (found, _) = validating.await;
        if found.security == Security::Secure && !is_consistent {
            let (name, owner) = (presentation(name), presentation(owner));
            let reason =
                format!("the CNAME record of {name} is not what the DNAME record of {owner} makes");
            return (Validation::bogus(reason), None);
        }
        (found, (record_type != RecordType::CNAME).then(|| target.clone()))
    }

    /// Looks up records, each of which says whether it is secure.
    async fn lookup(&self, name: &Name, record_type: RecordType) -> Result<DnsResponse, NetError> {
        let query = Query::query(name.clone(), record_type);
        let found = self.handle.lookup(query, DnsRequestOptions::default()).next().await;
        found.unwrap_or(Err(NetError::Timeout))
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
            Some(Proof::Secure) if is_opted_out(response) => Validation::good(Security::Insecure),
            Some(Proof::Secure) => Validation::good(Security::Secure),
            // Denials without any proof come from zones that are proved to be unsigned.
            Some(Proof::Insecure) | None => Validation::good(Security::Insecure),
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
