//! What is special about single captures.

/// The ports on which a capture has DNS.
pub fn ports(capture: &str) -> &'static str {
    match capture {
        "pktvisor/dns_ipv4_tcp.pcap" | "pktvisor/dns_ipv4_udp.pcap" => "53000",
        "tcpdump/dns_tcp_8053.pcap" => "8053",
        "suricata-verify/dns-truncated-rname.pcap" => "1053",
        "ndpi/avast_securedns.pcapng" => "443",
        _ => "53,5353,5355",
    }
}

const QUOTED_RESPONSE: &str =
    "the ICMP message quotes a response: no query failed, so nothing is told";

/// Why a capture is meant to compare unequal.
pub fn difference(capture: &str) -> Option<&'static str> {
    let (_, reason) = DIFFERENCES.iter().find(|(name, _)| *name == capture)?;
    Some(reason)
}

const DIFFERENCES: &[(&str, &str)] = &[
    ("arkime/v6.pcap", QUOTED_RESPONSE),
    (
        "dnscap/dnso1tcp-bighole.pcap",
        "after a lost segment tshark waits for ever; here the stream goes on: all 39 queries whose \
         octets were captured, one of them without its length prefix",
    ),
    (
        "dnscap/do1t-nosyn-1nolen.pcap",
        "two queries that tshark misses: one whose length prefix came before the capture began, \
         one whose length and body came in two segments",
    ),
    (
        "made/tcp-snaplen-80.pcap",
        "where length and body came in two segments, tshark takes the clipped body's first octets \
         for the length; the ids here are those of the unclipped capture",
    ),
    (
        "pcapplusplus/dns_over_tcp.pcapng",
        "the segment resent came 48 years later by the capture's clock: another connection, not a \
         retransmission",
    ),
    ("suricata-verify/flow-drop-iponly-02.pcap", QUOTED_RESPONSE),
    ("zeek/icmp-destunreach-udp.pcap", QUOTED_RESPONSE),
];

/// Captures, and those made of them that must give the same messages.
pub const DERIVED: &[(&str, &[&str])] = &[
    (
        "dnscap/dnso1tcp.pcap",
        &[
            "made/tcp-midstream-boundary.pcap",
            "made/tcp-out-of-order.pcap",
            "made/tcp-pipelined-reordered.pcap",
            "made/tcp-qinq.pcap",
            "made/tcp-retransmit-overlap.pcap",
            "made/tcp-seq-wrap.pcap",
            "made/tcp-snaplen-80.pcap",
        ],
    ),
    (
        "dnscap/dns.pcap",
        &[
            "dnscap/frags.pcap",
            "dnscap/vlan11.pcap",
            "made/udp-0x20.pcap",
            "made/udp-fragments-reversed.pcap",
            "made/udp-snaplen-64.pcap",
            "made/udp-vxlan.pcap",
        ],
    ),
];
