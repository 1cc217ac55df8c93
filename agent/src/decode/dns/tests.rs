use super::*;
use proptest::prelude::*;

/// A response to `www.Example.com A` with one answer, one authority record and OPT.
fn response() -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x84, 0x03, 0, 1, 0, 1, 0, 1, 0, 1];
    bytes.extend(b"\x03www\x07Example\x03com\0\0\x01\0\x01");
    bytes.extend(b"\xC0\x0C\0\x01\0\x01\0\0\0\x3C\0\x04\xC0\0\x02\x01");
    bytes.extend(b"\xC0\x10\0\x02\0\x01\0\0\0\x0A\0\x05\x02ns\xC0\x10");
    // OPT: udp size 1232, extended rcode 1, DO; ECS 198.51.100.0/24; EDE 9 "no"; cookie.
    bytes.extend(b"\0\0\x29\x04\xD0\x01\0\x80\0\0\x1D");
    bytes.extend(b"\0\x08\0\x07\0\x01\x18\0\xC6\x33\x64");
    bytes.extend(b"\0\x0F\0\x04\0\x09no\0\x0A\0\x08\x01\x02\x03\x04\x05\x06\x07\x08");
    let options = bytes.len() - 11 - 8 - 12;
    bytes[options - 1] = 31;
    bytes
}

#[test]
fn reads_every_section() {
    let dns = Dns::decode(&response(), false).unwrap();
    assert_eq!(dns.id, 0x1234);
    assert!(dns.flags.response());
    assert_eq!(dns.flags.names().collect::<Vec<_>>(), ["aa"]);
    let question = dns.question.as_ref().unwrap();
    assert_eq!(&*question.qname, "www.example.com");
    assert_eq!(question.qname_case.as_deref(), Some("www.Example.com"));
    assert_eq!(dns.answers.len(), 1);
    assert_eq!(&*dns.answers[0].data, "192.0.2.1");
    assert_eq!(&*dns.answers[0].name, "www.Example.com");
    assert_eq!(dns.min_ttl_seconds, Some(10));
    assert_eq!(dns.rcode(), 19);
    let edns = dns.edns.unwrap();
    assert_eq!((edns.udp_size, edns.version, edns.dnssec_ok), (1232, 0, true));
    assert_eq!(edns.ecs.as_deref(), Some("198.51.100.0/24"));
    assert_eq!(edns.ede, Some(ExtendedError { code: 9, text: "no".into() }));
    assert_eq!(edns.cookie.as_deref(), Some("0102030405060708"));
    assert_eq!(edns.nsid, None);
}

#[test]
fn says_what_cannot_be_read() {
    let whole = response();
    assert_eq!(Dns::decode(&whole[..11], false), Err(Malformed::DnsHeader));
    assert_eq!(Dns::decode(&whole[..20], false), Err(Malformed::DnsQuestion));
    assert_eq!(Dns::decode(&whole[..40], false), Err(Malformed::DnsRecord));
    let mut looped = whole.clone();
    looped.splice(12..29, [0xC0, 12]);
    assert_eq!(Dns::decode(&looped, false), Err(Malformed::DnsQuestion));
    let mut forward = whole;
    forward.splice(12..29, [0xC0, 40]);
    assert_eq!(Dns::decode(&forward, false), Err(Malformed::DnsQuestion));
}

#[test]
fn reads_a_clipped_message_as_far_as_it_goes() {
    let whole = response();
    let header_only = Dns::decode(&whole[..20], true).unwrap();
    assert_eq!((header_only.id, header_only.question), (0x1234, None));
    let no_records = Dns::decode(&whole[..40], true).unwrap();
    assert!(no_records.question.is_some() && no_records.answers.is_empty());
    assert_eq!(Dns::decode(&whole[..11], true), Err(Malformed::DnsHeader));
}

#[test]
fn octets_after_the_message_do_no_harm() {
    let mut bytes = response();
    bytes.extend([0xFF; 9]);
    assert_eq!(Dns::decode(&bytes, false), Dns::decode(&response(), false));
}

#[test]
fn nonsense_in_data_is_shown_as_unknown_data() {
    let mut bytes = response();
    // The A record's length becomes 3, its last octet goes.
    bytes[44] = 3;
    bytes.remove(48);
    let dns = Dns::decode(&bytes, false).unwrap();
    assert_eq!(&*dns.answers[0].data, "\\# 3 c00002");
}

#[test]
fn escapes_names() {
    let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(b"\x05a.b\\ \x02\xFF\x7F\0\0\x01\0\x01");
    let dns = Dns::decode(&bytes, false).unwrap();
    assert_eq!(&*dns.question.unwrap().qname, "a\\.b\\\\\\032.\\255\\127");
}

#[test]
fn takes_names_of_255_octets_and_no_longer() {
    let name = |last: u8| {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for length in [63, 63, 63, last] {
            bytes.push(length);
            bytes.extend(std::iter::repeat_n(b'x', usize::from(length)));
        }
        bytes.extend([0, 0, 1, 0, 1]);
        Dns::decode(&bytes, false)
    };
    assert_eq!(name(61).unwrap().question.unwrap().qname.len(), 253);
    assert_eq!(name(62), Err(Malformed::DnsQuestion));
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), clipped: bool) {
        let _ = Dns::decode(&bytes, clipped);
    }

    #[test]
    fn never_panics_on_a_damaged_message(at in 0_usize..110, octet: u8, cut in 0_usize..130) {
        let mut bytes = response();
        if let Some(place) = bytes.get_mut(at) {
            *place = octet;
        }
        bytes.truncate(cut);
        let _ = Dns::decode(&bytes, false);
        prop_assert_eq!(Dns::decode(&bytes, true).is_err(), bytes.len() < 12);
    }
}
