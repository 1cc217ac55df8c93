//! Masks the target of a measurement: names and addresses in it, by the kind of the target.

use super::MaskingMethod;
use super::field_masker::FieldMasker;
use super::key::Domain;
use std::net::IpAddr;

impl FieldMasker<'_> {
    /// Returns the masked target of a measurement of this kind. Parts that may not be kept are left out of it.
    pub(super) fn probe_target(&self, kind: Option<&str>, text: &str) -> Option<String> {
        let mask = self.mask;
        let strict = mask.qname.max(mask.server);
        if strict == MaskingMethod::Keep {
            return Some(text.to_owned());
        }
        match kind? {
            "dns" => {
                let (name, record_type) = text.rsplit_once(' ')?;
                let name = self.name(mask.qname, name);
                Some(
                    name.map_or_else(|| record_type.into(), |name| format!("{name} {record_type}")),
                )
            }
            "authority" => self.name(mask.qname, text).map(Into::into),
            "ping" => self.probe_host(text),
            "tcp" => self.host_with_port(text),
            "tls" => {
                let (host, server_name) = text.split_once(' ').unwrap_or((text, ""));
                let server_name = self.name(mask.qname, server_name);
                let parts = [self.host_with_port(host), server_name.map(Into::into)];
                let parts: Vec<String> =
                    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
                Some(parts.join(" "))
            }
            "http" => {
                let (scheme, rest) = text.split_once("://")?;
                let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                let host = self.host_with_port(host).unwrap_or_default();
                // A path and a query can contain anything.
                let path = match path {
                    "" | "/" => path.into(),
                    _ => self.opaque(strict, Domain::Data, path).unwrap_or_default(),
                };
                let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
                Some(format!("{scheme}://{host}{slash}{path}"))
            }
            _ => None,
        }
    }

    /// Masks `HOST:PORT`, or a host alone.
    fn host_with_port(&self, text: &str) -> Option<String> {
        let is_port =
            |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| is_port(port)) else {
            return self.probe_host(text);
        };
        Some(format!("{}:{port}", self.probe_host(host).unwrap_or_default()))
    }

    /// Masks the name or address of a host. An IPv6 address stays in brackets where it was in some.
    fn probe_host(&self, text: &str) -> Option<String> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_err() {
            return self.name(self.mask.qname, text).map(Into::into);
        }
        let masked = self.address(self.mask.server, bare)?;
        // A pseudonym is an IPv6 address, whatever the address was.
        let is_in_url = text.len() != bare.len() || !bare.contains(':');
        Some(if masked.contains(':') && is_in_url { format!("[{masked}]") } else { masked.into() })
    }
}
