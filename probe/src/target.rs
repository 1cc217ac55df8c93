//! Targets: what is measured, how often, and what counts as good.

use crate::dns::{Resolver, presentation};
use hickory_proto::rr::{Name, RecordType};
use hyper::{HeaderMap, Method};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// A service: a name that people know, with the targets that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name, unique in a configuration.
    pub name: Arc<str>,
    /// Targets, in the order of the configuration.
    pub targets: Vec<Arc<Target>>,
}

/// A target of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the service.
    pub service: Arc<str>,
    /// Text that names the target in records: unique within kind and service.
    pub name: String,
    /// Time between two rounds.
    pub interval: Duration,
    /// Time limit of a round.
    pub timeout: Duration,
    /// What is measured.
    pub kind: TargetKind,
}

impl Target {
    /// Name that is asked for or connected to; `None` for a host that is given by its address.
    #[must_use]
    pub fn name_asked(&self) -> Option<Name> {
        let host = |host: &Host| match &host.name {
            HostName::Name(name) => Some(name.clone()),
            HostName::Address(_) => None,
        };
        let parse = |text: &str| {
            let mut name = Name::from_ascii(text).ok()?;
            name.set_fqdn(true);
            (!name.is_root()).then_some(name)
        };
        match &self.kind {
            TargetKind::Dns(dns) => Some(dns.name.clone()),
            TargetKind::Authority(authority) => Some(authority.zone.clone()),
            TargetKind::Tcp(tcp) => host(&tcp.host),
            TargetKind::Tls(tls) => parse(&tls.server_name),
            TargetKind::Http(http) => http.url.domain().and_then(parse),
            TargetKind::Ping(ping) => host(&ping.host),
        }
    }
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A name at resolvers.
    Dns(DnsTarget),
    /// A zone at its nameservers.
    Authority(AuthorityTarget),
    /// A TCP port.
    Tcp(TcpTarget),
    /// A TLS server.
    Tls(TlsTarget),
    /// A URL.
    Http(HttpTarget),
    /// A host, with ICMP echo requests.
    Ping(PingTarget),
}

impl TargetKind {
    /// Name of the kind in records and configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Authority(_) => "authority",
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Ping(_) => "ping",
        }
    }
}

/// A name that is asked for at every resolver in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTarget {
    /// Name asked for.
    pub name: Name,
    /// Type asked for.
    pub record_type: RecordType,
    /// Resolvers that are asked.
    pub resolvers: Vec<Arc<Resolver>>,
    /// Response codes that are good, by their names.
    pub rcodes: Vec<String>,
    /// Whether the answer is validated with DNSSEC.
    pub dnssec: bool,
    /// Whether the answer must validate as secure.
    pub require_secure: bool,
}

/// A zone that is asked for at every nameserver, by every address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityTarget {
    /// The zone.
    pub zone: Name,
    /// Resolver that finds the parent's servers and addresses outside the zone.
    pub resolver: Arc<Resolver>,
    /// Largest difference between serial numbers that is good.
    pub max_serial_lag: u32,
    /// Port of the nameservers.
    pub port: u16,
}

/// A host by address, or by name and the resolver that resolves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Address or name.
    pub name: HostName,
    /// Port; 0 where there is none.
    pub port: u16,
    /// Resolver of the name; the system's where absent.
    pub resolver: Option<Arc<Resolver>>,
}

/// Address or name of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// Address.
    Address(IpAddr),
    /// Name, to be resolved for each measurement.
    Name(Name),
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(&presentation(name)),
        }
    }
}

/// Writes `192.0.2.10:443`, `[2001:db8::10]:443` or `shop.example.com:443`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            HostName::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            HostName::Name(_) => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl Host {
    /// Returns host and port of a URL, or nothing if it has none.
    #[must_use]
    pub fn of_url(url: &Url, resolver: Option<&Arc<Resolver>>) -> Option<Self> {
        let name = match url.host()? {
            url::Host::Ipv4(address) => HostName::Address(address.into()),
            url::Host::Ipv6(address) => HostName::Address(address.into()),
            url::Host::Domain(domain) => {
                let mut name = Name::from_ascii(domain).ok()?;
                name.set_fqdn(true);
                HostName::Name(name)
            }
        };
        Some(Self { name, port: url.port_or_known_default()?, resolver: resolver.cloned() })
    }
}

/// A TCP port that must accept a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTarget {
    /// Host and port.
    pub host: Host,
}

/// A TLS server that must have a certificate that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTarget {
    /// Host and port.
    pub host: Host,
    /// Name for SNI and for the certificate.
    pub server_name: String,
    /// Application protocols offered, by preference.
    pub alpn: Vec<String>,
    /// Whether the connection begins as SMTP and changes with STARTTLS (RFC 3207).
    pub starttls: bool,
}

/// A URL that must answer as expected.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    /// URL with scheme http or https, without user and password.
    pub url: Url,
    /// GET or HEAD.
    pub method: Method,
    /// Headers for the URL's own origin: those configured, and `Authorization` if the URL had a user.
    /// Their values are marked as sensitive, which keeps them out of `Debug`.
    pub headers: HeaderMap,
    /// Resolver of the host's name; the system's where absent.
    pub resolver: Option<Arc<Resolver>>,
    /// Statuses that are good.
    pub status: Vec<u16>,
    /// Pattern that the body must contain.
    pub body: Option<regex::Regex>,
    /// Largest number of bytes of the body that are read.
    pub max_body_bytes: u64,
    /// Largest number of redirects that are followed.
    pub max_redirects: u32,
    /// Whether redirects may lead to special addresses (RFC 6890: private, loopback, link-local, ...)
    /// other than those of the URL's own host.
    pub redirect_to_private: bool,
    /// Whether redirects may lead from https to http.
    pub redirect_to_insecure: bool,
}

impl PartialEq for HttpTarget {
    fn eq(&self, other: &Self) -> bool {
        let pattern = |target: &Self| target.body.as_ref().map(|body| body.as_str().to_owned());
        pattern(self) == pattern(other)
            && self.url == other.url
            && self.method == other.method
            && self.headers == other.headers
            && self.resolver == other.resolver
            && self.status == other.status
            && self.max_body_bytes == other.max_body_bytes
            && self.max_redirects == other.max_redirects
            && self.redirect_to_insecure == other.redirect_to_insecure
            && self.redirect_to_private == other.redirect_to_private
    }
}

impl Eq for HttpTarget {}

/// A host that must answer echo requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingTarget {
    /// Host; its port is 0.
    pub host: Host,
    /// Number of echo requests of a round.
    pub count: u32,
    /// Loss in percent from which the target is not good.
    pub max_loss_percent: u8,
}
