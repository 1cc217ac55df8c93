//! Targets: what is measured, how often, and what counts as good.

mod answers;
mod name;

pub use crate::dns::AddressFamily;
pub use answers::ExpectedAnswers;

use crate::client_certificate::ClientCertificate;
use crate::dns::{Resolver, parse_name, presentation};
use crate::source::Source;
use dnscribe_config::value;
use dnscribe_config::value::LabelName;
use dnscribe_record::named_enum;
use hickory_proto::rr::{Name, RecordType};
use hyper::header::HeaderName;
use hyper::{HeaderMap, Method};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

named_enum! {
    /// Hosts that are contacted for a name: its addresses, and its zone's nameservers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Contact: "a choice of hosts" {
        /// None: only resolvers are asked.
        #[default]
        None = "none",
        /// Hosts with addresses of the public Internet.
        Public = "public",
        /// All.
        All = "all",
    }
}

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
    /// Text that names the target in records, metrics and alerts: unique within the service.
    pub name: String,
    /// Time between two rounds.
    pub interval: Duration,
    /// Time limit of a round.
    pub timeout: Duration,
    /// Number of further attempts of a round that gets no response.
    pub retries: u32,
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
        let parse = |text: &str| parse_name(text).filter(|name| !name.is_root());
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
    Http(Box<HttpTarget>),
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

    /// Has everything measured from an address of this host: hosts, and the resolvers that are asked.
    #[must_use]
    pub fn with_source(mut self, source: Source) -> Self {
        let resolver = |one: &mut Arc<Resolver>| Arc::make_mut(one).source = source;
        let host = |host: &mut Host| {
            host.source = source;
            host.resolver.iter_mut().for_each(resolver);
        };
        match &mut self {
            Self::Dns(dns) => dns.resolvers.iter_mut().for_each(resolver),
            Self::Authority(authority) => resolver(&mut authority.resolver),
            Self::Tcp(tcp) => host(&mut tcp.host),
            Self::Tls(tls) => host(&mut tls.host),
            Self::Ping(ping) => host(&mut ping.host),
            Self::Http(http) => {
                http.source = source;
                http.resolver.iter_mut().for_each(resolver);
                http.connect_to.iter_mut().for_each(host);
            }
        }
        self
    }

    /// Address of this host from which everything is measured.
    #[must_use]
    pub fn source(&self) -> Source {
        match self {
            Self::Dns(dns) => dns.resolvers.first().map(|one| one.source).unwrap_or_default(),
            Self::Authority(authority) => authority.resolver.source,
            Self::Tcp(tcp) => tcp.host.source,
            Self::Tls(tls) => tls.host.source,
            Self::Http(http) => http.source,
            Self::Ping(ping) => ping.host.source,
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
    /// Whether the server is asked to recurse (RD).
    pub recursion_desired: bool,
    /// Answers that are good; any where absent.
    pub expected: Option<ExpectedAnswers>,
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
    /// Nameservers that are asked in place of those that the parent and the zone name; none where these are.
    pub servers: Vec<HostName>,
    /// Whether nameservers at special addresses are left out ([`crate::special`]).
    pub public_only: bool,
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
    /// Which of the name's addresses are used.
    pub family: AddressFamily,
    /// Address of this host from which it is reached.
    pub source: Source,
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
    pub fn of_url(
        url: &Url,
        resolver: Option<&Arc<Resolver>>,
        family: AddressFamily,
        source: Source,
    ) -> Option<Self> {
        let name = match url.host()? {
            url::Host::Ipv4(address) => HostName::Address(address.into()),
            url::Host::Ipv6(address) => HostName::Address(address.into()),
            url::Host::Domain(domain) => HostName::Name(parse_name(domain)?),
        };
        let port = url.port_or_known_default()?;
        Some(Self { name, port, resolver: resolver.cloned(), family, source })
    }
}

/// A TCP port that must accept a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTarget {
    /// Host and port.
    pub host: Host,
    /// What is said once connected.
    pub query_response: Vec<DialogueStep>,
}

/// A step of a dialogue with a server, in lines: what it must say, and then what is sent to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogueStep {
    /// Pattern that a line must contain; lines before it are skipped.
    pub expect: Option<Pattern>,
    /// Labels of the result. `${1}` in a value is what the first group of `expect` has matched.
    pub labels: Vec<(LabelName, String)>,
    /// Line that is sent. `${1}` is what the first group of `expect` has matched.
    pub send: Option<SecretText>,
    /// Whether TLS begins after this step.
    pub starttls: bool,
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
    /// What is said: before the handshake up to a step with `starttls`, the rest after it.
    pub query_response: Vec<DialogueStep>,
    /// Whether a certificate that is not valid is a failure.
    pub verify: bool,
    /// Certificate with which the probe identifies itself.
    pub client: Option<ClientCertificate>,
}

value! {
    /// A regular expression.
    #[derive(Clone, Debug)]
    Pattern(regex::Regex): "a regular expression", "one such as \"status.*ok\"";
    |text| regex::Regex::new(text).ok()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Text that is sent and never shown: a password, or the body of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl FromStr for SecretText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// A URL that must answer as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// URL with scheme http or https, without user and password.
    pub url: Url,
    /// GET, HEAD or POST.
    pub method: Method,
    /// Body of a POST.
    pub request_body: Option<SecretText>,
    /// Headers for the URL's own origin: those configured, and `Authorization` if the URL had a user.
    /// Their values are marked as sensitive, which keeps them out of `Debug`.
    pub headers: HeaderMap,
    /// Resolver of the host's name; the system's where absent.
    pub resolver: Option<Arc<Resolver>>,
    /// Which of the name's addresses are used, also after redirects.
    pub family: AddressFamily,
    /// Address of this host from which hosts are reached.
    pub source: Source,
    /// Host to connect to for the URL's own origin, in place of the URL's.
    pub connect_to: Option<Host>,
    /// Name for SNI and for the certificate of the URL's own origin, in place of the URL's.
    pub server_name: Option<String>,
    /// Whether a certificate that is not valid is a failure.
    pub verify: bool,
    /// Certificate with which the probe identifies itself to the URL's own origin.
    pub client: Option<ClientCertificate>,
    /// Statuses that are good.
    pub status: Vec<u16>,
    /// Pattern that the body must contain.
    pub body: Option<Pattern>,
    /// Pattern that the body must not contain.
    pub body_not: Option<Pattern>,
    /// Patterns that headers of the response must contain.
    pub response_headers: Vec<(HeaderName, Pattern)>,
    /// Patterns that headers of the response must not contain.
    pub response_headers_not: Vec<(HeaderName, Pattern)>,
    /// Patterns of headers that the response may lack.
    pub response_headers_if_present: Vec<(HeaderName, Pattern)>,
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

/// A host that must answer echo requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingTarget {
    /// Host; its port is 0.
    pub host: Host,
    /// Number of echo requests of a round.
    pub count: u32,
    /// Loss in percent from which the target is not good.
    pub max_loss_percent: u8,
    /// Largest number of hops (TTL of IPv4, hop limit of IPv6); the system's where absent.
    pub ttl: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_chosen_or_preferred() {
        let all = ["2001:db8::1", "192.0.2.1", "2001:db8::2"].map(|text| text.parse().unwrap());
        let selected = |family: AddressFamily| {
            let addresses = family.select(all.to_vec());
            addresses
                .iter()
                .map(|address| if address.is_ipv4() { '4' } else { '6' })
                .collect::<String>()
        };
        let expected = ["646", "4", "66", "466", "664"];
        assert_eq!(AddressFamily::ALL.map(selected), expected.map(str::to_owned));
    }
}
