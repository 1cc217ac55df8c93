//! Well-known lookup services, whose query names carry data by design.

/// Zones of services that are queried with the hash of a file, address, site or peer in the name.
/// Only the operator of the zone can receive this data. Sorted.
const LOOKUP_SERVICES: &[&str] = &[
    "akstat.io",
    "avast.com",
    "barracudacentral.org",
    "bitdefender.net",
    "cymru.com",
    "dnswl.org",
    "e5.sk",
    "eset.com",
    "ethdisco.net",
    "f-secure.com",
    "footprintdns.com",
    "invaluement.com",
    "kaspersky-labs.com",
    "mailspike.net",
    "mcafee.com",
    "msbl.org",
    "senderbase.org",
    "sophosxl.com",
    "sophosxl.net",
    "sorbs.net",
    "spamcop.net",
    "spamhaus.net",
    "spamhaus.org",
    "surbl.org",
    "trendmicro.com",
    "uribl.com",
    "webroot.com",
];

/// Returns whether a registrable domain belongs to such a service.
pub(super) fn is_lookup_service(zone: &str) -> bool {
    LOOKUP_SERVICES.binary_search(&zone).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_sorted() {
        assert!(LOOKUP_SERVICES.is_sorted());
        assert!(is_lookup_service("sophosxl.net") && !is_lookup_service("example.com"));
    }
}
