//! One round of all that a name depends on: its addresses at every resolver, its zone, and the hosts that
//! the addresses lead to.

use crate::config::AdHoc;
use crate::measure::{Context, Round, measure};
use crate::target::{Service, Target, TargetKind};
use dnscribe_config::ConfigError;
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
) -> Result<(Service, Vec<Round>), ConfigError> {
    let mut service = targets.names(name)?;
    let mut rounds = measure_services(context, std::slice::from_ref(&service)).await;
    accept_one_family(&mut rounds);
    let addresses = addresses(&rounds);
    if addresses.is_empty() {
        return Ok((service, rounds));
    }
    let ports = targets.ports(name, &addresses)?;
    let mut hosts = measure_services(context, std::slice::from_ref(&ports)).await;
    service.targets.extend(ports.targets);
    let open = open_port(&hosts);
    // A web server on one of the ports is enough.
    hosts.retain(|round| {
        let port = tcp_port(&round.target);
        round.found.iter().all(|fields| fields.ok)
            || port.is_none()
            || open.is_none()
            || port == open
    });
    rounds.extend(hosts);
    if let Some(port) = open {
        let web = targets.web(name, &addresses, port == PORT_TLS)?;
        rounds.extend(measure_services(context, std::slice::from_ref(&web)).await);
        service.targets.extend(web.targets);
    }
    Ok((service, rounds))
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

/// Port that accepts connections; the one with TLS if both do.
fn open_port(hosts: &[Round]) -> Option<u16> {
    let open = hosts.iter().filter(|round| round.found.iter().any(|fields| fields.ok));
    open.filter_map(|round| tcp_port(&round.target)).max()
}
