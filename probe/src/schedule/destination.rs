//! Where a target's rounds go, and whether they were reached.

use crate::dns::ResolverHost;
use crate::failure::SOURCE_ADDRESS;
use crate::measure::Round;
use crate::target::{Host, Target, TargetKind};
use dnscribe_record::ProbeFields;
use url::Url;

/// Where a round goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Address or name of the host, whose load is limited.
    pub host: String,
    /// Host, port and protocol, which can be unreachable alone.
    pub endpoint: String,
}

/// Whether a round reached an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answered, rightly or wrongly.
    Reached,
    /// It refused, did not answer in time, or there is no way to it.
    Unreached,
    /// It was not asked, because its address could not be found.
    Unknown,
}

/// Returns the destinations of a target: the resolvers of `dns`, else one.
pub(super) fn of_target(target: &Target) -> Vec<Destination> {
    let one =
        |host: &Host| vec![Destination { host: host.name.to_string(), endpoint: host.to_string() }];
    match &target.kind {
        TargetKind::Dns(dns) => {
            let of_resolver = |resolver: &std::sync::Arc<crate::dns::Resolver>| {
                let host = match &resolver.host {
                    ResolverHost::Address(address) => address.to_string(),
                    ResolverHost::Name(name) => name.clone(),
                };
                let endpoint = format!("{}://{host}:{}", resolver.protocol.name(), resolver.port);
                Destination { host, endpoint }
            };
            dns.resolvers.iter().map(of_resolver).collect()
        }
        TargetKind::Authority(authority) => {
            // The zone's nameservers, which only the round itself finds.
            let host = format!("zone {}", crate::dns::presentation(&authority.zone));
            vec![Destination { endpoint: host.clone(), host }]
        }
        TargetKind::Tcp(tcp) => one(&tcp.host),
        TargetKind::Tls(tls) => one(&tls.host),
        TargetKind::Ping(ping) => {
            let host = ping.host.name.to_string();
            vec![Destination { endpoint: format!("icmp {host}"), host }]
        }
        TargetKind::Http(http) => match &http.connect_to {
            Some(host) => one(host),
            None => vec![of_url(&http.url)],
        },
    }
}

fn of_url(url: &Url) -> Destination {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(0);
    let endpoint = match host.parse() {
        Ok(address) => std::net::SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    };
    Destination { host, endpoint }
}

/// Returns for each destination of a round's target whether it was reached.
#[must_use]
pub fn outcomes(round: &Round) -> Vec<Reach> {
    let TargetKind::Dns(dns) = &round.target.kind else {
        // Several addresses or nameservers: one that answers is enough.
        let all: Vec<_> = round.found.iter().map(reach).collect();
        let best = [Reach::Reached, Reach::Unreached].into_iter().find(|one| all.contains(one));
        return vec![best.unwrap_or(Reach::Unknown)];
    };
    let of_resolver = |name: &str| {
        let mut found = round.found.iter();
        found.find(|fields| fields.resolver.as_deref() == Some(name)).map(reach)
    };
    let names = dns.resolvers.iter().map(|resolver| resolver.name.as_str());
    names.map(|name| of_resolver(name).unwrap_or(Reach::Unknown)).collect()
}

fn reach(fields: &ProbeFields) -> Reach {
    let Some(error) = &fields.error else { return Reach::Reached };
    match (error.stage.as_str(), error.reason.as_str()) {
        (_, SOURCE_ADDRESS) => Reach::Unknown,
        // `refused` is the response code at stage `dns`.
        (_, "timeout")
        | ("connect", _)
        | (
            "dns",
            "port_unreachable"
            | "host_unreachable"
            | "network_unreachable"
            | "forbidden"
            | "parent_unreachable",
        ) => Reach::Unreached,
        ("resolve", _) => Reach::Unknown,
        _ => Reach::Reached,
    }
}
