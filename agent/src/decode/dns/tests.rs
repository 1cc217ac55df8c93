use super::*;
use crate::decode::Malformed;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use proptest::prelude::*;

/// A message that was read.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    octets: Vec<u8>,
    outline: Outline,
}

impl Whole {
    fn read(octets: &[u8], clipped: bool) -> Result<Self, Malformed> {
        let outline = Outline::read(octets, clipped)?;
        Ok(Self { octets: octets.to_vec(), outline })
    }

    fn dns(&self) -> Dns<'_> {
        Dns::new(&self.octets, &self.outline)
    }

    fn answers(&self) -> Answers {
        let mut answers = Answers::default();
        answers.read(self.dns().answers());
        answers
    }

    fn qname(&self) -> String {
        self.dns().question().unwrap().qname()
    }
}

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
    let whole = Whole::read(&response(), false).unwrap();
    let (dns, answers) = (whole.dns(), whole.answers());
    assert_eq!(dns.id, 0x1234);
    assert!(dns.flags.response());
    assert_eq!(dns.flags.names().collect::<Vec<_>>(), ["aa"]);
    let question = dns.question().unwrap();
    assert_eq!(question.qname(), "www.example.com");
    assert!(question.name.has_upper_case());
    assert_eq!(question.name.text(), "www.Example.com");
    assert_eq!(answers.len(), 1);
    let answer = answers.first().unwrap();
    assert_eq!((answer.name, answer.data), ("www.Example.com", "192.0.2.1"));
    assert_eq!(dns.min_ttl_seconds, Some(10));
    assert_eq!(dns.rcode(), 19);
    let edns = dns.edns().unwrap();
    assert_eq!((edns.udp_size, edns.version, edns.dnssec_ok()), (1232, 0, true));
    assert_eq!(edns.ecs().as_deref(), Some("198.51.100.0/24"));
    assert_eq!(edns.ede(), Some(ExtendedError { code: 9, text: "no".into() }));
    assert_eq!(edns.cookie().unwrap().to_string(), "0102030405060708");
    assert_eq!((edns.ede_code(), edns.nsid()), (Some(9), None));
}

#[test]
fn says_what_cannot_be_read() {
    let whole = response();
    assert_eq!(Outline::read(&whole[..11], false), Err(Malformed::DnsHeader));
    assert_eq!(Outline::read(&whole[..20], false), Err(Malformed::DnsQuestion));
    assert_eq!(Outline::read(&whole[..40], false), Err(Malformed::DnsRecord));
    let mut looped = whole.clone();
    looped.splice(12..29, [0xC0, 12]);
    assert_eq!(Outline::read(&looped, false), Err(Malformed::DnsQuestion));
    let mut forward = whole;
    forward.splice(12..29, [0xC0, 40]);
    assert_eq!(Outline::read(&forward, false), Err(Malformed::DnsQuestion));
}

#[test]
fn reads_a_clipped_message_as_far_as_it_goes() {
    let whole = response();
    let header_only = Whole::read(&whole[..20], true).unwrap();
    assert_eq!((header_only.dns().id, header_only.dns().question()), (0x1234, None));
    let no_records = Whole::read(&whole[..40], true).unwrap();
    assert!(no_records.dns().question().is_some() && no_records.answers().is_empty());
    assert_eq!(Outline::read(&whole[..11], true), Err(Malformed::DnsHeader));
}

#[test]
fn octets_after_the_message_are_counted_and_do_no_harm() {
    let mut bytes = response();
    bytes.extend([0xFF; 9]);
    let mut outline = Outline::read(&bytes, false).unwrap();
    assert_eq!(std::mem::take(&mut outline.trailing_bytes), 9);
    assert_eq!(Ok(outline), Outline::read(&response(), false));
}

/// A header with these counts, its flags zero.
fn header(opcode: u8, counts: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0, 1, opcode << 3, 0];
    bytes.extend(counts.into_iter().flat_map(|count| [0, count]));
    bytes
}

#[test]
fn reads_any_number_of_questions() {
    let none = Whole::read(&header(0, [0; 4]), false).unwrap();
    assert_eq!((none.dns().question(), none.dns().further_questions().count()), (None, 0));
    let mut three = header(0, [3, 0, 0, 0]);
    three.extend(b"\x01a\0\0\x01\0\x01\xC0\x0C\0\x1C\0\x01\x01B\xC0\x0C\0\x01\x80\x01");
    let three = Whole::read(&three, false).unwrap();
    assert_eq!(three.qname(), "a");
    let further: Vec<_> =
        three.dns().further_questions().map(|one| (one.qname(), one.qtype, one.qclass)).collect();
    assert_eq!(further, [("a".to_owned(), 28, 1), ("b.a".to_owned(), 1, 0x8001)]);
}

#[test]
fn reads_an_update() {
    // Zone; a prerequisite of class ANY and one of class NONE, both without data; an update.
    let mut bytes = header(5, [1, 2, 1, 0]);
    bytes.extend(b"\x04test\0\0\x06\0\x01\x01w\xC0\x0C\0\x01\0\xFF\0\0\0\0\0\0");
    bytes.extend(b"\x01x\xC0\x0C\0\xFF\0\xFE\0\0\0\0\0\0");
    bytes.extend(b"\x01y\xC0\x0C\0\x01\0\x01\0\0\0\x0A\0\x04\xC0\0\x02\x01");
    let whole = Whole::read(&bytes, false).unwrap();
    let (dns, answers) = (whole.dns(), whole.answers());
    assert_eq!(opcode_name(dns.flags.opcode()), "UPDATE");
    let shown: Vec<_> =
        answers.iter().map(|one| (one.name, one.rtype, one.class, one.data)).collect();
    assert_eq!(shown, [("w.test", 1, 255, ""), ("x.test", 255, 254, "")]);
    assert_eq!(dns.min_ttl_seconds, Some(0));
}

#[test]
fn reads_a_stateful_operation() {
    let mut bytes = header(6, [0; 4]);
    bytes.extend(b"\0\x01\0\x08\0\0\x3A\x98\0\0\x75\x30");
    let whole = Whole::read(&bytes, false).unwrap();
    let dso: Vec<_> = whole.dns().dso().collect();
    assert_eq!((dso.len(), dso[0].code, whole.dns().trailing_bytes), (1, 1, 0));
    assert_eq!(dso_text(&dso[0]).as_deref(), Some("15000 30000"));
    assert_eq!(Whole::read(&header(6, [0; 4]), false).unwrap().dns().dso().count(), 0);
}

/// A query with these octets as its additional records.
fn additional(count: u8, records: &[u8]) -> Result<Whole, Malformed> {
    let mut bytes = header(0, [1, 0, 0, count]);
    bytes.extend(b"\x01a\0\0\x01\0\x01");
    bytes.extend(records);
    Whole::read(&bytes, false)
}

#[test]
fn shows_an_opt_that_is_not_as_it_should_be() {
    let two = b"\0\0\x29\x04\xD0\0\0\0\0\0\0\0\0\x29\x02\0\0\0\0\0\0\0";
    let whole = additional(2, two).unwrap();
    let edns = whole.dns().edns().unwrap();
    assert_eq!((edns.records, edns.udp_size), (2, 1232), "the first counts");
    let owned = b"\x01x\0\0\x29\x04\xD0\0\0\x40\x01\0\0";
    let whole = additional(1, owned).unwrap();
    let edns = whole.dns().edns().unwrap();
    assert_eq!((edns.owner.unwrap().text(), edns.flags), ("x".to_owned(), 0x4001));
    let past_the_end = b"\0\0\x29\x04\xD0\0\0\0\0\0\x06\0\x03\0\x09ns";
    let whole = additional(1, past_the_end).unwrap();
    let edns = whole.dns().edns().unwrap();
    assert_eq!((edns.nsid(), edns.options().count()), (None, 1));
    let option = edns.options().next().unwrap();
    assert_eq!(option.option_text().unwrap().to_string(), "\\# 2 6e73");
    let out_of_the_message = b"\0\0\x29\x04\xD0\0\0\0\0\0\x06\0\x03\0\x09";
    assert_eq!(additional(1, out_of_the_message), Err(Malformed::DnsRecord));
}

#[test]
fn names_extended_rcodes() {
    let badvers = b"\0\0\x29\x04\xD0\x01\0\0\0\0\0";
    assert_eq!(rcode_name(additional(1, badvers).unwrap().dns().rcode()), "BADVERS");
    let twice = b"\0\0\x29\x04\xD0\0\0\0\0\0\x0C\0\x0F\0\x02\0\x16\0\x0F\0\x02\0\x17";
    let whole = additional(1, twice).unwrap();
    let edns = whole.dns().edns().unwrap();
    assert_eq!(edns.ede().unwrap().code, 22, "the first");
    let texts: Vec<_> =
        edns.options().map(|option| option.option_text().unwrap().to_string()).collect();
    assert_eq!(texts, ["22 (No Reachable Authority)", "23 (Network Error)"]);
}

#[test]
fn counts_that_promise_too_much_are_malformed() {
    for (counts, reason) in [
        ([2, 0, 0, 0], Malformed::DnsQuestion),
        ([1, 1, 0, 0], Malformed::DnsRecord),
        ([1, 0, 1, 0], Malformed::DnsRecord),
        ([1, 0, 0, 1], Malformed::DnsRecord),
    ] {
        let mut bytes = header(0, counts);
        bytes.extend(b"\x01a\0\0\x01\0\x01");
        assert_eq!(Outline::read(&bytes, false), Err(reason), "{counts:?}");
    }
}

#[test]
fn a_truncated_response_may_end_in_mid_record() {
    let mut bytes = response();
    bytes.truncate(47);
    assert_eq!(Outline::read(&bytes, false), Err(Malformed::DnsRecord));
    bytes[2] |= 2;
    let whole = Whole::read(&bytes, false).unwrap();
    let dns = whole.dns();
    assert!(dns.flags.truncated() && dns.question().is_some() && dns.edns().is_none());
    assert_eq!((dns.counts.answer, whole.answers().len()), (1, 0));
    // The question must be whole all the same, and a query has nothing to truncate.
    assert_eq!(Outline::read(&bytes[..20], false), Err(Malformed::DnsQuestion));
    bytes[2] &= 0x7F;
    assert_eq!(Outline::read(&bytes, false), Err(Malformed::DnsRecord));
}

#[test]
fn a_pointer_into_the_header_is_a_pointer_back() {
    // Id 0: the header begins with what reads as the root.
    let mut bytes = header(0, [1, 0, 0, 0]);
    bytes[1] = 0;
    bytes.extend(b"\xC0\x00\0\x01\0\x01");
    assert_eq!(Whole::read(&bytes, false).unwrap().qname(), ".");
}

/// Names of many pointers, in as many records as the longest message holds, cost no more than
/// others.
#[test]
fn long_ways_through_pointers_are_cut_short() {
    let mut bytes = header(0, [1, 0, 0, 0]);
    bytes.extend(b"\x01a\0\0\x01\0\x01");
    bytes[6..8].copy_from_slice(&4000_u16.to_be_bytes());
    // A record whose data is a ladder of pointers, and records that begin at its top.
    bytes.extend(b"\xC0\x0C\0\x0A\0\x01\0\0\0\0\x3F\x00");
    let mut target = 12_u16;
    while bytes.len() < 0x3F00 {
        let place = u16::try_from(bytes.len()).unwrap();
        bytes.extend((0xC000 | target).to_be_bytes());
        target = place;
    }
    assert_eq!(Outline::read(&bytes, false), Err(Malformed::DnsRecord));
    let top = bytes.len() - 2;
    assert!(Name::read(&bytes, top).is_none());
    assert!(Name::read(&bytes, 31 + 2 * 100).is_some());
}

#[test]
fn nonsense_in_data_is_shown_as_unknown_data() {
    let mut bytes = response();
    // The A record's length becomes 3, its last octet goes.
    bytes[44] = 3;
    bytes.remove(48);
    let answers = Whole::read(&bytes, false).unwrap().answers();
    assert_eq!(answers.first().unwrap().data, "\\# 3 c00002");
}

#[test]
fn escapes_names() {
    let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(b"\x05a.b\\ \x02\xFF\x7F\0\0\x01\0\x01");
    assert_eq!(Whole::read(&bytes, false).unwrap().qname(), "a\\.b\\\\\\032.\\255\\127");
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
        Whole::read(&bytes, false)
    };
    assert_eq!(name(61).unwrap().qname().len(), 253);
    assert_eq!(name(62), Err(Malformed::DnsQuestion));
}

/// Reads what there is to read; what the outline promises is there.
fn show_all(dns: &Dns<'_>) {
    let mut answers = Answers::default();
    answers.read(dns.answers());
    assert_eq!(dns.answers().count(), answers.len());
    assert_eq!(dns.question().is_some(), dns.asked().is_some());
    let questions = usize::from(dns.asked().is_some()) + dns.further_questions().count();
    assert!(questions <= usize::from(dns.counts.question));
    if let Some(edns) = dns.edns() {
        edns.options().for_each(|option| drop(option.option_text()));
        assert_eq!(u16::from(edns.rcode_high), dns.rcode() >> 4);
    }
    dns.dso().for_each(|tlv| drop(dso_text(&tlv)));
}

proptest! {
    /// Names are equal, and have the same number, where their text is without regard to case, wherever
    /// they stand.
    #[test]
    fn names_compare_as_their_text_does(
        labels in proptest::collection::vec(
            (proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'A'), Just(b'['), Just(b'.')], 1..3), 0..4_usize),
            1..12,
        ),
    ) {
        // Each name is a label and another name, or the root, before it.
        let (mut message, mut places) = (vec![0], vec![0_usize]);
        for (label, back) in labels {
            let at = message.len();
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(&label);
            let target = places[places.len().saturating_sub(1 + back)];
            if back == 0 {
                message.push(0);
            } else {
                message.extend((0xC000 | u16::try_from(target).unwrap()).to_be_bytes());
            }
            places.push(at);
        }
        let names: Vec<_> = places.iter().map(|at| Name::read(&message, *at).unwrap().0).collect();
        let hasher = foldhash::fast::FixedState::default();
        for one in &names {
            for other in &names {
                let same = one.text().eq_ignore_ascii_case(&other.text());
                prop_assert_eq!(one == other, same);
                let equal = std::hash::BuildHasher::hash_one(&hasher, one)
                    == std::hash::BuildHasher::hash_one(&hasher, other);
                prop_assert_eq!(equal, same);
            }
            prop_assert_eq!(one.has_upper_case(), one.text().contains('A'));
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), clipped: bool) {
        if let Ok(whole) = Whole::read(&bytes, clipped) {
            show_all(&whole.dns());
        }
    }

    /// Names that hickory-proto reads are read alike. It refuses some more: those whose labels,
    /// reached by a pointer, run into the pointer.
    #[test]
    fn names_agree_with_hickory(
        octets in proptest::collection::vec(
            prop_oneof![0_u8..8, Just(0xC0), any::<u8>()], 1..80
        ),
        at in 0_usize..80,
    ) {
        let ours = Name::read(&octets, at).map(|(name, behind)| (name.text(), behind));
        let mut decoder = BinDecoder::new(&octets);
        let theirs = decoder.read_slice(at).ok().and_then(|_| {
            let name = hickory_proto::rr::Name::read(&mut decoder).ok()?;
            let text: Vec<String> = name.iter().map(|label| {
                let wire = [&[u8::try_from(label.len()).ok()?], label, &[0]].concat();
                Some(Name::read(&wire, 0)?.0.text())
            }).collect::<Option<_>>()?;
            Some((if text.is_empty() { ".".into() } else { text.join(".") }, decoder.index()))
        });
        if theirs.is_some() {
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn never_panics_on_a_damaged_message(at in 0_usize..110, octet: u8, cut in 0_usize..130) {
        let mut bytes = response();
        if let Some(place) = bytes.get_mut(at) {
            *place = octet;
        }
        bytes.truncate(cut);
        if let Ok(whole) = Whole::read(&bytes, false) {
            show_all(&whole.dns());
        }
        prop_assert_eq!(Outline::read(&bytes, true).is_err(), bytes.len() < 12);
    }
}
