use super::*;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use proptest::prelude::*;

/// A parsed message.
#[derive(Debug, PartialEq, Eq)]
struct ParsedMessage {
    bytes: Vec<u8>,
    outline: MessageIndex,
}

impl ParsedMessage {
    fn read(bytes: &[u8], clipped: bool) -> Result<Self, ParseError> {
        let outline = MessageIndex::parse(bytes, clipped)?;
        Ok(Self { bytes: bytes.to_vec(), outline })
    }

    fn dns(&self) -> Dns<'_> {
        Dns::new(&self.bytes, &self.outline)
    }

    fn answers(&self) -> Answers {
        let mut answers = Answers::default();
        answers.read(self.dns().answers(), AnswerLimits::NONE);
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
    let whole = ParsedMessage::read(&response(), false).unwrap();
    let (dns, answers) = (whole.dns(), whole.answers());
    assert_eq!(dns.id, 0x1234);
    assert!(dns.flags.is_response());
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

/// A hash of the data of a record in a response to `a.Test`, whose name has offset 12.
fn data_hash(rtype: u16, data: &[u8]) -> u64 {
    let mut bytes = header(0, [1, 1, 0, 0]);
    bytes.extend(b"\x01a\x04Test\0\0\x01\0\x01\xC0\x0C");
    bytes.extend([rtype.to_be_bytes(), [0, 1], [0; 2], [0; 2]].concat());
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    let whole = ParsedMessage::read(&bytes, false).unwrap();
    let mut hasher = std::hash::BuildHasher::build_hasher(&foldhash::fast::FixedState::default());
    whole.dns().answers().next().unwrap().hash_data(&mut hasher);
    std::hash::Hasher::finish(&hasher)
}

/// Resolvers that send names in mixed case (0x20) get them back by compression, also in record data.
#[test]
fn data_is_equal_whatever_the_case_of_its_names() {
    // Number of bytes before the name, and bytes behind it.
    for (rtype, before, behind) in [
        (2, &b""[..], &b""[..]),
        (5, b"", b""),
        (6, b"\0", &[9; 20]),
        (7, b"", b""),
        (12, b"", b""),
        (14, b"\x01m\0", b""),
        (15, b"\0\x01", b""),
        (17, b"\x01m\0", b""),
        (18, b"\0\x01", b""),
        (24, &[0; 18], b"sig"),
        (33, &[1; 6], b""),
        (35, b"\0\x01\0\x01\x01S\x01x\0", b""),
        (36, b"\0\x01", b""),
        (39, b"", b""),
        (45, b"\x0a\x03\x02", b"Key"),
        (46, &[0; 18], b"sig"),
        (47, b"", b"\0\x01\x40"),
        (55, b"\x01\x02\0\x01tK", b""),
        (65, b"\0\x01", b"\0\x03\0\x02\x01\xbb"),
        (107, b"\0\x01", b""),
        (260, b"\x0a\x03", b""),
    ] {
        let hash = |name: &[u8]| data_hash(rtype, &[before, name, behind].concat());
        let written = hash(b"\x01b\x04test\0");
        assert_eq!(hash(b"\x01B\x04tEST\0"), written, "type {rtype}");
        assert_eq!(hash(b"\x01b\xC0\x0E"), written, "type {rtype}, compressed");
        assert_ne!(hash(b"\x01c\x04test\0"), written, "type {rtype}");
    }
    // Case counts in all that is not a name.
    for (rtype, one, other) in [
        (13, &b"\x01a\x01b"[..], &b"\x01a\x01B"[..]),
        (16, b"\x01a", b"\x01A"),
        (45, b"\x0a\x03\x02\x01b\0Key", b"\x0a\x03\x02\x01b\0key"),
        (257, b"\0\x05issueca.test", b"\0\x05issueCA.test"),
        (65280, b"a", b"A"),
    ] {
        assert_ne!(data_hash(rtype, one), data_hash(rtype, other), "type {rtype}");
    }
}

/// The TTL of a signature is 0: it belongs to the message.
#[test]
fn smallest_ttl_is_of_records_of_zones() {
    let ttl = |rtype: u16, covered: u8| {
        let mut bytes = header(0, [1, 1, 0, 1]);
        bytes.extend(b"\x01a\0\0\x01\0\x01\xC0\x0C\0\x01\0\x01\0\0\0\x3C\0\x04\xC0\0\x02\x01\0");
        bytes
            .extend([rtype.to_be_bytes(), [0, 255], [0; 2], [0; 2], [0, 2], [0, covered]].concat());
        ParsedMessage::read(&bytes, false).unwrap().outline.min_ttl_seconds
    };
    for (rtype, covered, expected) in
        [(250, 0, 60), (249, 0, 60), (24, 0, 60), (24, 1, 0), (46, 0, 0)]
    {
        assert_eq!(ttl(rtype, covered), Some(expected), "type {rtype} {covered}");
    }
}

#[test]
fn reads_the_authority_section() {
    let names = |bytes: &[u8], clipped| {
        let whole = ParsedMessage::read(bytes, clipped).unwrap();
        whole.dns().authority().map(|record| record.name.text()).collect::<Vec<_>>()
    };
    assert_eq!(names(&response(), false), ["Example.com"]);
    assert_eq!(names(&response()[..55], true), [""; 0], "cut off");
    assert_eq!(names(&response()[..40], true), [""; 0], "without the answer");
}

#[test]
fn reads_the_trace_context_of_a_query() {
    let read = |option: &[u8]| {
        let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1];
        let length = u8::try_from(option.len()).unwrap();
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, length + 4, 0xFF, 0xDC, 0, length]);
        bytes.extend(option);
        ParsedMessage::read(&bytes, false).unwrap().dns().edns().unwrap().traceparent()
    };
    let ids = [&[0; 2], &[0xAB; 16][..], &[0xCD; 8]].concat();
    let text = format!("00-{}-{}-", "ab".repeat(16), "cd".repeat(8));
    assert_eq!(read(&[&ids[..], &[1]].concat()), Some(format!("{text}01")));
    assert_eq!(read(&ids), Some(format!("{text}00")), "without flags");
    assert_eq!(read(&ids[..25]), None, "cut off");
    assert_eq!(read(&[&[1], &ids[1..]].concat()), None, "another version");
    assert_eq!(read(&[&[0; 18], &ids[18..]].concat()), None, "no trace");
}

#[test]
fn returns_unreadable_part() {
    let whole = response();
    assert_eq!(MessageIndex::parse(&whole[..11], false), Err(ParseError::Header));
    assert_eq!(MessageIndex::parse(&whole[..20], false), Err(ParseError::Question));
    assert_eq!(MessageIndex::parse(&whole[..40], false), Err(ParseError::Record));
    let mut looped = whole.clone();
    looped.splice(12..29, [0xC0, 12]);
    assert_eq!(MessageIndex::parse(&looped, false), Err(ParseError::Question));
    let mut forward = whole;
    forward.splice(12..29, [0xC0, 40]);
    assert_eq!(MessageIndex::parse(&forward, false), Err(ParseError::Question));
}

#[test]
fn reads_clipped_message() {
    let whole = response();
    let header_only = ParsedMessage::read(&whole[..20], true).unwrap();
    assert_eq!((header_only.dns().id, header_only.dns().question()), (0x1234, None));
    let no_records = ParsedMessage::read(&whole[..40], true).unwrap();
    assert!(no_records.dns().question().is_some() && no_records.answers().is_empty());
    assert_eq!(MessageIndex::parse(&whole[..11], true), Err(ParseError::Header));
}

#[test]
fn counts_trailing_bytes() {
    let mut bytes = response();
    bytes.extend([0xFF; 9]);
    let mut outline = MessageIndex::parse(&bytes, false).unwrap();
    assert_eq!(std::mem::take(&mut outline.trailing_bytes), 9);
    assert_eq!(Ok(outline), MessageIndex::parse(&response(), false));
}

/// A header with these counts and zero flags.
fn header(opcode: u8, counts: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0, 1, opcode << 3, 0];
    bytes.extend(counts.into_iter().flat_map(|count| [0, count]));
    bytes
}

#[test]
fn reads_several_questions() {
    let none = ParsedMessage::read(&header(0, [0; 4]), false).unwrap();
    assert_eq!((none.dns().question(), none.dns().further_questions().count()), (None, 0));
    let mut three = header(0, [3, 0, 0, 0]);
    three.extend(b"\x01a\0\0\x01\0\x01\xC0\x0C\0\x1C\0\x01\x01B\xC0\x0C\0\x01\x80\x01");
    let three = ParsedMessage::read(&three, false).unwrap();
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
    let whole = ParsedMessage::read(&bytes, false).unwrap();
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
    let whole = ParsedMessage::read(&bytes, false).unwrap();
    assert_eq!((whole.dns().trailing_bytes, whole.dns().flags.opcode()), (0, 6));
}

/// A query with these bytes as its additional records.
fn additional(count: u8, records: &[u8]) -> Result<ParsedMessage, ParseError> {
    let mut bytes = header(0, [1, 0, 0, count]);
    bytes.extend(b"\x01a\0\0\x01\0\x01");
    bytes.extend(records);
    ParsedMessage::read(&bytes, false)
}

#[test]
fn reads_invalid_opt() {
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
    assert_eq!(additional(1, out_of_the_message), Err(ParseError::Record));
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
    // Text that is not UTF-8, with a NUL at the end.
    let odd = additional(1, b"\0\0\x29\x04\xD0\0\0\0\0\0\x09\0\x0F\0\x05\0\x16a\xFF\0").unwrap();
    let option = odd.dns().edns().unwrap().options().next().unwrap();
    let text = option.option_text().unwrap().to_string();
    assert_eq!(text, "22 (No Reachable Authority) \"a\\255\"");
}

#[test]
fn rejects_excessive_counts() {
    for (counts, reason) in [
        ([2, 0, 0, 0], ParseError::Question),
        ([1, 1, 0, 0], ParseError::Record),
        ([1, 0, 1, 0], ParseError::Record),
        ([1, 0, 0, 1], ParseError::Record),
    ] {
        let mut bytes = header(0, counts);
        bytes.extend(b"\x01a\0\0\x01\0\x01");
        assert_eq!(MessageIndex::parse(&bytes, false), Err(reason), "{counts:?}");
    }
}

#[test]
fn truncated_response_may_end_inside_record() {
    let mut bytes = response();
    bytes.truncate(47);
    assert_eq!(MessageIndex::parse(&bytes, false), Err(ParseError::Record));
    bytes[2] |= 2;
    let whole = ParsedMessage::read(&bytes, false).unwrap();
    let dns = whole.dns();
    assert!(dns.flags.is_truncated() && dns.question().is_some() && dns.edns().is_none());
    assert_eq!((dns.counts.answer, whole.answers().len()), (1, 0));
    // The question must be complete, and a query cannot be truncated.
    assert_eq!(MessageIndex::parse(&bytes[..20], false), Err(ParseError::Question));
    bytes[2] &= 0x7F;
    assert_eq!(MessageIndex::parse(&bytes, false), Err(ParseError::Record));
}

#[test]
fn accepts_pointer_into_header() {
    // Id 0: the header begins with a zero byte, which reads as the root.
    let mut bytes = header(0, [1, 0, 0, 0]);
    bytes[1] = 0;
    bytes.extend(b"\xC0\x00\0\x01\0\x01");
    assert_eq!(ParsedMessage::read(&bytes, false).unwrap().qname(), ".");
}

/// Names with many pointers, in as many records as fit into the longest message, are rejected
/// early.
#[test]
fn limits_pointer_chains() {
    let mut bytes = header(0, [1, 0, 0, 0]);
    bytes.extend(b"\x01a\0\0\x01\0\x01");
    bytes[6..8].copy_from_slice(&4000_u16.to_be_bytes());
    // A record whose data is a ladder of pointers, and records whose names begin at its top.
    bytes.extend(b"\xC0\x0C\0\x0A\0\x01\0\0\0\0\x3F\x00");
    let mut target = 12_u16;
    while bytes.len() < 0x3F00 {
        let place = u16::try_from(bytes.len()).unwrap();
        bytes.extend((0xC000 | target).to_be_bytes());
        target = place;
    }
    assert_eq!(MessageIndex::parse(&bytes, false), Err(ParseError::Record));
    let top = bytes.len() - 2;
    assert!(Name::read(&bytes, top).is_none());
    assert!(Name::read(&bytes, 31 + 2 * 100).is_some());
}

#[test]
fn writes_invalid_data_as_unknown() {
    let mut bytes = response();
    // The A record's length becomes 3 and its last byte is removed.
    bytes[44] = 3;
    bytes.remove(48);
    let answers = ParsedMessage::read(&bytes, false).unwrap().answers();
    assert_eq!(answers.first().unwrap().data, "\\# 3 c00002");
}

#[test]
fn escapes_names() {
    let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(b"\x05a.b\\ \x02\xFF\x7F\0\0\x01\0\x01");
    assert_eq!(ParsedMessage::read(&bytes, false).unwrap().qname(), "a\\.b\\\\\\032.\\255\\127");
}

#[test]
fn accepts_names_of_at_most_255_bytes() {
    let name = |last: u8| {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for length in [63, 63, 63, last] {
            bytes.push(length);
            bytes.extend(std::iter::repeat_n(b'x', usize::from(length)));
        }
        bytes.extend([0, 0, 1, 0, 1]);
        ParsedMessage::read(&bytes, false)
    };
    assert_eq!(name(61).unwrap().qname().len(), 253);
    assert_eq!(name(62), Err(ParseError::Question));
}

/// Reads every part; the parts counted by the index must exist.
fn show_all(dns: &Dns<'_>) {
    let mut answers = Answers::default();
    answers.read(dns.answers(), AnswerLimits::NONE);
    assert_eq!(dns.answers().count(), answers.len());
    assert_eq!(dns.question().is_some(), dns.question_type_and_class().is_some());
    let questions =
        usize::from(dns.question_type_and_class().is_some()) + dns.further_questions().count();
    assert!(questions <= usize::from(dns.counts.question));
    if let Some(edns) = dns.edns() {
        edns.options().for_each(|option| drop(option.option_text()));
        assert_eq!(u16::from(edns.rcode_high), dns.rcode() >> 4);
    }
}

#[test]
fn names_that_repeat_themselves_hash_differently() {
    let hasher = foldhash::fast::FixedState::default();
    let wire: Vec<_> = (1..=127).map(|count| [b"\x01a".repeat(count), vec![0]].concat()).collect();
    let hash = |bytes| std::hash::BuildHasher::hash_one(&hasher, Name::read(bytes, 0).unwrap().0);
    let hashes: std::collections::HashSet<_> = wire.iter().map(|bytes| hash(bytes)).collect();
    assert_eq!(hashes.len(), wire.len());
}

proptest! {
    /// Names are equal, and hash equally, if their text is equal without regard to case, wherever
    /// they are.
    #[test]
    fn names_compare_like_their_text(
        labels in proptest::collection::vec(
            (proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'A'), Just(b'['), Just(b'.')], 1..3), 0..4_usize),
            1..12,
        ),
    ) {
        // Each name is a label followed by an earlier name or the root.
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
        if let Ok(whole) = ParsedMessage::read(&bytes, clipped) {
            show_all(&whole.dns());
        }
    }

    /// Names that hickory-proto accepts are read alike. It rejects some more: names whose labels,
    /// reached by a pointer, run into the pointer.
    #[test]
    fn names_agree_with_hickory(
        bytes in proptest::collection::vec(
            prop_oneof![0_u8..8, Just(0xC0), any::<u8>()], 1..80
        ),
        at in 0_usize..80,
    ) {
        let ours = Name::read(&bytes, at).map(|(name, behind)| (name.text(), behind));
        let mut decoder = BinDecoder::new(&bytes);
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
    fn never_panics_on_a_damaged_message(at in 0_usize..110, byte: u8, cut in 0_usize..130) {
        let mut bytes = response();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        if let Ok(whole) = ParsedMessage::read(&bytes, false) {
            show_all(&whole.dns());
        }
        prop_assert_eq!(MessageIndex::parse(&bytes, true).is_err(), bytes.len() < 12);
    }
}
