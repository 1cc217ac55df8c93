//! The name that a target has where the configuration gives it none.

use super::{AddressFamily, HttpTarget, TargetKind, TlsTarget};
use crate::dns::{presentation, type_name};
use hyper::Method;
use url::{Position, Url};

impl TargetKind {
    /// Names what is measured, with the settings that usually tell targets apart: `shop.example.com A`,
    /// `shop.example.com:443 ipv6`, `https://shop.example.com/health via 192.0.2.10:443`.
    ///
    /// Never contains a header, a body, or the user, password, query or fragment of a URL: any of these may be secret.
    /// Targets that differ in such settings alone have the same name here, and the configuration must name them.
    #[must_use]
    pub fn default_name(&self) -> String {
        match self {
            Self::Dns(dns) => format!("{} {}", presentation(&dns.name), type_name(dns.record_type)),
            Self::Authority(authority) => match authority.port {
                53 => presentation(&authority.zone),
                port => format!("{}:{port}", presentation(&authority.zone)),
            },
            Self::Tcp(tcp) => with_family(tcp.host.to_string(), tcp.host.family),
            Self::Tls(TlsTarget { host, server_name, .. }) => {
                with_family(format!("{host} {server_name}"), host.family)
            }
            Self::Http(http) => name_http(http),
            Self::Ping(ping) => with_family(ping.host.name.to_string(), ping.host.family),
        }
    }
}

fn name_http(http: &HttpTarget) -> String {
    let url = without_secrets(&http.url);
    let mut name = match http.method {
        Method::GET => url,
        ref method => format!("{method} {url}"),
    };
    if let Some(host) = &http.connect_to {
        name = format!("{name} via {host}");
    }
    with_family(name, http.family)
}

/// Returns scheme, host, port and path of a URL.
fn without_secrets(url: &Url) -> String {
    let head = &url[..Position::BeforeUsername];
    format!("{head}{}", &url[Position::BeforeHost..Position::AfterPath])
}

fn with_family(name: String, family: AddressFamily) -> String {
    match family {
        AddressFamily::Any => name,
        family => format!("{name} {}", family.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_port_and_path_of_a_url_are_shown() {
        for (url, shown) in [
            (
                "https://me:secret@shop.example:8443/a/b?key=secret#secret",
                "https://shop.example:8443/a/b",
            ),
            ("http://[2001:db8::1]/?secret", "http://[2001:db8::1]/"),
            ("http://secret@192.0.2.1", "http://192.0.2.1/"),
        ] {
            assert_eq!(without_secrets(&url.parse().unwrap()), shown);
        }
    }
}
