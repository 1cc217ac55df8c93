//! Hosts: certificates, services, and the path to them.

use super::{Assigned, OF_NAMES, has_no_route};
use crate::dns::parse_name;
use crate::target::{AddressFamily, HostName, TargetKind};
use crate::verdict::rule::Cause;
use crate::verdict::state::Measurement;
use hickory_proto::rr::Name;
use std::net::IpAddr;

/// Reasons of stage `tls` that concern the certificate.
const CERTIFICATE: [&str; 9] = [
    "certificate_malformed",
    "certificate_expired",
    "certificate_not_yet_valid",
    "certificate_untrusted",
    "certificate_unsuitable",
    "certificate_revoked",
    "chain_incomplete",
    "self_signed",
    "name_mismatch",
];

/// Assigns the failures of `tcp`, `tls`, `http` and `ping` targets.
pub(super) fn assign(all: &[&Measurement], assigned: &mut Assigned) {
    let failed = |one: &Measurement| super::layer(one) > 0 && !one.fields.ok;
    let failed: Vec<usize> = (0..all.len()).filter(|index| failed(all[*index])).collect();
    let (pings, services): (Vec<usize>, Vec<usize>) =
        failed.into_iter().partition(|index| all[*index].fields.kind == "ping");
    for index in services {
        assign_service(all, index, assigned);
    }
    // Lost packets are judged last: a host that refuses connections can be reached.
    for index in pings {
        match all[index].error().0 {
            "resolve" => assign_unresolved(all, index, assigned),
            _ => assign_loss(all, index, assigned),
        }
    }
}

fn assign_service(all: &[&Measurement], index: usize, assigned: &mut Assigned) {
    let one = all[index];
    let (stage, reason) = one.error();
    if stage == "resolve" || stage == "dns" {
        return assign_unresolved(all, index, assigned);
    }
    if let Some(cause) = misled_by(all, one, assigned) {
        return assigned.follow(cause, &[index]);
    }
    let cause = match stage {
        "connect" if has_no_route(one) => Cause::Path,
        "connect" if reason == "timeout" && !is_reached(all, one) => Cause::Path,
        "tls" if CERTIFICATE.contains(&reason) => Cause::Certificate,
        // Packets of full size get lost over one family: the host serves the other.
        _ if matches!(reason, "timeout" | "handshake_timeout" | "response_timeout")
            && works_over_other_family(all, one) =>
        {
            Cause::Path
        }
        _ => Cause::Hosting,
    };
    assigned.own(cause, &[index]);
}

/// Assigns a failure to resolve the name of a host.
fn assign_unresolved(all: &[&Measurement], index: usize, assigned: &mut Assigned) {
    let one = all[index];
    let own_name = |other: &&&Measurement| name_asked(other).is_some_and(|name| is_host(one, name));
    let asked: Vec<&&Measurement> = all.iter().filter(own_name).collect();
    let (_, reason) = one.error();
    let cause = if asked.iter().any(|other| !other.fields.ok) || asked.is_empty() {
        // A parent that does not answer here is no reason for an answer that is wrong.
        let is_silent = matches!(reason, "timeout" | "port_unreachable" | "refused" | "io");
        let mut causes = OF_NAMES.into_iter().filter(|cause| *cause != Cause::Path || is_silent);
        causes.find(|cause| assigned.has(*cause))
    } else {
        None
    };
    match cause {
        Some(cause) => assigned.follow(cause, &[index]),
        None if reason == "bogus" => assigned.own(Cause::Dnssec, &[index]),
        // The targets' resolvers know the name; the one that this target uses does not.
        None if !asked.is_empty() => assigned.own(Cause::Resolver, &[index]),
        None if matches!(reason, "timeout" | "port_unreachable" | "refused" | "io") => {
            assigned.own(Cause::Resolver, &[index]);
        }
        None => assigned.own(Cause::Dns, &[index]),
    }
}

/// Assigns the loss of echo requests or replies.
fn assign_loss(all: &[&Measurement], index: usize, assigned: &mut Assigned) {
    let one = all[index];
    if let Some(cause) = misled_by(all, one, assigned) {
        return assigned.follow(cause, &[index]);
    }
    let peers = all.iter().enumerate().filter(|(_, other)| is_same_host(one, other));
    let mut causes = peers.filter_map(|(peer, _)| assigned.cause_of(peer));
    // ICMP is often filtered: a host that refuses or answers is not lost.
    match causes.find(|cause| *cause == Cause::Hosting) {
        Some(cause) if one.fields.received == Some(0) => assigned.follow(cause, &[index]),
        _ => assigned.own(Cause::Path, &[index]),
    }
}

/// Returns the cause by which a host was reached at a wrong address: a resolver that lies, or answers that
/// have changed without announcement while the known addresses work.
fn misled_by(all: &[&Measurement], one: &Measurement, assigned: &Assigned) -> Option<Cause> {
    let name = host(one).and_then(|host| match host {
        HostName::Name(name) => Some(name.clone()),
        HostName::Address(_) => None,
    })?;
    let leads_here = |other: &Measurement| {
        let address = one.fields.address.as_ref();
        name_asked(other) == Some(&name)
            && address.is_some_and(|address| other.fields.answers.contains(address))
    };
    let mut asked = all.iter().enumerate().filter(|(_, other)| leads_here(other));
    asked.find_map(|(place, other)| match assigned.cause_of(place) {
        Some(Cause::Dns) if other.fields.changed == Some(true) => Some(Cause::Dns),
        Some(Cause::Resolver) => Some(Cause::Resolver),
        _ => None,
    })
}

/// Returns whether the host of a connection that timed out answers something else.
fn is_reached(all: &[&Measurement], one: &Measurement) -> bool {
    let mut peers = all.iter().filter(|other| is_same_host(one, other));
    peers.any(|other| match (other.fields.kind.as_str(), other.error()) {
        ("ping", _) => {
            other.fields.received.is_some_and(|received| received > 0) && other.fields.ok
        }
        (_, ("" | "tls" | "http", _)) => true,
        (_, ("connect", reason)) => matches!(
            reason,
            "refused" | "reset" | "closed" | "response_mismatch" | "response_timeout"
        ),
        _ => false,
    })
}

/// Returns whether two measurements are of one host. One that is restricted to a family of addresses says nothing of
/// the other: the ways to them differ.
fn is_same_host(one: &Measurement, other: &Measurement) -> bool {
    let same_address = one.fields.address.is_some() && one.fields.address == other.fields.address;
    let is_host = super::layer(other) > 0 && !std::ptr::eq(one, other);
    let is_same_name = host(one).is_some() && host(one) == host(other);
    let may_be_same = match (restriction(one), address(other)) {
        (Some(is_ipv4), Some(address)) => is_ipv4 == address.is_ipv4(),
        _ => true,
    };
    is_host && (same_address || is_same_name && may_be_same)
}

/// Returns whether a target uses IPv4 alone (true), IPv6 alone (false), or any address.
fn restriction(one: &Measurement) -> Option<bool> {
    let family = match &one.target.kind {
        TargetKind::Tcp(tcp) => tcp.host.family,
        TargetKind::Tls(tls) => tls.host.family,
        TargetKind::Ping(ping) => ping.host.family,
        TargetKind::Http(http) => http.family,
        TargetKind::Dns(_) | TargetKind::Authority(_) => return None,
    };
    match family {
        AddressFamily::Ipv4 => Some(true),
        AddressFamily::Ipv6 => Some(false),
        AddressFamily::Any | AddressFamily::PreferIpv4 | AddressFamily::PreferIpv6 => None,
    }
}

fn address(one: &Measurement) -> Option<IpAddr> {
    one.fields.address.as_ref()?.parse().ok()
}

/// Returns whether the host of a failure serves over the other family of addresses what failed, or more: an open port
/// says nothing of the application behind it.
fn works_over_other_family(all: &[&Measurement], one: &Measurement) -> bool {
    let Some(HostName::Name(name)) = host(one) else { return false };
    let Some(own) = address(one) else { return false };
    all.iter().any(|other| {
        let serves = other.fields.ok && super::layer(other) >= super::layer(one);
        let is_other = address(other).is_some_and(|address| address.is_ipv4() != own.is_ipv4());
        serves && is_other && is_host(other, &name)
    })
}

/// Returns the family of addresses by which alone hosts fail that work over the other.
pub(super) fn lone_family(all: &[&Measurement], failures: &[usize]) -> Option<&'static str> {
    let families = failures.iter().map(|index| {
        let address = address(all[*index]).filter(|_| works_over_other_family(all, all[*index]))?;
        Some(if address.is_ipv4() { "IPv4" } else { "IPv6" })
    });
    let families: Vec<Option<&str>> = families.collect();
    let first = *families.first()?;
    first.filter(|_| families.iter().all(|other| *other == first))
}

/// Host of a target.
fn host(one: &Measurement) -> Option<HostName> {
    match &one.target.kind {
        TargetKind::Tcp(tcp) => Some(tcp.host.name.clone()),
        TargetKind::Tls(tls) => Some(tls.host.name.clone()),
        TargetKind::Ping(ping) => Some(ping.host.name.clone()),
        TargetKind::Http(http) => Some(match http.url.host()? {
            url::Host::Ipv4(address) => HostName::Address(address.into()),
            url::Host::Ipv6(address) => HostName::Address(address.into()),
            url::Host::Domain(domain) => HostName::Name(parse_name(domain)?),
        }),
        TargetKind::Dns(_) | TargetKind::Authority(_) => None,
    }
}

fn is_host(one: &Measurement, name: &Name) -> bool {
    host(one).is_some_and(|host| matches!(&host, HostName::Name(own) if own == name))
}

/// Name that a `dns` target asks for.
fn name_asked(one: &Measurement) -> Option<&Name> {
    match &one.target.kind {
        TargetKind::Dns(dns) => Some(&dns.name),
        _ => None,
    }
}
