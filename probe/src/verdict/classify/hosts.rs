//! Hosts: certificates, services, and the path to them.

use super::{Assigned, OF_NAMES, concerns, has_no_route, is_about_name, is_silence};
use crate::dns::parse_name;
use crate::target::{AddressFamily, HostName, TargetKind};
use crate::verdict::rule::Cause;
use crate::verdict::state::Measurement;
use hickory_proto::rr::{Name, RecordType};
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
    if let Some(cause) = explained_by(all, one, assigned) {
        return assigned.follow(cause, &[index]);
    }
    let (_, reason) = one.error();
    let is_known = || {
        let is_own = |other: &Measurement| name_asked(other).is_some_and(|name| is_host(one, name));
        all.iter().any(|other| other.fields.ok && is_own(other))
    };
    let cause = if has_no_route(one) {
        Cause::Path
    } else if reason == "bogus" {
        Cause::Dnssec
    } else if !is_about_name(reason) || is_known() {
        // Where the targets' resolvers know the name, the one that this target uses does not.
        Cause::Resolver
    } else {
        Cause::Dns
    };
    assigned.own(cause, &[index]);
}

/// Returns the cause of other failures by which the name of a host was not resolved: one of the name's zone, or of the
/// resolver that was asked.
fn explained_by(all: &[&Measurement], one: &Measurement, assigned: &Assigned) -> Option<Cause> {
    let HostName::Name(name) = host(one)? else { return None };
    let (_, reason) = one.error();
    let mut asked = all.iter().filter(|other| name_asked(other) == Some(&name)).peekable();
    // Where all resolvers know a name, its zone is good enough.
    let is_in_doubt = asked.peek().is_none() || asked.any(|other| !other.fields.ok);
    // Resolvers pass on that nameservers refuse or do not answer.
    let is_of_name = is_about_name(reason) || matches!(reason, "refused" | "timeout");
    let explains = |cause: Cause, other: &Measurement| {
        let is_same_name = name_asked(other) == Some(&name);
        let is_same_resolver = one.fields.resolver.is_some()
            && one.fields.resolver == other.fields.resolver
            && (other.fields.kind == "dns" || other.error().0 == "resolve");
        match cause {
            Cause::Resolver => is_same_name || is_same_resolver && !is_about_name(reason),
            Cause::Path => is_silence(reason) && (is_same_name || is_same_resolver),
            _ => is_in_doubt && is_of_name && concerns(all, other, &name),
        }
    };
    let mut causes = OF_NAMES.into_iter();
    causes.find(|cause| assigned.all_of(*cause).any(|place| explains(*cause, all[place])))
}

/// Assigns the loss of echo requests or replies.
fn assign_loss(all: &[&Measurement], index: usize, assigned: &mut Assigned) {
    let one = all[index];
    if let Some(cause) = misled_by(all, one, assigned) {
        return assigned.follow(cause, &[index]);
    }
    // Other addresses of a name may be those of other hosts.
    let is_peer = |other: &Measurement| {
        is_same_host(one, other) && one.fields.address == other.fields.address
    };
    let peers = all.iter().enumerate().filter(|(_, other)| is_peer(other));
    let mut causes = peers.clone().filter_map(|(peer, _)| assigned.cause_of(peer));
    let cause = causes.find(|cause| matches!(cause, Cause::Hosting | Cause::Certificate));
    let is_filtered = one.fields.received == Some(0);
    match cause {
        Some(cause) if is_filtered => assigned.follow(cause, &[index]),
        // ICMP is often filtered: a host that answers something else is not lost.
        None if is_filtered && peers.clone().any(|(_, other)| answers(other)) => {}
        _ => assigned.own(Cause::Path, &[index]),
    }
}

/// Returns the cause by which a host was reached at a wrong address: a resolver that lies, or answers that
/// have changed without announcement while the known addresses work.
fn misled_by(all: &[&Measurement], one: &Measurement, assigned: &Assigned) -> Option<Cause> {
    let HostName::Name(name) = host(one)? else { return None };
    let found = address(one)?;
    let record_type = if found.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    let leads_here = |other: &Measurement| {
        one.fields.address.as_ref().is_some_and(|address| other.fields.answers.contains(address))
    };
    let is_own = |other: &Measurement| {
        let is_same = one.fields.resolver.is_some() && one.fields.resolver == other.fields.resolver;
        is_same
            && matches!(&other.target.kind, TargetKind::Dns(dns) if dns.record_type == record_type)
    };
    let asked = all.iter().enumerate().filter(|(_, other)| name_asked(other) == Some(&name));
    let asked: Vec<(&Measurement, Option<Cause>)> =
        asked.map(|(place, other)| (*other, assigned.cause_of(place))).collect();
    // An answer that is good leads to the address as well, or the resolver that was asked gives good ones.
    let is_right = |(other, cause): &(&Measurement, Option<Cause>)| {
        other.fields.ok && cause.is_none() && (leads_here(other) || is_own(other))
    };
    if asked.iter().any(is_right) {
        return None;
    }
    asked.iter().filter(|(other, _)| leads_here(other)).find_map(|(other, cause)| match cause {
        Some(Cause::Dns) if other.fields.changed == Some(true) => Some(Cause::Dns),
        Some(Cause::Resolver) => Some(Cause::Resolver),
        _ => None,
    })
}

/// Returns whether the host of a connection that timed out answers something else.
fn is_reached(all: &[&Measurement], one: &Measurement) -> bool {
    all.iter().any(|other| is_same_host(one, other) && answers(other))
}

/// Returns whether a host has answered at all.
fn answers(one: &Measurement) -> bool {
    match (one.fields.kind.as_str(), one.error()) {
        ("ping", _) => one.fields.received.is_some_and(|received| received > 0) && one.fields.ok,
        (_, ("" | "tls" | "http", _)) => true,
        (_, ("connect", reason)) => matches!(
            reason,
            "refused" | "reset" | "closed" | "response_mismatch" | "response_timeout"
        ),
        _ => false,
    }
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
