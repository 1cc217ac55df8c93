//! Resolvers as the configuration spells them: `udp://192.0.2.53:53`, `tls://198.51.100.1:853#dns.example`.

use crate::source::Source;
use dnscribe_record::named_enum;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use url::{Host, Url};

named_enum! {
    /// Protocol to a resolver.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Protocol: "a protocol of DNS" {
        /// UDP, and TCP after a truncated response (RFC 1035, RFC 7766).
        Udp = "udp",
        /// TCP (RFC 7766).
        Tcp = "tcp",
        /// DNS over TLS (RFC 7858).
        Tls = "tls",
        /// DNS over HTTPS (RFC 8484).
        Https = "https",
        /// DNS over QUIC (RFC 9250).
        Quic = "quic",
    }
}

impl Protocol {
    const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https => 443,
        }
    }
}

/// A resolver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resolver {
    /// Configured name.
    pub name: String,
    /// Protocol by which it is asked.
    pub protocol: Protocol,
    /// Where it is.
    pub host: ResolverHost,
    /// Port.
    pub port: u16,
    /// Name for its certificate; the host where absent.
    pub tls_name: Option<String>,
    /// Path of DNS over HTTPS.
    pub path: String,
    /// Address of this host from which it is asked.
    pub source: Source,
}

/// Address or name of a resolver's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResolverHost {
    /// Address.
    Address(IpAddr),
    /// Name, which the system's resolver resolves.
    Name(String),
}

impl Resolver {
    /// Creates a resolver at a UDP port.
    #[must_use]
    pub fn udp(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            protocol: Protocol::Udp,
            host: ResolverHost::Address(address.ip()),
            port: address.port(),
            tls_name: None,
            path: String::new(),
            source: Source::default(),
        }
    }

    /// Name for SNI and the certificate.
    #[must_use]
    pub fn server_name(&self) -> String {
        match (&self.tls_name, &self.host) {
            (Some(name), _) | (None, ResolverHost::Name(name)) => name.clone(),
            (None, ResolverHost::Address(address)) => address.to_string(),
        }
    }

    /// Reads a resolver, which has no name yet.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let protocol = Protocol::from_str(url.scheme()).ok()?;
        let host = match url.host()? {
            Host::Ipv4(address) => ResolverHost::Address(address.into()),
            Host::Ipv6(address) => ResolverHost::Address(address.into()),
            // Of schemes that the URL standard does not know, every host is a text.
            Host::Domain(domain) => match domain.parse() {
                Ok(address) => ResolverHost::Address(address),
                Err(_) if matches!(protocol, Protocol::Udp | Protocol::Tcp) => return None,
                Err(_) => ResolverHost::Name(domain.to_owned()),
            },
        };
        let path = match (protocol, url.path()) {
            (Protocol::Https, "/") => "/dns-query",
            (Protocol::Https, path) => path,
            (_, "" | "/") => "",
            _ => return None,
        };
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let resolver = Self {
            name: String::new(),
            protocol,
            host,
            port: url.port().unwrap_or(protocol.default_port()),
            tls_name: url.fragment().map(str::to_owned),
            path: path.to_owned(),
            source: Source::default(),
        };
        let is_certifiable = ServerName::try_from(resolver.server_name()).is_ok();
        (is_bare && is_certifiable && resolver.port > 0).then_some(resolver)
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_protocol() {
        let read = |text: &str| Resolver::parse(text).unwrap();
        let udp = read("udp://192.0.2.53");
        assert_eq!((udp.protocol, udp.port), (Protocol::Udp, 53));
        assert_eq!(udp.host, ResolverHost::Address("192.0.2.53".parse().unwrap()));
        let tcp = read("tcp://[2001:db8::53]:5353");
        assert_eq!((tcp.protocol, tcp.port), (Protocol::Tcp, 5353));
        assert_eq!(tcp.host, ResolverHost::Address("2001:db8::53".parse().unwrap()));
        let tls = read("tls://198.51.100.1:853#dns.example");
        assert_eq!((tls.port, tls.server_name()), (853, "dns.example".to_owned()));
        let quic = read("quic://[2001:db8::53]#dns.example");
        assert_eq!((quic.protocol, quic.port), (Protocol::Quic, 853));
        let https = read("https://dns.example");
        assert_eq!((https.port, https.path.as_str()), (443, "/dns-query"));
        assert_eq!(https.server_name(), "dns.example");
    }

    #[test]
    fn refuses_what_is_no_resolver() {
        for text in [
            "192.0.2.53",
            "ftp://192.0.2.53",
            "udp://",
            "udp://dns.example",
            "tls://192.0.2.1/x",
            "https://me:secret@dns.example/",
            "udp://192.0.2.53:0",
            "tls://192.0.2.1#not%20a%20name",
            "tls://192.0.2.1#",
            "https://dns.example/dns-query?token=secret",
        ] {
            assert_eq!(Resolver::parse(text), None, "{text}");
        }
    }
}
