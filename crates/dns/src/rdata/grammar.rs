//! The record types of the IANA registry: number, mnemonic and the fields of the data.

use super::field::Field::{
    self, Base64, Counted, Error, Eui, Hex, HostIdentity, IpsecGateway, Ipv4, Ipv6, Location,
    Locator, Name, NextHash, Nsap, Parameters, Ports, Prefixes, Quoted, Relay, Salt, Tag, Text,
    Texts, Time, Type, Types, U8, U16, U32, U48, U64,
};
use std::borrow::Cow;

/// A record type: number, mnemonic, fields.
type RecordType = (u16, &'static str, &'static [Field]);

/// Returns the record type with this number.
fn find(rtype: u16) -> Option<&'static RecordType> {
    TYPES.binary_search_by_key(&rtype, |(number, ..)| *number).ok().map(|place| &TYPES[place])
}

/// Returns the fields of a type's data; `None` for an unknown type, or one that is shown as bytes.
pub(super) fn fields(rtype: u16) -> Option<&'static [Field]> {
    find(rtype).map(|(.., fields)| *fields).filter(|fields| !fields.is_empty())
}

/// Returns the mnemonic of a record type; `TYPE65280` for an unknown one (RFC 3597).
#[must_use]
pub fn type_name(number: u16) -> Cow<'static, str> {
    find(number).map_or_else(|| format!("TYPE{number}").into(), |(_, name, _)| Cow::Borrowed(*name))
}

/// Returns the record type of a mnemonic in any case, or of `TYPE65280`.
#[must_use]
pub fn type_number(name: &str) -> Option<u16> {
    let upper = name.to_ascii_uppercase();
    let known = TYPES.iter().find(|(_, known, _)| *known == upper).map(|(number, ..)| *number);
    known.or_else(|| upper.strip_prefix("TYPE")?.parse().ok())
}

/// Sorted by number.
const TYPES: &[RecordType] = &[
    // RFC 1035: A to TXT.
    (1, "A", &[Ipv4]),
    (2, "NS", &[Name]),
    (3, "MD", &[Name]),
    (4, "MF", &[Name]),
    (5, "CNAME", &[Name]),
    (6, "SOA", &[Name, Name, U32, U32, U32, U32, U32]),
    (7, "MB", &[Name]),
    (8, "MG", &[Name]),
    (9, "MR", &[Name]),
    (10, "NULL", OPAQUE),
    (11, "WKS", &[Ipv4, Ports]),
    (12, "PTR", &[Name]),
    (13, "HINFO", &[Text, Text]),
    (14, "MINFO", &[Name, Name]),
    (15, "MX", &[U16, Name]),
    (16, "TXT", &[Texts]),
    // RFC 1183: RP, AFSDB, X25, ISDN, RT.
    (17, "RP", &[Name, Name]),
    (18, "AFSDB", &[U16, Name]),
    (19, "X25", &[Text]),
    (20, "ISDN", &[Texts]),
    (21, "RT", &[U16, Name]),
    // RFC 1706, RFC 1348: NSAP, NSAP-PTR.
    (22, "NSAP", &[Nsap]),
    (23, "NSAP-PTR", &[Name]),
    // RFC 2535: SIG, KEY.
    (24, "SIG", SIGNATURE),
    (25, "KEY", &[U16, U8, U8, Base64]),
    // RFC 2163: PX. RFC 1712: GPOS.
    (26, "PX", &[U16, Name, Name]),
    (27, "GPOS", &[Text, Text, Text]),
    // RFC 3596: AAAA. RFC 1876: LOC. EID, NIMLOC.
    (28, "AAAA", &[Ipv6]),
    (29, "LOC", &[Location]),
    (30, "NXT", OPAQUE),
    (31, "EID", &[Hex]),
    (32, "NIMLOC", &[Hex]),
    // RFC 2782: SRV. RFC 3403: NAPTR. RFC 2230: KX. RFC 4398: CERT. RFC 6672: DNAME.
    (33, "SRV", &[U16, U16, U16, Name]),
    (34, "ATMA", OPAQUE),
    (35, "NAPTR", &[U16, U16, Text, Text, Text, Name]),
    (36, "KX", &[U16, Name]),
    (37, "CERT", &[U16, U16, U8, Base64]),
    (38, "A6", OPAQUE),
    (39, "DNAME", &[Name]),
    (40, "SINK", OPAQUE),
    (41, "OPT", OPAQUE),
    // RFC 3123: APL.
    (42, "APL", &[Prefixes]),
    // RFC 4034, RFC 4255, RFC 4025, RFC 4701, RFC 5155: DS to NSEC3PARAM.
    (43, "DS", DIGEST),
    (44, "SSHFP", &[U8, U8, Hex]),
    (45, "IPSECKEY", &[IpsecGateway]),
    (46, "RRSIG", SIGNATURE),
    (47, "NSEC", &[Name, Types]),
    (48, "DNSKEY", &[U16, U8, U8, Base64]),
    (49, "DHCID", &[Base64]),
    (50, "NSEC3", &[U8, U8, U16, Salt, NextHash, Types]),
    (51, "NSEC3PARAM", &[U8, U8, U16, Salt]),
    // RFC 6698, RFC 8162: TLSA, SMIMEA. RFC 8005: HIP.
    (52, "TLSA", &[U8, U8, U8, Hex]),
    (53, "SMIMEA", &[U8, U8, U8, Hex]),
    (55, "HIP", &[HostIdentity]),
    // NINFO, RKEY, TALINK.
    (56, "NINFO", &[Texts]),
    (57, "RKEY", &[U16, U8, U8, Base64]),
    (58, "TALINK", &[Name, Name]),
    // RFC 7344: CDS, CDNSKEY. RFC 7929: OPENPGPKEY. RFC 7477: CSYNC. RFC 8976: ZONEMD.
    (59, "CDS", DIGEST),
    (60, "CDNSKEY", &[U16, U8, U8, Base64]),
    (61, "OPENPGPKEY", &[Base64]),
    (62, "CSYNC", &[U32, U16, Types]),
    (63, "ZONEMD", &[U32, U8, U8, Hex]),
    // RFC 9460: SVCB, HTTPS. RFC 9859: DSYNC. RFC 9886: HHIT, BRID.
    (64, "SVCB", &[U16, Name, Parameters]),
    (65, "HTTPS", &[U16, Name, Parameters]),
    (66, "DSYNC", &[Type, U8, U16, Name]),
    (67, "HHIT", &[Base64]),
    (68, "BRID", &[Base64]),
    // RFC 7208: SPF. UINFO, UID, GID.
    (99, "SPF", &[Texts]),
    (100, "UINFO", &[Text]),
    (101, "UID", &[U32]),
    (102, "GID", &[U32]),
    (103, "UNSPEC", OPAQUE),
    // RFC 6742: NID, L32, L64, LP. RFC 7043: EUI48, EUI64.
    (104, "NID", &[U16, Locator]),
    (105, "L32", &[U16, Ipv4]),
    (106, "L64", &[U16, Locator]),
    (107, "LP", &[U16, Name]),
    (108, "EUI48", &[Eui(6)]),
    (109, "EUI64", &[Eui(8)]),
    (128, "NXNAME", OPAQUE),
    // RFC 2930: TKEY. RFC 8945: TSIG.
    (249, "TKEY", &[Name, U32, U32, U16, Error, Counted, Counted]),
    (250, "TSIG", &[Name, U48, U16, Counted, U16, Error, Counted]),
    (251, "IXFR", OPAQUE),
    (252, "AXFR", OPAQUE),
    (253, "MAILB", OPAQUE),
    (254, "MAILA", OPAQUE),
    (255, "ANY", OPAQUE),
    // RFC 7553: URI. RFC 8659: CAA. AVC, DOA. RFC 8777: AMTRELAY. RFC 9606: RESINFO. WALLET, CLA, IPN.
    (256, "URI", &[U16, U16, Quoted]),
    (257, "CAA", &[U8, Tag, Quoted]),
    (258, "AVC", &[Texts]),
    (259, "DOA", &[U32, U32, U8, Text, Base64]),
    (260, "AMTRELAY", &[Relay]),
    (261, "RESINFO", &[Texts]),
    (262, "WALLET", &[Texts]),
    (263, "CLA", &[Texts]),
    (264, "IPN", &[U64]),
    // TA, DLV (RFC 4431).
    (32768, "TA", DIGEST),
    (32769, "DLV", DIGEST),
];

/// Types without data, and those whose data is shown as bytes, such as the abandoned A6 and NXT.
const OPAQUE: &[Field] = &[];
/// SIG and RRSIG (RFC 4034, 3.2).
const SIGNATURE: &[Field] = &[Type, U8, U8, U32, Time, Time, U16, Name, Base64];
/// DS and its variants (RFC 4034, 5.3).
const DIGEST: &[Field] = &[U16, U8, U8, Hex];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sorted() {
        assert!(TYPES.is_sorted_by_key(|(number, ..)| *number));
        assert!(fields(1).is_some() && fields(32769).is_some());
        assert!(fields(10).is_none() && fields(41).is_none() && fields(65280).is_none());
    }

    #[test]
    fn names_types() {
        assert_eq!((&*type_name(28), &*type_name(65280)), ("AAAA", "TYPE65280"));
    }
}
