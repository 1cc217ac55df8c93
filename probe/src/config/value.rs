//! Values of targets: each is checked where it stands, so that an error has its line and column.

use crate::dns::{Resolver, ResolverHost, parse_name, type_name};
use crate::target::HostName;
use crate::verdict::Rule;
use dnscribe_config::value;
use dnscribe_config::value::{BadValue, read_bytes, show_bytes};
use dnscribe_dns::type_number;
use hickory_proto::rr::{Name, RecordType};
use std::cmp::Ordering;
use std::net::IpAddr;
use std::str::FromStr;
use url::Url;

value! {
    /// A name of DNS; U-labels become A-labels.
    #[derive(Clone, Debug, PartialEq, Eq)]
    DnsName(Name): "a name of DNS", "one such as shop.example.com"; read_name
}

value! {
    /// A record type: a mnemonic, or `TYPE65280` (RFC 3597, section 5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Qtype(RecordType): "a record type", "one such as AAAA or TYPE65280";
    |text| type_number(&text.to_uppercase()).map(RecordType::from);
    |record_type| type_name(*record_type).into_owned()
}

/// A resolver, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverUrl(pub Resolver);

/// Never repeats the text: a URL may contain a password or a token.
impl FromStr for ResolverUrl {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let problem = "not a resolver: give a URL without user and query such as udp://192.0.2.53:53, \
                       tcp://192.0.2.53, tls://198.51.100.1:853#dns.example or https://dns.example/dns-query";
        Resolver::parse(text).map(Self).ok_or_else(|| BadValue::unquoted(problem))
    }
}

impl ResolverUrl {
    /// Returns the resolver, named after its address. A path may contain a token, and is left out.
    #[must_use]
    pub fn named(&self) -> Resolver {
        let Resolver { protocol, host, port, .. } = &self.0;
        let host = match host {
            ResolverHost::Address(address) => address.to_string(),
            ResolverHost::Name(name) => name.clone(),
        };
        Resolver { name: format!("{}://{host}:{port}", protocol.name()), ..self.0.clone() }
    }
}

value! {
    /// Address or name of a host, and a port.
    #[derive(Clone, Debug, PartialEq, Eq)]
    HostPort((HostName, u16)): "a host with a port", "one such as 192.0.2.10:443, \"[2001:db8::10]:443\" or shop.example.com:443";
    |text| {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Some((read_host(bare.unwrap_or(host))?, port.parse().ok().filter(|port| *port > 0)?))
    }
}

value! {
    /// Address or name of a host.
    #[derive(Clone, Debug, PartialEq, Eq)]
    HostOnly(HostName): "a host", "an address or a name, such as 192.0.2.10"; read_host
}

value! {
    /// An answer in presentation format.
    #[derive(Clone, Debug, PartialEq, Eq)]
    Answer(String): "an answer", "one as a zone file has it, such as \"10 mail.example.com\"";
    |text| (!text.trim().is_empty()).then(|| text.to_owned())
}

value! {
    /// A number of further attempts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Retries(u32): "a number of further attempts", "a number from 0 to 10";
    |text| text.parse().ok().filter(|retries| *retries <= 10);
    ToString::to_string
}

/// A URL of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(pub Url);

impl FromStr for HttpUrl {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let url = Url::parse(text).ok().filter(|url| {
            let is_sendable = url.as_str().parse::<hyper::Uri>().is_ok();
            matches!(url.scheme(), "http" | "https") && url.host().is_some() && is_sendable
        });
        let problem = "not a URL of HTTP: give one such as https://shop.example.com/health";
        url.map(Self).ok_or_else(|| BadValue::unquoted(problem))
    }
}

value! {
    /// Method of a request.
    #[derive(Clone, Debug, PartialEq, Eq)]
    HttpMethod(hyper::Method): "a method", "GET, HEAD or POST";
    |text| text.parse().ok().filter(|method| {
        matches!(*method, hyper::Method::GET | hyper::Method::HEAD | hyper::Method::POST)
    });
    ToString::to_string
}

value! {
    /// Name of a header.
    #[derive(Clone, Debug, PartialEq, Eq)]
    HeaderName(hyper::header::HeaderName): "the name of a header", "one such as Accept";
    |text| text.parse().ok()
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Value of a header, which is never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub hyper::header::HeaderValue);

impl FromStr for HeaderText {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let mut value = hyper::header::HeaderValue::from_str(text).map_err(|_| {
            BadValue::unquoted("not the value of a header: give visible characters")
        })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

value! {
    /// Size limit of a body in bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    BodyBytes(u64): "a size limit", "at most 64MiB, such as 1MiB";
    |text| read_bytes(text).filter(|size| *size <= 64 << 20);
    |size| show_bytes(*size)
}

value! {
    /// Protocol that begins a connection before TLS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    StartTls(()): "a protocol with STARTTLS", "smtp"; |text| (text == "smtp").then_some(())
}

value! {
    /// A loss in percent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Percent(u8): "a percentage", "a number from 0 to 100";
    |text| text.parse().ok().filter(|percent| *percent <= 100);
    ToString::to_string
}

value! {
    /// A rule of probes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    RuleName(Rule): "a rule of probes", "one such as resolver_disagreement; docs/runbooks/README.md lists them";
    |text| Rule::ALL.into_iter().find(|rule| rule.name() == text)
}

value! {
    /// A distance in standard deviations.
    #[derive(Clone, Copy, Debug, PartialEq)]
    ZScore(f64): "a distance in standard deviations", "a number above 1, such as 6";
    |text| text.parse().ok().filter(|score: &f64| *score > 1.0 && score.is_finite());
    ToString::to_string
}

value! {
    /// A share: more than 0, at most 1.
    #[derive(Clone, Copy, Debug, PartialEq)]
    Share(f64): "a share", "a number above 0, at most 1, such as 0.5";
    |text| text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    ToString::to_string
}

fn read_name(text: &str) -> Option<Name> {
    let ascii = if text.is_ascii() { text.to_owned() } else { idna::domain_to_ascii(text).ok()? };
    parse_name(&ascii)
}

fn read_host(text: &str) -> Option<HostName> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(HostName::Address(address));
    }
    // A name whose last label is a number is a mistyped address.
    let last = text.trim_end_matches('.').rsplit('.').next()?;
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let name = read_name(text).filter(|_| !is_number)?;
    // A URL, or a name of a service, is a name of DNS, and none of a host.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let is_host = name.iter().all(|label| !label.starts_with(b"-") && label.iter().all(is_plain));
    is_host.then_some(HostName::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        let read = |text: &str| text.parse::<HostPort>().map(|host| host.0).ok();
        let address = |text: &str| HostName::Address(text.parse().unwrap());
        assert_eq!(read("192.0.2.10:443"), Some((address("192.0.2.10"), 443)));
        assert_eq!(read("[2001:db8::10]:443"), Some((address("2001:db8::10"), 443)));
        let name = Name::from_ascii("shop.example.com.").unwrap();
        assert_eq!(read("shop.example.com:443"), Some((HostName::Name(name), 443)));
        for wrong in [
            "192.0.2.10",
            "192.0.2.300:443",
            ":443",
            "x:",
            "x:0",
            "x:65536",
            "https://shop.example.com:443",
            "-shop.example:443",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_become_ascii() {
        let name = "Bücher.example".parse::<DnsName>().unwrap().0;
        assert_eq!(name.to_ascii(), "xn--bcher-kva.example.");
        assert!("a..b".parse::<DnsName>().is_err());
    }

    #[test]
    fn every_type_has_its_mnemonic() {
        for name in ["LOC", "URI", "SPF", "RP", "APL", "KX", "DLV", "EUI48", "L32", "TYPE65280"] {
            assert_eq!(name.parse::<Qtype>().unwrap().to_string(), name);
        }
    }
}
