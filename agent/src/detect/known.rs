//! Zones in which names are data by design, and that are run by those who say so.

/// Services that one asks about a file, an address, a site or a peer by putting its hash into a name: nobody
/// else answers for these zones, so nobody else gets data through them. Sorted.
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

/// Whether a registrable domain is such a service's.
pub(super) fn is_lookup_service(zone: &str) -> bool {
    LOOKUP_SERVICES.binary_search(&zone).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched() {
        assert!(LOOKUP_SERVICES.is_sorted());
        assert!(is_lookup_service("sophosxl.net") && !is_lookup_service("example.com"));
    }
}
