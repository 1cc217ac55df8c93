//! One round of all that a name depends on: its addresses at every resolver, its zone, and the hosts that
//! the addresses lead to.
//!
//! The owner of the name chooses those hosts, so [`Contact`] says which may be contacted. An address is contacted as it
//! was checked: the name is not resolved again.

use crate::config::AdHoc;
use crate::dns::Resolver;
use crate::measure::{Context, Round, measure};
use crate::source::has_route;
use crate::special::is_special;
use crate::target::{Contact, HostName, Service, Target, TargetKind};
use dnscribe_config::ConfigError;
use dnscribe_record::ProbeFields;
use futures_util::future::join_all;
use hickory_proto::rr::Name;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Most addresses of a name whose hosts are measured.
const MAX_ADDRESSES: usize = 4;
const PORT_TLS: u16 = 443;

/// Measures all targets of services once, at the same time.
pub async fn measure_services(context: &Context, services: &[Service]) -> Vec<Round> {
    let mut rounds = Vec::new();
    for target in services.iter().flat_map(|service| &service.targets) {
        rounds.push(measure(context, target));
    }
    join_all(rounds).await
}

/// Measures what a name depends on. Returns the targets, as one service, and their rounds.
///
/// # Errors
/// There is no resolver.
pub async fn measure_name(
    context: &Context,
    targets: &AdHoc,
    name: &Name,
    contact: Contact,
) -> Result<(Service, Vec<Round>), ConfigError> {
    let mut service = targets.names(name, contact)?;
    let is_zone = |target: &Arc<Target>| matches!(target.kind, TargetKind::Authority(_));
    let (mut zones, names) = service.targets.into_iter().partition::<Vec<_>, _>(is_zone);
    service.targets = names;
    let mut rounds = measure_services(context, std::slice::from_ref(&service)).await;
    accept_one_family(&mut rounds);
    // A zone is no worse for a resolver that is dead.
    if let Some(resolver) = answering(&rounds, &targets.resolvers()) {
        for target in &mut zones {
            if let TargetKind::Authority(authority) = &mut Arc::make_mut(target).kind {
                authority.resolver = Arc::clone(&resolver);
            }
        }
    }
    rounds.extend(join_all(zones.iter().map(|target| measure(context, target))).await);
    service.targets.extend(zones);
    let addresses = routed(contacted(addresses(&rounds), name, contact));
    if addresses.is_empty() {
        return Ok((service, rounds));
    }
    let ports = targets.ports(name, &addresses)?;
    let mut hosts = measure_services(context, std::slice::from_ref(&ports)).await;
    service.targets.extend(ports.targets);
    let open = open_host(&hosts);
    // A web server on one of the ports is enough.
    hosts.retain(|round| {
        let port = tcp_port(&round.target);
        round.found.iter().all(|fields| fields.ok)
            || port.is_none()
            || open.is_none()
            || port == open.map(|(_, port)| port)
    });
    rounds.extend(hosts);
    if let Some((host, port)) = open {
        // The address that accepts connections first.
        let mut addresses = addresses;
        addresses.sort_by_key(|address| *address != host);
        let web = targets.web(name, &addresses, port == PORT_TLS)?;
        rounds.extend(measure_services(context, std::slice::from_ref(&web)).await);
        service.targets.extend(web.targets);
    }
    Ok((service, rounds))
}

/// Returns the first of these resolvers with a good answer, else the first with any.
fn answering(rounds: &[Round], resolvers: &[Arc<Resolver>]) -> Option<Arc<Resolver>> {
    let first = |is_answer: fn(&ProbeFields) -> bool| {
        let of = |fields: &ProbeFields, name: &String| fields.resolver.as_ref() == Some(name);
        resolvers.iter().find(|resolver| {
            let mut found = rounds.iter().flat_map(|round| &round.found);
            found.any(|fields| of(fields, &resolver.name) && is_answer(fields))
        })
    };
    first(|fields| fields.ok).or_else(|| first(|fields| fields.rcode.is_some())).cloned()
}

/// Accepts that a name has no addresses of one family, where the same resolver has some of the other.
fn accept_one_family(rounds: &mut [Round]) {
    let with_answers: BTreeSet<Option<String>> = rounds
        .iter()
        .flat_map(|round| &round.found)
        .filter(|fields| fields.ok && !fields.answers.is_empty())
        .map(|fields| fields.resolver.clone())
        .collect();
    for fields in rounds.iter_mut().flat_map(|round| &mut round.found) {
        let is_absent = fields.error.as_ref().is_some_and(|error| error.reason == "no_data");
        if is_absent && with_answers.contains(&fields.resolver) {
            fields.ok = true;
            fields.error = None;
        }
    }
}

/// Addresses in the good answers of all resolvers, in their order; in all answers where none is good.
fn addresses(rounds: &[Round]) -> Vec<IpAddr> {
    let of_names = rounds.iter().filter(|round| matches!(round.target.kind, TargetKind::Dns(_)));
    let found: Vec<_> = of_names.flat_map(|round| &round.found).collect();
    let is_any_good = found.iter().any(|fields| fields.ok && !fields.answers.is_empty());
    let answers = found.iter().filter(|fields| fields.ok || !is_any_good);
    let mut addresses = Vec::new();
    for address in answers.flat_map(|fields| &fields.answers).filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

fn tcp_port(target: &Arc<Target>) -> Option<u16> {
    match &target.kind {
        TargetKind::Tcp(tcp) => Some(tcp.host.port),
        _ => None,
    }
}

/// Address and port that accepts connections; the port with TLS if both do.
fn open_host(hosts: &[Round]) -> Option<(IpAddr, u16)> {
    let open = hosts.iter().filter(|round| round.found.iter().any(|fields| fields.ok));
    let open = open.filter_map(|round| match &round.target.kind {
        TargetKind::Tcp(tcp) => match tcp.host.name {
            HostName::Address(address) => Some((address, tcp.host.port)),
            HostName::Name(_) => None,
        },
        _ => None,
    });
    // Of several addresses, the first in their order.
    open.rev().max_by_key(|(_, port)| *port)
}

/// Returns the addresses of a name that may be contacted.
fn contacted(addresses: Vec<IpAddr>, name: &Name, contact: Contact) -> Vec<IpAddr> {
    let (kept, left): (Vec<_>, Vec<_>) = match contact {
        Contact::None => return Vec::new(),
        Contact::All => return addresses,
        Contact::Public => addresses.into_iter().partition(|address| !is_special(*address)),
    };
    if !left.is_empty() {
        let list: Vec<_> = left.iter().map(IpAddr::to_string).collect();
        tracing::warn!(
            "{} of {name} not contacted: not of the public Internet; explain --contact all, or trigger.contact: all",
            list.join(", ")
        );
    }
    kept
}

/// Leaves out the addresses of a family to which this host has no route, while there are others: clients use these.
fn routed(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let routed: Vec<IpAddr> =
        addresses.iter().copied().filter(|address| has_route(*address)).collect();
    if routed.is_empty() { addresses } else { routed }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address of a link is none without the name of the link, so no host has a route to it.
    #[test]
    fn addresses_without_a_route_are_left_out_while_there_are_others() {
        let [ipv4, ipv6] = ["192.0.2.1", "fe80::1"].map(|text| text.parse().unwrap());
        assert_eq!(routed(vec![ipv6, ipv4]), [ipv4]);
        assert_eq!(routed(vec![ipv6]), [ipv6]);
    }
}
