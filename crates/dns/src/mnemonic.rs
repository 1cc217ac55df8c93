//! The mnemonics that IANA registers for types, classes, opcodes and rcodes (RFC 6895).

use std::borrow::Cow;

/// Returns the mnemonic of a record type; `TYPE65280` for an unknown one (RFC 3597).
#[must_use]
pub fn type_name(number: u16) -> Cow<'static, str> {
    TYPES
        .binary_search_by_key(&number, |(value, _)| *value)
        .map_or_else(|_| format!("TYPE{number}").into(), |place| TYPES[place].1.into())
}

/// Returns the record type of a mnemonic in any case, or of `TYPE65280`.
#[must_use]
pub fn type_number(name: &str) -> Option<u16> {
    let upper = name.to_ascii_uppercase();
    let known = TYPES.iter().find(|(_, known)| *known == upper).map(|(number, _)| *number);
    known.or_else(|| upper.strip_prefix("TYPE")?.parse().ok())
}

/// Returns the mnemonic of a class; `CLASS32` for an unknown one (RFC 3597).
#[must_use]
pub fn class_name(number: u16) -> Cow<'static, str> {
    match number {
        1 => "IN".into(),
        3 => "CH".into(),
        4 => "HS".into(),
        254 => "NONE".into(),
        255 => "ANY".into(),
        _ => format!("CLASS{number}").into(),
    }
}

/// Returns the mnemonic of an opcode; `OPCODE9` for an unknown one.
#[must_use]
pub const fn opcode_name(number: u8) -> &'static str {
    OPCODES[(number & 0xF) as usize]
}

/// Returns the mnemonic of an rcode, extended rcodes included (RFC 6895, 2.3); `RCODE12` for an
/// unknown one.
#[must_use]
pub fn rcode_name(number: u16) -> Cow<'static, str> {
    RCODES
        .get(usize::from(number))
        .map_or_else(|| format!("RCODE{number}").into(), |name| Cow::Borrowed(*name))
}

/// Returns the mnemonic of a TSIG or TKEY error: the rcode's, except for 16 (RFC 8945, 3).
pub(super) fn tsig_error_name(number: u16) -> Cow<'static, str> {
    if number == 16 { "BADSIG".into() } else { rcode_name(number) }
}

/// Indexed by opcode.
const OPCODES: [&str; 16] = [
    "QUERY", "IQUERY", "STATUS", "OPCODE3", "NOTIFY", "UPDATE", "DSO", "OPCODE7", "OPCODE8",
    "OPCODE9", "OPCODE10", "OPCODE11", "OPCODE12", "OPCODE13", "OPCODE14", "OPCODE15",
];

/// Indexed by rcode.
const RCODES: [&str; 24] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
    "RCODE12",
    "RCODE13",
    "RCODE14",
    "RCODE15",
    "BADVERS",
    "BADKEY",
    "BADTIME",
    "BADMODE",
    "BADNAME",
    "BADALG",
    "BADTRUNC",
    "BADCOOKIE",
];

/// Sorted by number.
const TYPES: [(u16, &str); 97] = [
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAP-PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (33, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (40, "SINK"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (56, "NINFO"),
    (57, "RKEY"),
    (58, "TALINK"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (66, "DSYNC"),
    (67, "HHIT"),
    (68, "BRID"),
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (128, "NXNAME"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (259, "DOA"),
    (260, "AMTRELAY"),
    (261, "RESINFO"),
    (262, "WALLET"),
    (263, "CLA"),
    (264, "IPN"),
    (32768, "TA"),
    (32769, "DLV"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert!(TYPES.is_sorted());
        assert_eq!(type_name(28), "AAAA");
        assert_eq!(type_name(65280), "TYPE65280");
        assert_eq!(class_name(1), "IN");
        assert_eq!(class_name(0x8001), "CLASS32769");
        assert_eq!(rcode_name(23), "BADCOOKIE");
        assert_eq!(rcode_name(12), "RCODE12");
        assert_eq!(rcode_name(4095), "RCODE4095");
        assert_eq!(opcode_name(5), "UPDATE");
    }
}
