//! The fields of each record type's data.

use super::field::Field::{
    self, Base64, Counted, Error, Eui, Hex, HostIdentity, IpsecGateway, Ipv4, Ipv6, Location,
    Locator, Name, NextHash, Nsap, Parameters, Ports, Prefixes, Quoted, Relay, Salt, Tag, Text,
    Texts, Time, Type, Types, U8, U16, U32, U48, U64,
};

/// Returns the fields of a type's data; `None` for an unknown type, or one that is shown as bytes.
pub(super) fn fields(rtype: u16) -> Option<&'static [Field]> {
    let place = GRAMMAR.binary_search_by_key(&rtype, |(number, _)| *number).ok()?;
    Some(GRAMMAR[place].1)
}

/// Sorted by type; the names are in [`super::super::mnemonic`]. OPT, NULL and the abandoned A6,
/// NXT, SINK and ATMA are omitted.
const GRAMMAR: &[(u16, &[Field])] = &[
    // RFC 1035: A to TXT.
    (1, &[Ipv4]),
    (2, &[Name]),
    (3, &[Name]),
    (4, &[Name]),
    (5, &[Name]),
    (6, &[Name, Name, U32, U32, U32, U32, U32]),
    (7, &[Name]),
    (8, &[Name]),
    (9, &[Name]),
    (11, &[Ipv4, Ports]),
    (12, &[Name]),
    (13, &[Text, Text]),
    (14, &[Name, Name]),
    (15, &[U16, Name]),
    (16, &[Texts]),
    // RFC 1183: RP, AFSDB, X25, ISDN, RT.
    (17, &[Name, Name]),
    (18, &[U16, Name]),
    (19, &[Text]),
    (20, &[Texts]),
    (21, &[U16, Name]),
    // RFC 1706, RFC 1348: NSAP, NSAP-PTR.
    (22, &[Nsap]),
    (23, &[Name]),
    // RFC 2535: SIG, KEY.
    (24, SIGNATURE),
    (25, &[U16, U8, U8, Base64]),
    // RFC 2163: PX. RFC 1712: GPOS.
    (26, &[U16, Name, Name]),
    (27, &[Text, Text, Text]),
    // RFC 3596: AAAA. RFC 1876: LOC. EID, NIMLOC.
    (28, &[Ipv6]),
    (29, &[Location]),
    (31, &[Hex]),
    (32, &[Hex]),
    // RFC 2782: SRV. RFC 3403: NAPTR. RFC 2230: KX. RFC 4398: CERT. RFC 6672: DNAME.
    (33, &[U16, U16, U16, Name]),
    (35, &[U16, U16, Text, Text, Text, Name]),
    (36, &[U16, Name]),
    (37, &[U16, U16, U8, Base64]),
    (39, &[Name]),
    // RFC 3123: APL.
    (42, &[Prefixes]),
    // RFC 4034, RFC 4255, RFC 4025, RFC 4701, RFC 5155: DS to NSEC3PARAM.
    (43, DIGEST),
    (44, &[U8, U8, Hex]),
    (45, &[IpsecGateway]),
    (46, SIGNATURE),
    (47, &[Name, Types]),
    (48, &[U16, U8, U8, Base64]),
    (49, &[Base64]),
    (50, &[U8, U8, U16, Salt, NextHash, Types]),
    (51, &[U8, U8, U16, Salt]),
    // RFC 6698, RFC 8162: TLSA, SMIMEA. RFC 8005: HIP.
    (52, &[U8, U8, U8, Hex]),
    (53, &[U8, U8, U8, Hex]),
    (55, &[HostIdentity]),
    // NINFO, RKEY, TALINK.
    (56, &[Texts]),
    (57, &[U16, U8, U8, Base64]),
    (58, &[Name, Name]),
    // RFC 7344: CDS, CDNSKEY. RFC 7929: OPENPGPKEY. RFC 7477: CSYNC. RFC 8976: ZONEMD.
    (59, DIGEST),
    (60, &[U16, U8, U8, Base64]),
    (61, &[Base64]),
    (62, &[U32, U16, Types]),
    (63, &[U32, U8, U8, Hex]),
    // RFC 9460: SVCB, HTTPS. RFC 9859: DSYNC. RFC 9886: HHIT, BRID.
    (64, &[U16, Name, Parameters]),
    (65, &[U16, Name, Parameters]),
    (66, &[Type, U8, U16, Name]),
    (67, &[Base64]),
    (68, &[Base64]),
    // RFC 7208: SPF. UINFO, UID, GID.
    (99, &[Texts]),
    (100, &[Text]),
    (101, &[U32]),
    (102, &[U32]),
    // RFC 6742: NID, L32, L64, LP. RFC 7043: EUI48, EUI64.
    (104, &[U16, Locator]),
    (105, &[U16, Ipv4]),
    (106, &[U16, Locator]),
    (107, &[U16, Name]),
    (108, &[Eui(6)]),
    (109, &[Eui(8)]),
    // RFC 2930: TKEY. RFC 8945: TSIG.
    (249, &[Name, U32, U32, U16, Error, Counted, Counted]),
    (250, &[Name, U48, U16, Counted, U16, Error, Counted]),
    // RFC 7553: URI. RFC 8659: CAA. AVC, DOA. RFC 8777: AMTRELAY. RFC 9606: RESINFO. WALLET, CLA, IPN.
    (256, &[U16, U16, Quoted]),
    (257, &[U8, Tag, Quoted]),
    (258, &[Texts]),
    (259, &[U32, U32, U8, Text, Base64]),
    (260, &[Relay]),
    (261, &[Texts]),
    (262, &[Texts]),
    (263, &[Texts]),
    (264, &[U64]),
    // TA, DLV (RFC 4431).
    (32768, DIGEST),
    (32769, DIGEST),
];

/// SIG and RRSIG (RFC 4034, 3.2).
const SIGNATURE: &[Field] = &[Type, U8, U8, U32, Time, Time, U16, Name, Base64];
/// DS and its variants (RFC 4034, 5.3).
const DIGEST: &[Field] = &[U16, U8, U8, Hex];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sorted() {
        assert!(GRAMMAR.is_sorted_by_key(|(number, _)| *number));
        assert!(fields(1).is_some() && fields(32769).is_some());
        assert!(fields(10).is_none() && fields(41).is_none() && fields(65280).is_none());
    }
}
