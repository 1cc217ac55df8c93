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

const TUNNEL: &str = "DNS inside a tunnel is not looked for";

/// Why a capture is meant to compare unequal.
pub fn difference(capture: &str) -> Option<&'static str> {
    let (_, reason) = DIFFERENCES.iter().find(|(name, _)| *name == capture)?;
    Some(reason)
}

const DIFFERENCES: &[(&str, &str)] = &[
    ("arkime/6-4-gre-ppp-udp-4-dns.pcap", TUNNEL),
    ("made/udp-vxlan.pcap", TUNNEL),
    ("ndpi/vxlan.pcap", TUNNEL),
    ("zeek/geneve-vxlan-dns-truncated.pcap", TUNNEL),
    ("zeek/gre-over-udp-4754.pcap", TUNNEL),
    ("zeek/gre-sample.pcap", TUNNEL),
    ("zeek/vxlan-triple-v2.pcap", TUNNEL),
];
