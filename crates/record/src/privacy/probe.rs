//! Masks the target of a measurement: names and addresses in it.

use super::MaskingMethod;
use super::field_masker::FieldMasker;
use super::key::Domain;
use dnscribe_dns::{type_name, type_number};
use std::net::IpAddr;

/// Words in the names of targets that are settings.
const SETTINGS: [&str; 9] =
    ["ipv4", "ipv6", "prefer_ipv4", "prefer_ipv6", "via", "from", "GET", "HEAD", "POST"];

impl FieldMasker<'_> {
    /// Returns the masked target of a measurement: a name that was given to it, or what is measured, such as
    /// `shop.example.com A`, `192.0.2.10:443 ipv4` or a URL. Words that may not be kept are left out of it.
    pub(super) fn probe_target(&self, text: &str) -> String {
        let mask = self.mask;
        let strict = mask.qname.max(mask.server);
        if strict == MaskingMethod::Keep {
            return text.to_owned();
        }
        let masked = text.split(' ').filter_map(|word| self.probe_word(strict, word));
        masked.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Masks a word of a target: a URL, a host with or without a port, addresses with commas between them, or a name.
    /// Types of records, methods and the words for settings are kept.
    fn probe_word(&self, strict: MaskingMethod, word: &str) -> Option<String> {
        let is_type = || type_number(word).is_some_and(|number| type_name(number) == word);
        if SETTINGS.contains(&word) || is_type() {
            return Some(word.to_owned());
        }
        if word.contains(',') && !word.contains("://") {
            let parts = word.split(',').filter_map(|part| self.host_with_port(part));
            return Some(parts.collect::<Vec<_>>().join(","));
        }
        let Some((scheme, rest)) = word.split_once("://") else { return self.host_with_port(word) };
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

    /// Masks `HOST:PORT`, or a host alone.
    fn host_with_port(&self, text: &str) -> Option<String> {
        let is_port =
            |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        // The last group of an IPv6 address may look like a port.
        let is_bare = text.parse::<IpAddr>().is_ok();
        let split = text.rsplit_once(':').filter(|(_, port)| !is_bare && is_port(port));
        let Some((host, port)) = split else { return self.probe_host(text) };
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
