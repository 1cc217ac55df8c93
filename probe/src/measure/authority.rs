//! `authority`: a zone at every nameserver that it has, by every address, against what its parent says.

mod delegation;
#[cfg(test)]
mod tests;
mod verdict;

use super::dns::{answers_of, digest};
use super::{Context, Failure, Skip, Stage, begin, finish, milliseconds};
use crate::dns::{Exchange, Protocol, Question, Resolver, addresses, exchange, presentation};
use crate::source;
use crate::special::is_special;
use crate::target::{AddressFamily, AuthorityTarget, HostName, Target};
use crate::trust::Trust;
use delegation::{Delegation, find_delegation, resolve_ns};
use dnscribe_dns::rcode_name;
use dnscribe_record::ProbeFields;
use futures_util::future::join_all;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::time::Duration;
use tokio::time::Instant;
use verdict::{ServerState, judge};

/// Largest number of nameservers that are asked; zones have 13 at most.
const MAX_NAMESERVERS: usize = 32;

/// Largest number of addresses of a nameserver that are asked.
const MAX_ADDRESSES: usize = 8;

/// How nameservers are asked.
struct Asking<'a> {
    trust: &'a Trust,
    /// Resolver that finds the parent's servers and addresses outside the zone.
    resolver: &'a Resolver,
    port: u16,
    /// Whether servers at special addresses are not asked.
    public_only: bool,
    retries: u32,
    deadline: Instant,
}

impl Asking<'_> {
    /// Returns whether a server at an address may be asked, and can be.
    fn may_ask(&self, address: IpAddr) -> bool {
        !(self.public_only && is_special(address)) && has_route(address)
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Asks a nameserver without recursion.
    async fn server(
        &self,
        address: IpAddr,
        protocol: Protocol,
        name: &Name,
        record_type: RecordType,
    ) -> Result<Exchange, Failure> {
        let server = SocketAddr::new(address, self.port);
        let source = self.resolver.source;
        let server = Resolver { protocol, source, ..Resolver::udp("", server) };
        let question = Question::authoritative(name.clone(), record_type);
        let question = Question { retries: self.retries, ..question };
        exchange(&server, self.trust, &question, self.time_left()).await
    }

    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, Failure> {
        // Half of the time is for the nameservers.
        let limit = self.time_left() / 2;
        addresses(name, Some(self.resolver), AddressFamily::Any, self.trust, limit).await
    }

    /// Asks a nameserver for its own addresses at those that the parent has, for resolvers may have none where
    /// some of the parent's are wrong. Returns those of the first that answers.
    async fn own_addresses(&self, name: &Name, glue: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        let limit = self.time_left() / 2;
        let glue = glue.iter().filter(|address| self.may_ask(**address));
        let asked = glue.map(|address| async move {
            let server = Resolver::udp("", SocketAddr::new(*address, self.port));
            let server = Resolver { source: self.resolver.source, ..server };
            addresses(name, Some(&server), AddressFamily::Any, self.trust, limit).await
        });
        join_all(asked).await.into_iter().find_map(Result::ok).unwrap_or_default()
    }
}

/// A nameserver with the addresses by which it is asked.
struct Nameserver {
    name: Name,
    /// The name, or the address where it is configured without one.
    shown: String,
    addresses: Vec<IpAddr>,
    /// Whether the resolver was asked for it.
    is_resolved: bool,
    /// Why it cannot be asked, or must not be as it is.
    problem: Option<Failure>,
}

/// Asks all nameservers at once. Makes a record for each nameserver and address, and one for the zone if its
/// delegation cannot be found. Adds the addresses to which this host has no route to `unrouted`.
///
/// # Errors
/// The zone has IPv6 addresses only, and this host has no route to them.
pub(super) async fn measure(
    context: &Context,
    target: &Target,
    authority: &AuthorityTarget,
    unrouted: &mut u64,
) -> Result<Vec<ProbeFields>, Skip> {
    let start = std::time::Instant::now();
    let asking = Asking {
        trust: &context.trust,
        resolver: &authority.resolver,
        port: authority.port,
        public_only: authority.public_only,
        retries: target.retries,
        deadline: Instant::now() + target.timeout,
    };
    let zone = &authority.zone;
    let fields = |is_resolved: bool| {
        let mut fields = begin(context, target);
        fields.resolver = is_resolved.then(|| authority.resolver.name.clone());
        fields.qname = Some(presentation(zone));
        fields.qtype = Some("SOA".to_owned());
        fields
    };
    let delegation = if authority.servers.is_empty() {
        find_delegation(&asking, zone).await
    } else {
        Ok(Delegation::unknown())
    };
    let delegation = match delegation {
        Ok(delegation) => delegation,
        // The parent's servers have no address that may be contacted, so nothing is known of the zone.
        Err(failure) if authority.public_only && failure.reason == "no_address" => {
            return Err(Skip::Unsupported);
        }
        Err(failure) => return Ok(vec![finish(fields(true), start, Err(failure))]),
    };
    let nameservers = match authority.servers.as_slice() {
        [] => find_nameservers(&asking, zone, &delegation).await,
        servers => join_all(servers.iter().map(|server| own_nameserver(&asking, server))).await,
    };
    let servers = nameservers.iter().flat_map(|nameserver| {
        nameserver.addresses.iter().map(move |address| (nameserver, *address))
    });
    let servers = servers.filter(|(_, address)| !(asking.public_only && is_special(*address)));
    let (servers, others): (Vec<_>, Vec<_>) = servers.partition(|(_, address)| has_route(*address));
    *unrouted += others.len() as u64;
    let is_signed = !delegation.digests.is_empty();
    let asked = servers.into_iter().map(|(nameserver, address)| {
        let asking = &asking;
        async move {
            let begin = std::time::Instant::now();
            let state = ask(asking, zone, address, is_signed).await;
            (nameserver, address, state, begin.elapsed())
        }
    });
    let asked = join_all(asked).await;
    let states: Vec<&ServerState> = asked.iter().map(|(_, _, state, _)| state).collect();
    let mut found = Vec::new();
    for (nameserver, address, state, duration) in &asked {
        let lag = authority.max_serial_lag;
        let judged = judge(zone, &nameserver.name, state, &states, &delegation, lag);
        let judged = judged.and(nameserver.problem.clone().map_or(Ok(()), Err));
        let mut fields = fields(nameserver.is_resolved);
        fields = describe(fields, &nameserver.shown, *address, state);
        fields = finish(fields, start, judged);
        fields.duration_ms = milliseconds(*duration);
        found.push(fields);
    }
    for nameserver in nameservers.iter().filter(|nameserver| nameserver.addresses.is_empty()) {
        let mut fields = fields(nameserver.is_resolved);
        fields.nameserver = Some(nameserver.shown.clone());
        let failure = nameserver.problem.clone();
        let failure = failure.unwrap_or_else(|| Failure::new(Stage::Resolve, "no_address"));
        found.push(finish(fields, start, Err(failure)));
    }
    if found.is_empty() { Err(Skip::Unsupported) } else { Ok(found) }
}

/// Returns whether this host has a route to a nameserver's address.
fn has_route(address: IpAddr) -> bool {
    static LOGGED: Once = Once::new();
    let has_route = source::has_route(address);
    if !has_route {
        LOGGED.call_once(|| {
            tracing::info!(
                "this host has no route to {address}: nameservers are asked over IPv4 only; \
                 dnscribe_probe_unrouted_addresses_total counts their IPv6 addresses"
            );
        });
    }
    has_route
}

/// Finds the addresses of all nameservers: those that the parent names, and those that the zone itself does.
async fn find_nameservers(
    asking: &Asking<'_>,
    zone: &Name,
    delegation: &Delegation,
) -> Vec<Nameserver> {
    let own =
        if delegation.is_referral { resolve_ns(asking, zone).await } else { Ok(BTreeSet::new()) };
    let own = own.unwrap_or_else(|failure| {
        // The nameservers themselves tell below whether they can be reached.
        tracing::debug!(?failure, "the resolver has no nameservers of {zone}");
        BTreeSet::new()
    });
    let names = delegation.nameservers.union(&own).take(MAX_NAMESERVERS);
    join_all(names.map(|name| locate(asking, zone, delegation, name))).await
}

/// Finds the addresses of a nameserver that the configuration names.
async fn own_nameserver(asking: &Asking<'_>, server: &HostName) -> Nameserver {
    let shown = server.to_string();
    match server {
        HostName::Address(address) => Nameserver {
            name: Name::root(),
            shown,
            addresses: vec![*address],
            is_resolved: false,
            problem: None,
        },
        HostName::Name(name) => {
            let (mut addresses, problem) = match asking.addresses(name).await {
                Ok(found) => (found, None),
                Err(failure) => (Vec::new(), Some(failure)),
            };
            addresses.truncate(MAX_ADDRESSES);
            Nameserver { name: name.clone(), shown, addresses, is_resolved: true, problem }
        }
    }
}

/// Finds the addresses of a nameserver. Those of a name inside the zone come from the parent's glue, which is
/// compared with what the zone itself says.
async fn locate(
    asking: &Asking<'_>,
    zone: &Name,
    delegation: &Delegation,
    name: &Name,
) -> Nameserver {
    let mut nameserver = Nameserver {
        name: name.clone(),
        shown: presentation(name),
        addresses: Vec::new(),
        is_resolved: true,
        problem: None,
    };
    let glue: BTreeSet<IpAddr> = delegation.glue_of(name);
    let by_resolver = asking.addresses(name).await;
    let needs_glue =
        delegation.is_referral && zone.zone_of(name) && delegation.nameservers.contains(name);
    let shown = nameserver.shown.clone();
    match by_resolver {
        Ok(found) => nameserver.addresses = found,
        Err(failure) if glue.is_empty() => nameserver.problem = Some(failure),
        Err(_) => nameserver.addresses = asking.own_addresses(name, &glue).await,
    }
    if needs_glue {
        let own: BTreeSet<IpAddr> = nameserver.addresses.iter().copied().collect();
        if glue.is_empty() {
            let detail = format!("the parent has no address of {shown}, which is in the zone");
            nameserver.problem = Some(Failure::new(Stage::Dns, "glue_missing").with_detail(detail));
        } else if !own.is_empty() && !glue.is_subset(&own) {
            let list = |set: &BTreeSet<IpAddr>| {
                set.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
            };
            let detail =
                format!("the parent has {} for {shown}, the zone {}", list(&glue), list(&own));
            nameserver.problem =
                Some(Failure::new(Stage::Dns, "glue_mismatch").with_detail(detail));
        }
        let glue = glue.into_iter().filter(|address| !own.contains(address));
        nameserver.addresses.extend(glue);
    } else if nameserver.addresses.is_empty() {
        nameserver.addresses.extend(glue);
    }
    nameserver.addresses.truncate(MAX_ADDRESSES);
    nameserver
}

/// Asks one nameserver at one address for the zone's SOA and NS records over UDP, for SOA over TCP, and for the keys
/// of a signed zone.
async fn ask(asking: &Asking<'_>, zone: &Name, address: IpAddr, is_signed: bool) -> ServerState {
    let keys = async {
        let asked =
            is_signed.then(|| asking.server(address, Protocol::Udp, zone, RecordType::DNSKEY));
        Some(Box::pin(asked?).await.map(|found| keys_of(&found, zone)))
    };
    let (soa, ns, tcp, keys) = tokio::join!(
        asking.server(address, Protocol::Udp, zone, RecordType::SOA),
        asking.server(address, Protocol::Udp, zone, RecordType::NS),
        asking.server(address, Protocol::Tcp, zone, RecordType::SOA),
        keys,
    );
    let serial = |found: &Exchange| {
        found.response.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if record.name == *zone => Some(soa.serial),
            _ => None,
        })
    };
    let nameservers = ns.as_ref().ok().filter(|found| is_authoritative(found)).map(|found| {
        let names = found.response.answers.iter().filter_map(|record| match &record.data {
            RData::NS(name) if record.name == *zone => Some(name.0.to_lowercase()),
            _ => None,
        });
        names.collect()
    });
    let shown = ns.as_ref().ok().and_then(|found| answers_of(found, zone, RecordType::NS).ok());
    let mut answers: Vec<String> =
        shown.into_iter().flatten().map(|(text, _)| text.to_lowercase()).collect();
    answers.sort();
    answers.dedup();
    ServerState {
        serial: soa.as_ref().ok().filter(|found| is_authoritative(found)).and_then(serial),
        soa,
        tcp: tcp.map(drop),
        nameservers,
        answers,
        keys,
    }
}

/// Returns the keys of a zone in a response.
fn keys_of(found: &Exchange, zone: &Name) -> Vec<DNSKEY> {
    let own = found.response.answers.iter().filter(|record| record.name == *zone);
    let keys = own.filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key.clone()),
        _ => None,
    });
    keys.collect()
}

fn is_authoritative(found: &Exchange) -> bool {
    let metadata = &found.response.metadata;
    metadata.authoritative && metadata.response_code == ResponseCode::NoError
}

fn describe(
    mut fields: ProbeFields,
    nameserver: &str,
    address: IpAddr,
    state: &ServerState,
) -> ProbeFields {
    fields.nameserver = Some(nameserver.to_owned());
    fields.address = Some(address.to_string());
    fields.soa_serial = state.serial;
    if let Ok(soa) = &state.soa {
        let rcode = rcode_name(soa.response.metadata.response_code.into()).into_owned();
        fields.protocol = Some(soa.protocol.name().to_owned());
        fields.latency_ms = Some(milliseconds(soa.latency));
        fields.attempt = soa.attempts;
        fields.lame = Some(state.lame().is_some());
        if state.nameservers.is_some() {
            fields.answer_digest = Some(digest(&rcode, &state.answers));
            fields.answers.clone_from(&state.answers);
        }
        fields.rcode = Some(rcode);
    }
    fields
}
