//! Addresses of a host's name, by a resolver or by the system.

use super::{Question, Resolver, exchange, presentation, rcode_reason, type_name};
use crate::failure::{Failure, OPEN_FILES, Stage, io_reason};
use crate::source::has_route;
use crate::trust::Trust;
use dnscribe_record::named_enum;
use futures_util::future::{join, maybe_done, select};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

/// Largest number of CNAME records that are followed from a name.
const MAX_ALIASES: usize = 16;

/// Part of the time left for which addresses of one family are waited for once those of the other are there. Resolvers
/// that do not answer for one type would take the time to connect (RFC 8305, section 3).
const WAITING_SHARE: u32 = 4;

named_enum! {
    /// Which addresses of a name are used, and in which order they are tried.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum AddressFamily: "a choice of addresses", "give one of" {
        /// All, in the order in which they were found.
        #[default]
        Any = "any",
        /// IPv4 addresses.
        Ipv4 = "ipv4",
        /// IPv6 addresses.
        Ipv6 = "ipv6",
        /// All, the IPv4 addresses first.
        PreferIpv4 = "prefer_ipv4",
        /// All, the IPv6 addresses first.
        PreferIpv6 = "prefer_ipv6",
    }
}

impl AddressFamily {
    /// Returns the addresses that are used, in the order in which they are tried.
    #[must_use]
    pub fn select(self, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        match self {
            Self::Any => {}
            Self::Ipv4 => addresses.retain(IpAddr::is_ipv4),
            Self::Ipv6 => addresses.retain(IpAddr::is_ipv6),
            Self::PreferIpv4 => addresses.sort_by_key(IpAddr::is_ipv6),
            Self::PreferIpv6 => addresses.sort_by_key(IpAddr::is_ipv4),
        }
        addresses
    }
}

/// Resolves the name of a host: A and AAAA records at the same time, as far as `family` uses them, by a resolver; or by
/// the system where none is given. Returns IPv4 addresses first, or in the system's order. Ends within `limit`.
///
/// # Errors
/// Stage `resolve` with the reason: `nxdomain`, `no_data` (there is the name but no address), `timeout`, ….
pub async fn addresses(
    name: &Name,
    resolver: Option<&Resolver>,
    family: AddressFamily,
    trust: &Trust,
    limit: Duration,
) -> Result<Vec<IpAddr>, Failure> {
    let deadline = Instant::now() + limit;
    let Some(resolver) = resolver else {
        return by_system(&presentation(name), deadline).await;
    };
    let ask = |record_type| by_resolver(name, record_type, resolver, trust, limit);
    let found = match family {
        AddressFamily::Ipv4 => ask(RecordType::A).await?,
        AddressFamily::Ipv6 => ask(RecordType::AAAA).await?,
        AddressFamily::Any | AddressFamily::PreferIpv4 | AddressFamily::PreferIpv6 => {
            both(ask(RecordType::A), ask(RecordType::AAAA), deadline).await?
        }
    };
    if found.is_empty() {
        let detail = format!("{} has no address", presentation(name));
        return Err(Failure::new(Stage::Resolve, "no_data").with_detail(detail));
    }
    Ok(found)
}

/// Waits for the addresses of both families, for a short time only once some are there to which this host has a route.
async fn both(
    ipv4: impl Future<Output = Result<Vec<IpAddr>, Failure>>,
    ipv6: impl Future<Output = Result<Vec<IpAddr>, Failure>>,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Failure> {
    let mut ipv4 = pin!(maybe_done(ipv4));
    let mut ipv6 = pin!(maybe_done(ipv6));
    let _ = select(ipv4.as_mut(), ipv6.as_mut()).await;
    let is_usable = [ipv4.as_mut().output_mut(), ipv6.as_mut().output_mut()]
        .into_iter()
        .flatten()
        .any(|found| found.iter().flatten().any(|address| has_route(*address)));
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    let until = if is_usable { now + left / WAITING_SHARE } else { deadline };
    // What is not there by then counts as a failure of its type.
    let _ = timeout_at(until, join(ipv4.as_mut(), ipv6.as_mut())).await;
    let timeout = || Err(Failure::new(Stage::Resolve, "timeout"));
    let ipv4 = ipv4.take_output().unwrap_or_else(timeout);
    let ipv6 = ipv6.take_output().unwrap_or_else(timeout);
    match (ipv4, ipv6) {
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
    let found = found.map_err(|error| {
        Failure::new(Stage::Resolve, system_reason(&error)).with_detail(error.to_string())
    })?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(Failure::new(Stage::Resolve, "no_data"));
    }
    Ok(addresses)
}

/// Returns the reason of an error of getaddrinfo. The C library has texts for its own errors, but no kinds that the
/// standard library passes on.
fn system_reason(error: &io::Error) -> &'static str {
    let is_short_of_files = || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        socket.is_err_and(|error| io_reason(&error) == OPEN_FILES)
    };
    let text = error.to_string();
    let says = |texts: [&str; 2]| texts.iter().any(|one| text.contains(one));
    // The texts of glibc and musl.
    if says(["Name or service not known", "Name does not resolve"]) {
        "nxdomain"
    } else if says(["No address associated with hostname", "Name has no usable address"]) {
        "no_data"
    } else if io_reason(error) == OPEN_FILES
        || says(["Temporary failure in name resolution", "Try again"]) && is_short_of_files()
    {
        OPEN_FILES
    } else {
        "not_resolved"
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_have_their_reasons() {
        let of_library =
            |text: &str| io::Error::other(format!("failed to lookup address information: {text}"));
        for (error, reason) in [
            (of_library("Name or service not known"), "nxdomain"),
            (of_library("No address associated with hostname"), "no_data"),
            (of_library("Temporary failure in name resolution"), "not_resolved"),
            (of_library("Non-recoverable failure in name resolution"), "not_resolved"),
            (io::Error::from_raw_os_error(24), OPEN_FILES),
        ] {
            assert_eq!(system_reason(&error), reason, "{error}");
        }
    }
}
