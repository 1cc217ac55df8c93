use super::*;
use crate::testing::message_line;
use crate::{Batch, Sink as _, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A packet as a reader finds it.
#[derive(Debug)]
struct ReadPacket {
    time_ns: u64,
    bytes: Vec<u8>,
    length: usize,
    comment: String,
    flags: u32,
}

impl ReadPacket {
    fn is_tcp(&self) -> bool {
        let is_v4 = self.bytes[0] == 0x45;
        self.bytes[if is_v4 { 9 } else { 6 }] == TCP
    }

    /// Checks lengths and checksums, and returns the captured part of the payload.
    fn payload(&self) -> &[u8] {
        let is_v4 = self.bytes[0] == 0x45;
        let (header, transport) = self.bytes.split_at(if is_v4 { 20 } else { 40 });
        let number = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let size = self.length - header.len();
        let addresses = if is_v4 {
            assert_eq!((number(2), checksum(&[header])), (self.length, 0));
            &header[12..]
        } else {
            assert_eq!(number(4), size);
            &header[8..]
        };
        let protocol = if self.is_tcp() { TCP } else { UDP };
        if self.bytes.len() == self.length {
            let pseudo = [&[0, protocol], &length_16(size).to_be_bytes()[..], addresses].concat();
            assert_eq!(checksum(&[&pseudo, transport]), 0);
        }
        if protocol == UDP {
            assert_eq!(usize::from(u16::from_be_bytes([transport[4], transport[5]])), size);
        }
        &transport[if protocol == TCP { 20 } else { 8 }..]
    }

    fn sequence(&self) -> u32 {
        let at = if self.bytes[0] == 0x45 { 24 } else { 44 };
        u32::from_be_bytes(*self.bytes[at..].first_chunk().unwrap())
    }
}

/// Reads a file: each block has its length at both ends, and options that end.
fn read(file: &[u8]) -> Vec<ReadPacket> {
    let number = |bytes: &[u8]| u32::from_le_bytes(*bytes.first_chunk().unwrap());
    let (mut rest, mut kinds, mut packets) = (file, Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (kind, length) = (number(rest), number(&rest[4..]) as usize);
        assert!(length.is_multiple_of(4) && number(&rest[length - 4..]) as usize == length);
        let body = &rest[8..length - 4];
        kinds.push(kind);
        rest = &rest[length..];
        if kind != ENHANCED_PACKET {
            continue;
        }
        let captured = number(&body[12..]) as usize;
        let mut options = &body[20 + captured.next_multiple_of(4)..];
        let (mut comment, mut flags) = (String::new(), 0);
        while number(options) != 0 {
            let [code, size] = [0, 2].map(|at| u16::from_le_bytes([options[at], options[at + 1]]));
            let value = &options[4..4 + usize::from(size)];
            match code {
                COMMENT => comment = String::from_utf8(value.to_vec()).unwrap(),
                _ => flags = number(value),
            }
            options = &options[4 + value.len().next_multiple_of(4)..];
        }
        packets.push(ReadPacket {
            time_ns: u64::from(number(&body[4..])) << 32 | u64::from(number(&body[8..])),
            bytes: body[20..20 + captured].to_vec(),
            length: number(&body[16..]) as usize,
            comment,
            flags,
        });
    }
    assert_eq!(kinds[..2], [SECTION_HEADER, INTERFACE]);
    packets
}

/// Makes the file of records.
fn file(records: &[Value]) -> Vec<u8> {
    let mut encoder = PacketEncoder::default();
    let mut out = PacketEncoder::header("node-1");
    for record in records {
        let line = record.to_string();
        encoder.append(&MessageFields::read(line.as_bytes()).unwrap(), &mut out);
    }
    out
}

#[test]
fn says_who_sent_what_and_when() {
    let packets = file(&[message_line(&json!({
        "process": { "pid": 123, "uid": 0, "comm": "curl", "exe": "/usr/bin/curl" },
        "container": { "id": "abc" }, "k8s": { "namespace": "shop", "pod": "web-1" },
    }))]);
    let [packet] = &read(&packets)[..] else { unreachable!("one packet") };
    assert_eq!(
        packet.comment,
        "process=curl[123] uid=0 exe=/usr/bin/curl container=abc pod=shop/web-1 event_id=0b"
    );
    assert_eq!((packet.time_ns, packet.flags), (1_795_773_600_000_000_007, 2));
    assert_eq!(packet.payload(), b"question");
    assert!(packets.windows(14).any(|bytes| bytes == b"dnscribe 0.1.0"));
}

#[test]
fn names_add_nothing_to_a_comment() {
    let packets = file(&[message_line(&json!({
        "process": { "comm": "uid=0 event_id", "exe": "/tmp/a\"b\\c" }, "container": { "id": "a\nb" },
    }))]);
    let expected = r#"process="uid=0 event_id" exe="/tmp/a\"b\\c" container="a\nb" event_id=0b"#;
    assert_eq!(read(&packets)[0].comment, expected);
}

#[test]
fn connections_have_no_gaps() {
    let side = |qr: &str, wire: &str| {
        let query = json!({ "transport": "tcp", "qr": qr, "wire": wire });
        let mut record = message_line(&query);
        if qr == "response" {
            for name in ["ip", "port"] {
                let [src, dst] = ["src", "dst"].map(|side| format!("{side}_{name}"));
                let before = record[&src].take();
                record[&src] = record[&dst].take();
                record[&dst] = before;
            }
        }
        record
    };
    // Three bytes, and twice as many.
    let records = [side("query", "YWJj"), side("response", "YWJjZGVm"), side("query", "YWJj")];
    let packets = file(&records);
    let packets = read(&packets);
    let seen: Vec<_> = packets.iter().map(|packet| (packet.sequence(), packet.payload())).collect();
    assert_eq!(seen, [(1, &b"\0\x03abc"[..]), (1, b"\0\x06abcdef"), (6, b"\0\x03abc")]);
}

#[test]
fn the_largest_message_has_two_segments() {
    let wire = STANDARD.encode(vec![7; 65_535]);
    let packets = file(&[
        message_line(&json!({ "transport": "tcp", "wire": wire })),
        message_line(&json!({ "transport": "udp", "wire": wire })),
        message_line(&json!({ "transport": "tcp", "wire": "YWJj", "wire_bytes": 65_535 })),
    ]);
    let packets = read(&packets);
    let sizes: Vec<_> = packets.iter().map(|packet| (packet.length, packet.bytes.len())).collect();
    let whole = [(65_040, 65_040), (577, 577)];
    assert_eq!(sizes, [&whole[..], &[(65_040, 45), (577, 40)]].concat(), "none over UDP");
    assert!(packets.iter().all(|packet| packet.payload().len() <= MAX_SEGMENT));
}

#[test]
fn sink_sets_a_file_aside_and_counts_what_has_no_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dns.pcapng");
    std::fs::write(&path, "before").unwrap();
    let mut sink = open("pcapng".into(), StreamSet::MESSAGES, &path, "n").unwrap();
    let mut batch = Batch::default();
    for record in [message_line(&json!({})), json!({ "schema": "dns.message/1" })] {
        batch.push_json(Stream::Messages, 1, &record, b"");
    }
    sink.offer(&Arc::new(batch));
    assert!(sink.flush(std::time::Duration::from_secs(30)));
    sink.close();
    let counters = &sink.counters()["messages"];
    assert_eq!((counters.delivered, counters.dropped["not_encodable"]), (1, 1));
    assert_eq!(read(&std::fs::read(&path).unwrap()).len(), 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

proptest! {
    #[test]
    fn any_message_is_a_valid_packet(
        wire in proptest::collection::vec(any::<u8>(), 0..600),
        missing in 0_u32..70_000,
        src in any::<IpAddr>(),
        dst in any::<IpAddr>(),
        ports in any::<[u16; 2]>(),
        transport in proptest::sample::select(vec!["udp", "tcp", "dot", "doh", "doq", "dnscrypt"]),
        is_query in any::<bool>(),
        comm in ".{0,20}",
        ns in 0..u64::MAX / 2,
    ) {
        let wire_bytes = u32::try_from(wire.len()).unwrap() + missing;
        let record = message_line(&json!({
            "ts": dnscribe_record::time::Timestamp::from_nanos(ns),
            "wire": STANDARD.encode(&wire), "wire_bytes": wire_bytes, "transport": transport,
            "src_ip": src, "dst_ip": dst, "src_port": ports[0], "dst_port": ports[1],
            "qr": if is_query { "query" } else { "response" },
            "process": { "pid": 1, "uid": 2, "comm": comm },
        }));
        let packets = file(&[record]);
        let packets = read(&packets);
        let max = if matches!(transport, "tcp" | "dot" | "doh") { 65_535 } else { 65_487 };
        prop_assert_eq!(packets.is_empty(), wire_bytes > max);
        let Some(first) = packets.first() else { return Ok(()) };
        let prefix = if first.is_tcp() { 2 } else { 0 };
        prop_assert_eq!(&first.payload()[prefix..], &wire[..]);
        prop_assert!(packets.iter().all(|packet| packet.time_ns == ns));
        let prefix = format!("process={}[1] uid=2", quoted(&comm));
        prop_assert!(first.comment.starts_with(&prefix));
    }
}
