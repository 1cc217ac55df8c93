//! Known differences of single captures, and their reasons.

use super::fields::Difference;

/// Returns the DNS ports of a capture.
pub fn ports(capture: &str) -> &'static str {
    match capture {
        "pktvisor/dns_ipv4_tcp.pcap" | "pktvisor/dns_ipv4_udp.pcap" => "53000",
        "tcpdump/dns_tcp_8053.pcap" => "8053",
        "suricata-verify/dns-truncated-rname.pcap" => "1053",
        "ndpi/avast_securedns.pcapng" => "443",
        _ => "53,5353,5355",
    }
}

/// Reason for a difference, where the reference is wrong or the contract decides otherwise.
#[derive(Debug)]
pub struct Reason {
    pub capture: &'static str,
    /// Frames that differ; empty for any frame of the capture.
    pub frames: &'static [u64],
    /// Names of the fields that differ; a final `*` matches every name with this prefix.
    pub fields: &'static [&'static str],
    pub why: &'static str,
}

impl Reason {
    /// Returns whether this reason explains a difference.
    pub fn explains(&self, difference: &Difference) -> bool {
        let frame = self.frames.is_empty() || self.frames.contains(&difference.frame);
        frame
            && self.fields.iter().any(|field| match field.strip_suffix('*') {
                Some(beginning) => difference.field.starts_with(beginning),
                None => difference.field == *field,
            })
    }

    /// Describes the difference for readers.
    pub fn what(&self) -> String {
        let fields = self.fields.join(", ");
        match self.frames {
            [] | [0] => fields,
            [frame] => format!("{fields} of frame {frame}"),
            frames => format!("{fields} of {} frames", frames.len()),
        }
    }
}

/// Returns the reason for a difference.
pub fn explain(capture: &str, difference: &Difference) -> Option<&'static Reason> {
    ALL.iter().find(|reason| reason.capture == capture && reason.explains(difference))
}

const QUOTED_RESPONSE: &str =
    "the ICMP message quotes a response: no query failed, so nothing is reported";
const DATA: &str = "record data that makes no sense: the message is sound and did its work, the data is shown as \
     unknown (ADR 3)";
const ICMP: &str = "an ICMP error ends a query: sent again, it is a query of its own; the corpus's model knows \
     no ICMP";
const QUESTION: &str = "tshark pairs by id; the response asks another question than the query";
const RESENT: &str = "tshark takes a query sent again after more than 5 s for a new one; the contract measures from \
     the first";

/// All reasons, by capture.
pub const ALL: &[Reason] = &[
    because("arkime/dnssec_synthetic.pcap", &[4, 8], &["malformed"], DATA),
    because("arkime/v6.pcap", &[0], &["icmp_quoted"], QUOTED_RESPONSE),
    because(
        "compactor/template.pcap",
        &[8],
        &["latency"],
        "tshark pairs by id; the query has no question and the response has one",
    ),
    because(
        "compactor/teststats.pcap",
        &[0],
        &["transactions.unanswered", "transactions.retransmitted"],
        ICMP,
    ),
    because(
        "dnscap/dnso1tcp-bighole.pcap",
        &[],
        &["extra", "transactions.answered", "transactions.orphan"],
        "after a lost segment tshark waits for ever; here the stream goes on: all 39 queries whose \
         bytes were captured, one of them without its length prefix",
    ),
    because(
        "dnscap/do1t-nosyn-1nolen.pcap",
        &[],
        &["extra", "transactions.answered", "transactions.orphan"],
        "two queries that tshark misses: one whose length prefix came before the capture began, \
         one whose length and body came in two segments",
    ),
    because(
        "ipfixprobe/mixed.pcap",
        &[0],
        &["transactions.unanswered", "transactions.retransmitted"],
        ICMP,
    ),
    because(
        "made/tcp-snaplen-80.pcap",
        &[],
        &["missing", "extra", "transactions.*"],
        "where length and body came in two segments, tshark takes the clipped body's first bytes \
         for the length; the ids here are those of the unclipped capture",
    ),
    because("ndpi/dns-invalid-chars.pcap", &[2], &["latency"], QUESTION),
    because("ndpi/dns_fragmented.pcap", &[39], &["latency"], RESENT),
    because(
        "pcapplusplus/DnsPackets.pcap",
        &[418, 423, 424],
        &["qclass"],
        "mDNS: the bit that asks for a unicast response is no part of the class (RFC 6762, 5.4)",
    ),
    because(
        "pcapplusplus/dns_over_tcp.pcapng",
        &[],
        &["extra", "transactions.orphan"],
        "the segment resent came 48 years later by the capture's clock: another connection, not a \
         retransmission",
    ),
    because(
        "suricata-verify/dns-corrupt-additionals.pcap",
        &[0],
        &[
            r#"suricata {"event_type":"dns","dns.answers[0].rrname":"_sip._udp.sip.voice.google.com"}"#,
        ],
        "Suricata shows what it reads before a record that it cannot; a record whose owner cannot \
         be read makes the message malformed (ADR 3)",
    ),
    because("suricata-verify/dns-incomplete.pcap", &[13], &["latency"], QUESTION),
    because("suricata-verify/flow-drop-iponly-02.pcap", &[0], &["icmp_quoted"], QUOTED_RESPONSE),
    because("suricata-verify/sip-method.pcap", &[504], &["latency"], RESENT),
    because(
        "tcpdump/dns-zlip-1.pcap",
        &[1],
        &["refused"],
        "a datagram to port 53 with a length of 0: tshark calls it no DNS, here it is counted as \
         malformed",
    ),
    because("wireshark/dns+icmp.pcapng", &[3], &["latency"], RESENT),
    because("zeek/dns-edns-bad-length.pcap", &[1], &["malformed"], DATA),
    because(
        "zeek/dns-edns-ecs-weirds.pcap",
        &[2, 3],
        &["edns.ecs"],
        "a prefix of 255 bits is no prefix: the option is shown in hexadecimal only",
    ),
    because("zeek/dns-edns-ecs-weirds.pcap", &[5], &["malformed"], DATA),
    because(
        "zeek/gre-sample.pcap",
        &[0],
        &["transactions.unanswered", "transactions.retransmitted"],
        ICMP,
    ),
    because("zeek/icmp-destunreach-udp.pcap", &[0], &["icmp_quoted"], QUOTED_RESPONSE),
    because("zeek/ipv6-fragmented-dns.pcap", &[8], &["latency"], RESENT),
    because("zeek/svcb-port-malformed.pcap", &[2], &["malformed"], DATA),
];

const fn because(
    capture: &'static str,
    frames: &'static [u64],
    fields: &'static [&'static str],
    why: &'static str,
) -> Reason {
    Reason { capture, frames, fields, why }
}

/// Captures with others derived from them that must give the same messages.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_explains_only_its_frames_and_fields() {
        let difference = |frame: u64, field: &str| Difference {
            frame,
            field: field.to_owned(),
            expected: String::new(),
            found: String::new(),
        };
        let reason = because("a.pcap", &[2, 3], &["latency", "edns.*"], "why");
        assert!(reason.explains(&difference(2, "latency")));
        assert!(reason.explains(&difference(3, "edns.ecs")));
        assert!(!reason.explains(&difference(4, "latency")));
        assert!(!reason.explains(&difference(2, "latency of another")));
        assert!(!reason.explains(&difference(2, "qname")));
        assert_eq!(reason.what(), "latency, edns.* of 2 frames");
    }
}
