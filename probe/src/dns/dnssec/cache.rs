//! Validators of all resolvers, whose number and caches are bounded.

use super::{Security, Session, Validation, describe};
use crate::dns::Resolver;
use crate::trust::Trust;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Number of resolvers with caches; of more, the one that was not used for the longest time makes room.
    pub resolvers: usize,
    /// Number of record sets that are cached for each resolver.
    pub sets: usize,
}

impl CacheLimits {
    /// Limits for what is configured.
    pub const CONFIGURED: Self = Self { resolvers: 256, sets: 4096 };
    /// Limits for what others ask for, who may name any resolver.
    pub const REQUESTED: Self = Self { resolvers: 16, sets: 128 };
}

/// Validators, one for each resolver. Clones share them.
#[derive(Clone)]
pub struct Validators {
    limits: CacheLimits,
    by_resolver: Arc<Mutex<HashMap<Resolver, Cached>>>,
}

/// A validator, and when it was used last.
struct Cached {
    used: Instant,
    validator: Arc<Validator>,
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validators").finish_non_exhaustive()
    }
}

impl Validators {
    /// Creates validators that keep no more than this.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        Self { limits, by_resolver: Arc::default() }
    }

    /// Validates the answer of a resolver to a question, which says that there are records or that there are none.
    /// Ends within `limit`.
    pub async fn validate(
        &self,
        resolver: &Resolver,
        trust: &Trust,
        answer: &Message,
        limit: Duration,
    ) -> Validation {
        let Some(query) = answer.queries.first() else {
            return Validation::indeterminate("the answer does not repeat the question");
        };
        let validator = self.of(resolver, trust);
        let validating = validator.validate(answer, query.name(), query.query_type());
        timeout(limit, validating).await.unwrap_or_else(|_| {
            Validation::indeterminate("the time limit ended before all keys were fetched")
        })
    }

    /// Finds out whether a resolver gives no answer because what it got does not validate: asks for it with CD set.
    /// Returns what is bogus, or that the result is indeterminate. Ends within `limit`.
    pub async fn diagnose(
        &self,
        resolver: &Resolver,
        trust: &Trust,
        name: &Name,
        record_type: RecordType,
        limit: Duration,
    ) -> Validation {
        let validator = self.of(resolver, trust);
        let diagnosing = async {
            let (session, _) = validator.session().await;
            let answer = match session.upstream.answer(name, record_type).await {
                Ok(answer) => answer,
                Err(error) => {
                    let reason =
                        format!("there is no answer to validate, with CD: {}", describe(&error));
                    return Validation::indeterminate(reason);
                }
            };
            let found = validator.validate(&answer, name, record_type).await;
            if found.security == Security::Bogus {
                return found;
            }
            let reason =
                format!("there is no answer to validate; with CD it is {}", found.security.name());
            Validation::indeterminate(reason)
        };
        timeout(limit, diagnosing).await.unwrap_or_else(|_| {
            Validation::indeterminate("the time limit ended before all keys were fetched")
        })
    }

    fn of(&self, resolver: &Resolver, trust: &Trust) -> Arc<Validator> {
        let mut validators = self.by_resolver.lock().unwrap_or_else(PoisonError::into_inner);
        let used = Instant::now();
        if let Some(cached) = validators.get_mut(resolver) {
            cached.used = used;
            return Arc::clone(&cached.validator);
        }
        if validators.len() >= self.limits.resolvers {
            let oldest = validators.iter().min_by_key(|(_, cached)| cached.used);
            if let Some(oldest) = oldest.map(|(resolver, _)| resolver.clone()) {
                validators.remove(&oldest);
            }
        }
        let validator = Arc::new(Validator::new(resolver, trust, self.limits.sets));
        let cached = Cached { used, validator: Arc::clone(&validator) };
        validators.insert(resolver.clone(), cached);
        validator
    }

    /// Numbers of resolvers with caches, and of record sets in these.
    #[cfg(test)]
    pub(crate) fn cached(&self) -> (usize, usize) {
        let validators = self.by_resolver.lock().unwrap();
        let sets = validators.values().map(|cached| {
            let session = cached.validator.session.try_lock().ok();
            session.as_ref().and_then(|one| one.as_ref()).map_or(0, |one| one.upstream.cached())
        });
        (validators.len(), sets.sum())
    }
}

/// Validator of one resolver's answers.
struct Validator {
    resolver: Resolver,
    trust: Trust,
    max_cached: usize,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Validator {
    fn new(resolver: &Resolver, trust: &Trust, max_cached: usize) -> Self {
        let (resolver, trust) = (resolver.clone(), trust.clone());
        Self { resolver, trust, max_cached, session: None.into() }
    }

    async fn validate(&self, answer: &Message, name: &Name, record_type: RecordType) -> Validation {
        let (session, is_new) = self.session().await;
        let found = session.validate(answer, name, record_type).await;
        if is_new || found.stands() {
            return found;
        }
        // What was cached may have changed meanwhile: a key, a delegation, or its repair.
        let fresh = Arc::new(self.start().await);
        let found = fresh.validate(answer, name, record_type).await;
        if found.stands() {
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
        let started = Arc::new(self.start().await);
        *session = Some(Arc::clone(&started));
        (started, true)
    }

    async fn start(&self) -> Session {
        Session::start(&self.resolver, &self.trust, self.max_cached).await
    }
}
