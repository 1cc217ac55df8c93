//! Addresses of a host's name, by a resolver or by the system.

use super::{Question, Resolver, exchange, presentation, rcode_reason, type_name};
use crate::failure::{Failure, Stage};
use crate::trust::Trust;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

/// Largest number of CNAME records that are followed from a name.
const MAX_ALIASES: usize = 16;

/// Resolves the name of a host: A and AAAA records at the same time, by a resolver, or by the system where
/// none is given. Returns IPv4 addresses first, or in the system's order. Ends within `limit`.
///
/// # Errors
/// Stage `resolve` with the reason: `nxdomain`, `no_data` (there is the name but no address), `timeout`, ….
pub async fn addresses(
    name: &Name,
    resolver: Option<&Resolver>,
    trust: &Trust,
    limit: Duration,
) -> Result<Vec<IpAddr>, Failure> {
    let Some(resolver) = resolver else {
        return by_system(&presentation(name), Instant::now() + limit).await;
    };
    let (ipv4, ipv6) = tokio::join!(
        by_resolver(name, RecordType::A, resolver, trust, limit),
        by_resolver(name, RecordType::AAAA, resolver, trust, limit),
    );
    match (ipv4, ipv6) {
        (Ok(ipv4), Ok(ipv6)) if ipv4.is_empty() && ipv6.is_empty() => {
            let detail = format!("{} has no address", presentation(name));
            Err(Failure::new(Stage::Resolve, "no_data").with_detail(detail))
        }
        (Ok(ipv4), Ok(ipv6)) => Ok([ipv4, ipv6].concat()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

/// Resolves a name as other programs of this host do (getaddrinfo).
pub(super) async fn by_system(name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
    let Ok(found) = timeout_at(deadline, lookup_host((name, 0))).await else {
        return Err(Failure::new(Stage::Resolve, "timeout"));
    };
    // The C library has texts for its errors, but no kinds that the standard library passes on.
    let found = found.map_err(|error| {
        Failure::new(Stage::Resolve, "not_resolved").with_detail(error.to_string())
    })?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(Failure::new(Stage::Resolve, "no_data"));
    }
    Ok(addresses)
}

async fn by_resolver(
    name: &Name,
    record_type: RecordType,
    resolver: &Resolver,
    trust: &Trust,
    limit: Duration,
) -> Result<Vec<IpAddr>, Failure> {
    let question = Question::new(name.clone(), record_type);
    let found = exchange(resolver, trust, &question, limit).await.map_err(|failure| {
        let detail = failure.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let detail = format!("resolver {resolver}{detail}");
        Failure::new(Stage::Resolve, failure.reason).with_detail(detail)
    })?;
    match found.response.metadata.response_code {
        ResponseCode::NoError => match referral(&found.response) {
            Some(refers) => {
                let detail = format!("resolver {resolver} {refers}");
                Err(Failure::new(Stage::Resolve, "refused").with_detail(detail))
            }
            None => Ok(addresses_of(name, &found.response)),
        },
        rcode => {
            let asked = format!("{} {}", presentation(name), type_name(record_type));
            let detail = format!("{asked} by resolver {resolver}");
            Err(Failure::new(Stage::Resolve, rcode_reason(rcode)).with_detail(detail))
        }
    }
}

/// Returns the addresses of a name in a response, following its CNAME records there.
fn addresses_of(name: &Name, response: &Message) -> Vec<IpAddr> {
    let Some(aliases) = aliases(name, RecordType::A, response) else { return Vec::new() };
    let name = aliases.last().unwrap_or(name);
    let records = response.answers.iter().filter(|record| record.name == *name);
    records.filter_map(|record| record.data.ip_addr()).collect()
}

/// Says of a server that it refers to others in place of an answer, as one does that does not recurse, or is not asked
/// to. Such a response says nothing of the records of a name (RFC 2308, section 2.2).
pub(crate) fn referral(response: &Message) -> Option<String> {
    let metadata = &response.metadata;
    let recurses = metadata.recursion_available && metadata.recursion_desired;
    let mut authorities = response.authorities.iter();
    let zone = authorities.clone().find(|record| record.record_type() == RecordType::NS)?;
    let is_answer = metadata.response_code != ResponseCode::NoError
        || metadata.authoritative
        || recurses
        || !response.answers.is_empty()
        || authorities.any(|record| record.record_type() == RecordType::SOA);
    let zone = presentation(&zone.name);
    (!is_answer).then(|| format!("does not recurse: it refers to the nameservers of {zone}"))
}

/// Returns the names to which the CNAME records of a response lead from a name, in their order: the answers to the
/// question stand at the last. Returns nothing where they form a loop or are more than 16.
#[must_use]
pub fn aliases(name: &Name, record_type: RecordType, response: &Message) -> Option<Vec<Name>> {
    let mut found: Vec<Name> = Vec::new();
    if matches!(record_type, RecordType::CNAME | RecordType::ANY) {
        return Some(found);
    }
    for _ in 0..=MAX_ALIASES {
        let name = found.last().unwrap_or(name);
        let alias = response.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some(target.0.clone()),
            _ => None,
        });
        match alias {
            Some(target) => found.push(target),
            None => return Some(found),
        }
    }
    None
}
