//! The resolver that is measured, as the validator asks it: unchecked, with a cache of keys and delegations,
//! and with nothing in its responses that the validation does not need. A request that is a response is the answer to be
//! validated, and is returned as it is.

use super::super::{Question, Resolver, exchange, rcode_reason};
use super::dname::{Redirection, make_canonical};
use crate::trust::Trust;
use futures_util::stream::{self, Stream};
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::DnsHandle;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::op::{DnsRequest, DnsResponse, Message, MessageType, ResponseCode};
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

/// Largest response in bytes that is cached: sets of keys are smaller, and what is larger is asked for again.
const MAX_CACHED_BYTES: usize = 8 << 10;

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
    /// Number of record sets that are cached; with more, all are asked for again.
    max_cached: usize,
    cache: Mutex<HashMap<Key, Slot>>,
}

impl Upstream {
    pub(super) fn new(resolver: Resolver, trust: Trust, max_cached: usize) -> Self {
        Self(Arc::new(Shared { resolver, trust, max_cached, cache: Mutex::default() }))
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
        if message.to_vec().is_ok_and(|wire| wire.len() <= MAX_CACHED_BYTES) {
            *slot = Some((expires, message.clone()));
        }
        Ok(message)
    }

    /// Number of record sets that are cached.
    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.0.cache.lock().unwrap().len()
    }

    fn slot(&self, key: Key) -> Slot {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= self.0.max_cached && !cache.contains_key(&key) {
            cache.clear();
        }
        Arc::clone(cache.entry(key).or_default())
    }

    async fn fetch(&self, name: &Name, record_type: RecordType) -> Result<Message, NetError> {
        reduce(self.answer(name, record_type).await?, name)
    }

    /// Asks for records, whatever is cached. Returns the whole response.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn answer(
        &self,
        name: &Name,
        record_type: RecordType,
    ) -> Result<Message, NetError> {
        let mut question = Question::new(name.clone(), record_type);
        (question.dnssec_ok, question.checking_disabled) = (true, true);
        let found = exchange(&self.0.resolver, &self.0.trust, &question, QUERY_LIMIT).await;
        let found = found.map_err(|failure| {
            let detail = failure.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            NetError::from(format!("{}{detail}", failure.reason))
        })?;
        match found.response.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(found.response),
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
            if request.metadata.message_type == MessageType::Response {
                // The answer that is validated.
                return Ok(DnsResponse::from_message(Message::clone(&request))?);
            }
            let Some(query) = request.queries.first() else {
                return Err(NetError::from("a query without a question"));
            };
            let message = upstream.ask(query.name(), query.query_type()).await?;
            Ok(DnsResponse::from_message(message)?)
        }))
    }
}

/// Removes what the validation of a name does not need: answers for other names, to which CNAME records lead and which
/// are validated by themselves, and of the other sections all but the proofs that the name needs. So a response cannot make
/// the validator ask for the keys of a thousand zones.
///
/// # Errors
/// The answer is made from a DNAME record ([`Redirection`]), or has too many records.
pub(super) fn reduce(mut response: Message, name: &Name) -> Result<Message, NetError> {
    if let Some(redirection) = Redirection::find(name, &response)? {
        return Err(redirection.into());
    }
    make_canonical(&mut response.answers);
    response.answers.retain(|record| record.name == *name);
    let authorities = std::mem::take(&mut response.authorities);
    let zone = proving_zone(name, &response.answers, &authorities);
    let is_kept = |record: &&Record| {
        let is_ns = record.record_type() == RecordType::NS && record.name == *name;
        let proves = zone.as_ref().is_some_and(|zone| is_proof_of(zone, record, &authorities));
        proves || is_ns
    };
    response.authorities = authorities.iter().filter(is_kept).cloned().collect();
    response.additionals.clear();
    if response.answers.len() + response.authorities.len() > MAX_RECORDS {
        return Err(NetError::from(format!("the answer has more than {MAX_RECORDS} records")));
    }
    Ok(response)
}

/// Returns the zone whose proofs a name needs: where there is no answer, or one that is made from a wildcard. The proofs
/// of a response that follows CNAME records may be those of several names and zones.
fn proving_zone(name: &Name, answers: &[Record], authorities: &[Record]) -> Option<Name> {
    if answers.iter().all(|record| record.record_type() == RecordType::RRSIG) {
        let zones = authorities.iter().filter(|record| record.name.zone_of(name));
        let zones = zones.filter(|record| record.record_type() == RecordType::SOA);
        let closest = zones.max_by_key(|record| record.name.num_labels());
        return Some(closest.map_or_else(Name::root, |record| record.name.clone()));
    }
    answers.iter().find_map(|record| {
        let signature = signature(record)?.input();
        let is_expanded = signature.num_labels < name.num_labels();
        is_expanded.then(|| signature.signer_name.clone())
    })
}

/// Returns whether a record of the authority section is a proof of this zone, or its signature. Where no zone is named
/// (the root stands for that), and where proofs have no signatures, all are.
fn is_proof_of(zone: &Name, record: &Record, authorities: &[Record]) -> bool {
    let signs = |other: &&Record| {
        let covers = signature(other).map(|signature| signature.input().type_covered);
        other.name == record.name && covers == Some(record.record_type())
    };
    let is_of_zone = |record: &Record| {
        zone.is_root()
            || signature(record).is_none_or(|signature| signature.input().signer_name == *zone)
    };
    is_proof(record) && is_of_zone(record) && authorities.iter().filter(signs).all(is_of_zone)
}

fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{response, udp};

    #[tokio::test]
    async fn caches_are_bounded() {
        let server = udp(|query| vec![response(&query).to_vec().unwrap()]).await;
        let trust = Trust::load(Some(&[]), None).unwrap();
        let upstream = Upstream::new(Resolver::udp("one", server), trust, 8);
        for number in 0..100 {
            let name = Name::from_ascii(format!("n{number}.test.")).unwrap();
            upstream.ask(&name, RecordType::DS).await.unwrap();
            assert!(upstream.cached() <= 8, "{}", upstream.cached());
        }
        assert!(upstream.cached() > 0);
    }
}
