//! The host that a program runs on: its name, its labels, what names of topics may contain of them, and its resolvers.

use crate::ConfigError;
use crate::value::{LabelName, LabelValue, Name};
use dnscribe_record::Labels;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::{fs, io};

/// Most labels that records can have.
const MAX_LABELS: usize = 16;

/// Path of the list of resolvers: resolv.conf(5).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Path of names that need no resolver: hosts(5).
pub const HOSTS: &str = "/etc/hosts";

/// Name of this host, as `uname(2)` has it.
#[must_use]
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Checks the section `labels`.
///
/// # Errors
/// There are more than 16.
pub fn labels(layer: &BTreeMap<LabelName, LabelValue>) -> Result<Labels, ConfigError> {
    if layer.len() > MAX_LABELS {
        let problem = format!("{} labels: give at most {MAX_LABELS}", layer.len());
        return ConfigError::in_section("labels", problem);
    }
    Ok(layer.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect())
}

/// Values that names of topics may contain: `{region}`, and each label by its name.
#[must_use]
pub fn placeholders(labels: &Labels, region: Option<&Name>) -> BTreeMap<String, String> {
    let region = region.map(|region| ("region".to_owned(), region.0.clone()));
    labels.clone().into_iter().chain(region).collect()
}

/// Reads the addresses of the system's resolvers, in their order.
///
/// # Errors
/// [`RESOLV_CONF`] cannot be read.
pub fn nameservers() -> io::Result<Vec<IpAddr>> {
    fs::read_to_string(RESOLV_CONF).map(|text| parse_nameservers(&text))
}

fn parse_nameservers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    // An address may have the interface's scope behind it.
    let address = |rest: &str| rest.trim().split(['%', ' ', '\t', '#', ';']).next()?.parse().ok();
    servers.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(address).collect()
}

/// Reads the addresses of names that need no resolver.
///
/// # Errors
/// [`HOSTS`] cannot be read.
pub fn addresses_in_hosts() -> io::Result<BTreeSet<IpAddr>> {
    fs::read_to_string(HOSTS).map(|text| parse_hosts(&text))
}

fn parse_hosts(text: &str) -> BTreeSet<IpAddr> {
    let first = |line: &str| {
        let line = line.split('#').next()?.trim_start();
        line.split(['%', ' ', '\t']).next()?.parse().ok()
    };
    text.lines().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        let text = "# 192.0.2.1 no\n 192.0.2.2\ta.example b\n\nfe80::1%eth0 c\n2001:db8::1 d # e\nnone f\n";
        let expected =
            ["192.0.2.2", "fe80::1", "2001:db8::1"].map(|address| address.parse().unwrap());
        assert_eq!(parse_hosts(text), BTreeSet::from(expected));
    }

    #[test]
    fn reads_nameservers() {
        let text = "# no\nnameserver 192.0.2.53\nnameserver\tfe80::1%eth0 # x\nnameservers 192.0.2.1\nsearch a\n";
        let expected = ["192.0.2.53", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(parse_nameservers(text), expected);
    }
}
