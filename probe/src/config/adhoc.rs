//! Targets of names that no service has, with the resolvers and defaults of the configuration.

use super::Layer;
use super::layer::{
    AuthorityLayer, DnsLayer, HttpLayer, PingLayer, ServiceLayer, TargetLayer, TcpLayer, TlsLayer,
};
use super::services;
use super::value::{DnsName, HostOnly, HostPort, HttpUrl, Qtype, ResolverUrl};
use crate::dns::{Resolver, parse_name, presentation};
use crate::target::{Contact, HostName, Service, TargetKind};
use dnscribe_config::ConfigError;
use dnscribe_dns::registrable_domain;
use hickory_proto::rr::{Name, RecordType};
use std::net::IpAddr;
use std::sync::Arc;

/// Least and greatest HTTP status of a server that works: a page may be missing or need a login.
const WORKING: std::ops::Range<u16> = 100..500;

/// Builds targets of any name.
#[derive(Clone, Debug, Default)]
pub struct AdHoc(Layer);

impl AdHoc {
    pub(super) fn new(layer: &Layer) -> Self {
        Self(Layer {
            resolvers: layer.resolvers.clone(),
            defaults: layer.defaults.clone(),
            ..Layer::default()
        })
    }

    /// Adds a resolver to those that are asked.
    pub fn add_resolver(&mut self, resolver: &Resolver) {
        // Without any, those of the system are asked; they stay.
        for one in self.resolvers().iter().map(AsRef::as_ref).chain([resolver]) {
            let name = dnscribe_config::value::Name(one.name.clone());
            self.0.resolvers.entry(name).or_insert_with(|| ResolverUrl(one.clone()));
        }
    }

    /// Returns all resolvers.
    #[must_use]
    pub fn resolvers(&self) -> Vec<Arc<Resolver>> {
        // Without a resolver, no name can be asked for.
        let service = self.names(&Name::root(), Contact::None).ok();
        let target = service.and_then(|service| service.targets.into_iter().next());
        match target.as_ref().map(|target| &target.kind) {
            Some(TargetKind::Dns(dns)) => dns.resolvers.clone(),
            _ => Vec::new(),
        }
    }

    /// Returns the targets of a name in DNS: its addresses at every resolver, and its zone where nameservers may be
    /// contacted.
    ///
    /// # Errors
    /// There is no resolver.
    pub fn names(&self, name: &Name, contact: Contact) -> Result<Service, ConfigError> {
        let dns = |record_type| TargetLayer {
            dns: Some(DnsLayer {
                name: Some(DnsName(name.clone())),
                r#type: Some(Qtype(record_type)),
                ..DnsLayer::default()
            }),
            ..TargetLayer::default()
        };
        let mut targets = vec![dns(RecordType::A), dns(RecordType::AAAA)];
        let text = presentation(name);
        let zone = registrable_domain(&text).and_then(parse_name);
        let zone = zone.filter(|_| contact != Contact::None);
        targets.extend(zone.map(|zone| {
            let authority =
                AuthorityLayer { zone: Some(DnsName(zone)), ..AuthorityLayer::default() };
            TargetLayer { authority: Some(authority), ..TargetLayer::default() }
        }));
        let mut service = self.service(name, targets)?;
        for target in &mut service.targets {
            if let TargetKind::Authority(authority) = &mut Arc::make_mut(target).kind {
                authority.public_only = contact != Contact::All;
            }
        }
        Ok(service)
    }

    /// Returns the ports of web servers at addresses of a name, and the addresses themselves.
    ///
    /// # Errors
    /// As [`Self::names`].
    pub fn ports(&self, name: &Name, addresses: &[IpAddr]) -> Result<Service, ConfigError> {
        let targets = addresses.iter().flat_map(|address| {
            let tcp = |port| TargetLayer {
                tcp: Some(TcpLayer {
                    address: Some(HostPort((HostName::Address(*address), port))),
                    ..TcpLayer::default()
                }),
                ..TargetLayer::default()
            };
            let address = Some(HostOnly(HostName::Address(*address)));
            let ping = PingLayer { address, ..PingLayer::default() };
            [tcp(443), tcp(80), TargetLayer { ping: Some(ping), ..TargetLayer::default() }]
        });
        self.service(name, targets.collect())
    }

    /// Returns the web server of a name: with TLS at each address, or without. The page is requested at the first
    /// address, whatever the name has meanwhile.
    ///
    /// # Errors
    /// As [`Self::names`].
    pub fn web(
        &self,
        name: &Name,
        addresses: &[IpAddr],
        secure: bool,
    ) -> Result<Service, ConfigError> {
        let text = presentation(name);
        let tls = addresses.iter().filter(|_| secure).map(|address| TargetLayer {
            tls: Some(TlsLayer {
                address: Some(HostPort((HostName::Address(*address), 443))),
                server_name: Some(dnscribe_config::value::Name(text.clone())),
                ..TlsLayer::default()
            }),
            ..TargetLayer::default()
        });
        let scheme = if secure { "https" } else { "http" };
        let resolver = self.resolvers().first().map(|one| one.name.clone());
        let http = format!("{scheme}://{text}/").parse::<HttpUrl>().ok().map(|url| TargetLayer {
            http: Some(HttpLayer {
                url: Some(url),
                status: Some(WORKING.collect()),
                resolver: resolver.map(dnscribe_config::value::Name),
                connect_to: addresses.first().map(|address| {
                    HostPort((HostName::Address(*address), if secure { 443 } else { 80 }))
                }),
                ..HttpLayer::default()
            }),
            ..TargetLayer::default()
        });
        self.service(name, tls.chain(http).collect())
    }

    fn service(&self, name: &Name, targets: Vec<TargetLayer>) -> Result<Service, ConfigError> {
        let name = dnscribe_config::value::Name(presentation(name));
        let targets = targets.into_iter().map(Into::into).collect();
        let service = ServiceLayer { name: Some(name.clone()), targets: Some(targets) };
        let layer = Layer { services: Some(vec![service.into()]), ..self.0.clone() };
        let empty = Service { name: name.0.into(), targets: Vec::new() };
        Ok(services::resolve(&layer, None)?.pop().unwrap_or(empty))
    }
}
