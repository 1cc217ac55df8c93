//! The resolvers of this host's own configuration.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where it is (resolv.conf(5)).
const PATH: &str = "/etc/resolv.conf";

/// The addresses there; none where it cannot be read.
pub(super) fn of_this_host() -> BTreeSet<IpAddr> {
    match std::fs::read_to_string(PATH) {
        Ok(text) => named(&text),
        Err(error) => {
            tracing::debug!("cannot read {PATH}: {error}; resolvers in common use are learned");
            BTreeSet::new()
        }
    }
}

fn named(text: &str) -> BTreeSet<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    // An address may have the interface's scope behind it.
    let address = |rest: &str| rest.trim().split(['%', ' ', '\t', '#', ';']).next()?.parse().ok();
    servers.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        let text = "# no\nnameserver 192.0.2.53\nnameserver\tfe80::1%eth0 # x\nnameservers 192.0.2.1\nsearch a\n";
        let expected = ["192.0.2.53", "fe80::1"].map(|address| address.parse().unwrap());
        assert_eq!(named(text), BTreeSet::from(expected));
    }
}
