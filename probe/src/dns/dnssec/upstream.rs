//! The resolver that is measured, as the validator asks it: unchecked, with a cache of keys and delegations,
//! and with nothing in its responses that the validation does not need.

use super::super::{Question, Resolver, exchange, rcode_reason};
use super::dname::{Redirection, make_canonical};
use crate::trust::Trust;
use futures_util::stream::{self, Stream};
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::DnsHandle;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{DnsRequest, DnsResponse, Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time limit of one query.
const QUERY_LIMIT: Duration = Duration::from_secs(5);

/// Longest time for which keys and delegations are cached.
const MAX_TTL_SECONDS: u32 = 300;

/// Time for which the absence of records is cached where the response does not say.
const NEGATIVE_TTL_SECONDS: u32 = 60;

/// Number of record sets that are cached; with more, all are asked for again.
const MAX_CACHED: usize = 4096;

/// Largest number of records of a response that are validated. Each may cost a signature and further queries.
const MAX_RECORDS: usize = 256;

type Key = (Name, RecordType);

/// A cached response, locked while it is asked for, so that others wait instead of asking too.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Message)>>>;

/// The resolver that is measured.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    trust: Trust,
    cache: Mutex<HashMap<Key, Slot>>,
}

impl Upstream {
    pub(super) fn new(resolver: Resolver, trust: Trust) -> Self {
        Self(Arc::new(Shared { resolver, trust, cache: Mutex::default() }))
    }

    /// Asks for records, or takes keys and delegations from the cache.
    ///
    /// # Errors
    /// There is no response, or one with a code that says neither that there are records nor that there
    /// are none.
    pub(super) async fn ask(
        &self,
        name: &Name,
        record_type: RecordType,
    ) -> Result<Message, NetError> {
        if !matches!(record_type, RecordType::DNSKEY | RecordType::DS | RecordType::NS) {
            return self.fetch(name, record_type).await;
        }
        let slot = self.slot((name.to_lowercase(), record_type));
        let mut slot = slot.lock().await;
        if let Some((expires, message)) =
            slot.as_ref().filter(|(expires, _)| *expires > Instant::now())
        {
            tracing::trace!(%name, %record_type, ?expires, "cached");
            return Ok(message.clone());
        }
        let message = self.fetch(name, record_type).await?;
        let ttls = message.answers.iter().map(|record| record.ttl).min();
        let ttl = ttls.unwrap_or(NEGATIVE_TTL_SECONDS).min(MAX_TTL_SECONDS);
        let expires = Instant::now() + Duration::from_secs(ttl.into());
        *slot = Some((expires, message.clone()));
        Ok(message)
    }

    fn slot(&self, key: Key) -> Slot {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED && !cache.contains_key(&key) {
            cache.clear();
        }
        Arc::clone(cache.entry(key).or_default())
    }

    async fn fetch(&self, name: &Name, record_type: RecordType) -> Result<Message, NetError> {
        let mut question = Question::new(name.clone(), record_type);
        question.unchecked = true;
        let found = exchange(&self.0.resolver, &self.0.trust, &question, QUERY_LIMIT).await;
        let found = found.map_err(|failure| {
            let detail = failure.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            NetError::from(format!("{}{detail}", failure.reason))
        })?;
        match found.response.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => reduce(found.response, name),
            rcode => Err(NetError::from(format!("response code {}", rcode_reason(rcode)))),
        }
    }
}

impl DnsHandle for Upstream {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let upstream = self.clone();
        Box::pin(stream::once(async move {
            let Some(query) = request.queries.first() else {
                return Err(NetError::from("a query without a question"));
            };
            let message = upstream.ask(query.name(), query.query_type()).await?;
            Ok(DnsResponse::from_message(message)?)
        }))
    }
}

/// Removes what the validation does not need: answers for other names, to which CNAME records lead and which
/// are validated by themselves, and of the other sections all but the proofs. So a response cannot make the
/// validator ask for the keys of a thousand zones.
///
/// # Errors
/// The answer is made from a DNAME record ([`Redirection`]), or has too many records.
fn reduce(mut response: Message, name: &Name) -> Result<Message, NetError> {
    if let Some(redirection) = Redirection::find(name, &response)? {
        return Err(redirection.into());
    }
    make_canonical(&mut response.answers);
    response.answers.retain(|record| record.name == *name);
    let signer = response.answers.iter().find_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature.input().signer_name.clone()),
        _ => None,
    });
    let is_alias = response.answers.iter().any(|record| record.record_type() == RecordType::CNAME);
    // Proofs of another zone are about the target of the CNAME record.
    let is_own = |record: &Record| {
        !is_alias || signer.as_ref().is_some_and(|zone| zone.zone_of(&record.name))
    };
    let is_ns = |record: &Record| record.record_type() == RecordType::NS && record.name == *name;
    response.authorities.retain(|record| (is_proof(record) && is_own(record)) || is_ns(record));
    response.additionals.clear();
    if response.answers.len() + response.authorities.len() > MAX_RECORDS {
        return Err(NetError::from(format!("the answer has more than {MAX_RECORDS} records")));
    }
    Ok(response)
}

fn is_proof(record: &Record) -> bool {
    match &record.data {
        RData::SOA(_)
        | RData::DNSSEC(DNSSECRData::NSEC(_) | DNSSECRData::NSEC3(_) | DNSSECRData::DS(_)) => true,
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => matches!(
            signature.input().type_covered,
            RecordType::SOA | RecordType::NSEC | RecordType::NSEC3 | RecordType::DS
        ),
        _ => false,
    }
}
